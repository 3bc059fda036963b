"""Finding runs: by path, by the name that `aecli ls` prints, and `latest`; and listing them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from aecli.config import SweepConfig, TrainConfig
from aecli.errors import DataError, StorageError
from aecli.runs.folder import new_run, tidy
from aecli.runs.registry import find_run, find_unfinished, list_runs, unfinished_run
from tests.faults.program import QUICK

DAY = "2026-01-{:02d}T00:00:00+00:00"


def make_run(runs, day, status="completed", model=True, config=None, **facts):
    """A run folder named by the day that it began on, which finished on another one if told so."""
    path = runs / f"202601{day:02d}T000000Z-train-x"
    path.mkdir(parents=True)
    config = (config or TrainConfig()).model_dump(mode="json")
    told = {"status": status, "command": config["experiment"], "config": config}
    told |= {"started": DAY.format(day), "finished": DAY.format(facts.pop("finished", day))}
    (path / "run.json").write_text(json.dumps(told | facts))
    if model:
        (path / "model").mkdir()
        (path / "model" / "config.json").write_text("{}")
    return path


def test_latest_is_the_one_that_finished_last_of_those_that_have_a_model(tmp_path):
    make_run(tmp_path, 1)
    slow = make_run(tmp_path, 2, finished=9)
    make_run(tmp_path, 3)
    make_run(tmp_path, 4, finished=20, status="failed")
    make_run(tmp_path, 5, finished=21, model=False)
    make_run(tmp_path, 6, finished=22, status="running")
    (tmp_path / "latest").symlink_to(slow.name)
    assert find_run("latest", tmp_path).path == slow
    assert find_run(slow.name, tmp_path).path == slow
    assert find_run(str(slow), tmp_path / "elsewhere").path == slow
    assert find_run(str(tmp_path / "latest"), tmp_path).path == tmp_path / "latest"


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("x", "--run x: no such run folder, here or in"),
        ("a/b", "--run a/b: no such run folder"),
        ("latest", "--run latest: no finished run in"),
        ("20260105T000000Z-train-x", "a run folder without a model"),
    ],
)
def test_a_run_that_is_not_there_is_a_data_error(tmp_path, named, message):
    make_run(tmp_path, 5, model=False)
    with pytest.raises(DataError, match=message):
        find_run(named, tmp_path)


def test_the_latest_unfinished_one_is_that_begun_or_gone_on_with_last(tmp_path):
    make_run(tmp_path, 1, status="failed")
    again = make_run(tmp_path, 2, status="interrupted", resumed=[DAY.format(8)])
    dead = make_run(tmp_path, 3, status="running")
    make_run(tmp_path, 9)
    (tmp_path / "20260110T000000Z-train-x").mkdir()
    assert find_unfinished("latest", tmp_path).path == again
    assert find_unfinished(dead.name, tmp_path).path == dead
    with pytest.raises(DataError, match=r"no run in .* is unfinished"):
        find_unfinished("latest", tmp_path / "nowhere")


def test_a_running_one_is_not_to_be_gone_on_with(tmp_path):
    with (
        new_run(tmp_path, TrainConfig(), "x", []),
        pytest.raises(DataError, match="or all are running"),
    ):
        find_unfinished("latest", tmp_path)


def test_who_finished_later_keeps_the_link(tmp_path):
    """A run that began later and finished earlier, resumed when it is completed."""
    slow, quick = make_run(tmp_path, 1, finished=9), make_run(tmp_path, 2, finished=3)
    latest = tmp_path / "latest"
    tidy(quick)
    assert latest.readlink().name == quick.name
    tidy(slow)
    assert latest.readlink().name == slow.name
    tidy(quick)
    assert latest.readlink().name == slow.name


def test_runs_are_found_by_the_name_that_ls_prints(inside, tmp_path, monkeypatch):
    run = inside("train", *QUICK, "--runs-dir", "elsewhere").run
    told = json.loads((run / "run.json").read_text())
    assert run.name in inside("ls", "--runs-dir", "elsewhere").stdout
    sampled = ("sample", "--run", run.name, "--samples", "20", "--offline", "--dry-run", "--json")
    config = json.loads(inside(*sampled, "--runs-dir", "elsewhere").stdout)["config"]
    assert config["run"] == str(run)
    lost = inside("resume", run.name)
    assert (lost.code, lost.stdout) == (3, "")
    assert f"{run.name}: no such run folder, here or in runs" in lost.stderr
    (run / "run.json").write_text(json.dumps(told | {"status": "interrupted"}))
    monkeypatch.setenv("AECLI_RUNS_DIR", "elsewhere")
    again = inside("resume", "latest")
    assert (again.code, again.run) == (0, run), again.stderr
    assert f"latest unfinished run: {run.name}" in again.stderr
    assert inside("resume", run.name).run == run


def test_which_run_is_looked_into_is_said(inside):
    run = inside("train", *QUICK).run
    done = inside("sample", "--run", "latest", "--samples", "20", "--offline")
    assert done.code == 0, done.stderr
    assert f"looking into the run {run.name}" in done.stderr


def sweep(**changed):
    return SweepConfig(code_dims=(2,), seeds=1, **changed)


def test_continue_finds_a_run_whatever_cannot_change_a_number(tmp_path):
    run = make_run(tmp_path, 1, status="interrupted", config=sweep(jobs=2))
    assert unfinished_run(tmp_path, sweep(jobs=1)).path == run
    assert unfinished_run(tmp_path, sweep(checkpoint_seconds=5.0)).path == run
    other = unfinished_run(tmp_path, sweep(seed=3, threads=2))
    assert (other.path, other.nearest) == (None, run.name)
    assert set(other.differences) == {"seed (0, now 3)", "threads (1, now 2)"}
    assert unfinished_run(tmp_path, TrainConfig()).nearest is None


def test_continue_says_what_it_found(inside, tmp_path, jobs_here):
    told = ("sweep-codedim", "2", *QUICK, "--seeds", "1")
    nothing = inside(*told, "--continue", "--jobs", "2")
    assert "--continue: no unfinished sweep-codedim in runs; a new run" in nothing.stderr
    record = json.loads((nothing.run / "run.json").read_text())
    (nothing.run / "run.json").write_text(json.dumps(record | {"status": "interrupted"}))
    other = inside(*told, "--seed", "4", "--continue", "--jobs", "2")
    assert other.run != nothing.run
    assert "WARNING: --continue: no unfinished run of this config in runs" in other.stderr
    assert f"{nothing.run.name}, differs in seed (0, now 4)" in other.stderr
    found = inside(*told, "--continue", "--jobs", "1")
    assert (found.code, found.run) == (0, nothing.run)
    assert f"going on in {nothing.run}: sweep-codedim" in found.stderr
    assert "trained 1" not in found.stderr


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    assert list_runs(tmp_path / "nowhere") == []
    with pytest.raises(StorageError, match="cannot list the runs in"):
        list_runs(tmp_path / "file")


def test_ls_imports_no_torch(tmp_path):
    make_run(tmp_path / "runs", 1)
    make_run(tmp_path / "runs", 2, status="running")
    code = (
        "import sys; sys.argv = ['aecli', 'ls']\n"
        "from aecli.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([m for m in ('torch', 'matplotlib', 'safetensors') if m in sys.modules])"
    )
    root = str(Path(__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {root!r})\n{code}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    *rows, modules = done.stdout.splitlines()
    assert [row.split()[1] for row in rows] == ["state", "completed", "dead"]
    assert modules == "[]"
