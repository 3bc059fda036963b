"""Codecs: all that can encode images to codes and decode codes to images."""

from typing import TYPE_CHECKING

from aecli.codecs.settings import CODECS
from aecli.fields import CodecSection
from aecli.lazily import named

if TYPE_CHECKING:
    from aecli.codecs.base import Codec
    from aecli.codecs.pooling import Pooling
    from aecli.data.images import ImageShape

__all__ = ["CODECS", "build", "pooling_of"]


def build(settings: CodecSection, image_shape: "ImageShape") -> "Codec":
    """A codec as its settings describe it, untrained; a network's weights come from torch's global
    random state, so set the seed before. Raises UsageError if the code does not fit the images."""
    codec: Codec = named(settings.made_by)(image_shape, settings)
    return codec


def pooling_of(settings: CodecSection, image_shape: "ImageShape") -> "Pooling":
    """The map from a codec's codes to the vectors that are compared, before there is one. No memory
    is taken. Raises UsageError as `build`."""
    import torch

    with torch.device("meta"):
        return build(settings, image_shape).pooling
