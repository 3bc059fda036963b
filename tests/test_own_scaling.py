"""Pixels brought to [0, 1]: by which rule, from which images, and the same again with a model."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from aecli import codecs, strictjson
from aecli.codecs import store
from aecli.config import DataConfig, PcaConfig
from aecli.data import datasets
from aecli.data.own import opened as opening
from aecli.data.own.pictures import Picture
from aecli.data.own.scaling import Scale, limits_of
from aecli.data.own.sentences import ends_of
from aecli.data.sources import Places
from aecli.data.whole import load_whole
from aecli.errors import DataError, UsageError
from tests.own import drawn, look, put, put_scene

PERCENTILES = "1st to 99th percentile of each channel over the training part"


def floats(low, high, shape=(20, 6, 6), seed=0):
    values = np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)
    values.flat[0], values.flat[-1] = low, high
    return values


@pytest.mark.parametrize(
    ("images", "asked", "rule", "low", "high"),
    [
        (drawn(20, 6, 6), "auto", "range of 8 bits", 0, 255),
        (drawn(20, 6, 6) // 9, "auto", "range of 8 bits", 0, 255),
        (drawn(20, 6, 6, top=60_000), "auto", "range of 16 bits", 0, 65535),
        (drawn(20, 6, 6, top=4000), "range", "range of 16 bits", 0, 65535),
        (drawn(20, 6, 6, top=4000), "auto", PERCENTILES, None, None),
        (drawn(20, 6, 6), "percentiles", PERCENTILES, None, None),
        (floats(0, 1), "auto", "floats, in [0, 1] already", 0, 1),
        (floats(0.2, 0.4), "auto", "floats, in [0, 1] already", 0, 1),
        (floats(-1, 1), "auto", PERCENTILES, None, None),
        (floats(0, 1.5), "auto", PERCENTILES, None, None),
        (drawn(20, 6, 6).astype(np.int32) - 99, "auto", PERCENTILES, None, None),
        (drawn(20, 6, 6) > 99, "auto", "range of 8 bits", 0, 255),
    ],
)
def test_rules(tmp_path, images, asked, rule, low, high):
    np.save(tmp_path / "x.npy", images)
    opened = look(tmp_path / "x.npy", tmp_path, scale=asked)
    scale = opened.scale
    assert scale.rule == rule
    if low is None:
        train = images[opened.windows["train"][:, 0]].astype(np.float32)
        low, high = np.percentile(train, [1, 99])
    np.testing.assert_allclose([*scale.low, *scale.high], [low, high], rtol=1e-6)
    assert any(note.startswith(f"scale: {rule}") for note in opened.notes)


def test_the_range_of_floats_is_the_training_parts(tmp_path):
    images = floats(-3, 5)
    np.save(tmp_path / "x.npy", images)
    opened = look(tmp_path / "x.npy", tmp_path, scale="range")
    train = images[opened.windows["train"][:, 0]]
    assert (opened.scale.low, opened.scale.high) == ((train.min(),), (train.max(),))


def test_each_channel_has_its_own_percentiles(tmp_path):
    images = drawn(20, 6, 6, 3, top=1000) * np.array([1, 2, 5], np.uint16)
    np.save(tmp_path / "x.npy", images)
    scale = look(tmp_path / "x.npy", tmp_path).scale
    assert scale.high[0] < 1000 < scale.high[1] < 2000 < scale.high[2]


@pytest.mark.parametrize("asked", ["auto", "range", "percentiles"])
@pytest.mark.parametrize("kind", ["scene, uint16", "scene, float", "array, uint16", "array, float"])
def test_the_test_part_decides_nothing(tmp_path, asked, kind):
    """Other pixels in the test part, far outside of the others' range: the same scale."""
    scales = []
    for garbage in (False, True):
        image = drawn(1, 48, 48, top=3000)
        images = drawn(20, 6, 6, top=3000)
        if "float" in kind:
            image, images = image.astype(np.float32) / 3000, images.astype(np.float32) / 3000
        if "scene" in kind:
            if garbage:
                image[:, :16, :16] = 60_000
            path = put_scene(tmp_path / f"{garbage}/scene.tif", image)
            opened = look(path, tmp_path, tile=8, test=[0, 0, 16, 16], scale=asked)
        else:
            path = tmp_path / f"{garbage}.npy"
            np.save(path, images)
            opened = look(path, tmp_path, scale=asked)
            if garbage:
                images[opened.windows["test"][:, 0]] = 60_000
                np.save(path, images)
                opened = look(path, tmp_path, scale=asked)
        scales.append(opened.scale)
    assert scales[0] == scales[1]


