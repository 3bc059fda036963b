"""Similarity and detail: scikit-image's numbers, and waves whose answers are known."""

import math

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from aecli import codecs
from aecli.config import ThumbnailConfig
from aecli.data.images import InMemory
from aecli.measure import metrics
from aecli.measure.fidelity import HIGH_FREQUENCY, fidelity, high_frequency_energies, ssim


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 40, 33), (2, 11, 64)])
def test_ssim_is_scikit_images(shape):
    generator = torch.Generator().manual_seed(0)
    images = torch.rand((4, *shape), generator=generator, dtype=torch.float64)
    others = (images + 0.3 * torch.randn(images.shape, generator=generator)).clamp(0, 1).double()
    expected = []
    for image, other in zip(images.numpy(), others.numpy(), strict=True):
        found = structural_similarity(
            *(image, other),
            channel_axis=0,
            data_range=1.0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            full=True,
        )[1]
        expected.append(found[:, 5:-5, 5:-5].mean())  # where the window fits
    np.testing.assert_allclose(ssim(images, others).numpy(), expected, rtol=1e-4)


def test_ssim_of_a_copy_is_one():
    images = torch.rand(3, 1, 8, 8)  # smaller than the window
    torch.testing.assert_close(ssim(images, images), torch.ones(3))


def wave(cycles_per_pixel, phase=0.0, size=64):
    places = torch.arange(size) * 2 * math.pi * cycles_per_pixel + phase
    return (0.5 + 0.25 * places.sin()).expand(1, 1, size, size)


def test_only_high_frequencies_are_counted():
    low, high = wave(HIGH_FREQUENCY / 2), wave(2 * HIGH_FREQUENCY)
    of_low, of_high, _ = high_frequency_energies(low, high).tolist()
    assert of_low < 1e-3 * of_high


@pytest.mark.parametrize(("size", "other"), [(64, 48), (33, 64)])
def test_energy_is_parsevals(size, other):
    # White noise without its mean: nearly all above the bound's circle, and all below the rest.
    images = torch.rand(2, 1, size, other)
    window = torch.hann_window(size, periodic=False).outer(torch.hann_window(other, periodic=False))
    seen = (images - images.mean(dim=(2, 3), keepdim=True)) * window
    whole = torch.fft.fft2(seen).abs().square()
    rows, columns = torch.fft.fftfreq(size), torch.fft.fftfreq(other)
    high = (rows[:, None] ** 2 + columns**2).sqrt() > HIGH_FREQUENCY
    expected = (whole * high).sum().item()
    assert high_frequency_energies(images, images)[0].item() == pytest.approx(expected, rel=1e-4)


class Told(torch.nn.Module):
    """A codec that decodes every image to another one."""

    def __init__(self, decoded):
        super().__init__()
        self.decoded = decoded

    def reconstruct(self, batch):
        return self.decoded(batch.images)


def measured(image, decoded):
    source = InMemory((image * 255).round().to(torch.uint8))
    return fidelity(Told(decoded), source)


def test_half_the_detail_is_a_quarter_of_its_energy_and_coherent():
    image = wave(0.25)
    found = measured(image, lambda images: 0.5 + 0.5 * (images - 0.5))
    assert found.high_frequency_ratio == pytest.approx(0.25, abs=1e-3)
    assert found.coherence == pytest.approx(1, abs=1e-3)


def test_detail_that_is_made_up_is_there_and_not_coherent():
    found = measured(wave(0.25), lambda images: wave(0.25, math.pi / 2))
    assert found.high_frequency_ratio == pytest.approx(1, abs=0.02)
    assert abs(found.coherence) < 0.02


def test_a_picture_without_detail_has_none():
    found = measured(wave(0.25), torch.zeros_like)
    assert found.high_frequency_ratio == 0
    assert math.isnan(found.coherence)


def test_its_error_is_that_of_every_other_table(images):
    codec = codecs.build(ThumbnailConfig(code_dim=49), (1, 28, 28))
    masks = torch.arange(28 * 28).view(1, 28, 28).expand(100, 1, 28, 28) % 3 > 0
    for source in (images.test, InMemory(images.test.all().images, mask=masks)):
        assert fidelity(codec, source).mse == metrics.mse(codec, source)
