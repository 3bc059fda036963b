"""Measurements that several experiments share: PCA of all components, means over seeds."""

import math
from collections.abc import Sequence

import numpy as np

from aecli.codecs import Pca
from aecli.config import PcaConfig
from aecli.data import Images


def full_pca(images: Images) -> Pca:
    """PCA with as many components as the training images have."""
    most = min(math.prod(images.shape), len(images.train))
    pca = Pca(images.shape, PcaConfig(code_dim=most))
    pca.solve(images.train.images)
    return pca


def mean(values: Sequence[float]) -> float:
    """The mean over seeds."""
    return float(np.mean(values))


def spread(values: Sequence[float]) -> float:
    """The standard deviation over seeds (n - 1); nan of a single one."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
