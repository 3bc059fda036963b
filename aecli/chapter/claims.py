"""Every claim of the chapter that can be measured, as data: who says what, and how it is judged."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, stdev

from aecli.chapter.linear import (
    Advantage,
    LinearCheck,
    judge_advantage,
    judge_eckart_young,
)
from aecli.chapter.sampling import judge_grey_smear
from aecli.chapter.table import PCA_32_MSE, TABLE_MSE, TABLE_RATIO, TRAINING_MSE

HOLDS, FAILS, ONLY_IF = "holds", "does not hold", "holds only if"


@dataclass(frozen=True)
class Evidence:
    """What was measured; a sequence has a value per seed.

    `chapter_*` is of the chapter's own recipe, the rest of aecli's.
    """

    code_shape: tuple[int, ...]
    reconstruction_shape: tuple[int, ...]
    compression_ratios: Mapping[int, float]
    chapter_train_mse: Sequence[Sequence[float]]
    """Code 32: per seed, per epoch."""
    chapter_test_mse: Mapping[int, Sequence[float]]
    test_mse: Mapping[int, Sequence[float]]
    wide_test_mse: Sequence[float]
    """Code 784 without hidden layers."""
    wide_probe_accuracy: float
    raw_probe_accuracy: float
    narrowest_784: int
    pca_test_mse: Mapping[int, float]
    code2_knn_accuracy: float
    advantages: Sequence[Advantage]
    linear_checks: Sequence[LinearCheck]
    unit_order: Sequence[float]
    """Code 32: the rank correlation of a unit's index and its variance; PCA's is -1."""
    unit_correlation: Sequence[float]
    """Code 32: the mean absolute correlation of two units."""
    pca_unit_correlation: float
    smear_trained: tuple[float, float]
    """Median lowest and highest pixel of what decodes from one N(0, I) code."""
    smear_untrained: tuple[float, float]
    normal_in_hole: float
    """The share of N(0, I) codes in a hole of the code-32 region."""
    code_deviations: Sequence[tuple[float, float]]
    """Code 32: per seed and recipe, the smallest and the largest standard deviation of a unit."""
    code_centres: Sequence[tuple[float, float]]
    """Likewise of a unit's mean."""
    leaving_2: float
    """The share of straight paths at code 2 that pass through a hole."""
    leaving_32: float
    leaving_pca_2: float
    frechet: Mapping[str, float]
    """Sampler -> Frechet distance in the classifier's features; `floor` is of real test images."""


@dataclass(frozen=True)
class Judgement:
    """A verdict, our number in words, and why."""

    verdict: str
    measured: str
    reason: str


@dataclass(frozen=True)
class Claim:
    """One claim: where it stands, what it says in our words, and what judges it."""

    name: str
    section: int
    says: str
    printed: str
    judge: Callable[[Evidence], Judgement]
    figure: str
    """Where in the run folder the evidence can be seen; empty if there is nothing to see."""


def judge_all(evidence: Evidence) -> list[tuple[Claim, Judgement]]:
    """Every claim with its judgement."""
    return [(claim, claim.judge(evidence)) for claim in CLAIMS]


def over_seeds(values: Sequence[float], digits: int = 4) -> str:
    """Mean and spread in words: `0.0192 ± 0.0003 (3 seeds)`."""
    if len(values) == 1:
        return f"{values[0]:.{digits}f} (1 seed)"
    return f"{fmean(values):.{digits}f} ± {stdev(values):.{digits}f} ({len(values)} seeds)"


def agrees(printed: float, values: Sequence[float]) -> bool:
    """Whether a printed number is what was measured: within 3 standard deviations or 2%."""
    sd = stdev(values) if len(values) > 1 else 0.0
    return abs(fmean(values) - printed) <= max(3 * sd, 0.02 * printed, 0.00005)


def _plain(holds: bool) -> str:
    return HOLDS if holds else FAILS


def _shapes(e: Evidence) -> Judgement:
    holds = e.code_shape == (8, 32) and e.reconstruction_shape == (8, 784)
    return Judgement(_plain(holds), f"{e.code_shape} and {e.reconstruction_shape}", "by running it")


def _training(e: Evidence) -> Judgement:
    by_epoch = {epoch: [seed[epoch] for seed in e.chapter_train_mse] for epoch in TRAINING_MSE}
    right = [epoch for epoch, printed in TRAINING_MSE.items() if agrees(printed, by_epoch[epoch])]
    measured = ", ".join(over_seeds(values) for values in by_epoch.values())
    if len(right) == len(TRAINING_MSE):
        return Judgement(HOLDS, measured, "all three are what the printed loop gives")
    if right:
        reason = "the printed loop gives the others differently"
        return Judgement(f"{ONLY_IF} at epoch {', '.join(map(str, right))}", measured, reason)
    return Judgement(FAILS, measured, "the printed loop gives other numbers")


