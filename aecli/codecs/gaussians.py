"""The mathematics of variational codecs: Gaussians of codes, and what pixels cost, in nats.

Kingma & Welling, "Auto-encoding variational Bayes", ICLR 2014. Every sum is over one image's units
or valid pixels, in float32 or better.
"""

import math

import torch.nn.functional as F
from torch import Tensor

from aecli.codecs.base import Codec
from aecli.data.images import Batch


def drawn(means: Tensor, log_variances: Tensor, noise: Tensor) -> Tensor:
    """Codes (..., k) of Gaussians, with noise (..., k) from N(0, I): the mean and so many
    deviations (Kingma & Welling, section 2.4)."""
    return means + (0.5 * log_variances).exp() * noise


def kl_nats(means: Tensor, log_variances: Tensor) -> Tensor:
    """The divergence of each unit's Gaussian (n, k) from N(0, 1), in nats, at least 0 (Kingma &
    Welling, appendix B)."""
    return 0.5 * (means.square() + log_variances.expm1() - log_variances)


def pixels_nats(
    codec: Codec, codes: Tensor, batch: Batch, likelihood: str
) -> tuple[Tensor, Tensor]:
    """Minus the log-likelihood (n,) of each image's valid pixels given its code, in nats, and what
    codes (n, k) decode to.

    likelihood: `gaussian`, of deviation sigma about what is decoded (Rybkin, Daniilidis & Levine,
    "Simple and effective VAE training with calibrated decoders", ICML 2021, section 3), a density,
    so that it may be below 0; or `bernoulli`, of grey pixels in [0, 1] their expectation.
    """
    codes = codes.unflatten(1, codec.code_shape)
    if likelihood == "bernoulli":
        logits = codec.logits(codes).float()
        costs = F.binary_cross_entropy_with_logits(logits, batch.images, reduction="none")
        decoded = logits.sigmoid()
    else:
        decoded = codec.decode(codes).float()
        log_variance = 2 * codec.log_sigma
        distances = (decoded - batch.images).square() / log_variance.exp()
        costs = 0.5 * (distances + log_variance + math.log(2 * math.pi))
    if batch.mask is not None:
        costs = costs * batch.mask
    return costs.flatten(start_dim=1).sum(dim=1), decoded


def log_standard_normal(points: Tensor) -> Tensor:
    """The log-density of N(0, I) at points (..., k)."""
    return -0.5 * (points.square() + math.log(2 * math.pi)).sum(dim=-1)
