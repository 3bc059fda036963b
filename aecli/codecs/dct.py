"""The discrete cosine transform as a codec: a transform fixed in advance, nothing learned."""

import torch
from torch import Tensor

from aecli.codecs.base import Codec, require_at_most_pixels
from aecli.codecs.cosines import (
    Factors,
    coefficients,
    factors_of,
    images_of,
    lowest_places,
    require_places,
)
from aecli.codecs.settings import DctConfig
from aecli.data.images import Batch, ImageShape, Source, filled


class Dct(Codec):
    """The k lowest-frequency coefficients of the whole image's orthonormal 2-D DCT-II.

    Frequencies are ordered by (u/H)^2 + (v/W)^2, each channel's coefficient in turn (Ahmed,
    Natarajan & Rao, "Discrete Cosine Transform", IEEE Trans. Computers, 1974, for the transform).
    """

    places: Tensor
    """(code_dim,) int64, by rising frequency; see `aecli.codecs.cosines`."""
    of_shape: Tensor
    """(3,) int64, the image shape, without which the places in a file could be any image's."""

    def __init__(self, image_shape: ImageShape, settings: DctConfig) -> None:
        require_at_most_pixels(settings.code_dim, image_shape, "dct")
        super().__init__(image_shape, settings)
        self.register_buffer("places", torch.zeros(self.code_dim, dtype=torch.int64))
        self.register_buffer("of_shape", torch.tensor(image_shape))
        self._held: Factors | None = None
        if not self.places.is_meta:  # a codec on the meta device has no numbers
            self.places.copy_(lowest_places(image_shape, self.code_dim))

    def solve(self, source: Source) -> None:
        """Change nothing: the transform does not depend on the images."""

    def seen(self, batch: Batch) -> Tensor:
        return filled(batch)

    def encode(self, images: Tensor) -> Tensor:
        self._require_images(images)
        return coefficients(images, self._factors())

    def decode(self, codes: Tensor) -> Tensor:
        self._require_codes(codes)
        return images_of(codes, self._factors(), self.image_shape[0])

    def hold_constants(self) -> None:
        self._held = factors_of(self.places, self.image_shape)

    def _factors(self) -> Factors:
        return self._held or factors_of(self.places, self.image_shape)

    def require_sound(self) -> None:
        require_places(self.places, self.of_shape, self.image_shape)

    def former_state(self) -> dict[str, Tensor]:
        return {"basis": torch.empty(self.code_dim, self.pixels, device="meta")}
