"""Who takes part: plain tables, to which a contender is added by a line."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

FLOOR_BATCHES = (256, 512, 1024)

# Settings of FitConfig; the number of epochs is the benchmark's. Measured: seconds per epoch.
AECLI_EPOCHS: dict[str, dict[str, Any]] = {
    "aecli chapter 256": {"recipe": "chapter", "batch_size": 256},
    "aecli chapter 256 bf16": {"recipe": "chapter", "batch_size": 256, "precision": "bf16"},
    "aecli chapter 1024": {"recipe": "chapter", "batch_size": 1024},
    "aecli chapter 1024 bf16": {"recipe": "chapter", "batch_size": 1024, "precision": "bf16"},
    "aecli muon 256": {"recipe": "muon", "batch_size": 256},
    "aecli muon 256 bf16": {"recipe": "muon", "batch_size": 256, "precision": "bf16"},
    "aecli muon 512": {"recipe": "muon", "batch_size": 512},
    "aecli muon 512 bf16": {"recipe": "muon", "batch_size": 512, "precision": "bf16"},
    "aecli muon 1024": {"recipe": "muon", "batch_size": 1024},
    "aecli muon 1024 bf16": {"recipe": "muon", "batch_size": 1024, "precision": "bf16"},
}

# Settings of FitConfig with short schedules. Measured: time to a test mse.
AECLI_QUALITY: dict[str, dict[str, Any]] = {
    "aecli muon 256, 1 epoch": {"recipe": "muon", "batch_size": 256, "epochs": 1},
    "aecli muon 512, 1 epoch": {"recipe": "muon", "batch_size": 512, "epochs": 1},
    "aecli muon 256, 3 epochs": {"recipe": "muon", "batch_size": 256, "epochs": 3},
    "aecli muon 512, 4 epochs": {"recipe": "muon", "batch_size": 512, "epochs": 4},
    "aecli muon 1024, 6 epochs": {"recipe": "muon", "batch_size": 1024, "epochs": 6},
}

# One job of a sweep, as `aecli sweep-codedim` trains it but for one epoch.
SWEEP_JOB: dict[str, Any] = {"recipe": "muon", "batch_size": 128, "momentum": 0.95, "epochs": 1}

# Loops of other people: the name, the module that has to be installed, the name of the loop.
CHAPTER_LOOP = "the chapter's loop"
PEERS: tuple[tuple[str, str, str], ...] = (
    (CHAPTER_LOOP, "torchvision", "chapter"),
    ("pythae AE", "pythae", "pythae"),
    ("scikit-learn MLPRegressor", "sklearn", "sklearn"),
    ("Keras on torch", "keras", "keras"),
)
PEER_BATCH = 256

Measure = Literal["epochs", "quality"]


@dataclass(frozen=True)
class Contender:
    """One loop with its settings, and what is measured of it."""

    name: str
    measure: Measure
    loop: str
    """A name that `worker` knows: floor, aecli, chapter, pythae, sklearn or keras."""
    floor_batch: int
    """Batch size of the fp32 floor that is measured right before it."""
    settings: dict[str, Any] = field(default_factory=dict)
    needs: str | None = None
    """A module that must be installed."""


def floor(batch_size: int, precision: str = "fp32") -> Contender:
    """The matrix products alone at one batch size."""
    settings = {"batch_size": batch_size, "precision": precision}
    return Contender(f"floor {precision} {batch_size}", "epochs", "floor", batch_size, settings)


def contenders() -> Iterator[Contender]:
    """Everyone, in the order in which one repeat runs them.

    The fp32 floors are not among them: one is run before each contender.
    """
    for batch_size in FLOOR_BATCHES:
        yield floor(batch_size, "bf16")
    for name, settings in AECLI_EPOCHS.items():
        yield Contender(name, "epochs", "aecli", settings["batch_size"], settings)
    for name, needs, loop in PEERS:
        yield Contender(name, "epochs", loop, PEER_BATCH, needs=needs)
    for name, settings in AECLI_QUALITY.items():
        yield Contender(name, "quality", "aecli", PEER_BATCH, settings)
    for name, needs, loop in PEERS:
        yield Contender(name, "quality", loop, PEER_BATCH, needs=needs)
