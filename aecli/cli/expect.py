"""`--expect 'test_mse<=0.0168'`: a gate over the metrics of a run, for scripts and CI."""

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aecli.comparing import COMPARE
from aecli.errors import ExpectationError, UsageError

if TYPE_CHECKING:
    from aecli.config import NetworkConfig

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
# The contract: what metrics.json of each experiment holds.
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

# A row of a table, by code dimension and variant.
_ROW = r"(?P<code_dim>\d+)(?P<wide>_wide)?(?:_(?P<variant>gaussian|masking|sparse))?"
_GRID = r"(?:dc|dc_without_shortcuts|kl|conv)_f\d+_\d+"
_FORM = re.compile(r"\s*(\w+)\s*(<=|>=|==|!=|<|>)\s*(\S+)\s*")
_RELATIVE = re.compile(r"\s*(\w+)\s*(<=|>=|==|!=|<|>)\s*baseline\s*(?:([*+-])\s*([^\s]+))?\s*")
_WORDS = ("dataset", "frechet_features", "holes_calibrated_on")
"""Metrics that are a word, not a number."""


@dataclass(frozen=True)
class Expectation:
    """Metric, comparison and bound, such as `test_mse`, `<=` and 0.0168."""

    text: str
    metric: str
    comparison: str
    bound: float | str


def parse_all(texts: Sequence[str], experiment: str) -> list[Expectation]:
    """Every `--expect` of a command. Raises UsageError, a line for each that makes no sense."""
    found: list[Expectation] = []
    mistakes: list[str] = []
    for text in texts:
        try:
            found.append(parse(text, experiment))
        except UsageError as error:
            mistakes.append(str(error))
    if mistakes:
        raise UsageError("\n".join(mistakes))
    return found


def parse(text: str, experiment: str) -> Expectation:
    """The expectation in `text`. Raises UsageError for another form or metric."""
    match = _FORM.fullmatch(text)
    if match is None:
        raise UsageError(
            f"--expect {text!r}: not of the form 'metric<=number' (<, <=, ==, !=, >=, >)"
        )
    metric, comparison, bound = match.groups()
    known = METRICS[experiment]
    if not any(_pattern(name).fullmatch(metric) for name in known):
        near = difflib.get_close_matches(metric, known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UsageError(
            f"--expect {text!r}: no metric is called {metric!r}; {hint}"
            f"{experiment} has {', '.join(known)}"
        )
    if metric in _WORDS:
        if comparison not in ("==", "!="):
            raise UsageError(f"--expect {text!r}: {metric} is a word; it takes == and != only")
        return Expectation(text, metric, comparison, bound)
    return Expectation(text, metric, comparison, _number(bound, text))


@dataclass(frozen=True)
class Gate:
    """An expectation of `compare`, whose bound may be relative to a baseline: `baseline*1.02`."""

    text: str
    metric: str
    comparison: str
    operation: str | None
    """*, + or -; None where the bound is no baseline's."""
    number: float | str

    def beside(self, baseline: Mapping[str, Any]) -> Expectation:
        """The expectation with its bound from a baseline's metrics; nan, which nothing meets, where
        those have no number."""
        if self.operation is None:
            return Expectation(self.text, self.metric, self.comparison, self.number)
        value = baseline.get(self.metric)
        found = math.nan
        if isinstance(value, int | float) and not isinstance(value, bool):
            found = float(value)
        assert isinstance(self.number, float)
        bound = {
            "*": found * self.number,
            "+": found + self.number,
            "-": found - self.number,
        }[self.operation]
        # Nothing differs from nan by `!=` alone: a missing baseline meets nothing.
        comparison = "<" if math.isnan(bound) else self.comparison
        return Expectation(f"{self.text} ({bound:.6g})", self.metric, comparison, bound)


def gates(texts: Sequence[str]) -> list[Gate]:
    """Every `--expect` of `compare`: as of any command that has such a metric, with bounds such as
    `baseline`, `baseline*1.02` and `baseline+0.5` too. Raises UsageError, a line for each mistake.
    """
    found: list[Gate] = []
    mistakes: list[str] = []
    for text in texts:
        try:
            found.append(_gate(text))
        except UsageError as error:
            mistakes.append(str(error))
    if mistakes:
        raise UsageError("\n".join(mistakes))
    return found


def _gate(text: str) -> Gate:
    relative = _RELATIVE.fullmatch(text)
    plain = text if relative is None else f"{relative[1]}{relative[2]}0"
    errors = []
    for experiment in METRICS:
        try:
            parsed = parse(plain, experiment)
        except UsageError as error:
            errors.append(str(error))
            continue
        if relative is None:
            return Gate(text, parsed.metric, parsed.comparison, None, parsed.bound)
        number = _number(relative[4] or "1", text)
        return Gate(text, parsed.metric, parsed.comparison, relative[3] or "*", number)
    match = _FORM.fullmatch(plain)
    if match is None:
        hint = "'metric<=number' or 'metric<=baseline*1.02' (<, <=, ==, !=, >=, >; *, +, -)"
        raise UsageError(f"--expect {text!r}: not of the form {hint}")
    if all("no metric is called" in error for error in errors):
        metric = match[1]
        every = list(dict.fromkeys(name for names in METRICS.values() for name in names))
        near = difflib.get_close_matches(metric, every, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "see aecli help expect"
        raise UsageError(f"--expect {text!r}: no metric is called {metric!r}; {hint}")
    other = next(each for each in errors if "no metric is called" not in each)
    raise UsageError(other.replace(repr(plain), repr(text)))


def require_there(expectations: Sequence[Expectation], config: "NetworkConfig") -> None:
    """Raises UsageError for what a run of `config` cannot have: another dataset's name, a row that
    its table has not."""
    for expectation in expectations:
        if expectation.metric == "dataset" and getattr(config, "run", None) is None:
            _require_dataset(str(expectation.bound), expectation.text, config)
        is_plain = config.experiment == "train" and not config.codec.is_variational
        if is_plain and expectation.metric in OF_VARIATIONAL:
            raise UsageError(f"--expect {expectation.text!r}: the codec is not variational")
        if expectation.metric == "ordered_rank_correlation":
            _require_order(expectation, config)
        of_class = expectation.metric.startswith(("class_accuracy_", "frechet_by_class_"))
        is_drawn = of_class and not expectation.metric.endswith("_decoded")
        if is_drawn and not getattr(config, "per_class", True):
            raise UsageError(f"--expect {expectation.text!r}: per_class is false")
    _require_rows(expectations, config)
    if config.experiment == "sweep-downsampling":
        _require_grids(expectations, config)


def _require_grids(expectations: Sequence[Expectation], config: "NetworkConfig") -> None:
    from aecli.config import SweepDownsamplingConfig
    from aecli.config.grids import row_specs

    assert isinstance(config, SweepDownsamplingConfig)
    rows = [spec.key for spec in row_specs(config)]
    sizes = [str(n) for n in (config.codec.code_dim, *config.fewer)]
    for expectation in expectations:
        row = re.search(rf"(?:mse|sd|ssim|ratio|coherence)_({_GRID}|\d+)$", expectation.metric)
        if row is not None and row[1] not in (*rows, *sizes):
            raise UsageError(
                f"--expect {expectation.text!r}: the table has no such row; its rows are"
                f" {', '.join((*rows, *sizes))}"
            )


def _require_order(expectation: Expectation, config: "NetworkConfig") -> None:
    if not getattr(config, "ordered", config.train.ordered):
        key = "ordered" if hasattr(config, "ordered") else "train.ordered"
        raise UsageError(f"--expect {expectation.text!r}: {key} is false")


def _require_dataset(name: str, text: str, config: "NetworkConfig") -> None:
    from aecli.data import facts
    from aecli.data.known import DATASETS

    names = [*DATASETS, *([facts.look(config.data).name] if config.data.is_own else [])]
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names)}"
        raise UsageError(f"--expect {text!r}: no dataset is called {name!r}; {hint}")


