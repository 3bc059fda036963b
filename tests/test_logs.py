"""`--log tensorboard`: the scalars of every epoch, of one training and of many."""

import struct
import sys

import pytest


def scalars(folder):
    """Tag -> {step: value} of the events in a folder."""
    from tensorboardX.proto.event_pb2 import Event

    found = {}
    for path in folder.glob("events*"):
        content = path.read_bytes()
        while content:  # records: length, its checksum, the event, its checksum
            (length,) = struct.unpack("<Q", content[:8])
            event = Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]
            for value in event.summary.value:
                found.setdefault(value.tag, {})[event.step] = value.simple_value
    return found


FEW = ("--dataset", "mnist-5k", "--limit-train", "300", "--offline", "--batch-size", "100")


def test_every_epoch_of_a_training(inside):
    import aecli

    done = inside("train", *FEW, "--epochs", "3", "--code-dim", "2", "--log", "tensorboard")
    assert done.code == 0, done.stderr
    found = scalars(done.run / "tensorboard")
    history = aecli.open(done.run).history
    assert len(list((done.run / "tensorboard").iterdir())) == 1
    for row in history:
        for name in row.keys() - {"epoch"}:
            assert found[name][row["epoch"]] == pytest.approx(row[name], rel=1e-5)


def test_every_one_of_many_trainings(inside, jobs_here):
    done = inside(
        *("sweep-codedim", "2", "3", *FEW, "--epochs", "1", "--seeds", "1"),
        *("--log", "tensorboard"),
    )
    assert done.code == 0, done.stderr
    trainings = sorted(path.name for path in (done.run / "tensorboard").iterdir())
    assert trainings
    assert all("train_mse" in scalars(done.run / "tensorboard" / name) for name in trainings)


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_what_is_not_there_is_told_before_anything_is_trained(inside, tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    done = inside("train", *FEW, "--log", name)
    assert done.code == 2
    expected = {
        "tensorboard": "aecli: --log tensorboard: tensorboardX is not installed; pip install"
        " 'aecli[tensorboard]'",
        "wandb": "aecli: --log wandb: expected tensorboard",
    }
    assert done.errors == [expected[name]]
    assert not (tmp_path / "runs").exists()
