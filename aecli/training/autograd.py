"""The gradient of any codec and any loss, by torch's automatic differentiation."""

from typing import cast

import torch
from torch import Tensor

from aecli.codecs.base import Codec
from aecli.data.images import Batch
from aecli.fields import LossSection
from aecli.training.engine import Engine
from aecli.training.losses import loss_terms, mean_of
from aecli.training.ordered import Cut
from aecli.training.parameters import FlatParameters


class Autograd(Engine):
    """Gradients that torch adds up in the one gradient vector."""

    def __init__(
        self, codec: Codec, parameters: FlatParameters, loss: LossSection, dtype: torch.dtype
    ) -> None:
        """dtype: type of the matrix products and convolutions."""
        self._codec, self._parameters = codec, parameters
        self._dtype = dtype
        self.terms = loss.terms
        views = parameters.views(parameters.gradient)
        for parameter, view in zip(parameters.ordered, views, strict=True):
            parameter.grad = view

    def __call__(
        self, inputs: Tensor, batch: Batch, loss: LossSection, kept: Tensor | None = None
    ) -> Tensor:
        self._parameters.gradient.zero_()
        codec = self._codec if kept is None else cast(Codec, Cut(self._codec, kept))
        narrow = self._dtype is not torch.float32
        with torch.autocast(inputs.device.type, self._dtype, enabled=narrow):
            terms = loss_terms(loss, codec, inputs, batch)
        means = [mean_of(term) for term in terms.values()]
        means[0].backward()
        return torch.stack(means).detach()
