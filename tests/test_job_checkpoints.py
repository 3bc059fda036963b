"""Jobs of a run that go on from their checkpoints, whoever does them."""

import json
from pathlib import Path

import pytest
import torch

from aecli.errors import StorageError
from aecli.runs import checkpoint
from aecli.training.checkpoints import Checkpoints
from aecli.training.loop import Training
from tests.conftest import FEW_IMAGES
from tests.twins import left_behind

SWEEP = ("sweep-codedim", "2", "3", *FEW_IMAGES, "--epochs", "4", "--seeds", "1", "--batch-size")
SWEEP += ("100", "--set", "checkpoint_seconds=0")
STEPS = 4 * 3  # of each of the two jobs


@pytest.fixture
def steps(monkeypatch):
    """Steps that are taken from now on; the training fails before the one at `steps[0]`."""
    taken, take_step = [None], Training.take_step

    def counted(training):
        if training.step == taken[0]:
            raise RuntimeError("the worker is gone")
        taken.append(training.step)
        take_step(training)

    monkeypatch.setattr(Training, "take_step", counted)
    return taken


def checkpoints_in(run):
    return sorted(path.name for path in run.glob("checkpoint*"))


def test_a_job_that_was_cut_short_goes_on_to_the_same_bits(inside, jobs_here, steps):
    twin = inside(*SWEEP)
    assert twin.code == 0, twin.stderr
    assert len(steps[1:]) == 2 * STEPS
    assert checkpoints_in(twin.run) == []
    steps[:] = [7]
    cut = inside(*SWEEP)
    assert cut.code == 5
    assert len(checkpoints_in(cut.run)) == 2
    steps[:] = [None]
    done = inside(*SWEEP, "--continue")
    assert (done.code, done.run) == (0, cut.run), done.stderr
    assert steps[1:] == 2 * list(range(7, STEPS))
    assert checkpoints_in(done.run) == []
    assert left_behind(done.run) == left_behind(twin.run)


def test_a_checkpoint_that_cannot_be_read_costs_time_and_is_told(inside, jobs_here, steps):
    steps[:] = [7]
    cut = inside(*SWEEP)
    for path in cut.run.glob("checkpoint-*/*/state.safetensors"):
        path.write_bytes(b"no tensors")
    steps[:] = [None]
    done = inside(*SWEEP, "--continue")
    assert (done.code, len(steps[1:])) == (0, 2 * STEPS), done.stderr
    said = " ".join(done.stderr.split())
    assert said.count("begun anew: no checkpoint of this run can be read:") == 2
    assert checkpoints_in(done.run) == []


def test_a_disk_that_takes_no_checkpoint_does_not_stop_a_job(inside, jobs_here, monkeypatch):
    def full(*_):
        raise StorageError("no room")

    monkeypatch.setattr(checkpoint, "save", full)
    done = inside(*SWEEP)
    assert done.code == 0
    assert "WARNING: mlp code 3 (256-64), seed 0: no checkpoint: no room" in (
        " ".join(done.stderr.split())
    )


def test_a_run_that_cannot_be_reached_has_no_checkpoint(tmp_path):
    assert Checkpoints(tmp_path / "gone", "a", 1.0).of("job") is None
    record = {"id": "another", "status": "running"}
    (tmp_path / "run.json").write_text(json.dumps(record))
    assert Checkpoints(tmp_path, "a", 1.0).of("job") is None
    there = Checkpoints(tmp_path, "another", 1.0).of("job")
    assert there.folder == Path(tmp_path / "checkpoint-job")
    done = {"id": "another", "status": "completed"}
    (tmp_path / "run.json").write_text(json.dumps(done))
    assert Checkpoints(tmp_path, "another", 1.0).of("job") is None


def test_a_state_that_does_not_fit_is_given_back_whole(inside, jobs_here, steps):
    twin = inside(*SWEEP)
    steps[:] = [7]
    cut = inside(*SWEEP)
    for folder in cut.run.glob("checkpoint-*"):
        found, _ = checkpoint.load(folder, json.loads((cut.run / "run.json").read_text())["id"])
        broken = found.state | {"generator": torch.zeros(3, dtype=torch.uint8)}
        for _ in range(2):  # the older generation goes
            checkpoint.save(
                folder, json.loads((cut.run / "run.json").read_text())["id"], broken, []
            )
    steps[:] = [None]
    done = inside(*SWEEP, "--continue")
    assert (done.code, len(steps[1:])) == (0, 2 * STEPS), done.stderr
    assert "begun anew: not the state of such a training" in " ".join(done.stderr.split())
    assert left_behind(done.run) == left_behind(twin.run)


def test_a_folder_that_cannot_be_read_costs_time(inside, jobs_here, monkeypatch):
    def refused(*_):
        raise PermissionError("not yours")

    monkeypatch.setattr(checkpoint, "_generations", refused)
    done = inside(*SWEEP)
    assert done.code == 0, done.stderr
    said = " ".join(done.stderr.split())
    assert "begun anew: not yours" in said
    assert said.count("no checkpoint: not yours") == 2  # once for each job
