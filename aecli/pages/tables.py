"""Tables of a page: cells of a run's numbers and what they are sorted by."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aecli.chapter.wording import mse_in_words
from aecli.pages.contents import MOST_ROWS, Contents, finite


@dataclass(frozen=True)
class Cell:
    """A cell of a table: its text, and what it is sorted by."""

    text: str
    order: float | None = None
    kind: str = ""
    link: str = ""
    """Place of a picture in the run folder that shows it."""


@dataclass(frozen=True)
class Table:
    """A table of the page; a long one is folded."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    is_folded: bool = False


def metrics_table(run: Contents) -> Table:
    """All numbers of a run, folded."""
    some = list(run.metrics.items())[:300]
    rows = [[Cell(str(key)[:200]), cell(str(key), value)] for key, value in some]
    return Table("All metrics", ["metric", "value"], rows, True)


def history_table(run: Contents) -> Table | None:
    """The epochs of a training, folded; None if there are none."""
    if not run.text("history.csv"):
        return None
    return table_of(run, "history.csv", "Epochs", True, last=True)


def table_of(
    run: Contents, file: str, title: str, is_folded: bool = False, last: bool = False
) -> Table:
    """A CSV of the run, without its dataset; of a long one the first rows, or the last."""
    rows = run.rows(file, last)
    header = [name for name in (rows[0] if rows else {}) if name not in ("dataset", "values")]
    cells = [[cell(name, row.get(name, "")) for name in header] for row in rows]
    part = f", the {'last' if last else 'first'} {MOST_ROWS} rows" if len(rows) == MOST_ROWS else ""
    title = f"{title} ({file}{part})"
    return Table(title, [words(name) for name in header], cells, is_folded)


def cell(name: str, value: Any) -> Cell:
    """The cell of a value, as its column's name says what it is; `-` for none."""
    if value is None or value == "":
        return Cell("-")
    number = finite(value)
    if number is None:
        return Cell({"True": "yes", "False": "no"}.get(text := str(value)[:500], text))
    if (isinstance(value, str) and value.lstrip("-").isdecimal()) or isinstance(value, int):
        return Cell(whole(number) if name != "seed" else str(value)[:40], number)
    return Cell(mse_in_words(number) if "mse" in name and number >= 0 else short(number), number)


def words(name: str) -> str:
    """The name of a metric, or of a column, as words."""
    return name.replace("_", " ")[:100]


def mse_text(value: float | None) -> str:
    """A mean squared error as the terminal has it; `-` for none."""
    return "-" if value is None else mse_in_words(value)


def short(value: float | None) -> str:
    """A number in four digits, a large one whole; `-` for none."""
    return "-" if value is None else whole(value) if 1e4 <= abs(value) < 1e15 else f"{value:.4g}"


def whole(number: float) -> str:
    """A number without decimals, in groups of three digits."""
    return f"{number:,.0f}" if abs(number) < 1e15 else f"{number:.4g}"


def percent(value: float | None) -> str:
    """A share as a percentage, to a tenth; `-` for none."""
    return "-" if value is None else f"{100 * value:.1f}%"
