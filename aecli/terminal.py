"""Output for the user: data on stdout, messages and progress on stderr; either may be closed."""

import contextlib
import errno
import io
import os
import re
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from aecli import strictjson
from aecli.errors import StorageError

if TYPE_CHECKING:
    from rich.console import Console

    from aecli.bars import Bars
    from aecli.training.records import EpochRecord, Progress

# Characters that a terminal would obey; a file name, run.json or a server's answer can have them.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_NARROWEST = 20  # columns of a terminal that a table's last column is wrapped into
_BESIDE = 32  # the same of rows without a box, which can have it below them


class Advance(Protocol):
    """Call that says how much more of a work is done, and, once it is known, of how much."""

    def __call__(self, n: float = 1, total: float | None = None) -> None: ...


def show_nothing(n: float = 1, total: float | None = None) -> None:
    """The Advance of work that is not shown."""


@contextlib.contextmanager
def not_shown(text: str, total: float | None = None, unit: str = "") -> Iterator[Advance]:
    """`Terminal.working` of what is not shown."""
    yield show_nothing


class Terminal:
    """The two streams of one command.

    A stream that is closed, by the shell or by a reader that has left (`| head -1`), falls silent;
    the run goes on. Text that the stream's encoding lacks is written as backslash escapes.
    """

    def __init__(self, quiet: bool = False, as_json: bool = False) -> None:
        self.quiet = quiet
        self.as_json = as_json
        self._bars: Bars | None = None
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")

    def say(self, message: str) -> None:
        """Write a message on stderr, unless quiet; a WARNING in any case."""
        if not self.quiet or message.startswith("WARNING"):
            self._message(message)

    def warn(self, messages: Sequence[str]) -> None:
        """Write a WARNING line for each message on stderr, quiet or not."""
        for message in messages:
            self.say(f"WARNING: {message}")

    def error(self, message: str) -> None:
        """Write an error on stderr, quiet or not, with `aecli: ` before each of its lines."""
        for line in message.splitlines():
            self._message(f"aecli: {line}")

    def error_at_once(self, message: str) -> None:
        """Write an error from a signal's handler, which may have come in the middle of a write on
        stderr: Python refuses to enter its stream a second time, the system does not."""
        try:
            self.error(message)
        except RuntimeError:
            os.write(sys.stderr.fileno(), f"aecli: {message}\n".encode())

    def data(self, text: str) -> None:
        """Write lines on stdout; control characters are shown as escapes, as in messages."""
        _write(sys.stdout, _visible(text) + "\n")

    def sentence(self, text: str) -> None:
        """Write a sentence on stdout, broken between words on a terminal."""
        columns = _width(sys.stdout) if _is_terminal(sys.stdout) else len(text)
        for part in _wrapped(text, columns):
            self.data(part)

    def path(self, path: Path) -> None:
        """Write a path on stdout, in the bytes that the file system has, whatever the encoding."""
        stream = sys.stdout
        if not isinstance(stream, io.TextIOWrapper):
            return  # None: the shell closed it
        with _tolerating_closed(stream):
            stream.flush()
            stream.buffer.write(os.fsencode(path) + b"\n")
            stream.flush()

    def json(self, data: Any) -> None:
        """Write one JSON object on stdout; a number that is not finite is null."""
        self.data(strictjson.dump(data))

    def columns(self, rows: Sequence[tuple[str, ...]], spare: int | None = None) -> None:
        """Write rows of plain text in aligned columns on stdout.

        On a terminal that is narrower than they are, the last column is wrapped; where it would be
        too thin it stands below its row; and where that is too wide, each row is wrapped by itself.
        spare: a column that such a terminal may do without.
        """
        if not rows:
            return
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        indent = sum(widths[:-1]) + 2 * len(widths[:-1])
        columns = _width(sys.stdout) if _is_terminal(sys.stdout) else indent + widths[-1]
        if spare is not None and indent - 2 > columns:
            self.columns([(*row[:spare], *row[spare + 1 :]) for row in rows])
            return
        for row in rows:
            cells = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)]
            line = "  ".join(cells).rstrip()
            if len(line) <= columns:
                self.data(line)
            elif columns - indent >= _BESIDE:
                for n, part in enumerate(_wrapped(row[-1], columns - indent)):
                    start = "  ".join(cells[:-1]) + "  " if n == 0 else " " * indent
                    self.data(start + part)
            elif indent - 2 <= columns:
                self.data("  ".join(cells[:-1]).rstrip())
                for part in _wrapped(row[-1], columns - 2):
                    self.data(f"  {part}")
            else:
                for part in _wrapped("  ".join(filter(None, row)), columns, "  "):
                    self.data(part)

    def table(
        self, title: str, rows: Sequence[tuple[str, ...]], header: tuple[str, ...] | None = None
    ) -> None:
        """Write rows on stdout: boxed on a terminal, aligned plain lines elsewhere.

        A terminal that is too narrow for the box gets a line for each value.
        """
        if not _is_terminal(sys.stdout):
            self.data(title)
            self.columns([header, *rows] if header else rows)
            return
        if not self.has_room([header, *rows] if header else rows):
            self._stacked(title, rows, header)
            return
        from rich import box
        from rich.table import Table

        table = Table(
            *(header or [""] * len(rows[0])),
            title=title,
            show_header=header is not None,
            box=box.ROUNDED,
            title_justify="left",
        )
        table.columns[0].style = "bold"
        for column in table.columns[:-1]:
            column.no_wrap = True
        table.columns[-1].overflow = "fold"
        for row in rows:
            table.add_row(*map(_visible, row))
        with _tolerating_closed(sys.stdout):
            _console(sys.stdout).print(table)

    def has_room(self, rows: Sequence[tuple[str, ...]]) -> bool:
        """True unless stdout is a terminal too narrow for a box around these rows, whose last
        column may be wrapped."""
        if not _is_terminal(sys.stdout):
            return True
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        room = _width(sys.stdout) - sum(widths[:-1]) - 3 * len(widths) - 1
        return room >= min(widths[-1], _NARROWEST)

    def _stacked(
        self, title: str, rows: Sequence[tuple[str, ...]], header: tuple[str, ...] | None
    ) -> None:
        for part in _wrapped(title, _width(sys.stdout)):
            self.data(part)
        for row in rows:
            named = zip(header, row, strict=True) if header else [(row[0], "  ".join(row[1:]))]
            for n, (name, value) in enumerate(named):
                start = "  " if n else ""
                said = f"{name}: {value}" if name else value
                for part in _wrapped(f"{start}{said}", _width(sys.stdout), start + "  "):
                    self.data(part)

    def epoch(self, record: "EpochRecord", epochs: int) -> None:
        """Write a line for an epoch on stderr, counted from 1 for people."""
        terms = [
            f"{name} {value:.5f}"
            for name, value in record.row().items()
            if name.startswith(("train_", "val_")) and value == value
        ]
        self.say(
            f"{_epoch(record.epoch, epochs)}  {'  '.join(terms)}"
            f"  lr {record.lr:.3g}  {record.seconds:.1f} s"
        )

    @contextlib.contextmanager
    def working(self, text: str, total: float | None = None, unit: str = "") -> Iterator[Advance]:
        """Show that something takes time; yields the function that says how much of it is done.

        On a terminal, a bar with count and time left while the block runs, and nothing after it;
        without a total, the time passed. Elsewhere, `text` as a message at the start.
        unit: word for what `total` counts; "bytes" are shown in MB.
        """
        if not self._shows_bars():
            self.say(text)
            yield show_nothing
            return
        with self._shown() as bars:
            task = bars.add_task(text, total=total, unit=unit, detail="")

            def advance(n: float = 1, total: float | None = None) -> None:
                bars.update(task, advance=n, total=total)

            try:
                yield advance
            finally:
                bars.remove_task(task)

    @contextlib.contextmanager
    def watching(self, epochs: int) -> Iterator[Any]:
        """Show a bar of a training on a terminal; yields the function that moves it.

        Elsewhere nothing moves.
        """
        if not self._shows_bars():
            yield lambda progress: None
            return
        with self._shown() as bars:
            task = bars.add_task("", visible=False, unit="", detail="")

            def move(progress: "Progress") -> None:
                elapsed = bars.tasks[bars.task_ids.index(task)].elapsed or 0
                rate = progress.images / elapsed if elapsed else 0.0
                terms = "  ".join(f"{name} {mean:.5f}" for name, mean in progress.terms.items())
                bars.update(
                    task,
                    visible=True,
                    completed=progress.step,
                    total=progress.steps,
                    description=_epoch(progress.epoch, epochs),
                    detail=f"{terms}  {rate:,.0f} images/s",
                )

            yield move

    def _shows_bars(self) -> bool:
        return not self.quiet and _is_terminal(sys.stderr) and os.environ.get("TERM") != "dumb"

    @contextlib.contextmanager
    def _shown(self) -> "Iterator[Bars]":
        """The bars, in one display for all the work that goes on at the same time."""
        if self._bars is not None:
            yield self._bars
            return
        from aecli.bars import Bars

        with Bars(_console(sys.stderr)) as bars:
            self._bars = bars
            try:
                yield bars
            finally:
                self._bars = None

    def _message(self, message: str) -> None:
        message = _visible(message)
        if _is_terminal(sys.stderr):  # a terminal breaks lines anywhere, in words and numbers
            columns = _width(sys.stderr)
            lines = message.splitlines()
            message = "\n".join(part for line in lines for part in _wrapped(line, columns, "  "))
        if self._bars is not None:
            self._bars.console.print(message, soft_wrap=True)
        else:
            _write(sys.stderr, message + "\n")


