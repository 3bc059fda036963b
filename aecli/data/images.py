"""The one form in which images travel through the program."""

from dataclasses import dataclass

import torch
from torch import Tensor

from aecli.errors import UsageError

ImageShape = tuple[int, int, int]
"""Channels, height, width."""


@dataclass(frozen=True)
class Split:
    """Images with a label each.

    images: (N, C, H, W) uint8. labels: (N,) int64.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class Images:
    """A dataset, split: train to fit on, val to choose by, test to report."""

    name: str
    source: str
    """Where it came from, in words."""
    sha256: str
    """Of all its images and labels, before any split or limit."""
    train: Split
    val: Split
    test: Split

    @property
    def shape(self) -> ImageShape:
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    def require_batch(self, size: int) -> None:
        """Raises UsageError if there are fewer training images than that."""
        if size > len(self.train):
            raise UsageError(
                f"batch_size={size} must be at most {len(self.train)}"
                f" (training images of {self.name})"
            )

    def provenance(self) -> dict[str, str | int]:
        """What run.json says of the data."""
        return {
            "name": self.name,
            "source": self.source,
            "sha256": self.sha256,
            "n_train": len(self.train),
            "n_val": len(self.val),
            "n_test": len(self.test),
        }


def to_unit(images: Tensor) -> Tensor:
    """`images` as float32 in [0, 1]: uint8 is divided by 255, float32 returned as it is."""
    return images.to(torch.float32).div_(255) if images.dtype == torch.uint8 else images
