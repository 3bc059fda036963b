"""Views of images as vectors between which distances mean something: codes, or the pixels."""

from dataclasses import dataclass

import torch
from torch import Tensor

from aecli.codecs.base import Codec
from aecli.data.images import Batch, Source, filled


@dataclass(frozen=True)
class View:
    """A way to look at images as vectors (k,): through a codec, whose codes on a grid of many
    numbers are averaged (`aecli.codecs.pooling`), or as the pixels that they are.

    A network's code has no scale of its own, so that each unit is standardised by the training
    images: mean 0, deviation 1. Codes of a kind that is solved for are in pixel units, as pixels
    are, and those of a variational one in units of N(0, I); they stay so: scaled, a direction of
    little but noise would count as much as the first.
    """

    codec: Codec | None
    """None for pixels; where a pixel is not valid, the mean of its image's valid ones counts."""
    mean: Tensor
    """(k,)."""
    scale: Tensor
    """(k,)."""

    @classmethod
    def fitted(cls, codec: Codec | None, training: Source) -> "tuple[View, Tensor]":
        """The view, scaled by the training images, and these as it sees them, (N, k) float32."""
        seen = vectors(codec, training)
        k = seen.shape[1]
        if codec is None or codec.settings.solved_for or codec.settings.is_variational:
            return cls(codec, torch.zeros(k), torch.ones(k)), seen
        mean, deviation = seen.mean(dim=0), seen.std(dim=0, correction=0)
        view = cls(codec, mean, torch.where(deviation > 0, deviation, 1))
        return view, (seen - view.mean) / view.scale

    def __call__(self, batch: Batch) -> Tensor:
        """Vectors (n, k) float32 of a batch."""
        return (_seen(self.codec, batch) - self.mean) / self.scale

    def all(self, source: Source) -> Tensor:
        """Vectors (N, k) of all images."""
        return torch.cat([self(batch) for batch in source.batches()])


def vectors(codec: Codec | None, source: Source) -> Tensor:
    """Vectors (N, k) float32 of all images, in the units that codes, or pixels, have."""
    return torch.cat([_seen(codec, batch) for batch in source.batches()])


@torch.no_grad()
def _seen(codec: Codec | None, batch: Batch) -> Tensor:
    """Vectors (n, k) of a batch in such units."""
    if codec is None:
        return filled(batch).flatten(start_dim=1)
    return codec.pooling(codec.encode(codec.seen(batch)))
