"""The job engine `dask`: trainings on the workers of a Dask cluster (distributed.dask.org)."""

import contextlib
import importlib
import json
import logging
import secrets
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from aecli.errors import AecliError, DataError, JobsFailedError, UsageError
from aecli.runs import provenance
from aecli.training.workers import (
    Failure,
    Outcome,
    Place,
    Task,
    Work,
    attempt,
    withheld_signals,
)

_PATIENCE = 30  # seconds that a scheduler may take to answer
_LOOK = 0.01  # seconds between looks for outcomes
_AGAIN = "-again"  # ending of the key of a task that only waited on a worker that died
_STARTED = "aecli-started"
_GONE = "the connection to Dask's scheduler is lost"
_one_at_a_time = threading.Lock()
_answered: set[str] = set()
"""Schedulers, as they were given, that an earlier call found with workers."""

Versions = tuple[tuple[str, str], ...]
Started = dict[str, tuple[float, str]]
"""Key of a task -> when it was started, on the monotonic clock, and the worker."""


def do_on_dask(
    work: "Work[Task, Outcome]",
    shared: Any,
    tasks: Sequence[Task],
    place: Place,
) -> Iterator[tuple[int, Outcome | Failure]]:
    """Each task's number and outcome, as they come, done by the workers of a cluster: that of
    `place.scheduler`, or one of `place.workers` processes of this machine.

    A task whose worker is lost is done by another one; one that fails is not done again. A worker
    that takes longer than `place.timeout` is started anew. Raises UsageError without Dask, without
    its scheduler, and for workers with another aecli or torch; JobsFailedError where the scheduler
    or all workers are lost since an earlier call.
    """
    distributed = _distributed()
    for name in ("distributed", "distributed.client"):  # each has a level of its own
        logging.getLogger(name).setLevel(logging.CRITICAL)  # aecli tells what matters
    with contextlib.ExitStack() as stack:
        given = place.scheduler
        own = _own_cluster(distributed, place, stack) if given is None else None
        scheduler = own if given is None else _scheduler(place, given)
        client = stack.enter_context(_client(distributed, scheduler, place))
        _require_alike(client, place)
        resources = _taken(client, place)
        if given is not None:
            _answered.add(given)
        started: Started = {}
        client.subscribe_topic(_STARTED, _Noting(started))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sending large graph")  # it may be images
            # Sent once, and kept by the scheduler: a worker that is lost takes nothing with it.
            common = client.submit(_as_it_is, shared, pure=False)
        coming = distributed.as_completed(loop=client.loop, raise_errors=False)
        call = secrets.token_hex(4)  # another run's task of that name is another one
        left: dict[str, Any] = {}
        index_of: dict[str, int] = {}

        def submit(index: int, again: str = "") -> None:
            key = f"aecli-{place.names[index]}-{call}{again}"
            arguments = (work, common, tasks[index], key, _versions())
            left[key] = client.submit(_do, *arguments, key=key, pure=False, **resources)
            index_of[key] = index
            coming.add(left[key])

        for index in range(len(tasks)):
            submit(index)
        manned = looked = time.monotonic()
        reason = _GONE
        while left:
            if client.status not in ("running", "connecting", "newly-created"):
                break
            if (now := time.monotonic()) > looked + 1:
                looked, manned = now, now if _has_workers(client) else manned
                if own is not None:  # Dask replaces none that dies as soon as it has come
                    own.scale(place.workers)
                if now > manned + 2 * _PATIENCE:
                    reason = f"Dask has had no worker for {2 * _PATIENCE} s"
                    break
            ready = coming.next_batch(block=False) if coming.has_ready() else []
            for future in ready:
                if left.pop(future.key, None) is None:
                    continue
                index = index_of[future.key]
                if not future.key.endswith(_AGAIN) and _is_blamed(distributed, future, started):
                    submit(index, _AGAIN)
                    continue
                yield index, _outcome(distributed, client, future)
                future.release()
            for key in _too_late(client, left, started, place.timeout):
                stack.callback(_end(client, left.pop(key), started[key][1]).join, _PATIENCE)
                yield index_of[key], Failure(f"took longer than {place.timeout:g} s")
            if not ready:
                time.sleep(_LOOK)
        for key in left:
            yield index_of[key], Failure(reason)


