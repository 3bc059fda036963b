"""Estimate of what a run needs, against what the machine has, before anything is loaded."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from aecli import locks, machine
from aecli.config import (
    CodecConfig,
    DataConfig,
    EvaluateConfig,
    ManyConfig,
    NetworkConfig,
    SweepConfig,
    SweepDownsamplingConfig,
    TuneConfig,
    with_values,
    without_layers,
)
from aecli.config.grids import row_specs
from aecli.config.tuning_space import largest
from aecli.counts import count
from aecli.data import facts
from aecli.errors import StorageError, UsageError
from aecli.runs import storage

Config = TypeVar("Config", bound=NetworkConfig)

_PROGRAM = 500e6  # bytes of the interpreter with torch and its libraries
_MEASURED_AT_ONCE = 4096 * 28 * 28  # pixels; see aecli.data.images.BATCH_BYTES
# Times as many numbers a training keeps of an image as measuring does, which lets layers go: 3.6 to
# 6.0 as measured (kl at f8 and f128, dc at f128, conv; images of 28x28).
_LET_GO = 3.5
_EVALUATION = 4.0 * facts.SIDE_BY_SIDE  # and as much again of test images, distances, and copies
_WAYS_TO_LOOK = 3
_TUNED = 4 * 16  # trainings of a round of `tune`, on 16 cores
_LARGEST_OF_THE_CHAPTER = 784
_WITH_WIDE_ROWS = ("sweep-codedim", "reproduce")


@dataclass(frozen=True)
class Need:
    """Bytes that a run needs."""

    memory: float
    disk: float


def check(config: Config, runs_dir: Path | None) -> tuple[Config, list[str]]:
    """The config as it can run here, and warnings about settings that differ from those asked for.

    Where `jobs` was left open and the memory is too small for one per core, it is set to as many as
    fit. runs_dir: None looks at memory only; else the folder is made.
    Raises UsageError if the run cannot fit in memory, StorageError if not on the disk, or if
    nothing can be written in `runs_dir`.
    """
    config, warnings = _fitted(config)
    if runs_dir is None:
        return config, warnings
    storage.require_writable(runs_dir)
    free, disk = shutil.disk_usage(runs_dir).free, estimate(config).disk
    if disk > free:
        raise StorageError(
            f"this run needs about {storage.size(disk)} in {runs_dir}, where {storage.size(free)}"
            " are free"
        )
    if not locks.are_there(runs_dir):
        warnings.append(
            f"the file system of {runs_dir} has no locks: nothing keeps two processes from working"
            " in the same run folder"
        )
    return config, warnings


def _fitted(config: Config) -> tuple[Config, list[str]]:
    """`config` with no more jobs than there is memory for, and a warning if that changed it."""
    memory, asked = machine.memory_limit(), _side_by_side(config)
    fitting = next((n for n in range(asked, 0, -1) if _memory(config, n) <= memory), 0)
    if fitting == asked:
        return config, []
    if isinstance(config, ManyConfig) and config.jobs is None and fitting:
        warning = (
            f"jobs={fitting} instead of {asked}: each needs about"
            f" {storage.size(memory_of_a_job(config))} of memory, and there are"
            f" {storage.size(memory)}"
        )
        return with_values(config, {"jobs": fitting}), [warning]
    fewer = f"; jobs={fitting} would fit" if fitting else ""
    raise UsageError(
        f"this run needs about {storage.size(_memory(config, asked))} of memory, and there are"
        f" {storage.size(memory)}: code_dim={largest_codec(config).code_dim} and its layers,"
        f" batch_size={config.train.batch_size}, {count(asked, 'training')} at a time{fewer}"
    )


def require_room_beside(config: NetworkConfig, data: DataConfig) -> None:
    """Raises UsageError if a run cannot hold another dataset beside its own."""
    needed = _memory(config, _side_by_side(config)) + facts.bytes_in_memory(data)
    if needed > machine.memory_limit():
        raise UsageError(
            f"this run needs about {storage.size(needed)} of memory, and there are"
            f" {storage.size(machine.memory_limit())}: {data.dataset} is held beside"
            f" {config.data.dataset}"
        )


def estimate(config: NetworkConfig) -> Need:
    """Memory and disk that a run of `config` needs."""
    parameters, _ = largest_codec(config).size(facts.image_shape(config.data))
    at_a_time = _side_by_side(config)
    disk = 4.0 * parameters * trainings(config) + at_a_time * 2 * 20.0 * parameters + 10e6
    return Need(_memory(config, at_a_time), disk)


def trainings(config: NetworkConfig) -> int:
    """The number of codecs that a run trains, at most."""
    if not isinstance(config, ManyConfig):
        return 1
    dims = getattr(config, "code_dims", ())
    match config.experiment:
        case "sweep-codedim":
            assert isinstance(config, SweepConfig)
            if config.ordered:
                return config.seeds
            rows = len(dims) + len(facts.wide_dims(config))
            return config.seeds * rows * len(getattr(config, "variants", ("plain",)))
        case "sweep-downsampling":
            assert isinstance(config, SweepDownsamplingConfig)
            return config.seeds * len(row_specs(config))
        case "evaluate":  # and one for each class alone
            assert isinstance(config, EvaluateConfig)
            alone = facts.n_classes(config.data) if "anomaly" in config.parts else 0
            return max(len(config.seeds_of_trainings) * (alone + config.trains_codecs_of_all), 1)
        case "tune":  # a round's, for those before are not kept
            return _TUNED
        case "pca-compare":  # and a linear one for each code
            return config.seeds * len(dims) + len(dims)
        case _:
            # reproduce: five codes as the chapter trains, seven rows of the table, five changed
            # trainings (a conversion, two of a scarce class, noise, order); linear ones
            return config.seeds * (5 + 7 + 5) + 4


def largest_codec(config: NetworkConfig) -> CodecConfig:
    """The codec with the most parameters of those that a run trains."""
    shape = facts.image_shape(config.data)
    if isinstance(config, SweepDownsamplingConfig):
        swept = [spec.codec for spec in row_specs(config)]
        return max(swept, key=lambda each: each.size(shape)[0])
    if config.experiment == "reproduce":
        most = _LARGEST_OF_THE_CHAPTER
    else:
        most = max(getattr(config, "code_dims", (config.codec.code_dim,)))
    codec = config.codec.model_copy(update={"code_dim": most})
    ordered = isinstance(config, SweepConfig) and config.ordered
    wide = (
        without_layers(codec, facts.pixels(config.data))
        if config.experiment in _WITH_WIDE_ROWS and not ordered
        else None
    )
    return max((codec, wide or codec), key=lambda each: each.size(shape)[0])


def memory_of_a_job(config: ManyConfig) -> float:
    """Bytes that each training takes beside others."""
    return _memory(config, 3) - _memory(config, 2)


def _memory(config: NetworkConfig, at_a_time: int) -> float:
    """Bytes that so many trainings side by side take.

    A training keeps its parameters about eight times over (gradient, moments, last good ones, both
    precisions) and two batches of every layer's numbers; its checkpoints, five times each.
    """
    if isinstance(config, TuneConfig):
        config = largest(config)
    codec, pixels = largest_codec(config), facts.pixels(config.data)
    parameters, numbers = codec.size(facts.image_shape(config.data))
    training = 32.0 * parameters
    training += 0 if codec.solved else 4.0 * config.train.batch_size * 2 * (numbers + pixels)
    data = facts.bytes_in_memory(config.data)
    at_once = max(_MEASURED_AT_ONCE // pixels, 1)
    measuring = 4.0 * (3 * _MEASURED_AT_ONCE + at_once * numbers / _LET_GO)
    if config.experiment == "evaluate":
        measuring += _EVALUATION
    memory = _PROGRAM + data + measuring
    if at_a_time == 1:
        return memory + training
    return memory + at_a_time * (_PROGRAM + data + max(training, measuring))


def _side_by_side(config: NetworkConfig) -> int:
    if not isinstance(config, ManyConfig):
        return 1
    workers = config.jobs or machine.usable_cores()
    if isinstance(config, EvaluateConfig):  # which looks at codes, PCA's and pixels
        return min(workers, max(trainings(config), _WAYS_TO_LOOK))
    return min(workers, trainings(config))
