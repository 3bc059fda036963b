"""`aecli compare`: runs side by side, in groups that differ by seed alone; a gate against one."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aecli.cli import expect
from aecli.cli.compare_forms import (
    Compared,
    LeftOut,
    as_csv,
    as_markdown,
    as_object,
    as_page,
    is_judged,
    is_table_of_ours,
    sentences,
    table,
)
from aecli.cli.gates import Gate, gates
from aecli.errors import DataError, ExpectationError, UsageError
from aecli.pages.environment import require_outside_runs, require_page
from aecli.pathnames import user_path
from aecli.png import png
from aecli.runs import storage
from aecli.runs.comparison import (
    THE_TEST,
    Group,
    Section,
    sections,
)
from aecli.runs.selection import (
    Chosen,
    begun_since,
    chosen,
    conditions,
    entry_of,
    facts_of,
    images_of,
    meeting,
    why_left_out,
)
from aecli.terminal import Terminal, one_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Asked:
    """A comparison as it was asked for."""

    runs: Sequence[str]
    since: str | None = None
    where: Sequence[str] = ()
    metrics: Sequence[str] = ()
    baseline: str | None = None
    expectations: Sequence[str] = ()
    form: str = "table"
    """table, md, csv or json: what is printed."""
    html: str | None = None
    output: str | None = None
    pictures: bool = False


def compare(asked: Asked, terminal: Terminal, runs_dir: Path) -> None:
    """Print runs side by side, write what was asked for, and hold them against the baseline.

    Raises every AecliError; ExpectationError last of all.
    """
    asked_gates = gates(asked.expectations)
    if any(gate.operation is not None for gate in asked_gates) and asked.baseline is None:
        raise UsageError("--expect with baseline: --baseline RUN says which run that is")
    folder, page = _places(asked)
    compared = _compared(asked, terminal, runs_dir)
    missed = _missed(asked_gates, compared)
    figures = _drawn(compared, asked, terminal) if folder or page else {}
    if folder is not None:
        files = {
            "compare.md": as_markdown(compared).encode(errors="backslashreplace"),
            "compare.csv": as_csv(compared).encode(errors="backslashreplace"),
            **{f"{name}.png": content for name, content in figures.items()},
        }
        for name, content in files.items():
            storage.write_whole(folder / name, content)
    if page is not None:
        storage.write_whole(page, as_page(compared, figures).encode(errors="backslashreplace"))
    _print(compared, asked.form, terminal, missed, [p for p in (folder, page) if p])
    if missed:
        raise ExpectationError("\n".join(missed))


def _places(asked: Asked) -> tuple[Path | None, Path | None]:
    """The folder and the page to write. Raises UsageError."""
    folder = None if asked.output is None else user_path(asked.output)
    page = None if asked.html is None else user_path(asked.html)
    if folder is not None:
        _require_ours(folder)
    if page is not None:
        require_page(page, "--html")
    if asked.pictures and folder is None and page is None:
        raise UsageError("--pictures: give a place for them, -o DIR or --html FILE")
    return folder, page


def _require_ours(folder: Path) -> None:
    """Raises UsageError unless tables may be written there, where former ones of ours may be."""
    require_outside_runs(folder)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"-o {folder}: a file, where a folder is expected")
    patterns = ("compare.*", "curves-*.png", "pictures-*.png")
    there = [path for pattern in patterns for path in sorted(folder.glob(pattern))]
    if there and not is_table_of_ours(folder / "compare.csv"):
        raise UsageError(f"-o {folder}: {there[0].name} is there and is not aecli's; not replaced")


def _compared(asked: Asked, terminal: Terminal, runs_dir: Path) -> Compared:
    wanted = conditions(asked.where)
    since = None if asked.since is None else begun_since(asked.since)
    # A gate's baseline may be among the runs, and need not be.
    beside = [] if asked.baseline is None else chosen([asked.baseline], runs_dir)
    of_baseline = {one.run.path.resolve() for one in beside}
    asked_for = chosen(asked.runs, runs_dir)
    others = [one for one in asked_for if one.run.path.resolve() not in of_baseline]
    found = [*_filtered(others, wanted, since)]
    names = _names([*beside, *found])
    runs = dict(zip(names, [*beside, *found], strict=True))
    entries, left_out, titles = [], [], {}
    for name, one in runs.items():
        if reason := why_left_out(one.run):
            if one in beside and len(beside) == 1:
                raise DataError(f"--baseline {asked.baseline}: {reason}")
            left_out.append(LeftOut(name, one.run.state, reason, one.by_name))
            continue
        entry = entry_of(one.run, name)
        entries.append(entry)
        titles[entry.images] = images_of(one.run)
    for each in left_out:
        terminal.say(f"left out: {one_line(each.name)}: {one_line(each.reason)}")
    apart = set(names[: len(beside)])
    compared = sections(entries, apart, asked.metrics[0] if len(asked.metrics) == 1 else None)
    groups = [g for s in compared for g in s.groups if g.entries[0].name in apart]
    if beside and len(groups) != 1:
        raise UsageError(
            f"--baseline {asked.baseline}: {len(groups)} kinds of runs, expected runs that differ"
            " by seed alone"
        )
    if all(entry.name in apart for entry in entries):
        what = "but the baseline " if beside else ""
        raise DataError(f"nothing to compare: no completed run {what}is among those asked for")
    for pattern in asked.metrics:
        if not any(section.chosen([pattern]) for section in compared):
            known = ", ".join(dict.fromkeys(m for s in compared for m in s.metrics))
            raise UsageError(f"--metric {pattern}: no run here has it; there are {known}")
    for section in compared:
        for group in section.groups:
            for repeat in group.repeats:
                terminal.say(
                    f"left out: {one_line(repeat.name)}: seed {repeat.seed} was run again later,"
                    " with the same settings"
                )
    return Compared(
        compared,
        titles,
        {name: one.run for name, one in runs.items()},
        left_out,
        groups[0] if groups else None,
        tuple(asked.metrics),
    )


def _filtered(
    found: Sequence[Chosen], wanted: Sequence[Any], since: str | None
) -> Iterator[Chosen]:
    """Those that meet the conditions and are young enough; those that cannot be read stay in, to be
    told of."""
    facts = [facts_of(one.run) if wanted or since else {} for one in found]
    readable = [each for each in facts if len(each) > 2]
    meets = meeting(wanted, readable) if wanted and readable else [True] * len(readable)
    holds = {id(each): ok for each, ok in zip(readable, meets, strict=True)}
    for one, each in zip(found, facts, strict=True):
        is_old = since is not None and "started" in each and str(each["started"]) < since
        if holds.get(id(each), True) and not is_old:
            yield one


def _names(found: Sequence[Chosen]) -> list[str]:
    """A name for each run: its folder's, or its path where two have one."""
    times = Counter(one.run.path.name for one in found)
    return [
        one.run.path.name if times[one.run.path.name] == 1 else str(one.run.path) for one in found
    ]


