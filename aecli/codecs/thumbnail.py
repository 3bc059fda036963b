"""A smaller picture as a code: what anybody would try first."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from aecli.codecs.base import Codec, require_at_most_pixels
from aecli.codecs.settings import ThumbnailConfig
from aecli.data.images import Batch, ImageShape, Source, filled
from aecli.errors import UsageError


class Thumbnail(Codec):
    """The image averaged down to C x h x w, and enlarged by bicubic interpolation.

    h x w is the largest picture of the image's own proportions with at most `code_dim` numbers; its
    codes, and all that counts them, have the C*h*w numbers that it really takes. Each pixel is the
    mean over its exact share of the area, so that nothing is aliased. Bicubic between pixel centres
    is the way back because a yardstick should be no weaker than it need be: bilinear leaves a third
    more error on photographs. It may leave [0, 1] a little.
    """

    down: Tensor
    """(h, H), rows that sum to 1: the share of each row of pixels in each row of the code."""
    across: Tensor
    """(w, W), the same for columns."""

    def __init__(self, image_shape: ImageShape, settings: ThumbnailConfig) -> None:
        require_at_most_pixels(settings.code_dim, image_shape, "thumbnail")
        channels, height, width = image_shape
        h, w = thumbnail_size(settings.code_dim, image_shape)
        super().__init__(image_shape, settings, (channels * h * w,))
        self._size = (h, w)
        self.register_buffer("down", _area_shares(h, height))
        self.register_buffer("across", _area_shares(w, width))

    def solve(self, source: Source) -> None:
        """Change nothing: it does not depend on the images."""

    def seen(self, batch: Batch) -> Tensor:
        return filled(batch)

    def encode(self, images: Tensor) -> Tensor:
        self._require_images(images)
        return (self.down @ (images @ self.across.T)).flatten(start_dim=1)

    def decode(self, codes: Tensor) -> Tensor:
        self._require_codes(codes)
        small = codes.unflatten(1, (self.image_shape[0], *self._size))
        size = self.image_shape[1:]
        return F.interpolate(small, size, mode="bicubic", align_corners=False)


def thumbnail_size(code_dim: int, image_shape: ImageShape) -> tuple[int, int]:
    """Height and width of the thumbnail of at most `code_dim` numbers.

    Raises UsageError if that is less than a pixel.
    """
    channels, height, width = image_shape
    if code_dim < channels:
        raise UsageError(
            f"code_dim={code_dim} must be at least {channels} (channels) for codec 'thumbnail'"
        )
    most = code_dim // channels
    h, w = math.isqrt(most * height // width), math.isqrt(most * width // height)
    if h == 0 or w == 0:  # so long an image that one side is a single pixel
        return (1, min(most, width)) if h == 0 else (min(most, height), 1)
    return min(h, height), min(w, width)


def _area_shares(few: int, many: int) -> Tensor:
    """Shares (few, many) of each of `many` equal pixels in each of `few` larger ones."""
    shares = torch.empty(few, many)
    if shares.is_meta:  # arithmetic imports sympy there, 3 seconds, where only shapes are asked for
        return shares
    edges = torch.arange(few + 1, dtype=torch.float64) * many / few
    start, end = edges[:-1, None], edges[1:, None]
    pixel = torch.arange(many, dtype=torch.float64)
    overlap = torch.minimum(end, pixel + 1) - torch.maximum(start, pixel)
    return (overlap.clamp_min(0) * few / many).float()
