"""Choose the device and the CPU threads, once per run."""

import torch

from aecli.config import ExperimentConfig
from aecli.errors import UsageError
from aecli.machine import usable_cores


def prepare(config: ExperimentConfig) -> torch.device:
    """The device a run computes on; sets torch's thread count and seeds torch.

    Raises UsageError if the device asked for is not there.
    """
    seed_and_limit(config.seed, config.threads or usable_cores())
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.mps.is_available()}
    if config.device == "auto":
        return torch.device("cuda" if available["cuda"] else "cpu")
    if not available[config.device]:
        there = ", ".join(name for name, is_there in available.items() if is_there)
        raise UsageError(f"device={config.device}: not on this machine, which has {there}")
    return torch.device(config.device)


def facts(where: torch.device, precision: str) -> dict[str, str | int]:
    """What run.json says of the hardware's part in the numbers."""
    return {
        "torch": torch.__version__,
        "device": str(where),
        "threads": torch.get_num_threads(),
        "precision": _name(product_dtype(precision, where)),
        "muon_precision": _name(muon_dtype(precision, where)),
    }


def seed_and_limit(seed: int, threads: int) -> None:
    """Seed torch and set its thread count, in this process."""
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)  # denormals slow products down many times, and carry nothing
    torch.manual_seed(seed)


def product_dtype(precision: str, where: torch.device) -> torch.dtype:
    """Of the matrix products in training: `precision`, or the faster one on this hardware."""
    if precision == "auto":
        precision = "bf16" if fast_bf16(where) else "fp32"
    return torch.bfloat16 if precision == "bf16" else torch.float32


def muon_dtype(precision: str, where: torch.device) -> torch.dtype:
    """Type of the products inside Muon's step: bfloat16, as in the papers, unless that is slow here
    and `precision` does not ask for it."""
    fast = precision == "bf16" or fast_bf16(where)
    return torch.bfloat16 if fast else torch.float32


def _name(dtype: torch.dtype) -> str:
    return "bf16" if dtype is torch.bfloat16 else "fp32"


def fast_bf16(where: torch.device) -> bool:
    """Whether the hardware multiplies bfloat16 faster than float32."""
    if where.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities() if where.type == "cpu" else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
