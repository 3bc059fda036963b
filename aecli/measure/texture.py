"""Distances between sets of images that need no labels: of their pixels' values, of their grain."""

from dataclasses import dataclass

import torch
from torch import Tensor

from aecli.data.images import Batch, ImageShape
from aecli.measure.sample_metrics import Moments, frechet_distance

ROUNDING = 1 / (12 * 255**2)
"""Power of the rounding to 8 bits, added to that of the images: below it there is no grain to see,
and flat images have a logarithm."""


@dataclass(frozen=True)
class Texture:
    """The values of the pixels of a set of images, and its power spectrum; where in an image
    anything lies is in neither."""

    pixels: Moments
    """Mean (C,) and covariance (C, C) of all valid pixels of all images, as points of C channels in
    [0, 1]."""
    spectrum: Tensor
    """(C, R) float64, decibels: by channel and radius, the mean over the images of the logarithm of
    `radial_power`."""


class TextureSums:
    """Texture of images that are looked at a batch at a time."""

    def __init__(self, shape: ImageShape) -> None:
        channels, height, width = shape
        self._pixels = 0
        self._sum = torch.zeros(channels, dtype=torch.float64)
        self._products = torch.zeros((channels, channels), dtype=torch.float64)
        self._images = 0
        self._decibels = torch.zeros((channels, max(height, width) // 2), dtype=torch.float64)

    def add(self, batch: Batch) -> None:
        """Count a batch in; its images are 0 where they are not valid."""
        values = batch.images.transpose(0, 1).flatten(start_dim=1).double()
        self._pixels += values.shape[1] if batch.mask is None else int(batch.mask.sum())
        self._sum += values.sum(dim=1)
        self._products += values @ values.T
        self._images += len(batch)
        self._decibels += 10 * (radial_power(batch) + ROUNDING).log10().double().sum(dim=0)

    def texture(self) -> Texture:
        """The texture of all that was counted in, one image at least."""
        mean = self._sum / self._pixels
        moments = Moments(mean, self._products / self._pixels - mean.outer(mean))
        return Texture(moments, self._decibels / self._images)


def radial_power(batch: Batch) -> Tensor:
    """The power spectrum of each image by radius, (n, C, R), R half the longer side, rounded down.

    Radius r = 1, ..., R has the mean of |DFT|^2 over the frequencies of r cycles, to the nearest,
    per length of the longer side, whatever their direction. Before, each channel's mean is taken
    off, and the image fades out to its edges (a sine's half-wave along each side), which else would
    count as the sharpest lines of all. Noise of variance s^2 in each pixel has the power s^2 at
    every radius, less what the mean takes off the first two; pixels that are not valid leave that
    as it is, but blur what has a shape.
    """
    n, channels, height, width = batch.images.shape
    window = _fade(height).outer(_fade(width))
    weights = window if batch.mask is None else window * batch.mask
    mean = (batch.images * weights).sum(dim=(2, 3), keepdim=True)
    mean = mean / weights.sum(dim=(-2, -1), keepdim=True).clamp_min(1e-12)
    transformed = torch.fft.fft2((batch.images - mean) * weights)
    power = transformed.abs().square() / weights.square().sum(dim=(-2, -1), keepdim=True)
    radii = _radii(height, width)
    largest = max(height, width) // 2
    wanted = (radii >= 1) & (radii <= largest)
    sums = power.new_zeros((largest, n * channels))
    sums.index_add_(0, radii[wanted] - 1, power[..., wanted].flatten(end_dim=1).T)
    counts = torch.bincount(radii[wanted] - 1, minlength=largest)
    return (sums / counts.unsqueeze(1)).T.reshape(n, channels, largest)


def channel_distance(a: Texture, b: Texture) -> float:
    """The Frechet distance of the two sets' pixels as Gaussians of C channels, in pixel units: the
    square root of what `frechet_distance` gives."""
    return frechet_distance(a.pixels, b.pixels) ** 0.5


def spectrum_difference(a: Texture, b: Texture) -> float:
    """The root mean square difference of two spectra over channels and radii, in decibels; nan
    where images of a single pixel have none."""
    return (a.spectrum - b.spectrum).square().mean().sqrt().item()


def _fade(length: int) -> Tensor:
    """(length,): half a sine's wave, 0 half a pixel beyond both ends."""
    return torch.sin(torch.pi * (torch.arange(length) + 0.5) / length)


def _radii(height: int, width: int) -> Tensor:
    """(height, width) int64: cycles of each of the DFT's frequencies per length of the longer side,
    to the nearest."""
    longer = max(height, width)
    y, x = torch.fft.fftfreq(height) * longer, torch.fft.fftfreq(width) * longer
    return torch.hypot(y.unsqueeze(1), x.unsqueeze(0)).round().long()
