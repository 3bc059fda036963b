"""The files of a dataset: found under the names that people give them, read, checked, kept."""

import errno
import hashlib
import heapq
import os
import re
import tempfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aecli.errors import DataError, StorageError

GZIP_MAGIC = b"\x1f\x8b"
_GZ_EXTRA = 1024  # bytes that gzip may add to what it cannot compress
_DEPTH = 3  # folders below a data folder that are looked into: MNIST/raw/train-images-idx3-ubyte
_LISTED = 6  # names that a message shows of what is in a folder instead


@dataclass(frozen=True)
class RemoteFile:
    """One file of a dataset, by its name without .gz."""

    name: str
    bytes: int
    """Size in bytes, decompressed."""
    md5: str
    """MD5 of the decompressed file: two gzips of the same file differ."""


@dataclass(frozen=True)
class RemoteFiles:
    """The files of a dataset and where the public keeps them."""

    folder: str
    """Path below a data folder, in torchvision's layout."""
    files: tuple[RemoteFile, ...]
    mirrors: tuple[str, ...] = ()
    """Addresses, each with a slash at its end, of folders with every file as .gz."""
    torchvision: str | None = None
    """The dataset's class in torchvision, whose own list of mirrors comes first."""
    npm_package: str | None = None
    nicknames: tuple[str, ...] = ()
    """Other names under which people keep the folder."""

    @property
    def title(self) -> str:
        """The dataset's name in torchvision's layout."""
        return self.folder.partition("/")[0]


class UnavailableError(Exception):
    """A source does not have the files; its text says why."""

    def __init__(self, *reasons: str) -> None:
        super().__init__("; ".join(dict.fromkeys((reasons[0], reasons[-1]))))
        self.reasons = reasons
        """All reasons; the text has the first and the last."""


def read_folder(remote: RemoteFiles, root: Path) -> tuple[dict[str, bytes], Path]:
    """The decompressed content of every file in a data folder, and the folder where they lie.

    A file under its own name in its own place must be whole. Elsewhere in the folder, or spelled
    otherwise, only its content tells that it is the file.
    Raises DataError if a file is damaged, UnavailableError if a file is not found.
    """
    contents: dict[str, bytes] = {}
    place = root / remote.folder
    for file in remote.files:
        exact = [path for path in in_place(file, place) if not _is_folder(path)]
        if exact:
            contents[file.name] = read_file(file, exact[0])
    missing = [file for file in remote.files if file.name not in contents]
    if not missing:
        return contents, place
    candidates = _spelled_otherwise(remote, root)
    refused: list[str] = []
    for file in missing:
        for path in candidates[file.name]:
            try:
                contents[file.name] = read_file(file, path)
                place = path.parent
                break
            except DataError as error:
                refused.append(str(error))
    missing = [file for file in missing if file.name not in contents]
    if missing:
        reason = f"no {in_words(missing)} in {root / remote.folder}, nor elsewhere in {root}"
        raise UnavailableError(reason, *refused, _what_lies_in(remote, root))
    return contents, place


def in_words(files: Sequence[RemoteFile]) -> str:
    """The names of files, for a message."""
    more = f" and {len(files) - 2} more" if len(files) > 2 else ""
    return ", ".join(f"{file.name}[.gz]" for file in files[:2]) + more


def in_place(file: RemoteFile, folder: Path) -> list[Path]:
    """Paths in `folder` of what is there under a file's own name, plain or .gz."""
    return [path for path in (folder / file.name, folder / f"{file.name}.gz") if _is_there(path)]


def read_file(file: RemoteFile, path: Path) -> bytes:
    """A file's decompressed content, checked. Raises DataError: expected and found."""
    return checked(file, _read_at_most(path, file.bytes + _GZ_EXTRA), str(path))


def checked(file: RemoteFile, content: bytes, where: str) -> bytes:
    """The decompressed file, whether `content` is gzip (by its first bytes, not its name) or plain.

    Raises DataError if it is not the file that is known.
    """
    if content.startswith(GZIP_MAGIC):
        content = _gunzip(file, content, where)
    if len(content) != file.bytes:
        raise DataError(f"{where}: {len(content):,} bytes, expected {file.bytes:,}")
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != file.md5:
        raise DataError(f"{where}: MD5 {found}, expected {file.md5}")
    return content


