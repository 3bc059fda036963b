"""Run folders: fresh each time, whole files only, a status that says how it ended."""

import errno
import json
import math
import os
from pathlib import Path
from unittest import mock

import pytest

from aecli.config import TrainConfig, with_values
from aecli.errors import Interrupted, StorageError, UsageError, run_of
from aecli.runs import folder as run_folder
from aecli.runs import storage
from aecli.runs.folder import RunDir, new_run
from aecli.runs.record import recorded_config

CONFIG = TrainConfig()


def status(path):
    return json.loads((path / "run.json").read_text())["status"]


def test_the_status_follows_the_end(tmp_path):
    with new_run(tmp_path, CONFIG, "x", []) as done:
        assert status(done.path) == "running"
    with pytest.raises(ValueError, match="oops"), new_run(tmp_path, CONFIG, "x", []) as failed:
        raise ValueError("oops")
    with pytest.raises(Interrupted), new_run(tmp_path, CONFIG, "x", []) as interrupted:
        raise Interrupted(15)
    assert [status(run.path) for run in (done, failed, interrupted)] == [
        "completed",
        "failed",
        "interrupted",
    ]
    assert json.loads((failed.path / "run.json").read_text())["error"] == "ValueError: oops"
    assert (tmp_path / "latest").readlink().name == done.path.name  # the newest finished one


def test_an_interrupted_run_on_a_full_disk_is_an_interrupted_one(tmp_path, monkeypatch):
    def stop():
        monkeypatch.setattr(storage, "write_whole", mock.Mock(side_effect=StorageError("full")))
        raise Interrupted(15)

    with pytest.raises(Interrupted) as error, new_run(tmp_path, CONFIG, "x", []) as run:
        stop()
    assert run_of(error.value) == run.path


def test_a_kill_between_the_two_files_of_a_config_is_no_change_of_it(tmp_path, monkeypatch):
    found = with_values(CONFIG, {"data.limit_train": 6000, "device": "cpu"})
    write = RunDir._write

    def all_but_the_yaml(self, name, content):
        if name == "config.yaml":
            raise SystemExit
        write(self, name, content)

    def stop(run):
        monkeypatch.setattr(RunDir, "_write", all_but_the_yaml)
        run.write_config(found)

    with pytest.raises(SystemExit), new_run(tmp_path, CONFIG, "x", []) as run:
        stop(run)
    monkeypatch.undo()
    assert "limit_train: null" in (run.path / "config.yaml").read_text()
    assert recorded_config(run.path).data.limit_train == 6000
    (run.path / "config.yaml").write_text("seed: 1\n")
    with pytest.raises(UsageError, match="its config was changed"):
        recorded_config(run.path)
    with new_run(tmp_path, found, "x", [], run.path):
        pass
    assert "limit_train: 6000" in (run.path / "config.yaml").read_text()
    assert recorded_config(run.path).data.limit_train == 6000
    assert "config_before" not in json.loads((run.path / "run.json").read_text())


def test_a_latest_that_cannot_name_the_run_is_a_storage_error(tmp_path, monkeypatch):
    with new_run(tmp_path, CONFIG, "x", []):
        pass
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(Path, "symlink_to", mock.Mock(side_effect=full))
    with (
        pytest.raises(StorageError, match=r"is completed, but .*latest cannot name it: No space"),
        new_run(tmp_path, CONFIG, "x", []) as second,
    ):
        pass
    assert status(second.path) == "completed"
    monkeypatch.undo()
    run_folder.tidy(second.path)
    assert (tmp_path / "latest").readlink().name == second.path.name


def test_a_file_system_without_links_has_no_latest(tmp_path, monkeypatch):
    no_links = OSError(errno.EPERM, "Operation not permitted")
    monkeypatch.setattr(Path, "symlink_to", mock.Mock(side_effect=no_links))
    with new_run(tmp_path, CONFIG, "x", []) as run:
        pass
    assert status(run.path) == "completed"
    assert not (tmp_path / "latest").exists()


@pytest.mark.parametrize("runs", ["file", "file/below"])
def test_a_runs_folder_that_cannot_be_is_a_storage_error(tmp_path, runs):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot make a run folder in"):
        new_run(tmp_path / runs, CONFIG, "x", []).__enter__()


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failed_write_names_file_and_size_and_leaves_the_old_one(tmp_path, monkeypatch, call):
    def full(*_):
        raise OSError(28, "No space left on device")

    with new_run(tmp_path, CONFIG, "x", []) as run:
        run.save_text("a.txt", "old")
        with monkeypatch.context() as patch:
            patch.setattr(*((os, "fsync") if call == "fsync" else (Path, "replace")), full)
            with pytest.raises(StorageError, match=r"/a\.txt \(5 bytes\): No space left on device"):
                run.save_text("a.txt", "newer")
        assert (run.path / "a.txt").read_text() == "old"
        assert not list(run.path.glob("*.part")) + list(run.path.glob(".*.part"))


def test_numbers_that_json_lacks_are_null_and_in_csv_empty(tmp_path):
    with new_run(tmp_path, CONFIG, "x", []) as run:
        run.write_metrics({"a": math.nan, "b": [math.inf, 1.5], "c": None})
        run.write_csv("t.csv", [{"x": 1, "y": math.nan}, {"x": 0.1, "y": 2}])
    assert json.loads((run.path / "metrics.json").read_text()) == {
        "a": None,
        "b": [None, 1.5],
        "c": None,
    }
    assert (run.path / "t.csv").read_text() == "x,y\n1,\n0.1,2\n"