def _missed(asked_gates: Sequence[Gate], compared: Compared) -> list[str]:
    """A line for each expectation that a group does not meet, and for each run that was named and
    cannot be held against any."""
    baseline = {} if compared.baseline is None else _means(compared.baseline, compared)
    missed = []
    for section in compared.sections:
        for group in section.groups:
            if group is compared.baseline:
                continue
            try:
                expect.check(
                    [gate.beside(baseline) for gate in asked_gates], _means(group, compared)
                )
            except ExpectationError as error:
                missed += [f"{one_line(group.name)}: {line}" for line in str(error).splitlines()]
    if asked_gates:
        first = asked_gates[0].text
        missed += [
            f"{one_line(each.name)}: nothing could be held against {first}: {each.state}"
            for each in compared.left_out
            if each.by_name
        ]
        images = {s.images for s in compared.sections}
        if compared.baseline is not None and len(images) > 1:
            own = next(s.images for s in compared.sections if compared.baseline in s.groups)
            others = ", ".join(compared.titles[each] for each in sorted(images - {own}))
            missed.append(f"the baseline was measured on other images than these: {others}")
    return missed


def _means(group: Group, compared: Compared) -> dict[str, Any]:
    """The metrics of a group: means over seeds of numbers, others where all seeds agree."""
    names = dict.fromkeys(name for entry in group.entries for name in entry.metrics)
    found = {}
    for name in names:
        estimate, values = group.estimate(name), group.values(name)
        if estimate is not None:
            found[name] = estimate.mean
        elif all(value == values[0] for value in values):
            found[name] = values[0]
    return found


