"""Datasets: splits that never move, files checked to the byte, sources tried in order."""

import contextlib
import dataclasses
import gzip
import hashlib
import sys
from unittest import mock

import numpy as np
import pytest
import torch

from aecli.config import DataConfig, FitConfig, PcaConfig, SampleConfig, SweepConfig, TrainConfig
from aecli.data import datasets, inventory
from aecli.data.idx import parse_idx
from aecli.data.images import Raw
from aecli.data.known import DATASETS, Dataset
from aecli.data.sources import NotFoundError, Places, default_places, read_files
from aecli.errors import DataError, StorageError, UsageError
from aecli.terminal import Terminal
from tests.mirror import CONTENT, put, remote, serving

FEW = DataConfig(dataset="mnist-5k", limit_train=10)


def ignore(_message):
    pass


@pytest.fixture
def places(tmp_path):
    return Places(tmp_path / "given", tmp_path / "cache")


@pytest.fixture
def five_thousand(tmp_path):
    return lambda **settings: datasets.load(
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
    with pytest.raises(UsageError, match=message):  # and before anything is read
        datasets.check_sizes(TrainConfig(data=DataConfig(dataset="mnist-5k", **settings)))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (TrainConfig(data=FEW), r"batch_size=256 must be at most 10 .*or --batch-size 10 or less"),
        (SweepConfig(data=FEW), r"batch_size=128 must be at most 10 .*or --batch-size 10 or less"),
        (SampleConfig(data=FEW), "batch_size=256 must be at most 10"),
        (TrainConfig(data=FEW, codec=PcaConfig(code_dim=11)), "code_dim=11 must be at most 10"),
        (TrainConfig(data=DataConfig(limit_train=55_001)), "55001 must be at most 55000"),
        (TrainConfig(data=FEW, train=FitConfig(batch_size=10)), None),
        (TrainConfig(data=FEW, codec=PcaConfig(code_dim=10)), None),
    ],
)
def test_sizes_are_checked_before_a_run_is_begun(tmp_path, config, message):
    nowhere = Places(None, tmp_path)
    with pytest.raises(UsageError, match=message) if message else contextlib.nullcontext():
        datasets.check(config, nowhere)


def test_auto_is_checked_for_what_stands_in_for_mnist(tmp_path):
    config = TrainConfig(data=DataConfig(limit_train=4000))
    datasets.check(config, Places(None, tmp_path))
    with pytest.raises(UsageError, match="limit_train=4000 must be at most 3667"):
        datasets.check(config, Places(None, tmp_path, offline=True))


@pytest.mark.parametrize("command", ["train", "sweep-codedim", "interpolate", "sample"])
def test_too_few_images_leave_no_run_folder(inside, tmp_path, command):
    arguments = [command, *(["2"] if command == "sweep-codedim" else [])]
    done = inside(*arguments, "--dataset", "mnist-5k", "--limit-train", "10")
    assert done.code == 2
    assert "or --batch-size 10 or less" in done.stderr
    assert not list((tmp_path / "runs").glob("*"))


def test_a_constant_image_has_an_error_to_beat(images):
    constant = images.train.images.double().div(255).mean(dim=0)
    errors = (images.test.images.double() / 255 - constant).square()
    assert images.mean_image_mse() == pytest.approx(errors.mean().item(), rel=1e-6)


def test_auto_falls_back_loudly_and_an_explicit_name_never(tmp_path):
    said = []
    nowhere = Places(None, tmp_path, offline=True)
    assert datasets.load(DataConfig(), nowhere, said.append).name == "mnist-5k"
    assert "WARNING: MNIST is not available" in "\n".join(said)
    with pytest.raises(DataError, match="no source has it"):
        datasets.load(DataConfig(dataset="mnist"), nowhere, ignore)


def test_the_fall_back_is_told_even_under_quiet(capsys, tmp_path):
    datasets.load(DataConfig(), Places(None, tmp_path, offline=True), Terminal(quiet=True).say)
    told = capsys.readouterr().err.splitlines()
    assert told
    assert all(line.startswith("WARNING") for line in told)


def test_auto_does_not_fall_back_from_damaged_files(tmp_path):
    put(tmp_path / "MNIST/raw", {f.name: b"x" for f in DATASETS["mnist"].remote.files})
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte: 1 bytes, expected 47,040,016"):
        datasets.load(DataConfig(), Places(tmp_path, tmp_path / "cache", True), ignore)


@pytest.mark.parametrize("dataset", ["mnist", "auto", "fashion-mnist"])
def test_a_folder_that_is_named_must_have_the_dataset(inside, tmp_path, dataset):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "dune.png").write_bytes(b"")
    named = ("--dataset", dataset, "--data-dir", "photos")
    commands = [
        ("train", *named),
        ("train", *named, "--offline", "-q", "--json"),
        ("train", "--dataset", dataset, "--set", "data.dir=photos"),
    ]
    if dataset != "auto":
        commands += [
            ("data", "fetch", dataset, *named[2:]),
            ("data", "verify", dataset, *named[2:]),
        ]
    for arguments in commands:
        done = inside(*arguments)
        assert done.code == 3, arguments
        assert "data folder photos: it has no " in done.stderr
        assert "train-images-idx3-ubyte[.gz]" in done.stderr
        assert "in photos there are dune.png" in done.stderr
        assert not list((tmp_path / "runs").glob("*"))


