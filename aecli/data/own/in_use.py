"""Files of the cache that several processes share: one writes at a time, none is taken away while
another reads from it.

By flock, as in `runs/locks.py`: it ends with its process, however that ends. Where a file system
has none, a file that is taken away shows as an error that says so, and the next run looks anew.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from aecli.data.downloads import Working

try:
    import fcntl
except ImportError:  # Windows, which does not remove files that are open
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def alone(folder: Path, working: Working) -> Iterator[None]:
    """The block runs while no other process is in such a block for the folder, if that is there.

    working: shows that it waits.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            if fcntl is not None:
                _wait(descriptor, working)
        yield


def _wait(descriptor: int, working: Working) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        with working("waiting for another process that looks at the same images"):
            fcntl.flock(descriptor, fcntl.LOCK_EX)


def mark(descriptor: int) -> None:
    """Keep a file from `remove` for as long as this descriptor is open."""
    if fcntl is not None:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_SH)


def remove(path: Path) -> bool:
    """Remove a file unless somebody reads from it; True if it is gone."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            if fcntl is not None:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
        finally:
            os.close(descriptor)
    return not os.path.lexists(path)
