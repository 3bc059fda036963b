"""Runs that are stopped and gone on with: the same end to the bit, or a refusal that says why."""

import json
import os
import shutil
import sys
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save

from aecli import locks
from aecli.config import TrainConfig
from aecli.errors import UsageError
from aecli.runs import checkpoint, storage
from aecli.runs.folder import RunDir, new_run
from aecli.runs.run import Run
from aecli.training import device
from tests.conftest import FEW_IMAGES
from tests.twins import left_behind

TOLD = ("train", "--dataset", "mnist-5k", "--limit-train", "300", "--offline", "--threads", "1")
SMALL = (*TOLD, "--epochs", "3", "--batch-size", "100", "--set", "checkpoint_seconds=0")
SMALL += ("--set", "codec.hidden=[8]")
STEPS = 9


@pytest.fixture
def stopped(inside, monkeypatch):
    """A run that ended after its nth checkpoint, as `inside` leaves it."""

    def run(n, *arguments):
        before = {path.name for path in Path("runs").glob("*Z-*")}
        save, count = RunDir.save_checkpoint, 0

        def save_and_stop(self, state, history):
            nonlocal count
            save(self, state, history)
            count += 1
            if count == n:
                sys.exit(9)

        with monkeypatch.context() as patch:
            patch.setattr(RunDir, "save_checkpoint", save_and_stop)
            assert inside(*(arguments or SMALL)).code == 9
        [path] = {path for path in Path("runs").glob("*Z-*") if path.name not in before}
        return path

    return run


def record(path):
    return json.loads((path / "run.json").read_text())


@pytest.mark.parametrize(
    "given",
    [("--recipe", "muon"), ("--recipe", "chapter"), ("--set", "train.ordered=true")],
    ids=lambda given: given[1],
)
def test_a_run_stopped_at_any_step_ends_as_its_twin(inside, stopped, given):
    told = (*SMALL, *given, "--code-dim", "2")
    twin = left_behind(inside(*told).run)
    assert {"history.csv", "metrics.json", "model/model.safetensors"} < set(twin)
    assert ("ordered.csv" in twin) == ("train.ordered=true" in given)
    for n in (2, STEPS):
        path = stopped(n, *told)
        again = inside("resume", str(path))
        assert again.code == 0, again.stderr
        assert f"going on after step {n}" in again.stderr
        assert again.run == path.absolute()
        assert left_behind(path) == twin
        assert record(path)["status"] == "completed"
        assert not (path / "checkpoint").exists()


def test_a_completed_run_has_nothing_to_go_on_with(inside):
    done = inside(*SMALL)
    before = left_behind(done.run)
    again = inside("resume", str(done.run))
    assert (again.code, again.run) == (0, done.run)
    assert "nothing to go on with" in again.stderr
    assert left_behind(done.run) == before


@pytest.mark.parametrize("as_json", [(), ("--json",)])
def test_the_gate_of_a_completed_run_is_judged(inside, as_json):
    run = inside(*SMALL).run
    metrics = json.loads((run / "metrics.json").read_text())
    missed = inside("resume", str(run), *as_json, "--expect", "test_mse<=0")
    assert missed.code == 7
    assert f"expected test_mse<=0, measured {metrics['test_mse']}" in missed.stderr
    held = inside("resume", str(run), *as_json, "--expect", "test_mse>0", "--expect", "epochs==3")
    assert held.code == 0
    if as_json:
        assert json.loads(held.stdout) == {**metrics, "run": str(run)}
        assert json.loads(missed.stdout)["exit_code"] == 7
    else:
        assert held.run == missed.run == run
    misspelt = inside("resume", str(run), *as_json, "--expect", "tset_mse>0")
    assert (misspelt.code, misspelt.stdout) == (2, "")
    assert "did you mean 'test_mse'? train has dataset, " in misspelt.stderr


