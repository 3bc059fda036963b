"""Time that a command takes beside another process: whole commands, one after the other.

"As libgomp waits" is the same training with libgomp's own spinning (`GOMP_SPINCOUNT` at its
default, at which aecli leaves the waiting alone): the state before aecli looked at its
neighbours.
"""

import contextlib
import csv
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.processes import ROOT, WorkerError, environment, without_paths

EPOCHS, IMAGES = 5, 12_000
_TRAIN = ("train", "--dataset", "mnist", "--epochs", str(EPOCHS), "--limit-train", str(IMAGES))
_SWEEP = ("sweep-codedim", "8", "--seeds", "2", "--jobs", "2", "--epochs", "1")
_SWEEP_OF = ("--dataset", "mnist", "--limit-train", str(IMAGES))
_BUSY = "while True: pass"
_LIBGOMPS_SPINS = {"GOMP_SPINCOUNT": "300000"}


def measure() -> dict[str, float]:
    """Seconds of training in each situation, and of whole sweeps. Raises WorkerError.

    The last epochs of the training whose neighbour comes after its first one are compared with the
    same epochs of the one alone.
    """
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder)
        seconds["as libgomp waits, alone"] = sum(_finish(_start(runs, _LIBGOMPS_SPINS)))
        pair = [_start(runs, _LIBGOMPS_SPINS) for _ in range(2)]
        seconds["as libgomp waits, two at once"] = max(sum(_finish(each)) for each in pair)
        alone = _finish(_start(runs))
        seconds["alone"], seconds["alone, last epochs"] = sum(alone), sum(alone[1:])
        pair = [_start(runs) for _ in range(2)]
        seconds["two at once"] = max(sum(_finish(each)) for each in pair)
        with _a_busy_process():
            seconds["beside one busy process"] = sum(_finish(_start(runs)))
        training = _start(runs)
        training.wait_for_the_first_epoch()
        with _a_busy_process():
            late = _finish(training)
        seconds["beside one that comes later, last epochs"] = sum(late[1:])
        seconds["sweep, alone"] = _time_a_sweep(runs)
        with _a_busy_process():
            seconds["sweep, beside one busy process"] = _time_a_sweep(runs)
    return seconds


class _Training:
    """`aecli train` under way, in a runs folder of its own."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self.folder = folder
        self.process = _aecli((*_TRAIN, "--runs-dir", str(folder), "-q"), settings)

    def wait_for_the_first_epoch(self) -> None:
        while self.process.poll() is None and not self._rows():
            time.sleep(0.02)

    def seconds(self) -> list[float]:
        """Seconds of each epoch."""
        return [float(row["seconds"]) for row in self._rows()]

    def _rows(self) -> list[dict[str, str]]:
        files = list(self.folder.glob("*Z-train-*/history.csv"))
        return list(csv.DictReader(files[0].read_text().splitlines())) if files else []


def _start(runs: Path, settings: Mapping[str, str] | None = None) -> _Training:
    return _Training(Path(tempfile.mkdtemp(dir=runs)), settings or {})


def _finish(training: _Training) -> list[float]:
    _require_success(training.process)
    return training.seconds()


def _time_a_sweep(runs: Path) -> float:
    """Seconds from start to exit."""
    folder = tempfile.mkdtemp(dir=runs)
    started = time.perf_counter()
    _require_success(_aecli((*_SWEEP, *_SWEEP_OF, "--runs-dir", folder, "-q"), {}))
    return time.perf_counter() - started


def _aecli(arguments: tuple[str, ...], settings: Mapping[str, str]) -> subprocess.Popen[str]:
    unset = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    usual = {k: v for k, v in environment(len(os.sched_getaffinity(0))).items() if k not in unset}
    return subprocess.Popen(
        [sys.executable, "-m", "aecli", *arguments],
        cwd=ROOT,
        env={**usual, **settings},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _require_success(process: subprocess.Popen[str]) -> None:
    _, messages = process.communicate()
    if process.returncode:
        raise WorkerError(without_paths((messages.strip().splitlines() or ["no message"])[-1]))


@contextlib.contextmanager
def _a_busy_process() -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", _BUSY])
    try:
        yield
    finally:
        process.kill()
        process.wait()
