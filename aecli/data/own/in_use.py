"""Files of the cache that several processes share: one writes at a time, none is taken away while
another reads from it.

Where a file system has no locks, a file that is taken away shows as an error that says so, and the
next run looks anew.
"""

import contextlib
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from aecli import locks
from aecli.data.downloads import Working


@contextlib.contextmanager
def alone(folder: Path, working: Working) -> Iterator[None]:
    """The block runs while no other process is in such a block for the folder; at once where
    nothing can be written there, since then nothing is kept.

    working: shows that it waits.
    """
    lock = folder / ".lock"
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locks.hold(lock))
        except TimeoutError:
            with working("waiting for another process that looks at the same images"):
                stack.enter_context(locks.hold(lock, patience=math.inf))
        except OSError:  # no folder, or not ours
            pass
        yield


def mark(descriptor: int) -> None:
    """Keep a file from `remove` for as long as this descriptor is open."""
    if sys.platform != "win32":  # which does not remove files that are open
        import fcntl

        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_SH)


def remove(path: Path) -> bool:
    """Remove a file unless somebody reads from it; True if it is gone."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            if sys.platform != "win32":
                import fcntl

                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
        finally:
            os.close(descriptor)
    return not os.path.lexists(path)
