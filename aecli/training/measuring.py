"""Measure many codecs, several at a time, by the job engine that trains them."""

import importlib
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import torch
from threadpoolctl import threadpool_limits

from aecli.config import ManyConfig
from aecli.data.images import Images
from aecli.errors import JobsFailedError
from aecli.runs.context import Context
from aecli.runs.folder import RunDir
from aecli.training import device
from aecli.training.jobs import outcomes_of
from aecli.training.shared import Named, Shared, shared_by_all
from aecli.training.workers import Failure

Task = TypeVar("Task")
Outcome = TypeVar("Outcome")
Measure = Callable[[Images, Task], Outcome]
"""Function of the images and of one task; another process finds it by its name."""


@dataclass(frozen=True)
class _Asked:
    """All that tasks have in common."""

    measure: Measure[Any, Any]
    shared: Shared | Named

    @property
    def images(self) -> Images:
        return self.shared.images


@dataclass(frozen=True)
class _Sent(Generic[Task]):
    """A task that travels as bytes: a codec would take shared memory, of which a container may
    have little."""

    task: Task

    def __reduce__(self) -> tuple[Any, ...]:
        return _received, (pickle.dumps(self.task),)


def _received(content: bytes) -> _Sent[Any]:
    return _Sent(pickle.loads(content))


def measure_all(
    measure: Measure[Task, Outcome],
    tasks: Sequence[Task],
    images: Images,
    config: ManyConfig,
    run_dir: RunDir,
    context: Context,
    text: str,
) -> list[Outcome]:
    """The outcome of each task, in order.

    Each is measured on the CPU with a fixed number of threads (`config.threads`, or 1), so the
    numbers depend neither on `config.jobs` nor on the engine. text: words for the progress. Raises
    the error of one that failed, and JobsFailedError where that is none of aecli's.
    """
    threads = config.threads or 1
    shared = _Asked(measure, shared_by_all(images, config, run_dir, context, threads, "cpu"))
    sent = [_Sent(task) for task in tasks]
    names = [f"{text.replace(' ', '-')}-{index}" for index in range(len(tasks))]
    unlimited = replace(context, job_timeout=None)  # which is for trainings
    done: dict[int, Outcome] = {}
    with context.terminal.working(text, len(tasks), "measurements") as advance:
        for index, outcome in outcomes_of(_measure, shared, sent, names, config, unlimited, "cpu"):
            advance()
            if isinstance(outcome, Failure):
                reason = f"{text}, {index + 1} of {len(tasks)}: {outcome.reason}"
                raise (outcome.kind or JobsFailedError)(reason)
            done[index] = outcome
    return [done[index] for index in range(len(tasks))]


def _measure(asked: _Asked, sent: _Sent[Any]) -> Any:
    # Loaded before the limit, which is set for what is loaded.
    importlib.import_module("sklearn.neighbors")
    importlib.import_module("scipy.linalg")
    before, threads = torch.get_num_threads(), asked.shared.threads
    with torch.random.fork_rng(devices=[]), threadpool_limits(threads):  # scikit-learn's too
        device.seed_and_limit(0, threads)
        try:
            return asked.measure(asked.images, sent.task)
        finally:
            torch.set_num_threads(before)
