"""Judges of what section 4 and its exercise say of the occupied range and of holes in it."""

from collections.abc import Sequence
from statistics import fmean

from aecli.chapter.evidence import SELDOM, Evidence, Step, in_all, over_seeds
from aecli.chapter.verdict import FAILS, HOLDS, NOT_JUDGED, ONLY_IF, Judgement

LARGE = 0.2
"""Share of the area between codes from which on its holes are large: one fifth."""
IN_HOLES = 0.5
"""Share of incoherent images that are decoded from holes, above which holes explain them."""


def in_range(e: Evidence) -> Judgement:
    measured = "in a hole: " + ", ".join(
        f"{over_seeds([100 * r.in_holes for r in found], 1)}% of codes of {k}"
        for k, found in e.in_range.items()
    )
    often = [k for k, found in e.in_range.items() if min(r.in_holes for r in found) > SELDOM]
    if len(often) == len(e.in_range):
        seeds = len(next(iter(e.in_range.values())))
        return Judgement(HOLDS, measured, f"more than one in five, at every code, {in_all(seeds)}")
    if often:
        reason = "at the others no more than one in five, in one seed at least"
        codes = " or ".join(map(str, often))
        return Judgement(f"{ONLY_IF} the code dimension is {codes}", measured, reason)
    return Judgement(FAILS, measured, "no more than one in five, in one seed at least")


def empty_between(e: Evidence) -> Judgement:
    measured = (
        f"{over_seeds([100 * share for share in e.empty], 1)}% of the area that codes of 2 span,"
        " their convex hull, is a hole"
    )
    if min(e.empty) >= LARGE:
        return Judgement(HOLDS, measured, f"at least {100 * LARGE:g}% {in_all(len(e.empty))}")
    return Judgement(FAILS, measured, f"less than {100 * LARGE:g}%, in one seed at least")


def incoherent_in_holes(e: Evidence) -> Judgement:
    words = []
    shares = incoherent_in_hole(e)
    for k, steps in e.steps.items():
        incoherent, in_hole, _ = _between(steps)
        beside = f", {100 * shares[k]:.0f}% of them in holes" if k in shares else ""
        words.append(
            f"codes of {k}: {100 * incoherent:.1f}% of images between are incoherent{beside}, where"
            f" {100 * in_hole:.1f}% of all codes are"
        )
    measured = "; ".join(words)
    if not shares:
        return Judgement(f"{NOT_JUDGED} (all coherent)", measured, "no image is incoherent")
    right = [k for k, share in shares.items() if share > IN_HOLES]
    if len(right) == len(shares):
        return Judgement(HOLDS, measured, "most of the incoherent ones are, at every code")
    if right:
        reason = "else most incoherent images are decoded from codes that are in no hole"
        return Judgement(f"{ONLY_IF} the code dimension is {right[0]}", measured, reason)
    reason = "most incoherent images are decoded from codes that are in no hole by our rule"
    return Judgement(FAILS, measured, reason)


def incoherent_in_hole(e: Evidence) -> dict[int, float]:
    """Code dimension -> the share of incoherent images between the ends that are decoded from
    holes; none where none is incoherent."""
    means = {k: _between(steps) for k, steps in e.steps.items()}
    return {k: both / incoherent for k, (incoherent, _, both) in means.items() if incoherent}


def _between(steps: Sequence[Step]) -> tuple[float, float, float]:
    """Shares that are incoherent, in holes, and both, strictly between the ends."""
    inner = [step for step in steps if 0 < step.t < 1]
    return (
        fmean(step.incoherent for step in inner),
        fmean(step.in_hole for step in inner),
        fmean(step.both for step in inner),
    )
