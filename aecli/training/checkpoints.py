"""Checkpoints of a run's jobs, from which any process goes on that reaches the run's folder."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aecli.errors import DataError, StorageError
from aecli.fields import LossSection
from aecli.runs import checkpoint
from aecli.training.loop import Training
from aecli.training.records import EpochRecord


@dataclass(frozen=True)
class Checkpoints:
    """Place of the checkpoints of a run's jobs, and how often they are saved."""

    run: Path
    """The run's folder, absolute."""
    run_id: str
    seconds: float
    """Seconds between two checkpoints of a job."""

    def of(self, name: str) -> "JobCheckpoint | None":
        """That of the job of a name; None where the run's folder cannot be reached from here."""
        return JobCheckpoint(self, self.folder(name)) if self.is_open else None

    @property
    def is_open(self) -> bool:
        """True if the run's folder can be reached from here, and the run is not done: nobody writes
        into one that is."""
        try:
            record = json.loads((self.run / "run.json").read_bytes())
            return bool(record["id"] == self.run_id and record["status"] != "completed")
        except (OSError, ValueError, LookupError, TypeError):
            return False

    def folder(self, name: str) -> Path:
        """The folder of the job of a name."""
        return self.run / f"{checkpoint.OF_A_JOB}{name}"

    def remove(self, name: str) -> None:
        """Remove that of a job which is done."""
        checkpoint.remove(self.folder(name))


@dataclass
class JobCheckpoint:
    """One job's checkpoint, in its process. What goes wrong with it costs time, not the job:
    `faults` has a line on each."""

    of_run: Checkpoints
    folder: Path
    faults: list[str] = field(default_factory=list)
    _saved: float = field(default_factory=time.monotonic)

    def restore(self, training: Training, loss: LossSection) -> list[EpochRecord]:
        """Go on from what an earlier process saved; its records, none if there is nothing."""
        try:
            found, faults = checkpoint.load(self.folder, self.of_run.run_id)
        except (DataError, OSError) as error:
            self.faults.append(f"begun anew: {error}")
            return []
        self.faults += faults
        if found is None:
            return []
        begun = {name: tensor.clone() for name, tensor in training.state().items()}
        try:
            training.restore(found.state)
        except DataError as error:
            self.faults.append(f"begun anew: {error}")
            training.restore(begun)  # else it may be half another one
            return []
        return [EpochRecord.from_row(row, loss.terms) for row in found.history]

    def save(self, training: Training, records: Sequence[EpochRecord]) -> None:
        """Save the training if it is time."""
        if time.monotonic() - self._saved < self.of_run.seconds or not self.of_run.is_open:
            return
        try:
            rows = [record.row() for record in records]
            checkpoint.save(self.folder, self.of_run.run_id, training.state(), rows)
        except (StorageError, OSError) as error:
            if (fault := f"no checkpoint: {error}") not in self.faults:
                self.faults.append(fault)
        self._saved = time.monotonic()
