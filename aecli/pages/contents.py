"""Contents of a run folder as a page takes them: regular files of bounded size, read as data."""

import csv
import io
import json
import math
import os
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

from aecli.errors import DataError, UsageError
from aecli.runs import storage
from aecli.runs.run import Run

if TYPE_CHECKING:
    from aecli.config import NetworkConfig
    from aecli.fields import ImageShape

_MAX_TABLE = 4 * 2**20  # bytes of a table or a text
MOST_ROWS = 200
"""Rows of a table that are shown."""
_MAX_COLUMNS = 40
_MAX_SETTINGS = 300
_MAX_DEPTH = 6  # of sections in sections


@dataclass(frozen=True)
class Contents:
    """A run folder as a page reads it; what cannot be read is empty, and told in `faults`."""

    run: Run
    faults: list[str]

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.run.path.resolve().name

    @cached_property
    def record(self) -> Mapping[str, Any]:
        """run.json; empty if it cannot be read."""
        try:
            return self.run.record
        except DataError as error:
            if os.path.lexists(self.run.path / "run.json"):
                self.faults.append(f"run.json: {_reason(error)}")
            return {}

    @property
    def command(self) -> str:
        """The command that made the run; empty if that is not known."""
        command = self.record.get("command")
        return command if isinstance(command, str) else ""

    @cached_property
    def metrics(self) -> Mapping[str, Any]:
        """metrics.json; empty if it cannot be read."""
        if not os.path.lexists(self.run.path / "metrics.json"):
            return {}
        try:
            return self.run.metrics
        except DataError as error:
            self.faults.append(f"metrics.json: {_reason(error)}")
            return {}

    @cached_property
    def settings(self) -> dict[str, str]:
        """The config, flat: {"codec.code_dim": "32"}."""
        found: dict[str, str] = {}
        _flatten(self.record.get("config", {}), "", found, _MAX_DEPTH)
        return found

    @cached_property
    def config(self) -> "NetworkConfig | None":
        """The config as it ran; None if it is none that this program knows."""
        from aecli.config import EXPERIMENTS, Layer, NetworkConfig, resolve

        model = EXPERIMENTS.get(self.command)
        if model is None:
            return None
        try:
            config = resolve(model, [Layer(self.record["config"], {})], recorded=True)
        except (UsageError, DataError, *storage.MALFORMED) as error:
            self.faults.append(f"run.json: its config is not one of aecli: {_reason(error)}")
            return None
        return config if isinstance(config, NetworkConfig) else None

    @cached_property
    def image_shape(self) -> "ImageShape | None":
        """Channels, height and width of its images; None if nothing there says so."""
        from aecli.data.known import DATASETS

        described = self._json("model/config.json")
        shape = described.get("image_shape") if isinstance(described, dict) else None
        if isinstance(shape, list) and len(shape) == 3:
            if all(type(n) is int and 0 < n < 2**20 for n in shape):
                return shape[0], shape[1], shape[2]
            return None
        name = self.record.get("dataset", {}).get("name")
        known = DATASETS.get(name) if isinstance(name, str) else None
        return None if known is None else known.image_shape

    def number(self, metric: str) -> float | None:
        """A metric, if it is a finite number."""
        return finite(self.metrics.get(metric))

    def rows(self, name: str, last: bool = False) -> list[dict[str, str]]:
        """The first or the last MOST_ROWS of a table of the run; none if it cannot be read."""
        try:
            reader = csv.reader(io.StringIO(self.text(name)))
            header = next(reader, [])[:_MAX_COLUMNS]
            some = deque(reader, MOST_ROWS) if last else islice(reader, MOST_ROWS)
            return [dict(zip(header, row, strict=False)) for row in some]
        except csv.Error as error:
            self.faults.append(f"{name}: {error}")
            return []

    def entries(self, name: str) -> list[Mapping[str, Any]]:
        """The objects of a list in a JSON file; none if it is not there or cannot be read."""
        found = self._json(name)
        if not isinstance(found, list):
            return []
        return [each for each in found[:MOST_ROWS] if isinstance(each, dict)]

    def text(self, name: str) -> str:
        """A text of the run; empty if it is not there or cannot be read."""
        path = self.run.path / name
        if not os.path.lexists(path):
            return ""
        try:
            content = storage.read_regular(path, _MAX_TABLE, self.run.path)
            return content.decode()
        except (DataError, OSError, ValueError) as error:
            self.faults.append(f"{name}: {_reason(error)}")
            return ""

    def _json(self, name: str) -> Any:
        text = self.text(name)
        try:
            return json.loads(text) if text else None
        except storage.MALFORMED as error:
            self.faults.append(f"{name}: {_reason(error)}")
            return None


def finite(value: Any) -> float | None:
    """`value` as a float, if it is a finite number, or text of one; None otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _flatten(value: Any, key: str, found: dict[str, str], depth: int) -> None:
    if len(found) >= _MAX_SETTINGS:
        return
    if isinstance(value, Mapping) and value and depth:
        for name, each in value.items():
            _flatten(each, f"{key}.{name}".lstrip("."), found, depth - 1)
    elif isinstance(value, list):
        found[key] = ", ".join(map(_plain, value[:64])) if value else "-"
    else:
        found[key] = _plain(value)


def _plain(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str | int | float):
        return str(value)[:500]
    return f"({type(value).__name__})"


def _reason(error: Exception) -> str:
    return str(error)[:300] or type(error).__name__
