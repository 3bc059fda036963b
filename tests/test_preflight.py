"""What a run needs is told before anything is loaded."""

import time

import pytest

from aecli import preflight
from aecli.config import MlpConfig, SweepConfig, TrainConfig


@pytest.mark.parametrize(
    "told",
    [
        ("--code-dim", "1000000000"),
        ("--code-dim", "100000000"),
        ("--set", "codec.hidden=[100000000]"),
        ("--batch-size", "1000000000"),
        ("--code-dim", "1000000000", "--dry-run"),
    ],
)
def test_more_than_the_machine_has_is_exit_2_with_the_estimate(inside, tmp_path, told):
    done = inside("train", "--dataset", "mnist-5k", *told)
    assert (done.code, done.stdout) == (2, "")
    assert "GB of memory, and there are" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_estimate_grows_with_what_takes_memory():
    small = preflight.estimate(TrainConfig())
    wide = preflight.estimate(TrainConfig(codec=MlpConfig(hidden=(4096,))))
    assert wide.memory - small.memory > 4 * 5 * 2 * 784 * 4096
    assert wide.disk > small.disk
    one, two = (preflight.estimate(SweepConfig(jobs=jobs)).memory for jobs in (1, 2))
    assert two > one


@pytest.mark.parametrize("runs", ["file", "file/below"])
def test_a_runs_folder_that_cannot_be_is_exit_6_before_data_is_loaded(inside, tmp_path, runs):
    (tmp_path / "file").write_text("")
    started = time.monotonic()
    done = inside("train", "--dataset", "mnist", "--data-dir", "nowhere", "--runs-dir", runs)
    assert (done.code, done.stdout) == (6, "")
    assert f"cannot make a run folder in {runs}" in done.stderr
    assert time.monotonic() - started < 2


def test_too_small_a_disk_is_exit_6_with_both_sizes(inside, monkeypatch):
    usage = type("Usage", (), {"free": 1_000_000})()
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda path: usage)
    done = inside("train", "--dataset", "mnist-5k")
    assert done.code == 6
    assert "GB in runs, where 0.0 GB are free" in done.stderr
