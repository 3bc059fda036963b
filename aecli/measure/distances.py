"""Distances to the nearest of many points."""

import torch
from torch import Tensor

_CHUNK = 1024  # points whose distances to all others are held at once


def nearest_distances(points: Tensor, references: Tensor, neighbours: int = 1) -> Tensor:
    """The mean Euclidean distance of each point to its nearest references, (N,) float32.

    points: (N, d). references: (M, d), M at least `neighbours`.
    """
    chunks = []
    for chunk in points.split(_CHUNK):
        # cdist multiplies matrices, whose rounding puts a point some 1e-3 from itself: good enough
        # to find the nearest, whose distances are then taken from exact differences.
        nearest = torch.cdist(chunk, references).topk(neighbours, dim=1, largest=False).indices
        chunks.append((chunk.unsqueeze(1) - references[nearest]).norm(dim=2).mean(dim=1))
    return torch.cat(chunks) if chunks else points.new_empty(0)
