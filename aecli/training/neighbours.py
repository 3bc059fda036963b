"""Let torch's threads sleep instead of spin while other processes want the same cores.

torch's OpenMP threads (libgomp) wait for one another by spinning, some 3 ms long, before they
sleep. On idle cores that is the quickest way. Where another process has one of the cores, a thread
spins for the time that another one needs, and two trainings side by side are many times slower
than one after the other. How long they spin is read once, as torch is loaded, before others
start. But while a process has more OpenMP threads than it has cores, libgomp spins 100 turns
only (its manual, GOMP_SPINCOUNT). So a daemon thread looks ten times a second at how long this
process had to wait for a core, and while it does, holds one more team of OpenMP threads, asleep.
No thread count that torch computes with changes, and so no bit of a result.
"""

import atexit
import functools
import os
import threading
import time
from pathlib import Path

_SECONDS_BETWEEN_LOOKS = 0.1
_CROWDED = 0.15  # seconds of waiting for a core per second, all threads together
_CALM = 0.05  # the same, on average over a second: alone it is about 0.01, in single looks 0.08
_LOOKS_FOR_CALM = 10
_SET_BY_THE_USER = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
_PATIENCE = 5  # seconds, at the end of the process
_NUMBERS_OF_A_TEAM = 2**17  # so many are added up by all threads, not by one


@functools.cache
def watch() -> None:
    """Start watching, once per process; does nothing if the user has said how to wait, nor
    on systems that do not tell how long a process waits for a core (all but Linux)."""
    if any(os.environ.get(name) for name in _SET_BY_THE_USER) or seconds_waited() is None:
        return
    ended = threading.Event()
    thread = threading.Thread(target=_watch, args=(ended,), name="neighbours", daemon=True)

    def end() -> None:
        ended.set()
        thread.join(_PATIENCE)  # the end of Python kills threads: inside torch that is an abort

    atexit.register(end)
    thread.start()


class SleepingTeam:
    """One more team of OpenMP threads, as large as torch's, that does nothing until it is ended."""

    def __init__(self) -> None:
        self._end = threading.Event()
        self._there = threading.Event()
        self._thread = threading.Thread(target=self._hold, name="sleeping team", daemon=True)
        self._thread.start()
        self._there.wait()

    def end(self) -> None:
        self._end.set()
        self._thread.join()

    def _hold(self) -> None:
        import torch

        try:
            torch.zeros(_NUMBERS_OF_A_TEAM).add_(1)  # the team of the thread that first needs it
        finally:
            self._there.set()
        self._end.wait()


class Watcher:
    """Decides from one look to the next whether a team is held."""

    def __init__(self) -> None:
        self.team: SleepingTeam | None = None
        self._waits: list[float] = []

    def look(self, waited: float) -> None:
        """Take in the seconds of waiting per second since the last look."""
        self._waits = [*self._waits, waited][-_LOOKS_FOR_CALM:]
        calm = sum(self._waits) < _CALM * _LOOKS_FOR_CALM
        if self.team is None and waited > _CROWDED:
            self.team = SleepingTeam()
        elif self.team is not None and calm:
            self.team.end()
            self.team = None


def seconds_waited() -> float | None:
    """Seconds that this process's threads were ready to run and had no core, since they began.

    None where the system does not say. (Linux, Documentation/scheduler/sched-stats: the second
    number of schedstat, in nanoseconds.)
    """
    try:
        tasks = list(Path("/proc/self/task").iterdir())
    except OSError:
        return None
    waited = [number for task in tasks if (number := _nanoseconds(task)) is not None]
    return 1e-9 * sum(waited) if waited else None


def _nanoseconds(task: Path) -> int | None:
    try:
        return int((task / "schedstat").read_text().split()[1])
    except (OSError, IndexError, ValueError):  # a thread that has ended, a kernel without
        return None


def _watch(ended: threading.Event) -> None:
    watcher = Watcher()
    before, at = seconds_waited() or 0.0, time.monotonic()
    while not ended.wait(_SECONDS_BETWEEN_LOOKS):
        waited, now = seconds_waited() or 0.0, time.monotonic()
        watcher.look((waited - before) / (now - at))
        before, at = waited, now
    if watcher.team is not None:
        watcher.team.end()
