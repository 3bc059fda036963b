"""The chapter's autoencoder: a multilayer perceptron down to the code and its mirror image up."""

import itertools
from collections.abc import Sequence

from torch import nn

from aecli.codecs.base import ChainCodec
from aecli.codecs.settings import MlpConfig
from aecli.data.images import ImageShape


class Mlp(ChainCodec):
    """Linear layers with ReLU between, a bare linear code, a sigmoid on the pixels (section 1).

    With the default widths: 784-256-64-k-64-256-784.
    """

    def __init__(self, image_shape: ImageShape, settings: MlpConfig) -> None:
        super().__init__(image_shape, settings)
        self._hidden = settings.hidden
        down = (self.pixels, *settings.hidden, settings.encoded)
        up = (settings.code_dim, *settings.hidden[::-1], self.pixels)
        self.encoder = nn.Sequential(*_layers(down))
        self.decoder = nn.Sequential(*_layers(up), nn.Sigmoid())

    @property
    def narrowest_layer(self) -> int:
        return min(self.code_dim, *self._hidden) if self._hidden else self.code_dim


def _layers(widths: Sequence[int]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return layers[:-1]
