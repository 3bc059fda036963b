"""Fidelity of reconstructions to a viewer: structural similarity, and detail that is made up."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from aecli.codecs.base import Codec
from aecli.data.images import Source, filled, squared_errors, weighted_mean

HIGH_FREQUENCY = 1 / 8
"""Cycles per pixel above which a frequency is high: periods under 8 pixels."""
_SIGMA, _RADIUS = 1.5, 5  # pixels, of the window of structural similarity
_C1, _C2 = 0.01**2, 0.03**2


@dataclass(frozen=True)
class Fidelity:
    """Measurements of a codec's reconstructions of many images."""

    mse: float
    """Error as `metrics.mse` has it, of what is decoded as it is."""
    ssim: float
    """Mean structural similarity, at most 1."""
    high_frequency_ratio: float
    """Energy at high frequencies in all reconstructions over that in the images; nan of images
    without any."""
    coherence: float
    """Correlation, in [-1, 1], of both at high frequencies: 1 where all detail is the image's own,
    0 where it is made up; nan where one has none."""


@torch.no_grad()
def fidelity(codec: Codec, source: Source) -> Fidelity:
    """Fidelity of a codec's reconstructions, cut to [0, 1], of all images of a source; all from one
    look at them, which for a large network is what takes long.

    A pixel that is not valid is the image's own, filled, in both.
    """
    errors, similarities, weights = [], [], []
    energies = torch.zeros(3, dtype=torch.float64)
    for batch in source.batches():
        images, found = filled(batch), codec.reconstruct(batch)
        errors.append(torch.stack(squared_errors(found, batch)).double())
        decoded = found.clamp(0, 1)
        if batch.mask is not None:
            decoded = torch.where(batch.mask.bool(), decoded, images)
            weights.append(batch.mask.flatten(start_dim=1).float().mean(dim=1))
        else:
            weights.append(torch.ones(len(batch)))
        similarities.append(ssim(images, decoded))
        energies += high_frequency_energies(images, decoded)
    own, of_decoded, common = energies.tolist()
    return Fidelity(
        weighted_mean(*torch.cat(errors, dim=1)),
        weighted_mean(torch.cat(similarities), torch.cat(weights)),
        of_decoded / own if own > 0 else math.nan,
        common / math.sqrt(own * of_decoded) if own * of_decoded > 0 else math.nan,
    )


def ssim(images: Tensor, others: Tensor) -> Tensor:
    """Mean structural similarity (n,) of images (n, C, H, W) in [0, 1] with others, over channels
    and over the places where a window of 11 by 11 pixels fits.

    Wang et al., "Image quality assessment: from error visibility to structural similarity", IEEE
    TIP 2004, with its Gaussian window of 1.5 pixels; images under 11 pixels have a smaller window.
    """
    channels, least = images.shape[1], min(images.shape[2:])
    radius = min(_RADIUS, (least - 1) // 2)
    places = torch.arange(-radius, radius + 1, dtype=images.dtype)
    line = torch.exp(-0.5 * (places / _SIGMA) ** 2)
    line = (line / line.sum()).expand(channels, 1, 1, -1)

    def blurred(x: Tensor) -> Tensor:
        across = F.conv2d(x, line, groups=channels)
        return F.conv2d(across, line.transpose(2, 3), groups=channels)

    a, b = blurred(images), blurred(others)
    var_a, var_b = blurred(images**2) - a**2, blurred(others**2) - b**2
    covariance = blurred(images * others) - a * b
    alike = (2 * a * b + _C1) * (2 * covariance + _C2)
    found = alike / ((a**2 + b**2 + _C1) * (var_a + var_b + _C2))
    return found.flatten(start_dim=1).mean(dim=1)


def high_frequency_energies(images: Tensor, others: Tensor) -> Tensor:
    """Energies (3,) float64 above HIGH_FREQUENCY: of images (n, C, H, W), of others, and common to
    both, the real part of their cross spectrum, summed over all.

    A Hann window takes the edges off, whose jump would be high frequencies of its own.
    """
    height, width = images.shape[2:]
    window = torch.hann_window(height, periodic=False).outer(
        torch.hann_window(width, periodic=False)
    )
    rows, columns = torch.fft.fftfreq(height), torch.fft.rfftfreq(width)
    high = (rows[:, None] ** 2 + columns**2).sqrt() > HIGH_FREQUENCY
    # The half of the spectrum that rfft leaves out is the mirror image of the one it gives.
    times = torch.full((len(columns),), 2.0)
    times[0] = 1
    if width % 2 == 0:
        times[-1] = 1
    weights = (high * times).double()

    def spectrum(x: Tensor) -> Tensor:
        return torch.fft.rfft2((x - x.mean(dim=(2, 3), keepdim=True)) * window)

    a, b = spectrum(images), spectrum(others)
    products = (a.abs() ** 2, b.abs() ** 2, (a * b.conj()).real)
    return torch.stack([(product.double() * weights).sum() for product in products])
