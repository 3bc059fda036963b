"""Files of a folder of images: which there are, in which class and split, which are passed over."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from aecli.errors import DataError

IMAGES = (*(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".bmp"), ".tif", ".tiff")
ARRAYS = (".npy", ".npz")
SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
"""Names of folders that are a split, not a class."""
_DEPTH = 32  # folders below one another


@dataclass(frozen=True)
class Named:
    """A file that may be an image."""

    path: Path
    name: str
    """Path below the dataset's folder, with / between folders."""
    split: str = ""
    """`train`, `val` or `test` if the folders say so."""
    label: str = ""
    """Name of its class: the sub-folder, below that of a split; empty at the top."""


@dataclass
class Listing:
    """A folder's files, in the order of their names."""

    path: Path
    """The folder, or the one file."""
    files: list[Named]
    passed_over: list[str] = field(default_factory=list)
    """Names of files that are not looked at: hidden ones, and other kinds."""
    faults: list[tuple[str, str]] = field(default_factory=list)
    """Folders that cannot be read, each with the reason."""
    is_split: bool = False
    """True if the folders say which images are for training, validation and test."""


def list_images(path: Path) -> Listing:
    """The images at `path`: the file itself, or all files in and below a folder.

    Raises DataError if nothing is there, or nothing that can be an image.
    """
    try:
        if path.is_file():
            if path.suffix.lower() not in (*IMAGES, *ARRAYS):
                raise DataError(f"{path}: neither an image nor an array; {_KINDS}")
            return Listing(path, [Named(path, path.name)])
        if not path.is_dir():
            what = "not a file or folder" if os.path.lexists(path) else "no such file or folder"
            raise DataError(f"{path}: {what}")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise DataError(f"{path}: {reason}") from None
    listing = Listing(path, [])
    names = sorted(_walk(path, listing), key=os.fsencode)
    images = [name for name in names if _may_be_image(name)]
    listing.passed_over += sorted({*names} - {*images}, key=os.fsencode)
    listing.is_split = _is_split({name.partition("/")[0] for name in images if "/" in name})
    for name in images:
        folders = name.split("/")[:-1]
        split = SPLITS.get(folders[0].lower(), "") if listing.is_split and folders else ""
        if split:
            folders.pop(0)
        listing.files.append(Named(path / name, name, split, folders[0] if folders else ""))
    if not listing.files and not listing.faults:
        raise DataError(f"{path}: {_why_none(listing.passed_over)}")
    return listing


def is_folder(path: Path) -> bool:
    """True for a folder; False also for a name that no file can have."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _may_be_image(name: str) -> bool:
    last = name.rpartition("/")[2]
    return not last.startswith(".") and Path(last).suffix.lower() in IMAGES


def _is_split(tops: set[str]) -> bool:
    """True if folders are a split: all of them, or two parts of one beside which others lie, whose
    images are then in no part."""
    parts = [SPLITS[top.lower()] for top in tops if top.lower() in SPLITS]
    return bool(parts) and (len(parts) == len(tops) or len({*parts}) > 1)


_KINDS = f"images end in {', '.join(IMAGES)}, arrays in {' or '.join(ARRAYS)}"


def _why_none(passed_over: list[str]) -> str:
    if not passed_over:
        return "an empty folder"
    arrays = [name for name in passed_over if name.lower().endswith(ARRAYS)]
    if arrays:
        return f"no images in this folder; to train on an array, name it: {arrays[0]}"
    return f"none of its {len(passed_over):,} files is an image; {_KINDS}"


def _walk(root: Path, listing: Listing) -> Iterator[str]:
    """The names of all files below `root`. Links are followed, none into a folder above itself."""

    def below(folder: str, above: frozenset[tuple[int, int]]) -> Iterator[str]:
        try:
            with os.scandir(root / folder) as entries:
                found = sorted(entries, key=lambda entry: os.fsencode(entry.name))
        except OSError as error:
            listing.faults.append((folder or ".", f"cannot be read: {error.strerror}"))
            return
        for entry in found:
            name = f"{folder}/{entry.name}" if folder else entry.name
            try:
                is_folder = entry.is_dir()
                place = entry.stat() if is_folder else None
            except OSError:  # a loop of links: looked at as a file, which will say so
                is_folder, place = False, None
            if not is_folder or place is None:
                yield name
            elif entry.name.startswith((".", "__MACOSX")):
                listing.passed_over.append(f"{name}/")
            elif (place.st_dev, place.st_ino) in above or name.count("/") >= _DEPTH:
                listing.faults.append((name, "a folder that leads back into itself"))
            else:
                yield from below(name, above | {(place.st_dev, place.st_ino)})

    here = root.stat()
    yield from below("", frozenset({(here.st_dev, here.st_ino)}))
