"""Codes as they are compared: grids of many numbers averaged over squares of places."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

MOST = 256
"""Numbers of a grid up to which it is compared as it is."""


@dataclass(frozen=True)
class Pooling:
    """The map from the codes of a codec to the vectors that are compared.

    A code on a grid (c, h, w) of more than MOST numbers is averaged, channel by channel, over
    squares of 2x2, 4x4, ... places: the smallest squares that leave at most MOST numbers, or all
    places if none do, which is global average pooling (Lin, Chen & Yan, "Network in network", ICLR
    2014, section 3.2). At an edge a square has the places that there are. Every other code stays
    as it is.
    """

    code_shape: tuple[int, ...]

    @property
    def side(self) -> int:
        """Places along each side of a square; 1 where codes stay as they are."""
        side = 1
        if len(self.code_shape) == 3:
            while self._numbers(side) > MOST and side < max(self.code_shape[1:]):
                side *= 2
        return side

    @property
    def numbers(self) -> int:
        """Numbers of a code as it is compared."""
        return self._numbers(self.side)

    def __call__(self, codes: Tensor) -> Tensor:
        """Vectors (N, numbers) float32 of codes (N, *code_shape), which may be flat."""
        side = self.side
        if side == 1:
            return codes.float().flatten(start_dim=1)
        grids = codes.float().reshape(len(codes), *self.code_shape)
        return F.avg_pool2d(grids, side, ceil_mode=True).flatten(start_dim=1)

    @property
    def in_words(self) -> str:
        """Words on what is done to codes: `averaged over squares of 2x2 places, to 256 numbers`;
        empty where they stay as they are."""
        if self.side == 1:
            return ""
        return f"averaged over squares of {self.side}x{self.side} places, to {self.numbers} numbers"

    def _numbers(self, side: int) -> int:
        channels, *sides = self.code_shape
        for places in sides:
            channels *= -(-places // side)
        return channels