def test_large_images_are_sampled(tmp_path, monkeypatch):
    images = drawn(20, 32, 32, top=4000)
    np.save(tmp_path / "x.npy", images)
    exact = look(tmp_path / "x.npy", tmp_path).scale
    monkeypatch.setattr("aecli.data.own.opened._SAMPLED_NUMBERS", 4000)
    near = look(tmp_path / "x.npy", tmp_path).scale
    np.testing.assert_allclose(near.low + near.high, exact.low + exact.high, rtol=0.05, atol=25)


VALUES = st.integers(-80_000, 80_000).map(lambda n: n / 8)
SCALES = st.builds(
    lambda low, span: Scale(tuple(low), tuple(np.add(low, span)), "float32", "drawn"),
    st.lists(st.integers(-500, 500), min_size=2, max_size=2),
    st.lists(st.integers(0, 3000), min_size=2, max_size=2),
)


@given(SCALES, arrays(np.float32, (3, 2, 4, 5), elements=VALUES))
def test_there_and_back(scale, pixels):
    unit = scale.to_unit(pixels)
    assert unit.dtype == np.float32
    assert ((unit >= 0) & (unit <= 1)).all()
    low, high = (np.reshape(each, (2, 1, 1)) for each in (scale.low, scale.high))
    back = scale.from_unit(unit)
    assert back.dtype == np.float32
    wide = np.broadcast_to(high > low, pixels.shape)
    np.testing.assert_allclose(back[wide], pixels.clip(low, high)[wide], atol=2e-3, rtol=1e-5)
    assert Scale.of_description(scale.described()) == scale


@pytest.mark.parametrize(
    "change",
    [
        {"low": [0.0, 1.0]},
        {"high": [float("nan")]},
        {"low": None},
        {"low": ["a"]},
        {"high": [float("inf")]},
    ],
)
def test_a_damaged_description_is_refused(change):
    described = Scale((0.0,), (1.0,), "uint16", "drawn").described() | change
    with pytest.raises((ValueError, TypeError, KeyError)):
        Scale.of_description(described)


def test_limits_are_of_valid_pixels():
    pixels = np.array([[[0.0, 0.5], [0.2, 9.0]]], np.float32)
    valid = np.array([[True, True], [True, False]])
    assert limits_of([Picture(pixels, valid)], False) == (0.0, 0.5)
    assert limits_of([Picture(pixels), Picture(pixels - 50)], True) == (0.0, 9.0)
    assert limits_of([Picture(pixels, valid & False)], False) == (np.inf, -np.inf)


def test_images_are_read_by_the_scale_of_a_model(tmp_path):
    np.save(tmp_path / "x.npy", drawn(20, 6, 6, top=4000))
    config, places = DataConfig(dataset=str(tmp_path / "x.npy")), Places(None, tmp_path)
    scale = Scale((1000.0,), (2000.0,), "uint16", "a model's")
    images = datasets.load(config, places, lambda _: None, scale)
    raw = np.load(tmp_path / "x.npy")[images.opened.windows["test"][:, 0]].astype(np.float32)
    expected = ((raw - 1000) / 1000).clip(0, 1)
    np.testing.assert_allclose(images.test.all().images[:, 0], expected, rtol=1e-6)
    assert images.provenance()["scale"] == scale.described()
    for other in (Scale((0.0,), (1.0,), "uint8", ""), Scale((0.0,) * 3, (1.0,) * 3, "uint16", "")):
        with pytest.raises(UsageError, match=r"channels of uint16, 1 of them; the model was"):
            datasets.load(config, places, lambda _: None, other)


def test_images_for_a_model_that_learned_from_bytes_are_bytes_too(tmp_path):
    places = Places(None, tmp_path)

    def load(pixels, **keys):
        opening._opened.clear()
        np.save(tmp_path / "x.npy", pixels)
        config = DataConfig(dataset=str(tmp_path / "x.npy"), **keys)
        return datasets.load(config, places, lambda _: None, None, for_model=True)

    for pixels in (drawn(20, 6, 6, top=4000), np.linspace(0, 2, 720).reshape(20, 6, 6)):
        with pytest.raises(UsageError, match="the model was trained on uint8"):
            load(pixels)
    dark = drawn(20, 6, 6, top=99)
    images = load(dark, scale="percentiles")  # which are another model's
    assert images.scale.is_bytes
    assert images.test.all().images.max() <= np.float32(99 / 255)


def test_a_known_dataset_is_not_for_a_model_of_other_pixels(tmp_path):
    config, places = DataConfig(dataset="mnist-5k"), Places(None, tmp_path)
    scale = Scale((0.0,), (4000.0,), "uint16", "percentiles")
    for load in (datasets.load, load_whole):
        with pytest.raises(UsageError, match="mnist-5k: pixels of uint8; the model was trained on"):
            load(config, places, lambda _: None, scale)


