"""Rows on where data lie: caches that cannot be written or are damaged, files under other names."""

import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from aecli.data import sources
from aecli.data.sources import Places
from aecli.errors import DataError
from tests.faults.outcome import Outcome, refused, within
from tests.mirror import CONTENT, put, remote, serving, zipped

_PROCESSES = 8


def caches(scratch: Path, thorough: bool) -> Outcome:
    """A cache costs at most a download: the data are used, and what is damaged is fetched again."""
    outcome = Outcome()
    with serving() as server:
        good = f"{server}/good/"
        for fault, cache in _unwritable(scratch / "unwritable"):
            _not_kept(outcome, fault, Places(None, cache), good)
        for gz in (False, True):
            for fault, damage in _DAMAGES.items():
                case = f"{fault}{', gz' * gz}"
                _fetched_again(outcome, case, damage, gz, scratch / "damaged" / case, good)
        for turn in range(1 + 4 * thorough):
            _many_at_once(outcome, scratch / f"together {turn}", good)
    return outcome


def _unwritable(scratch: Path) -> Iterator[tuple[str, Path]]:
    """Caches that nothing can be written to, not even by root."""
    scratch.mkdir()
    file, loop, dangling = (scratch / name for name in ("file", "loop", "dangling"))
    file.write_text("")
    loop.symlink_to(loop)
    dangling.symlink_to("/proc/no/such")
    yield "a file where the cache should be", file
    yield "a file above the cache", file / "aecli" / "datasets"
    yield "links in a circle", loop
    yield "a link to nowhere", dangling
    yield "a name that is too long", scratch / ("x" * 300)
    if Path("/proc/self").exists():
        yield "a file system that takes no files", Path("/proc/self/aecli")
    folder = scratch / "half"
    folder.mkdir()
    (folder / remote().folder.partition("/")[0]).write_text("")
    yield "a file where the dataset's folder should be", folder


def _not_kept(outcome: Outcome, fault: str, places: Places, good: str) -> None:
    said: list[str] = []
    with outcome.fault(fault), within():
        found = sources.read_files(remote([good]), places, said.append)
        assert (found.contents, found.folder) == (CONTENT, None)
        assert any(line.startswith("WARNING: cannot write") for line in said), said
        with refused(sources.NotFoundError, "not tried (--offline)"):
            sources.read_files(remote([good]), replace(places, offline=True), said.append)


