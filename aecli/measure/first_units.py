"""Errors of a codec's first units alone, and the order of its units."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from aecli.codecs.base import Codec
from aecli.codecs.ordered import cut
from aecli.data.images import Source, squared_errors, weighted_mean

_EACH = 32  # numbers of first units that are measured one by one, and as many beyond, on a log axis


def counts_of_units(code_dim: int) -> list[int]:
    """Numbers of first units, ascending, at which a code of so many is measured: each up to 32, and
    beyond at most 32 more, evenly on a log axis; the whole code is the last."""
    if code_dim <= _EACH:
        return list(range(1, code_dim + 1))
    beyond = np.geomspace(_EACH, code_dim, _EACH + 1).round().astype(int)
    return sorted({*range(1, _EACH + 1), *beyond.tolist()})


@torch.no_grad()
def first_units_mse(codec: Codec, source: Source, counts: Sequence[int]) -> list[float]:
    """The mean squared error per valid pixel with the first units of each number in `counts`, and 0
    for the others; of PCA, its error with as many components."""
    errors: list[list[Tensor]] = [[] for _ in counts]
    weights: list[Tensor] = []
    for batch in source.batches():
        there = batch.to(codec.device)
        codes = codec.encode(codec.seen(there))
        for of_count, kept in zip(errors, counts, strict=True):
            decoded = codec.decode(cut(codes, torch.full((len(codes),), kept, device=codes.device)))
            error, weight = squared_errors(decoded, there)
            of_count.append(error.cpu().double())
        weights.append(weight.cpu().double())
    return [weighted_mean(torch.cat(of_count), torch.cat(weights)) for of_count in errors]


def unit_order(codes: Tensor) -> float:
    """The rank correlation (Spearman) of a unit's index and its variance over codes (N, k): -1 if
    each unit varies less than the one before, as PCA's do; nan where all vary alike, as a single
    unit does, or none of a single image."""
    from scipy.stats import spearmanr  # takes half a second to import, and few runs need it

    variances = codes.var(dim=0, correction=0)
    if bool((variances == variances[0]).all()):
        return float("nan")
    order = spearmanr(np.arange(codes.shape[1]), variances.numpy())
    return float(order.statistic)
