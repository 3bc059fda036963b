"""Judges of what section 4 and its exercise say of the occupied range and of holes in it."""

from collections.abc import Sequence
from statistics import fmean

from aecli.chapter.evidence import DIMS, SELDOM, Evidence, Step, in_all, over_seeds
from aecli.chapter.verdict import FAILS, HOLDS, NOT_JUDGED, ONLY_IF, Judgement

WALKED = 2, 32
"""Code dimensions whose straight paths are measured."""
LARGE = 0.2
"""Share of the area between codes from which on its holes are large: one fifth."""
IN_HOLES = 0.5
"""Share of incoherent images that are decoded from holes, above which holes explain them."""


def in_range(e: Evidence) -> Judgement:
    by_width = {k: e.in_range[k] for k in DIMS}
    measured = "in a hole: " + ", ".join(
        f"{over_seeds([100 * r.in_holes for r in found], 1)}% of codes of {k}"
        for k, found in by_width.items()
    )
    often = [k for k, found in by_width.items() if min(r.in_holes for r in found) > SELDOM]
    if len(often) == len(DIMS):
        seeds = len(by_width[DIMS[0]])
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
    words, explained, mostly = [], [], False
    for k in WALKED:
        incoherent, in_hole, both = between(e.steps[k])
        if not incoherent:
            words.append(f"codes of {k}: no image between is incoherent")
            continue
        share = both / incoherent
        words.append(
            f"codes of {k}: {100 * incoherent:.1f}% of images between are incoherent,"
            f" {100 * share:.0f}% of them in holes, where {100 * in_hole:.1f}% of all codes are"
        )
        mostly |= share > IN_HOLES
        if share > IN_HOLES and share > in_hole:
            explained.append(k)
    measured = "; ".join(words)
    if all(not between(e.steps[k])[0] for k in WALKED):
        return Judgement(f"{NOT_JUDGED} (all coherent)", measured, "no image is incoherent")
    if len(explained) == len(WALKED):
        reason = "most of the incoherent ones are, and more than of all codes, at 2 and at 32"
        return Judgement(HOLDS, measured, reason)
    if explained:
        reason = "else holes do not explain most of the incoherent images"
        return Judgement(f"{ONLY_IF} the code dimension is {explained[0]}", measured, reason)
    reason = "most incoherent images are decoded from codes that are in no hole by our rule"
    if mostly:
        reason = "no more of the incoherent ones are than of all codes on the paths"
    return Judgement(FAILS, measured, reason)


def between(steps: Sequence[Step]) -> tuple[float, float, float]:
    """Shares that are incoherent, in holes, and both, strictly between the ends."""
    inner = [step for step in steps if 0 < step.t < 1]
    return (
        fmean(step.incoherent for step in inner),
        fmean(step.in_hole for step in inner),
        fmean(step.both for step in inner),
    )
