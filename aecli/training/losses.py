"""Losses: named terms, the first of which training minimises.

One function gives the terms for training and for evaluation. To add a loss: such a function, its
settings, and a line in `config.sections.LOSSES`.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from aecli.codecs.base import Codec
from aecli.config.sections import SparseLoss
from aecli.data.images import Batch, Source, squared_errors, weighted_mean
from aecli.fields import LossSection
from aecli.lazily import named

Term = tuple[Tensor, Tensor]
"""Values (n,) of a term, one of each image, and their weights (n,) in a mean over images."""
Terms = dict[str, Term]
Loss = Callable[[Codec, Tensor, Batch, Any], Terms]
"""(codec, inputs (n, C, H, W), batch, settings) -> terms; `inputs` is what the codec sees."""


def mse(codec: Codec, inputs: Tensor, batch: Batch, settings: LossSection) -> Terms:
    """The mean squared error per valid pixel."""
    return {"mse": squared_errors(codec(inputs).float(), batch)}


def sparse(codec: Codec, inputs: Tensor, batch: Batch, settings: SparseLoss) -> Terms:
    """The mean squared error, and the weighted mean absolute value of the codes beside it."""
    codes = codec.encode(inputs).float()  # bf16 under autocast
    errors, weights = squared_errors(codec.decode(codes).float(), batch)
    sizes = codes.abs().flatten(start_dim=1).mean(dim=1)
    return {
        "loss": (errors + settings.l1 * sizes, weights),
        "mse": (errors, weights),
        "l1": (sizes, weights),
    }


def loss_terms(settings: LossSection, codec: Codec, inputs: Tensor, batch: Batch) -> Terms:
    """The terms of the loss that `settings` names."""
    loss: Loss = named(settings.made_by)
    return loss(codec, inputs, batch, settings)


def mean_of(term: Term) -> Tensor:
    """The weighted mean of a term, a scalar."""
    values, weights = term
    return (values * weights).sum() / weights.sum().clamp_min(1e-12)


@torch.no_grad()
def evaluate(settings: LossSection, codec: Codec, source: Source) -> dict[str, float]:
    """The mean of every term over all images; nan without images."""
    found: dict[str, list[Term]] = {name: [] for name in settings.terms}
    for batch in source.batches():
        there = batch.to(codec.device)
        for name, term in loss_terms(settings, codec, codec.seen(there), there).items():
            values, weights = (each.cpu().double() for each in term)  # no float64 on Apple's GPUs
            found[name].append((values, weights))
    return {
        name: weighted_mean(*(torch.cat(parts) for parts in zip(*terms, strict=True)))
        if terms
        else float("nan")
        for name, terms in found.items()
    }
