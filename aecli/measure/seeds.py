"""Means over seeds, and their spread."""

import math
from collections.abc import Sequence

import numpy as np


def mean(values: Sequence[float]) -> float:
    """The mean over seeds."""
    return float(np.mean(values))


def mean_if_any(values: Sequence[float | None]) -> float | None:
    """The mean over seeds of what was measured for each of them; None if it was for none."""
    there = [value for value in values if value is not None]
    return mean(there) if there else None


def spread(values: Sequence[float]) -> float:
    """The standard deviation over seeds (n - 1); nan of a single one."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