def test_a_folder_of_the_environments_is_passed_over_with_a_warning(
    inside, tmp_path, monkeypatch, capsys
):
    (tmp_path / "photos").mkdir()
    for folder, told in (("photos", "photos is empty"), ("gone", "gone is no folder")):
        monkeypatch.setenv("AECLI_DATA_DIR", folder)
        datasets.load(DataConfig(), default_places(offline=True), Terminal(quiet=True).say)
        first, *others = capsys.readouterr().err.splitlines()
        assert first.startswith(f"WARNING: AECLI_DATA_DIR={folder} has no MNIST: no train-images")
        assert told in first
        assert "MNIST is not available" in others[0]
        assert inside("data", "verify", "mnist").code == 3


def test_a_folder_is_not_named_for_a_dataset_that_is_in_none(inside, tmp_path):
    (tmp_path / "photos").mkdir()
    for arguments in (("train", "--dataset", "mnist-5k"), ("data", "fetch", "mnist-5k")):
        done = inside(*arguments, "--data-dir", "photos")
        assert (done.code, done.stdout) == (2, "")
        assert "leave --data-dir out" in done.stderr


def test_a_data_folder_without_a_name_is_refused(inside):
    done = inside("train", "--dataset", "mnist", "--data-dir", "")
    assert (done.code, done.stdout) == (2, "")
    with pytest.raises(UsageError, match="'' is not a path"):
        default_places("")


@pytest.mark.parametrize("named", ["gone", "file", "x" * 300])
def test_a_data_folder_that_is_none_is_named(inside, tmp_path, named):
    (tmp_path / "file").write_text("")
    done = inside("train", "--dataset", "mnist", "--data-dir", named)
    assert done.code == 3
    assert f"aecli: data folder {named}: " in done.stderr


def test_a_home_folder_is_found_in_every_way_to_name_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "data").mkdir()
    assert default_places("~/data").data_dir == tmp_path / "data"
    monkeypatch.setenv("AECLI_DATA_DIR", "~/data")
    assert default_places().data_dir == tmp_path / "data"
    with pytest.raises(DataError, match="data folder ~nobody-here/data: no such folder"):
        default_places("~nobody-here/data")


def test_a_damaged_cache_is_told_where_nothing_can_be_fetched(tmp_path):
    known = remote()  # no mirrors
    put(tmp_path / known.folder, CONTENT | {"a": b""})
    with pytest.raises(NotFoundError, match=r"/a: 0 bytes, expected 440; it is now a.damaged"):
        read_files(known, Places(None, tmp_path), ignore)


def test_mnist_under_fashions_name_is_refused(tmp_path):
    files = DATASETS["fashion-mnist"].remote
    assert {f.name: f.bytes for f in files.files} == {
        f.name: f.bytes for f in DATASETS["mnist"].remote.files
    }
    put(tmp_path / files.folder, {f.name: bytes(f.bytes) for f in files.files})
    with pytest.raises(DataError, match=r"MD5 [0-9a-f]{32}, expected f4a8712d7a061bf5bd6d2"):
        read_files(files, Places(tmp_path, tmp_path / "cache", True), ignore)


def test_a_gzip_made_anew_is_the_same_file(places):
    folder = places.data_dir / "Set/raw"
    put(folder, {f"{name}.gz": gzip.compress(c, 1, mtime=99) for name, c in CONTENT.items()})
    assert read_files(remote(), places, ignore).contents == CONTENT


def test_a_torchvision_that_does_not_import_costs_its_list_of_mirrors_only(places, server):
    class Foreign:
        def __getattr__(self, name):
            raise RuntimeError("operator torchvision::nms does not exist")

    said = []
    known = dataclasses.replace(remote([f"{server}/good/"]), torchvision="MNIST")
    with mock.patch.dict(sys.modules, {"torchvision": Foreign()}):
        found = read_files(known, places, said.append)
    assert found.contents == CONTENT
    assert "torchvision cannot be imported (operator torchvision::nms does not exist)" in said[1]


@pytest.mark.parametrize("dataset", ["mnist", "fashion-mnist"])
def test_the_mirrors_are_torchvisions_while_it_imports(dataset):
    datasets = pytest.importorskip("torchvision.datasets")
    known = DATASETS[dataset].remote
    assert list(known.mirrors) == getattr(datasets, known.torchvision).mirrors


def test_fetch_says_the_folder_and_fails_where_nothing_can_be_kept(tmp_path, server, monkeypatch):
    known = remote([f"{server}/good/"])

    def read(places, say):
        found = read_files(known, places, say)
        return Raw(None, None, found.source, "", found.folder)

    monkeypatch.setitem(DATASETS, "toy", Dataset("a toy", (1, 1, 1), 1, 1, read))
    said = []
    cache = tmp_path / "cache"
    assert inventory.fetch("toy", Places(None, cache), said.append) == cache / "Set/raw"
    assert any(f"came from mirror {server}/good/" in line for line in said)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="nothing of it could be kept"):
        inventory.fetch("toy", Places(None, tmp_path / "file"), said.append)


@pytest.mark.parametrize("gz", [False, True])
def test_the_given_folder_comes_first_then_the_cache(places, gz):
    put(places.cache_dir / "Set/raw", gz=gz)
    assert read_files(remote(), places, ignore).source.startswith("cache ")
    put(places.data_dir / "Set/raw", gz=gz)
    found = read_files(remote(), places, ignore)
    assert found.contents == CONTENT
    assert found.source == f"folder {places.data_dir / 'Set/raw'}"


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
        (b"plain", "5 bytes, expected 440"),
        (b"\x1f\x8bplain", "a damaged gzip file"),
        (gzip.compress(CONTENT["a"], mtime=0)[:20], "ends early"),
        (gzip.compress(b"0" * 10**6, mtime=0), "441 bytes, expected 440"),  # a bomb is not unpacked
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
