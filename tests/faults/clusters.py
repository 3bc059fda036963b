"""Rows on Dask clusters whose processes, over TCP, are lost: workers, scheduler, our own."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from aecli.training.on_dask import do_on_dask
from aecli.training.workers import Place
from tests.conftest import FEW_IMAGES, Finished, environment
from tests.faults.outcome import Outcome
from tests.faults.program import COMMAND, inside
from tests.tasks import work
from tests.twins import left_behind

_SWEEP = ("sweep-codedim", "2", "3", *FEW_IMAGES, "--epochs", "150", "--seeds", "2")
_JOBS = 4
_PATIENCE = 120  # seconds; a worker has torch to import
_LONGEST = 30  # seconds that a job may take, where one is frozen


def lost(scratch: Path, thorough: bool) -> Outcome:
    """A worker killed, with its nanny or alone, or frozen; the scheduler killed; our own process
    killed beside a cluster of its own."""
    outcome = Outcome()
    if not thorough:
        outcome.skipped = "takes minutes; tests/test_on_dask.py has the quick ones"
        return outcome
    twin = _left(inside(scratch, *_SWEEP, "--jobs", "1"))
    for what, befall in {
        "worker": lambda cluster: _worker(cluster).kill(),
        "worker and its nanny": lambda cluster: _end(cluster.workers[0]),
    }.items():
        with outcome.fault(f"a {what} killed in a job"), _cluster(scratch, what) as cluster:
            done = _swept(cluster, befall)
            assert done.code == 0, done.stderr
            assert done.stderr.count("\ntrained ") == _JOBS, done.stderr
            _require_equal(_left(done), twin)
    with outcome.fault("a worker frozen in a job"), _cluster(scratch, "frozen") as cluster:
        late = ("--job-timeout", str(_LONGEST))
        partial = _swept(cluster, lambda cluster: _worker(cluster).suspend(), *late)
        assert partial.code == 5, partial.stderr
        assert f"took longer than {_LONGEST} s" in partial.stderr
        whole = _swept(cluster, None, "--continue")
        assert (whole.code, whole.run) == (0, partial.run), whole.stderr
        assert whole.stderr.count("\ntrained ") == 1, whole.stderr
        _require_equal(_left(whole), twin)
    with outcome.fault("the scheduler killed and started again"):
        with _cluster(scratch, "scheduler") as cluster:
            partial = _swept(cluster, lambda cluster: _end(cluster.scheduler))
            assert partial.code == 5, partial.stderr
            done = partial.stderr.count("\ntrained ")
        with _cluster(scratch, "scheduler") as cluster:
            whole = _swept(cluster, None, "--continue")
        assert (whole.code, whole.run) == (0, partial.run), whole.stderr
        assert 1 <= done == _JOBS - whole.stderr.count("\ntrained "), whole.stderr
        _require_equal(_left(whole), twin)
    with outcome.fault("a task that kills its worker takes none that waits there with it"):
        outcomes = dict(do_on_dask(work, _Shared(), ["die late", "a"], Place(1, names=("x", "y"))))
        assert outcomes[0].reason.startswith("workers died of it"), outcomes
        assert outcomes[1][1] == "a", outcomes
    with outcome.fault("our own process killed: its cluster ends too"):
        folder = scratch / "own"
        folder.mkdir()
        parent = _start(folder, COMMAND, *_SWEEP, "--engine", "dask", "--jobs", "2")
        _wait_for(lambda: list(folder.glob("runs/*/jobs/*")))
        children = psutil.Process(parent.pid).children(recursive=True)
        parent.kill()
        parent.wait()
        _, alive = psutil.wait_procs(children, timeout=30)
        assert len(children) > 1
        assert not alive
    return outcome


class _Shared:
    images = None


@dataclass(frozen=True)
class _Cluster:
    folder: Path
    scheduler: "subprocess.Popen[bytes]"
    workers: "list[subprocess.Popen[bytes]]"
    """Each a nanny with one worker."""

    @property
    def file(self) -> str:
        return str(self.folder / "scheduler.json")


@contextlib.contextmanager
def _cluster(scratch: Path, name: str) -> Iterator[_Cluster]:
    folder = scratch / name
    folder.mkdir(exist_ok=True)
    file = folder / "scheduler.json"
    file.unlink(missing_ok=True)
    program = [sys.executable, "-m"]
    at = ("--scheduler-file", str(file))
    quiet = ("--no-dashboard", "--host", "127.0.0.1")
    scheduler = _start(
        folder, *program, "distributed.cli.dask_scheduler", "--port", "0", *at, *quiet
    )
    workers = []
    try:
        _wait_for(file.is_file)
        worker = (*program, "distributed.cli.dask_worker", *at, "--nthreads", "1", *quiet)
        workers = [_start(folder, *worker) for _ in range(2)]
        yield _Cluster(folder, scheduler, workers)
    finally:
        for process in (*workers, scheduler):
            _end(process)


def _swept(cluster: _Cluster, befall: Callable[[_Cluster], None] | None, *more: str) -> Finished:
    """The sweep on a cluster; `befall` is called as soon as its first job is done."""
    told = (*_SWEEP, "--engine", "dask", "--scheduler", cluster.file, *more)
    process = _start(cluster.folder, COMMAND, *told)
    if befall is not None:
        _wait_for(lambda: list(cluster.folder.glob("runs/*/jobs/*")))
        befall(cluster)
    out, err = process.communicate(timeout=10 * _PATIENCE)
    return Finished(process.returncode, out.decode(), err.decode())


def _left(done: Finished) -> dict[str, object]:
    """All that a sweep leaves but for where it ran."""
    left = left_behind(done.run)
    del left["config.yaml"]
    return left


def _require_equal(left: dict[str, object], twin: dict[str, object]) -> None:
    names = left.keys() | twin.keys()
    assert left == twin, [name for name in names if left.get(name) != twin.get(name)]


def _start(folder: Path, *command: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if command[0] == COMMAND else subprocess.DEVNULL,
        start_new_session=True,
    )


def _worker(cluster: _Cluster) -> psutil.Process:
    """The worker of the first nanny."""
    children = psutil.Process(cluster.workers[0].pid).children()
    return max(children, key=lambda each: each.memory_info().rss)


def _end(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _wait_for(found: Callable[[], object]) -> None:
    until = time.monotonic() + _PATIENCE
    while not found():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.05)
