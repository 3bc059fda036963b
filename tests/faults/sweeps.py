"""Rows on runs that outlive a process: a sweep that loses workers, a run resumed as another one."""

import contextlib
import json
import os
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import yaml

from aecli.errors import AecliError
from aecli.runs.record import recorded_config
from aecli.training import workers
from tests.conftest import SMALL
from tests.faults.outcome import Outcome, refused
from tests.faults.program import inside
from tests.twins import left_behind

_JOBS = 4
_SWEEP = ("sweep-codedim", "2", "3", *SMALL, "--seeds", str(_JOBS // 2))
_PATIENCE = 30  # seconds; a worker has torch to import


def fallen_workers(scratch: Path, thorough: bool) -> Outcome:
    """A worker killed, out of memory or standing still costs its job, and `--continue` does it."""
    outcome = Outcome()
    if not thorough:
        outcome.skipped = "takes minutes; tests/test_workers.py has the quick ones"
        return outcome
    twin = left_behind(inside(scratch, *_SWEEP, "--jobs", "2").run)
    for what, befall in _FALLS.items():
        for n in range(_JOBS):
            with outcome.fault(f"worker {what} at job {n}"), contextlib.chdir(scratch):
                folder = scratch / f"{what} {n}"
                folder.mkdir()
                told = (*_SWEEP, "--jobs", "2")
                limit = ("--job-timeout", str(_PATIENCE)) if what == "standing still" else ()
                with _befalling(n, befall):
                    partial = inside(folder, *told, *limit)
                assert partial.code == 5, partial.stderr
                assert "1 job failed" in partial.stderr
                assert _REASONS[what] in partial.stderr, partial.stderr
                run = json.loads((partial.run / "run.json").read_text())
                assert run["status"] == "failed"
                whole = inside(folder, *told, "--continue")
                assert (whole.code, whole.run) == (0, partial.run), whole.stderr
                assert whole.stderr.count("trained") == 1
                assert left_behind(whole.run) == twin
    return outcome


def _starve(pid: int) -> None:
    """Leave a process less memory than importing torch takes."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_AS)
    resource.prlimit(pid, resource.RLIMIT_AS, (10**8, hard))


def _feed(pid: int) -> None:
    """Give a process back the memory that it was denied."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_AS)
    resource.prlimit(pid, resource.RLIMIT_AS, (hard, hard))


_FALLS: dict[str, Callable[[int], None]] = {
    "killed": lambda pid: os.kill(pid, signal.SIGKILL),
    "out of memory": _starve,
    "standing still": lambda pid: os.kill(pid, signal.SIGSTOP),
}
_REASONS = {
    "killed": "its process was killed by SIGKILL",
    "out of memory": ", seed ",  # the reason depends on how far it got
    "standing still": f"took longer than {_PATIENCE} s",
}


@contextlib.contextmanager
def _befalling(n: int, befall: Callable[[int], None]) -> Iterator[None]:
    """Call `befall` with the pid of the worker that is given the nth job."""
    true, given = workers._give, 0

    def give(worker: Any, *arguments: Any) -> None:
        nonlocal given
        _feed(worker.process.pid)
        true(worker, *arguments)
        if given == n:
            befall(worker.process.pid)
        given += 1

    with mock.patch.object(workers, "_give", give):
        yield


def changed_runs(scratch: Path, thorough: bool) -> Outcome:
    """Every key of a run's config changed behind its back: refused, with both values."""
    outcome = Outcome()
    run = inside(scratch, "train", *SMALL, "--code-dim", "2").run
    told = yaml.safe_load((run / "config.yaml").read_text())
    keys = list(_leaves(told))
    for key in keys if thorough else keys[:4]:
        copy = scratch / "copy"
        shutil.copytree(run, copy)
        with outcome.fault(f"another {'.'.join(key)}"):
            there = yaml.safe_load((copy / "config.yaml").read_text())
            _change(there, key)
            (copy / "config.yaml").write_text(yaml.safe_dump(there))
            if key == ("data", "dir"):  # the place of the same images does not matter
                recorded_config(copy)
            else:
                with refused(AecliError, key[-1]):
                    recorded_config(copy)
        shutil.rmtree(copy)
    return outcome


def _leaves(tree: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key)


def _change(tree: dict[str, Any], path: tuple[str, ...]) -> None:
    """Another value of the same kind, where there is one."""
    *above, last = path
    for key in above:
        tree = tree[key]
    value = tree[last]
    match value:
        case bool():
            tree[last] = not value
        case int() | float():
            tree[last] = value + 1
        case list():
            tree[last] = [*value, 8]
        case _:
            tree[last] = f"{value or ''}x"
