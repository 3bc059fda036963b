"""`aecli compare`: runs side by side, in groups that differ by seed alone; a gate against one."""

import base64
import csv
import io
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aecli.cli import expect
from aecli.cli.expect import Gate
from aecli.errors import DataError, ExpectationError, UsageError
from aecli.pathnames import user_path
from aecli.runs import storage
from aecli.runs.comparison import (
    THE_TEST,
    Estimate,
    Group,
    Section,
    against,
    direction,
    sections,
    statement,
)
from aecli.runs.run import Run
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

_CELL = 60  # letters of a setting's value


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


@dataclass(frozen=True)
class _LeftOut:
    """A run that is not compared."""

    name: str
    state: str
    reason: str
    by_name: bool


@dataclass(frozen=True)
class _Compared:
    """All that is said of the runs."""

    sections: Sequence[Section]
    titles: Mapping[str, str]
    """Words on the images of each section, by their identity."""
    runs: Mapping[str, Run]
    left_out: Sequence[_LeftOut]
    baseline: Group | None
    patterns: Sequence[str]

    def title(self, section: Section) -> str:
        return f"{section.command} on {self.titles[section.images]}"


def compare(asked: Asked, terminal: Terminal, runs_dir: Path) -> None:
    """Print runs side by side, write what was asked for, and hold them against the baseline.

    Raises every AecliError; ExpectationError last of all.
    """
    gates = expect.gates(asked.expectations)
    if any(gate.operation for gate in gates) and asked.baseline is None:
        raise UsageError("--expect with baseline: --baseline RUN says which run that is")
    folder, page = _places(asked)
    compared = _compared(asked, terminal, runs_dir)
    missed = _missed(gates, compared)
    figures = _drawn(compared, asked, terminal) if folder or page else {}
    if folder is not None:
        files = {
            "compare.md": _markdown(compared).encode(errors="backslashreplace"),
            "compare.csv": _csv(compared).encode(errors="backslashreplace"),
            **{f"{name}.png": content for name, content in figures.items()},
        }
        for name, content in files.items():
            storage.write_whole(folder / name, content)
    if page is not None:
        storage.write_whole(page, _html(compared, figures).encode(errors="backslashreplace"))
    _print(compared, asked.form, terminal, missed, [p for p in (folder, page) if p])
    if missed:
        raise ExpectationError("\n".join(missed))


def _places(asked: Asked) -> tuple[Path | None, Path | None]:
    """The folder and the page to write. Raises UsageError."""
    folder = None if asked.output is None else user_path(asked.output)
    page = None if asked.html is None else user_path(asked.html)
    if folder is not None and folder.exists() and not folder.is_dir():
        raise UsageError(f"-o {folder}: a file, where a folder is expected")
    if page is not None and (page.suffix.lower() not in (".html", ".htm") or page.is_dir()):
        raise UsageError(f"--html {page}: give FILE.html")
    for place in filter(None, (folder, page)):
        if any((above / "run.json").exists() for above in (place, *place.absolute().parents)):
            raise UsageError(f"{place} lies in a run folder, where only the run writes")
    if asked.pictures and folder is None and page is None:
        raise UsageError("--pictures: give a place for them, -o DIR or --html FILE")
    return folder, page


