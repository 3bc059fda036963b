"""Losses: named terms, the first of which training minimises.

One function gives the terms for training and for evaluation. To add a loss: such a function, its
settings, and a line in `config.sections.LOSSES`.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from aecli.codecs.base import Codec
from aecli.codecs.gaussians import drawn, kl_nats, pixels_nats
from aecli.config.sections import ElboLoss, SparseLoss
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


def elbo(codec: Codec, inputs: Tensor, batch: Batch, settings: ElboLoss) -> Terms:
    """The negative evidence lower bound (Kingma & Welling 2014, equation 3) with its weight `beta`
    (Higgins et al., "beta-VAE", ICLR 2017), per image in nats; the squared error of what the code
    that was drawn decodes to; and the bound's two parts.

    batch: with `noise`. With free bits each unit costs at least those (Kingma et al., "Improving
    variational inference with inverse autoregressive flow", NeurIPS 2016, here of one image, not of
    a batch's mean, so that the batch size changes no optimum).
    """
    assert batch.noise is not None
    means, log_variances = codec.posterior(inputs)
    codes = drawn(means, log_variances, batch.noise)
    pixels, decoded = pixels_nats(codec, codes, batch, settings.likelihood)
    divergences = kl_nats(means, log_variances)
    costs = divergences.clamp_min(settings.free_bits * math.log(2)).sum(dim=1)
    alike = torch.ones_like(pixels)
    return {
        "loss": (pixels + settings.beta * costs, alike),
        "mse": squared_errors(decoded, batch),
        "pixels_nats": (pixels, alike),
        "kl_nats": (divergences.sum(dim=1), alike),
    }


def loss_terms(settings: LossSection, codec: Codec, inputs: Tensor, batch: Batch) -> Terms:
    """The terms of the loss that `settings` names."""
    loss: Loss = named(settings.made_by)
    return loss(codec, inputs, batch, settings)


def mean_of(term: Term) -> Tensor:
    """The weighted mean of a term, a scalar."""
    values, weights = term
    return (values * weights).sum() / weights.sum().clamp_min(1e-12)


def with_noise(codec: Codec, source: Source, seed: int = 0) -> Iterator[Batch]:
    """All images in order, in batches; for a variational codec with noise, by the seed alone."""
    if not codec.settings.is_variational:
        yield from source.batches()
        return
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn((len(source), codec.code_dim), generator=generator)
    done = 0
    for batch in source.batches():
        yield replace(batch, noise=noise[done : done + len(batch)])
        done += len(batch)


@torch.no_grad()
def evaluate(settings: LossSection, codec: Codec, source: Source) -> dict[str, float]:
    """The mean of every term over all images; nan without images. What a variational codec draws
    is the same in every call, and in batches of any size."""
    if not len(source):  # not every network takes a batch of none
        return dict.fromkeys(settings.terms, float("nan"))
    found: dict[str, list[Term]] = {name: [] for name in settings.terms}
    for batch in with_noise(codec, source):
        there = batch.to(codec.device)
        for name, term in loss_terms(settings, codec, codec.seen(there), there).items():
            values, weights = (each.cpu().double() for each in term)  # no float64 on Apple's GPUs
            found[name].append((values, weights))
    return {
        name: weighted_mean(*(torch.cat(parts) for parts in zip(*terms, strict=True)))
        for name, terms in found.items()
    }