def _in_circle(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def _huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(8 * 2**30)  # sparse: takes no room on the disk


def _no_file(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        path.unlink()
        make(path)

    return damage


_DAMAGES: Mapping[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "another file": lambda path: path.write_bytes(CONTENT["a"][::-1]),
    "a page of HTML": lambda path: path.write_bytes(b"<!doctype html>"),
    "a folder": _no_file(lambda path: (path / "photos").mkdir(parents=True)),
    "a pipe": _no_file(os.mkfifo),
    "a device": _no_file(lambda path: path.symlink_to("/dev/zero")),
    "a huge file": _huge,
}


def _fetched_again(
    outcome: Outcome, fault: str, damage: Callable[[Path], object], gz: bool, cache: Path, good: str
) -> None:
    known = remote([good])
    folder = cache / known.folder
    put(folder, gz=gz)
    path = folder / ("a.gz" if gz else "a")
    damage(path)
    offline = Places(None, cache, offline=True)
    with outcome.fault(f"{fault}, offline"), within(), refused(DataError, str(path), "delete it"):
        sources.read_files(known, offline, print)
    said: list[str] = []
    with outcome.fault(fault), within():
        found = sources.read_files(known, replace(offline, offline=False), said.append)
        assert found.contents == CONTENT
        assert found.folder == folder
        assert any(str(path) in line and ".damaged" in line for line in said), said
        again = sources.read_files(known, offline, said.append)
        assert (again.contents, again.source) == (CONTENT, f"cache {folder}")
        if fault.startswith("a folder"):  # somebody's: it is renamed, and nothing in it is lost
            assert (folder / f"{path.name}.damaged" / "photos").is_dir()


def _many_at_once(outcome: Outcome, cache: Path, good: str) -> None:
    """Fetches at the same time leave one whole cache, whoever comes first."""
    known = remote([good])
    put(cache / known.folder, CONTENT | {"a": b"damaged"})
    found: list[dict[str, bytes]] = []

    def fetch() -> None:
        places = Places(None, cache)
        found.append(sources.read_files(known, places, lambda _: None).contents)

    threads = [threading.Thread(target=fetch) for _ in range(_PROCESSES)]
    with outcome.fault("fetches at the same time"):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert found == [CONTENT] * _PROCESSES
        names = {path.name for path in (cache / known.folder).iterdir()}
        assert {"a.gz", "b"} <= names <= {"a.gz", "b", "b.gz", "a.damaged", "b.damaged"}, names
        assert sources.read_files(known, Places(None, cache, True), print).contents == CONTENT


# Paths that people give a dataset's two files, `one` and `two`; the first are torchvision's.
_LAYOUTS: Mapping[str, tuple[str, str]] = {
    "torchvision's": ("Set/raw/train-images-idx3-ubyte", "Set/raw/t10k-labels-idx1-ubyte"),
    "a dot for a dash": ("Set/raw/train-images.idx3-ubyte", "Set/raw/t10k-labels.idx1-ubyte"),
    "upper case": ("Set/raw/TRAIN-IMAGES-IDX3-UBYTE", "Set/raw/T10K-LABELS-IDX1-UBYTE.GZ"),
    "underscores": ("Set/raw/train_images_idx3_ubyte", "Set/raw/t10k_labels_idx1_ubyte"),
    "right in the folder": ("train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
    "without raw": ("Set/train-images-idx3-ubyte", "Set/t10k-labels-idx1-ubyte"),
    "raw without Set": ("raw/train-images-idx3-ubyte", "raw/t10k-labels-idx1-ubyte"),
    "folders in lower case": ("set/RAW/train-images-idx3-ubyte", "set/RAW/t10k-labels-idx1-ubyte"),
    "another name of the folder": ("the-set/train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
    "each in a folder of its name": (
        "Set/raw/train-images-idx3-ubyte/train-images-idx3-ubyte",
        "Set/raw/t10k-labels-idx1-ubyte/t10k-labels-idx1-ubyte",
    ),
    "such folders, and a dot": (
        "train-images.idx3-ubyte/train-images.idx3-ubyte",
        "t10k-labels.idx1-ubyte/t10k-labels.idx1-ubyte",
    ),
    "in two places": ("train-images-idx3-ubyte", "Set/raw/t10k-labels-idx1-ubyte"),
    "umlauts and a space in the name": ("t10k-labels-idx1-ubyte", "train-images-idx3-ubyte"),
}
_ONE, _TWO = "train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


def names(scratch: Path, _thorough: bool) -> Outcome:
    """Files as people have them are found by their content; other files are named in the error."""
    outcome = Outcome()
    content = {_ONE: CONTENT["a"], _TWO: CONTENT["b"]}
    known = replace(remote(content=content), nicknames=("the set",))
    for layout, paths in _LAYOUTS.items():
        for packed in (False, True, None):  # None: the names and what is in the files disagree
            case = f"{layout}{ {True: ', gz', None: ', misnamed'}.get(packed, '') }"
            root = scratch / f"{case} äöü "
            for path in map(Path, paths):
                name = _ONE if "image" in path.name.lower() else _TWO
                suffix = ".gz" if packed is not False and path.suffix != ".GZ" else ""
                file = root / path.with_name(path.name + suffix)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(zipped(content[name]) if packed else content[name])
            with outcome.fault(case), within():
                places = Places(root, scratch / "cache", offline=True, named=True)
                found = sources.read_files(known, places, print)
                assert found.contents == content
                assert found.source.startswith(f"folder {root}")
    for fault, (make, told) in _INSTEAD.items():
        root = scratch / "instead" / fault
        root.mkdir(parents=True)
        make(root)
        places = Places(root, scratch / "cache", offline=True, named=True)
        with outcome.fault(fault), within(), refused(DataError, f"data folder {root}", *told):
            sources.read_files(known, places, print)
        put(scratch / "cache" / known.folder, content)
        said: list[str] = []
        with outcome.fault(f"{fault}, and the environment names it"), within():
            found = sources.read_files(known, replace(places, named=False), said.append)
            assert found.source.startswith("cache ")
            assert [line[:27] for line in said] == ["WARNING: AECLI_DATA_DIR=" + str(root)[:3]]
        shutil.rmtree(scratch / "cache")
    return outcome


def _make(*files: str, content: bytes = b"x") -> Callable[[Path], None]:
    def make(root: Path) -> None:
        for name in files:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)

    return make


def _circle(root: Path) -> None:
    (root / "Set").symlink_to(root)
    (root / "raw").symlink_to(root / "raw")
    (root / _ONE).symlink_to(root / _ONE)


def _not_utf_8(root: Path) -> None:
    (root / os.fsdecode(b"\xff\x1b[2J\n.png")).touch()


# Content of a folder that lacks the dataset, and words that the message must have.
_INSTEAD: Mapping[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "nothing": (_make(), (f"no {_ONE}[.gz], {_TWO}[.gz]", "is empty")),
    "pictures": (_make(*(f"{i}.png" for i in range(9))), ("0.png, 1.png", "and 3 more")),
    "another dataset's files": (_make(_ONE, _TWO), (f"{_ONE}: 1 bytes, expected 440", _TWO)),
    "a half of it": (_make(_ONE, content=CONTENT["a"]), (f"no {_TWO}[.gz] in",)),
    "the folders alone": (lambda root: (root / "Set/raw").mkdir(parents=True), ("raw is empty",)),
    "links in a circle": (_circle, ("not a file", f"there are Set/, raw, {_ONE}")),
    "a name that is no text": (_not_utf_8, (r"'\udcff\x1b[2J\n.png'",)),
    "a pipe of its name": (lambda root: os.mkfifo(root / _ONE), ("not a file",)),
}
