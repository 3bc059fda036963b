"""The linear autoencoder: the chapter's special case, whose optimum spans PCA's subspace."""

from torch import nn

from aecli.codecs.base import ChainCodec
from aecli.codecs.settings import LinearConfig
from aecli.data.images import ImageShape


class Linear(ChainCodec):
    """z = W_e x + b_e and x_hat = W_d z + b_d (section 3); the biases learn the centring."""

    encoder: nn.Linear
    decoder: nn.Linear

    def __init__(self, image_shape: ImageShape, settings: LinearConfig) -> None:
        super().__init__(image_shape, settings)
        self.encoder = nn.Linear(self.pixels, settings.encoded)
        self.decoder = nn.Linear(settings.code_dim, self.pixels)
