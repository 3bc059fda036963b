"""Codecs that a network is held against."""

import math

from aecli.codecs.base import Codec
from aecli.codecs.pca import Pca
from aecli.config import PcaConfig
from aecli.data.images import Images


def pca_beside(codec: Codec, images: Images) -> Pca | None:
    """PCA of the same code dimension on the same training images; `codec` itself if it is that.

    None where there is none: more components than pixels or training images.
    """
    if isinstance(codec, Pca):
        return codec
    if codec.code_dim > min(codec.pixels, len(images.train)):
        return None
    pca = Pca(images.shape, PcaConfig(code_dim=codec.code_dim))
    pca.solve(images.train.images)
    return pca


def full_pca(images: Images) -> Pca:
    """PCA with as many components as the training images have."""
    most = min(math.prod(images.shape), len(images.train))
    pca = Pca(images.shape, PcaConfig(code_dim=most))
    pca.solve(images.train.images)
    return pca