def _compared(asked: Asked, terminal: Terminal, runs_dir: Path) -> _Compared:
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
            left_out.append(_LeftOut(name, one.run.state, reason, one.by_name))
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
    return _Compared(
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


def _missed(gates: Sequence[Gate], compared: _Compared) -> list[str]:
    """A line for each expectation that a group does not meet, and for each run that was named and
    cannot be held against any."""
    baseline = {} if compared.baseline is None else _means(compared.baseline, compared)
    missed = []
    for section in compared.sections:
        for group in section.groups:
            if group is compared.baseline:
                continue
            try:
                expect.check([gate.beside(baseline) for gate in gates], _means(group, compared))
            except ExpectationError as error:
                missed += [f"{one_line(group.name)}: {line}" for line in str(error).splitlines()]
    if gates:
        missed += [
            f"{one_line(each.name)}: nothing could be held against {gates[0].text}: {each.state}"
            for each in compared.left_out
            if each.by_name
        ]
        images = {s.images for s in compared.sections}
        if compared.baseline is not None and len(images) > 1:
            others = ", ".join(compared.titles[each] for each in sorted(images))
            missed.append(f"the baseline was measured on other images: {others}")
    return missed


def _means(group: Group, compared: _Compared) -> dict[str, Any]:
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
    compared: _Compared,
    form: str,
    terminal: Terminal,
    missed: Sequence[str],
    written: Sequence[Path],
) -> None:
    if form == "json":
        failure = {"error": "\n".join(missed), "exit_code": 7} if missed else {}
        terminal.json({**_object(compared), "written": list(map(str, written)), **failure})
        return
    if form == "md":
        terminal.data(_markdown(compared).rstrip("\n"))
    elif form == "csv":
        terminal.data(_csv(compared).rstrip("\n"))
    else:
        for section in compared.sections:
            header, rows = _table(section, compared)
            terminal.table(one_line(compared.title(section)), rows, header)
            for sentence in _sentences(section, compared):
                terminal.sentence(sentence)
        if _is_judged(compared):
            terminal.sentence(f"* {THE_TEST}")
    for path in written:
        terminal.say(f"written: {path}")


def _table(section: Section, compared: _Compared) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows of a section: a row for each group."""
    metrics = section.chosen(compared.patterns)
    beside = _beside(section, compared)
    header = ("#", "run", "seeds", *map(one_line, section.differing), *map(one_line, metrics))
    rows = []
    for i, group in enumerate(section.groups):
        name = f"{group.name} (baseline)" if group is compared.baseline else group.name
        seeds = ", ".join(one_line(str(seed), 20) for seed in group.seeds[:8])
        seeds += ", ..." if len(group.seeds) > 8 else ""
        settings = [_shown(values[i]) for values in section.differing.values()]
        numbers = [_cell(section, metric, i) for metric in metrics]
        row = (str(i + 1), one_line(name), seeds, *settings, *numbers)
        rows.append((*row, beside[i]) if beside else row)
    lead = _lead(section, compared)
    return (*header, *([f"{lead} vs baseline"] if beside else [])), rows


def _cell(section: Section, metric: str, i: int) -> str:
    group = section.groups[i]
    found = group.estimate(metric)
    if found is None:
        value = group.values(metric)[0]
        return "" if value is None else _shown(value)
    verdict = section.verdicts.get(metric)
    best = " *" if verdict and verdict.is_best and verdict.leading == i else ""
    return number(found) + best


def number(found: Estimate) -> str:
    """A mean in as many digits as its spread leaves, and the spread."""
    mean, sd = found.mean, found.sd
    if math.isnan(sd) or found.n < 2:
        return f"{mean:,.0f}" if mean == round(mean) and abs(mean) < 1e15 else f"{mean:.5g}"
    if sd <= 1e-6 * abs(mean):
        return f"{mean:.5g} ± 0"
    decimals = min(max(1 - math.floor(math.log10(float(f"{sd:.1e}"))), 0), 9)
    return f"{mean:,.{decimals}f} ± {sd:.{decimals}f}"


def _lead(section: Section, compared: _Compared) -> str | None:
    """The first metric shown of which it is known which way is better."""
    return next((m for m in section.chosen(compared.patterns) if direction(m)), None)


def _beside(section: Section, compared: _Compared) -> list[str]:
    """Words on each group beside the baseline, by the lead metric; empty without one."""
    baseline, lead = compared.baseline, _lead(section, compared)
    if baseline is None or lead is None or baseline not in section.groups:
        return []
    others = len(section.groups) - 1
    there = baseline.estimate(lead)
    cells = []
    for group in section.groups:
        found = group.estimate(lead)
        if group is baseline or found is None or there is None:
            cells.append("")
            continue
        said, why = against(baseline, group, lead, others)
        change = f"{100 * (found.mean / there.mean - 1):+.2g}%" if there.mean else ""
        words = {"nothing": str(why), "undecided": "not told apart"}.get(said, said)
        cells.append(", ".join(filter(None, (change, words))))
    return cells


def _sentences(section: Section, compared: _Compared) -> list[str]:
    """Sentences on a section, one for each metric that is judged."""
    if len(section.groups) < 2:
        return []
    numbers = [str(i + 1) for i in range(len(section.groups))]
    judged = [
        section.verdicts[m] for m in section.chosen(compared.patterns) if m in section.verdicts
    ]
    said = [statement(verdict, numbers) for verdict in judged]
    # The same reason for every metric is said once.
    reasons = {verdict.reason for verdict in judged}
    if len(judged) > 1 and len(reasons) == 1 and (reason := reasons.pop()):
        return [f"Nothing can be said about which is better: {reason}."]
    return [sentence if sentence.endswith(".") else f"{sentence}." for sentence in said]


def _is_judged(compared: _Compared) -> bool:
    return any(
        len(section.groups) > 1 and any(not verdict.reason for verdict in section.verdicts.values())
        for section in compared.sections
    )


def _shown(value: Any) -> str:
    """A setting's value as a cell."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    return one_line(str(value) if not isinstance(value, float) else f"{value:.5g}", _CELL)


