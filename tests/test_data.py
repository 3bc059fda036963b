"""Datasets: splits that never move, files checked to the byte, sources tried in order."""

import gzip
import hashlib

import numpy as np
import pytest
import torch

from aecli import data
from aecli.config import DataConfig
from aecli.data import DATASETS, Places
from aecli.data.idx import parse_idx
from aecli.data.sources import NotFoundError, read_files
from aecli.errors import DataError, UsageError
from aecli.terminal import Terminal
from tests.mirror import CONTENT, put, remote, serving


def ignore(_message):
    pass


@pytest.fixture
def places(tmp_path):
    return Places(tmp_path / "given", tmp_path / "cache")


@pytest.fixture
def five_thousand(tmp_path):
    return lambda **settings: data.load(
        DataConfig(dataset="mnist-5k", **settings), Places(None, tmp_path, True), ignore
    )


def test_mnist_5k_is_real_digits_in_fixed_splits(five_thousand):
    images, again = five_thousand(), five_thousand()
    assert [len(s) for s in (images.train, images.val, images.test)] == [3667, 333, 1000]
    assert images.train.images.dtype == torch.uint8
    assert images.shape == (1, 28, 28)
    assert torch.equal(images.val.images, again.val.images)
    everything = torch.cat([s.images for s in (images.train, images.val, images.test)])
    assert len(everything.flatten(1).unique(dim=0)) == 5000
    labels = torch.cat([s.labels for s in (images.train, images.val, images.test)])
    assert labels.bincount().tolist() == [500] * 10
    assert images.test.labels.bincount().min() > 70  # shuffled, not sorted


def test_limits_are_nested_and_leave_validation_and_test_alone(five_thousand):
    images, fewer = five_thousand(), five_thousand(limit_train=100)
    assert torch.equal(fewer.train.images, images.train.images[:100])
    assert torch.equal(fewer.val.images, images.val.images)
    none = five_thousand(val=0)
    assert [len(none.train), len(none.val)] == [4000, 0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"limit_train": 3668}, "data.limit_train=3668 must be at most 3667"),
        ({"val": 4000}, "data.val=4000 must be less than 4000"),
    ],
)
def test_a_split_that_does_not_fit_is_refused(five_thousand, settings, message):
    with pytest.raises(UsageError, match=message):
        five_thousand(**settings)


def test_auto_falls_back_loudly_and_an_explicit_name_never(tmp_path):
    said = []
    nowhere = Places(None, tmp_path, offline=True)
    assert data.load(DataConfig(), nowhere, said.append).name == "mnist-5k"
    assert "WARNING: MNIST is not to be had" in "\n".join(said)
    with pytest.raises(DataError, match="no source has it"):
        data.load(DataConfig(dataset="mnist"), nowhere, ignore)


def test_the_fall_back_is_told_even_under_quiet(capsys, tmp_path):
    data.load(DataConfig(), Places(None, tmp_path, offline=True), Terminal(quiet=True).say)
    told = capsys.readouterr().err.splitlines()
    assert told
    assert all(line.startswith("WARNING") for line in told)


def test_auto_does_not_fall_back_from_damaged_files(tmp_path):
    put(tmp_path / "MNIST/raw", {f.name: b"x" for f in DATASETS["mnist"].remote.files})
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte: 1 bytes, expected 47,040,016"):
        data.load(DataConfig(), Places(tmp_path, tmp_path / "cache", True), ignore)


@pytest.mark.parametrize("gz", [False, True])
def test_the_given_folder_comes_first_then_the_cache(places, gz):
    put(places.cache_dir / "Set/raw", gz=gz)
    assert read_files(remote(), places, ignore)[1].startswith("cache ")
    put(places.data_dir / "Set/raw", gz=gz)
    content, source = read_files(remote(), places, ignore)
    assert content == CONTENT
    assert source == f"folder {places.data_dir / 'Set/raw'}"


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        (b"", r"/a: 0 bytes, expected 440"),
        (CONTENT["a"][:-1], r"/a: 439 bytes, expected 440"),
        (
            CONTENT["a"].upper(),
            r"/a: MD5 [0-9a-f]{32}, expected " + hashlib.md5(CONTENT["a"]).hexdigest(),
        ),
    ],
)
def test_a_damaged_file_is_named_with_what_was_expected(places, damaged, message):
    put(places.data_dir / "Set/raw", CONTENT | {"a": damaged})
    with pytest.raises(DataError, match=message):
        read_files(remote(), places, ignore)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"plain", "not a gzip file"),
        (gzip.compress(CONTENT["a"])[:20], "ends early"),
        (gzip.compress(b"0" * 10**6), "441 bytes, expected 440"),  # a bomb is not unpacked
    ],
)
def test_a_damaged_gz_is_refused(places, content, message):
    put(places.data_dir / "Set/raw", gz=True)
    (places.data_dir / "Set/raw/a.gz").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_files(remote(), places, ignore)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "0 bytes; its header alone has 8"),
        (b"\0\0\x0b\x01\0\0\0\x01x", "starts with 00000b01, not 00000801"),
        (b"\0\0\x08\x01\0\0\0\x02x", "9 bytes; its header says 2, which takes 10"),
        (b"\0\0\x08\x01\xff\xff\xff\xffx", "its header says 4294967295"),
    ],
)
def test_idx_headers_are_checked(content, message):
    with pytest.raises(DataError, match=message):
        parse_idx(content, dimensions=1, name="f")


def test_idx_reads_what_was_written():
    array = np.arange(12, dtype=np.uint8).reshape(2, 3, 2)
    content = b"\0\0\x08\x03" + np.array([2, 3, 2], ">u4").tobytes() + array.tobytes()
    np.testing.assert_array_equal(parse_idx(content, 3, "f"), array)


@pytest.fixture(scope="module")
def server():
    with serving() as address:
        yield address


def test_offline_tries_no_mirror(places, server):
    offline = Places(places.data_dir, places.cache_dir, offline=True)
    with pytest.raises(NotFoundError, match="not tried"):
        read_files(remote([f"{server}/good/"]), offline, ignore)
