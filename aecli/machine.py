"""The cores and the memory that this process may use: the machine's, or a lower limit set on it."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def usable_cores() -> int:
    """Number of cores this process may use: its affinity, or a quota of a control group if that is
    less (rounded down: threads over a quota make each other wait). At least 1."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, int(min(cores, _quota())))


def memory_limit() -> float:
    """Bytes that this process may have."""
    limits = [math.inf]
    if hasattr(os, "sysconf"):
        limits.append(float(os.sysconf("SC_PAGE_SIZE")) * os.sysconf("SC_PHYS_PAGES"))
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_AS)
        limits += [float(soft)] if soft != resource.RLIM_INFINITY else []
    for folder in _groups("memory"):
        limits += _numbers(folder / "memory.max")[:1]
        limits += _numbers(folder / "memory.limit_in_bytes")[:1]  # version 1
    return min(limits)


def keep_freed_memory() -> bool:
    """Have the C library keep what a step of a training frees for the next step, up to 256 MiB in
    blocks of up to 32 MiB; True if it can: glibc's.

    By default it gives blocks of 128 KiB and more back to the system, which clears their pages
    anew at every step: a twelfth of a convolutional step's time. No number depends on it.
    """
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, 32 << 20) and mallopt(_M_TRIM_THRESHOLD, 256 << 20))


def _quota() -> float:
    """Cores' worth of time that control groups allow."""
    shares = [math.inf]
    for folder in _groups("cpu"):
        match _numbers(folder / "cpu.max"):
            case [quota, period] if period > 0:
                shares.append(quota / period)
        match _numbers(folder / "cpu.cfs_quota_us"), _numbers(folder / "cpu.cfs_period_us"):
            case [quota], [period] if quota > 0 and period > 0:  # version 1; -1 is no limit
                shares.append(quota / period)
    return min(shares)


def _groups(controller: str) -> Iterator[Path]:
    """The folders of this process's control groups, from the innermost out: each sets a limit.

    /proc/self/cgroup has lines `0::/a/b` (version 2) and `4:memory:/a/b` (version 1).
    """
    try:
        lines = _OWN.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, inside = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        top = _CGROUPS / controllers if controllers else _CGROUPS
        folder = top.joinpath(*(part for part in inside.split("/") if part not in ("", "..")))
        yield from (each for each in (folder, *folder.parents) if each.is_relative_to(top))


def _numbers(path: Path) -> list[float]:
    """The numbers in a file such as "200000 100000"; none if it says "max", or is not there."""
    try:
        words = path.read_text().split()
    except OSError:
        return []
    if words[:1] == ["max"]:
        return []
    return [float(word) for word in words if word.lstrip("-").isdecimal()]