def _falling(e: Evidence) -> Judgement:
    falls = all(b < a for seed in e.chapter_train_mse for a, b in pairwise(seed))
    first, last = ([seed[i] for seed in e.chapter_train_mse] for i in (0, -1))
    measured = f"{over_seeds(first)} to {over_seeds(last)}"
    return Judgement(_plain(falls), measured, "from each epoch to the next, in every seed")


def _row(code_dim: int) -> Callable[[Evidence], Judgement]:
    def judge(e: Evidence) -> Judgement:
        own = e.chapter_test_mse[code_dim]
        better = over_seeds(e.test_mse[code_dim])
        reason = f"the chapter's own training gives this; aecli's recipe gives {better}"
        return Judgement(_plain(agrees(TABLE_MSE[code_dim], own)), over_seeds(own), reason)

    return judge


def _identity(e: Evidence) -> Judgement:
    drawn, wide, variance_share = e.test_mse[784], e.wide_test_mse, 0.05 * e.pca_test_mse[2]
    measured = (
        f"{over_seeds(e.chapter_test_mse[784])} as drawn, the chapter's way; {over_seeds(drawn)}"
        f" as drawn, aecli's; {over_seeds(wide, 5)} without hidden layers"
    )
    if fmean(e.chapter_test_mse[784]) < variance_share / 10:
        return Judgement(HOLDS, measured, "the network as drawn copies its input")
    if fmean(wide) < variance_share:
        reason = (
            f"as drawn, {e.narrowest_784}-wide hidden layers are still the bottleneck;"
            " without them the code nearly copies"
        )
        return Judgement(f"{ONLY_IF} no layer is narrower than the code", measured, reason)
    return Judgement(FAILS, measured, "neither network comes near an identity")


def _meaningless(e: Evidence) -> Judgement:
    gain = 100 * (e.wide_probe_accuracy - e.raw_probe_accuracy)
    measured = (
        f"a linear probe reads {100 * e.wide_probe_accuracy:.1f}% of digits from it,"
        f" {100 * e.raw_probe_accuracy:.1f}% from the pixels"
    )
    if gain <= 1:
        return Judgement(HOLDS, measured, "the code says no more of the digit than the image does")
    return Judgement(FAILS, measured, "the code says more of the digit than the image does")


def _ratios(e: Evidence) -> Judgement:
    holds = all(e.compression_ratios[k] == ratio for k, ratio in TABLE_RATIO.items())
    measured = ", ".join(f"{e.compression_ratios[k]:g}:1" for k in TABLE_RATIO)
    return Judgement(_plain(holds), measured, "784 pixels over the code dimension")


def _pca(e: Evidence) -> Judgement:
    mse = e.pca_test_mse[32]
    reason = "the exact solution, by eigenvalues of the covariance, on the same images"
    return Judgement(_plain(agrees(PCA_32_MSE, [mse])), f"{mse:.5f}", reason)


def _beats_pca(e: Evidence) -> Judgement:
    own, better, pca = e.chapter_test_mse[32], e.test_mse[32], e.pca_test_mse[32]
    measured = f"{over_seeds(own)} the chapter's way, {over_seeds(better)} aecli's; PCA {pca:.4f}"
    if max(own) < pca:
        return Judgement(HOLDS, measured, "the chapter's five epochs are enough")
    if max(better) < pca:
        reason = "the chapter's five epochs of Adam at 1e-3 lose to PCA; five better ones beat it"
        return Judgement(f"{ONLY_IF} it is trained further", measured, reason)
    return Judgement(FAILS, measured, "no training tried beats PCA")


def _diminishing(e: Evidence) -> Judgement:
    m = {k: fmean(e.test_mse[k]) for k in (16, 32, 64)}
    before, after = m[16] - m[32], m[32] - m[64]
    gain = 100 * after / m[32]
    pca_gain = 100 * (1 - e.pca_test_mse[64] / e.pca_test_mse[32])
    measured = f"{m[16]:.4f} at 16, {m[32]:.4f} at 32, {m[64]:.4f} at 64"
    if after >= before:
        return Judgement(FAILS, measured, "the drop does not shrink")
    if gain < 10:
        return Judgement(HOLDS, measured, f"from 32 to 64 the error falls by {gain:.0f}% only")
    reason = (
        f"the drop shrinks, but from 32 to 64 the error still falls by {gain:.0f}%"
        f" (PCA's by {pca_gain:.0f}%): that is not almost nothing"
    )
    return Judgement(f"{ONLY_IF} the drop is meant in absolute terms", measured, reason)


