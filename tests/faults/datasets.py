"""Rows on data: damaged files, failing downloads and hostile archives."""

import contextlib
import gzip
import io
import struct
import tarfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np

from aecli.data import downloads as public
from aecli.data import files as local
from aecli.data import mnist5k, sources
from aecli.data.mnist import read_mnist
from aecli.data.sources import Places
from aecli.errors import DataError
from tests.faults.outcome import Outcome, bounded_memory, refused, within
from tests.faults.program import inside
from tests.mirror import CONTENT, HANG_SECONDS, md5, put, remote, serving, zipped

_RNG_SEED = 0
_HEADER = {3: 16, 1: 8}


def _idx(array: np.ndarray) -> bytes:
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def _tiny_mnist(n_labels: int = 6) -> dict[str, bytes]:
    """Four files as MNIST has them, of six images each."""
    rng = np.random.default_rng(_RNG_SEED)
    images = rng.integers(0, 256, (6, 28, 28), dtype=np.uint8)
    labels = rng.integers(0, 10, n_labels, dtype=np.uint8)
    return {
        f"{part}-{kind}-ubyte": _idx(array)
        for part in ("train", "t10k")
        for kind, array in (("images-idx3", images), ("labels-idx1", labels))
    }


def files(scratch: Path, thorough: bool) -> Outcome:
    """Every damaged file is refused by its path, with the lengths or hashes expected and found."""
    outcome = Outcome()
    good = _tiny_mnist()
    rng = np.random.default_rng(_RNG_SEED)
    known = remote(content=good)
    for gz in (False, True):
        case = "gz" if gz else "plain"
        place = Places(scratch / case, scratch / "cache", offline=True)
        folder = scratch / case / known.folder
        put(folder, good, gz)
        read_mnist(known, place, print)  # the undamaged files are whole
        for name, content in good.items():
            path = folder / (f"{name}.gz" if gz else name)
            whole = path.read_bytes()
            for fault, damaged in _damages(whole, content, rng, thorough):
                path.write_bytes(damaged)
                with (
                    outcome.fault(f"{case}: {name}: {fault}"),
                    within(),
                    refused(DataError, str(path)) as _,
                    _names_both(),
                ):
                    read_mnist(known, place, print)
            path.write_bytes(whole)
    _unequal_lengths(outcome, scratch)
    _no_plain_files(outcome, scratch)
    _mnist_5k(outcome, scratch, thorough)
    _by_the_program(outcome, scratch)
    return outcome


@contextlib.contextmanager
def _names_both() -> Iterator[None]:
    """The error says what was expected and what was found."""
    try:
        yield
    except DataError as error:
        if not any(word in str(error) for word in ("expected", "damaged gzip", "ends early")):
            raise AssertionError(str(error)) from None
        raise


def _damages(
    whole: bytes, content: bytes, rng: np.random.Generator, thorough: bool
) -> Iterator[tuple[str, bytes]]:
    """Damaged versions of a file. content: it, decompressed."""
    header = _HEADER[content[3]]
    for size in sorted({0, 1, 2, 3, 4, 8, 12, 16, header, header + 1, len(whole) - 1}):
        if size < len(whole):
            yield f"cut to {size} bytes", whole[:size]
    yield "a byte more", whole + b"\0" if not whole.startswith(b"\x1f\x8b") else b"\0" + whole
    yield "wrong magic", b"\x89PNG" + whole[4:]
    yield "a page of HTML", b"<!doctype html><title>Sign in</title>"
    every = range(8 * len(whole))
    some = every if thorough and len(every) < 1000 else rng.choice(every, 60 + 500 * thorough)
    for bit in map(int, some):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        if whole[:2] != b"\x1f\x8b" or gzip_says_otherwise(bytes(flipped), content):
            yield f"bit {bit} flipped", bytes(flipped)


def gzip_says_otherwise(damaged: bytes, content: bytes) -> bool:
    """True if decompressing gives anything but `content`: a flip in a gzip header's date does not
    matter."""
    try:
        return gzip.decompress(damaged) != content
    except Exception:
        return True


