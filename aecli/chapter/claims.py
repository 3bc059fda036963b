"""Every claim of the chapter that can be measured, as data: its place, its words, its judge."""

from collections.abc import Callable
from dataclasses import dataclass

from aecli.chapter import changes, judges, latent, work
from aecli.chapter.evidence import Evidence
from aecli.chapter.table import MNIST
from aecli.chapter.verdict import NOT_JUDGED, Judgement

# Reasons why a claim needs networks that are trained in full, on all images.
_NUMBER = "the chapter's number is of five epochs over MNIST's 60,000 images"
_ERROR = "how low an error gets depends on how long and on how much was trained"
_ARRIVAL = "the linear autoencoder needs all its steps to arrive at PCA's subspace"
_CODES = "where codes lie, and how they cluster, depends on how long was trained"
_DECODED = "what a code decodes to depends on how long was trained"
_MANY = "a search takes its time among many images"
_LEARNED = "what a change of the training does depends on how long and on how much was trained"


@dataclass(frozen=True)
class Claim:
    """One claim: where it stands, what it says in our words, and what judges it."""

    name: str
    section: int
    says: str
    printed: str
    judge: Callable[[Evidence], Judgement]
    figure: str = ""
    """File in the run folder that shows the evidence; empty if there is nothing to see."""
    needs_full_training: str = ""
    """Reason why a quick look, or a training on few images, cannot judge it; empty if it can."""
    of_mnist: bool = False
    """True if it is about a number of MNIST's, which other images cannot confirm or refute."""


def judge_all(evidence: Evidence) -> list[tuple[Claim, Judgement]]:
    """Every claim with its judgement: a verdict, or why there is none."""
    return [(claim, judge(claim, evidence)) for claim in CLAIMS]


