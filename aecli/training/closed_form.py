"""The gradient of the reconstruction error of a chain of layers, in closed form.

Backpropagation (Rumelhart, Hinton & Williams, Nature 1986) written out over buffers that are made
once: no graph is recorded and nothing is allocated per step, which at these sizes costs as much as
the elementwise work. It also lets the matrix products run in bfloat16 while weights, loss and
optimiser stay in float32.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

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
        self._l1 = loss.l1 if isinstance(loss, SparseLoss) else 0.0
        self.terms = loss.terms
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
    def __call__(self, inputs: Tensor, batch: Batch, kept: Tensor | None = None) -> Tensor:
        if self._weights is not self._parameters.vector:
            self._weights.copy_(self._parameters.vector)
        mask = None if kept is None else self._units < kept[:, None]
        outputs = self._forward(_in_dtype(inputs.flatten(start_dim=1), self._input), mask)
        mse, delta = self._compare(outputs[-1], batch.images.flatten(start_dim=1))
        self._backward(outputs, delta, self._l1, mask)
        if self._gradient is not self._parameters.gradient:
            self._parameters.gradient.copy_(self._gradient)
        if not self._l1:
            return mse
        size = outputs[self._code_layer].float().abs().mean()
        return torch.stack([mse + self._l1 * size, mse, size])

    def _forward(self, first: Tensor, mask: Tensor | None) -> list[Tensor]:
        """The input of each layer, the code uncut, and the output of the last before its sigmoid.

        mask: (n, code_dim) bool, True where a unit is decoded; None if all are.
        """
        outputs = [first]
        for i, layer in enumerate(self._layers):
            output = layer.output[: len(first)]
            torch.addmm(layer.bias, self._given(outputs, i, mask), layer.weight.T, out=output)
            outputs.append(output.relu_() if layer.relu else output)
        return outputs

    def _given(self, outputs: list[Tensor], i: int, mask: Tensor | None) -> Tensor:
        """The input of layer i, cut if it is the code."""
        return outputs[i] if mask is None or i != self._code_layer else outputs[i] * mask

    def _compare(self, output: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The mean squared error and its gradient by the last layer's output."""
        pixels, residual = _in_dtype(output, self._pixels), self._residual[: len(output)]
        if self._sigmoid:
            pixels.sigmoid_()
        flat = torch.sub(pixels, targets, out=residual).flatten()
        loss = torch.dot(flat, flat) / flat.numel()
        residual.mul_(2 / flat.numel())
        if self._sigmoid:
            torch.ops.aten.sigmoid_backward.grad_input(residual, pixels, grad_input=residual)
        return loss, _in_dtype(residual, self._delta)

    def _backward(
        self, outputs: list[Tensor], delta: Tensor, l1: float, mask: Tensor | None
    ) -> None:
        for i, layer in reversed(list(enumerate(self._layers))):
            if l1 and i + 1 == self._code_layer:
                codes = outputs[i + 1]
                delta.add_(codes.sign(), alpha=l1 / codes.numel())
            torch.mm(delta.T, self._given(outputs, i, mask), out=layer.weight_gradient)
            torch.sum(delta, dim=0, out=layer.bias_gradient)
            if i == 0:
                return
            delta = torch.mm(delta, layer.weight, out=layer.delta[: len(delta)])
            if mask is not None and i == self._code_layer:
                delta.mul_(mask)
            if self._layers[i - 1].relu:  # a ReLU's slope is zero where its output is
                torch.ops.aten.threshold_backward.grad_input(delta, outputs[i], 0, grad_input=delta)

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


def why_not(codec: Codec, loss: LossSection) -> str | None:
    """The reason why there is no closed form for this codec and this loss; None if there is one."""
    if loss.name not in ("mse", "sparse"):
        return f"no closed-form gradient for the loss {loss.name}"
    if not isinstance(codec, ChainCodec):
        return f"no closed-form gradient for codec {codec.settings.name}: it is no chain of layers"
    plain = (
        getattr(type(codec), name) is getattr(ChainCodec, name)
        for name in ("encode", "decode", "forward")
    )
    layers = codec.layers
    in_layers = [id(parameter) for layer in layers for parameter in layer.parameters()]
    if not all(plain) or sorted(in_layers) != sorted(map(id, codec.parameters())):
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
