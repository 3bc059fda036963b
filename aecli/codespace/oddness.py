"""Oddness of images to a codec, beside those that it was trained on."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aecli.codecs.base import Codec
from aecli.codespace.region import NEIGHBOURS, OccupiedRegion
from aecli.data.images import Images, Source, batch_size, with_held_out
from aecli.errors import UsageError
from aecli.measure import metrics

SCORES = ("mse", "code_distance")
TYPICAL = ("typical_mse", "typical_distance", "hole_above")
"""Numbers that codes.json has beside scores; each score is over one of the first two."""
MOST_REFERENCES, _REFERENCE_BYTES = 100_000, 2**28
"""Training images, the first ones, whose codes are the occupied region: so many, and of long codes
as many as are so many bytes; as many held-out images say what is typical."""


@dataclass(frozen=True)
class Oddness:
    """Measures of how odd an image is to a codec: its reconstruction's error, and the distance of
    its code to the region that training images occupy."""

    region: OccupiedRegion
    typical_mse: float
    """The median error of held-out images' reconstructions."""

    @classmethod
    def of(cls, codec: Codec, images: Images) -> "Oddness":
        """Calibrated on the data that a codec was trained on: the region by its training images,
        what is typical by the validation images (of a run without any, by half of the test's).

        Raises UsageError if there are too few. Codes have at most `region.WIDEST` numbers.
        """
        if not len(images.val):
            images = with_held_out(images)
        most = _most_references(codec)
        training, val = images.train.first(most), images.val.first(most)
        if len(training) < NEIGHBOURS or not len(val):
            raise UsageError(
                f"--scores: the run has {len(training):,} images to train on and"
                f" {len(val):,} held out, too few to say what is typical"
            )
        codes, held_out = (metrics.encode(codec, each) for each in (training, val))
        errors, _ = metrics.reconstruction_errors(codec, val)
        return cls(OccupiedRegion.calibrated(codes, held_out), float(errors.median()))

    def scores(self, errors: Tensor, codes: Tensor) -> NDArray[np.float32]:
        """(n, 2): mse and code_distance of images by their errors (n,) and codes
        (n, *code_shape)."""
        distances = self.region.distances(codes.flatten(start_dim=1))
        return torch.stack([errors, distances], dim=1).numpy()

    def described(self) -> dict[str, float]:
        """Typical values and the edge of the region, as codes.json has them."""
        numbers = self.typical_mse, self.region.typical, self.region.threshold
        return dict(zip(TYPICAL, numbers, strict=True))


def training_codes(codec: Codec, training: Source) -> NDArray[np.float32]:
    """The codes (n, code_dim) that a quantiser is fitted to: of the first training images, as many
    as the occupied region is found from."""
    codes: NDArray[np.float32] = metrics.encode(
        codec, training.first(_most_references(codec))
    ).numpy()
    return codes


def _most_references(codec: Codec) -> int:
    return min(MOST_REFERENCES, batch_size(codec.code_dim, _REFERENCE_BYTES))


def oddness(scores: NDArray[np.float32], typical: Mapping[str, float]) -> NDArray[np.float64]:
    """(n,): the product of both scores (n, 2), each over its typical value; it depends on no other
    image and on no unit of measurement."""
    by = np.array([typical[name] for name in TYPICAL[:2]])
    return np.prod(scores / np.maximum(by, 1e-30), axis=1)
