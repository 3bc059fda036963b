"""Rows on signals: what is ignored on entry stays ignored, orphans end, the first moments count."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

from aecli.errors import Interrupted, StorageError
from aecli.runs import folder as run_folder
from aecli.runs import storage
from aecli.training.workers import do_in_workers
from tests.faults.kills import SMALL
from tests.faults.outcome import Outcome
from tests.faults.program import QUICK, inside, shell
from tests.tasks import work

_INSTALLED = """
import os, signal
from aecli import interrupts
from aecli.errors import Interrupted
interrupts.install(print)
os.kill(os.getpid(), signal.{ignored})
try:
    os.kill(os.getpid(), signal.SIGTERM)
except Interrupted as interrupt:
    os.kill(os.getpid(), signal.{ignored})
    os._exit(interrupt.exit_code)
"""
_IGNORED = ("SIGHUP", "SIGINT")
_BESIDE = """
import sys
from aecli.training.workers import do_in_workers
from tests.tasks import work
if __name__ == "__main__":
    list(do_in_workers(work, None, ["pid and hang"] * 2, 2))
"""


def inherited(scratch: Path, thorough: bool) -> Outcome:
    """A signal ignored by who started us (nohup, `trap '' INT`) ends neither us nor our workers."""
    outcome = Outcome()
    for ignored in _IGNORED:
        with outcome.fault(f"{ignored} is ignored: installed handlers"):
            script = _INSTALLED.format(ignored=ignored)
            trap = f"trap '' {ignored[3:]}; exec {sys.executable} -c \"$SCRIPT\""
            done = shell(scratch, trap, SCRIPT=script, PYTHONPATH=_root())
            assert done.code == 143, done
        with outcome.fault(f"{ignored} is ignored: a worker"), _ignoring(ignored):
            outcomes = dict(do_in_workers(work, None, [f"send {ignored}"], 1))
            assert outcomes[0][1] == f"send {ignored}", outcomes
    with outcome.fault("Ctrl-C and the end of a terminal ask the parent, not its workers"):
        outcomes = dict(do_in_workers(work, None, ["send SIGINT", "send SIGHUP"], 2))
        assert [outcomes[i][1] for i in (0, 1)] == ["send SIGINT", "send SIGHUP"], outcomes
    if thorough:
        for ignored in _IGNORED:
            with outcome.fault(f"{ignored} is ignored: a whole run"):
                folder = scratch / ignored
                folder.mkdir()
                line = (
                    f"trap '' {ignored[3:]}; \"$AECLI\" {' '.join(SMALL)} & pid=$!;"
                    f" for i in $(seq 40); do kill -{ignored[3:]} $pid; sleep 0.1; done;"
                    " wait $pid"
                )
                done = shell(folder, line)
                assert done.code == 0, done
    return outcome


def orphans(scratch: Path, thorough: bool) -> Outcome:
    """Workers end with their parent, however it ends, in the middle of a task too."""
    outcome = Outcome()
    for number in (signal.SIGKILL, signal.SIGTERM) if thorough else (signal.SIGKILL,):
        with outcome.fault(f"a parent ended by {number.name}"):
            parent = subprocess.Popen(
                [sys.executable, "-c", _BESIDE],
                env={**os.environ, "PYTHONPATH": _root()},
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            workers = [int(parent.stdout.readline()) for _ in range(2)]
            parent.send_signal(number)
            parent.wait(30)
            parent.stdout.close()
            for pid in workers:
                _require_gone(pid)
    return outcome


def first_moments(scratch: Path, thorough: bool) -> Outcome:
    """A run stopped as its folder is made leaves nothing, or a run that can be gone on with."""
    outcome = Outcome()
    for name in ("_make_folder", "_alone_in"):
        for number in (signal.SIGINT, signal.SIGTERM):
            folder = scratch / f"{name}-{number.name}"
            folder.mkdir()
            with outcome.fault(f"{number.name} in {name}"):
                with _signal_after(name, number):
                    done = inside(folder, "train", *QUICK)
                assert done.code == 128 + number, done
                [run] = (folder / "runs").glob("*Z-*")
                assert json.loads((run / "run.json").read_text())["status"] == "interrupted"
                assert f"aecli resume {run}" in done.stderr
                if thorough:
                    assert inside(folder, "resume", str(run)).code == 0
    for what in ("run.json", "config.yaml"):
        folder = scratch / what
        folder.mkdir()
        with outcome.fault(f"no room for {what}"), _no_room_for(what):
            done = inside(folder, "train", *QUICK)
            assert done.code == 6, done
            assert f"{what} (" in done.stderr
            left = list((folder / "runs").iterdir())
            assert [(path / "run.json").exists() for path in left] == [True] * len(left)
            assert len(left) == (what == "config.yaml")
    with outcome.fault("SIGINT while the folder for runs is looked at"):
        with (
            mock.patch.object(Path, "touch", side_effect=Interrupted(signal.SIGINT)),
            contextlib.suppress(Interrupted),
        ):
            storage.require_writable(scratch / "looked at")
        assert list((scratch / "looked at").iterdir()) == []
    return outcome


def _root() -> str:
    return os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])


@contextlib.contextmanager
def _ignoring(name: str):
    number = getattr(signal, name)
    before = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(number, before)


def _signal_after(name: str, number: signal.Signals) -> "mock._patch[object]":
    true = getattr(run_folder, name)

    def then_signal(*arguments: object) -> object:
        result = true(*arguments)
        os.kill(os.getpid(), number)
        return result

    return mock.patch.object(run_folder, name, then_signal)


def _no_room_for(name: str) -> "mock._patch[object]":
    true = storage.write_whole

    def write_whole(path: Path, content: bytes, *arguments: object) -> None:
        if path.name == name:
            raise StorageError(f"cannot write {path} (9 bytes): No space left on device")
        true(path, content, *arguments)

    return mock.patch.object(storage, "write_whole", write_whole)


def _require_gone(pid: int) -> None:
    """The process ends within a few seconds."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return
        if state == "Z":  # ended, and not yet waited for by whoever adopted it
            return
        time.sleep(0.02)
    raise AssertionError(f"worker {pid} lives on")
