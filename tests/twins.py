"""Trainings that go on, and a resumed run beside its twin that was never stopped: all must be
equal."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

_TIMES = ("train_seconds", "seconds")


def left_behind(run: Path) -> dict[str, Any]:
    """All that a run leaves, without what tells when and how fast: files by name."""
    found: dict[str, Any] = {}
    for path in sorted(run.rglob("*")):
        name = path.relative_to(run).as_posix()
        if path.is_dir() or name in ("run.json", ".lock"):
            continue
        if name == "metrics.json":
            found[name] = _without_times(json.loads(path.read_text()))
        elif path.name == "history.csv":
            rows = csv.DictReader(path.read_text().splitlines())
            found[name] = [_without_times(row) for row in rows]
        elif path.parent.parent.name == "jobs" and path.suffix == ".json":
            found[name] = "a job's history has seconds in it"
        else:
            found[name] = path.read_bytes()
    return found


def go_on(training: Any, steps: int) -> None:
    """Take a training's steps up to the given one, and end the epochs on the way."""
    while not training.is_done and training.step < steps:
        training.take_step()
        if training.is_epoch_over:
            training.end_epoch()


def require_same_bits_after_a_stop(
    training: Callable[[], tuple[Any, Any]], stop: int, steps: int
) -> None:
    """Asserts that a training restored from its state after `stop` steps ends, after `steps`, with
    the numbers of its twin that went on. training: makes a codec and a new training of it."""
    whole, first = training()
    go_on(first, stop)
    state = {name: tensor.clone() for name, tensor in first.state().items()}
    go_on(first, steps)
    resumed, second = training()
    second.restore(state)
    go_on(second, steps)
    for name, tensor in whole.state_dict().items():
        assert (tensor == resumed.state_dict()[name]).all(), name


def _without_times(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in _TIMES}
