"""The gradient of a variational chain of layers, in closed form: that of the evidence lower bound.

Beside `closed_form` it differs in two places: codes are drawn between encoder and decoder, and
pixels have a likelihood. Both are tested against autograd's gradient of `losses.elbo`.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from aecli.codecs.base import MAX_LOG_VARIANCE, Codec
from aecli.codecs.gaussians import drawn, kl_nats
from aecli.config.sections import ElboLoss
from aecli.data.images import Batch
from aecli.fields import LossSection
from aecli.training.closed_form import ClosedForm, Code
from aecli.training.parameters import FlatParameters


class ClosedFormOfTheBound(ClosedForm):
    """The gradient of `losses.elbo` for a variational chain of layers."""

    def __init__(
        self,
        codec: Codec,
        parameters: FlatParameters,
        loss: LossSection,
        batch_size: int,
        dtype: torch.dtype,
    ) -> None:
        super().__init__(codec, parameters, loss, batch_size, dtype)
        self._code = self._gaussians = _Gaussians()
        self._log_sigma = parameters.view_of(codec.log_sigma, parameters.vector)
        self._sigma_gradient = parameters.view_of(codec.log_sigma, parameters.gradient)
        self._steepness = torch.zeros_like(self._log_sigma)

    def __call__(
        self, inputs: Tensor, batch: Batch, loss: ElboLoss, kept: Tensor | None = None
    ) -> Tensor:
        terms = super().__call__(inputs, batch, loss, kept)
        self._sigma_gradient.copy_(self._steepness)  # last, in float32 whatever the products are
        return terms

    def _compare(self, output: Tensor, targets: Tensor, loss: ElboLoss) -> tuple[Tensor, Tensor]:
        """(mse, pixels_nats), and the gradient of the latter by the last layer's output."""
        n, size = output.shape
        if loss.likelihood == "bernoulli":
            logits = _in_float(output)
            costs = F.binary_cross_entropy_with_logits(logits, targets, reduction="sum") / n
        pixels, residual = self._residual_of(output, targets)
        flat = residual.flatten()
        total = torch.dot(flat, flat)
        mse = total / flat.numel()
        if loss.likelihood == "bernoulli":  # the sigmoid's slope and that of the costs cancel out
            self._steepness.zero_()
            return torch.stack([mse, costs]), self._as_delta(residual.div_(n))
        precision = (-2 * self._log_sigma).exp()
        costs = 0.5 * total * precision / n
        costs += size * (self._log_sigma + 0.5 * math.log(2 * math.pi))
        self._steepness.copy_(size - total * precision / n)
        residual.mul_(precision / n)
        return torch.stack([mse, costs]), self._through_the_sigmoid(pixels, residual)


class _Gaussians(Code):
    """Codes drawn from the Gaussian of each image, whose distance from N(0, I) has its cost."""

    def forward(self, encoded: Tensor, batch: Batch, loss: ElboLoss) -> Tensor:
        assert batch.noise is not None
        self._encoded, self._noise, self._beta = encoded, batch.noise, loss.beta
        self._means, unbounded = encoded.float().chunk(2, dim=1)
        self._bounded = torch.tanh(unbounded / MAX_LOG_VARIANCE)
        self._log_variances = MAX_LOG_VARIANCE * self._bounded
        self._divergences = kl_nats(self._means, self._log_variances)
        self._free = loss.free_bits * math.log(2)
        return drawn(self._means, self._log_variances, self._noise).to(encoded.dtype)

    def backward(self, delta: Tensor) -> Tensor:
        by_codes = delta.float()
        weights = (self._divergences >= self._free) * (self._beta / len(delta))
        deviations = (0.5 * self._log_variances).exp()
        by_log_variances = 0.5 * (
            by_codes * deviations * self._noise + weights * self._log_variances.expm1()
        )
        by_unbounded = by_log_variances * (1 - self._bounded.square())
        both = torch.cat([by_codes + weights * self._means, by_unbounded], dim=1)
        return both.to(delta.dtype)

    def with_terms(self, terms: Tensor) -> Tensor:
        mse, pixels = terms
        costs = self._divergences.clamp_min(self._free).sum(dim=1).mean()
        divergence = self._divergences.sum(dim=1).mean()
        return torch.stack([pixels + self._beta * costs, mse, pixels, divergence])


def _in_float(tensor: Tensor) -> Tensor:
    """The tensor in float32, not the tensor itself."""
    return tensor.to(torch.float32, copy=True)
