"""One training by two processes, as torchrun starts them: the numbers of one, and a run that ends
in order and goes on to the same bits when either is killed."""

import json
import os
import re
import signal
import socket
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from aecli import processes
from aecli.data.images import Batch
from aecli.errors import DataError, UsageError
from aecli.processes import Place
from aecli.training import follower, together
from aecli.training.optimizers import Muon, orthogonalized
from aecli.training.together import Together
from tests.conftest import FEW_IMAGES, environment
from tests.forked import Forked, program
from tests.test_resume import record
from tests.twins import left_behind

# 267 images to train on: the last batch has 67, of which the two have 33 and 34.
TRAIN = ("train", *FEW_IMAGES, "--threads", "1", "--batch-size", "100", "--seed", "3")
LONG = ("--recipe", "chapter", "--epochs", "150", "--set", "checkpoint_seconds=0.2")


def told(rank, port=1, size=2, restarts=0):
    """The environment of one of torchrun's processes."""
    return {
        "TORCHELASTIC_RUN_ID": "tests",
        "TORCHELASTIC_RESTART_COUNT": str(restarts),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(size),
        "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(port),
    }


class Team:
    """Two processes of one training; the first one's stderr can be read."""

    def __init__(self, folder, *arguments, restarts=0):
        with socket.create_server(("localhost", 0)) as free:
            port = free.getsockname()[1]
        reads, writes = os.pipe()
        null = os.open(os.devnull, os.O_RDWR)
        self.processes = []
        for rank, stderr in enumerate((writes, null)):
            env = environment(folder, **told(rank, port, restarts=restarts))
            work = partial(program, folder, env, *arguments)
            self.processes.append(Forked(work, (null, null, stderr)))
        for descriptor in (writes, null):
            os.close(descriptor)
        self.stderr = os.fdopen(reads)
        self.said = ""

    def until(self, words):
        """Wait until the first process has said so."""
        for line in self.stderr:
            self.said += line
            if words in line:
                return
        raise AssertionError(self.said)

    def codes(self):
        """The exit codes of both, when they have ended."""
        self.said += self.stderr.read()
        self.stderr.close()
        return [process.wait() for process in self.processes]


def only_run(folder):
    [path] = (folder / "runs").glob("*Z-*")
    return path


