"""Numbers of variational codecs: what an image costs, and which units say something of it."""

import math

import torch
from torch import Tensor

from aecli.codecs.base import Codec
from aecli.codecs.gaussians import drawn, kl_nats, log_standard_normal, pixels_nats
from aecli.data.images import Source

ACTIVE_VARIANCE = 0.01
"""Variance of a unit's mean over images above which it counts as active (Burda, Grosse &
Salakhutdinov, "Importance weighted autoencoders", ICLR 2016, section 5.2)."""


def active_by_unit(codes: Tensor) -> Tensor:
    """For each unit, (k,) bool, whether its mean says something of the image; of means (N, k)."""
    return codes.double().var(dim=0, correction=0) > ACTIVE_VARIANCE


def active_units(codes: Tensor) -> int:
    """The number of such units, of means (N, k)."""
    return int(active_by_unit(codes).sum())


@torch.no_grad()
def kl_by_unit(codec: Codec, source: Source) -> Tensor:
    """The mean divergence from N(0, 1) of each unit's Gaussian, (k,) float64, in nats."""
    found = []
    for batch in source.batches():
        posterior = codec.posterior(codec.seen(batch.to(codec.device)))
        found.append(kl_nats(*posterior).cpu().double())
    return torch.cat(found).mean(dim=0)


@torch.no_grad()
def nll_nats(codec: Codec, source: Source, likelihood: str, samples: int) -> float:
    """Minus the log-likelihood of an image, the mean over all, in nats; nan without images.

    An estimate by importance sampling from each image's own Gaussian, which is too high by less the
    more samples there are (Burda et al. 2016, equation 8). The samples are the same in every call;
    a batch of images is decoded at once, and one sample of each.
    """
    generator = torch.Generator().manual_seed(0)
    found = []
    for batch in source.batches():
        there = batch.to(codec.device)
        means, log_variances = codec.posterior(codec.seen(there))
        volumes = 0.5 * log_variances.sum(dim=1)
        total = torch.full((len(batch),), -math.inf, dtype=torch.float64)
        for _ in range(samples):
            noise = torch.randn(means.shape, generator=generator).to(means.device)
            codes = drawn(means, log_variances, noise)
            costs, _ = pixels_nats(codec, codes, there, likelihood)
            weights = log_standard_normal(codes) - log_standard_normal(noise) + volumes - costs
            total = torch.logaddexp(total, weights.cpu().double())
        found.append(math.log(samples) - total)
    return torch.cat(found).mean().item() if found else math.nan