def _clusters(e: Evidence) -> Judgement:
    accuracy = e.code2_knn_accuracy
    measured = f"{100 * accuracy:.0f}% of test digits lie among codes of their own digit"
    if accuracy > 0.95:
        return Judgement(FAILS, measured, "they are separated cleanly, not loosely")
    reason = "well above the 10% of chance, well below a clean separation"
    return Judgement(
        _plain(accuracy >= 0.5), measured, reason if accuracy >= 0.5 else "no clusters"
    )


def _eckart_young(e: Evidence) -> Judgement:
    verdict = judge_eckart_young(e.linear_checks)
    worst = max(check.excess_percent for check in e.linear_checks)
    return Judgement(_plain(verdict.holds), f"at most {worst:.2f}% above the tail", verdict.reason)


def _unordered(e: Evidence) -> Judgement:
    order = [abs(value) for value in e.unit_order]
    measured = (
        f"rank correlation of unit and variance {over_seeds(e.unit_order, 2)}, PCA's -1;"
        f" mean |correlation| of two units {over_seeds(e.unit_correlation, 2)},"
        f" PCA's {e.pca_unit_correlation:.2f}"
    )
    unordered = fmean(order) < 0.5
    correlated = fmean(e.unit_correlation) > 2 * e.pca_unit_correlation
    if unordered and correlated:
        return Judgement(HOLDS, measured, "neither ordered by variance nor uncorrelated")
    wrong = "ordered" if not unordered else "uncorrelated"
    return Judgement(FAILS, measured, f"the units are {wrong} after all")


def _smear(e: Evidence) -> Judgement:
    trained, untrained = e.smear_trained, e.smear_untrained
    measured = (
        f"{trained[0]:.2f} to {trained[1]:.2f} trained,"
        f" {untrained[0]:.2f} to {untrained[1]:.2f} untrained"
    )
    if judge_grey_smear(*trained).holds:
        return Judgement(HOLDS, measured, "a trained decoder gives a flat mid-grey band")
    if judge_grey_smear(*untrained).holds:
        reason = "a trained decoder paints paper and ink; only an untrained one is flat grey"
        return Judgement(f"{ONLY_IF} the decoder was never trained", measured, reason)
    return Judgement(FAILS, measured, "neither decoder gives a flat mid-grey band")


def _cannot_sample(e: Evidence) -> Judgement:
    normal, floor = e.frechet["standard-normal"], e.frechet["floor"]
    # Jittered codes are those of real images; of what is drawn blindly, the best beside N(0, I):
    others = ("floor", "standard-normal", "jittered")
    best = min((v, k) for k, v in e.frechet.items() if k not in others)
    measured = (
        f"Frechet distance {normal:.0f}; {best[0]:.0f} from {best[1]}, {floor:.1f} of real ones"
    )
    reason = (
        "what N(0, I) decodes to is far from digits" if normal > 10 * floor else "it comes near"
    )
    return Judgement(_plain(normal > 10 * floor), measured, reason)


def _normal_in_hole(e: Evidence) -> Judgement:
    measured = f"{100 * e.normal_in_hole:.0f}% of N(0, I) codes lie in a hole"
    reason = "by the rule under which 1% of held-out images do"
    return Judgement(_plain(e.normal_in_hole > 0.9), measured, reason)


def _no_scale(e: Evidence) -> Judgement:
    deviations = [value for pair in e.code_deviations for value in pair]
    centres = [value for pair in e.code_centres for value in pair]
    low, high, far = min(deviations), max(deviations), max(abs(centre) for centre in centres)
    measured = (
        f"units centred from {min(centres):.1f} to {max(centres):.1f},"
        f" standard deviations {low:.1f} to {high:.1f}"
    )
    found = [
        what
        for what, is_so in (
            ("units lie where N(0, 1) hardly ever draws", far > 2),
            ("their scales are not 1", low < 0.5 or high > 2),
        )
        if is_so
    ]
    if found:
        return Judgement(HOLDS, measured, " and ".join(found))
    return Judgement(FAILS, measured, "close to N(0, 1), as if it had been asked for")