def _has_workers(client: Any) -> bool:
    """True unless the scheduler says that it has no worker; one that does not answer says
    nothing."""
    try:
        return bool(client.nthreads())
    except (OSError, TimeoutError):
        return True


def _as_it_is(shared: Any) -> Any:
    return shared


class _Noting:
    """A handler of what workers tell: when each task was started, and by whom."""

    def __init__(self, started: Started) -> None:
        self._started = started

    def __call__(self, event: tuple[float, Any]) -> None:
        _, (key, worker) = event
        self._started[key] = time.monotonic(), worker


def _do(
    work: "Work[Task, Outcome]", shared: Any, task: Task, key: str, versions: Versions
) -> Outcome | Failure:
    """A task, on a worker: one at a time in its process, as torch's threads and seeds are the
    process's."""
    worker = importlib.import_module("distributed").get_worker()
    with _one_at_a_time:
        if _versions() != versions:
            return Failure(_differ(worker.address, _versions(), versions), UsageError)
        try:
            _ = shared.images  # opened here, where it is not sent
        except (AecliError, OSError) as error:
            kind = UsageError if isinstance(error, UsageError) else DataError
            return Failure(f"worker {worker.address}: {error}", kind)
        worker.log_event(_STARTED, (key, worker.address))
        outcome = attempt(work, shared, task)
        if isinstance(outcome, Failure) and outcome.ends is not None:
            return Failure(f"worker {worker.address}: {outcome.reason}", outcome.ends)
        return outcome


def _outcome(distributed: Any, client: Any, future: Any) -> Any:
    """The outcome that a future came to, or the failure."""
    try:
        if future.status == "finished":
            return future.result()
        error = future.exception()
    except (distributed.client.FutureCancelledError, OSError) as lost:
        gone = client.status != "running"
        return Failure(_GONE if gone else f"Dask has lost it: {lost}")
    if error is None:  # a connection that was lost just now
        return Failure(_GONE)
    if isinstance(error, distributed.KilledWorker):
        return Failure(f"workers died of it: the last was {error.last_worker.address}")
    return Failure(f"{type(error).__name__}: {error}")


def _is_blamed(distributed: Any, future: Any, started: Started) -> bool:
    """True for a task that died with workers on which it only waited: Dask blames all that a worker
    had been given."""
    if future.status != "error":
        return False
    error = future.exception()
    if not isinstance(error, distributed.KilledWorker):
        return False
    _, worker = started.get(future.key, (0.0, ""))
    return bool(worker != error.last_worker.address)


def _too_late(
    client: Any, left: dict[str, Any], started: Started, timeout: float | None
) -> list[str]:
    """The keys of the tasks that take longer than they may. Starts on workers that are lost since
    are forgotten: such a task waits for another one."""
    if timeout is None:
        return []
    before = time.monotonic() - timeout
    pending = (key for key, future in left.items() if future.status == "pending")
    late = [key for key in pending if key in started and started[key][0] < before]
    there = client.nthreads() if late else {}
    for key in late:
        if started[key][1] not in there:
            del started[key]
    return [key for key in late if key in started]


def _end(client: Any, future: Any, worker: str) -> threading.Thread:
    """Give a task up, and start its worker anew, which may be frozen and has no use until then; the
    thread that sees to it."""

    def start_anew() -> None:
        with contextlib.suppress(Exception):  # nobody can where a worker has no nanny
            client.restart_workers([worker], timeout=_PATIENCE, raise_for_error=False)

    client.cancel([future], force=True)
    thread = threading.Thread(target=start_anew, daemon=True)  # it takes as long as a start
    thread.start()
    return thread


