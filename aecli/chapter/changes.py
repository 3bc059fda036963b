"""Judges of what a change of the training does: the story of a decoder that had to draw, order, and
noise. Each claim is about every seed."""

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import TypeVar

from aecli.chapter.evidence import Evidence, ScarceClass, in_all, over_seeds
from aecli.chapter.verdict import FAILS, HOLDS, NOT_JUDGED, Judgement

S = TypeVar("S")

SLIGHTLY = 1.5
"""Ratio of the errors after and before up to which reconstructions are slightly softer."""
FEW_IN_HOLES = 0.05
"""Share of codes in holes up to which a code space can be drawn from."""
IN_ORDER = -0.9
"""Rank correlation of a unit's index and its variance below which units are in order; PCA's is -1.
None is there within half of 1 of 0."""


def softer(e: Evidence) -> Judgement:
    ratios = [c.test_mse / c.plain_test_mse for c in e.conversions]
    before, after = [c.plain_test_mse for c in e.conversions], [c.test_mse for c in e.conversions]
    measured = (
        f"{over_seeds(ratios, 2)} times the plain codec's error:"
        f" {over_seeds(before)} before, {over_seeds(after)} after, on test images"
    )
    if max(ratios) > SLIGHTLY:
        reason = f"in one seed at least, the error is more than {SLIGHTLY:g} times the plain one's"
        return Judgement(FAILS, measured, reason)
    if min(ratios) <= 1:
        reason = (
            "in one seed at least, they are no softer: the training that converts lowers errors"
        )
        return Judgement(FAILS, measured, reason)
    reason = f"above the plain codec's error, at most {SLIGHTLY:g} times it, {in_all(len(ratios))}"
    return Judgement(HOLDS, measured, reason)


def samplable(e: Evidence) -> Judgement:
    seeds = e.conversions
    measured = (
        f"{_percent([c.plain_in_holes for c in seeds])} of N(0, I) codes in holes before,"
        f" {_percent([c.in_holes for c in seeds])} after; Frechet distance of what they decode to"
        f" {over_seeds([c.plain_frechet for c in seeds], 0)} before,"
        f" {over_seeds([c.frechet for c in seeds], 0)} after,"
        f" of real test images {e.frechet['floor']:.1f}"
    )
    wrong = _wrong(
        seeds,
        ("no more than half of them are in holes before", lambda c: c.plain_in_holes <= 0.5),
        (
            f"more than {100 * FEW_IN_HOLES:g}% are in holes after",
            lambda c: c.in_holes > FEW_IN_HOLES,
        ),
        (
            "the Frechet distance does not fall to less than half",
            lambda c: c.frechet >= c.plain_frechet / 2,
        ),
    )
    if wrong:
        return Judgement(FAILS, measured, wrong)
    reason = (
        "most are in holes before, hardly any after, where the codes drawn for images are, and the"
        f" distance falls to less than half, {in_all(len(seeds))}"
    )
    return Judgement(HOLDS, measured, reason)


def still_compresses(e: Evidence) -> Judgement:
    mse, pca_mse = [c.test_mse for c in e.conversions], e.pca_test_mse[32]
    measured = f"{over_seeds(mse)} on test images; PCA {pca_mse:.4f}"
    if max(mse) < pca_mse:
        reason = f"the means decode better than PCA's 32 components do, {in_all(len(mse))}"
        return Judgement(HOLDS, measured, reason)
    return Judgement(FAILS, measured, "in one seed at least, PCA's 32 components decode better")


def must_be_variational(e: Evidence) -> Judgement:
    seeds = e.conversions
    measured = (
        f"Frechet distance of the variational codec's N(0, I)"
        f" {over_seeds([c.frechet for c in seeds], 0)}, of the plain codec's mixture of Gaussians"
        f" {over_seeds([c.fitted_frechet for c in seeds], 0)}"
    )
    plain = "the plain codec under a mixture fitted to its codes draws"
    lost = sum(c.fitted_frechet <= c.frechet for c in seeds)
    if not lost:
        return Judgement(HOLDS, measured, f"{plain} worse, {in_all(len(seeds))}")
    where = in_all(lost) if lost == len(seeds) else f"in {lost} of {len(seeds)} seeds"
    return Judgement(FAILS, measured, f"{plain} better, or as well, {where}")


