"""Nested dropout: codes that are cut at random in training, so that their units come in order."""

from typing import Any

import torch
from torch import Tensor

from aecli.codecs.base import Codec
from aecli.codecs.ordered import cut


def draw_kept(n: int, code_dim: int, generator: torch.Generator) -> Tensor:
    """Numbers of units (n,) int64, between 1 and `code_dim`, that n codes keep in a step.

    generator: a CPU generator. TODO
    """
    drawn = torch.rand(n, generator=generator, dtype=torch.float64)
    return (drawn * code_dim).long() + 1


class Cut:
    """A codec whose decoder gets the first units of each code alone, as a loss calls it.

    All but the decoder is the codec itself, so that any loss trains an ordered code.
    """

    def __init__(self, codec: Codec, kept: Tensor) -> None:
        """kept: (n,) int64, as many as the images of the batch."""
        self._codec, self._kept = codec, kept

    def __getattr__(self, name: str) -> Any:
        return getattr(self._codec, name)

    def __call__(self, images: Tensor) -> Tensor:
        """Reconstructions, as `Codec.forward` has them."""
        return self.decode(self._codec.encode(images).float())

    def decode(self, codes: Tensor) -> Tensor:
        """Images (n, C, H, W) of the first units of codes (n, *code_shape)."""
        return self._codec.decode(cut(codes, self._kept))
