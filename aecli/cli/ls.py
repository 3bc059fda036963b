"""`aecli ls`: a line for each run, with the columns that were asked for."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aecli.runs.registry import list_runs
from aecli.terminal import Terminal, in_one_line, one_line


def ls(
    patterns: Sequence[str],
    columns: str | None,
    sort: str | None,
    reverse: bool,
    where: Sequence[str],
    since: str | None,
    terminal: Terminal,
    runs_dir: Path,
) -> None:
    """Print the runs. Raises UsageError, DataError, StorageError."""
    if patterns or columns or sort or where or since:
        rows = _chosen_rows(patterns, columns, sort, where, since, runs_dir)
    else:
        rows = list_runs(runs_dir)
    if reverse:
        # Runs without a value stay last, whichever way the others are turned.
        valued = [row for row in rows if not sort or row[sort] != ""]
        rows = [*reversed(valued), *(row for row in rows if sort and row[sort] == "")]
    if columns:
        rows = [{name: row.get(name, "") for name in _names(columns)} for row in rows]
    if terminal.as_json:
        terminal.json({"runs": rows})
    elif rows:
        # A name or an error may have any characters, line breaks too: each run has one line.
        cells = [tuple(_cell(value) for value in row.values()) for row in rows]
        # The names of runs begin with the time.
        spare = None if columns else _SHOWN.index("started")
        terminal.columns([tuple(map(one_line, rows[0])), *cells], spare)
    else:
        terminal.say(
            f"no runs in {runs_dir}" + (" that match" if patterns or where or since else "")
        )


_SHOWN = ("run", "state", "started", "seconds", "error")


def _chosen_rows(
    patterns: Sequence[str],
    columns: str | None,
    sort: str | None,
    where: Sequence[str],
    since: str | None,
    runs_dir: Path,
) -> list[dict[str, Any]]:
    from aecli.runs.selection import (
        begun_since,
        chosen,
        conditions,
        facts_of,
        meeting,
        require_keys,
    )

    wanted = conditions(where)
    begun = None if since is None else begun_since(since)
    facts = [facts_of(one.run) for one in chosen(patterns, runs_dir)]
    wanted_columns, order = _names(columns) if columns else [], [sort] if sort else []
    if facts:
        for flag, keys in (("--columns", wanted_columns), ("--sort", order)):
            require_keys([name for name in keys if name not in _SHOWN], facts, flag)
    holds = meeting(wanted, facts)
    facts = [each for each, ok in zip(facts, holds, strict=True) if ok]
    if begun is not None:
        facts = [each for each in facts if str(each.get("started", "")) >= begun]
    if sort:
        facts.sort(key=lambda each: _order(each.get(sort)))
    shown = dict.fromkeys([*_SHOWN, *wanted_columns, *order])
    return [{key: _plain(each.get(key)) for key in shown} for each in facts]


def _names(columns: str) -> list[str]:
    return [name.strip() for name in columns.split(",") if name.strip()]


def _plain(value: Any) -> Any:
    return "" if value is None else value


def _order(value: Any) -> tuple[int, float, str]:
    """A key that orders numbers, then texts, then what is not there."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return (2, 0.0, "") if value in (None, "") else (1, 0.0, str(value))
    return (2, 0.0, "") if value != value else (0, value, "")


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and abs(value) < 1e4:
        return f"{value:.5g}"
    return one_line(in_one_line(str(value)))
