"""One training by several processes, data-parallel: each takes its part of every batch, and all
move the same weights by the gradient of the whole one.

torch.distributed carries gradients, by gloo between CPUs and by NCCL between GPUs. The order of the
images, their augmentation and their noise come from one generator in every process, so that the
batches are those of a training by a single one; its sums are rounded in another order.
"""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from aecli.data.images import Batch
from aecli.errors import ProcessLost
from aecli.processes import Place
from aecli.training.engine import Engine
from aecli.training.optimizers import Muon
from aecli.training.work import Optimizers, Work

_LONGEST = timedelta(hours=12)  # between two sums: the first process measures, saves and draws


class Together(Work):
    """The work of a step, with the gradient of the whole batch.

    The gradient is the mean over all its images, or valid pixels, however few of them one process
    has; the last, short batch may leave one none. gradient: that of all parameters, flat, which the
    engine fills.
    """

    def __init__(
        self, engine: Engine, optimizers: Optimizers, gradient: Tensor, place: Place
    ) -> None:
        super().__init__(engine, optimizers)
        self._gradient, self._place = gradient, place
        for optimizer, _ in optimizers.values():
            if isinstance(optimizer, Muon):
                optimizer.orthogonalize = partial(self._spread, optimizer.orthogonalize)

    def __call__(
        self, inputs: Tensor, batch: Batch, loss: Any, kept: Tensor | None, factor: float
    ) -> Tensor:
        part = slice(*_bounds(len(batch), self._place))
        sums = self._gradient.new_zeros(len(self._gradient) + len(self._engine.terms))
        if part.start < part.stop:
            own = batch.each(lambda tensor: tensor[part])
            terms = self._engine(inputs[part], own, loss, None if kept is None else kept[part])
            shares = self._shares(batch, own, loss)
            torch.mul(self._gradient, shares[0], out=sums[: len(self._gradient)])
            sums[len(self._gradient) :] = terms * shares
        _told_if_lost(lambda: dist.all_reduce(sums))
        self._gradient.copy_(sums[: len(self._gradient)])
        for optimizer, highest_rate in self._optimizers.values():
            optimizer.step(highest_rate * factor)
        return sums[len(self._gradient) :]

    def _spread(
        self, orthogonalize: Callable[[Tensor, bool], Tensor], matrices: Tensor, are_cut: bool
    ) -> Tensor:
        """The matrices made orthogonal, by each process its part: it takes most of Muon's step."""
        part = slice(*_bounds(len(matrices), self._place))
        made = torch.zeros_like(matrices)  # what others make is added to 0, and so stays as it is
        if part.start < part.stop:
            made[part] = orthogonalize(matrices[part], are_cut)
        _told_if_lost(lambda: dist.all_reduce(made))
        return made

    def _shares(self, batch: Batch, own: Batch, loss: Any) -> Tensor:
        """The weight of this process's part in the mean of each term over the batch."""
        of_images = torch.tensor(len(own) / len(batch), device=self._gradient.device)
        if batch.mask is None or own.mask is None:
            return of_images.expand(len(self._engine.terms))
        of_pixels = own.mask.sum() / batch.mask.sum().clamp_min(1)
        return torch.stack(
            [of_images if name in loss.by_image else of_pixels for name in self._engine.terms]
        )


def _bounds(n: int, place: Place) -> tuple[int, int]:
    """The first and the last index, exclusive, of a process's part of n images."""
    return n * place.rank // place.size, n * (place.rank + 1) // place.size


def join(place: Place) -> None:
    """Meet the other processes; torchrun has told each where. Raises ProcessLost."""
    if torch.cuda.is_available():
        torch.cuda.set_device(place.number_here % torch.cuda.device_count())
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    _told_if_lost(lambda: _meet(backend, place))


def _meet(backend: str, place: Place) -> None:
    store, _, _ = next(rendezvous("env://", timeout=_LONGEST))
    if place.here == place.size:  # else machines may count restarts differently
        # The store outlives a restart, and has the addresses of the processes that are gone.
        store = PrefixStore(f"restart-{place.restarts}", store)
    dist.init_process_group(
        backend, store=store, rank=place.rank, world_size=place.size, timeout=_LONGEST
    )


def from_the_first(message: bytes = b"") -> bytes:
    """The first process's message, in every one: bytes, and nothing that is unpickled. Raises
    ProcessLost."""
    length = torch.tensor(len(message))
    _told_if_lost(lambda: dist.broadcast(length, 0))
    sent = torch.empty(int(length), dtype=torch.uint8)
    if message:
        sent = torch.frombuffer(bytearray(message), dtype=torch.uint8)
    _told_if_lost(lambda: dist.broadcast(sent, 0))
    return sent.numpy().tobytes()


def _told_if_lost(act: Callable[[], Any]) -> None:
    """Do what takes every process. Raises ProcessLost if one is no longer there."""
    try:
        act()
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:  # gloo tells a closed connection by one of no other class
        raise ProcessLost(str(error).splitlines()[0].split("] ", 1)[-1]) from error
