"""Codecs that a network is held against."""

import math

from aecli.codecs.base import Codec
from aecli.codecs.pca import Pca
from aecli.codecs.principal import why_none
from aecli.config import PcaConfig
from aecli.data.images import Images


def pca_beside(codec: Codec, images: Images) -> Pca | None:
    """PCA of the same code dimension on the same training images; `codec` itself if it is that.

    None where there is none; `aecli.codecs.principal.why_none` has the reason.
    """
    if isinstance(codec, Pca):
        return codec
    if why_none(codec.code_dim, len(images.train), codec.pixels):
        return None
    pca = Pca(images.shape, PcaConfig(code_dim=codec.code_dim))
    pca.solve(images.train)
    return pca


def full_pca(images: Images) -> Pca:
    """PCA with as many components as the training images have."""
    most = min(math.prod(images.shape), len(images.train))
    pca = Pca(images.shape, PcaConfig(code_dim=most))
    pca.solve(images.train)
    return pca
