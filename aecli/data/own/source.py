"""The images of a path as sources: in memory where they are few enough, else read by the batch."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aecli.data.facts import IN_MEMORY
from aecli.data.images import Batch, InMemory, Source
from aecli.data.own.cutting import Windows
from aecli.data.own.opened import Opened
from aecli.data.own.pools import Pool
from aecli.data.own.scaling import Scale

_AT_ONCE = 2**26  # bytes of float32 pixels that are read at once into memory


class Read(Source):
    """Windows of images, read from where they lie each time."""

    def __init__(
        self,
        pool: Pool,
        windows: Windows,
        shape: tuple[int, int, int],
        scale: Scale,
        labels: Tensor | None,
        masked: bool,
    ) -> None:
        self.shape, self.labels, self.masked = shape, labels, masked
        self._pool, self._windows, self._scale = pool, windows, scale

    def __len__(self) -> int:
        return len(self._windows)

    def __reduce__(self) -> tuple[Any, ...]:
        # Arrays, as in InMemory: tensors would travel to workers through shared memory.
        labels = None if self.labels is None else self.labels.numpy()
        scaled = (self.shape, self._scale, labels, self.masked)
        return _read, (self._pool, self._windows, *scaled)

    def read(self, indices: Tensor, out: Tensor | None = None) -> Batch:
        chosen = indices.cpu()
        picture = self._pool.read(self._windows[chosen.numpy()], *self.shape[1:])
        labels = None if self.labels is None else self.labels[chosen]
        if self._scale.is_bytes:
            pixels = torch.from_numpy(picture.pixels)
            into = None if out is None or out.is_cuda else out[: len(chosen)]
            images = torch.div(pixels, 255, out=into)
        else:
            images = torch.from_numpy(self._scale.to_unit(picture.pixels))
        if not self.masked:
            return Batch(images, None, labels)
        valid = picture.valid
        if valid is None:
            valid = np.ones((len(chosen), *self.shape[1:]), bool)
        mask = torch.from_numpy(valid).unsqueeze(1)
        return Batch(torch.where(mask, images, 0), mask, labels)

    def part(self, indices: Tensor) -> Source:
        labels = None if self.labels is None else self.labels[indices]
        windows = self._windows[indices.cpu().numpy()]
        return Read(self._pool, windows, self.shape, self._scale, labels, self.masked)

    def in_memory(self) -> InMemory:
        """The same images in one tensor: uint8 if a division by 255 scales them, else float32."""
        as_bytes = self._scale.is_bytes
        dtype = torch.uint8 if as_bytes else torch.float32
        images = torch.empty((len(self), *self.shape), dtype=dtype)
        mask = torch.empty((len(self), 1, *self.shape[1:]), dtype=torch.bool)
        step = max(_AT_ONCE // (4 * self.pixels), 1)
        for some in torch.arange(len(self)).split(step):
            if as_bytes:
                picture = self._pool.read(self._windows[some.numpy()], *self.shape[1:])
                images[some] = torch.from_numpy(picture.pixels)
                if self.masked and picture.valid is not None:
                    mask[some] = torch.from_numpy(picture.valid).unsqueeze(1)
                elif self.masked:
                    mask[some] = True
            else:
                batch = self.read(some)
                images[some] = batch.images
                if batch.mask is not None:
                    mask[some] = batch.mask
        return InMemory(images, self.labels, mask if self.masked else None)


def _read(
    pool: Pool,
    windows: Windows,
    shape: tuple[int, int, int],
    scale: Scale,
    labels: NDArray[np.int64] | None,
    masked: bool,
) -> Read:
    tensor = None if labels is None else torch.from_numpy(labels)
    return Read(pool, windows, shape, scale, tensor, masked)


def source_of(opened: Opened, split: str, scale: Scale) -> Source:
    """One part of the split of a dataset."""
    windows = opened.windows[split]
    labels = None if opened.labels is None else torch.from_numpy(opened.labels[split])
    source = Read(opened.pool, windows, opened.shape, scale, labels, opened.masked)
    return source.in_memory() if opened.bytes_in_memory <= IN_MEMORY else source
