"""Files that are whole or not there, and folders of them that are whole or known not to be."""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aecli.errors import DataError, StorageError

MANIFEST = "manifest.json"
_MAX_MANIFEST = 64 * 1024


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that appears under its name only once all of it is on disk.

    A temporary file in the same folder, fsync, rename, fsync of the folder: a kill at any moment
    leaves the old file or the new one. Raises StorageError with the path and the bytes needed.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.parent.is_symlink():  # planted: what it leads to is not this run's
            raise OSError(f"{path.parent} is a link")
        temporary.unlink(missing_ok=True)  # of a killed process, or planted
        with temporary.open("xb") as file:  # which follows no link
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        reason = error.strerror or str(error)
        raise StorageError(f"cannot write {path} ({len(content):,} bytes): {reason}") from None


def seal(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a folder, and last of all the manifest of their lengths and SHA-256."""
    for name, content in files.items():
        write_whole(folder / name, content)
    manifest = {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in files.items()
    }
    write_whole(folder / MANIFEST, json.dumps(manifest, indent=2).encode())


def unseal(folder: Path) -> dict[str, bytes]:
    """The files of a sealed folder, each as it was written; raises DataError if one is not.

    Lengths are looked at before anything is read, so that memory is bounded by what was written.
    """
    try:
        manifest = json.loads(_read(folder / MANIFEST, at_most=_MAX_MANIFEST))
        return {name: _checked(folder / Path(name).name, told) for name, told in manifest.items()}
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {error.strerror}: {error.filename}") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise DataError(f"{folder / MANIFEST}: damaged") from None


def remove_sealed(folder: Path) -> None:
    """Remove a sealed folder, its manifest first, so that what is left is never taken for whole."""
    with contextlib.suppress(OSError):  # what cannot be removed costs room only
        (folder / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(folder)


def require_writable(folder: Path) -> None:
    """Raises StorageError unless files can be made in `folder`, which is made if it is missing."""
    probe = folder / f".writable-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise StorageError(f"cannot make a run folder in {folder}: {error.strerror}") from None


def _checked(path: Path, told: Mapping[str, Any]) -> bytes:
    content = _read(path, at_most=told["bytes"])
    if len(content) != told["bytes"]:
        raise DataError(f"{path}: damaged: {len(content):,} bytes, not {told['bytes']:,}")
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != told["sha256"]:
        raise DataError(f"{path}: damaged: SHA-256 {sha256}, not {told['sha256']}")
    return content


def _read(path: Path, at_most: int) -> bytes:
    """The bytes of a regular file that has no more than so many."""
    if not path.is_file():
        raise DataError(f"{path}: missing, or not a file")
    if path.stat().st_size > at_most:
        raise DataError(f"{path}: damaged: more than {at_most:,} bytes")
    return path.read_bytes()


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # where a folder cannot be opened
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
