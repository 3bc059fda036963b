"""A codec's parameters as one vector."""

import torch
from torch import Tensor, nn


class FlatParameters:
    """A codec's parameters that are trained, as views of one vector: weight matrices first, single
    numbers last.

    A convolution's kernel is a matrix too: a row for each output channel.

    One vector is stepped, copied and saved by one operation, however many layers there are.
    """

    def __init__(self, codec: nn.Module) -> None:
        trained = (parameter for parameter in codec.parameters() if parameter.requires_grad)
        self.ordered = sorted(trained, key=_place)
        self.shapes = [parameter.shape for parameter in self.ordered]
        self._positions = {id(parameter): i for i, parameter in enumerate(self.ordered)}
        self.vector = torch.cat([parameter.detach().flatten() for parameter in self.ordered])
        self.gradient = torch.zeros_like(self.vector)
        for parameter, view in zip(self.ordered, self.views(self.vector), strict=True):
            parameter.data = view

    @property
    def matrices(self) -> list[torch.Size]:
        """The shapes of the weight matrices, in their order."""
        kernels = [shape for shape in self.shapes if len(shape) >= 2]
        return [torch.Size((shape[0], shape[1:].numel())) for shape in kernels]

    @property
    def numbers(self) -> int:
        """The number of parameters that are a single number, which stand last."""
        return sum(1 for shape in self.shapes if not shape)

    def views(self, vector: Tensor) -> list[Tensor]:
        """Views of `vector`, a number per parameter, in the parameters' shapes and order."""
        parts = vector.split([shape.numel() for shape in self.shapes])
        return [part.view(shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def view_of(self, parameter: Tensor, vector: Tensor) -> Tensor:
        """The part of `vector` that has the numbers of `parameter`, in its shape."""
        return self.views(vector)[self._positions[id(parameter)]]


def _place(parameter: Tensor) -> int:
    return 0 if parameter.ndim >= 2 else 1 if parameter.ndim else 2
