"""Records of a training: a row per epoch, and how far it is."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aecli.errors import DataError


@dataclass(frozen=True)
class EpochRecord:
    """A row of history.csv."""

    epoch: int
    """Number of the epoch, from 0 as the chapter counts; messages to people count from 1."""
    train: Mapping[str, float]
    """Each term of the loss: its running mean over the epoch, while the weights change, which is
    what the chapter prints."""
    val: Mapping[str, float]
    """Each term on the validation images, after the epoch; nan if there are none."""
    lr: float
    """Learning rate of the epoch's last step."""
    seconds: float
    """Seconds of training; validation is not counted."""

    @property
    def train_mse(self) -> float:
        """The running mean of the squared error."""
        return self.train.get("mse", math.nan)

    @property
    def val_mse(self) -> float:
        """The squared error on the validation images."""
        return self.val.get("mse", math.nan)

    def row(self) -> dict[str, Any]:
        """The row: epoch, train_mse, val_mse, further terms likewise, lr, seconds."""
        names = sorted(self.train, key=lambda name: name != "mse")
        terms = {
            f"{part}_{name}": values[name]
            for name in names
            for part, values in (("train", self.train), ("val", self.val))
        }
        return {"epoch": self.epoch, **terms, "lr": self.lr, "seconds": self.seconds}

    @classmethod
    def from_row(cls, row: Mapping[str, Any], terms: Sequence[str]) -> "EpochRecord":
        """The record of a loss with these terms that was saved as `row`. Raises DataError if its
        keys or values are others."""
        none = dict.fromkeys(terms, math.nan)
        expected = cls(0, none, none, 0.0, 0.0).row()
        if row.keys() == cls(0, {"mse": 0.0}, {"mse": 0.0}, 0.0, 0.0).row().keys():
            row = expected | dict(row)  # form 1, which had the squared error only
        numbers = all(isinstance(value, int | float) for value in row.values())
        if row.keys() != expected.keys() or not numbers:
            raise DataError(
                f"a history row {dict(row)}, where this version of aecli has numbers for"
                f" {', '.join(expected)}"
            )
        train, val = ({name: row[f"{part}_{name}"] for name in terms} for part in ("train", "val"))
        return cls(row["epoch"], train, val, row["lr"], row["seconds"])


@dataclass(frozen=True)
class Progress:
    """Progress of a training, for a display."""

    step: int
    steps: int
    epoch: int
    images: int
    """Images seen so far, in all epochs."""
    terms: Mapping[str, float]
    """Running mean over the epoch of each term of the loss."""
