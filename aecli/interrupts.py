"""SIGINT, SIGTERM and SIGHUP: a line at once, an orderly end, and a second one that ends now."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType

from aecli.errors import Interrupted

_SIGNALS = [getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP")]


class _State:
    deferred = False
    """Whether somebody looks at `number` often enough not to be torn away."""
    number: int | None = None
    """The first signal that came."""


def install(say: Callable[[str], None]) -> None:
    """Make the first signal raise Interrupted, or wait to be asked for; the second ends us."""

    def handle(number: int, _frame: FrameType | None) -> None:
        for each in filter(None, _SIGNALS):
            signal.signal(each, lambda again, _frame: os._exit(128 + again))
        _State.number = number
        say(f"{signal.Signals(number).name}: stopping in good order; once more to stop now")
        if not _State.deferred:
            raise Interrupted(number)

    _State.number = None
    for each in filter(None, _SIGNALS):
        signal.signal(each, handle)


@contextlib.contextmanager
def deferred() -> Iterator[Callable[[], int | None]]:
    """Within the block a signal does not raise; the function yielded tells its number, or None.

    Raises Interrupted at the end of the block if a signal came and was not acted on.
    """
    before, _State.deferred = _State.deferred, True
    try:
        yield lambda: _State.number
    finally:
        _State.deferred = before
    if _State.number is not None and not before:
        raise Interrupted(_State.number)
