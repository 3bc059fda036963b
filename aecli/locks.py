"""A lock that one process at a time can hold, and that ends with its process, however that ends.

Written by hand, not `filelock`: on file systems without locks its versions either raise or leave
marker files, which a killed process never takes away; and it is some 15,000 lines to import.
"""

import contextlib
import errno
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

_NONE_HERE = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)
"""Errors of a file system without locks, such as some network ones."""
_HELD = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


@contextlib.contextmanager
def hold(path: Path, patience: float = 0.0) -> Iterator[bool]:
    """The block runs while no other process holds the lock of the file `path`, made if missing.

    Yields False where the file system has no locks: then nothing keeps others out.
    patience: seconds to wait. Raises TimeoutError if another process holds it for longer, and
    OSError if `path` cannot be opened, or is a link.
    """
    deadline = time.monotonic() + patience
    while True:
        descriptor = os.open(path, _FLAGS, 0o666)
        try:
            locked = _try_to_lock(descriptor)
            # Answer None: no locks. A file without a name was removed by the one who held it.
            if locked is None or (locked and os.fstat(descriptor).st_nlink):
                yield locked is not None
                return
        finally:
            os.close(descriptor)
        if time.monotonic() >= deadline:
            raise TimeoutError(f"{path}: held by another process")
        time.sleep(0.02)


def are_there(folder: Path) -> bool:
    """True if the file system of a folder has locks; makes and removes a file in it."""
    path = folder / f".lock-{os.getpid()}"
    try:
        with hold(path) as sure:
            return sure
    except TimeoutError:  # a thread of this process has it: there are locks
        return True
    finally:
        path.unlink(missing_ok=True)


def _try_to_lock(descriptor: int) -> bool | None:
    """True if it is locked now, False if another has it; None if the file system has no locks."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            return False
        if error.errno in _NONE_HERE:
            return None
        raise
    return True
