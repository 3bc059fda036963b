"""The gradient of the reconstruction error of a chain of layers, in closed form.

Backpropagation (Rumelhart, Hinton & Williams, Nature 1986) written out over buffers that are made
once: no graph is recorded and nothing is allocated per step, which at these sizes costs as much as
the elementwise work. It also lets the matrix products run in bfloat16 while weights, loss and
optimiser stay in float32.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from aecli.codecs.base import ChainCodec


class FlatParameters:
    """A codec's parameters as views of one vector, in which the weight matrices stand first.

    One vector is stepped, copied and saved by one operation, however many layers there are.
    """

    def __init__(self, codec: nn.Module) -> None:
        ordered = sorted(codec.parameters(), key=lambda parameter: parameter.ndim != 2)
        self.shapes = [parameter.shape for parameter in ordered]
        self._positions = {id(parameter): i for i, parameter in enumerate(ordered)}
        self.vector = torch.cat([parameter.detach().flatten() for parameter in ordered])
        self.gradient = torch.zeros_like(self.vector)
        for parameter, view in zip(ordered, self.views(self.vector), strict=True):
            parameter.data = view

    @property
    def matrices(self) -> list[torch.Size]:
        """The shapes of the weight matrices, in their order."""
        return [shape for shape in self.shapes if len(shape) == 2]

    def views(self, vector: Tensor) -> list[Tensor]:
        """Views of `vector`, a number per parameter, in the parameters' shapes and order."""
        parts = vector.split([shape.numel() for shape in self.shapes])
        return [part.view(shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def view_of(self, parameter: Tensor, vector: Tensor) -> Tensor:
        """The part of `vector` that has the numbers of `parameter`, in its shape."""
        return self.views(vector)[self._positions[id(parameter)]]


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


class Backpropagation:
    """Mean squared error and its gradient of a codec whose layers are linear, ReLU and sigmoid.

    dtype: type of the matrix products and their operands; loss and sigmoid are float32.
    Raises TypeError for a codec with any other layer: its gradient would be wrong.
    """

    def __init__(
        self, codec: ChainCodec, parameters: FlatParameters, batch_size: int, dtype: torch.dtype
    ) -> None:
        _require_known(codec.layers)
        self._parameters = parameters
        self._weights = parameters.vector.to(dtype)  # the vector itself if it has that dtype
        self._gradient = parameters.gradient.to(dtype)
        self._sigmoid = isinstance(codec.layers[-1], nn.Sigmoid)
        self._layers = list(self._chain(codec, batch_size))
        self._code_layer = sum(isinstance(m, nn.Linear) for m in codec.encoder.modules())
        device = self._weights.device
        self._input = torch.empty(batch_size, codec.pixels, dtype=dtype, device=device)
        self._pixels = torch.empty(batch_size, codec.pixels, device=device)
        self._residual = torch.empty_like(self._pixels)
        self._delta = torch.empty_like(self._input)

    @torch.no_grad()
    def __call__(self, images: Tensor, targets: Tensor, l1: float = 0.0) -> Tensor:
        """The mean squared error (a scalar tensor); the gradient is in `parameters.gradient`.

        images, targets: (n, ...) float32 with n at most the batch size. l1: the weight of the
        codes' mean absolute value, which counts in the gradient but not in what is returned.
        """
        n = len(images)
        if self._weights is not self._parameters.vector:
            self._weights.copy_(self._parameters.vector)
        outputs = self._forward(_in_dtype(images.view(n, -1), self._input))
        loss, delta = self._compare(outputs[-1], targets.view(n, -1))
        self._backward(outputs, delta, l1)
        if self._gradient is not self._parameters.gradient:
            self._parameters.gradient.copy_(self._gradient)
        return loss

    def _forward(self, first: Tensor) -> list[Tensor]:
        """The input of each layer, and the output of the last before its sigmoid."""
        outputs = [first]
        for layer in self._layers:
            output = layer.output[: len(first)]
            torch.addmm(layer.bias, outputs[-1], layer.weight.T, out=output)
            outputs.append(output.relu_() if layer.relu else output)
        return outputs

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

    def _backward(self, outputs: list[Tensor], delta: Tensor, l1: float) -> None:
        for i, layer in reversed(list(enumerate(self._layers))):
            if l1 and i + 1 == self._code_layer:
                codes = outputs[i + 1]
                delta.add_(codes.sign(), alpha=l1 / codes.numel())
            torch.mm(delta.T, outputs[i], out=layer.weight_gradient)
            torch.sum(delta, dim=0, out=layer.bias_gradient)
            if i == 0:
                return
            delta = torch.mm(delta, layer.weight, out=layer.delta[: len(delta)])
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


def _require_known(layers: Sequence[nn.Module]) -> None:
    for i, layer in enumerate(layers):
        linear = isinstance(layer, nn.Linear) and layer.bias is not None
        relu = isinstance(layer, nn.ReLU) and i > 0 and isinstance(layers[i - 1], nn.Linear)
        sigmoid = isinstance(layer, nn.Sigmoid) and i + 1 == len(layers)
        if not (linear or relu or sigmoid):
            raise TypeError(
                f"no closed-form gradient for layer {i}, {layer}: known are a Linear with a bias,"
                " a ReLU behind one, and a Sigmoid as the last layer"
            )


def _in_dtype(tensor: Tensor, buffer: Tensor) -> Tensor:
    """`tensor`, in the first rows of `buffer` if that has another dtype."""
    return tensor if tensor.dtype == buffer.dtype else buffer[: len(tensor)].copy_(tensor)