def keep(path: Path, content: bytes) -> None:
    """Write a file of a cache through a temporary one, so that a file there is always whole.

    Two processes may write the same file at once: each has a temporary file of its own.
    Raises StorageError.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".part-", delete=False) as part:
            try:
                part.write(content)
                part.flush()
                os.fsync(part.fileno())
                Path(part.name).replace(path)
            except BaseException:
                Path(part.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}") from None


def set_aside(path: Path) -> str:
    """Rename a damaged file of a cache and say what became of it, so that it is in nobody's way."""
    aside = path.with_name(f"{path.name}.damaged")
    try:
        path.replace(aside)
    except OSError as error:
        return f"it cannot be set aside: {error.strerror}"
    return f"it is now {aside.name}"


def _read_at_most(path: Path, limit: int) -> bytes:
    """The bytes of a file that has no more than `limit` of them. Raises DataError.

    A pipe, a device or a huge file is refused unread: reading it might never end.
    """
    try:
        if not path.is_file():
            raise DataError(f"{path}: not a file, expected one of at most {limit:,} bytes")
        size = path.stat().st_size
        if size > limit:
            raise DataError(f"{path}: {size:,} bytes, expected at most {limit:,}")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None


def _gunzip(file: RemoteFile, content: bytes, where: str) -> bytes:
    unzip = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        plain = unzip.decompress(content, file.bytes + 1)  # bounded, whatever the file claims
    except zlib.error as error:
        raise DataError(f"{where}: a damaged gzip file: {error}") from None
    if not unzip.eof and len(plain) <= file.bytes:
        raise DataError(f"{where}: the gzip stream ends early, after {len(plain):,} bytes")
    return plain


def _spelled_otherwise(remote: RemoteFiles, root: Path) -> dict[str, list[Path]]:
    """Paths in a data folder that may be the files: `train-images.idx3-ubyte`, in upper case, right
    in the folder, or in a folder of its own name, as some unpackers make it."""
    files = {_spelling(file.name): file.name for file in remote.files}
    folder_names = {*map(_spelling, (*remote.folder.split("/"), *remote.nicknames)), *files}
    found: dict[str, list[Path]] = {file.name: [] for file in remote.files}
    folders = [root]
    for _ in range(_DEPTH + 1):
        below: list[Path] = []
        for folder in folders:
            for name in _names_in(folder):
                if (spelling := _spelling(name)) not in folder_names:
                    continue
                if _is_folder(folder / name):
                    below.append(folder / name)
                elif spelling in files:
                    found[files[spelling]].append(folder / name)
        folders = below
    return found


def _spelling(name: str) -> str:
    """A name without what people change in it: upper case, .gz, dots, dashes and underscores."""
    return re.sub(r"[-._ ]", "", name.lower().removesuffix(".gz"))


def _what_lies_in(remote: RemoteFiles, root: Path) -> str:
    """A few names out of the folder where the files should be."""
    folder = next((f for f in (root / remote.folder, root) if _is_folder(f)), None)
    if folder is None:
        return f"{root} is no folder"
    try:
        names = os.listdir(folder)  # noqa: PTH208  quicker than a path for each of a million names
    except OSError as error:
        return f"{folder} cannot be read: {error.strerror}"
    if not names:
        return f"{folder} is empty"
    there = [
        _legible(name) + "/" * _is_folder(folder / name) for name in heapq.nsmallest(_LISTED, names)
    ]
    more = f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else ""
    return f"in {folder} there are {', '.join(there)}{more}"


def _legible(name: str) -> str:
    return name if name.isprintable() else ascii(name)


def _names_in(folder: Path) -> Sequence[str]:
    """The names in a folder, in order; none if it cannot be read."""
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208
    except OSError:
        return ()


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name that is too long, or in a folder that cannot be read
        return False


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:  # a later reading reports that
        return error.errno != errno.ENAMETOOLONG
