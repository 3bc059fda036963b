"""Runs chosen by name, by time and by what they have; each one as flat values, and as an entry."""

import difflib
import fnmatch
import glob
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aecli.comparing import COMPARE
from aecli.errors import AecliError, DataError, UsageError
from aecli.pathnames import user_path
from aecli.runs.comparison import Entry, is_number
from aecli.runs.registry import LATEST, RUN_NAME, open_run, runs_in
from aecli.runs.run import Run
from aecli.strictjson import flat

_WILD = re.compile(r"[*?\[]")
_SPAN = re.compile(r"(\d{1,6})\s*([mhdw])")
_SPANS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_FORM = re.compile(r"\s*([\w.-]+)\s*(<=|>=|==|!=|<|>)\s*(.+?)\s*", re.DOTALL)
_RECORDED = ("command", "started", "finished", "seconds", "seed", "error", "device", "git_commit")


@dataclass(frozen=True)
class Chosen:
    """A run that was asked for."""

    run: Run
    by_name: bool
    """True if it was named, False if a pattern, or nothing, brought it in."""


@dataclass(frozen=True)
class Condition:
    """A key of a run's facts, a comparison and a value, as `codec.code_dim`, `==` and 32."""

    text: str
    key: str
    comparison: str
    value: Any

    def holds(self, facts: Mapping[str, Any]) -> bool:
        """True if a run's facts meet it; never where the run has no such key."""
        there = facts.get(self.key)
        if there is None and not (self.key in facts and self.value is None):
            return False
        compare = COMPARE[self.comparison]
        if is_number(there) and is_number(self.value):
            return compare(there, self.value)
        if self.comparison in ("==", "!="):
            same = there == self.value or (isinstance(there, str) and there == _word(self))
            return same == (self.comparison == "==")
        # Texts, such as times, are ordered too; other things are not.
        return isinstance(there, str) and compare(there, _word(self))


def chosen(patterns: Sequence[str], runs_dir: Path) -> list[Chosen]:
    """The runs of names, paths and patterns, each once, in the order asked for; all runs without a
    pattern.

    Raises DataError for a name that is not there, and for a pattern that nothing matches.
    """
    if not patterns:
        return [Chosen(run, False) for run in runs_in(runs_dir)]
    found: dict[Path, Chosen] = {}
    for pattern in patterns:
        for one in _matches(pattern, runs_dir):
            place = one.run.path.resolve()
            if place not in found or (one.by_name and not found[place].by_name):
                found[place] = one
    return list(found.values())


def begun_since(text: str, now: datetime | None = None) -> str:
    """The time, UTC, that `--since` means, as text that sorts by time beside those of run.json.

    text: a date, a time, or a span up to now: 30m, 12h, 7d, 2w. Raises UsageError.
    """
    now = now or datetime.now(UTC)
    try:
        if span := _SPAN.fullmatch(text.strip()):
            when = now - timedelta(**{_SPANS[span[2]]: int(span[1])})
        else:
            when = datetime.fromisoformat(text.strip())
            when = (when.replace(tzinfo=UTC) if when.tzinfo is None else when).astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageError(
            f"--since {text!r}: expected a date (2026-11-20), a time (2026-11-20T08:00), both UTC,"
            " or a span up to now: 30m, 12h, 7d, 2w"
        ) from None
    return when.isoformat(timespec="seconds")


def conditions(texts: Sequence[str], flag: str = "--where") -> list[Condition]:
    """Conditions such as 'codec.code_dim==32'. Raises UsageError for another form."""
    found = []
    for text in texts:
        match = _FORM.fullmatch(text)
        if match is None:
            raise UsageError(
                f"{flag} {text!r}: not of the form 'KEY==VALUE' (<, <=, ==, !=, >=, >)"
            )
        key, comparison, value = match.groups()
        found.append(Condition(text, key, comparison, _typed(value)))
    return found


def meeting(
    wanted: Sequence[Condition], facts: Sequence[Mapping[str, Any]], flag: str = "--where"
) -> list[bool]:
    """True for each run whose facts meet all conditions. Raises UsageError for a key of no run."""
    if facts:
        require_keys([each.key for each in wanted], facts, flag)
    return [all(condition.holds(each) for condition in wanted) for each in facts]


def require_keys(keys: Iterable[str], facts: Sequence[Mapping[str, Any]], flag: str) -> None:
    """Raises UsageError for a key that no run has, with the nearest that one has."""
    known = dict.fromkeys(key for each in facts for key in each)
    for key in keys:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UsageError(f"{flag} {key}: no run here has {key!r}{hint}")


def facts_of(run: Run, name: str | None = None) -> dict[str, Any]:
    """All that a run says of itself, flat: run, state, what run.json has, settings as
    codec.code_dim, metrics. What cannot be read is left out."""
    facts: dict[str, Any] = {"run": name or run.path.name, "state": run.state}
    if not run.is_readable:
        return facts
    record = run.record
    facts |= {
        key: record[key] for key in _RECORDED if isinstance(record.get(key), str | int | float)
    }
    facts |= {f"dataset.{key}": value for key, value in record.get("dataset", {}).items()}
    settings = dict(flat(record["config"]))
    try:
        metrics = run.metrics
    except DataError:
        metrics = {}
    return {**settings, **metrics, **facts}