@pytest.mark.parametrize("content", [None, "", "[]", "{"])
def test_a_completed_run_without_its_metrics_passes_no_gate(inside, content):
    run = inside("train", *FEW_IMAGES, "--codec", "dct").run
    (run / "metrics.json").unlink()
    if content is not None:
        (run / "metrics.json").write_text(content)
    done = inside("resume", str(run), "--expect", "test_mse>0")
    assert done.code == 3
    assert "metrics.json" in done.stderr


@pytest.mark.parametrize("command", ["sample", "interpolate"])
def test_experiments_that_train_on_the_spot_go_on_too(inside, stopped, command):
    told = (command, *TOLD[1:], "--epochs", "2", "--code-dim", "2", *SMALL[-4:])
    told += ("--samples", "40") if command == "sample" else ("--pairs", "5")
    path = stopped(2, *told)
    twin = left_behind(inside(*told).run)
    assert inside("resume", str(path)).code == 0
    assert left_behind(path) == twin


def flip(path, position=-1):
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def test_a_damaged_generation_is_passed_over_and_told(inside, stopped):
    twin = left_behind(inside(*SMALL).run)
    path = stopped(5)
    older, newer = sorted((path / "checkpoint").iterdir())
    flip(newer / "state.safetensors")
    again = inside("resume", str(path), "-q")
    assert again.code == 0
    assert f"WARNING: {newer.absolute()}" in again.stderr
    assert "damaged" in again.stderr
    assert left_behind(path) == twin
    assert older != newer


@pytest.mark.parametrize("file", ["state.safetensors", "progress.json", "manifest.json"])
def test_a_bit_flipped_anywhere_in_a_generation_is_noticed(tmp_path, file):
    for step in (1, 2):
        checkpoint.save(tmp_path, "id", {"step": torch.tensor(step)}, [{"epoch": 0, "val": 0.5}])
    newer = tmp_path / "000002" / file
    whole = newer.read_bytes()
    for position in range(len(whole)):
        flip(newer, position)
        found, faults = checkpoint.load(tmp_path, "id")
        assert (int(found.state["step"]), len(faults)) == (1, 1)
        newer.write_bytes(whole)
    assert int(checkpoint.load(tmp_path, "id")[0].state["step"]) == 2


def test_no_readable_generation_is_exit_3(inside, stopped):
    path = stopped(5)
    for generation in (path / "checkpoint").iterdir():
        flip(generation / "state.safetensors")
    again = inside("resume", str(path))
    assert again.code == 3
    assert "no checkpoint of this run can be read" in again.stderr
    assert "Traceback" not in again.stderr


def test_a_generation_without_its_manifest_was_never_finished(inside, stopped):
    twin = left_behind(inside(*SMALL).run)
    path = stopped(1)
    [only] = (path / "checkpoint").iterdir()
    (only / "manifest.json").unlink()
    assert inside("resume", str(path)).code == 0
    assert left_behind(path) == twin


def test_another_runs_checkpoint_is_refused(inside, stopped):
    one, other = stopped(3), stopped(3)
    shutil.rmtree(one / "checkpoint")
    shutil.copytree(other / "checkpoint", one / "checkpoint")
    again = inside("resume", str(one))
    assert again.code == 3
    assert "of another run" in again.stderr


def reseal(generation, state, history):
    """Write a generation of the run's anew, as another version would have done."""
    run_id = json.loads((generation / "progress.json").read_text())["run"]
    progress = json.dumps({"run": run_id, "history": history}).encode()
    files = {"state.safetensors": save(state), "progress.json": progress}
    storage.seal(generation, files, generation.parent)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("a key more", "it lacks nothing and has ema that has no place here"),
        ("a key less", "it lacks muon_momentum"),
        ("no step", "it lacks step"),
        ("another shape", "not the state of such a training"),
        ("another row", "a history row {'epoch': 0, 'loss': 0.5}, where this version of aecli has"),
        ("words", "where this version of aecli has numbers for epoch, train_mse, val_mse, lr, sec"),
    ],
)
def test_a_checkpoint_of_another_version_is_exit_3(inside, stopped, damage, message):
    path = stopped(4)
    for generation in (path / "checkpoint").iterdir():
        state = load((generation / "state.safetensors").read_bytes())
        history = json.loads((generation / "progress.json").read_text())["history"]
        match damage:
            case "a key more":
                state["ema"] = torch.zeros(3)
            case "a key less":
                del state[next(key for key in state if key.startswith("muon_"))]
            case "no step":
                del state["step"]
            case "another shape":
                state["parameters"] = state["parameters"][:7]
            case "another row":
                history = [{"epoch": 0, "loss": 0.5}]
            case "words":
                history = [dict.fromkeys(row, "x") for row in history]
        reseal(generation, state, history)
    done = inside("resume", str(path))
    assert done.code == 3, done.stderr
    assert f"{path.absolute()}/checkpoint: " in done.stderr
    assert message in done.stderr


