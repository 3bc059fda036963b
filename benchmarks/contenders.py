"""Contenders: plain tables, to which one is added by a line."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

FLOOR_BATCHES = (256, 512, 1024)

# Settings of FitConfig; the number of epochs is the benchmark's. Measured: seconds per epoch.
AECLI_EPOCHS: dict[str, dict[str, Any]] = {
    f"aecli {recipe} {batch_size} {precision}": {
        "recipe": recipe,
        "batch_size": batch_size,
        "precision": precision,
    }
    for recipe, batch_size in (
        ("chapter", 256),
        ("chapter", 1024),
        ("muon", 256),
        ("muon", 512),
        ("muon-256", 256),
    )
    for precision in ("fp32", "bf16")
}

# Settings of FitConfig. Measured: time to a test mse. The first trains as the chapter does, which
# shows what the library is worth by itself; the others have Muon and schedules made for a target.
AECLI_QUALITY: dict[str, dict[str, Any]] = {
    "aecli, chapter recipe, fp32": {"recipe": "chapter", "epochs": 100, "precision": "fp32"},
    "aecli muon 512, 1 epoch": {
        "batch_size": 512,
        "optimizer": {"lr": 0.05, "momentum": 0.9},
        "epochs": 1,
    },
    "aecli muon 256, 3 epochs": {"batch_size": 256, "epochs": 3},
    "aecli muon 512, 4 epochs": {
        "batch_size": 512,
        "optimizer": {"lr": 0.05, "momentum": 0.9},
        "epochs": 4,
    },
    "aecli muon 512, 4 epochs, fp32": {
        "batch_size": 512,
        "optimizer": {"lr": 0.05, "momentum": 0.9},
        "epochs": 4,
        "precision": "fp32",
    },
}

# One job of a sweep, as `aecli sweep-codedim` trains it but for one epoch.
SWEEP_JOB: dict[str, Any] = {
    "recipe": "muon",
    "batch_size": 128,
    "epochs": 1,
}

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

    @property
    def turns(self) -> bool:
        """True if its epochs and the floor's take turns in one process: only where torch is."""
        return self.measure == "epochs" and self.loop not in ("floor", "sklearn")


def floor(batch_size: int, precision: str = "fp32") -> Contender:
    """The matrix products alone at one batch size."""
    settings = {"batch_size": batch_size, "precision": precision}
    return Contender(f"floor {precision} {batch_size}", "epochs", "floor", batch_size, settings)


def contenders() -> Iterator[Contender]:
    """All contenders, in the order in which one repeat runs them.

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
