"""Distances to the nearest of many points."""

import torch
from torch import Tensor

_CHUNK = 1024  # points whose distances to all others are held at once, if memory allows
_NUMBERS = 2**26  # float32 of these distances, or of differences: 256 MiB


def nearest_distances(points: Tensor, references: Tensor, neighbours: int = 1) -> Tensor:
    """The mean Euclidean distance of each point to its nearest references, (N,) float32.

    points: (N, d). references: (M, d), M at least `neighbours`.
    """
    chunks = []
    each = max(len(references), neighbours * points.shape[1])  # numbers held for each point
    for chunk in points.split(min(_CHUNK, max(_NUMBERS // each, 1))):
        # cdist multiplies matrices, whose rounding puts a point some 1e-3 from itself: good enough
        # to find the nearest, whose distances are then taken from exact differences.
        nearest = torch.cdist(chunk, references).topk(neighbours, dim=1, largest=False).indices
        chunks.append((chunk.unsqueeze(1) - references[nearest]).norm(dim=2).mean(dim=1))
    return torch.cat(chunks) if chunks else points.new_empty(0)
