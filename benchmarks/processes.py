"""Runs what is measured, each in a process of its own with the same threads."""

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from benchmarks.task import Task

ROOT = Path(__file__).resolve().parents[1]
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class WorkerError(Exception):
    """A worker process failed; the message is its last line, without paths."""


def run_task(task: Task) -> dict[str, Any]:
    """The measurements of the task's process. Raises WorkerError.

    This process must stay small: on Linux a child's peak memory begins at its parent's.
    """
    return run_worker([task.to_json()], task.threads)


def run_worker(arguments: Sequence[str], threads: int) -> dict[str, Any]:
    """The JSON that `python -m benchmarks.worker *arguments` prints. Raises WorkerError."""
    with tempfile.TemporaryFile("w+") as messages:
        return _finish(_start(arguments, threads, messages), messages)


def run_together(tasks: Sequence[Task]) -> list[dict[str, Any]]:
    """The same for several tasks that wait: they take their first step at one moment."""
    with contextlib.ExitStack() as stack:
        logs = [stack.enter_context(tempfile.TemporaryFile("w+")) for _ in tasks]
        processes = [
            _start([task.to_json()], task.threads, messages)
            for task, messages in zip(tasks, logs, strict=True)
        ]
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()  # "ready", or nothing if it failed
        for process in processes:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):  # one that failed; _finish reports it
                process.stdin.write("go\n")
                process.stdin.flush()
        return [_finish(process, log) for process, log in zip(processes, logs, strict=True)]


def _start(arguments: Sequence[str], threads: int, messages: IO[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.worker", *arguments],
        cwd=ROOT,
        env=environment(threads),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=messages,
        text=True,
    )


def _finish(process: subprocess.Popen[str], messages: IO[str]) -> dict[str, Any]:
    printed, _ = process.communicate()
    if process.returncode:
        messages.seek(0)
        raise WorkerError(without_paths(_last_line(messages.read())))
    values: dict[str, Any] = json.loads(_last_line(printed))
    return values


def environment(threads: int) -> Mapping[str, str]:
    """This process's environment with the thread count for every library."""
    limits = dict.fromkeys(_THREAD_VARIABLES, str(threads))
    return {**os.environ, **limits, "KERAS_BACKEND": "torch"}


@dataclass(frozen=True)
class Timed:
    """Seconds of a command, start to exit, and the most memory it had resident."""

    seconds: float
    peak_mib: float


def time_command(arguments: Sequence[str], threads: int) -> Timed:
    """`python *arguments`, timed. Raises WorkerError if it does not exit with 0."""
    with tempfile.TemporaryFile("w+") as messages:
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=environment(threads),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=messages,
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            messages.seek(0)
            raise WorkerError(without_paths(_last_line(messages.read())))
    return Timed(seconds, usage.ru_maxrss / (1024 * 1024 if sys.platform == "darwin" else 1024))


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no message"])[-1]


def without_paths(text: str) -> str:
    """`text` with every absolute path shortened to its last part: results name no machine's."""
    return re.sub(r"(?<![\w.])/(?:[^\s/'\",:]+/)*([^\s/'\",:]+)", r"\1", text)
