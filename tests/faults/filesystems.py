"""Row on poor file systems: without locks, without fsync, of folders that cannot be listed."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from aecli.config import TrainConfig
from aecli.errors import StorageError
from aecli.runs.folder import new_run
from tests.faults.outcome import Outcome, refused
from tests.faults.program import QUICK, inside

_ERRNO = {name: getattr(errno, name) for name in ("EINVAL", "ENOSYS", "ENOTSUP", "ENOLCK", "EIO")}


def poor(scratch: Path, thorough: bool) -> Outcome:
    """A run survives calls that a file system does not have, and fails at calls that fail."""
    outcome = Outcome()
    for name in ("EINVAL", "ENOSYS", "ENOTSUP"):
        for of_folders in (True, False):
            what = "folders" if of_folders else "anything"
            with outcome.fault(f"fsync of {what}: {name}"), _no_fsync(_ERRNO[name], of_folders):
                _use(scratch / f"{name} {what}")
    with outcome.fault("a folder that cannot be opened to be synced"), _no_opening_of_folders():
        _use(scratch / "unlisted")
    for of_folders in (True, False):
        with (
            outcome.fault(f"fsync fails, {'folders only' if of_folders else 'files'}"),
            _no_fsync(errno.EIO, of_folders),
            refused(StorageError, "cannot write", "Input/output error"),
        ):
            _use(scratch / f"failing {of_folders}")
    for name in ("ENOLCK", "ENOSYS", "ENOTSUP", "EINVAL"):
        with outcome.fault(f"locks: {name}"), _no_locks(_ERRNO[name]):
            _use(scratch / f"locks {name}")
    with outcome.fault("the program, without locks"), _no_locks(errno.ENOLCK):
        done = inside(scratch, "train", *QUICK, "-q")
        assert done.code == 0, done
        assert "WARNING: the file system of runs has no locks" in done.stderr
    with (
        outcome.fault("a lock that fails"),
        _no_locks(errno.EIO),
        refused(StorageError, "cannot lock", "Input/output error"),
    ):
        _use(scratch / "locks EIO")
    return outcome


def _use(runs: Path) -> None:
    with new_run(runs, TrainConfig(), "x", []) as run:
        run.save_text("t.txt", "text")
    assert (run.path / "t.txt").read_text() == "text"


def _no_fsync(number: int, of_folders: bool) -> Any:
    true = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) or not of_folders:
            raise OSError(number, os.strerror(number))
        true(descriptor)

    return mock.patch.object(os, "fsync", fsync)


def _no_opening_of_folders() -> Any:
    true: Callable[..., int] = os.open

    def open_(path: Any, flags: int, *arguments: Any, **named: Any) -> int:
        if flags == os.O_RDONLY and Path(path).is_dir():
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return true(path, flags, *arguments, **named)

    return mock.patch.object(os, "open", open_)


def _no_locks(number: int) -> Any:
    import fcntl

    return mock.patch.object(fcntl, "flock", side_effect=OSError(number, os.strerror(number)))
