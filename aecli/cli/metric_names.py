"""Names of the metrics of each command, which --expect, pages and tests know."""

import re

_SAMPLERS = ("standard_normal", "gaussian", "full_gaussian", "mixture", "jittered", "flow")
OF_VARIATIONAL = (
    "elbo_nats",
    "kl_nats",
    "nll_nats",
    "nll_samples",
    "nll_images",
    "active_units",
    "sigma",
)
"""Those of `train` that a variational codec has."""
OF_CODES_AT_WORK = (
    *("probe_accuracy", "probe_accuracy_10", "probe_accuracy_100", "knn_accuracy"),
    *("kmeans_accuracy", "kmeans_nmi", "kmeans_ari"),
    *("mixture_accuracy", "mixture_nmi", "mixture_ari"),
    *("retrieval_map", "precision_at_10"),
    *("anomaly_auroc", "anomaly_auroc_error", "anomaly_auroc_density"),
    *("other_auroc", "other_auroc_error", "other_auroc_density"),
    *("found_shifted", "found_brightened", "found_noised", "found_rotated"),
)
"""Those of `evaluate`, each of the codes, of PCA's and of pixels."""
METRICS: dict[str, tuple[str, ...]] = {
    "train": (
        "dataset",
        "code_dim",
        "compression_ratio",
        "parameters",
        "train_mse",
        "val_mse",
        "test_mse",
        "valid_share",
        "psnr_db",
        "pca_test_mse",
        "beats_pca",
        "pca_rank",
        "dct_test_mse",
        "rotated_dct_test_mse",
        "thumbnail_test_mse",
        "thumbnail_numbers",
        "mean_image_test_mse",
        "mean_abs_correlation",
        "ordered_rank_correlation",
        "epochs",
        "train_seconds",
        *OF_VARIATIONAL,
    ),
    "sweep-codedim": (
        "dataset",
        "seeds",
        "rows",
        "failed_jobs",
        "test_mse_<row>",
        "test_mse_sd_<row>",
        "pca_test_mse_<row>",
        "dct_test_mse_<row>",
        "rotated_dct_test_mse_<row>",
        "thumbnail_test_mse_<row>",
        "probe_accuracy_<row>",
        "denoising_mse_<row>",
        "raw_pixels_probe_accuracy",
        "ordered_rank_correlation",
    ),
    "pca-compare": (
        "dataset",
        "seeds",
        "largest_advantage_at",
        "smallest_advantage_at",
        "largest_relative_advantage_at",
        "smallest_relative_advantage_at",
        "beats_pca_everywhere",
        "eckart_young_holds",
        "largest_linear_excess_percent",
        "largest_principal_angle_degrees",
        "ae_test_mse_<row>",
        "pca_test_mse_<row>",
        "dct_test_mse_<row>",
        "linear_test_mse_<row>",
        "rotated_dct_test_mse_<row>",
        "thumbnail_test_mse_<row>",
    ),
    "sweep-downsampling": (
        "dataset",
        "seeds",
        "rows",
        "failed_jobs",
        "test_mse_<grid>",
        "test_mse_sd_<grid>",
        "ssim_<grid>",
        "high_frequency_ratio_<grid>",
        "coherence_<grid>",
        "pca_test_mse_<numbers>",
        "dct_test_mse_<numbers>",
        "rotated_dct_test_mse_<numbers>",
        "thumbnail_test_mse_<numbers>",
    ),
    "tune": (
        "dataset",
        "val_loss",
        "begun_val_loss",
        "val_loss_fall",
        "settings_tried",
        "trainings",
        "failed_trainings",
        "seconds_used",
        "epochs",
        "begun_epochs",
        "train_seconds",
        "begun_train_seconds",
    ),
    "reproduce": (
        "dataset",
        "claims",
        "claims_that_hold",
        "claims_that_hold_only_if",
        "claims_that_do_not_hold",
        "claims_by_construction",
        "claims_not_judged",
        "quick",
    ),
    "interpolate": (
        "dataset",
        "code_dim",
        "from_index",
        "to_index",
        "from_digit",
        "to_digit",
        "steps_in_hole",
        "hole_threshold",
        "typical_distance",
        "held_out_in_hole",
        "pairs",
        "pairs_leaving",
        "in_hole_rate_ends",
        "in_hole_rate_middle",
        "worst_t",
        "confidence_in_hole",
        "confidence_outside",
        "confidence_ends",
        "confidence_middle",
        "cycle_error_ends",
        "cycle_error_middle",
        "pca_pairs_leaving",
        "pca_in_hole_rate_ends",
        "pca_in_hole_rate_middle",
        "pca_confidence_ends",
        "pca_confidence_middle",
        "pca_cycle_error_ends",
        "pca_cycle_error_middle",
        "before_pairs_leaving",
        "before_in_hole_rate_ends",
        "before_in_hole_rate_middle",
        "before_confidence_ends",
        "before_confidence_middle",
        "before_cycle_error_ends",
        "before_cycle_error_middle",
        "classifier_accuracy",
    ),
    "sample": (
        "dataset",
        "code_dim",
        "samples",
        "classifier_accuracy",
        "frechet_features",
        "frechet_floor",
        "frechet_decoded",
        *(f"frechet_{name}" for name in _SAMPLERS),
        "frechet_untrained",
        "mixture_components",
        "jitter_length",
        "flow_parts",
        "flow_steps",
        "in_holes_standard_normal",
        "in_holes_real",
        "smear_low_trained",
        "smear_high_trained",
        "smear_low_untrained",
        "smear_high_untrained",
        "code_range_smallest",
        "code_range_largest",
        *(
            f"{column}_{name}"
            for column in ("nearest_image_rms", "channel_distance", "spectrum_db")
            for name in ("real", *_SAMPLERS)
        ),
        "class_accuracy_decoded",
        *(
            f"{column}_{name}"
            for name in _SAMPLERS
            if name != "standard_normal"
            for column in ("class_accuracy", "frechet_by_class")
        ),
        "nearest_images_among",
        "holes_calibrated_on",
    ),
    "to-vae": (
        "dataset",
        "code_dim",
        "samples",
        "beta",
        "plain_test_mse",
        "test_mse",
        "error_ratio",
        "val_mse",
        "kl_nats",
        "sigma",
        "active_units",
        "plain_in_holes_standard_normal",
        "in_holes_standard_normal",
        "in_holes_of_means_standard_normal",
        "holes_calibrated_on",
        "frechet_features",
        *(f"{codec}frechet_{sampler}" for codec in ("plain_", "") for sampler in _SAMPLERS),
    ),
    "evaluate": (
        "dataset",
        "code_dim",
        "seeds",
        *(
            name
            for measure in OF_CODES_AT_WORK
            for name in (measure, f"{measure}_sd", f"pca_{measure}", f"pixels_{measure}")
        ),
    ),
}

"""The contract: what metrics.json of each experiment holds."""
WORDS = ("dataset", "frechet_features", "holes_calibrated_on")
"""Metrics that are a word, not a number."""

# A row of a table, by code dimension and variant.
_ROW = r"(?P<code_dim>\d+)(?P<wide>_wide)?(?:_(?P<variant>gaussian|masking|sparse))?"
GRID = r"(?:dc|dc_without_shortcuts|kl|conv)_f\d+_\d+"


def pattern(name: str) -> re.Pattern[str]:
    """Pattern of the metrics that an entry of METRICS stands for: `test_mse_<row>` for any row."""
    with_rows = name.replace("<row>", _ROW).replace("<grid>", GRID)
    return re.compile(with_rows.replace("<numbers>", r"\d+"))
