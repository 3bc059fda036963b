"""Worker processes: what befalls one task is told, and costs no other."""

import json
import multiprocessing
import os
import signal
import time

import pytest
import torch
from safetensors.numpy import load, save

from aecli.config import FitConfig, MlpConfig, SweepConfig
from aecli.data.sources import default_places
from aecli.errors import JobsFailedError
from aecli.experiments import sweep_codedim
from aecli.runs import provenance, storage
from aecli.runs.context import Context
from aecli.runs.folder import new_run
from aecli.terminal import Terminal
from aecli.training import jobs, workers
from aecli.training.measuring import measure_all
from aecli.training.workers import Failure, do_here, do_in_workers, kept
from tests.conftest import FEW_IMAGES, SMALL
from tests.tasks import KilledOnArrival, SlowToArrive, work
from tests.twins import left_behind

REASONS = {
    "die": "its process was killed by SIGKILL",
    "leave": "its process ended with exit code 3",
    "diverge": "training diverged",
    "bug": "KeyError: 'oops'",
    "hoard": "out of memory",
}


@pytest.fixture(autouse=True)
def few_probed(monkeypatch):
    """The probes read few images, which is quicker and decides nothing here."""
    monkeypatch.setattr(sweep_codedim, "N_PROBE", 100)


def test_every_task_is_done_once_whatever_befalls_its_neighbours():
    tasks = ["a", "die", "b", "leave", "diverge", "c", "bug", "hoard", "d"]
    outcomes = dict(do_in_workers(work, "shared", tasks, 2))
    assert sorted(outcomes) == list(range(len(tasks)))
    for index, task in enumerate(tasks):
        if task in REASONS:
            assert outcomes[index] == Failure(REASONS[task])
        else:
            shared, same, pid = outcomes[index]
            assert (shared, same) == ("shared", task)
            assert pid != os.getpid()


def test_kept_workers_do_the_tasks_of_the_next_call_and_end_with_the_block():
    def pids(shared):
        outcomes = dict(do_in_workers(work, shared, ["a", "b"], 2))
        assert [outcome[:2] for _, outcome in sorted(outcomes.items())] == [
            (shared, "a"),
            (shared, "b"),
        ]
        return {outcome[2] for outcome in outcomes.values()}

    def ended(pid):
        deadline = time.monotonic() + 10
        while pid in {child.pid for child in multiprocessing.active_children()}:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return True

    with kept():
        first = pids("one")
        assert pids("another") <= first
        dead = first.pop()
        os.kill(dead, signal.SIGKILL)
        assert ended(dead)
        third = pids("a third")
        assert dead not in third
    assert all(map(ended, first | third))


def test_what_cannot_be_measured_is_told_by_its_number(tmp_path, images):
    config = SweepConfig(jobs=1)
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    with new_run(tmp_path, config, "x", []) as run:
        context = Context(tmp_path, default_places(), [], Terminal())

        def measured(divisors):
            return measure_all(_height, divisors, images, config, run, context, "looking")

        assert measured([1, 2]) == [28, 14]
        with pytest.raises(JobsFailedError, match="looking, 2 of 3: ZeroDivisionError"):
            measured([1, 0, 2])
    assert torch.equal(torch.rand(1), expected)


def _height(images, divisor):
    assert torch.get_num_threads() == 1
    return images.shape[1] // divisor + int(torch.rand(1))


def test_a_task_that_hangs_is_ended_at_its_time():
    outcomes = dict(do_in_workers(work, None, ["hang", "a"], 2, timeout=1))
    assert outcomes[0] == Failure("took longer than 1 s")
    assert outcomes[1][1] == "a"


def test_time_runs_from_when_the_worker_is_ready_until_its_outcome_is_here():
    [(_, outcome)] = do_in_workers(work, SlowToArrive(), ["a"], 1, timeout=0.9)
    assert outcome[1] == "a"
    outcomes = dict(do_in_workers(work, None, ["half an outcome", "a"], 1, timeout=0.5))
    assert outcomes[0] == Failure("took longer than 0.5 s")
    assert outcomes[1][1] == "a"


def test_a_worker_that_never_gets_ready_is_a_failure(monkeypatch):
    monkeypatch.setattr(workers, "START_SECONDS", 0.0)
    outcomes = dict(do_in_workers(work, SlowToArrive(), ["a", "b"], 1, timeout=60))
    assert set(outcomes.values()) == {Failure("its process was not ready after 0 s")}


def test_a_worker_that_dies_before_all_that_is_shared_has_reached_it_is_a_failure():
    """It would have kept its parent waiting for ever."""
    shared = (KilledOnArrival(), bytes(10**7))
    [(_, outcome)] = do_in_workers(work, shared, ["a"], 1)
    assert outcome == Failure("its process was killed by SIGKILL")


def test_in_this_process_a_failure_costs_no_other_either():
    outcomes = dict(do_here(work, None, ["diverge", "a", "bug"]))
    assert outcomes[0] == Failure("training diverged")
    assert outcomes[1][1:] == ("a", os.getpid())
    assert outcomes[2] == Failure("KeyError: 'oops'")


