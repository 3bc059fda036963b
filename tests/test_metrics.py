"""Metrics with known answers."""

import math

import pytest
import torch

from aecli.codecs.base import Codec
from aecli.data.images import InMemory
from aecli.fields import CodecSection
from aecli.measure import metrics
from tests.conftest import digits, source


class Constant(Codec):
    """Decodes everything to one grey."""

    def __init__(self, grey):
        super().__init__((1, 28, 28), CodecSection(name="constant", code_dim=1))
        self.register_buffer("grey", torch.tensor(grey))

    def encode(self, images):
        return images.flatten(1)[:, :1]

    def decode(self, codes):
        return self.grey.expand(len(codes), 1, 28, 28)


def test_mse_is_per_pixel_in_unit_range():
    black, white = torch.zeros(3, 1, 28, 28, dtype=torch.uint8), torch.full((1, 1, 28, 28), 255)
    images = torch.cat([black, white.to(torch.uint8)])
    errors, weights = metrics.reconstruction_errors(Constant(0.0), InMemory(images))
    assert errors.tolist() == [0, 0, 0, 1]
    assert weights.tolist() == [1, 1, 1, 1]
    assert metrics.mse(Constant(0.5), InMemory(images)) == pytest.approx(0.25)


def test_every_image_weighs_the_same_whatever_the_batches(monkeypatch):
    images = source(50)
    whole = metrics.mse(Constant(0.1), images)
    monkeypatch.setattr(
        InMemory, "batches", lambda s: (s.read(i) for i in torch.arange(50).split(7))
    )
    assert metrics.mse(Constant(0.1), images) == pytest.approx(whole, rel=1e-12)


def test_uint8_and_float_images_measure_alike():
    images = digits(20)
    assert metrics.mse(Constant(0.2), InMemory(images)) == pytest.approx(
        metrics.mse(Constant(0.2), InMemory(images / 255)), rel=1e-9
    )


def test_float64_is_asked_of_the_cpu_only():
    from torch.overrides import TorchFunctionMode

    class Watch(TorchFunctionMode):
        def __init__(self):
            super().__init__()
            self.called = []

        def __torch_function__(self, function, types, arguments=(), keywords=None):
            self.called.append(getattr(function, "__name__", str(function)))
            return function(*arguments, **(keywords or {}))

    with Watch() as watch:
        metrics.mse(Constant(0.0), source(3))
    conversions = [name for name in watch.called if name in ("cpu", "double")]
    assert conversions == ["cpu", "double", "cpu", "double"]  # Apple's GPUs have no float64


def test_no_images_have_no_mse():
    assert math.isnan(metrics.mse(Constant(0.0), source(0)))


@pytest.mark.parametrize(("mse", "db"), [(1.0, 0.0), (0.01, 20.0), (0.0, math.inf)])
def test_psnr(mse, db):
    assert metrics.psnr_db(mse) == pytest.approx(db)


def test_correlations_of_known_codes():
    x = torch.randn(500, generator=torch.Generator().manual_seed(0))
    codes = torch.stack([x, -2 * x + 1, torch.zeros(500)], dim=1)
    expected = [[1, -1, 0], [-1, 1, 0], [0, 0, 0]]
    torch.testing.assert_close(metrics.correlations(codes), torch.tensor(expected).double())
    assert metrics.mean_abs_correlation(metrics.correlations(codes)) == pytest.approx(2 / 6)
    assert metrics.mean_abs_correlation(metrics.correlations(codes[:, :1])) == 0
