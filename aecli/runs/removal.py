"""Removal of run folders: never one that a process works in, never through a link."""

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from aecli import locks
from aecli.errors import StorageError, UsageError
from aecli.runs.record import LOCK
from aecli.runs.registry import RUN_NAME, runs_in
from aecli.runs.run import Run
from aecli.strictjson import flat

_BEING_REMOVED = ".removing-"


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder; through no link."""
    total = 0
    for above, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += Path(above, name).lstat().st_size
    return total


def why_kept(run: Run) -> str:
    """Reason why a run cannot be removed; empty if it can."""
    if run.path.is_symlink():
        return "a link; name the run's own folder"
    if not run.path.is_dir():
        return "no folder"
    if not run.is_readable and not run.path.match(RUN_NAME):
        return "no run of aecli: neither its name nor a run.json says so"
    return "running" if run.state == "running" else ""


def looking_into(doomed: Sequence[Run], runs_dir: Path) -> list[Run]:
    """The other runs of a folder whose config names one of these, wherever the folder was then: the
    run that they look into, or begin from."""
    gone = {run.path.name for run in doomed}
    found = []
    for run in runs_in(runs_dir):
        config = run.record.get("config") if run.is_readable and run.path.name not in gone else None
        named = dict(flat(config)) if isinstance(config, Mapping) else {}
        paths = (named.get("run"), named.get("train.init_from"))
        if any(isinstance(path, str) and path.rsplit("/")[-1] in gone for path in paths):
            found.append(run)
    return found


def remove_run(run: Run) -> None:
    """Remove a run's folder. Raises UsageError if it may not be removed, StorageError if it cannot.

    The folder loses its name first, so that a kill leaves no half of a run that looks like one;
    `remove_remnants` takes away what a kill left.
    """
    if reason := why_kept(run):
        raise UsageError(f"{run.path}: not removed: {reason}")
    path = Path(os.path.abspath(run.path))  # noqa: PTH100, as resolve() would follow links above
    doomed = path.with_name(f"{_BEING_REMOVED}{uuid.uuid4().hex}")  # its own may be of 255 bytes
    try:
        with _alone_in(path):
            path.replace(doomed)
        shutil.rmtree(doomed)
    except TimeoutError:
        raise UsageError(f"{path}: not removed: running") from None
    except OSError as error:
        raise StorageError(f"cannot remove {path}: {error.strerror or error}") from None
    _mend_latest(path)


def remove_remnants(runs_dir: Path) -> None:
    """Take away what a killed removal left."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(runs_dir):
            if entry.name.startswith(_BEING_REMOVED) and entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)


@contextlib.contextmanager
def _alone_in(path: Path) -> Iterator[None]:
    """The block runs while no other process is in the run folder; where no lock can be made, such
    as on a disk that is full, the state alone has said so."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locks.hold(path / LOCK, patience=1.0))
        except TimeoutError:
            raise
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
                raise
        yield


def _mend_latest(removed: Path) -> None:
    """Point `latest`, where it named the removed run, to the one that finished last; else remove
    it."""
    latest = removed.parent / "latest"
    if not latest.is_symlink() or latest.readlink() != Path(removed.name):
        return
    done = [run for run in runs_in(removed.parent) if run.state == "completed"]
    with contextlib.suppress(OSError):
        latest.unlink()
        if done:
            newest = max(done, key=lambda run: (run.finished, run.path.name))
            latest.symlink_to(newest.path.name)
