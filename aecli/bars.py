"""Progress on a terminal: a line for each piece of work, fitted to the terminal's present width."""

from collections.abc import Iterable

from rich.console import Console, RenderableType
from rich.progress import Progress, Task
from rich.progress_bar import ProgressBar
from rich.table import Table

_NARROWEST = 8  # columns; a bar with fewer says nothing
_GAP = 2


class Bars(Progress):
    """Rich's progress display; the count and the time left of a line are never cut.

    Where a line is too long for the terminal, the detail goes first, then the bar, then the end of
    the text. Rich by itself would cut all columns alike.
    """

    def __init__(self, console: Console) -> None:
        super().__init__(console=console, transient=True)

    def get_renderables(self) -> Iterable[RenderableType]:
        for task in self.tasks:
            if task.visible:
                yield _line(task, self.console.width)


def fitted(text: str, detail: str, tail: str, width: int) -> tuple[str, int, str]:
    """The text, the columns left for the bar (0: no bar) and the detail, beside an uncut `tail`."""
    room = width - len(tail) - _GAP
    if len(text) > room:
        return text[: max(room - 3, 0)] + "..."[: max(room, 0)], 0, ""
    for shown in (detail, "") if detail else ("",):
        bar = room - len(text) - _GAP - (len(shown) + _GAP if shown else 0)
        if bar >= _NARROWEST:
            return text, bar, shown
    return text, 0, ""


def _line(task: Task, width: int) -> RenderableType:
    fields = task.fields
    tail = "  ".join(filter(None, (_count(task, fields["unit"]), _time(task))))
    text, bar, detail = fitted(task.description, fields["detail"], tail, width)
    line = Table.grid(padding=(0, _GAP, 0, 0), pad_edge=False)
    cells: list[RenderableType] = [text]
    if bar:
        cells.append(
            ProgressBar(
                total=task.total,
                completed=task.completed,
                width=bar,
                pulse=task.total is None,
                animation_time=task.get_time(),
            )
        )
    cells += [cell for cell in (tail, detail) if cell]
    for _ in cells:
        line.add_column(no_wrap=True)
    line.add_row(*cells)
    return line


def _count(task: Task, unit: str) -> str:
    if unit == "bytes":
        done = f"{task.completed / 1e6:.1f}"
        return f"{done} MB" if task.total is None else f"{done}/{task.total / 1e6:.1f} MB"
    return "" if task.total is None else f"{task.completed:,.0f}/{task.total:,.0f} {unit}".rstrip()


def _time(task: Task) -> str:
    """The time left, or the time passed if the amount of work is not known."""
    if task.total is None:
        return f"{_clock(task.elapsed or 0)} so far"
    left = task.time_remaining
    return "-:-- left" if left is None else f"{_clock(left)} left"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
