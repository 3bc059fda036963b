"""The discrete cosine transform as a codec: a transform fixed in advance, nothing learned."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aecli.codecs.base import Codec, require_at_most_pixels
from aecli.codecs.settings import DctConfig
from aecli.data.images import ImageShape, Source


class Dct(Codec):
    """The k lowest-frequency coefficients of the whole image's orthonormal 2-D DCT-II.

    Frequencies are ordered by (u/H)^2 + (v/W)^2, each channel's coefficient in turn (Ahmed,
    Natarajan & Rao, "Discrete Cosine Transform", IEEE Trans. Computers, 1974, for the transform).
    """

    basis: Tensor
    """(code_dim, pixels), orthonormal rows, by rising frequency."""

    def __init__(self, image_shape: ImageShape, settings: DctConfig) -> None:
        require_at_most_pixels(settings.code_dim, image_shape, "dct")
        super().__init__(image_shape, settings)
        self.register_buffer("basis", torch.zeros(self.code_dim, self.pixels))
        if not self.basis.is_meta:  # a codec on the meta device has no numbers
            self.basis.copy_(torch.from_numpy(_lowest_frequencies(image_shape, self.code_dim)))

    def solve(self, source: Source) -> None:
        """Change nothing: the transform does not depend on the images."""

    def encode(self, images: Tensor) -> Tensor:
        self._require_images(images)
        return images.flatten(start_dim=1) @ self.basis.T

    def decode(self, codes: Tensor) -> Tensor:
        self._require_codes(codes)
        return (codes @ self.basis).unflatten(1, self.image_shape)


def _lowest_frequencies(image_shape: ImageShape, count: int) -> NDArray[np.float64]:
    channels, height, width = image_shape
    v, u = np.meshgrid(np.arange(width), np.arange(height))
    order = np.argsort(((u / height) ** 2 + (v / width) ** 2).ravel(), kind="stable")
    rows, columns = _cosines(height), _cosines(width)
    basis = np.zeros((count, channels, height * width))
    for i in range(count):
        u_i, v_i = divmod(int(order[i // channels]), width)
        basis[i, i % channels] = np.outer(rows[u_i], columns[v_i]).ravel()
    return basis.reshape(count, -1)


def _cosines(n: int) -> NDArray[np.float64]:
    """The orthonormal DCT-II matrix: row u is the cosine of frequency u, sampled at n pixels."""
    u, x = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
    cosines = np.sqrt(2 / n) * np.cos(np.pi * (2 * x + 1) * u / (2 * n))
    cosines[0] /= np.sqrt(2)
    return cosines
