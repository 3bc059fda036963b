"""Signals: the first saves and says how to go on, the second ends it now; generations kept."""

import os
import signal
import subprocess
import sys
from functools import partial

import pytest
import torch

from aecli.runs import checkpoint
from tests.conftest import environment
from tests.forked import Forked, program
from tests.test_resume import TOLD, record


def test_two_generations_are_kept(tmp_path):
    for step in range(5):
        checkpoint.save(tmp_path, "id", {"step": torch.tensor(step)}, [{"epoch": 0, "val": 0.5}])
    assert len(list(tmp_path.iterdir())) == 2
    found, faults = checkpoint.load(tmp_path, "id")
    assert (int(found.state["step"]), found.history, faults) == (4, [{"epoch": 0, "val": 0.5}], [])


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_saves_and_says_how_to_go_on(tmp_path, inside, number, code):
    told = (*TOLD, "--epochs", "100000", "--batch-size", "100")
    ours, theirs = os.pipe()
    work = partial(program, tmp_path, environment(tmp_path), *told)
    child = Forked(work, (theirs, theirs, theirs))
    os.close(theirs)
    with os.fdopen(ours) as stderr:
        for line in stderr:
            if line.startswith("epoch "):
                os.kill(child.pid, number)
                break
        rest = stderr.read()
    assert child.wait() == code, rest
    assert f"{number.name}: stopping in good order" in rest
    [path] = (tmp_path / "runs").glob("*Z-*")
    assert f"go on with: aecli resume {path}" in rest
    assert record(path)["status"] == "interrupted"
    found, _ = checkpoint.load(path / "checkpoint", record(path)["id"])
    assert int(found.state["step"]) >= 3


def test_a_second_signal_ends_it_now():
    code = (
        "import os, signal, time\n"
        "from aecli import interrupts\n"
        "interrupts.install(print)\n"
        "with interrupts.deferred():\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    time.sleep(60)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=30).returncode == 143
