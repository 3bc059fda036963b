"""The error family: every way a run can fail that is not a bug, each with its exit code."""

import signal
from pathlib import Path


class AecliError(Exception):
    """Something the user can act on; its text is printed as it is, without a traceback."""

    exit_code = 1


class UsageError(AecliError):
    """A flag, a config or an argument that cannot be carried out."""

    exit_code = 2


class DataError(AecliError):
    """A dataset, a model or a checkpoint that is missing, damaged or of the wrong kind."""

    exit_code = 3


class DivergedError(AecliError):
    """Training met a loss that is not finite."""

    exit_code = 4


class JobsFailedError(AecliError):
    """Some of a run's many trainings failed; the others are kept."""

    exit_code = 5


class StorageError(AecliError):
    """A run folder that cannot be made or written."""

    exit_code = 6


class ExpectationError(AecliError):
    """An `--expect` that the measured metrics do not meet."""

    exit_code = 7


class Interrupted(BaseException):
    """A signal to end; no Exception, and no KeyboardInterrupt, which typer would swallow."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.exit_code = 128 + signal_number
        self.signal_name = signal.Signals(signal_number).name
        self.reason = ""
        """Words on its cause, if that was no signal to this process."""


class ProcessLost(Interrupted):
    """Another process of the same training is gone, and with it the rest of every batch."""

    def __init__(self, reason: str) -> None:
        super().__init__(signal.SIGTERM)
        self.reason = f"another process of this training is gone ({reason})"


def left_in(error: BaseException, run: Path) -> None:
    """Attach to an error, of any kind, the run folder that it left."""
    error.__dict__["run"] = run


def run_of(error: BaseException) -> Path | None:
    """The run folder that an error left, if there is one."""
    return error.__dict__.get("run")