def judge(claim: Claim, evidence: Evidence) -> Judgement:
    """The judgement on one claim; the measured number stands in it, judged or not."""
    judgement = claim.judge(evidence)
    if claim.of_mnist and evidence.dataset != MNIST:
        reason = "the chapter's number is MNIST's"
        return Judgement(f"{NOT_JUDGED} ({evidence.dataset})", judgement.measured, reason)
    if claim.needs_full_training and evidence.short:
        verdict = f"{NOT_JUDGED} ({evidence.short})"
        return Judgement(verdict, judgement.measured, claim.needs_full_training)
    return judgement


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "shapes",
        1,
        "8 images give 8 codes of 32 and 8 reconstructions of 784",
        "(8, 32) and (8, 784)",
        judges.shapes,
    ),
    Claim(
        "training-mse",
        1,
        "training mse at epochs 0, 1 and 4",
        "0.0461, 0.0292, 0.0204",
        judges.training,
        "chapter_training.png",
        _NUMBER,
        of_mnist=True,
    ),
    Claim(
        "falling-mse",
        1,
        "the training error falls from epoch to epoch",
        "falling",
        judges.falling,
        "chapter_training.png",
    ),
    *(
        Claim(
            f"table-{code_dim}",
            2,
            f"mse at a code of {code_dim}",
            printed,
            judges.row(code_dim),
            "sweep/tradeoff.png",
            _NUMBER,
            of_mnist=True,
        )
        for code_dim, printed in ((2, "0.052"), (8, "0.028"), (32, "0.020"))
    ),
    Claim(
        "codes-classify",
        1,
        "a code is a feature for a small classifier",
        "useful",
        work.serves("probe_accuracy", "a linear classifier reads"),
        "work.png",
        _LEARNED,
    ),
    Claim(
        "codes-cluster",
        1,
        "a code is a feature for clustering",
        "useful",
        work.serves("kmeans_accuracy", "k-means without labels finds the classes of"),
        "work.png",
        _LEARNED,
    ),
    Claim(
        "codes-retrieve",
        1,
        "a code is a feature for retrieval",
        "useful",
        work.serves("retrieval_map", "mean average precision of a class's images"),
        "work.png",
        _LEARNED,
    ),
    Claim(
        "codes-tell-odd-ones",
        1,
        "a code is a feature for anomaly detection",
        "useful",
        work.serves("anomaly_auroc", "AUROC of images of other classes among one class"),
        "work.png",
        _LEARNED,
    ),
    Claim(
        "identity",
        2,
        "a code of 784 copies its input",
        "~0.000",
        judges.identity,
        "sweep/decoded.png",
        _ERROR,
    ),
    Claim(
        "meaningless",
        2,
        "an overcomplete code is just the image again",
        "meaningless",
        judges.meaningless,
        "sweep/decoded.png",
        _CODES,
    ),
    Claim(
        "noise",
        2,
        "a change of the training, noise, forces an overcomplete code to learn (exercise 1)",
        "forces",
        changes.learns_by_noise,
        "noise.png",
        _LEARNED,
    ),
    Claim("compression", 2, "compression ratios of the table", "392, 98, 24.5, 1", judges.ratios),
    Claim(
        "diminishing",
        2,
        "past 32 extra capacity buys almost nothing on MNIST",
        "the drop shrinks",
        judges.diminishing,
        "sweep/tradeoff.png",
        _ERROR,
        of_mnist=True,
    ),
    Claim(
        "clusters",
        2,
        "codes of 2 form loosely separated clusters by class",
        "loose",
        judges.clusters,
        "sweep/code_scatter.png",
        _CODES,
    ),
    Claim(
        "eckart-young",
        3,
        "a linear autoencoder finds PCA's subspace and error, by other axes",
        "exact",
        judges.eckart_young,
        "pca-compare/unit_mix.png",
        _ARRIVAL,
    ),
    Claim(
        "pca-32",
        3,
        "PCA's test mse at 32",
        "0.0241",
        judges.pca,
        "pca-compare/comparison.png",
        "the chapter's number is of PCA on MNIST's 60,000 images",
        of_mnist=True,
    ),
    Claim(
        "sanity-check",
        3,
        "the network beats PCA at 32",
        "0.0204 < 0.0241",
        judges.beats_pca,
        "pca-compare/comparison.png",
        _ERROR,
    ),
    Claim(
        "advantage",
        3,
        "a curved surface beats the flat one at every code size",
        "always",
        judges.nonlinear_everywhere,
        "pca-compare/comparison.png",
        _ERROR,
    ),
    Claim(
        "unordered",
        3,
        "units are neither ordered by importance nor uncorrelated",
        "entangled",
        judges.unordered,
        "code_units.png",
    ),
    Claim(
        "order-by-training",
        3,
        "order is not for free, but training can give it",
        "must be pursued",
        changes.can_be_ordered,
        "order/code_units.png",
        _LEARNED,
    ),
    Claim(
        "no-scale",
        4,
        "codes have no fixed place or scale",
        "e.g. [-40, 40] and [-2, 2]",
        judges.no_scale,
        "sample/code_ranges.png",
        _CODES,
    ),
    Claim(
        "normal-in-hole",
        4,
        "an N(0, I) code almost surely falls in a hole",
        "almost surely",
        judges.normal_in_hole,
        "sample/sample_grids.png",
        _CODES,
    ),
    Claim(
        "grey-smear",
        4,
        "it decodes to a flat mid-grey band",
        "0.41 to 0.58",
        judges.smear,
        "sample/sample_grids.png",
        _DECODED,
    ),
    Claim(
        "cannot-sample",
        4,
        "random codes do not decode to real images",
        "unusable",
        judges.cannot_sample,
        "sample/sample_grids.png",
        _DECODED,
    ),
    Claim(
        "holes-on-the-path",
        4,
        "a straight path between two codes leaves the occupied region",
        "leaves",
        judges.holes,
        "interpolate/hole_rates.png",
        _CODES,
    ),
    Claim(
        "softer",
        4,
        "made variational, a codec reconstructs slightly softer",
        "slightly softer",
        changes.softer,
        "conversion.png",
        _LEARNED,
    ),
    Claim(
        "samplable",
        4,
        "made variational, its code space can be sampled by N(0, I)",
        "samplable",
        changes.samplable,
        "conversion.png",
        _LEARNED,
    ),
    Claim(
        "still-compresses",
        4,
        "made variational, it still compresses",
        "still worked",
        changes.still_compresses,
        "conversion.png",
        _LEARNED,
    ),
    Claim(
        "must-be-variational",
        4,
        "a codec draws only if its code space is constrained",
        "only when",
        changes.must_be_variational,
        "conversion.png",
        _LEARNED,
    ),
    Claim(
        "scarce-class",
        4,
        "drawn images fill up a scarce class",
        "useful",
        changes.fills_up_a_scarce_class,
        "scarce_class.png",
        _LEARNED,
    ),
    Claim(
        "fast-retrieval",
        4,
        "searching by codes is fast",
        "fast",
        work.retrieved_fast,
        needs_full_training=_MANY,
    ),
    Claim(
        "cheap-storage",
        4,
        "storing codes is cheap",
        "cheap",
        work.stored_cheaply,
        needs_full_training=_LEARNED,
    ),
    Claim(
        "cheap-decoding",
        4,
        "reconstructing from a compact code is cheap",
        "cheap",
        latent.measured(latent.cheap_to_decode),
    ),
    Claim(
        "smoother",
        4,
        "the latent surface is smoother than pixel space",
        "smoother",
        latent.measured(latent.smoother),
        "midpoints.png",
        _LEARNED,
    ),
    Claim(
        "published-weight",
        4,
        "at the published weight of its divergence, latent diffusion's autoencoder cannot be drawn"
        " from",
        "1e-6",
        latent.measured(latent.not_samplable),
        needs_full_training=_LEARNED,
    ),
    Claim(
        "same-compression",
        4,
        "f32c32, f64c128 and f128c512 compress equally",
        "96:1",
        latent.measured(latent.same_compression),
    ),
    Claim(
        "shortcuts",
        4,
        "residual shortcuts keep the error from growing with the downsampling factor",
        "less",
        latent.measured(latent.shortcuts_help),
        "grids.png",
        _LEARNED,
    ),
    Claim(
        "usable-128",
        4,
        "reconstructions are usable up to 128x",
        "usable",
        latent.measured(latent.usable_far),
        "grids.png",
        _LEARNED,
    ),
    Claim(
        "harder-to-train",
        4,
        "deep compression is harder to train",
        "harder",
        latent.measured(latent.harder_to_train),
        needs_full_training=_LEARNED,
    ),
    Claim(
        "cheaper-diffusion",
        4,
        "deep compression makes the diffusion stage much cheaper",
        "much",
        latent.measured(latent.cheaper_diffusion),
    ),
)
