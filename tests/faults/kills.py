"""Runs killed, interrupted or refused by the disk at every call that writes, and gone on with."""

import contextlib
import itertools
import mmap
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from tests.conftest import Finished, digits
from tests.faults.outcome import Outcome
from tests.faults.program import inside
from tests.forked import Forked, fork
from tests.twins import left_behind

_TOLD = (
    *("train", "--dataset", "mnist-5k", "--offline", "--limit-train", "100", "--threads", "1"),
    *("--batch-size", "50", "--code-dim", "2", "--set", "codec.hidden=[8]", "-q"),
    *("--set", "checkpoint_seconds=0"),
)
SMALL = (*_TOLD, "--epochs", "2")
LONG = (*_TOLD, "--epochs", "30")
_CALLS = {"write": "write", "fsync": "fsync", "rename": "rename,renameat,renameat2"}
_NO_STRACE = "strace is not there"


def at_every_write(scratch: Path, thorough: bool) -> Outcome:
    """kill -9 at each nth write, fsync and rename; in the tests, at one fsync."""
    calls = tuple(_CALLS) if thorough else ("fsync",)
    return _at_each_call(scratch, thorough, "signal=KILL", [-9], calls)


def grids_at_every_save(scratch: Path, thorough: bool) -> Outcome:
    """kill -9 of `kl` and `dc`, which save after every step, at each nth fsync and rename, and at
    random moments; in the tests, of one at one fsync."""
    outcome = Outcome()
    images = scratch / "tiny.npy"
    np.save(images, digits(40, shape=(1, 8, 8)).numpy()[:, 0])
    for name in ("kl", "dc") if thorough else ("dc",):
        told = (
            *("train", "--dataset", str(images), "--codec", name, "--code-dim", "8", "-q"),
            *("--set", "codec.downsampling=4", "--set", "codec.width=4", "--set", "codec.widest=4"),
            *("--set", "checkpoint_seconds=0", "--threads", "1", "--epochs", "2"),
            *(("--set", "nll_samples=2") if name == "kl" else ()),
        )
        folder = scratch / name
        folder.mkdir()
        calls = ("fsync", "rename") if thorough else ("fsync",)
        outcome.merge(_at_each_call(folder, thorough, "signal=KILL", [-9], calls, told))
        if thorough:
            (folder / "random").mkdir()
            outcome.merge(_at_random(folder / "random", told, 20, 4))
    return outcome


def interrupted_while_writing(scratch: Path, thorough: bool) -> Outcome:
    """SIGINT at each nth fsync, most of them in the middle of a save."""
    return _at_each_call(scratch, thorough, "signal=INT", [130], ("fsync",))


def refused_by_the_disk(scratch: Path, thorough: bool) -> Outcome:
    """A full disk at each nth write and rename, and an I/O error at each nth fsync."""
    calls = ("write", "rename") if thorough else ("write",)
    outcome = _at_each_call(scratch, thorough, "error=ENOSPC", [6], calls)
    if thorough:
        outcome.merge(_at_each_call(scratch, thorough, "error=EIO", [6], ("fsync",)))
    return outcome


def at_random(scratch: Path, thorough: bool) -> Outcome:
    """kill -9 at random moments, of the run and of each resumed process, until one completes."""
    if thorough:
        return _at_random(scratch, LONG, 100, 12)
    return _at_random(scratch, (*_TOLD, "--epochs", "8"), 1, 1)


def _at_random(scratch: Path, told: tuple[str, ...], count: int, most: int) -> Outcome:
    """At least `count` kills, at most so many of them of one run."""
    outcome, rng = Outcome(), random.Random(0)
    twin = left_behind(inside(scratch, *told).run)
    started = time.monotonic()
    _Child(scratch, told).run()
    usual = time.monotonic() - started
    for number in itertools.count():
        if outcome.injected >= count:
            return outcome
        folder = scratch / f"{number}"
        folder.mkdir()
        kills = 0
        while kills < most:
            path = _run_folder(folder)
            call = ("resume", str(path), "-q") if path else told
            if _Child(folder, call).run(rng.uniform(0.1, 1.0) * usual).code != -signal.SIGKILL:
                break
            kills += 1
        outcome.injected += kills
        before = len(outcome.failures)
        _must_end_as(twin, folder, told, f"run {number}, killed {kills} times", outcome)
        outcome.survived += kills if len(outcome.failures) == before else 0
    return outcome


