"""Records of runs: what run.json, metrics.json and config.yaml of a folder say."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aecli.errors import DataError, UsageError
from aecli.runs import storage

if TYPE_CHECKING:
    from aecli.config import ExperimentConfig

_KINDS: dict[str, type] = {
    "config": dict,
    "status": str,
    "resumed": list,
    "warnings": list,
    "dataset": dict,
    "versions": dict,
}
"""Types of what is read out of a run.json; it must have the first two."""
_REQUIRED = ("config", "status")
LOCK = ".lock"
"""Name of the file that a process in the folder holds locked."""
RUN_FORMAT = 2
"""Number of the form of a run folder, history.csv included; what had no number is of form 1."""
_MAX_RECORD = 16 * 2**20  # bytes of a run.json; a command line alone may have two million


def read_record(path: Path) -> dict[str, Any]:
    """run.json of a run folder. Raises DataError."""
    try:
        record = json.loads(storage.read_regular(path / "run.json", _MAX_RECORD, root=path))
    except (OSError, ValueError, RecursionError, DataError) as error:
        raise DataError(f"{path}: no run that can be read: {error}") from None
    if not isinstance(record, dict):
        raise DataError(f"{path / 'run.json'}: not a record of a run")
    if record.get("format", 1) not in (1, RUN_FORMAT):
        found = str(record["format"])[:20]
        raise DataError(f"{path / 'run.json'}: of format {found}; this aecli reads 1 and 2")
    for key, kind in _KINDS.items():
        if not isinstance(record.get(key, None if key in _REQUIRED else kind()), kind):
            raise DataError(f"{path / 'run.json'}: not a record of a run: wrong {key}")
    return record


def finished_at(record: Mapping[str, Any]) -> str:
    """The time when a run ended, UTC, as text that sorts by time; empty if it has not."""
    return str(record.get("finished", ""))


def read_metrics(path: Path) -> dict[str, Any]:
    """metrics.json of a completed run. Raises DataError."""
    try:
        content = storage.read_regular(path / "metrics.json", _MAX_RECORD, root=path)
        metrics = json.loads(content)
    except (OSError, ValueError, RecursionError, DataError) as error:
        raise DataError(f"{path / 'metrics.json'}: cannot be read: {error}") from None
    if not isinstance(metrics, dict):
        raise DataError(f"{path / 'metrics.json'}: not the metrics of a run")
    return metrics


def recorded_config(path: Path) -> "ExperimentConfig":
    """The config that a run began with. Raises DataError if it cannot be read, UsageError, with
    both values of every key, if config.yaml has been changed since."""
    from aecli.config import EXPERIMENTS, Layer, resolve, settings_of, yaml_layer

    record = read_record(path)
    model = EXPERIMENTS.get(str(record.get("command")))
    if model is None:
        raise DataError(f"{path / 'run.json'}: no experiment is called {record.get('command')!r}")
    try:
        config = resolve(model, [Layer(record["config"], {})], recorded=True)
    except UsageError as error:
        raise DataError(f"{path / 'run.json'}: {error}") from None
    if os.path.lexists(path / "config.yaml"):
        if (path / "config.yaml").is_symlink():
            raise DataError(f"{path / 'config.yaml'}: a link, where a file of the run belongs")
        now = settings_of(resolve(model, [yaml_layer(path / "config.yaml")], recorded=True))
        before = record.get("config_before")  # there was a kill before the new one was written
        if before is not None and now == settings_of(
            resolve(model, [Layer(before, {})], recorded=True)
        ):
            return config
        changes = [
            (key, was, is_)
            for key, was, is_ in _differences(settings_of(config), now)
            # Both move as a run goes on: `auto` to what was found, the folder to where it is now.
            if key != "data.dir" and not (key == "data.dataset" and "auto" in (was, is_))
        ]
        if changes:
            rows = [("key", "the run", "config.yaml now"), *changes]
            table = "\n".join(f"  {key:<24} {was:<24} {is_}" for key, was, is_ in rows)
            raise UsageError(f"{path}: its config was changed; start a new run with it\n{table}")
    return config


def _differences(was: Any, now: Any, key: str = "") -> list[tuple[str, str, str]]:
    """(key, was, now) of every leaf that differs."""
    if isinstance(was, dict) and isinstance(now, dict):
        keys = [*was, *(each for each in now if each not in was)]
        return [
            change
            for each in keys
            for change in _differences(was.get(each), now.get(each), f"{key}.{each}".lstrip("."))
        ]
    return [] if was == now else [(key, str(was), str(now))]
