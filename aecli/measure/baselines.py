"""Codecs that a network is held against."""

import math

from aecli.codecs import Pca
from aecli.config import PcaConfig
from aecli.data import Images


def full_pca(images: Images) -> Pca:
    """PCA with as many components as the training images have."""
    most = min(math.prod(images.shape), len(images.train))
    pca = Pca(images.shape, PcaConfig(code_dim=most))
    pca.solve(images.train.images)
    return pca
