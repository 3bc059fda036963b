"""`aecli report`: one self-contained page on runs, in whatever state they are."""

import fnmatch
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from aecli.counts import count
from aecli.errors import DataError, UsageError
from aecli.pages.report import GENERATOR, page
from aecli.pathnames import user_path
from aecli.runs import storage
from aecli.runs.registry import LATEST, open_run, runs_in
from aecli.runs.run import Run
from aecli.terminal import Terminal

_MOST_RUNS = 500


def report(named: Sequence[str], output: str, terminal: Terminal, runs_dir: Path) -> None:
    """Write the page on the runs and print its path. Raises DataError, UsageError, StorageError."""
    target = user_path(output)
    _require_page(target)
    runs = [run for each in named for run in _found(each, runs_dir)]
    runs = list({run.path.resolve(): run for run in runs}.values())
    if len(runs) > _MOST_RUNS:
        raise UsageError(f"{len(runs):,} runs: a page has at most {_MOST_RUNS}")
    with terminal.working(f"making the page of {count(len(runs), 'run')}"):
        html = page(runs, f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC")
    content = html.encode(errors="backslashreplace")
    storage.write_whole(target, content)
    if terminal.as_json:
        paths = [str(run.path) for run in runs]
        terminal.json({"page": str(target), "bytes": len(content), "runs": paths})
    else:
        terminal.say(f"{count(len(runs), 'run')}, {storage.size(len(content))}")
        terminal.path(target)


def _require_page(target: Path) -> None:
    """Raises UsageError unless a page may be written there, where a former one of ours may be."""
    if target.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"-o {target}: a page is written as .html; give FILE.html")
    if target.is_dir():
        raise UsageError(f"-o {target}: a folder; give FILE.html")
    if target.is_file():
        with target.open("rb") as file:
            if f'content="{GENERATOR}"'.encode() not in file.read(2000):
                raise UsageError(
                    f"-o {target}: exists and is no page of aecli report; not replaced"
                )


def _found(named: str, runs_dir: Path) -> list[Run]:
    """The run of a name or a path, or all whose names match a pattern. Raises DataError."""
    if named == LATEST:
        there = [run for run in runs_in(runs_dir) if run.state == "completed"]
        if not there:
            raise DataError(f"latest: no finished run in {runs_dir}")
        return [max(there, key=lambda run: (run.finished, run.path.name))]
    if any(mark in named for mark in "*?[") and not user_path(named).exists():
        found = [run for run in runs_in(runs_dir) if fnmatch.fnmatchcase(run.path.name, named)]
        if not found:
            raise DataError(f"{named}: no run in {runs_dir} has such a name")
        return found
    return [open_run(named, runs_dir)]