def _require_rows(expectations: Sequence[Expectation], config: "NetworkConfig") -> None:
    from aecli.config import SweepConfig
    from aecli.data import facts

    dims: Sequence[int] = getattr(config, "code_dims", ())
    variants: Sequence[str] = getattr(config, "variants", ("plain",))
    wide = facts.wide_dims(config) if isinstance(config, SweepConfig) else ()
    patterns = [_pattern(name) for name in METRICS[config.experiment] if "<row>" in name]
    for expectation in expectations:
        for pattern in patterns:
            row = pattern.fullmatch(expectation.metric)
            if row is None:
                continue
            there = wide if row["wide"] else dims
            if int(row["code_dim"]) not in there or (row["variant"] or "plain") not in variants:
                rows = ", ".join([*map(str, dims), *(f"{code_dim}_wide" for code_dim in wide)])
                kinds = f", variants {', '.join(variants)}" if "variants" in config.__dict__ else ""
                raise UsageError(
                    f"--expect {expectation.text!r}: the table has no such row; its rows are"
                    f" {rows}{kinds}"
                )


def check(expectations: Sequence[Expectation], metrics: Mapping[str, Any]) -> None:
    """Raises ExpectationError with a line per expectation that `metrics` does not meet."""
    missed = [
        f"expected {expectation.text}, measured {metrics.get(expectation.metric)}"
        for expectation in expectations
        if not _holds(expectation, metrics.get(expectation.metric))
    ]
    if missed:
        raise ExpectationError("\n".join(missed))


def _number(bound: str, text: str) -> float:
    if bound in ("true", "false"):
        return float(bound == "true")
    try:
        number = float(bound)
    except ValueError:
        number = math.nan
    if math.isnan(number):
        raise UsageError(f"--expect {text!r}: {bound!r} is not a number, true or false")
    return number


def _pattern(name: str) -> re.Pattern[str]:
    with_rows = name.replace("<row>", _ROW).replace("<grid>", _GRID)
    return re.compile(with_rows.replace("<numbers>", r"\d+"))


def _holds(expectation: Expectation, value: Any) -> bool:
    """True if a measured value meets the expectation; one that could not be measured never does."""
    if isinstance(expectation.bound, str):
        return isinstance(value, str) and COMPARE[expectation.comparison](value, expectation.bound)
    if not isinstance(value, int | float) or math.isnan(value):
        return False
    return COMPARE[expectation.comparison](value, expectation.bound)
