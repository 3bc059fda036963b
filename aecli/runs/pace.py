"""Seconds that earlier trainings have taken, to foresee those of others."""

import json
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from aecli import strictjson
from aecli.errors import DataError
from aecli.runs import storage
from aecli.runs.registry import runs_in

_MOST_BYTES = 2**20  # of a job's history


@dataclass(frozen=True)
class Amount:
    """Amount of work in a training, and the kind of it that takes its time."""

    kind: str
    """Codec, optimiser, batch, precision, threads and device, in words."""
    work: float
    """A number that grows with its seconds, among trainings of one kind."""

    def noted(self) -> Mapping[str, str | float]:
        """The same as a kept job has it."""
        return asdict(self)


def paces(runs_dir: Path) -> dict[str, float]:
    """Seconds to a unit of work, by the kind of training: the median over the kept jobs of all runs
    in `runs_dir`. A job that cannot be read, or tells no amount, is passed over."""
    found: dict[str, list[float]] = {}
    for run in runs_in(runs_dir):
        for folder in sorted((run.path / "jobs").glob("*")):
            try:
                text = storage.read_regular(folder / "history.json", _MOST_BYTES, run.path)
                kept = json.loads(text)
                amount = Amount(str(kept["amount"]["kind"]), float(kept["amount"]["work"]))
                seconds = sum(float(row["seconds"]) for row in strictjson.rows(kept["history"]))
                found.setdefault(amount.kind, []).append(seconds / amount.work)
            except (OSError, DataError, ArithmeticError, AttributeError, *storage.MALFORMED):
                continue
    return {kind: statistics.median(each) for kind, each in found.items()}
