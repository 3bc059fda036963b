"""Distances to the nearest of many points, and between images with pixels that are not valid."""

from collections.abc import Iterator

import torch
from torch import Tensor

from aecli.data.images import Batch

_CHUNK = 1024  # points whose distances to all others are held at once, if memory allows
_NUMBERS = 2**26  # float32 of these distances, or of differences: 256 MiB


def nearest_distances(points: Tensor, references: Tensor, neighbours: int = 1) -> Tensor:
    """The mean Euclidean distance of each point to its nearest references, (N,) float32.

    points: (N, d). references: (M, d), M at least `neighbours`.
    """
    if not len(points):
        return points.new_empty(0)
    return torch.cat([found.mean(dim=1) for _, found in _nearest(points, references, neighbours)])


def nearest_one(points: Tensor, references: Tensor) -> tuple[Tensor, Tensor]:
    """The index of each point's nearest reference, (N,) int64, and its Euclidean distance, (N,)
    float32. points: (N, d), N at least 1. references: (M, d), M at least 1."""
    indices, distances = zip(*_nearest(points, references, 1), strict=True)
    return torch.cat(indices)[:, 0], torch.cat(distances)[:, 0]


def _nearest(
    points: Tensor, references: Tensor, neighbours: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Indices and distances (n, neighbours) of the nearest references, some points at a time."""
    each = max(len(references), neighbours * points.shape[1])  # numbers held for each point
    for chunk in points.split(min(_CHUNK, max(_NUMBERS // each, 1))):
        # cdist multiplies matrices, whose rounding puts a point some 1e-3 from itself: good enough
        # to find the nearest, whose distances are then taken from exact differences.
        nearest = torch.cdist(chunk, references).topk(neighbours, dim=1, largest=False).indices
        yield nearest, (chunk.unsqueeze(1) - references[nearest]).norm(dim=2)


def rms_differences(images: Batch, references: Batch) -> Tensor:
    """Root mean square differences (n, m) between images and references of one shape, in pixel
    units, over the pixels that are valid in both; infinity where there are none."""
    x, y = images.images.flatten(start_dim=1), references.images.flatten(start_dim=1)
    if images.mask is None and references.mask is None:
        return torch.cdist(x, y) / x.shape[1] ** 0.5
    x_valid, y_valid = _valid(images), _valid(references)
    x, y = x * x_valid, y * y_valid
    # |x - y|^2 over what is valid in both, where each is 0 at its other pixels.
    squares = x.square() @ y_valid.T - 2 * x @ y.T + x_valid @ y.square().T
    numbers = x_valid @ y_valid.T
    rms = (squares.clamp_min(0) / numbers.clamp_min(1)).sqrt()
    return torch.where(numbers > 0, rms, torch.inf)


def _valid(batch: Batch) -> Tensor:
    """(n, pixels) float32, 1 where valid."""
    images = batch.images
    mask = torch.ones_like(images) if batch.mask is None else batch.mask.expand_as(images).float()
    return mask.flatten(start_dim=1)
