"""Nested dropout: codes that are cut at random in training, so that their units come in order."""

import math
from typing import Any

import torch
from torch import Tensor

from aecli.codecs.base import Codec
from aecli.codecs.ordered import cut

_WHOLE, _EVENLY = 0.38, 0.2  # shares of the codes; the rest is cut on a log axis


def draw_kept(n: int, code_dim: int, generator: torch.Generator) -> Tensor:
    """Numbers of units (n,) int64, between 1 and `code_dim`, that n codes keep in a step.

    38% of the codes are whole, 20% are cut behind a unit that is drawn evenly, and the others
    behind one that is drawn evenly on a log axis, so that the first units of a long code are not
    forgotten; shares between those tried on MNIST's validation images. generator: a CPU generator.
    Rippel, Gelbart & Adams, "Learning ordered representations with nested dropout", ICML 2014, draw
    from a geometric distribution, and freeze units as they converge because its late ones are
    hardly ever kept; here nothing is frozen.
    """
    kind, place = torch.rand((2, n), generator=generator, dtype=torch.float64)
    evenly = 1 + (place * code_dim).long()
    on_a_log_axis = torch.exp(place * math.log(code_dim + 1)).long()
    kept = torch.where(kind < _EVENLY, evenly, on_a_log_axis)
    return torch.where(kind >= 1 - _WHOLE, code_dim, kept).clamp(1, code_dim)


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

    def logits(self, codes: Tensor) -> Tensor:
        """Pixels before the sigmoid, of the same."""
        return self._codec.logits(cut(codes, self._kept))