def two_megabytes(scratch: Path, thorough: bool) -> Outcome:
    """A disk that is full in the middle of a run, and then has room again."""
    outcome = Outcome()
    disk = scratch / "disk"
    disk.mkdir()
    mounted = (
        shutil.which("mount")
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], capture_output=True
        ).returncode
    )
    if not mounted:
        return Outcome(skipped="a small disk cannot be mounted here")
    twin = left_behind(inside(scratch, *SMALL).run)
    # The pre-flight would refuse so small a disk; here it is the run's own writes that meet it.
    unchecked = mock.patch("aecli.runs.preflight.check", lambda config, runs_dir: (config, []))
    unchecked.start()
    try:
        sizes = range(20, 520, 20) if thorough else (60,)
        for kilobytes in sizes:
            with outcome.fault(f"{kilobytes} kB left"):
                free = shutil.disk_usage(disk).free
                ballast = disk / "ballast"
                ballast.write_bytes(bytes(free - 1000 * kilobytes))
                done = inside(scratch, *SMALL, "--runs-dir", str(disk))
                ballast.unlink()
                assert done.code in (0, 6), f"exit {done.code}: {done.stderr}"
                if done.code == 6:
                    assert "No space left on device" in done.stderr
                    assert " bytes)" in done.stderr or "cannot make" in done.stderr
                    go_on(scratch, disk, SMALL, "--runs-dir", str(disk))
                [path] = run_folders(disk)
                compare(left_behind(path), twin)
            for path in disk.iterdir():
                path.unlink() if path.is_symlink() or path.is_file() else shutil.rmtree(path)
    finally:
        unchecked.stop()
        subprocess.run(["umount", str(disk)], check=False)
    return outcome


def _at_each_call(
    scratch: Path,
    thorough: bool,
    injection: str,
    codes: Any,
    calls: tuple[str, ...],
    told: tuple[str, ...] = SMALL,
) -> Outcome:
    if shutil.which("strace") is None:
        return Outcome(skipped=_NO_STRACE)
    outcome = Outcome()
    twin = left_behind(inside(scratch, *told).run)
    for call in calls:
        counts = itertools.count(1) if thorough else (12,)
        for n in counts:
            folder = Path(tempfile.mkdtemp(dir=scratch))
            done = _injected(folder, told, _CALLS[call], f"{injection}:when={n}")
            if done is None:  # there is no nth call: the run was left alone
                break
            with outcome.fault(f"{injection} at {call} {n}"):
                if done.code == 0 and call == "write":
                    continue  # the table's, to the terminal
                assert done.code in codes, f"exit {done.code}: {done.stderr}"
                if 6 in codes and "make a run folder" not in done.stderr:
                    words = "latest cannot name it" if "is completed" in done.stderr else "bytes)"
                    assert words in done.stderr, done.stderr
                go_on(folder, folder / "runs", told)
                [path] = run_folders(folder / "runs")
                compare(left_behind(path), twin)
            shutil.rmtree(folder)
    return outcome


def _injected(folder: Path, told: tuple[str, ...], call: str, injection: str) -> Finished | None:
    """The run with a fault at the nth `call`; None if it has not so many."""
    log = folder / "strace"
    child = _Child(folder, told)
    command = ["strace", "-f", "-qq", "-o", str(log), "-p", str(child.pid)]
    injected = ["-e", f"trace={call}", "-e", f"inject={call}:{injection}"]
    with subprocess.Popen([*command, *injected], stderr=subprocess.DEVNULL) as strace:
        while strace.poll() is None and "TracerPid:\t0" in child.status():
            time.sleep(0.01)
        done = child.run()
    text = log.read_text(errors="replace")
    return done if "INJECTED" in text or "killed by" in text or "--- SIGINT" in text else None


