"""Forms in which `aecli compare` tells of runs: a table, Markdown, CSV, JSON, a page."""

import base64
import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aecli.pages.environment import GENERATOR, template
from aecli.runs.comparison import THE_TEST, Estimate, Group, Section, against, direction, statement
from aecli.runs.run import Run
from aecli.terminal import one_line

_CELL = 60  # letters of a setting's value
_BESIDE = 5  # settings that stand between a run's name and its results on a page


@dataclass(frozen=True)
class LeftOut:
    """A run that is not compared."""

    name: str
    state: str
    reason: str
    by_name: bool


@dataclass(frozen=True)
class Compared:
    """All that is said of the runs."""

    sections: Sequence[Section]
    titles: Mapping[str, str]
    """Words on the images of each section, by their identity."""
    runs: Mapping[str, Run]
    left_out: Sequence[LeftOut]
    baseline: Group | None
    patterns: Sequence[str]

    def title(self, section: Section) -> str:
        return f"{section.command} on {self.titles[section.images]}"


def table(section: Section, compared: Compared) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
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


def _lead(section: Section, compared: Compared) -> str | None:
    """The first metric shown of which it is known which way is better."""
    return next((m for m in section.chosen(compared.patterns) if direction(m)), None)


def _beside(section: Section, compared: Compared) -> list[str]:
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
        change = _percent(found.mean / there.mean - 1) if there.mean else ""
        words = {"nothing": str(why), "undecided": "not told apart"}.get(said, said)
        cells.append(", ".join(filter(None, (change, words))))
    return cells


def _percent(change: float) -> str:
    """A change as a percentage: in two digits, a large one whole."""
    percent = 100 * change
    return f"{percent:+.2g}%" if abs(percent) < 99.5 else f"{percent:+,.0f}%"


def sentences(section: Section, compared: Compared) -> list[str]:
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


def is_judged(compared: Compared) -> bool:
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


def as_markdown(compared: Compared) -> str:
    parts = []
    for section in compared.sections:
        header, rows = table(section, compared)
        lines = [f"### {_escaped(compared.title(section))}", ""]
        lines += [_row(header), _row(["---"] * len(header)), *map(_row, rows), ""]
        lines += [f"- {sentence}" for sentence in sentences(section, compared)]
        parts.append("\n".join(lines).rstrip("\n") + "\n")
    if is_judged(compared):
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


_CSV_HEAD = ("command", "images", "runs", "seeds", "is_baseline")


def is_table_of_ours(path: Path) -> bool:
    """True if a file begins as what `as_csv` makes."""
    head = ",".join(_CSV_HEAD).encode()
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(head)) == head


def as_csv(compared: Compared) -> str:
    """A row for each group, of all sections; every metric, its spread and if it is best."""
    rows = []
    for section in compared.sections:
        metrics = section.chosen(compared.patterns) if compared.patterns else section.metrics
        for i, group in enumerate(section.groups):
            runs = " ".join(entry.name for entry in group.entries)
            seeds = " ".join(map(str, group.seeds))
            images, is_baseline = compared.titles[section.images], group is compared.baseline
            values_of = (section.command, images, runs, seeds, is_baseline)
            row: dict[str, Any] = dict(zip(_CSV_HEAD, values_of, strict=True))
            row |= {one_line(key): _shown(values[i]) for key, values in section.differing.items()}
            for metric in metrics:
                found, verdict = group.estimate(metric), section.verdicts.get(metric)
                row[metric] = "" if found is None else _digits(found.mean, group.values(metric))
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


def _digits(mean: float, values: Sequence[Any]) -> str:
    """A mean in all its digits; of whole numbers that are the same, that number."""
    return str(values[0]) if isinstance(values[0], int) and mean == values[0] else repr(mean)


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


def as_object(compared: Compared) -> dict[str, Any]:
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
                "statements": sentences(section, compared),
            }
            for section in compared.sections
        ],
        "left_out": [
            {"run": each.name, "state": each.state, "reason": each.reason}
            for each in compared.left_out
        ],
        "test": THE_TEST,
    }


def _group_object(section: Section, i: int, compared: Compared) -> dict[str, Any]:
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


def as_page(compared: Compared, figures: Mapping[str, bytes]) -> str:
    tables = [_for_page(section, compared) for section in compared.sections]
    pictures = [
        (_PICTURES[name.partition("-")[0]], base64.b64encode(content).decode("ascii"))
        for name, content in figures.items()
    ]
    left_out = [(one_line(each.name), one_line(each.reason)) for each in compared.left_out]
    test = THE_TEST if is_judged(compared) else ""
    text: str = template("compare.html").render(
        tables=tables, pictures=pictures, left_out=left_out, test=test, generator=GENERATOR
    )
    return text


_PICTURES = {
    "curves": "Trainings over one another",
    "pictures": "The same test images, decoded by each",
}
"""Words on a figure, by the first word of its name; the title drawn in it says of which runs."""


def _for_page(section: Section, compared: Compared) -> dict[str, Any]:
    """A section as the template takes it; many settings are a table of their own, on their side."""
    header, rows = table(section, compared)
    apart = slice(3, 3 + len(section.differing) if len(section.differing) > _BESIDE else 3)
    return {
        "title": one_line(compared.title(section)),
        "header": (*header[:3], *header[apart.stop :]),
        "rows": [(*row[:3], *row[apart.stop :]) for row in rows],
        "sentences": sentences(section, compared),
        "settings_header": ("setting", *(row[0] for row in rows)),
        "settings": list(zip(header[apart], *(row[apart] for row in rows), strict=True)),
    }
