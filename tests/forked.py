"""The program in a copy of this process: a process of its own in all but the start of Python and
the import of torch, which take 4 seconds.

Give it `--threads 1`: OpenMP's threads do not outlive a fork.
"""

import os
import signal
import sys
import traceback
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from aecli.cli import main


class Forked:
    """`aecli` with these arguments in a folder; its streams are open files that are given."""

    def __init__(
        self,
        folder: Path,
        arguments: tuple[str, ...],
        env: Mapping[str, str],
        streams: tuple[int, int, int],
    ) -> None:
        self.pid = fork()
        if not self.pid:
            _become(folder, arguments, env, streams)

    def wait(self) -> int:
        """The exit code; of a process that a signal ended, its number times -1."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def fork() -> int:
    """os.fork, of which Python warns from 3.12 on wherever there are threads, as in pytest's."""
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        return os.fork()


def _become(
    folder: Path, arguments: tuple[str, ...], env: Mapping[str, str], streams: tuple[int, int, int]
) -> NoReturn:
    """Be the program and end; nothing of pytest's goes on in this process."""
    code = 99
    try:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        sys.stdin, sys.stdout, sys.stderr = (
            open(number, mode, encoding="utf-8", closefd=False, buffering=1)
            for number, mode in enumerate("rww")
        )
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(env)
        sys.argv = ["aecli", *arguments]
        main()
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
