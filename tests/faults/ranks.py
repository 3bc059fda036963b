"""A row on torchrun's processes: either is killed at random, and torchrun starts both again."""

import random
import subprocess
import sys
import time
from pathlib import Path

import psutil

from tests.conftest import FEW_IMAGES, environment
from tests.faults.outcome import Outcome
from tests.twins import left_behind

_TRAIN = ("train", *FEW_IMAGES, "--threads", "1", "--epochs", "1000", "--recipe", "chapter")
_OFTEN = ("--set", "checkpoint_seconds=0.2")
_TIMES, _LONGEST = 20, 6.0  # kills; seconds after the run's folder is there
_PATIENCE = 180  # seconds; torch is imported twice, and pictures drawn


def killed(scratch: Path, thorough: bool) -> Outcome:
    """Two processes whose run ends with the same bits after either was killed."""
    outcome = Outcome()
    if not thorough:
        outcome.skipped = "takes minutes; tests/test_processes.py has the quick ones"
        return outcome
    twin = left_behind(_trained(scratch / "twin", None, 0.0))
    chance = random.Random(0)
    for number in range(_TIMES):
        rank, after = number % 2, chance.uniform(0.0, _LONGEST)
        with outcome.fault(f"process {rank} killed after {after:.2f} s"):
            left = left_behind(_trained(scratch / str(number), rank, after))
            differing = {name for name in {*left, *twin} if left.get(name) != twin.get(name)}
            assert not differing, differing
    return outcome


def _trained(folder: Path, rank: int | None, after: float) -> Path:
    """The run of two processes; one of them is killed `after` seconds from when it has a folder."""
    folder.mkdir()
    command = (sys.executable, "-m", "torch.distributed.run", "--standalone")
    options = ("--nproc-per-node", "2", "--max-restarts", "1", "--monitor-interval", "0.2")
    started = subprocess.Popen(
        [*command, *options, "-m", "aecli", *_TRAIN, *_OFTEN],
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.DEVNULL,
        stderr=(folder / "stderr").open("w"),
    )
    if rank is not None:
        deadline = time.monotonic() + _PATIENCE
        while not list(folder.glob("runs/*Z-*")):
            assert time.monotonic() < deadline, (folder / "stderr").read_text()
            time.sleep(0.02)
        time.sleep(after)
        [of_rank] = [
            child
            for child in psutil.Process(started.pid).children()
            if child.environ().get("RANK") == str(rank)
        ]
        of_rank.kill()
    assert started.wait(timeout=_PATIENCE) == 0, (folder / "stderr").read_text()
    [run] = folder.glob("runs/*Z-*")
    if rank is not None:
        assert "going on in " in (folder / "stderr").read_text()
    return run
