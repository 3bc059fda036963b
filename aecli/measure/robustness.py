"""Robustness: is an image that was changed a little still found by its code?"""

import math
from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from aecli.data.images import Batch, Source
from aecli.measure.distances import nearest_one
from aecli.measure.views import View

SHIFT = 2  # pixels to the right; the left edge is repeated
BRIGHTER = 1.1
NOISE = 0.1  # the deviation of the noise, in pixel units
DEGREES = 10.0

Change = Callable[[Batch, Generator], Batch]


def shifted(batch: Batch, generator: Generator) -> Batch:
    """Images SHIFT pixels further right; what comes in repeats the left edge."""
    columns = (torch.arange(batch.images.shape[3]) - SHIFT).clamp_min(0)
    mask = None if batch.mask is None else batch.mask[..., columns]
    return replace(batch, images=batch.images[..., columns], mask=mask)


def brightened(batch: Batch, generator: Generator) -> Batch:
    """Images 10% brighter, white stays white."""
    return replace(batch, images=(BRIGHTER * batch.images).clamp(max=1))


def noised(batch: Batch, generator: Generator) -> Batch:
    """Images with Gaussian noise, cut off at 0 and 1."""
    noise = torch.randn(batch.images.shape, generator=generator)
    images = (batch.images + NOISE * noise).clamp(0, 1)
    return replace(batch, images=images if batch.mask is None else images * batch.mask)


def rotated(batch: Batch, generator: Generator) -> Batch:
    """Images turned by DEGREES. A pixel is valid where all that it is made of is."""
    images = turned(batch.images, DEGREES).clamp(0, 1)
    if batch.mask is None:
        return replace(batch, images=images)
    mask = turned(batch.mask.float(), DEGREES) > 0.999
    return replace(batch, images=images * mask, mask=mask)


def turned(images: Tensor, degrees: float) -> Tensor:
    """Images (n, C, H, W) turned counter-clockwise about their middle, interpolated; what comes in
    repeats the edge."""
    n, _, height, width = images.shape
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    # Coordinates run from -1 to 1 on both axes, however long each is.
    turn = torch.tensor([[cosine, -sine * height / width, 0], [sine * width / height, cosine, 0]])
    grid = F.affine_grid(turn.expand(n, 2, 3), [n, 1, height, width], align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


CHANGES: dict[str, Change] = {
    "shifted": shifted,
    "brightened": brightened,
    "noised": noised,
    "rotated": rotated,
}


def found_first(view: View, source: Source, points: Tensor, change: Change, seed: int) -> float:
    """The share of images that are the nearest, of all, to their own changed copy, in [0, 1].

    points: (N, k), the images of `source` as `view` sees them. An image as near as the nearest
    counts as found: another one may be equal to it. seed: of the noise.
    """
    generator = torch.Generator().manual_seed(seed)
    found, start = 0, 0
    for batch in source.batches():
        changed = view(change(batch, generator))
        nearest, least = nearest_one(changed, points)
        own = torch.arange(start, start + len(batch))
        to_own = (changed - points[own]).norm(dim=1)
        found += int(((nearest == own) | (to_own <= least)).sum())
        start += len(batch)
    return found / len(points)
