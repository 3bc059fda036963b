"""The runs that there are: list them, tell their states apart, find one by what a user calls it."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aecli.errors import DataError, StorageError, UsageError
from aecli.pathnames import user_path
from aecli.runs.run import Run

if TYPE_CHECKING:
    from aecli.config import ExperimentConfig

LATEST = "latest"
RUN_NAME = "[0-9]*T*Z-*"
"""Pattern of the names of run folders."""


def list_runs(runs_dir: Path) -> list[dict[str, Any]]:
    """run, state, started, seconds and error of every run folder, by name, which begins with the
    time; what is not there is an empty string. Raises StorageError if the folder cannot be read."""
    rows = []
    for run in runs_in(runs_dir):
        record = run.record if run.is_readable else {}
        rows.append(
            {
                "run": run.path.name,
                "state": run.state,
                "started": _of_kind(str, record.get("started")),
                "seconds": _of_kind(int | float, record.get("seconds")),
                "error": _of_kind(str, record.get("error")),
            }
        )
    return rows


def find_run(
    named: str,
    runs_dir: Path,
    by: str = "--run",
    suits: Callable[[Run], bool] = lambda run: True,
) -> Run:
    """The run with a model of a name: a path, a name as `aecli ls` prints it, or `latest`, the run
    with a model that was completed last. by: the flag or key that names it, for errors. suits: what
    `latest` must have besides.

    Raises DataError if it is not there or has no model.
    """
    if named == LATEST:
        there = _readable(runs_dir)
        trained = [run for run in there if run.record["status"] == "completed" and run.has_model]
        found = [run for run in trained if suits(run)]
        if not found:
            kind = " of a kind that it takes" if trained else ""
            raise DataError(f"{by} latest: no finished run in {runs_dir} has a model{kind}")
        return max(found, key=lambda run: (run.finished, run.path.name))
    run = Run(_named(named, runs_dir, f"{by} "))
    if not run.has_model:
        raise DataError(f"{by} {named}: a run folder without a model")
    return run


def open_run(named: str, runs_dir: Path) -> Run:
    """The run of a name, as `find_run` takes it, but with or without a model.

    Raises DataError if it is not there.
    """
    if named != LATEST:
        return Run(_named(named, runs_dir, ""))
    try:
        return find_run(named, runs_dir)
    except DataError as error:  # whose flag nobody used
        raise DataError(str(error).removeprefix("--run ")) from None


def open_trained(named: str, runs_dir: Path) -> Run:
    """The run of a name, as `open_run` takes it, if it has a model. Raises DataError."""
    run = open_run(named, runs_dir)
    if not run.has_model:
        state = run.state
        hint = ""
        if state in ("failed", "interrupted", "dead"):
            hint = f"; it is {state}: aecli resume {run.path.name} goes on with it"
        elif state == "running":
            hint = "; it is running"
        raise DataError(f"{named}: a run folder without a model{hint}")
    return run


def find_unfinished(named: str, runs_dir: Path) -> Run:
    """The run to go on with: a path, a name as `aecli ls` prints it, or `latest`, the run begun or
    gone on with last of those that are not completed and not running.

    Raises DataError if it is not there.
    """
    if named != LATEST:
        return Run(_named(named, runs_dir, "").resolve())
    there = sorted(
        _readable(runs_dir), key=lambda run: (run.last_begun, run.path.name), reverse=True
    )
    for run in there:
        if run.state in ("failed", "interrupted", "dead"):
            return Run(run.path.absolute())
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


def unfinished_run(runs_dir: Path, config: "ExperimentConfig") -> Unfinished:
    """The newest run folder with the numbers of this config that did not complete.

    Settings that cannot change a number (`jobs`, where the data lie) may be others, and a run that
    was given `auto` has noted what it found.
    """
    from aecli.config import Layer, other_numbers, resolve

    nearest: tuple[int, Path, tuple[str, ...]] | None = None
    for run in reversed(_readable(runs_dir)):
        path, record = run.path, run.record
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


def _readable(runs_dir: Path) -> list[Run]:
    """Every run with a record that can be read, by name."""
    return [run for run in runs_in(runs_dir) if run.is_readable]


def runs_in(runs_dir: Path) -> list[Run]:
    """The runs, by name; no links. Raises StorageError if `runs_dir` cannot be listed."""
    try:
        entries = list(os.scandir(runs_dir))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StorageError(f"cannot list the runs in {runs_dir}: {error.strerror}") from None
    names = (entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    return [Run(runs_dir / name) for name in sorted(names) if Path(name).match(RUN_NAME)]


def _of_kind(kind: Any, value: Any) -> Any:
    return value if isinstance(value, kind) else ""