def _unequal_lengths(outcome: Outcome, scratch: Path) -> None:
    content = _tiny_mnist(n_labels=5)
    place = Places(scratch / "unequal", scratch / "cache", offline=True)
    known = remote(content=content)
    put(scratch / "unequal" / known.folder, content)
    with outcome.fault("6 images, 5 labels"), refused(DataError, "6 images", "5 labels"):
        read_mnist(known, place, print)


def _no_plain_files(outcome: Outcome, scratch: Path) -> None:
    """Refuse what is no file, and a file far too large, without reading it."""
    import os

    known = remote()
    for fault in ("a folder", "a pipe", "a device", "a huge file", "a huge gz"):
        place = Places(scratch / fault, scratch / "cache", offline=True)
        folder = scratch / fault / known.folder
        put(folder)
        path = folder / "a"
        path.unlink()
        if fault == "a folder":
            path.mkdir()  # some unpackers make one, with the file in it
        elif fault == "a pipe":
            os.mkfifo(path)
        elif fault == "a device":
            path.symlink_to("/dev/zero")
        else:
            path = path if fault == "a huge file" else path.with_suffix(".gz")
            with path.open("wb") as file:
                file.truncate(8 * 2**30)  # sparse: takes no room on the disk
        told = "there are a/, b" if fault == "a folder" else str(path)
        with outcome.fault(fault), within(), bounded_memory(), refused(DataError, told):
            _or_give_up(partial(sources.read_files, known, place, print))


def _or_give_up(call: partial[object]) -> None:
    """Call in a thread that may hang without taking the tests with it."""
    raised: list[BaseException | None] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:
            raised.append(error)
        else:
            raised.append(None)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(5)
    assert raised, "hangs"
    if raised[0] is not None:
        raise raised[0]


