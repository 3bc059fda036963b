"""Scales that a plain codec and the variational one it became are held against."""

from dataclasses import dataclass

import torch
from torch import Tensor

from aecli.codecs.base import Codec
from aecli.codespace.region import OccupiedRegion
from aecli.data.images import Batch, Images, Source, batch_size, with_held_out
from aecli.measure import metrics
from aecli.measure.classifier import Classifier
from aecli.measure.judge import Judge
from aecli.measure.sample_metrics import Moments, frechet_distance


@dataclass(frozen=True)
class Scales:
    """Images and measures that both codecs are held against."""

    images: Images
    held_out: Source
    """Images that holes are calibrated on: those of validation, or half of the test."""
    calibrated_on: str
    """Their name in metrics.json: `val`, or `half-of-test`."""
    judge: Judge
    moments: Moments
    """Moments of the judge's features of the training images."""
    noise: Tensor
    """(n, k) from N(0, I): the same codes for every codec."""

    @classmethod
    def of(
        cls, images: Images, classifier: Classifier | None, samples: int, code_dim: int, seed: int
    ) -> "Scales":
        """The scales for codes of `code_dim` numbers, of which `samples` are drawn from N(0, I)."""
        calibrated_on, held_out = "val", images.val
        if not len(images.val):  # all training images train
            calibrated_on, held_out = "half-of-test", with_held_out(images).val
        judge = Judge.of(images, classifier)
        features = torch.cat([judge.features(batch) for batch in images.train.batches()])
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn((samples, code_dim), generator=generator)
        return cls(images, held_out, calibrated_on, judge, Moments.of(features), noise)

    @property
    def parts(self) -> tuple[Source, Source]:
        """Images whose codes make a region, and those that it is calibrated on."""
        return self.images.train, self.held_out

    def frechet(self, codec: Codec, codes: Tensor) -> float:
        """The Frechet distance to the training images of what codes (n, k) decode to."""
        found = [
            self.judge.features(Batch(metrics.decode(codec, some).clamp(0, 1)))
            for some in codes.split(batch_size(codec.pixels))
        ]
        return frechet_distance(Moments.of(torch.cat(found)), self.moments)

    def in_holes(self, training: Tensor, held_out: Tensor) -> float:
        """The share of N(0, I) in holes of the region that training codes (N, k) occupy, by other
        codes (M, k)."""
        region = OccupiedRegion.calibrated(training, held_out)
        return region.in_hole(self.noise).double().mean().item()
