"""Codes whose units are ordered by what they carry: cut behind the first ones, and measured so."""

import math

import torch
from torch import Tensor

from aecli.codecs.base import Codec
from aecli.data.images import Batch


def cut(codes: Tensor, kept: Tensor) -> Tensor:
    """Codes (N, *code_shape) with 0 for every unit behind the first `kept` (N,) of each; units of a
    code that is no vector are counted as in memory.

    The 0 is as good as any constant: a code's units have no fixed place, and the encoder's last
    bias can bring any value of a unit to 0.
    """
    units = torch.arange(math.prod(codes.shape[1:]), device=codes.device)
    return codes * (units < kept[:, None]).view(codes.shape)


class FirstUnits(Codec):
    """A trained codec with the first units of its code alone; its decoder gets 0 for the others.

    Its codes are vectors, (N, kept).
    """

    def __init__(self, codec: Codec, kept: int) -> None:
        """kept: between 1 and `codec.code_dim`."""
        assert 1 <= kept <= codec.code_dim
        settings = codec.settings.model_copy(update={"code_dim": kept})
        super().__init__(codec.image_shape, settings, (kept,))
        self._codec = codec

    def seen(self, batch: Batch) -> Tensor:
        return self._codec.seen(batch)

    def encode(self, images: Tensor) -> Tensor:
        return self._codec.encode(images).flatten(start_dim=1)[:, : self.code_dim]

    def decode(self, codes: Tensor) -> Tensor:
        self._require_codes(codes)
        whole = codes.new_zeros(len(codes), self._codec.code_dim)
        whole[:, : self.code_dim] = codes
        return self._codec.decode(whole.unflatten(1, self._codec.code_shape))

    @property
    def narrowest_layer(self) -> int:
        return min(self.code_dim, self._codec.narrowest_layer)

    def count_parameters(self) -> int:
        return self._codec.count_parameters()
