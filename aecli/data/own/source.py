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
from aecli.data.own.pictures import Pixels
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
        pixels, mask = self._pixels_and_mask(chosen)
        labels = None if self.labels is None else self.labels[chosen]
        if self._scale.is_bytes:
            into = None if out is None or out.is_cuda else out[: len(chosen)]
            images = torch.div(torch.from_numpy(pixels), 255, out=into)
        else:
            images = torch.from_numpy(self._scale.to_unit(pixels))
        return Batch(images if mask is None else torch.where(mask, images, 0), mask, labels)

    def _pixels_and_mask(self, chosen: Tensor) -> tuple[Pixels, Tensor | None]:
        """Pixels (n, C, H, W) before they are scaled, and their mask (n, 1, H, W) if masked."""
        picture = self._pool.read(self._windows[chosen.numpy()], *self.shape[1:])
        if not self.masked:
            return picture.pixels, None
        valid = picture.valid
        if valid is None:
            valid = np.ones((len(chosen), *self.shape[1:]), bool)
        return picture.pixels, torch.from_numpy(valid).unsqueeze(1)

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
            pixels, valid = self._pixels_and_mask(some)
            images[some] = torch.from_numpy(pixels if as_bytes else self._scale.to_unit(pixels))
            if valid is not None:
                mask[some] = valid
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
    labels = None if opened.labels is None else opened.labels[split]
    windows = opened.windows[split]
    source = _read(opened.pool, windows, opened.shape, scale, labels, opened.masked)
    return source.in_memory() if opened.bytes_in_memory <= IN_MEMORY else source
