"""Distances without labels: known spectra, known moments, pixels that are not valid."""

import math

import pytest
import torch
import torch.nn.functional as F

from aecli.data.images import Batch
from aecli.measure.texture import (
    ROUNDING,
    TextureSums,
    channel_distance,
    radial_power,
    spectrum_difference,
)


def noise(n, shape, deviation, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 0.5 + deviation * torch.randn((n, *shape), generator=generator)


def texture(*batches):
    sums = TextureSums(tuple(batches[0].images.shape[1:]))
    for batch in batches:
        sums.add(batch)
    return sums.texture()


def masked(images, share=0.7, seed=1):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand((len(images), 1, *images.shape[2:]), generator=generator) < share
    return Batch(torch.where(mask, images, 0), mask)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 16, 40), (2, 9, 7)])
def test_noise_has_its_variance_at_every_radius(shape):
    power = radial_power(Batch(noise(3000, shape, 0.1))).mean(dim=(0, 1))
    assert power.shape == (max(shape[1:]) // 2,)
    assert (power[2:] / 0.01 - 1).abs().max() < 0.02
    assert (power[:2] / 0.01 > 0.75).all()  # the mean has taken some of it


def test_pixels_that_are_not_valid_leave_noise_as_it_is():
    images = noise(3000, (1, 16, 16), 0.1)
    power = radial_power(masked(images)).mean(dim=(0, 1))
    assert (power[2:] / 0.01 - 1).abs().max() < 0.02


@pytest.mark.parametrize("cycles", [2, 5, 11])
def test_a_wave_has_its_power_at_its_radius(cycles):
    x = torch.arange(32) / 32
    wave = 0.5 + 0.2 * torch.sin(2 * math.pi * cycles * x)
    for image in (wave.expand(32, 32), wave.expand(32, 32).T):
        power = radial_power(Batch(image[None, None]))[0, 0]
        assert power.argmax() == cycles - 1
        # The fading spreads a wave over its neighbours, and hardly further.
        assert power[cycles + 2 :].sum() < 0.01 * power.sum()


def test_radii_are_by_the_longer_side():
    y = torch.arange(16).unsqueeze(1)
    wave = 0.5 + 0.2 * torch.sin(2 * math.pi * y / 4).expand(16, 32)  # 4 cycles in 16 pixels
    power = radial_power(Batch(wave[None, None]))[0, 0]
    assert power.shape == (16,)
    assert power.argmax() == 7  # 8 cycles in 32


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 5), (1, 2, 2), (1, 3, 2)])
def test_tiny_images(shape):
    found = texture(Batch(noise(5, shape, 0.1)))
    assert found.spectrum.shape == (shape[0], max(shape[1:]) // 2)
    assert found.spectrum.isfinite().all()
    assert math.isnan(spectrum_difference(found, found)) == (shape == (1, 1, 1))


def test_flat_images_have_the_power_of_rounding():
    flat = texture(Batch(torch.full((2, 1, 8, 8), 0.3)))
    torch.testing.assert_close(
        flat.spectrum, torch.full((1, 4), 10 * math.log10(ROUNDING), dtype=torch.float64)
    )


def test_the_difference_of_spectra_is_in_decibels():
    ten, one = (texture(Batch(noise(500, (1, 16, 16), s))) for s in (0.1, 0.1 / 10**0.5))
    assert spectrum_difference(ten, one) == pytest.approx(10, abs=0.05)
    assert spectrum_difference(ten, ten) == 0


def test_blurred_images_differ_in_their_spectrum_and_hardly_in_their_values():
    images = noise(300, (1, 16, 16), 0.05)
    blurred = F.avg_pool2d(images, 3, stride=1, padding=1, count_include_pad=False)
    sharp, soft = texture(Batch(images)), texture(Batch(blurred))
    assert spectrum_difference(sharp, soft) > 5
    assert channel_distance(sharp, soft) < 0.05


def test_the_distance_of_channels_is_of_their_means_and_covariances():
    images = noise(400, (2, 8, 8), 0.1)
    found = texture(Batch(images))
    points = images.transpose(0, 1).flatten(1).double()
    torch.testing.assert_close(found.pixels.mean, points.mean(dim=1))
    torch.testing.assert_close(found.pixels.covariance, torch.cov(points, correction=0))
    shifted = texture(Batch(images + torch.tensor([0.03, 0.04]).view(1, 2, 1, 1)))
    assert channel_distance(found, shifted) == pytest.approx(0.05, rel=1e-3)
    wider = texture(Batch((images - 0.5) * 2 + 0.5))  # deviations 0.1 and 0.2, in two channels
    assert channel_distance(found, wider) == pytest.approx(0.1 * 2**0.5, rel=0.02)


def test_a_texture_is_the_same_by_the_batch_and_at_once():
    images = noise(50, (2, 9, 12), 0.1)
    for whole in (Batch(images), masked(images)):
        parts = [
            Batch(whole.images[i], None if whole.mask is None else whole.mask[i])
            for i in torch.arange(50).split(17)
        ]
        at_once, by_batch = texture(whole), texture(*parts)
        torch.testing.assert_close(at_once.spectrum, by_batch.spectrum)
        torch.testing.assert_close(at_once.pixels.mean, by_batch.pixels.mean)
        torch.testing.assert_close(at_once.pixels.covariance, by_batch.pixels.covariance)


def test_moments_are_of_valid_pixels_only():
    images = noise(200, (2, 8, 8), 0.1)
    batch = masked(images)
    valid = images.transpose(0, 1)[:, batch.mask[:, 0]].double()
    found = texture(batch).pixels
    torch.testing.assert_close(found.mean, valid.mean(dim=1))
    torch.testing.assert_close(found.covariance, torch.cov(valid, correction=0))
