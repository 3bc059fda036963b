"""Sentences on errors that are said in the terminal and on pages; no torch here."""

from aecli.chapter.linear import NOTHING

COLLAPSED = (
    "no unit is active: the code says nothing of the image, and every image decodes to the same"
    " picture (posterior collapse, or too short a training); train for longer, lower train.beta, or"
    " give train.free_bits"
)
"""A warning on a variational codec without an active unit."""


def mse_in_words(mse: float) -> str:
    """An mse per pixel as tables print it: five decimals, or three digits where those are fewer."""
    return f"{mse:.5f}" if mse >= 1e-3 or mse < NOTHING else f"{mse:#.3g}"


def worse_than_constant(test_mse: float, mean_image_test_mse: float) -> str | None:
    """A warning if a codec is worse than the same picture for every image; None if it is not."""
    if test_mse <= mean_image_test_mse:
        return None
    return (
        f"test mse {test_mse:.5f} is above {mean_image_test_mse:.5f}, the error of giving the mean"
        " training image for every image: this codec is worse than a constant picture"
    )
