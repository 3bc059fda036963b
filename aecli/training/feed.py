"""Batches of training images, on the device that trains."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import torch
from torch import Tensor

from aecli.data.images import Batch, Source, sent
from aecli.training.device import held

_AHEAD = 2  # batches that are read while a GPU computes


class Feed:
    """Images that are held on the device of a training, or read on the way to it."""

    def __init__(self, source: Source, where: torch.device, batch_size: int) -> None:
        self._source, self._where, self._batch_size = held(source, where), where, batch_size
        self._reads_ahead = where.type == "cuda" and self._source.device.type != "cuda"
        self._buffer = torch.empty((batch_size, *source.shape), device=self._source.device)

    def __len__(self) -> int:
        return len(self._source)

    def batches(self, order: Tensor, done: int) -> Iterator[Batch]:
        """The images of `order`, (n,) int64 on the CPU, in batches, without the first `done` of
        these. A batch is good until the next one."""
        batches = order.to(self._source.device).split(self._batch_size)[done:]  # sent once
        if self._reads_ahead:
            return self._read_ahead(batches)
        return (self._source.read(each, self._buffer).to(self._where) for each in batches)

    def _read_ahead(self, batches: tuple[Tensor, ...]) -> Iterator[Batch]:
        to_gpu = partial(sent, where=self._where)
        with ThreadPoolExecutor(1) as reader:
            coming: deque[Future[Batch]] = deque()
            for each in batches:
                coming.append(reader.submit(self._source.read, each))
                if len(coming) > _AHEAD:
                    yield coming.popleft().result().each(to_gpu)
            while coming:
                yield coming.popleft().result().each(to_gpu)