def _print(
    compared: Compared,
    form: str,
    terminal: Terminal,
    missed: Sequence[str],
    written: Sequence[Path],
) -> None:
    if form == "json":
        failure = {"error": "\n".join(missed), "exit_code": 7} if missed else {}
        terminal.json({**as_object(compared), "written": list(map(str, written)), **failure})
        return
    if form == "md":
        terminal.data(as_markdown(compared).rstrip("\n"))
    elif form == "csv":
        terminal.data(as_csv(compared).rstrip("\n"))
    else:
        for section in compared.sections:
            _print_table(section, compared, terminal)
            for sentence in sentences(section, compared):
                terminal.sentence(sentence)
        if is_judged(compared):
            terminal.sentence(f"* {THE_TEST}")
    for path in written:
        terminal.say(f"written: {path}")


def _print_table(section: Section, compared: Compared, terminal: Terminal) -> None:
    """A row for each group, or, where that is too wide, a column."""
    header, rows = table(section, compared)
    title = one_line(compared.title(section))
    turned = list(zip(*((row[0], *row[3:]) for row in (header, *rows)), strict=True))
    if terminal.has_room([header, *rows]) or not terminal.has_room(turned):
        terminal.table(title, rows, header)
        return
    order = (0, 2, 1)  # the names of runs, which may be wrapped, are last
    names = [tuple(row[i] for i in order) for row in (header, *rows)]
    terminal.table(title, names[1:], names[0])
    terminal.table("", turned[1:], turned[0])


def _drawn(compared: Compared, asked: Asked, terminal: Terminal) -> dict[str, bytes]:
    """The figures, as PNG by name: curves of each section, and pictures if asked for."""
    found: dict[str, bytes] = {}
    for n, section in enumerate(compared.sections, 1):
        end = section.command + ("" if len(compared.sections) == 1 else f"-{n}")
        end = "".join(c if c.isalnum() or c == "-" else "_" for c in end)[:60]
        if (figure := _curves(section, compared, terminal)) is not None:
            found[f"curves-{end}"] = png(figure)
        if asked.pictures:
            from aecli.cli.compare_pictures import pictures  # imports torch

            numbered = [(str(i + 1), group) for i, group in enumerate(section.groups)]
            of_groups = [
                (
                    f"{i}: {one_line(g.entries[0].name, 34)}",
                    compared.runs[g.entries[0].name],
                    _mse_of(g),
                )
                for i, g in numbered
            ]
            figure = pictures(of_groups, compared.title(section), terminal)
            if figure is not None:
                found[f"pictures-{end}"] = png(figure)
    if asked.pictures and not any(name.startswith("pictures-") for name in found):
        terminal.warn(
            ["--pictures: none of these runs has a model of its own whose images are here"]
        )
    return found


def _mse_of(group: Group) -> float:
    """The first run's own error over all test images, which its pictures stand beside."""
    value = group.entries[0].metrics.get("test_mse")
    return float(value) if isinstance(value, int | float) else math.nan


def _curves(section: Section, compared: Compared, terminal: Terminal) -> "Figure | None":
    """Trainings of a section over one another; None where no run has a history."""
    histories: list[tuple[str, list[list[dict[str, float]]]]] = []
    for i, group in enumerate(section.groups):
        of_group = []
        for entry in group.entries:
            run = compared.runs[entry.name]
            if not (run.path / "history.csv").exists():
                continue
            try:
                of_group.append(run.history)
            except DataError as error:
                terminal.warn([f"not drawn: {error}"])
        of_group = [rows for rows in of_group if rows]
        if of_group:
            histories.append((f"{i + 1}: {one_line(group.name)}", of_group))
    every = [rows for _, of_group in histories for rows in of_group]
    term = next((t for t in ("val_mse", "train_mse") if every and _all_have(every, t)), None)
    if term is None:
        return None
    import numpy as np

    from aecli import figures

    drawn = [
        figures.Curve(name, [np.array([row[term] for row in rows]) for rows in of_group])
        for name, of_group in histories
    ]
    return figures.curves(drawn, term, f"Trainings: {one_line(compared.title(section))}")


def _all_have(every: Sequence[Sequence[Mapping[str, float]]], term: str) -> bool:
    values = [row.get(term, math.nan) for rows in every for row in rows]
    return all(math.isfinite(value) and value > 0 for value in values)
