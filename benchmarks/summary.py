"""Medians and ratios of raw measurements; knows nothing of processes or tables."""

import itertools
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Part = Literal["floor", "epochs", "quality", "sweep", "startup", "neighbours"]


@dataclass(frozen=True)
class Measurement:
    """Measurements of one process in one repeat."""

    repeat: int
    part: Part
    contender: str
    batch_size: int | None = None
    values: dict[str, Any] = field(default_factory=dict)
    """Values as the clock gave them; empty if there is a problem."""
    floor_seconds: float | None = None
    """Seconds per epoch of the fp32 floor, measured right before."""
    problem: str | None = None
    """Reason why there are no values."""
    load: float | None = None
    """The machine's load average over a minute, before the start: more than 1 means company."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class EpochRow:
    """A contender's epochs over all repeats."""

    contender: str
    batch_size: int | None
    seconds: float
    """Seconds per epoch: the median over repeats of each repeat's median epoch."""
    ratio: float
    """Median of the repeats' ratios to the fp32 floor of the same batch size and repeat."""
    lowest_ratio: float
    highest_ratio: float
    peak_mib: float
    repeats: int


@dataclass(frozen=True)
class QualityRow:
    """A contender's way to one test error, over all repeats."""

    contender: str
    target: float
    """Test mse per pixel."""
    seconds: float
    """Seconds of training from the first step: the median over repeats, inf if most failed."""
    floor_epochs: float
    """The same in epochs of the fp32 floor at batch 256: the median of the repeats' ratios."""
    reached: int
    """Number of repeats that reached it."""
    repeats: int
    spent_seconds: float
    """Seconds of training, reached or not; the median."""
    best_mse: float
    peak_mib: float


def epoch_seconds(measurement: Measurement) -> float:
    """The median epoch of one process."""
    return statistics.median(measurement.values["epoch_seconds"])


def epoch_row(measurements: Sequence[Measurement]) -> EpochRow:
    """The row of one contender; at least one measurement, none with a problem."""
    seconds = [epoch_seconds(m) for m in measurements]
    ratios = [_ratio(m) for m in measurements]
    return EpochRow(
        measurements[0].contender,
        measurements[0].batch_size,
        statistics.median(seconds),
        statistics.median(ratios),
        min(ratios),
        max(ratios),
        _median_of(measurements, "peak_mib"),
        len(measurements),
    )


def _ratio(measurement: Measurement) -> float:
    """An epoch over the floor's: over those right before and after it where they took turns."""
    epochs, floors = measurement.values["epoch_seconds"], measurement.values.get("floor_seconds")
    if not floors:
        return epoch_seconds(measurement) / floor_of(measurement)
    around = itertools.pairwise(floors)
    return statistics.median(
        e / statistics.mean(pair) for e, pair in zip(epochs, around, strict=True)
    )


def quality_row(measurements: Sequence[Measurement], i: int, target: float) -> QualityRow:
    """The row of one contender and its `i`-th target."""
    seconds = [seconds_to(m, i) for m in measurements]
    ratios = [s / floor_of(m) for s, m in zip(seconds, measurements, strict=True)]
    return QualityRow(
        measurements[0].contender,
        target,
        statistics.median(seconds),
        statistics.median(ratios),
        sum(map(math.isfinite, seconds)),
        len(measurements),
        _median_of(measurements, "spent_seconds"),
        _median_of(measurements, "best_mse"),
        _median_of(measurements, "peak_mib"),
    )


def seconds_to(measurement: Measurement, i: int) -> float:
    """Seconds to the `i`-th target; inf if it was not reached."""
    reached = measurement.values["reached"][i]
    return math.inf if reached is None else reached


@dataclass(frozen=True)
class Sooner:
    """Comparison of the times at which two contenders reach a target."""

    times: float
    """The median over the repeats that have both."""
    at_least: bool
    """True if the other one did not get there in some of them: its spent seconds count."""


def sooner(ours: Iterable[Measurement], theirs: Iterable[Measurement], i: int) -> Sooner | None:
    """Over the same repeats; None where ours does not reach the `i`-th target or nothing pairs."""
    other = {m.repeat: m for m in theirs}
    pairs = [(m, other[m.repeat]) for m in ours if m.repeat in other]
    if not pairs or not all(math.isfinite(seconds_to(m, i)) for m, _ in pairs):
        return None
    times = [min(seconds_to(t, i), t.values["spent_seconds"]) / seconds_to(m, i) for m, t in pairs]
    bound = not all(math.isfinite(seconds_to(t, i)) for _, t in pairs)
    return Sooner(statistics.median(times), bound)


def throughput_ratio(measurement: Measurement) -> float:
    """Jobs per second of jobs side by side over those of one job alone."""
    together = measurement.values["together_seconds"]
    return len(together) * measurement.values["alone_seconds"] / max(together)


def floor_of(measurement: Measurement) -> float:
    """Seconds per epoch of the floor next to it; it must have one."""
    assert measurement.floor_seconds is not None, f"{measurement.contender} has no floor"
    return measurement.floor_seconds


def _median_of(measurements: Iterable[Measurement], key: str) -> float:
    return statistics.median([m.values[key] for m in measurements])