@pytest.mark.parametrize(
    "settings",
    [
        ("--set", "train.noise=gaussian", "--epochs", "2"),
        ("--set", "codec.variational=true", "--epochs", "2"),
        (
            "--codec",
            "conv",
            "--set",
            "codec.width=4",
            "--set",
            "train.mirror=true",
            "--epochs",
            "1",
        ),
    ],
    ids=["mlp", "variational", "conv"],
)
def test_two_processes_train_what_one_does(inside, tmp_path, settings):
    alone = inside(*TRAIN, *settings)
    assert alone.code == 0, alone.stderr
    folder = tmp_path / "two"
    folder.mkdir()
    team = Team(folder, *TRAIN, *settings)
    assert team.codes() == [0, 0], team.said
    run = only_run(folder)
    assert record(run)["processes"] == 2
    assert record(alone.run)["processes"] == 1
    one, two = (left_behind(path)["history.csv"] for path in (alone.run, run))
    assert len(one) == len(two)
    for row, other in zip(one, two, strict=True):
        assert row.keys() == other.keys()
        for name, value in row.items():
            assert float(other[name]) == pytest.approx(float(value), rel=1e-4), name


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What two processes leave that nothing befalls."""
    folder = tmp_path_factory.mktemp("whole")
    team = Team(folder, *TRAIN, *LONG)
    assert team.codes() == [0, 0], team.said
    return left_behind(only_run(folder))


@pytest.mark.parametrize("killed", [0, 1])
def test_a_process_is_killed_and_the_same_bits_come_of_it(tmp_path, whole, killed):
    team = Team(tmp_path, *TRAIN, *LONG)
    team.until("epoch  40 of")
    os.kill(team.processes[killed].pid, signal.SIGKILL)
    codes = team.codes()
    assert codes[killed] == -signal.SIGKILL
    assert codes[1 - killed] == 143, team.said
    run = only_run(tmp_path)
    if killed:
        assert record(run)["status"] == "interrupted"
        assert "interrupted: another process of this training is gone (" in team.said
        assert f"go on with: aecli resume {run}" in team.said
    # As a user goes on, and as torchrun starts them again.
    again = (
        Team(tmp_path, "resume", str(run)) if killed else Team(tmp_path, *TRAIN, *LONG, restarts=1)
    )
    assert again.codes() == [0, 0], again.said
    assert re.search(r"going on after step \d+", again.said)
    assert only_run(tmp_path) == run
    assert left_behind(run) == whole


def test_a_signal_to_the_first_ends_both_and_another_number_of_them_is_told(tmp_path, inside):
    team = Team(tmp_path, *TRAIN, *LONG)
    team.until("epoch  40 of")
    for process in team.processes:  # as Ctrl-C does
        os.kill(process.pid, signal.SIGINT)
    assert team.codes() == [130, 143], team.said
    assert record(only_run(tmp_path))["status"] == "interrupted"
    done = inside("resume", "latest")
    assert done.code == 0, done.stderr
    assert "processes: this run began with 2 and goes on with 1; the numbers may differ" in (
        " ".join(done.stderr.split())
    )


def test_a_training_that_diverges_is_told_by_the_first_which_keeps_the_last_good_model(tmp_path):
    team = Team(tmp_path, *TRAIN, "--lr", "1e9", "--epochs", "2")
    assert team.codes() == [4, 143], team.said
    run = only_run(tmp_path)
    assert record(run)["status"] == "failed"
    assert "training diverged" in record(run)["error"]
    assert (run / "model" / "model.safetensors").is_file()


def test_other_commands_and_codecs_are_for_one_process(inside, monkeypatch):
    for name, value in told(0).items():
        monkeypatch.setenv(name, value)
    swept = inside("sweep-codedim", "2", *FEW_IMAGES)
    assert swept.code == 2
    assert (
        "torchrun: several processes share one training, which `aecli sweep-codedim` is not;"
        in (" ".join(swept.stderr.split()))
    )
    solved = inside("train", *FEW_IMAGES, "--codec", "pca")
    for rank in (0, 1):
        monkeypatch.setenv("RANK", str(rank))
        dry = inside(*TRAIN, "--dry-run")
        assert (dry.code, bool(dry.stdout)) == (0, rank == 0), dry.stderr
    assert solved.code == 2
    assert "torchrun: this codec is solved for" in solved.stderr


def test_a_process_knows_its_place(monkeypatch):
    assert processes.place() is None
    for name, value in told(1, size=4, restarts=2).items():
        monkeypatch.setenv(name, value)
    assert processes.place() == Place(rank=1, size=4, here=4, number_here=1, restarts=2)
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert processes.place() is None
    with pytest.raises(
        UsageError, match="which `aecli reproduce` is not; start it without torchrun"
    ):
        processes.require_one_training("reproduce", solved=False, device="cpu")
    with pytest.raises(UsageError, match="on the CPU or on CUDA"):
        processes.require_one_training("train", solved=False, device="mps")


def test_every_image_of_a_batch_is_in_one_part():
    for n in (1, 2, 5, 256):
        for size in (2, 3, 7):
            places = [Place(rank, size, size, rank, 0) for rank in range(size)]
            parts = [range(*together._bounds(n, place)) for place in places]
            assert [i for part in parts for i in part] == list(range(n))
            assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize(("here", "name"), [(2, "restart-3"), (1, None)])
def test_processes_started_again_meet_under_another_name(monkeypatch, here, name):
    """Torchrun's store outlives a restart, with the addresses of processes that are gone."""
    store, met = torch.distributed.HashStore(), {}
    monkeypatch.setattr(together, "rendezvous", lambda *_, **__: iter([(store, 1, 2)]))
    monkeypatch.setattr(
        together.dist, "init_process_group", lambda backend, **told: met.update(told)
    )
    together.join(Place(rank=1, size=2, here=here, number_here=0, restarts=3))
    met["store"].set("address", "new")
    assert store.check([f"{name}/address" if name else "address"])
    assert (met["rank"], met["world_size"]) == (1, 2)