def printable(text: str) -> str:
    """`text` with line breaks and control characters written out."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def in_one_line(message: str) -> str:
    """A message of several lines, which follow one another behind semicolons."""
    return "; ".join(line.strip() for line in message.splitlines() if line.strip())


def one_line(text: str, at_most: int = 200) -> str:
    """`text` as a cell of a table: no line breaks, no control characters, of bounded length."""
    text = printable(" ".join(text.split()))
    return text if len(text) <= at_most else text[: at_most - 3] + "..."


def _write(stream: IO[str] | None, text: str) -> None:
    if stream is not None:
        with _tolerating_closed(stream):
            stream.write(text)
            stream.flush()


@contextlib.contextmanager
def _tolerating_closed(stream: IO[str]) -> Iterator[None]:
    """Send a stream that cannot be written to the null device from here on.

    Raises StorageError if it is stdout and its disk is full.
    """
    try:
        yield
    except (BrokenPipeError, ValueError):  # ValueError: write to a closed file object
        _silence(stream)
    except OSError as error:
        if error.errno == errno.EBADF:  # closed by the shell: `>&-`
            return
        _silence(stream)  # else what could not be written is tried again at exit
        if stream is sys.stdout:  # a full disk: what was asked for is not there
            raise StorageError(f"cannot write standard output: {error.strerror}") from None


def _silence(stream: IO[str]) -> None:
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _visible(text: str) -> str:
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


def _epoch(epoch: int, epochs: int) -> str:
    """Words for `epoch` (counted from 0), counted from 1."""
    return f"epoch {epoch + 1:>{len(str(epochs))}} of {epochs}"


def _width(stream: IO[str] | None) -> int:
    """Columns of a stream's terminal; $COLUMNS if that is set, 80 if nobody knows."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns) > 0:
        return int(columns)
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80 if stream else 80
    except (OSError, ValueError):
        return 80


def _wrapped(text: str, columns: int, indent: str = "") -> list[str]:
    """`text` in lines of at most so many columns; a longer word, such as a path, stays whole."""
    if len(text) <= columns:
        return [text]
    return textwrap.wrap(
        text,
        columns,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [""]


def _is_terminal(stream: IO[str] | None) -> bool:
    return stream is not None and not stream.closed and stream.isatty()


def _console(stream: IO[str]) -> "Console":
    from rich.console import Console

    return Console(file=stream, markup=False, emoji=False, highlight=False)
