"""Worker processes that do one task at a time, whose death or delay costs that task only."""

import contextlib
import math
import multiprocessing
import multiprocessing.resource_tracker
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

from aecli.errors import AecliError, UsageError

Task = TypeVar("Task")
Outcome = TypeVar("Outcome")
Work = Callable[[Any, Task], Outcome]
"""Function of what all tasks share and of one task; another process finds it by its name."""

START_SECONDS = 120.0
"""Seconds that a worker may take to start, where its tasks have a limit of time."""
_LONGEST_WAIT = 1e6  # seconds; a queue refuses to wait for much longer
_READY, _DONE, _FREE, _GONE = "ready", "done", "free", "gone"


@dataclass(frozen=True)
class Failure:
    """Reason why there is no outcome."""

    reason: str
    ends: type[AecliError] | None = None
    """The error that ends the whole run, where a task can be carried out by nobody, as it was asked
    or on this data; None for a failure of this task alone."""
    kind: type[AecliError] | None = field(default=None, compare=False)
    """The error that it was, of aecli's; None for any other."""


@dataclass(frozen=True)
class Place:
    """Place and way of doing many tasks."""

    workers: int
    """Number of tasks at a time, where the engine is asked to start workers."""
    timeout: float | None = None
    """Seconds that a task may take."""
    names: Sequence[str] = ()
    """A name for each task, the same only for the same task."""
    scheduler: str | None = None
    """Address of a scheduler, or a file that has it, for an engine that has one."""
    resources: Mapping[str, float] = field(default_factory=dict)
    """Threads and share of a GPU that each task takes, where an engine's workers offer such."""


@dataclass(frozen=True)
class _Started:
    process: BaseProcess
    connection: Connection


@dataclass(eq=False)
class _Worker(Generic[Task]):
    started: _Started
    index: int
    task: Task
    """The present task; `index` is its number."""
    deadline: float
    """Time on the monotonic clock; infinity without a limit."""
    too_late: str
    """The reason of the failure at the deadline."""
    listener: threading.Thread | None = None

    @property
    def process(self) -> BaseProcess:
        return self.started.process

    @property
    def connection(self) -> Connection:
        return self.started.connection


_idle: list[_Started] | None = None
"""Workers that wait for the tasks of another call; None where none is kept."""


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Workers of this machine that have done all tasks of a call in the block wait for those of the
    next, which need not start others; they end with the block."""
    global _idle
    before, _idle = _idle, []
    try:
        yield
    finally:
        ending, _idle = _idle, before
        for started in ending:
            _dismiss(started)


def do_locally(
    work: "Work[Task, Outcome]",
    shared: Any,
    tasks: Sequence[Task],
    place: Place,
) -> Iterator[tuple[int, Outcome | Failure]]:
    """Each task's number and outcome, done in this process or in several of this machine.

    The job engine `local`; what it is given and gives is what every job engine is and does. work:
    a function of a module; shared and the tasks can be pickled.
    """
    if place.workers <= 1 and place.timeout is None:
        return do_here(work, shared, tasks)
    return do_in_workers(work, shared, tasks, place.workers, place.timeout)


def do_here(
    work: "Work[Task, Outcome]", shared: Any, tasks: Sequence[Task]
) -> Iterator[tuple[int, Outcome | Failure]]:
    """Each task's number and outcome, done one after the other in this process."""
    for index, task in enumerate(tasks):
        yield index, attempt(work, shared, task)


def do_in_workers(
    work: "Work[Task, Outcome]",
    shared: Any,
    tasks: Sequence[Task],
    workers: int,
    timeout: float | None = None,
) -> Iterator[tuple[int, Outcome | Failure]]:
    """Each task's number and outcome, as they come, done by up to `workers` processes.

    timeout: seconds a task may take, from when its worker is ready for it until its outcome is
    here. A worker that dies or takes longer is replaced. The workers end when this process does, or
    with the block of `kept`.
    """
    waiting = list(enumerate(tasks))[::-1]
    events: _Events = queue.SimpleQueue()
    busy: list[_Worker[Task]] = []
    try:
        for _ in range(min(workers, len(tasks))):
            busy.append(_start(work, shared, *waiting.pop(), timeout, events))
        while busy:
            worker, event, outcome = _next(busy, events)
            if event == _READY:
                _give(worker, timeout)
                continue
            index = worker.index
            if event == _GONE:
                busy.remove(worker)
                if waiting:
                    busy.append(_start(work, shared, *waiting.pop(), timeout, events))
            elif waiting:
                worker.index, worker.task = waiting.pop()
                _give(worker, timeout)
            else:
                _let_go(worker)
                busy.remove(worker)
            yield index, outcome
    finally:
        for worker in busy:
            _end(worker.process)


_Events = queue.SimpleQueue[tuple[_Worker[Any], str, Any]]


def _start(
    work: "Work[Task, Outcome]",
    shared: Any,
    index: int,
    task: Task,
    timeout: float | None,
    events: _Events,
) -> _Worker[Task]:
    started = _idle_one() or _start_one()
    deadline = math.inf if timeout is None else time.monotonic() + START_SECONDS
    too_late = f"its process was not ready after {START_SECONDS:g} s"
    worker = _Worker(started, index, task, deadline, too_late)
    arguments = (worker, work, shared, events)
    worker.listener = threading.Thread(target=_listen, args=arguments, daemon=True)
    worker.listener.start()
    return worker


