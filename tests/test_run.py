"""A run as a value, from Python."""

import json

import numpy as np
import pytest
import torch

import aecli
from aecli import codecs
from aecli.codecs import store
from aecli.codecs.grid_settings import DcConfig
from aecli.errors import DataError, UsageError
from aecli.runs.run import Run


@pytest.fixture
def run(small_run):
    return aecli.open("latest", small_run.run.parent)


def test_it_has_what_the_run_left(run, small_run):
    assert run.path.name == small_run.run.name
    assert aecli.open(small_run.run).record == run.record
    assert run.state == "completed"
    assert run.metrics == json.loads((small_run.run / "metrics.json").read_text())
    assert run.config.codec.code_dim == run.metrics["code_dim"] == 2
    assert [row["epoch"] for row in run.history] == [0, 1]
    assert set(run.history[0]) == {"epoch", "train_mse", "val_mse", "lr", "seconds"}


def test_it_encodes_and_decodes_arrays(run, small_run):
    images = np.random.default_rng(0).integers(0, 256, (5, 1, 28, 28), dtype=np.uint8)
    codes = run.encode(images)
    assert (codes.shape, codes.dtype) == ((5, 2), np.float32)
    for same in (images[:, 0], images / 255, (images / 255).astype(np.float32)):
        np.testing.assert_allclose(run.encode(same), codes, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(run.encode(images[::-1])[::-1], codes, rtol=1e-4, atol=1e-5)
    decoded = run.decode(codes)
    assert decoded.shape == (5, 1, 28, 28)
    codec = store.load(small_run.run / "model")
    assert codec.code_dim == 2
    assert run.encode(images[:0]).shape == (0, 2)
    assert run.decode(codes[:0]).shape == (0, 1, 28, 28)


def test_codes_on_a_grid_are_taken_flat_and_as_they_are(tmp_path):
    torch.manual_seed(0)
    settings = DcConfig(code_dim=32, downsampling=4, width=4, widest=8)
    shape = (1, 16, 16)
    description, weights = store.pack(codecs.build(settings, shape), settings)
    folder = tmp_path / "20260101T000000Z-train" / "model"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(description))
    (folder / "model.safetensors").write_bytes(weights)
    run = Run(folder.parent)
    images = np.random.default_rng(0).integers(0, 256, (3, *shape), dtype=np.uint8)
    codes = run.encode(images)
    grids = codes.reshape(3, 2, 4, 4)
    np.testing.assert_array_equal(run.decode(grids), run.decode(codes))
    assert run.decode(grids[:0]).shape == (0, *shape)
    with pytest.raises(UsageError, match=r"expected \(N, 32\) or \(N, 2, 4, 4\)"):
        run.decode(grids[:, :1])


IMAGES = np.zeros((2, 1, 28, 28))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (IMAGES[0, 0], r"shape \(28, 28\), expected \(N, 1, 28, 28\) or \(N, 28, 28\)"),
        (IMAGES[:, :, :5], "expected"),
        (IMAGES.astype(int) + 200, "images: int64 from 200 to 200, expected uint8, or float"),
        (IMAGES + 255.0, r"images: float64 from 255 to 255, expected .* \[0, 1\]"),
        (IMAGES - 0.1, "from -0.1 to -0.1"),
        (IMAGES + np.nan, r"images: float64 with pixels that are not finite \(NaN, infinity\)"),
        (IMAGES.astype(complex), "images: complex128 values"),
        ([[1, 2]], "images: a list, expected a numpy array"),
        (None, "images: a NoneType"),
    ],
)
def test_other_images_are_refused(run, images, message):
    with pytest.raises(UsageError, match=message):
        run.encode(images)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (np.zeros((3, 5)), r"shape \(3, 5\), expected \(N, 2\)"),
        (np.full((3, 2), np.nan), "expected finite numbers"),
        ("x", "codes: a str, expected a numpy array"),
    ],
)
def test_other_codes_are_refused(run, codes, message):
    with pytest.raises(UsageError, match=message):
        run.decode(codes)


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(DataError, match=r"^nosuch: no such run folder"):
        aecli.open("nosuch", tmp_path)
    with pytest.raises(DataError, match=r"^latest: no finished run"):
        aecli.open("latest", tmp_path)
    (tmp_path / "empty").mkdir()
    empty = aecli.open(tmp_path / "empty")
    assert empty.state == "empty"
    with pytest.raises(DataError):
        _ = empty.metrics
