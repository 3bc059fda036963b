"""Outcome of injected faults, and the limits of time and memory that each is held to."""

import contextlib
import resource
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

MAX_SECONDS = 2.0
MAX_GROWTH = 500 * 2**20


@dataclass
class Outcome:
    """Faults injected, and those after which everything was as it must be."""

    injected: int = 0
    survived: int = 0
    failures: list[str] = field(default_factory=list)
    skipped: str | None = None

    @contextlib.contextmanager
    def fault(self, name: str) -> Iterator[None]:
        """Count one fault; the block asserts what must hold after it."""
        self.injected += 1
        try:
            yield
        except (Exception, TooSlowError) as error:
            self.failures.append(f"{name}: {type(error).__name__}: {error}"[:500])
        else:
            self.survived += 1

    def merge(self, other: "Outcome") -> None:
        """Count another's faults too."""
        self.injected += other.injected
        self.survived += other.survived
        self.failures += other.failures


class TooSlowError(BaseException):
    """A limit of time was passed; no Exception, so that nothing on the way swallows it."""


@contextlib.contextmanager
def refused(kind: type[Exception], *words: str) -> Iterator[None]:
    """The block must raise `kind`, with every one of `words` in its text."""
    text: str | None = None
    try:
        yield
    except kind as error:
        text = str(error)
    assert text is not None, f"no {kind.__name__}"
    missing = [word for word in words if word not in text]
    assert not missing, f"{missing} not in: {text}"


@contextlib.contextmanager
def within(seconds: float = MAX_SECONDS) -> Iterator[None]:
    """Stop the block after so many seconds of this process's work: a busy machine stops nothing."""

    def late(*_: object) -> None:
        raise TooSlowError(f"over {seconds} s")

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@contextlib.contextmanager
def bounded_memory(limit: int = MAX_GROWTH) -> Iterator[None]:
    """The block must not make this process's largest size grow by more than `limit` bytes."""
    start = _forget_peak()
    yield
    growth = _peak() - start
    assert growth <= limit, f"memory grew by {growth / 2**20:.0f} MB"


def _forget_peak() -> int:
    """Make the present size the largest one, where the system can; returns it in bytes."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024
