"""What the user sees: data on stdout, messages and progress on stderr; either may be closed."""

import contextlib
import errno
import io
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from aecli.errors import StorageError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bar

    from aecli.fit import EpochRecord, Progress

# A terminal would obey these; they can stand in a file's name or in what a server says.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Terminal:
    """The two streams of one command.

    A stream that is closed, by the shell or by a reader that has left (`| head -1`), falls silent;
    the run goes on. Text that the stream's encoding lacks is written as backslash escapes.
    """

    def __init__(self, quiet: bool = False, as_json: bool = False) -> None:
        self.quiet = quiet
        self.as_json = as_json
        self._bar: Bar | None = None
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")

    def say(self, message: str) -> None:
        """A message on stderr, unless quiet; a WARNING in any case."""
        if not self.quiet or message.startswith("WARNING"):
            self._message(message)

    def warn(self, messages: Sequence[str]) -> None:
        """A WARNING line each on stderr, quiet or not."""
        for message in messages:
            self.say(f"WARNING: {message}")

    def error(self, message: str) -> None:
        """An error on stderr, quiet or not: `aecli: ` before each of its lines."""
        for line in message.splitlines():
            self._message(f"aecli: {line}")

    def data(self, text: str) -> None:
        """Lines on stdout."""
        _write(sys.stdout, text + "\n")

    def path(self, path: Path) -> None:
        """A path on stdout, in the very bytes the file system has, whatever the encoding."""
        stream = sys.stdout
        if not isinstance(stream, io.TextIOWrapper):
            return  # None: the shell closed it
        with _tolerating_closed(stream):
            stream.flush()
            stream.buffer.write(os.fsencode(path) + b"\n")
            stream.flush()

    def json(self, data: Any) -> None:
        """One JSON object on stdout."""
        self.data(json.dumps(data, indent=2))

    def columns(self, rows: Sequence[tuple[str, ...]]) -> None:
        """Rows of plain text in aligned columns on stdout."""
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
            self.data("  ".join(cells).rstrip())

    def table(
        self, title: str, rows: Sequence[tuple[str, ...]], header: tuple[str, ...] | None = None
    ) -> None:
        """Rows on stdout: boxed on a terminal, aligned plain lines elsewhere."""
        if not _is_terminal(sys.stdout):
            self.data(title)
            self.columns([header, *rows] if header else rows)
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
        for column in table.columns:
            column.overflow = "fold"
        for row in rows:
            table.add_row(*row)
        with _tolerating_closed(sys.stdout):
            _console(sys.stdout).print(table)

    def epoch(self, record: "EpochRecord", epochs: int) -> None:
        """A line per epoch on stderr."""
        val = "" if record.val_mse != record.val_mse else f"  val_mse {record.val_mse:.5f}"
        self.say(
            f"epoch {record.epoch:>{len(str(epochs - 1))}} ({record.epoch + 1} of {epochs})"
            f"  train_mse {record.train_mse:.5f}{val}  lr {record.lr:.3g}  {record.seconds:.1f} s"
        )

    @contextlib.contextmanager
    def watching(self, epochs: int) -> Iterator[Any]:
        """A live bar on a terminal; yields the function that moves it. Nothing moves elsewhere."""
        if self.quiet or not _is_terminal(sys.stderr) or os.environ.get("TERM") == "dumb":
            yield lambda progress: None
            return
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        bar = Bar(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("mse {task.fields[mse]:.5f}  {task.fields[rate]:,.0f} images/s"),
            TimeRemainingColumn(),
            console=_console(sys.stderr),
            transient=True,
        )
        task = bar.add_task("fit", visible=False, epoch="", mse=0.0, rate=0.0)

        def move(progress: "Progress") -> None:
            elapsed = bar.tasks[0].elapsed or 0
            bar.update(
                task,
                visible=True,
                completed=progress.step,
                total=progress.steps,
                epoch=f"{progress.epoch} ({progress.epoch + 1} of {epochs})",
                mse=progress.mse,
                rate=progress.images / elapsed if elapsed else 0.0,
            )

        with bar:
            self._bar = bar
            try:
                yield move
            finally:
                self._bar = None

    def _message(self, message: str) -> None:
        message = _CONTROL.sub(lambda found: ascii(found[0])[1:-1], message)
        if self._bar is not None:
            self._bar.console.print(message, highlight=False, markup=False)
        else:
            _write(sys.stderr, message + "\n")


def one_line(text: str, at_most: int = 200) -> str:
    """`text` as a cell of a table: no line breaks, no control characters, of bounded length."""
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in " ".join(text.split()))
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


def _is_terminal(stream: IO[str] | None) -> bool:
    return stream is not None and not stream.closed and stream.isatty()


def _console(stream: IO[str]) -> "Console":
    from rich.console import Console

    return Console(file=stream)
