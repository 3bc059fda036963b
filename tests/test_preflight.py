"""Needs of a run are reported before anything is loaded."""

import json
from functools import partial
from types import SimpleNamespace

import pytest

from aecli import machine
from aecli.config import (
    LinearConfig,
    MlpConfig,
    PcaCompareConfig,
    ReproduceConfig,
    SweepConfig,
    TrainConfig,
)
from aecli.errors import JobsFailedError
from aecli.experiments import pca_compare, reproduce_changes, reproduce_parts, sweep_codedim
from aecli.runs import preflight, storage
from aecli.training.jobs import Trained


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
    assert "GB of memory, and there are" in done.stderr or "TB of memory, and" in done.stderr
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
    done = inside("train", "--dataset", "mnist", "--data-dir", "nowhere", "--runs-dir", runs)
    assert (done.code, done.stdout) == (6, "")
    assert f"cannot make a run folder in {runs}" in done.stderr


def test_too_small_a_disk_is_exit_6_with_both_sizes(inside, monkeypatch):
    usage = type("Usage", (), {"free": 1_000_000})()
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda path: usage)
    done = inside("train", "--dataset", "mnist-5k")
    assert done.code == 6
    assert "this run needs about 29 MB in runs, where 1.0 MB are free" in done.stderr


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (340_400, "340 kB"),
        (999_700, "1.0 MB"),
        (9.96e6, "10 MB"),
        (12e6, "12 MB"),
        (1.44e9, "1.4 GB"),
        (3e15, "3,000 TB"),
    ],
)
def test_sizes_have_the_unit_that_suits_them(number, text):
    assert storage.size(number) == text


@pytest.fixture
def room_for_two(monkeypatch):
    """A machine with eight cores, and memory for two trainings of a sweep at a time."""
    monkeypatch.setattr(machine, "usable_cores", lambda: 8)
    memory = preflight.estimate(SweepConfig(jobs=2)).memory + 1
    monkeypatch.setattr(machine, "memory_limit", lambda: memory)


@pytest.mark.usefixtures("room_for_two")
def test_too_many_jobs_are_fewer_where_nobody_asked_for_them(inside):
    config, [warning] = preflight.check(SweepConfig(), None)
    assert config.jobs == 2
    two, three = (preflight.estimate(SweepConfig(jobs=jobs)).memory for jobs in (2, 3))
    each = storage.size(three - two)
    assert warning.startswith(f"jobs=2 instead of 8: each needs about {each} of memory")
    assert preflight.check(SweepConfig(jobs=2), None) == (SweepConfig(jobs=2), [])
    refused = inside("sweep-codedim", "--jobs", "8", "--dry-run")
    assert refused.code == 2
    assert "8 trainings at a time; jobs=2 would fit" in refused.stderr
    quiet = inside("sweep-codedim", "--dry-run", "-q", "--offline")
    assert quiet.code == 0
    assert "jobs: 2" in quiet.stdout
    assert f"WARNING: {warning}" in quiet.stderr


def test_a_quota_is_counted_as_the_jobs_count_it(monkeypatch):
    monkeypatch.setattr(machine, "usable_cores", lambda: 3)
    three, here = preflight.estimate(SweepConfig(jobs=3)), preflight.estimate(SweepConfig())
    assert three == here


@pytest.mark.parametrize(
    ("config", "trained"),
    [
        (ReproduceConfig(), 55),
        (ReproduceConfig(seeds=1), 21),
        (SweepConfig(), 15),
        (SweepConfig(code_dims=(2, 32), variants=("plain", "sparse")), 12),
        (PcaCompareConfig(), 16),
        (TrainConfig(), 1),
    ],
)
def test_trainings_are_counted_as_they_run(config, trained):
    assert preflight.trainings(config) == trained


@pytest.mark.parametrize(
    ("config", "largest"),
    [
        (TrainConfig(), MlpConfig()),
        (PcaCompareConfig(), MlpConfig()),
        (SweepConfig(code_dims=(2, 32)), MlpConfig()),
        (SweepConfig(), MlpConfig(code_dim=784, hidden=())),
        (SweepConfig(codec=LinearConfig()), LinearConfig(code_dim=784)),
        (SweepConfig(codec=MlpConfig(hidden=(2000, 9))), MlpConfig(code_dim=784, hidden=(2000, 9))),
        (ReproduceConfig(), MlpConfig(code_dim=784, hidden=())),
    ],
)
def test_the_largest_codec_that_is_trained(config, largest):
    assert preflight.largest_codec(config) == largest


def test_a_dry_run_counts_the_parameters_of_the_largest_codec(inside):
    done = inside("reproduce", "--dry-run", "--dataset", "mnist-5k", "--json")
    assert json.loads(done.stdout)["parameters"] == 2 * (784 * 784 + 784)


def test_reproduce_trains_as_many_as_are_counted(monkeypatch, images):
    """Every job that its parts ask for, each once."""
    asked = set()

    def note(jobs, *_):
        asked.update(jobs, [job.ancestor for job in jobs if job.ancestor is not None])
        raise JobsFailedError

    for module in (reproduce_parts, reproduce_changes, sweep_codedim, pca_compare):
        monkeypatch.setattr(module, "train_all", note)
    monkeypatch.setattr(reproduce_changes, "FEW", 5)
    config = ReproduceConfig(seeds=2)
    shared = {"seeds": 2, "train": config.train}
    sweep = SweepConfig(code_dims=reproduce_parts.CODE_DIMS, **shared)
    compare = PcaCompareConfig(code_dims=reproduce_parts.COMPARED_DIMS, **shared)
    [row, wide] = [
        [Trained(job, None, []) for job in sweep_codedim._jobs(spec, sweep)]
        for spec in sweep_codedim.row_specs(sweep)
        if spec.key in ("32", "784_wide")
    ]
    of_run = config, None, None
    each = [ReproduceConfig(seed=seed, seeds=1) for seed in (0, 1)]
    for part in (
        lambda: reproduce_changes.measure_conversions(row, SimpleNamespace(images=images), *of_run),
        lambda: reproduce_changes.measure_noise(wide, images, *of_run),
        lambda: reproduce_changes.train_ordered(row, images, *of_run),
        *(partial(reproduce_changes.measure_scarce_class, images, one, None, None) for one in each),
        lambda: reproduce_parts.Gathering(config, images, None, None)._as_the_chapter(),
        lambda: sweep_codedim.measure_sweep(sweep, images, None, None),
        lambda: pca_compare.measure_comparison(compare, images, None, None),
    ):
        with pytest.raises(JobsFailedError):
            part()
    assert len(asked) == preflight.trainings(config) == 38