def test_matrices_are_made_orthogonal_once_and_reach_every_process(monkeypatch):
    monkeypatch.setattr(together.dist, "all_reduce", lambda tensor: None)
    matrices = torch.randn((3, 4, 6), generator=torch.Generator().manual_seed(0))
    seen = []

    def made(some, are_cut):
        assert are_cut
        seen.append(len(some))
        return orthogonalized(some, torch.float32)

    parts = []
    for rank in range(2):
        muon = Muon(torch.zeros(8), torch.zeros(8), [torch.Size((2, 4))], 0.9, 64, torch.float32)
        muon.orthogonalize = made
        optimizers = {"muon": (muon, 0.1)}
        Together(Engine(torch.zeros(8)), optimizers, torch.zeros(8), Place(rank, 2, 2, rank, 0))
        parts.append(muon.orthogonalize(matrices, True))
    assert seen == [1, 2]
    assert torch.allclose(sum(parts), orthogonalized(matrices, torch.float32), atol=1e-6)


def test_a_process_that_reads_other_images_says_so(monkeypatch):
    told_by_first = json.dumps({"config": {}, "sha256": "aa"}).encode()
    monkeypatch.setattr(follower, "join", lambda place: None)
    monkeypatch.setattr(follower, "from_the_first", lambda: told_by_first)
    monkeypatch.setattr(follower.device, "prepare", lambda config: torch.device("cpu"))
    monkeypatch.setattr(follower.datasets, "load", lambda *_: SimpleNamespace(sha256="bb"))
    monkeypatch.setattr(follower.signal, "signal", lambda *_: None)
    with pytest.raises(DataError) as error:
        follower.follow(Place(1, 2, 2, 1, 0), offline=True)
    assert str(error.value) == (
        "process 1 of 2 reads other images: their sha256 is bb, and the first process's aa"
    )


def test_nothing_that_is_sent_is_unpickled():
    for module in (follower, together):
        assert "object_list" not in Path(module.__file__).read_text()


class Engine:
    """An engine that gives means over the images or the valid pixels that it is given."""

    terms = ("loss", "mse")

    def __init__(self, gradient):
        self.gradient = gradient

    def __call__(self, inputs, batch, loss, kept):
        errors = inputs.flatten(1).square()
        valid = torch.ones_like(errors) if batch.mask is None else batch.mask.flatten(1).float()
        by_pixel = (errors * valid).sum() / valid.sum().clamp_min(1)
        by_image = errors.sum(dim=1).mean()
        first = by_image if "loss" in loss.by_image else by_pixel
        self.gradient[:] = first
        return torch.stack([first, by_pixel])


@pytest.mark.parametrize("by_image", [frozenset(), frozenset({"loss"})], ids=["pixels", "images"])
@pytest.mark.parametrize("masked", [False, True])
def test_parts_add_up_to_the_mean_over_the_whole_batch(monkeypatch, by_image, masked):
    images = torch.rand((5, 1, 2, 2), generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([0, 0, 1, 1, 1], dtype=torch.bool).view(5, 1, 1, 1).expand(5, 1, 2, 2)
    batch = Batch(images, mask=mask if masked else None)  # the first part has no valid pixel
    loss = SimpleNamespace(by_image=by_image)
    whole = Engine(torch.zeros(3))
    expected = whole(images, batch, loss, None)
    sums = []
    monkeypatch.setattr(together.dist, "all_reduce", sums.append)
    for rank in (0, 1):
        engine = Engine(torch.zeros(3))
        work = together.Together(engine, {}, engine.gradient, Place(rank, 2, 2, rank, 0))
        work(images, batch, loss, None, 1.0)
    assert torch.allclose(sum(sums)[:3], whole.gradient, rtol=1e-6)
    assert torch.allclose(sum(sums)[3:], expected, rtol=1e-6)
