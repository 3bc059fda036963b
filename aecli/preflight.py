"""What a run will need, roughly, against what the machine has, before anything is loaded."""

import itertools
import math
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from aecli import storage
from aecli.config import CodecConfig, ManyConfig, NetworkConfig
from aecli.errors import StorageError, UsageError

_PROGRAM = 500e6  # bytes of the interpreter with torch and its libraries
_IMAGES, _PIXELS = 70_000, 28 * 28  # of every dataset there is, at most
_MEASURED_AT_ONCE = 4096  # images


@dataclass(frozen=True)
class Need:
    """Bytes."""

    memory: float
    disk: float


def check(config: NetworkConfig, runs_dir: Path | None) -> None:
    """Raises UsageError if the run cannot fit in memory, StorageError if not on the disk.

    runs_dir: None looks at memory only; else the folder is made, and
    StorageError raised too if nothing can be written there.
    """
    need = estimate(config)
    memory = memory_limit()
    if need.memory > memory:
        raise UsageError(
            f"this run needs about {_size(need.memory)} of memory, and there are {_size(memory)}:"
            f" code_dim={_largest(config).code_dim} and its layers,"
            f" batch_size={config.train.batch_size}, {_side_by_side(config)} training(s) at a time"
        )
    if runs_dir is None:
        return
    storage.require_writable(runs_dir)
    free = shutil.disk_usage(runs_dir).free
    if need.disk > free:
        raise StorageError(
            f"this run needs about {_size(need.disk)} in {runs_dir}, where {_size(free)} are free"
        )


def estimate(config: NetworkConfig) -> Need:
    """What a run of `config` needs.

    A training keeps its parameters about eight times over (gradient, moments, last good ones, both
    precisions) and two batches of every layer's numbers; its checkpoints, five times each.
    """
    codec, pixels = _largest(config), _PIXELS
    hidden = getattr(codec, "hidden", ())
    widths = [pixels, *hidden, codec.code_dim, *reversed(hidden), pixels]
    closed_form = codec.name in ("pca", "dct")
    parameters = sum(a * b + b for a, b in itertools.pairwise(widths))
    if closed_form:  # of which there are no more than pixels
        parameters = min(codec.code_dim, pixels) * pixels
    training = 32.0 * parameters
    training += 0 if closed_form else 4.0 * config.train.batch_size * 2 * (sum(widths) + pixels)
    data = 3.0 * _IMAGES * pixels
    measuring = 4.0 * _MEASURED_AT_ONCE * (3 * pixels + max(widths))
    at_a_time = _side_by_side(config)
    memory = _PROGRAM + data + measuring + at_a_time * training
    if at_a_time > 1:
        memory += at_a_time * (_PROGRAM + data)
    checkpoints = 2 * 20.0 * parameters
    return Need(memory, 4.0 * parameters * _trainings(config) + checkpoints + 10e6)


def memory_limit() -> float:
    """Bytes that this process may have: the machine's, or a lower limit set on it."""
    limits = [math.inf]
    if hasattr(os, "sysconf"):
        limits.append(float(os.sysconf("SC_PAGE_SIZE")) * os.sysconf("SC_PHYS_PAGES"))
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_AS)
        limits += [float(soft)] if soft != resource.RLIM_INFINITY else []
    control_group = Path("/sys/fs/cgroup/memory.max")  # a container's
    if control_group.is_file():
        told = control_group.read_text().strip()
        limits += [float(told)] if told.isdigit() else []
    return min(limits)


def _largest(config: NetworkConfig) -> CodecConfig:
    dims = getattr(config, "code_dims", (config.codec.code_dim,))
    return config.codec.model_copy(update={"code_dim": max(dims)})


def _side_by_side(config: NetworkConfig) -> int:
    if not isinstance(config, ManyConfig):
        return 1
    return min(config.jobs or os.cpu_count() or 1, _trainings(config))


def _trainings(config: NetworkConfig) -> int:
    seeds: int = getattr(config, "seeds", 1)
    return seeds * len(getattr(config, "code_dims", (0,)))


def _size(number: float) -> str:
    return f"{number / 1e9:,.1f} GB"
