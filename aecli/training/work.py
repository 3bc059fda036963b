"""The work of a step on its batch; on a GPU recorded once, and replayed from then on.

A step of a small network is some hundred short kernels, and launching each takes longer than it
computes. A CUDA graph launches all of them at once.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from aecli.data.images import Batch
from aecli.fields import LossSection
from aecli.training.engine import Engine
from aecli.training.optimizers import Optimizer

Optimizers = Mapping[str, tuple[Optimizer, float]]
"""Optimisers and their highest learning rates, by name."""

STEPS_BEFORE_RECORDING = 3  # in which libraries set themselves up


class Work:
    """The gradient of a batch, and the weights moved by it."""

    def __init__(self, engine: Engine, optimizers: Optimizers) -> None:
        self._engine, self._optimizers = engine, optimizers

    def __call__(
        self, inputs: Tensor, batch: Batch, loss: Any, kept: Tensor | None, factor: float
    ) -> Tensor:
        """The terms that `Engine` gives. factor: fraction of the highest learning rates."""
        return self._do(inputs, batch, loss, kept, factor)

    def _do(
        self, inputs: Tensor, batch: Batch, loss: Any, kept: Tensor | None, factor: float | Tensor
    ) -> Tensor:
        terms = self._engine(inputs, batch, loss, kept)
        for optimizer, highest_rate in self._optimizers.values():
            optimizer.step(highest_rate * factor)
        return terms


class Replayed(Work):
    """The same on a CUDA device, whole batches from a graph.

    The loss's settings are part of what is recorded: while a weight in it changes from step to
    step, and for the short last batch of an epoch, kernels are launched one by one.
    """

    def __init__(
        self, engine: Engine, optimizers: Optimizers, batch_size: int, where: torch.device
    ) -> None:
        super().__init__(engine, optimizers)
        self._batch_size = batch_size
        self._factor = torch.zeros((), device=where)
        self._loss: LossSection | None = None
        self._alike = 0
        """Whole batches with this loss so far."""
        self._graph: torch.cuda.CUDAGraph | None = None
        self._read: list[Tensor] = []
        """Tensors that the graph reads."""
        self._terms = self._factor

    def __call__(
        self, inputs: Tensor, batch: Batch, loss: Any, kept: Tensor | None, factor: float
    ) -> Tensor:
        self._factor.fill_(factor)
        if len(batch) < self._batch_size:
            return self._do(inputs, batch, loss, kept, self._factor)
        if loss != self._loss:
            self._loss, self._alike, self._graph = loss, 0, None
        self._alike += 1
        if self._alike <= STEPS_BEFORE_RECORDING:
            return self._do(inputs, batch, loss, kept, self._factor)
        if self._graph is None:
            self._record(inputs, batch, kept)
        for mine, given in zip(self._read, _tensors(inputs, batch, kept), strict=True):
            mine.copy_(given)
        assert self._graph is not None
        self._graph.replay()
        return self._terms

    def _record(self, inputs: Tensor, batch: Batch, kept: Tensor | None) -> None:
        """Record the work on tensors of its own, which nothing else overwrites."""
        own_batch = batch.each(torch.clone)
        own_inputs = own_batch.images if inputs is batch.images else inputs.clone()
        own_kept = None if kept is None else kept.clone()
        self._read = _tensors(own_inputs, own_batch, own_kept)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._terms = self._do(own_inputs, own_batch, self._loss, own_kept, self._factor)


def _tensors(inputs: Tensor, batch: Batch, kept: Tensor | None) -> list[Tensor]:
    """All tensors that a step reads, each once."""
    apart = None if inputs is batch.images else inputs
    every = (apart, batch.images, batch.mask, batch.labels, batch.noise, kept)
    return [tensor for tensor in every if tensor is not None]
