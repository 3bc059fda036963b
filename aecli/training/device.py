"""Choose the device and the CPU threads, once per run."""

import os
from typing import Any, TypeVar

import torch

from aecli import processes
from aecli.config import (
    ExperimentConfig,
    FitConfig,
    ManyConfig,
    MuonConfig,
    NetworkConfig,
    TrainedConfig,
    with_values,
)
from aecli.counts import count
from aecli.data.images import Source
from aecli.errors import UsageError
from aecli.machine import keep_freed_memory, usable_cores
from aecli.training import neighbours

Config = TypeVar("Config", bound=ExperimentConfig)


def decided(config: Config) -> Config:
    """`config` with device, threads and precision as they will be in this run, none left open.

    Raises UsageError if the device asked for is not there.
    """
    many = isinstance(config, ManyConfig)
    looked_into = isinstance(config, TrainedConfig) and config.run is not None
    solved = isinstance(config, NetworkConfig) and config.codec.solved
    where = _device("cpu" if looked_into or solved else config.device)
    place = processes.place()
    sharing = 1 if place is None else place.here
    threads = config.threads or (1 if many else max(usable_cores() // sharing, 1))
    decisions: dict[str, Any] = {"device": where.type, "threads": threads}
    if isinstance(config, NetworkConfig):
        fit = config.train
        product = torch.float32 if solved else product_dtype(fit.precision, where)
        decisions["train.precision"] = _name(product)
        if isinstance(fit.optimizer, MuonConfig):
            inside = torch.float32 if solved else muon_dtype(fit, where)
            decisions["train.optimizer.precision"] = _name(inside)
    return with_values(config, decisions)


def prepare(config: ExperimentConfig) -> torch.device:
    """The device a run computes on; sets torch's thread count and seeds torch.

    Where many codecs are trained, `threads` is each training's number, which it sets itself, as
    measuring side by side does; what else this process measures is on every core it may use.
    Raises UsageError if the device asked for is not there.
    """
    threads = None if isinstance(config, ManyConfig) else config.threads
    seed_and_limit(config.seed, threads or usable_cores())
    return _device(config.device)


def of_jobs(config: ManyConfig) -> torch.device:
    """The kind of device that trains each of many codecs."""
    return torch.device("cuda" if config.device == "cuda" else "cpu")


def _device(asked: str) -> torch.device:
    """The device that `asked` means. Raises UsageError if it is not on this machine."""
    place = processes.place()
    if place is not None and place.here > torch.cuda.device_count() and asked == "auto":
        asked = "cpu"  # one process to a GPU, or none
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.mps.is_available()}
    if asked == "auto":
        return torch.device("cuda" if available["cuda"] else "cpu")
    if not available[asked]:
        there = ", ".join(name for name, is_there in available.items() if is_there)
        raise UsageError(f"device={asked}: not on this machine, which has {there}")
    if place is not None and asked == "cuda" and place.here > torch.cuda.device_count():
        raise UsageError(
            f"torchrun: {place.here} processes on this machine, which has"
            f" {count(torch.cuda.device_count(), 'GPU')}: each process takes one"
        )
    return torch.device(asked)


def facts(where: torch.device, fit: FitConfig) -> dict[str, str | int]:
    """Facts on the hardware's part in the numbers, for run.json."""
    known: dict[str, str | int] = {
        "torch": torch.__version__,
        "device": str(where),
        "threads": torch.get_num_threads(),
        "precision": _name(product_dtype(fit.precision, where)),
    }
    if isinstance(fit.optimizer, MuonConfig):
        known["muon_precision"] = _name(muon_dtype(fit, where))
    return known


def seed_and_limit(seed: int, threads: int) -> None:
    """Seed torch and set its thread count, in this process; a GPU then gives the same bits for the
    same seed, and float32 where that is asked for."""
    torch.set_num_threads(threads)
    if threads > 1:
        neighbours.watch()
    keep_freed_memory()
    torch.set_flush_denormal(True)  # denormals slow products down many times, and carry nothing
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read at the first product
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False  # for Muon
    torch.manual_seed(seed)


def held(source: Source, where: torch.device) -> Source:
    """The same images, held on a device; where they are if a GPU has no room for them and as much
    beside."""
    if where.type == "cuda" and source.nbytes > torch.cuda.mem_get_info(where)[0] // 2:
        return source
    return source.to(where)


def product_dtype(precision: str, where: torch.device) -> torch.dtype:
    """Type of the matrix products in training: `precision`, or the faster one on this hardware."""
    if precision == "auto":
        precision = "bf16" if fast_bf16(where) else "fp32"
    return torch.bfloat16 if precision == "bf16" else torch.float32


def muon_dtype(fit: FitConfig, where: torch.device) -> torch.dtype:
    """Type of the products inside Muon's step: as asked for, or bfloat16, as in the papers, unless
    that is slow here and `fit.precision` does not ask for it."""
    asked = getattr(fit.optimizer, "precision", "auto")
    if asked != "auto":
        return torch.bfloat16 if asked == "bf16" else torch.float32
    fast = fit.precision == "bf16" or fast_bf16(where)
    return torch.bfloat16 if fast else torch.float32


def _name(dtype: torch.dtype) -> str:
    return "bf16" if dtype is torch.bfloat16 else "fp32"


def fast_bf16(where: torch.device) -> bool:
    """True if the hardware multiplies bfloat16 faster than float32."""
    if where.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities() if where.type == "cpu" else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