def test_jobs_and_device_of_a_run_that_is_gone_on_with(inside, stopped, jobs_here):
    path = stopped(3)
    refused = inside("resume", str(path), "--jobs", "2")
    assert (refused.code, refused.stdout) == (2, "")
    assert "--jobs: a run of `aecli train` trains one codec" in refused.stderr
    unknown = inside("resume", str(path), "--device", "abacus")
    assert unknown.code == 2
    assert "--device: device='abacus'" in unknown.stderr
    again = inside("resume", str(path), "--device", "cpu")
    assert again.code == 0, again.stderr
    assert "device: cpu" in (path / "config.yaml").read_text()
    sweep = inside("sweep-codedim", "2", *TOLD[1:], "--codec", "pca", "--seeds", "1", "--jobs", "2")
    told = record(sweep.run)
    (sweep.run / "run.json").write_text(json.dumps(told | {"status": "interrupted"}))
    assert inside("resume", str(sweep.run), "--jobs", "1").code == 0
    assert "jobs: 1" in (sweep.run / "config.yaml").read_text()


def test_a_completed_run_is_left_without_lock_and_checkpoints(inside, stopped):
    path = stopped(3)
    assert (path / ".lock").exists()
    assert inside("resume", str(path)).code == 0
    hidden = [each.name for each in path.iterdir() if each.name.startswith(".")]
    assert (hidden, (path / "checkpoint").exists()) == ([], False)


def test_who_waited_for_a_run_that_is_completed_now_does_not_do_it_again(tmp_path):
    with new_run(tmp_path, TrainConfig(), "x", []) as run:
        pass
    before = (run.path / "run.json").read_bytes()
    with (
        pytest.raises(UsageError, match="another process has completed this run meanwhile"),
        new_run(tmp_path, TrainConfig(), "x", [], run.path),
    ):
        pass
    assert (run.path / "run.json").read_bytes() == before


def test_a_lock_that_was_removed_by_its_holder_is_made_anew(tmp_path):
    path, taken = tmp_path / "lock", []

    def wait():
        with locks.hold(path, patience=10):
            taken.append(path.exists())

    with locks.hold(path):
        waiting = threading.Thread(target=wait)
        waiting.start()
        with pytest.raises(TimeoutError), locks.hold(path):
            pass
        path.unlink()
        with locks.hold(path):  # the new file's: nobody else has that
            pass
    waiting.join(20)
    assert taken == [True]


def test_a_changed_config_is_refused_with_both_values(inside, stopped):
    path = stopped(3)
    config = path / "config.yaml"
    config.write_text(config.read_text().replace("epochs: 3", "epochs: 4"))
    again = inside("resume", str(path))
    assert again.code == 2
    assert [line.split() for line in again.stderr.splitlines()][-1] == [
        "aecli:",
        "train.epochs",
        "3",
        "4",
    ]


def test_another_dataset_is_refused_with_both_hashes(inside, stopped):
    path = stopped(3)
    told = record(path)
    real = told["dataset"]["sha256"]
    told["dataset"]["sha256"] = "0" * 64
    (path / "run.json").write_text(json.dumps(told))
    again = inside("resume", str(path))
    assert again.code == 2
    assert "the dataset is not the one this run began with" in again.stderr
    assert "0" * 64 in again.stderr
    assert real in again.stderr