def _markdown(compared: _Compared) -> str:
    parts = []
    for section in compared.sections:
        header, rows = _table(section, compared)
        lines = [f"### {_escaped(compared.title(section))}", ""]
        lines += [_row(header), _row(["---"] * len(header)), *map(_row, rows), ""]
        lines += [f"- {sentence}" for sentence in _sentences(section, compared)]
        parts.append("\n".join(lines).rstrip("\n") + "\n")
    if _is_judged(compared):
        parts.append(f"\\* {THE_TEST}\n")
    parts += [
        f"Left out: {_escaped(each.name)}: {_escaped(each.reason)}\n" for each in compared.left_out
    ]
    return "\n".join(parts)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_escaped, cells))} |"


def _escaped(text: str) -> str:
    """Text that Markdown takes as text; it may come out of a run folder."""
    text = one_line(text).replace("&", "&amp;").replace("<", "&lt;")
    return "".join(f"\\{c}" if c in "\\|`*_[]!" else c for c in text) if text != "---" else text


def _csv(compared: _Compared) -> str:
    """A row for each group, of all sections; every metric, its spread and if it is best."""
    rows = []
    for section in compared.sections:
        metrics = section.chosen(compared.patterns) if compared.patterns else section.metrics
        for i, group in enumerate(section.groups):
            row: dict[str, Any] = {
                "command": section.command,
                "images": compared.titles[section.images],
                "runs": " ".join(entry.name for entry in group.entries),
                "seeds": " ".join(map(str, group.seeds)),
                "is_baseline": group is compared.baseline,
            }
            row |= {one_line(key): _shown(values[i]) for key, values in section.differing.items()}
            for metric in metrics:
                found, verdict = group.estimate(metric), section.verdicts.get(metric)
                row[metric] = "" if found is None else repr(found.mean)
                row[f"{metric}_sd"] = "" if found is None or found.n < 2 else repr(found.sd)
                if verdict is not None:
                    row[f"{metric}_is_best"] = verdict.is_best and verdict.leading == i
            rows.append({key: _csv_cell(value) for key, value in row.items()})
    names = dict.fromkeys(name for row in rows for name in row)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(names), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _csv_cell(value: Any) -> str:
    """A value as a cell of a .csv: true and false as in JSON, and no formula of a spreadsheet's."""
    text = str(value).lower() if isinstance(value, bool) else one_line(str(value), 10_000)
    is_formula = text[:1] in ("=", "@", "+", "-") and not _is_float(text) and text != "-"
    return f"'{text}" if is_formula else text


