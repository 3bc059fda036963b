"""Result of an experiment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Result:
    """A finished run.

    metrics: what metrics.json holds. summary: rows for the user, under `title`, with `header` over
    their columns; without one they are name and value pairs. notes: sentences below.
    """

    path: Path
    metrics: Mapping[str, Any]
    title: str
    summary: Sequence[tuple[str, ...]]
    header: tuple[str, ...] | None = None
    notes: Sequence[str] = ()
    failures: Sequence[str] = ()
    """Lines on what is missing of the result, and why."""
