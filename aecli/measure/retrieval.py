"""Retrieval of images by the nearness of their codes: are the first found of the same class?"""

from dataclasses import dataclass

import torch
from torch import Tensor

FIRST = 10
_NUMBERS = 2**23  # distances of some queries to all images that are held, and sorted, at once


@dataclass(frozen=True)
class Retrieval:
    """Means over the queries, each in [0, 1]."""

    mean_average_precision: float
    precision_at_10: float


def retrieval(points: Tensor, labels: Tensor) -> Retrieval | None:
    """Precisions of finding images of the same label by Euclidean distance.

    Each image is a query among all others, itself left out; equal distances go by index. The
    average precision of a query is the mean, over the images of its label, of the precision at the
    rank of each; mAP is the mean over queries (Manning, Raghavan & Schütze, "Introduction to
    information retrieval", 2008, section 8.4). precision_at_10: the share of the query's label
    among the 10 nearest, or among all others if they are fewer. A query whose label no other image
    has is left out; None if that leaves none.

    points: (N, k), labels: (N,).
    """
    precisions, firsts = [], []
    for queries in torch.arange(len(points)).split(max(_NUMBERS // len(points), 1)):
        distances = torch.cdist(points[queries], points)
        distances[torch.arange(len(queries)), queries] = torch.inf
        order = distances.argsort(dim=1, stable=True)[:, :-1]
        relevant = labels[order] == labels[queries].unsqueeze(1)
        asked = relevant.any(dim=1)
        relevant = relevant[asked].float()
        ranks = torch.arange(1, relevant.shape[1] + 1)
        precision = relevant.cumsum(dim=1) / ranks
        precisions.append((precision * relevant).sum(dim=1) / relevant.sum(dim=1))
        firsts.append(relevant[:, :FIRST].mean(dim=1))
    precision, first = torch.cat(precisions), torch.cat(firsts)
    if not len(precision):
        return None
    return Retrieval(precision.double().mean().item(), first.double().mean().item())