def _is_float(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _object(compared: _Compared) -> dict[str, Any]:
    return {
        "sections": [
            {
                "command": section.command,
                "images": compared.titles[section.images],
                "settings_that_differ": list(section.differing),
                "groups": [_group_object(section, i, compared) for i in range(len(section.groups))],
                "verdicts": {
                    metric: {
                        "leading": verdict.leading,
                        "is_best": verdict.is_best,
                        "not_told_apart_from": list(verdict.undecided),
                        "reason": verdict.reason or None,
                    }
                    for metric, verdict in section.verdicts.items()
                },
                "statements": _sentences(section, compared),
            }
            for section in compared.sections
        ],
        "left_out": [
            {"run": each.name, "state": each.state, "reason": each.reason}
            for each in compared.left_out
        ],
        "test": THE_TEST,
    }


def _group_object(section: Section, i: int, compared: _Compared) -> dict[str, Any]:
    group = section.groups[i]
    metrics = section.chosen(compared.patterns) if compared.patterns else section.metrics
    estimates = {metric: group.estimate(metric) for metric in metrics}
    return {
        "runs": [str(compared.runs[entry.name].path) for entry in group.entries],
        "seeds": group.seeds,
        "is_baseline": group is compared.baseline,
        "settings": {key: values[i] for key, values in section.differing.items()},
        "metrics": {
            metric: {"mean": found.mean, "sd": found.sd, "n": found.n}
            for metric, found in estimates.items()
            if found is not None
        },
    }


def _drawn(compared: _Compared, asked: Asked, terminal: Terminal) -> dict[str, bytes]:
    """The figures, as PNG by name: curves of each section, and pictures if asked for."""
    found: dict[str, bytes] = {}
    for n, section in enumerate(compared.sections, 1):
        end = section.command + ("" if len(compared.sections) == 1 else f"-{n}")
        end = "".join(c if c.isalnum() or c == "-" else "_" for c in end)[:60]
        if (figure := _curves(section, compared, terminal)) is not None:
            found[f"curves-{end}"] = _png(figure)
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
                found[f"pictures-{end}"] = _png(figure)
    if asked.pictures and not any(name.startswith("pictures-") for name in found):
        terminal.warn(
            ["--pictures: none of these runs has a model of its own whose images are here"]
        )
    return found


def _mse_of(group: Group) -> float:
    """The first run's own error over all test images, which its pictures stand beside."""
    value = group.entries[0].metrics.get("test_mse")
    return float(value) if isinstance(value, int | float) else math.nan


def _curves(section: Section, compared: _Compared, terminal: Terminal) -> "Figure | None":
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


def _png(figure: "Figure") -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def _html(compared: _Compared, figures: Mapping[str, bytes]) -> str:
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    tables = []
    for section in compared.sections:
        header, rows = _table(section, compared)
        sentences = _sentences(section, compared)
        tables.append((one_line(compared.title(section)), header, rows, sentences))
    pictures = {
        name.replace("-", ", ", 1).capitalize(): base64.b64encode(content).decode("ascii")
        for name, content in figures.items()
    }
    left_out = [(one_line(each.name), one_line(each.reason)) for each in compared.left_out]
    test = THE_TEST if _is_judged(compared) else ""
    return environment.from_string(_PAGE).render(
        tables=tables, pictures=pictures, left_out=left_out, test=test
    )


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Runs side by side</title>
<style>
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 1rem auto; max-width: 75rem; padding: 0 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #8888; }
th, td { white-space: nowrap; }
h2, li { overflow-wrap: anywhere; }
img { max-width: 100%; height: auto; background: white; }
</style>
</head>
<body>
<main>
<h1>Runs side by side</h1>
{% for title, header, rows, sentences in tables %}
<h2>{{ title }}</h2>
<div class="wide" tabindex="0" role="region" aria-label="{{ title }}">
<table>
<thead><tr>{% for cell in header %}<th scope="col">{{ cell }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</tbody>
</table>
</div>
{% if sentences %}<ul>{% for sentence in sentences %}<li>{{ sentence }}</li>{% endfor %}</ul>
{% endif %}{% endfor %}
{% if test %}<p>* {{ test }}</p>{% endif %}
{% for name, content in pictures.items() %}
<h2>{{ name }}</h2>
<p><img alt="{{ name }}: the numbers are those of the rows above"
 src="data:image/png;base64,{{ content }}"></p>
{% endfor %}
{% if left_out %}<h2>Left out</h2>
<ul>{% for name, reason in left_out %}<li>{{ name }}: {{ reason }}</li>{% endfor %}</ul>{% endif %}
</main>
</body>
</html>
"""
