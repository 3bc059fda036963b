"""Mistakes that can be known before any training, and mostly before a run folder is made."""

from collections.abc import Iterable

import torch

from aecli import codecs
from aecli.config import CodecConfig
from aecli.data.images import ImageShape
from aecli.errors import UsageError

FEWEST_HELD_OUT = 100  # images whose 99% quantile is not simply their largest value


def require_codecs(configs: Iterable[CodecConfig], shape: ImageShape, images: int | None) -> None:
    """Raises UsageError for a codec that cannot be built for images of this shape, or solved from
    so many training images (None: not known yet). No memory is taken."""
    for config in configs:
        with torch.device("meta"):
            codecs.build(config, shape)
        of_pca = "pca" in (config.name, config.begins_with)
        if of_pca and images is not None and config.code_dim > images:
            raise UsageError(
                f"code_dim={config.code_dim} must be at most {images} (training images)"
                " for codec 'pca'"
            )


def require_images(images: int | None, least: int, why: str) -> None:
    """Raises UsageError if the training images (None: not known yet) are fewer than `least`."""
    if images is not None and images < least:
        raise UsageError(f"data.limit_train={images} must be at least {least}: {why}")


def require_held_out_images(images: int, which: str, settable: bool) -> None:
    """Raises UsageError if the held-out images that are there are too few to calibrate holes on;
    which: what they are, in words, such as `validation images`. settable: data.val can make them
    more; not where they are those of a run."""
    if images < FEWEST_HELD_OUT:
        advice = "; take more images, or set data.val" if settable else ""
        raise UsageError(
            f"there are {images} {which}, and at least {FEWEST_HELD_OUT} are needed: holes are"
            f" calibrated on the 99% quantile of their distances{advice}"
        )


def require_calibration(n_val: int, n_test: int, settable: bool = False) -> None:
    """Raises UsageError for too few validation images to calibrate holes on, or, where there are
    none, too few in the half of the test images that takes their place."""
    if n_val:
        require_held_out_images(n_val, "validation images", settable)
    else:
        half = f"images in half of the {n_test} test images (there is no validation split)"
        require_held_out_images(n_test // 2, half, settable)


def require_class(key: str, label: int | None, classes: int) -> None:
    """Raises UsageError for a class by its index that is not among `classes`; None is any."""
    if label is not None and label >= classes:
        raise UsageError(f"{key}={label} must be at most {classes - 1} ({classes} classes)")


def require_held_out(val: float | None) -> None:
    """Raises UsageError for too few validation images to calibrate holes on; 0 is allowed
    here."""
    if val is not None and 1 <= val < FEWEST_HELD_OUT:
        raise UsageError(
            f"data.val={val} must be at least {FEWEST_HELD_OUT}, or 0: holes are calibrated on the"
            " 99% quantile of the validation images' distances"
        )
