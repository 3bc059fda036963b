"""Probes with known answers."""

import math

import pytest
import torch

from aecli.data.images import Batch
from aecli.measure import probes
from tests.conftest import digits


def stroke(width, slant_degrees=0.0, size=40):
    """A straight vertical stroke of that width, sheared to that slant; (1, 1, size, size) uint8."""
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    middle = size / 2 - 0.5 - math.tan(math.radians(slant_degrees)) * (y - size / 2 + 0.5)
    coverage = (width / 2 + 0.5 - (x - middle).abs()).clamp(0, 1)
    coverage[:6], coverage[-6:] = 0, 0
    return (255 * coverage).round().to(torch.uint8)[None, None]


@pytest.mark.parametrize("degrees", [-30, 0, 20])
def test_slant_of_a_sheared_stroke(degrees):
    assert probes.slant_degrees(stroke(3, degrees)).item() == pytest.approx(degrees, abs=1.5)


@pytest.mark.parametrize("width", [2, 3, 5])
def test_thickness_of_a_stroke(width):
    assert probes.thickness_pixels(stroke(width)).item() == pytest.approx(width, rel=0.15)


def test_an_image_without_ink_has_no_slant_and_no_thickness():
    blank = torch.zeros(2, 1, 28, 28, dtype=torch.uint8)
    assert probes.slant_degrees(blank).tolist() == [0, 0]
    assert probes.thickness_pixels(blank).tolist() == [0, 0]


def test_sharpness_is_the_contrast_kept():
    images = digits(20) / 255

    def sharpness(decoded, mask=None):
        parts = [None, None] if mask is None else mask.split(12)
        pairs = zip(decoded.split(12), images.split(12), parts, strict=True)
        return probes.sharpness((some, Batch(others, valid)) for some, others, valid in pairs)

    assert sharpness(images) == pytest.approx(1)
    assert sharpness(0.25 * images) == pytest.approx(0.25)
    assert sharpness(torch.full_like(images, 0.5)) == 0
    noise = torch.rand(images.shape, generator=torch.Generator().manual_seed(0))
    assert abs(sharpness(noise)) < 0.3  # noise has edges, but not these
    mask = torch.rand(images.shape, generator=torch.Generator().manual_seed(1)) > 0.3
    assert sharpness(torch.where(mask, images, noise), mask) == pytest.approx(1)


@pytest.fixture
def clusters():
    """Ten separated clusters in 10 dimensions, twice: codes, labels, test codes, test labels."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 10
    codes = 5 * torch.eye(10)[labels] + 0.1 * torch.randn(400, 10, generator=generator)
    return codes[:200], labels[:200], codes[200:], labels[200:]


def test_probes_read_separated_clusters_and_nothing_from_noise(clusters):
    codes, labels, test_codes, test_labels = clusters
    noise = torch.randn(400, 3, generator=torch.Generator().manual_seed(1))
    for probe in (probes.linear_probe_accuracy, probes.knn_accuracy):
        assert probe(codes, labels, test_codes, test_labels) == 1
        assert probe(noise[:200], labels, noise[200:], test_labels) < 0.25
    assert (
        probes.linear_r2(codes, codes[:, 3] * 2 + 1, test_codes, test_codes[:, 3] * 2 + 1) > 0.999
    )
    assert probes.linear_r2(noise[:200], codes[:, 3], noise[200:], test_codes[:, 3]) < 0.2


def test_a_unit_that_never_varies_is_no_obstacle(clusters):
    codes, labels, test_codes, test_labels = clusters
    codes, test_codes = (torch.cat([c, torch.ones(200, 1)], dim=1) for c in (codes, test_codes))
    assert probes.linear_probe_accuracy(codes, labels, test_codes, test_labels) == 1


def test_a_probe_tells_how_many_steps_it_took(clusters, monkeypatch):
    steps = []
    assert probes.linear_probe_accuracy(*clusters, steps) == 1
    monkeypatch.setattr(probes, "PROBE_STEPS", 1)
    probes.few_labels_accuracy(*clusters, 5, 0, steps)
    assert 1 < steps[0] < 500
    assert steps[1:] == [1] * probes.DRAWS
