"""Logs of trainings for other programs to watch (`--log`), in the run folder."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aecli.errors import StorageError, UsageError
from aecli.runs import storage

LOGS = ("tensorboard",)


def require(name: str | None) -> None:
    """Raises UsageError for a log that there is not, and one whose extra is not installed."""
    if name is None:
        return
    if name not in LOGS:
        raise UsageError(f"--log {name}: expected {' or '.join(LOGS)}")
    _writer_class()


class Scalars:
    """Events of TensorBoard in a folder of a run. Raises StorageError where they cannot be written.

    root: the folder of the run, below which no folder on the way may be a link.
    """

    def __init__(self, folder: Path, root: Path) -> None:
        self._folder = folder
        with self._writing():
            if link := storage.first_link(folder, root):
                raise OSError(f"{link} is a link, to somewhere else")
            self._writer = _writer_class()(str(folder))

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows of a history: a scalar for each number, at its epoch."""
        with self._writing():
            for row in rows:
                for name, value in row.items():
                    if name != "epoch" and value is not None:
                        self._writer.add_scalar(name, value, row["epoch"])
            self._writer.flush()

    def close(self) -> None:
        """Close the file; nothing more is added."""
        with self._writing():
            self._writer.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or error
            raise StorageError(f"cannot write {self._folder}: {reason}") from None


def _writer_class() -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise UsageError(
            "--log tensorboard: tensorboardX is not installed; pip install 'aecli[tensorboard]'"
        ) from None
    return SummaryWriter
