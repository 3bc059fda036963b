"""A set of images, real or decoded, judged beside the real ones: a line of samplers.csv."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from aecli.codecs.base import Codec
from aecli.codespace.region import OccupiedRegion, codes_of
from aecli.data.images import Batch, Source, batch_size
from aecli.experiments.subject import Subject
from aecli.measure import metrics, sample_metrics
from aecli.measure.distances import nearest_distances, rms_differences
from aecli.measure.judge import Judge
from aecli.measure.sample_metrics import Moments, frechet_distance
from aecli.measure.texture import Texture, TextureSums, channel_distance, spectrum_difference

SHOWN = 12  # samples drawn per row of the figure
_MASKED_AT_ONCE = 256  # masked images whose distances to all references are held at once
_REFERENCE_BYTES = 2**28
"""Bytes of the training images among which the nearest one is looked for; all of MNIST's fit."""


@dataclass(frozen=True)
class References:
    """The real images that samples are compared with; the region is calibrated on the validation
    split, which must not be empty."""

    images: Batch
    """The first training images, all if memory allows."""
    codes: Tensor
    """(N, k): the codes of the training images."""
    moments: Moments
    """Moments of the judge's features of the training images."""
    texture: Texture
    """Texture of the training images."""
    region: OccupiedRegion

    @classmethod
    def of(cls, subject: Subject, judge: Judge) -> "References":
        splits = subject.images
        (codes, _), occupying = codes_of(subject.codec, (splits.train, splits.val))
        features, sums = [], TextureSums(splits.shape)
        for batch in splits.train.batches():
            features.append(judge.features(batch))
            sums.add(batch)
        return cls(
            splits.train.first(batch_size(splits.train.pixels, _REFERENCE_BYTES)).all(),
            codes,
            Moments.of(torch.cat(features)),
            sums.texture(),
            OccupiedRegion.calibrated(*occupying),
        )


@dataclass(frozen=True)
class SampleSet:
    """Images to judge, real ones or what a codec decodes codes to; read or decoded when they are
    looked at, since all together may not fit in memory."""

    name: str
    source: Source | None
    """Real images; None for decoded ones."""
    codec: Codec
    codes: Tensor
    """(n, k)."""
    placed: bool = True
    """False if the codes mean nothing in the trained code space."""
    labels: Tensor | None = None
    """(n,): the class that each is of, or was drawn of; None where there is none."""
    by_class: bool = False
    """True for what was drawn class by class."""

    def batches(self) -> Iterator[Batch]:
        """All of them in order, a bounded number at once; a linear codec's may leave [0, 1]."""
        if self.source is not None:
            yield from self.source.batches()
            return
        for some in self.codes.split(batch_size(self.codec.pixels)):
            yield Batch(metrics.decode(self.codec, some))


@dataclass(frozen=True)
class Row:
    """A line of samplers.csv; None is what cannot be said without labels."""

    sampler: str
    samples: int
    pixel_low: float
    """The median over the samples of the darkest pixel; `pixel_high` of the brightest."""
    pixel_high: float
    ink: float
    nearest_code_distance: float
    """The mean distance to the nearest training code, after whitening."""
    in_holes: float
    """The share of the codes outside the occupied region."""
    nearest_image_rms: float
    channel_distance: float
    """Distance to the training images of the pixels' channel means and covariances."""
    spectrum_db: float
    """Difference to the training images of the mean power spectrum by radius."""
    confidence: float | None
    entropy_bits: float | None
    classes_covered: int | None
    class_entropy_bits: float | None
    class_accuracy: float | None
    """The share that the classifier reads as the class that they are of, or were drawn of."""
    frechet_distance: float
    frechet_features: str
    """Features that the Frechet distance is taken in: `classifier`, or `pca-64`."""


@dataclass(frozen=True)
class Judged:
    """A set's numbers, and what is drawn of it."""

    row: Row
    each: SampleSet
    first: Batch
    """Its first images."""
    right: Tensor | None
    """(n,) bool, where the classifier reads the class that it is of; None without classes."""


def judge_set(each: SampleSet, references: References, judge: Judge) -> Judged:
    lows, highs, nearest, features, seen = [], [], [], [], []
    sums = TextureSums(each.codec.image_shape)
    pixels, total, valid = references.images.images[0].numel(), 0.0, 0
    first: Batch | None = None
    for batch in each.batches():
        low, high = sample_metrics.pixel_extremes(batch.images, batch.mask)
        lows.append(low)
        highs.append(high)
        shown = batch.images.clamp(0, 1)  # a linear codec's pixels may leave [0, 1]
        total += shown.double().sum().item()  # 0 where not valid
        channels = batch.images.shape[1]
        valid += shown.numel() if batch.mask is None else channels * int(batch.mask.sum())
        judged = Batch(shown, batch.mask)
        nearest.append(_nearest(judged, references.images))
        features.append(judge.features(judged))
        sums.add(judged)
        if judge.classifier is not None:
            seen.append(judge.classifier.probabilities(shown))
        if first is None:
            mask = None if batch.mask is None else batch.mask[:SHOWN].clone()
            first = Batch(shown[:SHOWN].clone(), mask)
    assert first is not None
    code_distance = in_holes = math.nan
    if each.placed:
        region = references.region
        whitened = region.whitening(each.codes)
        code_distance = nearest_distances(whitened, region.references).mean().item()
        in_holes = region.in_hole(each.codes).double().mean().item()
    probabilities = torch.cat(seen) if seen else None
    right = None
    if probabilities is not None and each.labels is not None:
        right = probabilities.argmax(dim=1) == each.labels
    texture = sums.texture()
    row = Row(
        sampler=each.name,
        samples=len(each.codes),
        pixel_low=torch.cat(lows).median().item(),
        pixel_high=torch.cat(highs).median().item(),
        ink=total / valid,
        nearest_code_distance=code_distance,
        in_holes=in_holes,
        nearest_image_rms=sample_metrics.rms(torch.cat(nearest), pixels),
        channel_distance=channel_distance(texture, references.texture),
        spectrum_db=spectrum_difference(texture, references.texture),
        **_seen(probabilities),
        class_accuracy=None if right is None else right.double().mean().item(),
        frechet_distance=frechet_distance(Moments.of(torch.cat(features)), references.moments),
        frechet_features=judge.features_name,
    )
    return Judged(row, each, first, right)


def _nearest(batch: Batch, references: Batch) -> Tensor:
    """The Euclidean distance of each image of a batch (n,) to its nearest reference; where pixels
    are not valid, that of images as far apart in all pixels as these are in the valid ones."""
    pixels = batch.images.shape[1:].numel()
    if batch.mask is None and references.mask is None:
        return nearest_distances(batch.images.flatten(1), references.images.flatten(1))
    some = torch.arange(len(batch)).split(_MASKED_AT_ONCE)
    parts = [Batch(batch.images[i], None if batch.mask is None else batch.mask[i]) for i in some]
    rms = [rms_differences(part, references).amin(dim=1) for part in parts]
    return torch.cat(rms) * pixels**0.5


def _seen(probabilities: Tensor | None) -> dict[str, Any]:
    """Summary of a classifier's probabilities (n, classes), by the fields of Row; None of None."""
    readers = {
        "confidence": sample_metrics.confidence,
        "entropy_bits": sample_metrics.entropy_bits,
        "classes_covered": sample_metrics.classes_covered,
        "class_entropy_bits": sample_metrics.class_entropy_bits,
    }
    return {
        name: None if probabilities is None else read(probabilities)
        for name, read in readers.items()
    }
