"""Judges of what section 3 says of flat and curved surfaces, and of a code's axes."""

from statistics import fmean

from aecli.chapter.evidence import Evidence, Turn, in_all, over_seeds
from aecli.chapter.verdict import FAILS, HOLDS, ONLY_IF, Judgement

ROUNDING = 1e-4
"""Share of the variance by which a sum may miss it: what is decoded is in float32."""
ARRIVED = 1.0
"""Percent above PCA's error within which gradient descent has arrived."""
LINES, FORTY = 3, (20, 60)
"""Lines that the chapter has for PCA, and those that roughly forty may be: a half off."""
STRAIGHT = 0.9
"""Chord over length of a path from which on it is a line, or nearly so; half a circle has 0.64."""
ONE_AXIS = 1.5
"""Effective dimension of a path up to which it lies along one axis, rather than in a plane."""
STRONG = 0.5
"""Absolute correlation from which on it is strong (Cohen, "Statistical power analysis", 1988)."""


def adds_up(e: Evidence) -> Judgement:
    gaps = e.variance_gaps
    measured = "kept and lost miss the whole variance of the test images by " + ", ".join(
        f"{gap:.1e} of it ({name})" for name, gap in gaps.items()
    )
    off = [name for name, gap in gaps.items() if gap > ROUNDING]
    if not off:
        return Judgement(HOLDS, measured, f"within {ROUNDING:g} of it, whatever the projection")
    if len(off) == len(gaps):
        return Judgement(FAILS, measured, f"by more than {ROUNDING:g} of it, by every projection")
    there = " or ".join(name for name in gaps if name not in off)
    return Judgement(f"{ONLY_IF} the projection is {there}", measured, f"not by {' or '.join(off)}")


def closed_form(e: Evidence) -> Judgement:
    found = e.listings
    times = found.gradient_seconds / found.closed_seconds
    measured = (
        f"{found.closed_seconds:.2f} s for {found.code_dim} components in closed form;"
        f" {found.gradient_seconds:.1f} s and {found.gradient_epochs} epochs by gradient descent,"
        f" then {found.excess_percent:.2f}% above PCA's error and"
        f" {found.angle_degrees:.1f} degrees off its subspace"
    )
    if times <= 1:
        return Judgement(FAILS, measured, "gradient descent is no slower")
    if found.excess_percent < 0:
        return Judgement(FAILS, measured, "gradient descent ends below the exact solution")
    still = "" if found.excess_percent <= ARRIVED else " and has not arrived even then"
    return Judgement(HOLDS, measured, f"gradient descent takes {times:.0f} times as long{still}")


def three_lines(e: Evidence) -> Judgement:
    closed, gradient = e.listings.closed_lines, e.listings.gradient_lines
    measured = f"{closed} lines in closed form, {gradient} of model, loss and training loop"
    if closed > LINES:
        return Judgement(FAILS, measured, f"the closed form takes more than {LINES}")
    low, high = FORTY
    if not low <= gradient <= high:
        return Judgement(FAILS, measured, f"not {low} to {high}, which roughly forty may mean")
    return Judgement(HOLDS, measured, f"{gradient / closed:.0f} times as many")


def turns_on_a_curve(e: Evidence) -> Judgement:
    pixels, codes = e.turn_of_pixels, e.turns_of_codes
    measured = (
        "chord over length of a quarter turn, and effective dimension of a whole one:"
        f" {_turn(pixels)} in pixels, {_turn(e.turn_of_pca)} in PCA's codes,"
        f" {over_seeds([t.chord for t in codes], 2)} and"
        f" {over_seeds([t.dimension for t in codes], 1)} in the network's"
    )
    if pixels.chord >= STRAIGHT or pixels.dimension <= ONE_AXIS:
        return Judgement(FAILS, measured, "in pixels it is nearly a line")
    longer = min(t.chord for t in codes) > pixels.chord
    beside = "; in the network's codes it is straighter" if longer else ""
    return Judgement(HOLDS, measured, f"far from a line's 1 and 1{beside}")


def first_is_not_largest(e: Evidence) -> Judgement:
    ranks = [found.rank for found in e.deleted]
    rises = [fmean(found.mse) / found.whole_mse for found in e.deleted]
    measured = (
        f"of {len(e.deleted[0].mse)} units, unit 0 is number {', '.join(map(str, ranks))} by what"
        f" its loss costs; PCA's is number {e.pca_deleted.rank}; losing one makes the error"
        f" {over_seeds(rises, 1)} times as large, mean over units"
    )
    first = ranks.count(1)
    if not first:
        return Judgement(HOLDS, measured, f"another one is the largest {in_all(len(ranks))}")
    where = in_all(first) if first == len(ranks) else f"in {first} of {len(ranks)} seeds"
    return Judgement(FAILS, measured, f"unit 0 is the largest {where}")


def correlated(e: Evidence) -> Judgement:
    largest = e.largest_correlation
    measured = f"the largest |correlation| of two units {over_seeds(largest, 2)}"
    if max(largest) >= STRONG:
        seeds = sum(value >= STRONG for value in largest)
        where = in_all(seeds) if seeds == len(largest) else f"in {seeds} of {len(largest)} seeds"
        return Judgement(HOLDS, measured, f"at least {STRONG:g} {where}")
    return Judgement(FAILS, measured, f"below {STRONG:g} {in_all(len(largest))}")


def _turn(turn: Turn) -> str:
    return f"{turn.chord:.2f} and {turn.dimension:.1f}"