@pytest.mark.parametrize("key", ["torch", "threads", "precision"])
def test_what_costs_only_the_last_bits_goes_on_with_a_recorded_warning(inside, stopped, key):
    path = stopped(3)
    told = record(path)
    (path / "run.json").write_text(json.dumps(told | {key: "other"}))
    again = inside("resume", str(path), "-q")
    assert again.code == 0
    [warning] = record(path)["warnings"]
    assert warning.startswith(f"{key}: this run began with other and goes on with {told[key]}")
    assert f"WARNING: {warning}" in again.stderr


def test_a_run_goes_on_as_it_was_decided_on_another_cpu(inside, stopped, monkeypatch):
    """FINDINGS 20: device, threads and precision are the run's, not this machine's."""
    small = ("--code-dim", "2", "--set", "codec.hidden=[8]")  # bf16 is slow where it is emulated
    asked = (*FEW_IMAGES, *small, "--epochs", "3", "--batch-size", "100")
    asked += ("--set", "checkpoint_seconds=0")
    monkeypatch.setattr(device, "fast_bf16", lambda where: True)
    monkeypatch.setattr(device, "usable_cores", lambda: 1)
    path = stopped(3, "train", *asked)
    twin = left_behind(inside("train", *asked).run)
    text = (path / "config.yaml").read_text()
    monkeypatch.setattr(device, "fast_bf16", lambda where: False)
    monkeypatch.setattr(device, "usable_cores", lambda: 7)
    assert inside("resume", str(path)).code == 0
    assert (path / "config.yaml").read_text() == text
    assert "threads: 1\n" in text
    assert "precision: bf16\n" in text
    assert "warnings" not in record(path)
    assert left_behind(path) == twin


@pytest.mark.parametrize("flag", ["--jobs=2", "--fail-fast", "--job-timeout=9"])
def test_flags_of_many_trainings_are_refused_for_one(inside, stopped, flag):
    done = inside("resume", str(stopped(3)), flag)
    assert (done.code, done.stdout) == (2, "")
    assert f"{flag.partition('=')[0]}: a run of `aecli train` trains one codec" in done.stderr


@pytest.mark.parametrize("content", [None, "", "{}", "[]", '{"config": {}, "command": "x"}'])
def test_a_folder_that_is_no_run_is_exit_3(inside, tmp_path, content):
    (tmp_path / "run").mkdir()
    if content is not None:
        (tmp_path / "run" / "run.json").write_text(content)
    done = inside("resume", "run")
    assert done.code == 3
    assert "Traceback" not in done.stderr
    assert inside("resume", "nowhere").code == 3


def test_a_run_that_cannot_be_gone_on_with_is_named(inside, stopped):
    path = stopped(3).absolute()
    told = ("resume", str(path), "--data-dir", "gone")
    done = inside(*told, "--json")
    failure = json.loads(done.stdout)
    assert (failure["run"], failure["exit_code"], done.code) == (str(path), 3, 3)
    assert "data folder gone: no such folder" in failure["error"]
    assert (inside(*told).run, record(path)["status"]) == (path, "failed")


def test_one_process_to_a_run(inside, tmp_path):
    with new_run(tmp_path / "runs", TrainConfig(), "x", []) as run:
        done = inside("resume", str(run.path))
        assert Run(run.path).state == "running"
    assert done.code == 2
    assert f"process {os.getpid()} is working in this run folder" in done.stderr


def test_ls_tells_the_states_apart(inside, tmp_path, stopped):
    done = inside(*SMALL).run
    failed = stopped(2)
    dead = stopped(2)
    (dead / "run.json").write_text(json.dumps(record(dead) | {"status": "running"}))
    (tmp_path / "runs" / "20260101T000000Z-train-x").mkdir()
    rows = json.loads(inside("ls", "--json").stdout)["runs"]
    assert {row["run"]: row["state"] for row in rows} == {
        "20260101T000000Z-train-x": "empty",
        done.name: "completed",
        failed.name: "failed",
        dead.name: "dead",
    }
    assert done.name in inside("ls").stdout
    assert inside("ls", "--runs-dir", "nowhere").code == 0
