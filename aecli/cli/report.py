"""`aecli report`: one self-contained page on runs, in whatever state they are."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from aecli.counts import count
from aecli.errors import DataError, UsageError
from aecli.pages.environment import require_page
from aecli.pages.report import page
from aecli.pathnames import user_path
from aecli.runs import storage
from aecli.runs.selection import chosen, is_foreign, why_left_out
from aecli.terminal import Terminal, one_line

_MOST_RUNS = 500


def report(named: Sequence[str], output: str, terminal: Terminal, runs_dir: Path) -> None:
    """Write the page on the runs and print its path. Raises DataError, UsageError, StorageError."""
    target = user_path(output)
    require_page(target, "-o")
    found = [one.run for one in chosen(named, runs_dir)]
    runs = [run for run in found if not is_foreign(run)]
    if not runs:
        raise DataError(f"nothing to report: no run of aecli is among {', '.join(named)}")
    for run in filter(is_foreign, found):
        terminal.say(f"left out: {one_line(str(run.path))}: {why_left_out(run)}")
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
