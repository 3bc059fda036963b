"""Calls of the program: in this process, which is quick, or in one of its own."""

import contextlib
import io
import os
import signal
import subprocess
import sys
from pathlib import Path
from unittest import mock

from aecli.cli import main
from tests.conftest import FEW_IMAGES, Finished, environment

QUICK = (*FEW_IMAGES, "--codec", "dct")  # nothing to train
COMMAND = str(Path(sys.executable).with_name("aecli"))


def inside(folder: Path, *arguments: str) -> Finished:
    """`aecli` with these arguments, in `folder`, by its main() in this process."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
    signals = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    code: object = None
    with (
        mock.patch.dict(os.environ, environment(folder), clear=True),
        mock.patch.object(sys, "argv", ["aecli", *arguments]),
        contextlib.chdir(folder),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as exit_:
            code = exit_.code
        finally:
            for number, handler in zip((signal.SIGINT, signal.SIGTERM), signals, strict=True):
                signal.signal(number, handler)
    texts = []
    for stream in (out, err):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode("utf-8", "surrogateescape"))
    return Finished(code if isinstance(code, int) else 0, *texts)


def shell(folder: Path, line: str, **env: str) -> Finished:
    """A line of bash in `folder`, where $AECLI is the program."""
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        env=environment(folder, AECLI=COMMAND, **env),
        capture_output=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )
    texts = (s.decode("utf-8", "surrogateescape") for s in (done.stdout, done.stderr))
    return Finished(done.returncode, *texts)
