"""A tiny dataset, and a server on this machine that serves it well or with a fault."""

import contextlib
import gzip
import hashlib
import http.server
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from aecli.data.files import RemoteFile, RemoteFiles

# Text that gzip makes smaller, so that the limits of real files hold for these.
CONTENT = {"a": b"first file " * 40, "b": b"the second " * 40}
HANG_SECONDS = 3


def remote(
    mirrors: Sequence[str] = (),
    npm: str | None = None,
    content: Mapping[str, bytes] = CONTENT,
    folder: str = "Set/raw",
) -> RemoteFiles:
    """The files of `content` as a dataset knows them."""
    files = tuple(RemoteFile(name, len(c), md5(c)) for name, c in content.items())
    return RemoteFiles(folder, files, tuple(mirrors), npm_package=npm)


def put(folder: Path, content: Mapping[str, bytes] = CONTENT, gz: bool = False) -> None:
    """Write the files into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, c in content.items():
        (folder / (f"{name}.gz" if gz else name)).write_bytes(zipped(c) if gz else c)


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def zipped(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


class Mirror(http.server.BaseHTTPRequestHandler):
    """Serves the files under /good/, and each fault under its own name."""

    def do_GET(self) -> None:
        _, kind, file = self.path.split("/")
        body = zipped(CONTENT[file.removesuffix(".gz")])
        if kind.isdigit():
            self.send_error(int(kind))
        elif kind == "hang":
            time.sleep(HANG_SECONDS)
        elif kind == "garbage":
            self.wfile.write(b"\0\xff" * 1000)
        elif kind == "loop":
            self._redirect(self.path)
        elif kind == "to-file":
            self._redirect("file:///etc/passwd")
        elif kind == "slow-header":
            self._drip(b"HTTP/1.0 200 OK\r\nX-Slow: " + b"x" * 1000)
        elif kind == "slow-body":
            self._drip(b"HTTP/1.0 200 OK\r\n\r\n" + body)
        elif kind == "cut-chunk":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\n" + body)
        else:
            announced = len(body) * (2 if kind == "short" else 1)
            body = {"wrong": body[::-1], "huge": b"x" * 10_000, "empty": b""}.get(kind, body)
            self.send_response(200)
            self.send_header("Content-Length", str(max(announced, len(body)) if body else 0))
            self.end_headers()
            self.wfile.write(body)

    def _redirect(self, to: str) -> None:
        self.send_response(302)
        self.send_header("Location", to)
        self.end_headers()

    def _drip(self, content: bytes) -> None:
        """A byte at a time: never silent for long, and never done."""
        with contextlib.suppress(OSError):  # the other side has left
            for byte in content[: HANG_SECONDS * 20]:
                self.wfile.write(bytes([byte]))
                time.sleep(0.05)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def serving() -> Iterator[str]:
    """The address of a running server."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mirror)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
