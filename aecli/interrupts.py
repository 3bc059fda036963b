"""SIGINT, SIGTERM and SIGHUP: the first ends the run in good order, a second ends it at once."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from aecli.errors import Interrupted

SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


class _State:
    deferred = False
    """True if somebody looks at `number` often, so that no exception has to be raised."""
    number: int | None = None
    """The first signal that came."""


def install(say: Callable[[str], None]) -> None:
    """Make the first signal raise Interrupted, or wait under `deferred`; the second ends the run.

    A signal that is ignored already, as under nohup or in a script's background, stays ignored.
    """
    heeded = [each for each in SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]

    def handle(number: int, _frame: FrameType | None) -> None:
        for each in heeded:
            signal.signal(each, lambda again, _frame: os._exit(128 + again))
        _State.number = number
        say(f"{signal.Signals(number).name}: stopping in good order; send it again to stop at once")
        if not _State.deferred:
            raise Interrupted(number)

    _State.number = None
    for each in heeded:
        signal.signal(each, handle)


@contextlib.contextmanager
def deferred() -> Iterator[Callable[[], int | None]]:
    """Within the block a signal does not raise; the function yielded tells its number, or None.

    Raises Interrupted at the end of the block if a signal came and was not acted on. In other
    threads than the main one, where no signal ever raises, it changes nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: _State.number
        return
    before, _State.deferred = _State.deferred, True
    try:
        yield lambda: _State.number
    finally:
        _State.deferred = before
    if _State.number is not None and not before:
        raise Interrupted(_State.number)
