"""The gradient of the reconstruction error of a chain of layers, in closed form.

Backpropagation (Rumelhart, Hinton & Williams, Nature 1986) written out over buffers that are made
once: no graph is recorded and nothing is allocated per step, which at these sizes costs as much as
the elementwise work. It also lets the matrix products run in bfloat16 while weights, loss and
optimiser stay in float32.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from aecli.codecs.base import ChainCodec, Codec
from aecli.config.sections import SparseLoss
from aecli.data.images import Batch
from aecli.fields import LossSection
from aecli.training.engine import Engine
from aecli.training.parameters import FlatParameters


@dataclass(frozen=True)
class _Layer:
    """z = a W^T + b and its activation, with buffers for a full batch."""

    weight: Tensor
    bias: Tensor
    weight_gradient: Tensor
    bias_gradient: Tensor
    relu: bool
    output: Tensor
    """(batch, outputs), after the activation."""
    delta: Tensor
    """(batch, inputs): the gradient with respect to the layer's input."""


class ClosedForm(Engine):
    """The gradient of a chain of linear layers with ReLUs between and a sigmoid as the last."""

    def __init__(
        self,
        codec: Codec,
        parameters: FlatParameters,
        loss: LossSection,
        batch_size: int,
        dtype: torch.dtype,
    ) -> None:
        """dtype: type of the matrix products. Raises TypeError for a codec or a loss without a
        closed form here."""
        if reason := why_not(codec, loss):
            raise TypeError(reason)
        assert isinstance(codec, ChainCodec)
        self.terms = loss.terms
        self._code: Code = _Sparse() if isinstance(loss, SparseLoss) else Code()
        self._parameters = parameters
        self._weights = parameters.vector.to(dtype)  # the vector itself if it has that dtype
        self._gradient = parameters.gradient.to(dtype)
        self._sigmoid = isinstance(codec.layers[-1], nn.Sigmoid)
        self._layers = list(self._chain(codec, batch_size))
        self._code_layer = sum(isinstance(m, nn.Linear) for m in codec.encoder.modules())
        device = self._weights.device
        self._units = torch.arange(codec.code_dim, device=device)
        self._input = torch.empty(batch_size, codec.pixels, dtype=dtype, device=device)
        self._pixels = torch.empty(batch_size, codec.pixels, device=device)
        self._residual = torch.empty_like(self._pixels)
        self._delta = torch.empty_like(self._input)

    @torch.no_grad()
    def __call__(
        self, inputs: Tensor, batch: Batch, loss: Any, kept: Tensor | None = None
    ) -> Tensor:
        if self._weights is not self._parameters.vector:
            self._weights.copy_(self._parameters.vector)
        mask = None if kept is None else self._units < kept[:, None]
        down, up = self._layers[: self._code_layer], self._layers[self._code_layer :]
        encoded = _forward(down, _in_dtype(inputs.flatten(start_dim=1), self._input))
        codes = self._code.forward(encoded[-1], batch, loss)
        decoded = _forward(up, codes if mask is None else codes * mask)
        terms, delta = self._compare(decoded[-1], batch.images.flatten(start_dim=1), loss)
        delta = _backward(up, decoded, delta)
        delta = self._code.backward(delta if mask is None else delta.mul_(mask))
        _backward(down, encoded, delta, to_input=False)
        if self._gradient is not self._parameters.gradient:
            self._parameters.gradient.copy_(self._gradient)
        return self._code.with_terms(terms)

    def _compare(self, output: Tensor, targets: Tensor, loss: Any) -> tuple[Tensor, Tensor]:
        """The mean squared error and its gradient by the last layer's output."""
        pixels, residual = self._residual_of(output, targets)
        flat = residual.flatten()
        mse = torch.dot(flat, flat) / flat.numel()
        residual.mul_(2 / flat.numel())
        return mse, self._through_the_sigmoid(pixels, residual)

    def _residual_of(self, output: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The pixels that the last layer's output means, and their difference from the targets."""
        pixels = _in_dtype(output, self._pixels)
        if self._sigmoid:
            pixels.sigmoid_()
        return pixels, torch.sub(pixels, targets, out=self._residual[: len(output)])

    def _through_the_sigmoid(self, pixels: Tensor, delta: Tensor) -> Tensor:
        """A gradient by pixels, in place, as one by the last layer's output."""
        if self._sigmoid:
            torch.ops.aten.sigmoid_backward.grad_input(delta, pixels, grad_input=delta)
        return self._as_delta(delta)

    def _as_delta(self, delta: Tensor) -> Tensor:
        """A gradient by the last layer's output in the type of the products."""
        return _in_dtype(delta, self._delta)

    def _chain(self, codec: ChainCodec, batch_size: int) -> Iterator[_Layer]:
        view, weights, gradient = self._parameters.view_of, self._weights, self._gradient
        for module, activation in itertools.pairwise([*codec.layers, None]):
            if isinstance(module, nn.Linear):
                yield _Layer(
                    view(module.weight, weights),
                    view(module.bias, weights),
                    view(module.weight, gradient),
                    view(module.bias, gradient),
                    isinstance(activation, nn.ReLU),
                    weights.new_empty(batch_size, module.out_features),
                    weights.new_empty(batch_size, module.in_features),
                )


class Code:
    """The way of codes (n, k) from encoder to decoder: as they are."""

    def forward(self, encoded: Tensor, batch: Batch, loss: Any) -> Tensor:
        """The codes that are decoded, of what the encoder's last layer gives."""
        return encoded

    def backward(self, delta: Tensor) -> Tensor:
        """The gradient by what `forward` took; delta: that by what it gave, may be overwritten."""
        return delta

    def with_terms(self, term: Tensor) -> Tensor:
        """The terms of the loss, of that of the pixels."""
        return term


class _Sparse(Code):
    """A penalty on the codes' mean absolute value."""

    def forward(self, encoded: Tensor, batch: Batch, loss: SparseLoss) -> Tensor:
        self._codes, self._l1 = encoded, loss.l1
        return encoded

    def backward(self, delta: Tensor) -> Tensor:
        return delta.add_(self._codes.sign(), alpha=self._l1 / self._codes.numel())

    def with_terms(self, term: Tensor) -> Tensor:
        size = self._codes.float().abs().mean()
        return torch.stack([term + self._l1 * size, term, size])


def _forward(layers: Sequence[_Layer], first: Tensor) -> list[Tensor]:
    """The input of each layer, and the output of the last; before its sigmoid, if it has one."""
    outputs = [first]
    for layer in layers:
        output = layer.output[: len(first)]
        torch.addmm(layer.bias, outputs[-1], layer.weight.T, out=output)
        outputs.append(output.relu_() if layer.relu else output)
    return outputs


def _backward(
    layers: Sequence[_Layer], outputs: list[Tensor], delta: Tensor, to_input: bool = True
) -> Tensor:
    """The gradient by the first layer's input, of `delta`, that by the last one's output; the
    layers' own are left in them. outputs: what `_forward` gave. to_input: False leaves it out."""
    for i, layer in reversed(list(enumerate(layers))):
        if layer.relu:  # a ReLU's slope is zero where its output is
            torch.ops.aten.threshold_backward.grad_input(delta, outputs[i + 1], 0, grad_input=delta)
        torch.mm(delta.T, outputs[i], out=layer.weight_gradient)
        torch.sum(delta, dim=0, out=layer.bias_gradient)
        if i == 0 and not to_input:
            break
        delta = torch.mm(delta, layer.weight, out=layer.delta[: len(delta)])
    return delta


def why_not(codec: Codec, loss: LossSection) -> str | None:
    """The reason why there is no closed form for this codec and this loss; None if there is one."""
    if loss.name not in ("mse", "sparse", "elbo"):
        return f"no closed-form gradient for the loss {loss.name}"
    if not isinstance(codec, ChainCodec):
        return f"no closed-form gradient for codec {codec.settings.name}: it is no chain of layers"
    plain = (
        getattr(type(codec), name) is getattr(ChainCodec, name)
        for name in ("encode", "decode", "forward", "posterior", "logits", "_encoded")
    )
    layers = codec.layers
    in_layers = [id(parameter) for layer in layers for parameter in layer.parameters()]
    in_codec = [id(value) for name, value in codec.named_parameters() if name != "log_sigma"]
    if not all(plain) or sorted(in_layers) != sorted(in_codec):
        return f"no closed-form gradient for codec {codec.settings.name}: more than its layers"
    first_of_decoder = sum(1 for m in codec.encoder.modules() if not isinstance(m, nn.Sequential))
    for i, layer in enumerate(layers):
        linear = isinstance(layer, nn.Linear) and layer.bias is not None
        between = 0 < i < len(layers) - 1 and i != first_of_decoder
        relu = isinstance(layer, nn.ReLU) and between and isinstance(layers[i - 1], nn.Linear)
        relu = relu and isinstance(layers[i + 1], nn.Linear)
        sigmoid = isinstance(layer, nn.Sigmoid) and i + 1 == len(layers)
        sigmoid = sigmoid and isinstance(layers[i - 1], nn.Linear)
        if not (linear or relu or sigmoid):
            return (
                f"no closed-form gradient for layer {i}, {layer}: known are a Linear with a bias,"
                " a ReLU between two, and a Sigmoid as the last layer"
            )
    return None


def _in_dtype(tensor: Tensor, buffer: Tensor) -> Tensor:
    """`tensor`, in the first rows of `buffer` if that has another dtype."""
    return tensor if tensor.dtype == buffer.dtype else buffer[: len(tensor)].copy_(tensor)