@pytest.fixture
def failing(monkeypatch):
    """Makes the training of code 3 fail."""
    train = jobs._train

    def fail(shared, task):
        job, *_ = task
        if job.codec.code_dim == 3:
            raise MemoryError
        return train(shared, task)

    with monkeypatch.context() as patch:
        patch.setattr(jobs, "_train", fail)
        yield patch


SWEEP = ("sweep-codedim", "2", "3", *SMALL, "--seeds", "2", "--jobs", "1")


def test_a_sweep_with_failed_jobs_is_exit_5_and_continue_completes_it(inside, failing):
    partial = inside(*SWEEP)
    assert partial.code == 5
    assert "2 jobs failed" in partial.stderr
    assert "mlp code 3 (256-64), seed 1: out of memory" in partial.stderr
    metrics = partial.metrics()  # the path is on stdout still
    assert (metrics["rows"], metrics["failed_jobs"]) == (1, 2)
    assert "mlp code 3 (256-64), seed 0: out of memory" in (partial.run / "table.md").read_text()
    assert json.loads((partial.run / "run.json").read_text())["status"] == "failed"
    failing.undo()
    whole = inside(*SWEEP, "--continue")
    assert (whole.code, whole.run) == (0, partial.run)
    assert whole.stderr.count("trained") == 2
    assert left_behind(whole.run) == left_behind(inside(*SWEEP).run)


@pytest.mark.parametrize("damage", ["bits", "format", "keys", "rows", "names", "shapes"])
def test_a_kept_job_that_cannot_be_read_is_trained_anew_with_a_warning(
    tmp_path, images, capsys, damage
):
    config = SweepConfig(seeds=1, jobs=1, code_dims=(2,))
    job = jobs.Job(MlpConfig(code_dim=2, hidden=(8,)), FitConfig(epochs=1, batch_size=200), 0)
    with new_run(tmp_path, config, "x", []) as run:
        context = Context(tmp_path, default_places(), [], Terminal())
        first = jobs.train_all([job], images, config, run, context).done[job]
        [kept] = run.jobs.iterdir()
        history = json.loads((kept / "history.json").read_text())["history"]
        state = load((kept / "model.safetensors").read_bytes())
        match damage:
            case "bits":
                (kept / "model.safetensors").write_bytes(bytes(9))
            case "format":
                (kept / "history.json").write_text('{"format": 3, "history": []}')
            case "keys":
                seal(kept, state, [row | {"kl_nats": 1.0} for row in history])
            case "rows":
                seal(kept, state, [{"epoch": "zero"}])
            case "names":
                seal(kept, {f"x{name}": array for name, array in state.items()}, history)
            case "shapes":
                seal(kept, {name: array[:1] for name, array in state.items()}, history)
        again = jobs.train_all([job], images, config, run, context).done[job]
    said = capsys.readouterr().err
    assert said.count("WARNING: mlp code 2 (8), seed 0: what was kept of it is trained anew") == 1
    assert said.count("trained 1 of 1") == 2
    states = [trained.codec.state_dict() for trained in (first, again)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def reopen(run):
    """Make a completed run one that was interrupted."""
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {"status": "interrupted"}))


def seal(job, state, history):
    kept = json.dumps({"format": 2, "history": history}).encode()
    files = {"model.safetensors": save(state), "history.json": kept}
    storage.seal(job, files, job.parent)


def test_what_another_program_kept_is_not_used_and_told(inside, monkeypatch):
    told = ("sweep-codedim", "2", *FEW_IMAGES, "--codec", "pca", "--seeds", "1", "--jobs", "1")
    first = inside(*told)
    reopen(first.run)
    record = json.loads((first.run / "run.json").read_text())
    now = record["program_sha256"]
    assert now == provenance.program_sha256()
    assert isinstance(record["git_dirty"], bool | None)
    monkeypatch.setattr(provenance, "program_sha256", lambda: "f" * 64)
    again = inside("resume", str(first.run), "-q")
    assert again.code == 0, again.stderr
    assert len(list((first.run / "jobs").iterdir())) == 2
    [warning] = json.loads((first.run / "run.json").read_text())["warnings"]
    assert f"this run began with {now[:12]}" in warning
    assert "goes on with ffffffffffff" in warning
    assert f"WARNING: {warning}" in again.stderr


def test_fail_fast_stops_at_the_first(inside, failing):
    done = inside("sweep-codedim", "3", "2", *SMALL, "--seeds", "3", "--jobs", "1", "--fail-fast")
    assert (done.code, done.run.is_dir()) == (5, True)  # what is done of it is kept
    assert "1 job failed" in done.stderr


@pytest.mark.usefixtures("failing")
def test_a_comparison_needs_all_its_jobs(inside):
    done = inside("pca-compare", "2", "3", *SMALL, "--seeds", "1", "--jobs", "1")
    assert (done.code, done.run.is_dir()) == (5, True)  # what is done of it is kept
    assert "mlp code 3 (256-64), seed 0: out of memory" in done.stderr


def test_a_job_past_its_time_is_a_failed_one(inside):
    told = ("sweep-codedim", "2", *SMALL, "--seeds", "1", "--job-timeout", "0.01")
    done = inside(*told)
    assert done.code == 5
    assert "seed 0: took longer than 0.01 s" in done.stderr
    assert inside("sweep-codedim", "2", *SMALL, "--job-timeout", "-1").code == 2