def _holes(e: Evidence) -> Judgement:
    measured = (
        f"{100 * e.leaving_2:.0f}% of straight paths at code 2 and {100 * e.leaving_32:.0f}% at"
        f" code 32 pass a hole; {100 * e.leaving_pca_2:.0f}% of PCA's at 2"
    )
    if e.leaving_2 > 0.2 and e.leaving_32 > 0.2:
        return Judgement(HOLDS, measured, "a good part of paths between digits leave the region")
    if e.leaving_2 > 0.2 or e.leaving_32 > 0.2:
        where = "2" if e.leaving_2 > 0.2 else "32"
        return Judgement(
            f"{ONLY_IF} the code dimension is {where}", measured, "not at the other one"
        )
    return Judgement(FAILS, measured, "paths between digits stay where images are")


def _nonlinear_everywhere(e: Evidence) -> Judgement:
    trend = judge_advantage(e.advantages)
    wins = all(a.network_mse < a.pca_mse for a in e.advantages)
    measured = ", ".join(f"{a.percent:+.0f}% at {a.code_dim}" for a in e.advantages)
    reason = (
        f"largest at {trend.largest_at} and smallest at {trend.smallest_at} in mse,"
        f" largest at {trend.largest_relative_at} and smallest at"
        f" {trend.smallest_relative_at} in percent"
    )
    return Judgement(_plain(wins), measured, reason)


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "shapes",
        1,
        "8 images give 8 codes of 32 and 8 reconstructions of 784",
        "(8, 32) and (8, 784)",
        _shapes,
        "",
    ),
    Claim(
        "training-mse",
        1,
        "training mse at epochs 0, 1 and 4",
        "0.0461, 0.0292, 0.0204",
        _training,
        "chapter_training.png",
    ),
    Claim(
        "falling-mse",
        1,
        "the training error falls from epoch to epoch",
        "falling",
        _falling,
        "chapter_training.png",
    ),
    Claim("table-2", 2, "mse at a code of 2", "0.052", _row(2), "sweep/tradeoff.png"),
    Claim("table-8", 2, "mse at a code of 8", "0.028", _row(8), "sweep/tradeoff.png"),
    Claim("table-32", 2, "mse at a code of 32", "0.020", _row(32), "sweep/tradeoff.png"),
    Claim(
        "identity", 2, "a code of 784 copies its input", "~0.000", _identity, "sweep/decoded.png"
    ),
    Claim(
        "meaningless",
        2,
        "an overcomplete code is just the image again",
        "meaningless",
        _meaningless,
        "sweep/decoded.png",
    ),
    Claim("compression", 2, "compression ratios of the table", "392, 98, 24.5, 1", _ratios, ""),
    Claim(
        "diminishing",
        2,
        "past 32 extra capacity buys almost nothing",
        "the drop shrinks",
        _diminishing,
        "sweep/tradeoff.png",
    ),
    Claim(
        "clusters",
        2,
        "codes of 2 form loosely separated clusters by digit",
        "loose",
        _clusters,
        "sweep/code_scatter.png",
    ),
    Claim(
        "eckart-young",
        3,
        "a linear autoencoder finds PCA's subspace and error, by other axes",
        "exact",
        _eckart_young,
        "pca-compare/unit_mix.png",
    ),
    Claim("pca-32", 3, "PCA's test mse at 32", "0.0241", _pca, "pca-compare/comparison.png"),
    Claim(
        "sanity-check",
        3,
        "the network beats PCA at 32",
        "0.0204 < 0.0241",
        _beats_pca,
        "pca-compare/comparison.png",
    ),
    Claim(
        "advantage",
        3,
        "a curved surface beats the flat one at every code size",
        "always",
        _nonlinear_everywhere,
        "pca-compare/comparison.png",
    ),
    Claim(
        "unordered",
        3,
        "units are neither ordered by importance nor uncorrelated",
        "entangled",
        _unordered,
        "code_units.png",
    ),
    Claim(
        "no-scale",
        4,
        "codes have no fixed place or scale",
        "e.g. [-40, 40] and [-2, 2]",
        _no_scale,
        "sample/code_ranges.png",
    ),
    Claim(
        "normal-in-hole",
        4,
        "an N(0, I) code almost surely falls in a hole",
        "almost surely",
        _normal_in_hole,
        "sample/sample_grids.png",
    ),
    Claim(
        "grey-smear",
        4,
        "it decodes to a flat mid-grey band",
        "0.41 to 0.58",
        _smear,
        "sample/sample_grids.png",
    ),
    Claim(
        "cannot-sample",
        4,
        "random codes do not decode to digits",
        "unusable",
        _cannot_sample,
        "sample/sample_grids.png",
    ),
    Claim(
        "holes-on-the-path",
        4,
        "a straight path between two codes leaves the occupied region",
        "leaves",
        _holes,
        "interpolate/hole_rates.png",
    ),
)
