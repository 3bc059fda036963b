"""Judges of what codes are good for: reading, grouping and retrieving images, telling odd ones,
fast search and cheap storage. Each claim is about every seed."""

from collections.abc import Callable, Sequence

from aecli.chapter.evidence import Evidence, in_all, over_seeds
from aecli.chapter.verdict import FAILS, HOLDS, NOT_JUDGED, ONLY_IF, Judgement

FAST_SECONDS = 0.1
"""Seconds up to which an answer seems immediate (Miller, "Response time in man-computer
conversational transactions", AFIPS 1968)."""
LITTLE = 1.05
"""Ratio of the errors of codes in bits and of codes as they are up to which nothing is lost."""


def serves(measure: str, words: str) -> Callable[[Evidence], Judgement]:
    """The judge of what codes are good for: better than PCA's codes and than pixels by a measure,
    which `words` name."""

    def judge(e: Evidence) -> Judgement:
        found = e.work.get(measure)
        if found is None:
            return Judgement(f"{NOT_JUDGED} (too few images)", "nothing", "no class has enough")
        measured = (
            f"{words} {_percent(found.plain)} by codes as aecli trains them,"
            f" {_percent(found.deformed)} where the training deformed images;"
            f" {_percent([found.pca])} by PCA's codes, {_percent([found.pixels])} by pixels"
        )
        others = max(found.pca, found.pixels)
        if min(found.plain) > others:
            reason = f"better than both {in_all(len(found.plain))}"
            return Judgement(HOLDS, measured, reason)
        if min(found.deformed) > others:
            what = "PCA's codes" if found.pca >= found.pixels else "pixels"
            reason = f"else {what} are as good, in one seed at least"
            return Judgement(f"{ONLY_IF} its training deforms images", measured, reason)
        reason = "in one seed at least, PCA's codes or pixels are as good"
        return Judgement(FAILS, measured, reason)

    return judge


def retrieved_fast(e: Evidence) -> Judgement:
    times = e.search.pixels_seconds / e.search.codes_seconds
    measured = (
        f"{1000 * e.search.codes_seconds:.2g} ms for a search among {e.search.images:,} images by"
        f" codes, {times:.1f} times as fast as by pixels"
    )
    if e.search.codes_seconds > FAST_SECONDS:
        return Judgement(FAILS, measured, f"more than {FAST_SECONDS:g} s")
    too = ", and so do pixels" if e.search.pixels_seconds <= FAST_SECONDS else ""
    return Judgement(HOLDS, measured, f"codes take at most {FAST_SECONDS:g} s{too}")


def stored_cheaply(e: Evidence) -> Judgement:
    stored = e.storage
    if not stored:
        return Judgement(f"{NOT_JUDGED} (no JPEG)", "nothing", "JPEG does not hold such images")
    measured = (
        f"{over_seeds([s.bits for s in stored], 0)} bits an image where codes are coded in"
        f" {stored[0].bits_of_a_number} bits a number, at"
        f" {over_seeds([s.error_ratio for s in stored], 2)} times the error of codes as they are;"
        f" {over_seeds([s.jpeg_bits for s in stored], 0)} by JPEG at no more error, headers apart"
    )
    if max(s.error_ratio for s in stored) > LITTLE:
        reason = f"in one seed at least, the error is more than {LITTLE:g} times that of codes"
        return Judgement(FAILS, measured, reason)
    if any(s.bits >= s.jpeg_bits for s in stored):
        return Judgement(FAILS, measured, "in one seed at least, JPEG takes no more")
    return Judgement(HOLDS, measured, f"fewer than JPEG {in_all(len(stored))}")


def _percent(shares: Sequence[float]) -> str:
    if len(shares) == 1:
        return f"{100 * shares[0]:.1f}%"
    return f"{over_seeds([100 * share for share in shares], 1)}%"
