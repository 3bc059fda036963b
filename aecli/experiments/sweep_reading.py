"""One codec of a sweep's row, measured: its errors, and its codes read by simple probes."""

import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from aecli.chapter import CodeReading
from aecli.codecs.base import Codec
from aecli.config import GaussianNoise
from aecli.config.sections import NoiseConfig
from aecli.data.images import (
    Batch,
    Images,
    Source,
    pixel_variance,
    squared_errors,
    weighted_mean,
)
from aecli.measure import metrics, probes
from aecli.measure.seeds import mean, mean_if_any
from aecli.training.loop import corrupt

N_PROBE = 5_000  # training and test images that the probes read; more change the third digit
_PROBED_PIXELS = 128 * 128  # of images whose pixels are probed; larger ones take too much memory
_DECODED_BYTES = N_PROBE * 28 * 28 * 4  # of test images that are decoded at once
_DENOISING = GaussianNoise(level=0.3)  # noise that every row's denoising is tested with


@dataclass(frozen=True)
class Measured:
    """Measurements of one codec."""

    test_mse: float
    train_mse: float
    denoising_mse: float
    reading: CodeReading


@dataclass(frozen=True)
class Measuring:
    """One codec that is to be measured."""

    codec: Codec
    probed: int
    """Training and test images that the probes read."""


def measure_codec(images: Images, asked: Measuring) -> Measured:
    """The measurements of one codec."""
    codec = asked.codec
    test_mse = metrics.mse(codec, images.test)
    return Measured(
        test_mse,
        metrics.mse(codec, images.train),
        denoising_mse(codec, images.test),
        _reader(images, asked.probed).read(codec, test_mse),
    )


def raw_accuracies(images: Images, probed: int) -> tuple[float | None, float | None]:
    """Accuracies of the linear probe and of the vote of the nearest on the pixels of at most so
    many images; None without labels, and of images too large for one."""
    if not images.labelled or images.train.pixels > _PROBED_PIXELS:
        return None, None
    train, test = (part.first(probed) for part in (images.train, images.test))
    pixels, test_pixels = (part.all().images.flatten(1) for part in (train, test))
    labels, test_labels = (part.require_labels("a probe") for part in (train, test))
    return _accuracies(pixels, labels, test_pixels, test_labels)


class Reader:
    """The probes, on the same images for every codec, with what is read off the images once."""

    def __init__(self, images: Images, probed: int) -> None:
        self._test = images.test.first(probed)
        self._parts = images.train.first(probed), self._test
        self._variance = pixel_variance(images.test)  # around their mean image
        self._labels = None
        if images.labelled:
            labels, test_labels = (part.require_labels("a probe") for part in self._parts)
            self._labels = labels, test_labels
        self._slants = self._thicknesses = None
        if images.digits:
            pictures, test_pictures = (part.all().images for part in self._parts)
            self._slants = tuple(map(probes.slant_degrees, (pictures, test_pictures)))
            self._thicknesses = tuple(map(probes.thickness_pixels, (pictures, test_pictures)))

    def read(self, codec: Codec, test_mse: float) -> CodeReading:
        """The probes' reading of the codes of a codec with that error."""
        codes, test_codes = (metrics.encode(codec, part) for part in self._parts)
        probe_accuracy = knn_accuracy = None
        if self._labels is not None:
            both = (codes, self._labels[0], test_codes, self._labels[1])
            probe_accuracy, knn_accuracy = _accuracies(*both)

        def r2(values: tuple[Tensor, ...] | None) -> float | None:
            if values is None:
                return None
            return probes.linear_r2(codes, values[0], test_codes, values[1])

        return CodeReading(
            probe_accuracy,
            knn_accuracy,
            slant_r2=r2(self._slants),
            thickness_r2=r2(self._thicknesses),
            sharpness=probes.sharpness(self._decoded(codec, test_codes)),
            copies=test_mse < self._variance / 1000,
            variance_kept=1 - test_mse / max(self._variance, 1e-12),
        )

    def _decoded(self, codec: Codec, test_codes: Tensor) -> Iterator[tuple[Tensor, Batch]]:
        """The test images decoded, beside the originals, a bounded number at once."""
        start = 0
        for batch in self._test.batches(_DECODED_BYTES):
            codes = test_codes[start : start + len(batch)]
            yield metrics.decode(codec, codes), batch
            start += len(batch)


_latest: list[tuple["weakref.ref[Images]", int, Reader]] = []
"""The reader that this process made last, with what it was made of; gone with the images."""


def _reader(images: Images, probed: int) -> Reader:
    if not _latest or _latest[0][0]() is not images or _latest[0][1] != probed:
        there = weakref.ref(images, lambda _: _latest.clear())
        _latest[:] = [(there, probed, Reader(images, probed))]
    return _latest[0][2]


def _accuracies(
    codes: Tensor, labels: Tensor, test_codes: Tensor, test_labels: Tensor
) -> tuple[float, float]:
    """Those of the linear probe and of the vote of the nearest."""
    both = (codes, labels, test_codes, test_labels)
    return probes.linear_probe_accuracy(*both), probes.knn_accuracy(*both)


@torch.no_grad()
def denoising_mse(codec: Codec, test: Source, noise: NoiseConfig = _DENOISING) -> float:
    """The error against the clean images of what is decoded from noisy ones."""
    generator = torch.Generator().manual_seed(0)
    errors, weights = [], []
    for batch in test.batches():
        noisy = corrupt(batch.images, noise, generator)
        if batch.mask is not None:
            noisy = noisy * batch.mask
        decoded = codec.reconstruct(replace(batch, images=noisy))
        error, weight = squared_errors(decoded, batch)
        errors.append(error)
        weights.append(weight)
    return weighted_mean(torch.cat(errors), torch.cat(weights))


def mean_reading(readings: Sequence[CodeReading]) -> CodeReading:
    """Means over the seeds; a near copy only if each is one."""
    return CodeReading(
        probe_accuracy=mean_if_any([r.probe_accuracy for r in readings]),
        knn_accuracy=mean_if_any([r.knn_accuracy for r in readings]),
        slant_r2=mean_if_any([r.slant_r2 for r in readings]),
        thickness_r2=mean_if_any([r.thickness_r2 for r in readings]),
        sharpness=mean([r.sharpness for r in readings]),
        copies=all(r.copies for r in readings),
        variance_kept=mean_if_any([r.variance_kept for r in readings]),
    )
