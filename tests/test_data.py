"""Datasets: splits that never move, files checked to the byte, sources tried in order."""

import gzip
import hashlib
import http.server
import io
import tarfile
import threading
import time

import numpy as np
import pytest
import torch

from aecli import data
from aecli.config import DataConfig
from aecli.data import DATASETS, Places, sources
from aecli.data.idx import parse_idx
from aecli.data.sources import NotFoundError, RemoteFile, RemoteFiles, read_files
from aecli.errors import DataError, UsageError
from aecli.terminal import Terminal

CONTENT = {"a": b"first file", "b": b"the second"}


def ignore(_message):
    pass


def remote(mirrors=(), npm=None, content=CONTENT):
    def md5(b):
        return hashlib.md5(b).hexdigest()

    files = tuple(
        RemoteFile(name, len(c), md5(c), md5(gzip.compress(c, mtime=0)))
        for name, c in content.items()
    )
    return RemoteFiles("Set/raw", files, lambda: list(mirrors), npm)


@pytest.fixture
def places(tmp_path):
    return Places(tmp_path / "given", tmp_path / "cache")


def put(folder, content=CONTENT, zipped=False):
    folder.mkdir(parents=True, exist_ok=True)
    for name, c in content.items():
        (folder / (f"{name}.gz" if zipped else name)).write_bytes(
            gzip.compress(c, mtime=0) if zipped else c
        )


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


@pytest.mark.parametrize("zipped", [False, True])
def test_the_given_folder_comes_first_then_the_cache(places, zipped):
    put(places.cache_dir / "Set/raw", zipped=zipped)
    assert read_files(remote(), places, ignore)[1].startswith("cache ")
    put(places.data_dir / "Set/raw", zipped=zipped)
    content, source = read_files(remote(), places, ignore)
    assert content == CONTENT
    assert source == f"folder {places.data_dir / 'Set/raw'}"


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        (b"", r"/a: 0 bytes, expected 10"),
        (b"first fil", r"/a: 9 bytes, expected 10"),
        (
            b"First file",
            r"/a: MD5 [0-9a-f]{32}, expected " + hashlib.md5(b"first file").hexdigest(),
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
        (gzip.compress(b"first file")[:12], "ends early"),
        (gzip.compress(b"0" * 10**6), "11 bytes, expected 10"),  # a bomb is not unpacked
    ],
)
def test_a_damaged_gz_is_refused(places, content, message):
    put(places.data_dir / "Set/raw", zipped=True)
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


class Mirror(http.server.BaseHTTPRequestHandler):
    """Serves the files under /good/, and each fault under its own name."""

    def do_GET(self):
        _, kind, file = self.path.split("/")
        body = gzip.compress(CONTENT[file.removesuffix(".gz")], mtime=0)
        if kind.isdigit():
            self.send_error(int(kind))
            return
        if kind == "loop":
            self.send_response(302)
            self.send_header("Location", self.path)
            self.end_headers()
            return
        if kind == "hang":
            time.sleep(3)
            return
        length = len(body) * (2 if kind == "short" else 1)
        body = {"wrong": body[::-1], "huge": b"x" * 10_000}.get(kind, body)
        self.send_response(200)
        self.send_header("Content-Length", str(max(length, len(body))))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mirror)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("404", "HTTP 404"),
        ("403", "HTTP 403"),
        ("503", "HTTP 503"),
        ("short", "bytes early"),
        ("wrong", "MD5"),
        ("huge", "more than the"),
        ("loop", "HTTP 302"),
        ("hang", "timed out"),
    ],
)
def test_a_failing_mirror_says_why_and_the_next_is_tried(places, server, monkeypatch, kind, reason):
    monkeypatch.setattr(sources, "CONNECT_SECONDS", 0.5)
    said = []
    bad, good = f"{server}/{kind}/", f"{server}/good/"
    files = remote([bad, good])
    # The published .gz of these tiny files is larger than they are; allow for it.
    monkeypatch.setattr(sources, "_download", _with_room(sources._download))
    contents, source = read_files(files, places, said.append)
    assert contents == CONTENT
    assert source == f"mirror {good}"
    assert any(f"mirror {bad}" in line and reason in line for line in said)
    assert not list(places.cache_dir.rglob(".part-*"))


def _with_room(download):
    return lambda url, limit: download(url, limit + 100)


def test_offline_tries_no_mirror(places, server):
    offline = Places(places.data_dir, places.cache_dir, offline=True)
    with pytest.raises(NotFoundError, match="not tried"):
        read_files(remote([f"{server}/good/"]), offline, ignore)


def test_a_download_past_its_time_limit_is_given_up(server, monkeypatch):
    monkeypatch.setattr(sources, "DOWNLOAD_SECONDS", -1)
    with pytest.raises(sources.UnavailableError, match="too slow"):
        sources._download(f"{server}/good/a.gz", 1000)


def archive(path, members):
    with tarfile.open(path, "w:gz") as tar:
        for name, content, kind in members:
            info = tarfile.TarInfo(name)
            info.size, info.type, info.linkname = len(content), kind, "/etc/passwd"
            tar.addfile(info, io.BytesIO(content))


def test_an_archive_gives_only_its_known_files(tmp_path):
    cache = tmp_path / "in/cache"
    archive(
        tmp_path / "p.tgz",
        [
            ("../../escaped", b"x", tarfile.REGTYPE),
            ("/tmp/aecli-absolute", b"x", tarfile.REGTYPE),
            ("package/link", b"", tarfile.SYMTYPE),
            ("../../a", CONTENT["a"], tarfile.REGTYPE),
            ("package/b", CONTENT["b"], tarfile.REGTYPE),
        ],
    )
    sources._unpack(remote(), tmp_path / "p.tgz", cache)
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["a", "b", "p.tgz"]


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([("a", CONTENT["a"], tarfile.REGTYPE)], "the archive lacks b"),
        ([("a", b"", tarfile.SYMTYPE), ("b", b"", tarfile.LNKTYPE)], "the archive lacks a, b"),
        ([("a", b"First file", tarfile.REGTYPE)], "MD5"),
    ],
)
def test_an_archive_without_them_is_no_source(tmp_path, members, reason):
    archive(tmp_path / "p.tgz", members)
    with pytest.raises(sources.UnavailableError, match=reason):
        sources._unpack(remote(), tmp_path / "p.tgz", tmp_path / "cache")
    (tmp_path / "p.tgz").write_bytes(b"no archive")
    with pytest.raises(sources.UnavailableError):
        sources._unpack(remote(), tmp_path / "p.tgz", tmp_path / "cache")
