"""`--dry-run`: what a run would meet before its first step, without writing or downloading."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch

from aecli import codecs
from aecli.config import (
    ManyConfig,
    NetworkConfig,
    TrainedConfig,
    quick_images,
    with_values,
)
from aecli.data import datasets, facts, sources
from aecli.errors import StorageError
from aecli.experiments.subject import require_shape
from aecli.runs import preflight
from aecli.runs.pace import paces
from aecli.runs.run import Run
from aecli.terminal import Terminal
from aecli.training import device
from aecli.training.jobs import Job, amount_of, at_a_time, longest_first

Config = TypeVar("Config", bound=NetworkConfig)


def foresee(
    config: Config, runs_dir: Path, offline: bool, terminal: Terminal
) -> tuple[Config, dict[str, Any]]:
    """`config` with the dataset that is there, and what else is known of a run of it, by name.

    config: as it will run, its device, threads and precision decided.
    Raises what the run would: DataError for a dataset or a model that is not available, UsageError
    for what does not fit it, StorageError if no run folder could be made.
    """
    places = sources.default_places(config.data.dir, offline)
    datasets.check(config, places)
    images = datasets.foresee(config.data, places)
    terminal.warn(images.warnings)
    n_train = images.n_train
    found: dict[str, Any] = {"data.dataset": images.name}
    if (most := quick_images(config)) is not None:
        n_train = found["data.limit_train"] = min(n_train, most)
    config = with_values(config, found)
    parameters = _parameters(config)
    _require_place(runs_dir)
    return config, {
        "data": images.source,
        "training_images": n_train,
        "validation_images": images.n_val,
        "parameters": parameters,
    }


def foresee_jobs(
    config: ManyConfig, jobs: Sequence[Job], images: int, runs_dir: Path
) -> dict[str, Any]:
    """Facts on the trainings of a whole run on so many images, in the order of their beginning.

    Seconds are those that the kept jobs of runs in `runs_dir` tell: None if none of the same kind
    is there, of codecs that are solved for, and on a cluster.
    """
    shape = facts.image_shape(config.data)
    threads, where = config.threads or 1, device.of_jobs(config).type
    ordered, workers = longest_first(jobs, shape), at_a_time(config, len(jobs), where)
    known = paces(runs_dir)
    seconds = []
    for job in ordered:
        amount = amount_of(job, shape, images, threads, where)
        if amount.kind in known:
            seconds.append(known[amount.kind] * amount.work)
    is_known = len(seconds) == len(ordered) and config.scheduler is None
    return {
        "jobs": len(ordered),
        "jobs_at_a_time": workers if config.scheduler is None else None,
        "jobs_longest_first": [job.title for job in ordered],
        "jobs_seconds": round(max(sum(seconds) / workers, *seconds), 1) if is_known else None,
        "bytes_of_a_job": round(preflight.memory_of_a_job(config)),
    }


def _parameters(config: NetworkConfig) -> int:
    """The number of parameters of the largest codec; no memory is taken for it.

    Raises UsageError if a codec does not fit the images, DataError for a model that is damaged.
    """
    shape = facts.image_shape(config.data)
    if isinstance(config, TrainedConfig) and config.run is not None:
        run = Run(Path(config.run))
        require_shape(run, shape, config.data.dataset)
        return run.codec.count_parameters()
    with torch.device("meta"):
        return codecs.build(preflight.largest_codec(config), shape).count_parameters()


def _require_place(runs_dir: Path) -> None:
    """Raises StorageError if no run folder could be made in `runs_dir`."""
    runs_dir = runs_dir.absolute()
    try:
        there = next(path for path in (runs_dir, *runs_dir.parents) if path.exists())
        if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
            return
        reason = f"{there} is not a folder that can be written"
    except OSError as error:
        reason = str(error.strerror)
    raise StorageError(f"cannot make a run folder in {runs_dir}: {reason}")
