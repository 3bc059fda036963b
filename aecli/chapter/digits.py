"""Judges of what section 2 says that a code learns of digits."""

from collections.abc import Callable

from aecli.chapter.codes import BLURRED, MOST, READ, SHARP, CodeReading
from aecli.chapter.evidence import DIMS, Evidence, in_all, over_seeds, percent
from aecli.chapter.verdict import FAILS, HOLDS, ONLY_IF, Judgement

ROUGHLY = 0.05
"""Share of digits by which fewer decoded than real ones may be one piece."""
SWEET = 32
TRIED = 2, 8, 16, 32, 64


def one_piece(e: Evidence) -> Judgement:
    found = e.one_piece
    assert found is not None  # else the claim is not about these images
    decoded = {k: found.decoded[k] for k in DIMS}
    measured = f"one connected piece of ink: {percent(found.real)} of test digits;" + ",".join(
        f" {over_seeds([100 * share for share in shares], 1)}% decoded from codes of {k}"
        f" ({percent(found.pca[k])} from PCA's)"
        for k, shares in decoded.items()
    )
    low = [k for k, shares in decoded.items() if min(shares) < found.real - ROUGHLY]
    seeds = len(decoded[DIMS[0]])
    if not low:
        reason = f"hardly fewer than of the real ones, at every code, {in_all(seeds)}"
        return Judgement(HOLDS, measured, reason)
    there = [str(k) for k in DIMS if k not in low]
    if there:
        reason = "at the others, in one seed at least, more digits fall to pieces"
        return Judgement(f"{ONLY_IF} the code is {' or '.join(there)}", measured, reason)
    return Judgement(FAILS, measured, "in one seed at least, more digits fall to pieces")


def learns(code_dim: int) -> Callable[[Evidence], Judgement]:
    """The judge of the last column of the table's row: by the table's readers."""

    def judge(e: Evidence) -> Judgement:
        reading = e.readings[code_dim]
        labels = labels_read(reading)
        # Else the claim is not about these images.
        assert labels is not None
        assert reading.slant_r2 is not None
        assert reading.thickness_r2 is not None
        measured = (
            f"{percent(labels)} of labels are read from the code, {percent(reading.slant_r2)} of"
            f" the slant's variance, {percent(reading.thickness_r2)} of the thickness's; decoded"
            f" images have {percent(reading.sharpness)} of the real ones' sharpness"
        )
        style = {"slant": reading.slant_r2, "thickness": reading.thickness_r2}
        wrong = _WRONG[code_dim](labels, style, reading.sharpness)
        if wrong:
            return Judgement(FAILS, measured, " and ".join(wrong))
        return Judgement(HOLDS, measured, _RIGHT[code_dim])

    return judge


def labels_read(reading: CodeReading) -> float | None:
    """The better of both readers of labels, in [0, 1]."""
    accuracies = [a for a in (reading.probe_accuracy, reading.knn_accuracy) if a is not None]
    return max(accuracies, default=None)


def _wrong_2(labels: float, style: dict[str, float], sharpness: float) -> list[str]:
    return [
        *(["not even the half of the labels are read"] if labels < READ else []),
        *(["more than a coarse identity is read"] if labels >= MOST else []),
        *(f"{name} is read, too" for name, r2 in style.items() if r2 >= READ),
        *(["decoded images are not blurred"] if sharpness >= BLURRED else []),
    ]


def _wrong_8(labels: float, style: dict[str, float], sharpness: float) -> list[str]:
    return [
        *(["the labels are not"] if labels < MOST else []),
        *(f"{name} is not read" for name, r2 in style.items() if r2 < READ),
    ]


def _wrong_32(labels: float, style: dict[str, float], sharpness: float) -> list[str]:
    return [
        *_wrong_8(labels, style, sharpness),
        *(["decoded images are not sharp"] if sharpness < SHARP else []),
    ]


_WRONG = {2: _wrong_2, 8: _wrong_8, 32: _wrong_32}
_RIGHT = {
    2: "labels coarsely, no style, and blurred images",
    8: "labels, and both slant and thickness",
    32: "labels and style, and sharp images",
}


def sweet_spot(e: Evidence) -> Judgement:
    measured = "sharpness of decoded images " + ", ".join(
        f"{percent(e.readings[k].sharpness)} at {k}" for k in TRIED
    )
    sharp = [k for k in TRIED if e.readings[k].sharpness >= SHARP]
    if not sharp:
        return Judgement(FAILS, measured, "at none of these codes are they sharp")
    if sharp[0] == SWEET:
        return Judgement(HOLDS, measured, "the smallest code whose decoded images are sharp")
    return Judgement(FAILS, measured, f"they are sharp from a code of {sharp[0]} on")
