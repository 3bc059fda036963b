"""Codecs that a network is held against."""

from aecli.codecs.base import Codec
from aecli.codecs.pca import Pca
from aecli.codecs.principal import most_components
from aecli.config import PcaConfig
from aecli.data.images import Images


def pca_beside(codec: Codec, images: Images) -> Pca | None:
    """PCA of the same code dimension on the same training images; `codec` itself if it is that.

    None where there is none; `aecli.codecs.principal.most_components` says why.
    """
    if isinstance(codec, Pca):
        return codec
    most, _ = most_components(len(images.train), codec.pixels)
    if codec.code_dim > most:
        return None
    pca = Pca(images.shape, PcaConfig(code_dim=codec.code_dim))
    pca.solve(images.train)
    return pca


def full_pca(images: Images) -> Pca:
    """PCA with as many components as the training images have, and memory allows."""
    most, _ = most_components(len(images.train), images.train.pixels)
    pca = Pca(images.shape, PcaConfig(code_dim=most))
    pca.solve(images.train)
    return pca
