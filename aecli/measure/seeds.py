"""Means over seeds, and their spread."""

import math
from collections.abc import Sequence

import numpy as np


def mean(values: Sequence[float]) -> float:
    """The mean over seeds."""
    return float(np.mean(values))


def spread(values: Sequence[float]) -> float:
    """The standard deviation over seeds (n - 1); nan of a single one."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
