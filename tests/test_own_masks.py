"""Pixels that are not valid: in no loss, mean, component or metric, whatever stands there."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aecli.codecs.pca import Pca
from aecli.config import DataConfig, PcaConfig
from aecli.data import datasets
from aecli.data.images import Batch, InMemory, filled, mean_image, squared_errors, weighted_mean
from aecli.data.sources import Places
from aecli.experiments import sample_sets, sweep_reading
from aecli.measure import metrics
from aecli.measure.distances import rms_differences
from aecli.training.loop import corrupt
from tests.own import blobs, drawn, look, put, put_scene

NODATA = -9999.0
TRAIN = ("--codec", "mlp", "--code-dim", "2", "--epochs", "1", "--batch-size", "8")


def with_holes(n, *shape, seed=0, share=0.2):
    """Images (n, *shape) float32 in [0, 1], and which of their pixels are valid, (n, H, W)."""
    rng = np.random.default_rng(seed)
    images = rng.uniform(0, 1, (n, *shape)).astype(np.float32)
    return images, rng.uniform(size=(n, *shape[-2:])) > share


def load(path, tmp_path, **keys):
    config = DataConfig(dataset=str(path), **keys)
    return datasets.load(config, Places(None, tmp_path), lambda _: None)


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path):
    """Nothing looked at before, in a cache of its own."""
    from aecli.data.own import opened

    opened._opened.clear()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def masked(tmp_path):
    """An array with holes, loaded; its pixels (n, C, H, W) and which are valid, (n, 1, H, W)."""
    pixels, valid = with_holes(60, 3, 6, 7)
    np.save(tmp_path / "x.npy", np.where(valid[:, None], pixels, NODATA))
    images = load(tmp_path / "x.npy", tmp_path, nodata=NODATA, min_valid=0.3, val=0.2)
    return images, pixels, valid[:, None]


def part(masked, split):
    """One part of the split as numpy has it: pixels and masks in float64."""
    images, pixels, valid = masked
    rows = images.opened.windows[split][:, 0]
    return pixels[rows].astype(np.float64), valid[rows]


def test_batches_have_the_masks_and_zeros_under_them(masked):
    images = masked[0]
    for split in ("train", "val", "test"):
        pixels, valid = part(masked, split)
        batch = getattr(images, split).all()
        np.testing.assert_array_equal(batch.mask.numpy(), valid)
        np.testing.assert_allclose(batch.images.numpy(), np.where(valid, pixels, 0), rtol=1e-6)


def test_the_mean_image_is_of_valid_pixels(masked):
    pixels, valid = part(masked, "train")
    expected = (pixels * valid).sum(axis=0) / np.maximum(valid.sum(axis=0), 1)
    np.testing.assert_allclose(mean_image(masked[0].train).numpy(), expected, rtol=1e-6)


def test_metrics_are_of_valid_pixels(masked):
    images = masked[0]
    pixels, valid = part(masked, "train")
    mean = (pixels * valid).sum(axis=0) / valid.sum(axis=0)
    tested, there = part(masked, "test")
    everywhere = np.broadcast_to(there, tested.shape)
    expected = ((tested - mean)[everywhere] ** 2).mean()
    assert images.mean_image_mse() == pytest.approx(expected, rel=1e-5)


def test_principal_components_take_the_mean_for_what_is_not_valid(masked):
    images = masked[0]
    pixels, valid = part(masked, "train")
    mean = (pixels * valid).sum(axis=0) / valid.sum(axis=0)
    centred = np.where(valid, pixels - mean, 0).reshape(len(pixels), -1)
    _, singular, directions = np.linalg.svd(centred, full_matrices=False)
    codec = Pca(images.shape, PcaConfig(code_dim=4))
    codec.solve(images.train)
    variances = singular[:4] ** 2 / (len(pixels) - 1)
    np.testing.assert_allclose(codec.variances.numpy(), variances, rtol=1e-4)

    tested, there = part(masked, "test")
    centred = np.where(there, tested - mean, 0).reshape(len(tested), -1)
    decoded = centred @ directions[:4].T @ directions[:4] + mean.ravel()
    wrong = (decoded.reshape(tested.shape) - tested)[np.broadcast_to(there, tested.shape)]
    assert metrics.mse(codec, images.test) == pytest.approx((wrong**2).mean(), rel=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 9).map(lambda tenths: tenths / 10))
def test_errors_and_weights_are_those_by_hand(seed, share):
    pixels, valid = with_holes(5, 2, 3, 4, seed=seed, share=share)
    there = torch.from_numpy(valid[:, None])
    batch = Batch(torch.where(there, torch.from_numpy(pixels), 0), there)
    guesses = torch.rand((5, 2, 3, 4), generator=torch.Generator().manual_seed(seed))
    errors, weights = squared_errors(guesses, batch)
    for i in range(5):
        assert weights[i].item() == pytest.approx(valid[i].mean(), abs=1e-6)
        if valid[i].any():
            by_hand = ((guesses[i].numpy() - pixels[i])[:, valid[i]] ** 2).mean()
            assert errors[i].item() == pytest.approx(by_hand, rel=1e-4)
        else:
            assert errors[i].item() == 0


@pytest.mark.parametrize("least", [0.0, 0.5, 0.8, 1.0])
def test_too_few_valid_pixels_are_left_out(tmp_path, least):
    image = drawn(1, 64, 64, top=4000) + 1
    valid = np.random.default_rng(1).uniform(size=(64, 64)) < np.linspace(0, 1.5, 64)
    valid[:8, :8] = False
    image[:, ~valid] = 0
    path = put_scene(tmp_path / "scene.tif", image, nodata=0)
    opened = look(path, tmp_path, tile=8, min_valid=least, val=0.1)
    shares = valid.reshape(8, 8, 8, 8).mean(axis=(1, 3))
    blocks = {(y * 8, x * 8) for y, x in np.argwhere(shares >= max(least, 1e-9)).tolist()}
    found = {tuple(at) for some in opened.windows.values() for at in some[:, 1:].tolist()}
    assert found <= blocks if opened.left_out else found
    for y, x in found:
        assert valid[y : y + 8, x : x + 8].mean() >= least
    assert all(valid[y : y + 8, x : x + 8].any() for y, x in found)


def test_images_with_too_few_valid_pixels_are_left_out_and_told(tmp_path):
    images = drawn(12, 8, 8) | 1
    images[0] = 0
    images[0, 0, :4] = 1  # 4 of 64
    images[1, :4] = 0  # half
    np.save(tmp_path / "x.npy", images)
    opened = look(tmp_path / "x.npy", tmp_path, nodata=0.0)
    assert opened.left_out == 1
    rows = {row["file"]: row for row in opened.rows()}
    assert rows["x.npy[0]"]["left_out"].startswith("too few valid pixels")
    assert rows["x.npy[1]"]["split"] in ("train", "val", "test")


@pytest.mark.parametrize("kind", ["png", "npy", "files"])
def test_tiles_over_edges_are_padded_with_what_is_not_valid(tmp_path, kind, monkeypatch):
    photos = drawn(8, 13, 10) | 1
    if kind == "npy":
        np.save(tmp_path / "photos", photos)
    else:
        put(tmp_path / "photos", photos)
    if kind == "files":
        monkeypatch.setattr("aecli.data.own.store.STORE_LIMIT", 10)
    path = tmp_path / ("photos.npy" if kind == "npy" else "photos")
    images = load(path, tmp_path, tile=8, edges="pad", min_valid=0.05, val=0)
    assert images.opened.masked
    assert len(images.train) + len(images.test) == 4 * 8
    for split in ("train", "test"):
        windows = images.opened.windows[split]
        batch = getattr(images, split).all()
        for i, (item, y, x) in enumerate(windows.tolist()):
            rows, columns = min(8, 13 - y), min(8, 10 - x)
            mask = np.zeros((8, 8), bool)
            mask[:rows, :columns] = True
            np.testing.assert_array_equal(batch.mask[i, 0].numpy(), mask)
            name = images.opened.items.names[item]
            photo = photos[int(re.search(r"\d+", name)[0])]
            inside = photo[y : y + rows, x : x + columns] / 255
            np.testing.assert_allclose(batch.images[i, 0, :rows, :columns], inside, rtol=1e-6)
            assert (batch.images[i, 0].numpy()[~mask] == 0).all()


def test_dropped_edges_need_no_masks(tmp_path):
    put(tmp_path / "photos", drawn(8, 13, 10))
    images = load(tmp_path / "photos", tmp_path, tile=8)
    assert not images.opened.masked
    assert images.train.all().mask is None


@pytest.mark.parametrize("what", ["nan", "nodata", "scene"])
def test_what_stands_under_a_mask_changes_no_number(tmp_path, what, inside):
    """Other values in pixels that are not valid: the same metrics, to the bit."""
    pixels, valid = with_holes(40, 1, 6, 6)
    found = []
    for i, filling in enumerate((np.nan, -np.inf) if what == "nan" else (NODATA, 1e9)):
        keys = ["data.min_valid=0.2"]
        if what == "scene":  # nodata as the file names it, each time another
            whole = np.where(valid[:, None], pixels, filling).reshape(8, 5, 6, 6)
            image = whole.transpose(0, 2, 1, 3).reshape(1, 48, 30).astype(np.float32)
            path = put_scene(tmp_path / f"{i}/x.tif", image, nodata=filling)
            keys.append("data.tile=6")
        else:
            path = tmp_path / f"{i}/x.npy"
            path.parent.mkdir()
            np.save(path, np.where(valid[:, None], pixels, np.float32(filling)))
            keys += [] if what == "nan" else [f"data.nodata={filling}"]
        sets = [each for key in keys for each in ("--set", key)]
        done = inside("train", "--dataset", str(path), *TRAIN, *sets, "--json")
        assert done.code == 0, done.stderr
        metrics = json.loads(done.stdout)
        for key in ("run", "train_seconds"):
            del metrics[key]
        found.append(metrics)
    assert all(each == found[0] for each in found)
    assert 0.6 < found[0]["valid_share"] < 0.95


def test_the_valid_share_is_there_where_there_are_masks_and_can_be_expected(tmp_path, inside):
    np.save(tmp_path / "x.npy", blobs(40))
    command = ("train", "--dataset", "./x.npy", *TRAIN, "--json")
    assert "valid_share" not in json.loads(inside(*command).stdout)
    done = inside(*command, "--set", "data.nodata=0", "--set", "data.min_valid=0")
    share = json.loads(done.stdout)["valid_share"]
    assert 0 < share < 1
    gate = ("--expect", f"valid_share<{share / 2}")
    done = inside(*command, "--set", "data.nodata=0", "--set", "data.min_valid=0", *gate)
    assert done.code == 7


def test_masks_in_memory_and_by_the_batch_are_the_same(masked):
    read = masked[0].train
    assert isinstance(read, InMemory)
    some = torch.tensor([3, 0, 7])
    assert read.read(some).mask.equal(read.part(some).all().mask)


def test_noisy_images_are_decoded_as_a_codec_sees_them(masked):
    images = masked[0]
    pca = Pca(images.shape, PcaConfig(code_dim=3))
    pca.solve(images.train)
    batch, generator = images.test.all(), torch.Generator().manual_seed(0)
    noisy = corrupt(batch.images, sweep_reading._DENOISING, generator)
    seen = filled(replace(batch, images=noisy), pca.mean.view(images.shape))
    expected = weighted_mean(*squared_errors(pca(seen), batch))
    found = sweep_reading.denoising_mse(pca, images.test)
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("masks", [(True, True), (True, False), (False, True), (False, False)])
def test_differences_are_of_what_is_valid_in_both(masks):
    def drawn_batch(n, is_masked, seed):
        pixels, valid = with_holes(n, 2, 4, 5, seed=seed, share=0.5)
        valid = valid[:, None] if is_masked else np.ones((n, 1, 4, 5), bool)
        mask = torch.from_numpy(valid) if is_masked else None
        return pixels, valid, Batch(torch.from_numpy(np.where(valid, pixels, 0)), mask)

    x, x_valid, images = drawn_batch(3, masks[0], 0)
    y, y_valid, references = drawn_batch(4, masks[1], 1)
    found = rms_differences(images, references)
    for i, j in np.ndindex(3, 4):
        both = np.broadcast_to(x_valid[i] & y_valid[j], x[i].shape)
        expected = np.sqrt(((x[i] - y[j])[both] ** 2).mean())
        assert found[i, j].item() == pytest.approx(expected, rel=1e-4)
        distance = sample_sets._nearest(images, references)[i].item() / np.sqrt(40)
        assert distance == pytest.approx(found[i].min().item(), rel=1e-4)