class _Child:
    """This process's copy, in which torch is imported already; it waits for its call of `run`.

    Words of the program's call on stderr come back through shared memory: by no system call
    that a fault could be injected into.
    """

    def __init__(self, folder: Path, told: tuple[str, ...]) -> None:
        self._said = mmap.mmap(-1, 2**16)
        self.pid = fork()
        if self.pid == 0:
            os.kill(os.getpid(), signal.SIGSTOP)
            code = 99
            with contextlib.suppress(BaseException):
                done = inside(folder, *told)
                self._said[: len(done.stderr)] = done.stderr.encode(errors="replace")[: 2**16]
                code = done.code
            os._exit(code)
        os.waitpid(self.pid, os.WUNTRACED)

    def status(self) -> str:
        """The process's status line in /proc."""
        return Path(f"/proc/{self.pid}/status").read_text()

    def run(self, seconds: float | None = None) -> Finished:
        """Let it run, for so many seconds if it is not done sooner, and then kill it."""
        os.kill(self.pid, signal.SIGCONT)
        deadline = time.monotonic() + (120 if seconds is None else seconds)
        ended = status = 0
        while not ended and time.monotonic() < deadline:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            time.sleep(0.002)
        if not ended:
            os.kill(self.pid, signal.SIGKILL)
            _, status = os.waitpid(self.pid, 0)
        said = bytes(self._said).rstrip(b"\0").decode(errors="replace")
        return Finished(os.waitstatus_to_exitcode(status), "", said)


def was_killed(work: Callable[[], object], call: str, number: int) -> bool:
    """True if a process that does `work` made so many calls, from 0, of `call`, which is fsync or
    rename, before the last of which it was killed."""
    calls = itertools.count()

    def counted(true: Any) -> Any:
        def instead(*arguments: Any) -> Any:
            if next(calls) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return true(*arguments)

        return instead

    def counting() -> None:
        owner, name = (os, "fsync") if call == "fsync" else (Path, "replace")
        with mock.patch.object(owner, name, counted(getattr(owner, name))):
            work()

    nothing = os.open(os.devnull, os.O_RDWR)
    try:
        return Forked(counting, (nothing, nothing, nothing)).wait() == -signal.SIGKILL
    finally:
        os.close(nothing)


def _must_end_as(
    twin: dict[str, Any], folder: Path, told: tuple[str, ...], name: str, outcome: Outcome
) -> None:
    try:
        go_on(folder, folder / "runs", told)
        [path] = run_folders(folder / "runs")
        compare(left_behind(path), twin)
    except Exception as error:
        outcome.failures.append(f"{name}: {type(error).__name__}: {error}"[:500])


def go_on(folder: Path, runs: Path, told: tuple[str, ...], *more: str) -> None:
    """Resume the run that is there; where none had begun, which may be, begin it."""
    path = _run_folder(folder, runs)
    done = inside(folder, "resume", str(path), "-q") if path else inside(folder, *told, *more)
    assert done.code == 0, f"to go on ended with {done.code}: {done.stderr}"


def _run_folder(folder: Path, runs: Path | None = None) -> Path | None:
    """The run folder, or None if no run had begun in it; what a kill left of that is removed."""
    for path in run_folders(runs or folder / "runs"):
        if (path / "run.json").exists():
            return path
        shutil.rmtree(path)
    return None


def run_folders(runs: Path) -> list[Path]:
    """The run folders, without the link that was to become `latest`."""
    return [path for path in runs.glob("*Z-*") if not path.is_symlink()]


def compare(found: dict[str, Any], twin: dict[str, Any]) -> None:
    assert sorted(found) == sorted(twin), f"files: {sorted(set(found) ^ set(twin))}"
    different = [name for name in twin if found[name] != twin[name]]
    assert not different, f"not the twin's: {different}"
