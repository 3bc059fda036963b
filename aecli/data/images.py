"""The one form in which images travel through the program."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from aecli.errors import UsageError

ImageShape = tuple[int, int, int]
"""Channels, height, width."""

_BATCH = 8192  # images summed at once; bounds memory


@dataclass(frozen=True)
class Split:
    """Images with a label each.

    images: (N, C, H, W) uint8. labels: (N,) int64.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.images)


class Raw(NamedTuple):
    """A dataset as its files have it."""

    train: Split
    """Training images, the validation images among them."""
    test: Split
    source: str
    """Source, in words."""
    sha256: str
    """SHA-256 of all its images and labels."""
    folder: Path | None
    """Folder of its files; None if they were downloaded and could not be kept."""


@dataclass(frozen=True)
class Images:
    """A dataset, split: train to fit on, val to choose by, test to report."""

    name: str
    source: str
    """Source, in words."""
    sha256: str
    """SHA-256 of all its images and labels, before any split or limit."""
    train: Split
    val: Split
    test: Split
    aside: str = ""
    """Ending of the name in titles, such as `, quick look`."""

    @property
    def title(self) -> str:
        """The name as titles and sentences have it; tables and records have `name`."""
        return self.name + self.aside

    @property
    def shape(self) -> ImageShape:
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    def require_batch(self, size: int) -> None:
        """Raises UsageError if there are fewer training images than `size`."""
        require_batch(size, len(self.train), self.name)

    def mean_image_mse(self) -> float:
        """The test mse per pixel of answering every image with the training images' mean.

        A codec with a larger error has learned nothing that a constant picture does not say.
        """
        total = torch.zeros(self.shape, dtype=torch.float64)
        for batch in self.train.images.split(_BATCH):
            total += to_unit(batch).sum(dim=0, dtype=torch.float64)
        mean = total / len(self.train)
        errors = [
            (to_unit(batch) - mean).square().flatten(start_dim=1).mean(dim=1)
            for batch in self.test.images.split(_BATCH)
        ]
        return torch.cat(errors).mean().item()

    def provenance(self) -> dict[str, str | int]:
        """Facts of the data for run.json."""
        return {
            "name": self.name,
            "source": self.source,
            "sha256": self.sha256,
            "n_train": len(self.train),
            "n_val": len(self.val),
            "n_test": len(self.test),
        }


def require_batch(size: int, n_train: int, dataset: str) -> None:
    """Raises UsageError if a batch is larger than the training set."""
    if size > n_train:
        smaller = f"{n_train} or less" if n_train > 1 else "1"
        raise UsageError(
            f"batch_size={size} must be at most {n_train} (training images of {dataset}); take"
            f" more images, or --batch-size {smaller}"
        )


def with_held_out(images: Images) -> Images:
    """The same images with the first half of the test set as validation split.

    For codecs that all training images train, as in the chapter: holes are calibrated on this half,
    and paths and samples measured on the other.
    """
    half = len(images.test) // 2
    first, second = (
        Split(images.test.images[part], images.test.labels[part])
        for part in (slice(half), slice(half, None))
    )
    return replace(images, val=first, test=second)


def to_unit(images: Tensor) -> Tensor:
    """`images` as float32 in [0, 1]: uint8 is divided by 255, float32 returned as it is."""
    return images.to(torch.float32).div_(255) if images.dtype == torch.uint8 else images