def is_foreign(run: Run) -> bool:
    """True for what is no run: a file, or a folder of another name without a run.json."""
    return run.state == "empty" and not (run.path.is_dir() and run.path.match(RUN_NAME))


def why_left_out(run: Run) -> str:
    """Reason why a run cannot be compared, by its state; empty if it can."""
    state = run.state
    if is_foreign(run):
        return "no run of aecli: it has no run.json"
    if state == "unreadable":
        try:
            return f"unreadable: of status {str(run.record['status'])[:40]!r}"
        except DataError as error:
            return f"unreadable: {error}"
    if state != "completed":
        return {
            "running": "running: it has no metrics yet",
            "dead": "dead: it was killed before it ended",
            "empty": "empty: it was killed before it wrote anything",
        }.get(state, f"{state}: it did not complete")
    try:
        return "" if run.metrics else "unreadable: its metrics.json is empty"
    except DataError as error:
        return f"unreadable: {error}"


def entry_of(run: Run, name: str | None = None) -> Entry:
    """A completed run as it is compared. Raises DataError if its metrics cannot be read."""
    record = run.record
    command = str(record.get("command", "")) or "unknown"
    settings, is_solved = _deciding(command, record["config"])
    seed = settings.pop("seed", record.get("seed"))
    dataset: Mapping[str, Any] = record.get("dataset", {})
    own = str(settings.get("data.dataset")) != dataset.get("name")
    measured_on = {key: dataset.get(key) for key in ("name", "sha256", "n_test")}
    # A path's test images depend on how it was cut and split, which are settings.
    passed = {"data.limit_train", *(() if own else ("data.val",))}
    reading = {k: v for k, v in settings.items() if k.startswith("data.") and k not in passed}
    reading.pop("data.dataset", None)
    images = repr([measured_on, sorted(reading.items())])
    versions: Mapping[str, Any] = record.get("versions", {})
    program = {
        "aecli": versions.get("aecli"),
        "torch": versions.get("torch"),
        "program": str(record.get("program_sha256", ""))[:8],
    }
    return Entry(
        name or run.path.name,
        command,
        seed,
        settings | program,
        images,
        run.metrics,
        str(record.get("started", "")),
        is_solved,
    )


def images_of(run: Run) -> str:
    """Words on the dataset that a run was measured on."""
    dataset: Mapping[str, Any] = run.record.get("dataset", {})
    name = str(dataset.get("name") or run.record["config"].get("data", {}))[:60]
    n_test = dataset.get("n_test")
    return f"{name}, {n_test:,} test images" if isinstance(n_test, int) else name


def _deciding(command: str, config: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """The settings that decide a run's numbers, in today's terms, and whether its codec is solved
    for; as they were written where this version cannot read them."""
    from aecli.config import EXPERIMENTS, Layer, NetworkConfig, numbers_of, resolve

    model = EXPERIMENTS.get(command)
    if model is not None:
        try:
            resolved = resolve(model, [Layer(dict(config), {})], recorded=True)
            solved = isinstance(resolved, NetworkConfig) and resolved.codec.solved
            deciding = numbers_of(resolved)
            return {key: deciding[key] for key in deciding if key != "experiment"}, solved
        except (AecliError, ValueError, TypeError, AttributeError, RecursionError):
            pass  # of another version, or damaged
    return dict(flat(config)), False


def _matches(pattern: str, runs_dir: Path) -> list[Chosen]:
    if pattern == LATEST:
        finished = [run for run in runs_in(runs_dir) if run.state == "completed"]
        if not finished:
            raise DataError(f"latest: no finished run in {runs_dir}")
        return [Chosen(max(finished, key=lambda run: (run.finished, run.path.name)), True)]
    is_there = user_path(pattern).is_dir() or (runs_dir / pattern).is_dir()
    if is_there or not _WILD.search(pattern):
        if os.path.lexists(path := user_path(pattern)) and not path.is_dir():
            return [Chosen(Run(path), False)]  # what a shell's runs/* brings in beside the runs
        return [Chosen(open_run(pattern, runs_dir), True)]
    names = [Chosen(run, False) for run in runs_in(runs_dir)]
    found = [one for one in names if fnmatch.fnmatchcase(one.run.path.name, pattern)]
    if not found:
        paths = map(Path, sorted(glob.glob(str(user_path(pattern)))))  # noqa: PTH207, may be absolute
        found = [Chosen(Run(path), False) for path in paths if path.is_dir()]
        found = [one for one in found if not one.run.path.is_symlink()]  # such as `latest`
    if not found:
        raise DataError(f"{pattern}: no run folder matches it, here or in {runs_dir}")
    return found


def _typed(value: str) -> Any:
    """A value as JSON has it; else the word, without quotes around it."""
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value.strip("'\"")


def _word(condition: Condition) -> str:
    """The value as it was typed, to be held against texts."""
    return condition.value if isinstance(condition.value, str) else str(condition.value)
