"""Work in a copy of this process: a process of its own in all but the start of Python and the
import of torch, which take 4 seconds.

OpenMP's threads do not outlive a fork: torch may use one only.
"""

import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

from aecli.cli import main


class Forked:
    """A process that does `work` and ends; `streams` are open files for its stdin, stdout and
    stderr. Its exit code is 1 after an error, else what `work` leaves with."""

    def __init__(self, work: Callable[[], object], streams: tuple[int, int, int]) -> None:
        self.pid = fork()
        if not self.pid:
            _only(work, streams)

    def wait(self) -> int:
        """The exit code; of a process that a signal ended, its number times -1."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def program(folder: Path, env: Mapping[str, str], *arguments: str) -> None:
    """`aecli` with these arguments, in a folder and with that environment alone."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = ["aecli", *arguments]
    main()


def fork() -> int:
    """os.fork, of which Python warns from 3.12 on wherever there are threads, as in pytest's."""
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        return os.fork()


def _only(work: Callable[[], object], streams: tuple[int, int, int]) -> NoReturn:
    """Do the work and end: nothing of pytest's goes on in this process."""
    code = 0
    try:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        sys.stdin, sys.stdout, sys.stderr = (
            os.fdopen(number, mode, buffering=1, encoding="utf-8")
            for number, mode in enumerate("rww")
        )
        signal.signal(signal.SIGINT, signal.default_int_handler)
        work()
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
