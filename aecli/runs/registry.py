"""The runs that there are: list them, tell their states apart, find one by what a user calls it."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aecli.config import ExperimentConfig, Layer, other_numbers, resolve
from aecli.errors import DataError, StorageError, UsageError
from aecli.pathnames import user_path
from aecli.runs import locks
from aecli.runs.folder import LOCK
from aecli.runs.record import finished_at, read_record

LATEST = "latest"


def list_runs(runs_dir: Path) -> list[dict[str, Any]]:
    """run, state, started, seconds and error of every run folder, by name, which begins with the
    time; what is not there is an empty string. Raises StorageError if the folder cannot be read."""
    rows = []
    for path in _folders(runs_dir):
        record, state = _looked_at(path)
        rows.append(
            {
                "run": path.name,
                "state": state,
                "started": _of_kind(str, record.get("started")),
                "seconds": _of_kind(int | float, record.get("seconds")),
                "error": _of_kind(str, record.get("error")),
            }
        )
    return rows


def state_of(path: Path) -> str:
    """running, completed, failed, interrupted; dead: killed before it could say how it ended;
    empty: killed before it wrote anything; unreadable."""
    return _looked_at(path)[1]


def find_run(named: str, runs_dir: Path) -> Path:
    """The folder of a run with a model: a path, a name as `aecli ls` prints it, or `latest`, the
    run with a model that was completed last.

    Raises DataError if it is not there or has no model.
    """
    if named == LATEST:
        found = (
            (finished_at(record), path.name, path)
            for path, record in _records(runs_dir)
            if record["status"] == "completed" and _has_model(path)
        )
        newest = max(found, default=None)
        if newest is None:
            raise DataError(f"--run latest: no finished run in {runs_dir} has a model")
        return newest[-1]
    path = _named(named, runs_dir, "--run ")
    if not _has_model(path):
        raise DataError(f"--run {named}: a run folder without a model")
    return path


def find_unfinished(named: str, runs_dir: Path) -> Path:
    """The folder of a run to go on with: a path, a name as `aecli ls` prints it, or `latest`, the
    run begun or gone on with last of those that are not completed and not running.

    Raises DataError if it is not there.
    """
    if named != LATEST:
        return _named(named, runs_dir, "").resolve()
    there = ((_last_begun(record), path.name, path) for path, record in _records(runs_dir))
    for _, _, path in sorted(there, reverse=True):
        if state_of(path) in ("failed", "interrupted", "dead"):
            return path.absolute()
    raise DataError(f"resume latest: no run in {runs_dir} is unfinished, or all are running")


@dataclass(frozen=True)
class Unfinished:
    """Answer to the question for an unfinished run of a config."""

    path: Path | None
    """The newest run of this config; None if there is none."""
    nearest: str | None = None
    """The unfinished run of the same experiment with the fewest other settings; None if none."""
    differences: tuple[str, ...] = ()
    """"key: its value, the value asked for" of those settings."""


def unfinished_run(runs_dir: Path, config: ExperimentConfig) -> Unfinished:
    """The newest run folder with the numbers of this config that did not complete.

    Settings that cannot change a number (`jobs`, where the data lie) may be others, and a run that
    was given `auto` has noted what it found.
    """
    nearest: tuple[int, Path, tuple[str, ...]] | None = None
    for path, record in _records(runs_dir, newest_first=True):
        if record.get("command") != config.experiment or record["status"] == "completed":
            continue
        try:
            there = resolve(type(config), [Layer(record["config"], {})], recorded=True)
        except UsageError:  # a config of another version
            continue
        differences = tuple(
            f"{key} ({found}, now {asked})"
            for key, (asked, found) in other_numbers(config, there).items()
        )
        if not differences:
            return Unfinished(path.absolute())
        if nearest is None or len(differences) < nearest[0]:
            nearest = (len(differences), path, differences)
    return Unfinished(None) if nearest is None else Unfinished(None, nearest[1].name, nearest[2])


def _named(named: str, runs_dir: Path, prefix: str) -> Path:
    """A run folder by its path or by its name in `runs_dir`."""
    path = user_path(named)
    for place in (path, runs_dir / named):
        if place.is_dir():
            return place
    if len(path.parts) > 1:
        raise DataError(f"{prefix}{named}: no such run folder")
    raise DataError(f"{prefix}{named}: no such run folder, here or in {runs_dir}")


def _has_model(path: Path) -> bool:
    return (path / "model" / "config.json").is_file()


def _last_begun(record: Mapping[str, Any]) -> str:
    """Time when a run was last begun or gone on with, UTC, as text that sorts by time."""
    return max(map(str, [record.get("started", ""), *record.get("resumed", [])]))


def _records(runs_dir: Path, newest_first: bool = False) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every run folder with a record that can be read, by name."""
    for path in sorted(_folders(runs_dir), reverse=newest_first):
        with contextlib.suppress(DataError):
            yield path, read_record(path)


def _folders(runs_dir: Path) -> list[Path]:
    """The run folders, by name; no links. Raises StorageError if `runs_dir` cannot be listed."""
    try:
        entries = list(os.scandir(runs_dir))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StorageError(f"cannot list the runs in {runs_dir}: {error.strerror}") from None
    names = (entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    return [runs_dir / name for name in sorted(names) if Path(name).match("[0-9]*T*Z-*")]


def _looked_at(path: Path) -> tuple[dict[str, Any], str]:
    """The record, empty if it cannot be read, and the state."""
    try:
        record = read_record(path)
    except DataError:
        if os.path.lexists(path / "run.json"):
            return {}, "unreadable"
        return {}, "running" if _is_held(path, {}) else "empty"
    status = record["status"]
    if status != "running":
        return record, status if status in _ENDS else "unreadable"
    return record, "running" if _is_held(path, record) else "dead"


_ENDS = ("completed", "failed", "interrupted")


def _is_held(path: Path, record: Mapping[str, Any]) -> bool:
    """True if a process is working in a run folder."""
    if not (path / LOCK).is_file() or (path / LOCK).is_symlink():
        return False
    try:
        with locks.hold(path / LOCK) as sure:
            return not sure and _is_alive(record.get("pid"))
    except OSError:  # a TimeoutError if it is held; others if it is another user's
        return True


def _is_alive(pid: Any) -> bool:
    if not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


def _of_kind(kind: Any, value: Any) -> Any:
    return value if isinstance(value, kind) else ""