def _mnist_5k(outcome: Outcome, scratch: Path, thorough: bool) -> None:
    whole = mnist5k._find().read_bytes()
    damaged = scratch / "mnist_5k.csv.gz"
    content = gzip.decompress(whole)
    cuts = (0, 1, 10, 18, 1000, len(whole) // 2, len(whole) - 1)
    versions = {f"cut to {n}": whole[:n] for n in (cuts if thorough else cuts[:4])}
    versions["no gzip"] = b"label,pixels"
    versions["another table"] = gzip.compress(b"1,2,3\n")
    versions["a bomb"] = gzip.compress(bytes(2**30 if thorough else 2**28), 1)
    for byte in (3, 12, 40, 1000) + (len(whole) // 2, len(whole) - 5) * thorough:
        flipped = bytearray(whole)
        flipped[byte] ^= 0xFF
        if gzip_says_otherwise(bytes(flipped), content):
            versions[f"byte {byte} flipped"] = bytes(flipped)
    for fault, version in versions.items():
        damaged.write_bytes(version)
        with (
            outcome.fault(f"mnist-5k: {fault}"),
            bounded_memory(),
            mock.patch.object(mnist5k, "_find", return_value=damaged),
            refused(DataError, str(damaged)),
        ):
            mnist5k.read_mnist_5k(Places(None, scratch), print)


def _by_the_program(outcome: Outcome, scratch: Path) -> None:
    folder = scratch / "program"
    put(folder / "MNIST/raw", _tiny_mnist())
    path = "MNIST/raw/train-images-idx3-ubyte"
    with outcome.fault("the program: other files than MNIST's"):
        done = inside(folder, "data", "verify", "mnist", "--data-dir", ".")
        assert done.code == 3, done
        assert f"{path}: 4,720 bytes, expected 47,040,016" in done.stderr
        assert "Traceback" not in done.stderr


# Fault of the first server, and words of the message before the next one is tried.
_SERVER_FAULTS = {
    "404": "HTTP 404",
    "403": "HTTP 403",
    "500": "HTTP 500",
    "503": "HTTP 503",
    "short": "bytes early",
    "empty": "0 bytes, expected",
    "wrong": "expected 440",
    "huge": "more than the",
    "loop": "HTTP 302",
    "to-file": "HTTP 302",
    "garbage": "",
    "cut-chunk": "IncompleteRead",
    "hang": "timed out",
    "slow-header": "too slow",
    "slow-body": "too slow",
}


def downloads(scratch: Path, _thorough: bool) -> Outcome:
    """A failing server says why, the next one serves, and the cache never holds a bad file."""
    outcome = Outcome()
    limits = {"CONNECT_SECONDS": 0.5, "DOWNLOAD_SECONDS": 0.7}
    with serving() as server, mock.patch.multiple(public, **limits):
        good = f"{server}/good/"
        unreachable = "http://127.0.0.1:9/"
        faults = {f"{server}/{kind}/": reason for kind, reason in _SERVER_FAULTS.items()}
        for bad, reason in {**faults, unreachable: "refused"}.items():
            kind = bad.strip("/").rpartition("/")[2]
            places = Places(None, scratch / kind)
            said: list[str] = []
            with outcome.fault(kind), bounded_memory(2**26):
                started = time.monotonic()
                found = sources.read_files(remote([bad, good]), places, said.append)
                assert time.monotonic() - started < HANG_SECONDS, "took too long"
                assert (found.contents, found.source) == (CONTENT, f"mirror {good}")
                assert any(bad in line and reason in line for line in said), said
                _only_whole_files(scratch / kind)
        with outcome.fault("no server is good"):
            bad_ones = remote([f"{server}/wrong/", f"{server}/short/"])
            places = Places(None, scratch / "none")
            with refused(sources.NotFoundError, "expected 440", "bytes early"):
                sources.read_files(bad_ones, places, print_nothing)
            _only_whole_files(scratch / "none")
    return outcome


def print_nothing(_message: str) -> None:
    pass


def _only_whole_files(folder: Path) -> None:
    whole = {*CONTENT.values(), *map(zipped, CONTENT.values())}
    bad = [path for path in folder.rglob("*") if path.is_file() and path.read_bytes() not in whole]
    assert not bad, f"in the cache: {bad}"


Member = tuple[str, bytes, bytes]
"""Name, content, type."""


def archive(path: Path, members: list[Member], link: str = "/etc/passwd") -> None:
    """Write a .tgz with these members."""
    with tarfile.open(path, "w:gz") as tar:
        for name, content, kind in members:
            info = tarfile.TarInfo(name)
            info.size, info.type, info.linkname = len(content), kind, link
            tar.addfile(info, io.BytesIO(content))


def archives(scratch: Path, thorough: bool) -> Outcome:
    """Only known files with the known hash leave an archive, and nothing is written."""
    outcome = Outcome()
    a, b = CONTENT.items()
    file, link, hard = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
    canary = scratch / "canary"
    both: list[Member] = [(f"package/{name}", content, file) for name, content in (a, b)]
    hostile: dict[str, list[Member]] = {
        "../": [("../../escaped", b"x", file), ("package/../../../escaped", b"x", file)],
        "absolute path": [(str(canary), b"x", file)],
        "link": [("package/link", b"", link), ("package/link/x", b"x", file)],
        "links in the files' place": [("a", b"", link), ("b", b"", hard)],
        "devices and pipes": [
            ("package/a", b"", tarfile.FIFOTYPE),
            ("package/b", b"", tarfile.CHRTYPE),
        ],
        "control characters": [("package/\x1b[2J\n", b"x", file)],
    }
    for i, (fault, members) in enumerate(hostile.items()):
        with outcome.fault(f"{fault}, and the files"):
            assert _unpack(scratch / f"{i} with", [*members, *both]) == ["a", "b"]
        with outcome.fault(f"{fault}, and no files"), _no_source("lacks a, b"):
            _unpack(scratch / f"{i} without", members)
    with outcome.fault("the files, by paths that lead out"):
        outward = [("../../../a", a[1], file), (f"{scratch}/b", b[1], file)]
        assert _unpack(scratch / "outward", outward) == ["a", "b"]
    with outcome.fault("a wrong file"), _no_source(md5(a[1])):
        _unpack(scratch / "wrong", [("a", a[1][::-1], file), both[1]])
    _bombs(outcome, scratch, both, thorough)
    _damaged_archives(outcome, scratch, both, thorough)
    with outcome.fault("nothing was written"):
        assert not canary.exists()
        written = {p.name for p in scratch.rglob("*") if p.is_file()}
        assert written <= {"p.tgz"}, written
    return outcome


def _no_source(words: str = "") -> contextlib.AbstractContextManager[None]:
    """The block must say why this source does not have the files."""
    return refused(local.UnavailableError, words)


def _unpack(folder: Path, members: list[Member]) -> list[str]:
    """Names of the files that are taken out of an archive of `members`."""
    folder.mkdir()
    archive(folder / "p.tgz", members)
    return _unpack_file(folder)


def _unpack_file(folder: Path) -> list[str]:
    with within(), bounded_memory():
        contents = public.unpack(remote(), folder / "p.tgz")
    assert contents == CONTENT
    return sorted(contents)


def _bombs(outcome: Outcome, scratch: Path, both: list[Member], thorough: bool) -> None:
    size = (8 if thorough else 1) * 2**30
    zeros = _zipped_zeros(size)
    for fault, head in {
        "a huge file": _header("package/zeros", size, tarfile.REGTYPE),
        "a huge file of a known name": _header("package/a", size, tarfile.REGTYPE),
        "a huge header": _header("package/h", size, tarfile.XHDTYPE),
        "a huge name": _header("package/n", size, tarfile.GNUTYPE_LONGNAME),
        "a file that is not there": _header("package/a", 2**40, tarfile.REGTYPE),
    }.items():
        folder = scratch / fault
        folder.mkdir()
        (folder / "p.tgz").write_bytes(gzip.compress(head) + zeros)
        with outcome.fault(fault), _no_source():
            _unpack_file(folder)
        (folder / "p.tgz").unlink()
    deep = b"".join(_header(f"h{i}", 0, tarfile.XHDTYPE) for i in range(5000))
    folder = scratch / "headers of headers"
    folder.mkdir()
    (folder / "p.tgz").write_bytes(gzip.compress(deep + bytes(1024)))
    with outcome.fault("headers of headers"), _no_source():
        _unpack_file(folder)
    many: list[Member] = [(f"package/{i}", b"", tarfile.REGTYPE) for i in range(20_000)]
    with outcome.fault("1,000 empty files, then the files"):
        assert _unpack(scratch / "many", many[:1000] + both) == ["a", "b"]
    with outcome.fault("20,000 empty files, then the files"), _no_source("more than the"):
        _unpack(scratch / "too many", many + both)


def _zipped_zeros(size: int) -> bytes:
    """A gzip member of `size` zeros, made of members of 64 MiB each."""
    return gzip.compress(bytes(2**26), 9) * (size // 2**26)


def _header(name: str, size: int, kind: bytes) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def _damaged_archives(outcome: Outcome, scratch: Path, both: list[Member], thorough: bool) -> None:
    """Flipped bytes and cuts: the files come whole or not at all, and nothing else is raised."""
    folder = scratch / "damaged"
    folder.mkdir()
    archive(folder / "p.tgz", both)
    plain = gzip.decompress((folder / "p.tgz").read_bytes())
    rng = np.random.default_rng(_RNG_SEED)
    for i in range(2000 if thorough else 100):
        damaged = bytearray(plain)
        for at in rng.integers(0, 2048, rng.integers(1, 6)):  # headers, and the first file
            damaged[at] = rng.integers(256)
        content = gzip.compress(
            bytes(damaged[: rng.integers(1, len(plain))] if i % 4 == 0 else damaged), 1
        )
        if i % 3 == 0:
            content = content[: rng.integers(len(content))]
        (folder / "p.tgz").write_bytes(content)
        with outcome.fault(f"damaged archive {i}"), contextlib.suppress(local.UnavailableError):
            _unpack_file(folder)