def _idle_one() -> _Started | None:
    """A worker that waits; None if there is none, or none that lives."""
    while _idle:
        started = _idle.pop()
        if started.process.is_alive():
            return started
        _end(started.process)
    return None


def _start_one() -> _Started:
    context = multiprocessing.get_context("spawn")  # a fork of a threaded torch may hang
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    with withheld_signals():
        process.start()
    theirs.close()
    return _Started(process, ours)


def _listen(worker: _Worker[Any], work: "Work[Any, Any]", shared: Any, events: _Events) -> None:
    """Send what is shared and pass on what comes back, until the worker is free; runs in a thread,
    as it may have to wait."""
    try:
        worker.connection.send((work, shared))
        while (event := worker.connection.recv())[0] != _FREE:
            events.put((worker, *event))
    except (EOFError, OSError):
        events.put((worker, _GONE, None))
    except Exception as error:  # nothing that a worker sends, or fails to, may stop the others
        events.put((worker, _GONE, Failure(f"its outcome cannot be read: {error}")))


def _next(busy: Sequence[_Worker[Task]], events: _Events) -> tuple[_Worker[Task], str, Any]:
    """The next event of a worker; one that is gone, or late and then ended, has a Failure."""
    while True:
        first = min(busy, key=lambda worker: worker.deadline)
        patience = max(first.deadline - time.monotonic(), 0.0)
        try:
            worker, event, outcome = events.get(timeout=min(patience, _LONGEST_WAIT))
        except queue.Empty:
            if time.monotonic() < first.deadline:
                continue
            _end(first.process)
            return first, _GONE, Failure(first.too_late)
        if worker not in busy:  # it was ended before this event was read
            continue
        if event == _GONE:
            outcome = outcome or Failure(_reason(worker.process))
            _end(worker.process)
        return worker, event, outcome


def _give(worker: _Worker[Task], timeout: float | None) -> None:
    """Send a ready worker its task, whose time runs from now."""
    if timeout is not None:
        worker.deadline = time.monotonic() + timeout
        worker.too_late = f"took longer than {timeout:g} s"
    with contextlib.suppress(OSError):  # it has died; its thread reports that
        worker.connection.send((worker.task,))


def _reason(process: BaseProcess) -> str:
    """Words on how a process ended that has closed its connection."""
    process.join(timeout=5)
    code = process.exitcode
    if code is None:
        return "its process closed its connection"
    if code >= 0:
        return f"its process ended with exit code {code}"
    names = {each.value: each.name for each in signal.Signals}
    return f"its process was killed by {names.get(-code, f'signal {-code}')}"


def _let_go(worker: _Worker[Any]) -> None:
    """Tell a worker that these were all tasks, and keep it for others where that is asked for."""
    assert worker.listener is not None
    with contextlib.suppress(OSError):
        worker.connection.send(None)
    worker.listener.join(timeout=5)
    if _idle is None or worker.listener.is_alive():
        _dismiss(worker.started)
    else:
        _idle.append(worker.started)


def _dismiss(started: _Started) -> None:
    with contextlib.suppress(OSError):
        started.connection.send(None)  # the worker then ends by itself
    started.process.join(timeout=5)
    _end(started.process)


def _end(process: BaseProcess) -> None:
    if process.is_alive():
        process.kill()
    process.join()


@contextlib.contextmanager
def withheld_signals() -> Iterator[None]:
    """A process started in the block never gets a terminal's SIGINT or SIGHUP; this one gets what
    came after the block. So Ctrl-C asks the parent alone, even while its workers still start."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    multiprocessing.resource_tracker.ensure_running()  # a later start lifts the mask
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(connection: Connection) -> None:
    """A worker's life: what all tasks share, then a task in and its outcome out, and so on with
    others, until it is asked to end or the parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # for systems without the mask
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, OSError):
        while (asked := connection.recv()) is not None:
            connection.send((_READY, None))
            while (given := connection.recv()) is not None:
                connection.send((_DONE, attempt(*asked, *given)))
            del asked  # not held while it waits
            if "torch" in sys.modules and sys.modules["torch"].cuda.is_initialized():
                sys.modules["torch"].cuda.empty_cache()
            connection.send((_FREE, None))


def _end_with_parent() -> None:
    """Wait until the parent has ended, however it did, and end at once; runs in a thread."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def attempt(work: "Work[Task, Outcome]", shared: Any, task: Task) -> Outcome | Failure:
    """The outcome of a task, or why there is none: no error leaves it."""
    try:
        return work(shared, task)
    except AecliError as error:
        ends = UsageError if isinstance(error, UsageError) else None
        return Failure(str(error), ends, type(error))
    except MemoryError:
        return Failure("out of memory")
    except Exception as error:  # one task's fault must not cost the others
        out_of_memory = isinstance(error, RuntimeError) and "allocate memory" in str(error)
        return Failure("out of memory" if out_of_memory else f"{type(error).__name__}: {error}")