def _own_cluster(distributed: Any, place: Place, stack: contextlib.ExitStack) -> Any:
    """A cluster that is started for this, and ends with `stack`."""
    with withheld_signals():  # its processes then never get the terminal's
        cluster = distributed.LocalCluster(
            n_workers=place.workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address="127.0.0.1:0",
            memory_limit=0,
            silence_logs=logging.CRITICAL,
        )
        return stack.enter_context(cluster)


def _scheduler(place: Place, given: str) -> str:
    """The address of the scheduler at `given`, an address or a file that has it."""
    if "://" in given:
        return given
    if not Path(given).is_file():
        reason = f"scheduler={given}: neither an address such as tcp://host:8786 nor a file"
        raise _absent(place, reason)  # a scheduler that ends in order takes its file with it
    try:
        return str(json.loads(Path(given).read_bytes())["address"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        reason = f"scheduler={given}: no file of a Dask scheduler: {error!r}"
        raise _absent(place, reason) from None


def _client(distributed: Any, scheduler: Any, place: Place) -> Any:
    try:
        return distributed.Client(scheduler, timeout=_PATIENCE, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        reason = f"scheduler={scheduler}: no Dask scheduler answers there: {error}"
        raise _absent(place, reason) from None


def _absent(place: Place, reason: str) -> AecliError:
    """The error of a cluster that is not there: it never was, or it is lost."""
    if place.scheduler in _answered:
        return JobsFailedError(f"{reason}; what is trained is kept, and --continue goes on with it")
    return UsageError(reason)


def _require_alike(client: Any, place: Place) -> None:
    """Raises UsageError unless there are workers, and each has this aecli and this torch."""
    try:
        client.wait_for_workers(1, timeout=_PATIENCE)
    except TimeoutError:
        where = client.scheduler.address
        reason = f"scheduler={where}: no worker came in {_PATIENCE} s"
        raise _absent(place, reason) from None
    try:
        found = client.run(_versions)
    except Exception as error:
        reason = f"Dask's workers cannot run aecli, which they need installed: {error}"
        raise _absent(place, reason) from None
    for address, versions in found.items():
        if versions != _versions():
            raise UsageError(_differ(address, versions, _versions()))


def _taken(client: Any, place: Place) -> dict[str, Any]:
    """The resources that each task takes, as Dask is told: those of `place.resources` that workers
    offer (`--resources "threads=8 gpu=1"`); none where they offer none. Raises UsageError if no
    worker has as much."""
    try:
        offered = list(client.run(_resources).values())
    except Exception as error:
        raise _absent(place, f"Dask's workers do not tell their resources: {error}") from None
    taken = {
        name: amount
        for name, amount in place.resources.items()
        if any(name in of_one for of_one in offered)
    }
    if not any(all(of_one.get(k, 0) >= n for k, n in taken.items()) for of_one in offered):
        asked = ", ".join(f"{name}={amount:g}" for name, amount in taken.items())
        raise UsageError(f"no worker of Dask's has the resources of one training: {asked}")
    return {"resources": taken} if taken else {}


def _resources(dask_worker: Any) -> dict[str, float]:
    return dict(dask_worker.state.total_resources)


def _versions() -> Versions:
    versions = provenance.versions()
    ours = {name: versions[name] for name in ("aecli", "torch")}
    return (*ours.items(), ("program", provenance.program_sha256()[:12]))


def _differ(address: str, theirs: Versions, ours: Versions) -> str:
    pairs = zip(theirs, ours, strict=True)
    said = [f"{name} {there}, not {here}" for (name, there), (_, here) in pairs if there != here]
    return f"worker {address} has {', '.join(said)}"


def _distributed() -> Any:
    """Dask's module distributed. Raises UsageError, naming the extra, where it is absent."""
    try:
        return importlib.import_module("distributed")
    except ModuleNotFoundError as error:
        if error.name not in ("distributed", "dask"):
            raise
        raise UsageError("engine=dask needs Dask: pip install 'aecli[dask]'") from None
