"""Images whose pixels are black or white: drawn, with a grey pixel's value as the chance of white.

Salakhutdinov & Murray, "On the quantitative analysis of deep belief networks", ICML 2008: drawn
anew whenever an image is trained on (Burda, Grosse & Salakhutdinov 2016), once for measuring.
"""

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aecli.data.images import Batch, Source, sent

PER_SPLIT = 10**9
"""Numbers of images to a split; torch takes 32 bits of a seed."""


class Binarised(Source):
    """Images of another source in black and white, the same whenever they are read."""

    def __init__(self, grey: Source, split: int, numbers: Tensor | None = None) -> None:
        """split: a number for this source, so that no other one has the same draws. numbers: those
        of the images, (N,) int64, that seed their draws (None: in their order)."""
        self.grey, self._split = grey, split
        self.shape, self.labels, self.masked = grey.shape, grey.labels, grey.masked
        self._numbers = torch.arange(len(grey)) if numbers is None else numbers

    def __len__(self) -> int:
        return len(self.grey)

    def __reduce__(self) -> tuple[Any, ...]:
        # An array, since a tensor would travel to worker processes through shared memory.
        return _binarised_of, (self.grey, self._split, self._numbers.numpy())

    def read(self, indices: Tensor, out: Tensor | None = None) -> Batch:
        batch = self.grey.read(indices, out)
        generator, chances = torch.Generator(), torch.empty(len(indices), *self.shape)
        for chance, number in zip(chances, self._numbers[indices.cpu()].tolist(), strict=True):
            generator.manual_seed(self._split * PER_SPLIT + number)
            torch.rand(self.shape, generator=generator, out=chance)
        return replace(batch, images=_white(batch.images, chances))

    def part(self, indices: Tensor) -> Source:
        return Binarised(self.grey.part(indices), self._split, self._numbers[indices])

    def to(self, device: torch.device) -> Source:
        return Binarised(self.grey.to(device), self._split, self._numbers)

    @property
    def device(self) -> torch.device:
        return self.grey.device

    @property
    def nbytes(self) -> int:
        return self.grey.nbytes


def sha256_of(grey: str) -> str:
    """SHA-256 of a dataset in black and white, by that of the grey images."""
    return hashlib.sha256(f"{grey}, black and white".encode()).hexdigest()


def binarised(batch: Batch, generator: torch.Generator) -> Batch:
    """The batch in black and white. generator: a CPU generator."""
    chances = torch.rand(batch.images.shape, generator=generator)
    return replace(batch, images=_white(batch.images, chances))


def _white(images: Tensor, chances: Tensor) -> Tensor:
    return (sent(chances, images.device) < images).to(images.dtype)


def _binarised_of(grey: Source, split: int, numbers: NDArray[np.int64]) -> Binarised:
    return Binarised(grey, split, torch.from_numpy(numbers))