def test_a_run_keeps_its_scale_and_takes_pixels_as_its_files_have_them(tmp_path, inside):
    import aecli

    images = drawn(60, 6, 6, top=4000)
    np.save(tmp_path / "x.npy", images)
    done = inside(
        *("train", "--dataset", "./x.npy", "--codec", "pca", "--code-dim", "3"),
        *("--set", "data.val=0.2", "--json"),
    )
    assert done.code == 0, done.stderr
    run = aecli.open("latest", tmp_path / "runs")
    assert run.scale is not None
    assert run.scale.rule == PERCENTILES
    assert run.record["dataset"]["scale"] == run.scale.described()
    assert run.record["dataset"]["image_shape"] == [1, 6, 6]
    codes = run.encode(run.scale.to_unit(images[:, None]))
    np.testing.assert_array_equal(run.encode(images), codes)
    np.testing.assert_array_equal(run.encode(images[:, None]), codes)
    np.testing.assert_array_equal(run.encode(images[..., None]), codes)
    with pytest.raises(UsageError, match=r"expected uint8, or float in \[0, 1\], uint16 as its"):
        run.encode(images.astype(np.int32))
    with pytest.raises(UsageError, match=r"expected \(N, 1, 6, 6\)"):
        run.encode(images[:, :5])


def test_float_images_are_encoded_in_the_units_of_the_files(tmp_path, inside):
    import aecli

    images = floats(-5, 30, (60, 6, 6))
    np.save(tmp_path / "x.npy", images)
    done = inside(
        *("train", "--dataset", "./x.npy", "--codec", "pca", "--code-dim", "3"),
        *("--set", "data.val=0.2"),
    )
    assert done.code == 0, done.stderr
    run = aecli.open("latest", tmp_path / "runs")
    codes = run.encode(images)
    same = run.encode(images.astype(np.float64))
    np.testing.assert_allclose(same, codes, rtol=1e-5)
    with pytest.raises(UsageError, match="images: float32 with pixels that are not finite"):
        run.encode(images * np.nan)


def test_uint8_by_percentiles_is_encoded_as_it_was_trained(tmp_path, inside):
    import aecli

    images = drawn(60, 6, 6) // 4
    np.save(tmp_path / "x.npy", images)
    done = inside(
        *("train", "--dataset", "./x.npy", "--codec", "pca", "--code-dim", "3"),
        *("--set", "data.scale=percentiles"),
    )
    assert done.code == 0, done.stderr
    run = aecli.open("latest", tmp_path / "runs")
    unit = run.scale.to_unit(images[:, None])
    np.testing.assert_array_equal(run.encode(images), run.encode(unit))


def test_a_model_of_another_shape_is_refused_with_both_shapes(tmp_path, inside):
    put(tmp_path / "photos", drawn(120, 8, 8), ("a", "b"))
    train = ("train", "--dataset", "./photos", "--codec", "pca", "--code-dim", "2")
    run = str(inside(*train).run)
    for path in (tmp_path / "photos").rglob("*.png"):
        path.unlink()
    put(tmp_path / "photos", drawn(120, 6, 6), ("a", "b"))
    from aecli.data.own import opened

    for command, extra in (("interpolate", ()), ("sample", ()), ("sample", ("--dry-run",))):
        opened._opened.clear()
        done = inside(command, "--run", run, *extra)
        assert done.code == 2, done.stderr
        assert f"decodes 1x8x8 images, {tmp_path}/photos has 1x6x6" in done.stderr


@pytest.mark.parametrize("channels", [3, 4096])
def test_a_scale_is_read_back_for_as_many_channels_as_there_can_be(tmp_path, channels):
    scale = Scale(tuple(np.linspace(0, 1 / 3, channels)), (7 / 3,) * channels, "float32", "drawn")
    settings = PcaConfig(code_dim=1)
    codec = codecs.build(settings, (channels, 1, 1))
    description, _ = store.pack(codec, settings, scale)
    (tmp_path / "config.json").write_text(strictjson.dump(description))
    assert store.load_scale(tmp_path) == scale
    description["image_shape"][0] = 2
    (tmp_path / "config.json").write_text(strictjson.dump(description))
    with pytest.raises(DataError, match=rf"scale is of {channels} channels, the images have 2"):
        store.load_scale(tmp_path)


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        ((1.00501e-43,), (938.12,), ", 0 to 938.12"),
        ((1e-43,), (3e-43,), ", 1e-43 to 3e-43"),
        ((0.0, 1.0), (2.0, 3.0), ", 0 to 2; 1 to 3"),
        ((5.0,), (5.0,), ", 5 to 5"),
        (tuple(range(4)), (9.0,) * 4, ", limits per channel"),
    ],
)
def test_the_limits_of_a_scale_are_short(low, high, words):
    assert ends_of(Scale(low, high, "float32", "")) == words
