"""The processes that torchrun has started for one training; nothing here imports torch."""

import os
from dataclasses import dataclass

from aecli.errors import UsageError


@dataclass(frozen=True)
class Place:
    """The place of this process among those of a training."""

    rank: int
    """0 for the one that has the run's folder and the terminal."""
    size: int
    """Number of processes, on all machines."""
    here: int
    """Number of processes on this machine."""
    number_here: int
    """The place among these."""
    restarts: int
    """Times that torchrun has started them again."""


def place() -> Place | None:
    """The place of this process, as torchrun tells it; None where it did not start this one, or
    started no other."""
    told = os.environ
    if "TORCHELASTIC_RUN_ID" not in told or int(told.get("WORLD_SIZE", 1)) == 1:
        return None
    return Place(
        rank=int(told["RANK"]),
        size=int(told["WORLD_SIZE"]),
        here=int(told["LOCAL_WORLD_SIZE"]),
        number_here=int(told["LOCAL_RANK"]),
        restarts=int(told.get("TORCHELASTIC_RESTART_COUNT", 0)),
    )


def require_one_training(experiment: str, solved: bool, device: str) -> None:
    """Raises UsageError for what several processes cannot do together."""
    if experiment != "train":
        raise UsageError(
            f"torchrun: several processes share one training, which `aecli {experiment}` is not;"
            " start it without torchrun"
        )
    if solved:
        raise UsageError(
            "torchrun: this codec is solved for, not trained; start it without torchrun"
        )
    if device == "mps":
        raise UsageError("torchrun: device=mps: processes train together on the CPU or on CUDA")
