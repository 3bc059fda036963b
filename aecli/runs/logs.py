"""Logs of trainings for other programs to watch (`--log`), in the run folder."""

from collections.abc import Mapping, Sequence
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


def write_scalars(folder: Path, rows: Sequence[Mapping[str, Any]], root: Path) -> None:
    """Add rows of a history to TensorBoard's events in `folder`: a scalar for each number, at its
    epoch. Raises StorageError.

    root: the folder of the run, below which no folder on the way may be a link.
    """
    try:
        if link := storage.first_link(folder, root):
            raise OSError(f"{link} is a link, to somewhere else")
        writer = _writer_class()(str(folder), flush_secs=1)
        for row in rows:
            for name, value in row.items():
                if name != "epoch" and value is not None:
                    writer.add_scalar(name, value, row["epoch"])
        writer.close()
    except OSError as error:
        raise StorageError(f"cannot write {folder}: {error.strerror or error}") from None


def _writer_class() -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise UsageError(
            "--log tensorboard: tensorboardX is not installed; pip install 'aecli[tensorboard]'"
        ) from None
    return SummaryWriter