def fills_up_a_scarce_class(e: Evidence) -> Judgement:
    seeds = e.scarce
    if not seeds:
        reason = "it takes a class with more training images, and others beside it"
        return Judgement(f"{NOT_JUDGED} (too few images)", "no class was cut", reason)
    measured = (
        f"{e.scarce_class}: a classifier recognises"
        f" {_percent([s.drawn for s in seeds])} of its test images with drawn ones added,"
        f" {_percent([s.distorted for s in seeds])} with distorted ones,"
        f" {_percent([s.repeated for s in seeds])} with the same ones repeated"
    )
    beside = _beside_distorting(seeds)
    level = sum(s.drawn <= s.repeated for s in seeds)
    if not level:
        return Judgement(HOLDS, measured, f"more than by repeating, {in_all(len(seeds))}; {beside}")
    where = in_all(level) if level == len(seeds) else f"in {level} of {len(seeds)} seeds"
    return Judgement(FAILS, measured, f"no more than by repeating, {where}; {beside}")


def _beside_distorting(seeds: Sequence[ScarceClass]) -> str:
    """Words on drawn images beside distorted ones."""
    better = sum(s.drawn > s.distorted for s in seeds)
    if better == len(seeds):
        return "more than by distorting, too"
    if better:
        return f"more than by distorting in {better} of {len(seeds)} seeds"
    return "distorting the few does as much or more, and needs no codec"


def learns_by_noise(e: Evidence) -> Judgement:
    seeds = e.noise_trainings
    if not seeds:
        reason = "the training without noise of its own has some too (train.noise)"
        return Judgement(f"{NOT_JUDGED} (noise in every training)", "no comparison", reason)
    measured = (
        "mse of what test images with half of the pixels masked decode to"
        f" {over_seeds([s.plain_restored for s in seeds])} without noise in training,"
        f" {over_seeds([s.restored for s in seeds])} with it; on images cut up and shuffled"
        f" {over_seeds([s.plain_shuffled for s in seeds])} without,"
        f" {over_seeds([s.shuffled for s in seeds])} with it"
    )
    wrong = _wrong(
        seeds,
        (
            "masked digits come out at more than half the error",
            lambda s: s.restored >= s.plain_restored / 2,
        ),
        (
            "what is no digit is copied as well, or nearly so",
            lambda s: s.shuffled <= 1.5 * s.plain_shuffled,
        ),
    )
    if wrong:
        return Judgement(FAILS, measured, wrong)
    reason = (
        "with noise it restores digits, at less than half the error, and no longer copies what is"
        f" no digit, {in_all(len(seeds))}"
    )
    return Judgement(HOLDS, measured, reason)


def can_be_ordered(e: Evidence) -> Judgement:
    plain, ordered = e.unit_order, e.ordered_unit_order
    measured = (
        f"rank correlation of unit and variance {over_seeds(ordered, 2)} where codes are cut at"
        f" random in training, {over_seeds(plain, 2)} where not; test mse of the whole code"
        f" {over_seeds(e.ordered_test_mse)} and {over_seeds(e.test_mse[32])}"
    )
    if max(ordered) >= IN_ORDER:
        reason = f"in one seed at least, it is not below {IN_ORDER:g}"
        return Judgement(FAILS, measured, reason)
    if fmean(abs(value) for value in plain) >= 0.5:
        return Judgement(FAILS, measured, "plain training has an order, too")
    reason = f"below {IN_ORDER:g} {in_all(len(ordered))}, and no order by plain training"
    return Judgement(HOLDS, measured, reason)


def _wrong(seeds: Sequence[S], *faults: tuple[str, Callable[[S], bool]]) -> str:
    """Words on the faults, each a sentence and what tells it, that one seed or more has; empty if
    none has any."""
    found = [words for words, is_so in faults if any(map(is_so, seeds))]
    return f"in one seed at least, {' and '.join(found)}" if found else ""


def _percent(shares: Sequence[float]) -> str:
    """Mean and standard deviation of shares over seeds: `95.1 ± 0.4%`."""
    if len(shares) == 1:
        return f"{100 * shares[0]:.1f}% (1 seed)"
    return f"{over_seeds([100 * share for share in shares], 1)}%"
