"""Worker processes that do one task at a time, whose death or delay costs that task only."""

import contextlib
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

from aecli.errors import AecliError, UsageError

Task = TypeVar("Task")
Outcome = TypeVar("Outcome")
Work = Callable[[Any, Task], Outcome]
"""What is done, given what all tasks share and one task; found by its name in another process."""


@dataclass(frozen=True)
class Failure:
    """Why there is no outcome."""

    reason: str
    usage: bool = False
    """Whether the task cannot be carried out as it was asked, here or anywhere."""


@dataclass
class _Worker(Generic[Task]):
    process: BaseProcess
    connection: Connection
    index: int
    """Of the task in hand."""
    deadline: float | None


def do_here(
    work: "Work[Task, Outcome]", shared: Any, tasks: Sequence[Task]
) -> Iterator[tuple[int, Outcome | Failure]]:
    """Each task's number and outcome, done one after the other in this process."""
    for index, task in enumerate(tasks):
        yield index, _attempt(work, shared, task)


def do_in_workers(
    work: "Work[Task, Outcome]",
    shared: Any,
    tasks: Sequence[Task],
    workers: int,
    timeout: float | None = None,
) -> Iterator[tuple[int, Outcome | Failure]]:
    """Each task's number and outcome, as they come, done by up to `workers` processes.

    timeout: seconds a task may take. A worker that dies or takes longer is replaced.
    """
    waiting = list(enumerate(tasks))[::-1]
    busy: list[_Worker[Task]] = []
    try:
        for _ in range(min(workers, len(tasks))):
            busy.append(_start(work, shared, *waiting.pop(), timeout))
        while busy:
            for worker in _ready(busy):
                busy.remove(worker)
                outcome = _collect(worker, timeout)
                lives = worker.process.is_alive()
                if waiting:
                    index, task = waiting.pop()
                    if lives:
                        _give(worker, index, task, timeout)
                        busy.append(worker)
                    else:
                        busy.append(_start(work, shared, index, task, timeout))
                    yield outcome
                else:
                    _dismiss(worker)
                    yield outcome
    finally:
        for worker in busy:
            _end(worker.process)


def _start(
    work: "Work[Task, Outcome]", shared: Any, index: int, task: Task, timeout: float | None
) -> _Worker[Task]:
    context = multiprocessing.get_context("spawn")  # a fork of a threaded torch may hang
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, work, shared), daemon=True)
    process.start()
    theirs.close()
    worker: _Worker[Task] = _Worker(process, ours, index, None)
    _give(worker, index, task, timeout)
    return worker


def _give(worker: _Worker[Task], index: int, task: Task, timeout: float | None) -> None:
    worker.index = index
    worker.deadline = None if timeout is None else time.monotonic() + timeout
    with contextlib.suppress(OSError):  # it has died meanwhile, which `_collect` tells
        worker.connection.send(task)


def _ready(busy: Sequence[_Worker[Task]]) -> list[_Worker[Task]]:
    """The workers with an outcome, dead or past their deadline; waits for one."""
    deadlines = [worker.deadline for worker in busy if worker.deadline is not None]
    patience = max(0.0, min(deadlines) - time.monotonic()) if deadlines else None
    signs = [sign for worker in busy for sign in (worker.connection, worker.process.sentinel)]
    shown = wait(signs, patience)
    now = time.monotonic()
    return [
        worker
        for worker in busy
        if worker.connection in shown
        or worker.process.sentinel in shown
        or (worker.deadline is not None and worker.deadline <= now)
    ]


def _collect(worker: _Worker[Task], timeout: float | None) -> tuple[int, Any]:
    """The outcome of the task in hand; a worker past its deadline is ended."""
    with contextlib.suppress(EOFError, OSError):
        if worker.connection.poll():
            return worker.index, worker.connection.recv()
    if worker.process.is_alive() and worker.deadline is not None:
        late = worker.deadline <= time.monotonic()
        if late:
            _end(worker.process)
            return worker.index, Failure(f"took longer than {timeout:g} s")
    worker.process.join()
    code = worker.process.exitcode or 0
    if code < 0:
        return worker.index, Failure(f"its process was killed by {signal.Signals(-code).name}")
    return worker.index, Failure(f"its process ended with exit code {code}")


def _dismiss(worker: _Worker[Task]) -> None:
    worker.connection.close()  # at which it ends by itself
    worker.process.join(timeout=5)
    _end(worker.process)


def _end(process: BaseProcess) -> None:
    if process.is_alive():
        process.kill()
    process.join()


def _serve(connection: Connection, work: "Work[Task, Outcome]", shared: Any) -> None:
    """A worker's life: a task in, its outcome out, until the other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it too, and ends us
    with contextlib.suppress(EOFError, OSError):
        while True:
            connection.send(_attempt(work, shared, connection.recv()))


def _attempt(work: "Work[Task, Outcome]", shared: Any, task: Task) -> Outcome | Failure:
    try:
        return work(shared, task)
    except AecliError as error:
        return Failure(str(error), isinstance(error, UsageError))
    except MemoryError:
        return Failure("out of memory")
    except Exception as error:  # one task's fault must not cost the others
        out_of_memory = isinstance(error, RuntimeError) and "allocate memory" in str(error)
        return Failure("out of memory" if out_of_memory else f"{type(error).__name__}: {error}")
