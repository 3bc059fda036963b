"""Content of a code, in words that follow from the probes' numbers (table 31.1.1, last column)."""

from dataclasses import dataclass

READ = 0.5
"""Share of labels, or of the variance of slant or thickness, from which on they are in a code: more
is read than is not."""
MOST = 0.8
"""Share of labels from which on a code has more than a coarse identity."""
BLURRED, SHARP = 0.75, 0.9
"""Sharpness of decoded images, beside real ones', below which they are blurred, and from which on
they are sharp."""


@dataclass(frozen=True)
class CodeReading:
    """Scores of simple readers of a codec's codes, on test images."""

    probe_accuracy: float | None
    """None without labels, as is `knn_accuracy`."""
    knn_accuracy: float | None
    slant_r2: float | None
    """None of images that are no handwriting, as is `thickness_r2`."""
    thickness_r2: float | None
    sharpness: float
    copies: bool
    """True if the error is below a thousandth of the pixels' variance: an identity in effect."""
    variance_kept: float | None = None
    """The share of the test pixels' variance that is no error; may be below 0."""


def describe_code(reading: CodeReading, raw_probe_accuracy: float | None) -> str:
    """A sentence on what a code holds, from measured numbers only.

    raw_probe_accuracy: accuracy of the same linear probe on the pixels themselves, in [0, 1]; None
    if it was not measured. Without labels the sentence says how much of the images is kept.
    """
    look = _grade(reading.sharpness, (SHARP, "sharp"), (BLURRED, "slightly soft"), (0.0, "blurred"))
    if reading.probe_accuracy is None or reading.knn_accuracy is None:
        if reading.copies:
            return "a near copy"
        kept = 100 * max(reading.variance_kept or 0, 0)
        return f"{kept:.0f}% of the pixels' variance; decoded {look}"
    best = max(reading.probe_accuracy, reading.knn_accuracy)
    if reading.copies and raw_probe_accuracy is None:
        return f"a near copy ({100 * best:.0f}% of labels read right)"
    if reading.copies:
        assert raw_probe_accuracy is not None
        gain = round(100 * (reading.probe_accuracy - raw_probe_accuracy), 1)
        if gain == 0:
            return "a near copy; the label is read from it as well as from the pixels"
        return (
            f"a near copy; the label is read from it {abs(gain):.1f} points"
            f" {'better' if gain > 0 else 'worse'} than from the pixels"
        )
    identity = _grade(best, (0.95, "the label"), (MOST, "most labels"), (READ, "coarse identity"))
    style = [
        name
        for name, r2 in (("slant", reading.slant_r2), ("thickness", reading.thickness_r2))
        if r2 is not None and r2 >= READ
    ]
    hints = [
        f"a hint of {name}"
        for name, r2 in (("slant", reading.slant_r2), ("thickness", reading.thickness_r2))
        if r2 is not None and 0.2 <= r2 < READ
    ]
    held = ", ".join([identity, *style, *hints])
    return f"{held} ({100 * best:.0f}% read right); decoded {look}"


def _grade(value: float, *grades: tuple[float, str]) -> str:
    """The word of the first grade that `value` reaches."""
    return next((word for least, word in grades if value >= least), "little of the label")
