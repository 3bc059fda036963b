"""Files that are whole or not there, and folders of them that are whole or known not to be.

No write, removal or read here goes through a link that stands below the `root` it is given.
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aecli.errors import DataError, StorageError

MANIFEST = "manifest.json"
MALFORMED = (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError)
"""Errors of taking JSON, or what is in it, for what it is not."""
_MAX_MANIFEST = 64 * 1024
_CANNOT_SYNC = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
"""Errors of a file system that has no fsync, of folders or at all, or takes no room beforehand."""


def write_whole(path: Path, content: bytes, root: Path | None = None) -> None:
    """Write a file that appears under its name only once all of it is on disk.

    A temporary file in the same folder, fsync, rename, fsync of the folder: a kill at any moment
    leaves the old file or the new one.
    root: a folder above, below which no folder on the way may be a link (default: the file's own).
    Raises StorageError with the path and the bytes needed.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        if link := first_link(path.parent, root or path.parent):
            raise OSError(f"{link} is a link, to somewhere else")
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)  # left by a killed process or an attacker
        with temporary.open("xb") as file:  # this mode follows no link
            file.write(content)
            file.flush()
            sync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        reason = error.strerror or str(error)
        raise StorageError(f"cannot write {path} ({len(content):,} bytes): {reason}") from None


def read_regular(path: Path, at_most: int, root: Path) -> bytes:
    """The bytes of a regular file that has at most `at_most`, reached through no link.

    Raises DataError, and OSError if it cannot be read.
    """
    if link := first_link(path, root):
        raise DataError(f"{link}: a link, where a file of the run belongs")
    if not path.is_file():
        raise DataError(f"{path}: missing, or not a file")
    if path.stat().st_size > at_most:
        raise DataError(f"{path}: damaged: more than {at_most:,} bytes")
    return path.read_bytes()


def first_link(path: Path, root: Path) -> Path | None:
    """The outermost link among `path` and the folders between it and `root`; root may be one."""
    way = [path, *path.parents]
    return next((part for part in reversed(way[: way.index(root)]) if part.is_symlink()), None)


def seal(folder: Path, files: Mapping[str, bytes], root: Path | None = None) -> None:
    """Write files into a folder, and last of all the manifest of their lengths and SHA-256."""
    for name, content in files.items():
        write_whole(folder / name, content, root)
    manifest = {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in files.items()
    }
    write_whole(folder / MANIFEST, json.dumps(manifest, indent=2).encode(), root)


def unseal(folder: Path, root: Path) -> dict[str, bytes]:
    """The files of a sealed folder, each as it was written; raises DataError if one is not.

    Lengths are looked at before anything is read, so that memory is bounded by what was written.
    """
    try:
        manifest = json.loads(read_regular(folder / MANIFEST, _MAX_MANIFEST, root))
        return {
            name: _checked(folder / Path(name).name, expected, root)
            for name, expected in manifest.items()
        }
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {error.strerror}: {error.filename}") from None
    except MALFORMED:
        raise DataError(f"{folder / MANIFEST}: damaged") from None


def remove_sealed(folder: Path, root: Path) -> None:
    """Remove a sealed folder, its manifest first, so that what is left is never taken for whole.

    A folder behind a link below `root` is left alone.
    """
    if first_link(folder, root):
        return
    with contextlib.suppress(OSError):  # a file that cannot be removed costs room only
        (folder / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(folder)


def remove_parts(root: Path) -> None:
    """Remove what killed calls of `write_whole` left below a folder. Raises StorageError."""
    for folder, _, names in os.walk(root):  # os.walk goes through no link
        for name in names:
            if name.startswith(".") and name.endswith(".part"):
                try:
                    Path(folder, name).unlink(missing_ok=True)
                except OSError as error:
                    raise StorageError(
                        f"cannot remove {Path(folder, name)}: {error.strerror}"
                    ) from None


def require_writable(folder: Path) -> None:
    """Raises StorageError unless files can be made in `folder`, which is made if it is missing."""
    probe = folder / f".writable-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            probe.touch()
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make a run folder in {folder}: {error.strerror}") from None


def sync(descriptor: int) -> None:
    """fsync, where the file system has it."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise


def reserve(descriptor: int, first: int, length: int) -> None:
    """Take room on the disk for so many bytes of a file from `first` on, where the system can."""
    if not length or not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(descriptor, first, length)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise


def size(number: float) -> str:
    """Bytes in the unit that suits their number: 340 kB, 12 MB, 1.4 GB."""
    units = ["bytes", "kB", "MB", "GB", "TB"]
    while round(number) >= 1000 and len(units) > 1:
        number /= 1000
        units.pop(0)
    decimals = 1 if number < 9.95 and units[0] != "bytes" else 0
    return f"{number:,.{decimals}f} {units[0]}"


def _checked(path: Path, expected: Mapping[str, Any], root: Path) -> bytes:
    content = read_regular(path, expected["bytes"], root)
    if len(content) != expected["bytes"]:
        raise DataError(f"{path}: damaged: {len(content):,} bytes, not {expected['bytes']:,}")
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != expected["sha256"]:
        raise DataError(f"{path}: damaged: SHA-256 {sha256}, not {expected['sha256']}")
    return content


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # there a folder cannot be opened
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a folder to write into, but not to list
        return
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)
