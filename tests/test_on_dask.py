"""Sweeps on a Dask cluster: the numbers of this machine's own processes, and workers that fail."""

import importlib
import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from distributed import Client, LocalCluster

from aecli.config import SweepConfig
from aecli.config.effects import idle_settings
from aecli.config.resolve import resolve, set_layer
from aecli.errors import JobsFailedError, UsageError
from aecli.experiments import sweep_codedim
from aecli.runs import provenance
from aecli.training import on_dask, shared
from aecli.training.on_dask import do_on_dask
from aecli.training.shared import identity_of
from aecli.training.workers import Failure, Place
from tests.conftest import FEW_IMAGES, environment
from tests.tasks import work

SWEEP = ("sweep-codedim", "2", "3", *FEW_IMAGES, "--epochs", "1", "--seeds", "2")
_numbers = itertools.count()


class Shared:
    """What tasks share, here nothing; `images` is what a job opens."""

    images = None


@pytest.fixture(scope="module")
def scheduler():
    """The address of a scheduler with two workers, each in a process of its own."""
    with LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", memory_limit=0
    ) as found:
        yield found.scheduler_address


@pytest.fixture(autouse=True)
def few_probed(monkeypatch):
    """The probes read few images, which is quicker and decides nothing here."""
    monkeypatch.setattr(sweep_codedim, "N_PROBE", 100)


def place(scheduler, n, **keys):
    names = [f"task-{os.getpid()}-{next(_numbers)}" for _ in range(n)]
    return Place(2, names=names, scheduler=scheduler, **keys)


def test_every_task_is_done_once_and_a_failure_costs_no_other(scheduler):
    tasks = ["a", "diverge", "b", "bug", "c"]
    outcomes = dict(do_on_dask(work, Shared(), tasks, place(scheduler, 5)))
    assert sorted(outcomes) == list(range(5))
    assert outcomes[1] == Failure("training diverged")
    assert outcomes[3] == Failure("KeyError: 'oops'")
    done = [outcomes[i] for i in (0, 2, 4)]
    assert [task for _, task, _ in done] == ["a", "b", "c"]
    assert os.getpid() not in {pid for _, _, pid in done}


def test_a_task_that_kills_its_workers_is_given_up():
    """In a cluster of its own, whose workers are started again whenever they die."""
    outcomes = dict(do_on_dask(work, Shared(), ["die late", "a"], place(None, 2)))
    assert outcomes[0].reason.startswith("workers died of it: the last was tcp://")
    assert outcomes[1][1] == "a"


def test_a_task_that_takes_too_long_is_given_up_and_its_worker_started_anew(scheduler):
    there = place(scheduler, 2, timeout=2)
    outcomes = dict(do_on_dask(work, Shared(), ["hang", "a"], there))
    assert outcomes[0] == Failure("took longer than 2 s")
    assert outcomes[1][1] == "a"


def test_other_versions_on_a_worker_are_named(scheduler, monkeypatch):
    monkeypatch.setattr(provenance, "versions", lambda: {"aecli": "9.9", "torch": "1"})
    with pytest.raises(UsageError, match=r"worker tcp://\S+ has aecli .*, not 9\.9, torch .*, not"):
        list(do_on_dask(work, Shared(), ["a"], place(scheduler, 1)))


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("nowhere", "scheduler=nowhere: neither an address such as tcp://host:8786 nor a file"),
        ("text.json", r"scheduler=text\.json: no file of a Dask scheduler: JSONDecodeError"),
        ("list.json", r"scheduler=list\.json: no file of a Dask scheduler: TypeError"),
        ("tcp://127.0.0.1:9", "scheduler=tcp://127.0.0.1:9: no Dask scheduler answers there"),
    ],
)
def test_a_scheduler_that_is_not_there_is_named(address, message, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("text.json").write_text("hello")
    Path("list.json").write_text("[]")
    monkeypatch.setattr(on_dask, "_PATIENCE", 1)
    with pytest.raises(UsageError, match=message):
        list(do_on_dask(work, Shared(), ["a"], place(address, 1)))


def test_a_scheduler_that_is_lost_between_two_calls_fails_their_jobs(monkeypatch):
    """A sweep trains and then measures: --continue can complete it."""
    with LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0", memory_limit=0
    ) as cluster:
        address = cluster.scheduler_address
        assert dict(do_on_dask(work, Shared(), ["a"], place(address, 1)))[0][1] == "a"
        cluster.scale(0)
        while cluster.scheduler.workers:
            time.sleep(0.05)
        monkeypatch.setattr(on_dask, "_PATIENCE", 1)
        with pytest.raises(JobsFailedError, match="no worker came in 1 s; what is trained is kept"):
            list(do_on_dask(work, Shared(), ["a"], place(address, 1)))
    with pytest.raises(JobsFailedError, match="no Dask scheduler answers there"):
        list(do_on_dask(work, Shared(), ["a"], place(address, 1)))
    monkeypatch.setattr(on_dask, "_answered", {"scheduler.json"})  # gone with its scheduler
    with pytest.raises(JobsFailedError, match="nor a file; what is trained is kept"):
        list(do_on_dask(work, Shared(), ["a"], place("scheduler.json", 1)))


def test_an_absent_dask_names_its_extra(monkeypatch):
    def absent(name):
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(UsageError, match=r"pip install 'aecli\[dask\]'"):
        list(do_on_dask(work, Shared(), ["a"], place("tcp://x:1", 1)))


def test_a_scheduler_without_the_engine_has_no_effect():
    config = resolve(SweepConfig, [set_layer(["engine=dask", "scheduler=tcp://x:1"])])
    assert "scheduler" not in idle_settings(config)
    with pytest.raises(UsageError, match="scheduler='tcp://x:1' has no effect: engine is local"):
        resolve(SweepConfig, [set_layer(["scheduler=tcp://x:1"])])
    with pytest.raises(UsageError, match="jobs=2 has no effect: the workers of the scheduler"):
        resolve(SweepConfig, [set_layer(["engine=dask", "scheduler=tcp://x:1", "jobs=2"])])


def test_a_sweep_has_the_numbers_of_this_machines_processes(inside, scheduler):
    here = inside(*SWEEP, "--jobs", "1")
    there = inside(*SWEEP, "--engine", "dask", "--scheduler", scheduler)
    assert there.code == 0, there.stderr
    tables = [(each.run / "table.csv").read_bytes() for each in (here, there)]
    assert tables[0] == tables[1]
    kept = [sorted(path.name for path in (each.run / "jobs").iterdir()) for each in (here, there)]
    assert kept[0] == kept[1]


def test_a_sweep_whose_cluster_is_gone_goes_on_here(inside, scheduler, monkeypatch):
    monkeypatch.setattr(on_dask, "_PATIENCE", 2)
    there = inside(*SWEEP, "--engine", "dask", "--scheduler", scheduler)
    record = there.run / "run.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"status": "interrupted"}))
    gone = ("--engine", "dask", "--scheduler", "tcp://127.0.0.1:9")
    again = inside(*SWEEP, *gone, "--continue")
    assert again.code == 2
    assert "no Dask scheduler answers there" in again.stderr
    here = inside(*SWEEP, "--jobs", "1", "--continue")
    assert (here.code, here.run) == (0, there.run), here.stderr
    assert "trained " not in here.stderr


def test_another_dataset_on_a_worker_is_exit_3(inside, scheduler, monkeypatch):
    other = {"sha256": "0" * 64}
    monkeypatch.setattr(shared, "identity_of", lambda images: identity_of(images) | other)
    done = inside(*SWEEP, "--engine", "dask", "--scheduler", scheduler)
    assert done.code == 3
    assert "worker tcp://" in done.stderr
    assert "mnist-5k is another dataset here: sha256" in done.stderr


def test_a_cluster_of_its_own_is_started_and_ended(inside):
    done = inside(*SWEEP[:2], *FEW_IMAGES, "--epochs", "1", "--seeds", "1", "--engine", "dask")
    assert done.code == 0, done.stderr
    assert json.loads((done.run / "run.json").read_text())["config"]["engine"] == "dask"


def test_train_imports_nothing_of_dask(tmp_path):
    program = (
        "import sys\nfrom aecli.cli import main\n"
        f"sys.argv = ['aecli', 'train', '--epochs', '1', *{FEW_IMAGES!r}]\n"
        "try:\n    main()\n"
        "finally:\n    print([m for m in sys.modules if 'dask' in m or m == 'distributed'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("offered", "taken"),
    [
        ([{}, {}], {}),
        ([{"threads": 2.0}, {}], {"resources": {"threads": 2.0}}),
        ([{"gpu": 1.0, "threads": 8.0}], {"resources": {"threads": 2.0, "gpu": 0.25}}),
    ],
)
def test_a_task_takes_the_resources_that_workers_offer(offered, taken):
    client = SimpleNamespace(run=lambda _: dict(enumerate(offered)))
    place = Place(1, resources={"threads": 2.0, "gpu": 0.25})
    assert on_dask._taken(client, place) == taken


def test_resources_that_no_worker_has_are_named():
    client = SimpleNamespace(run=lambda _: {"a": {"threads": 1.0}, "b": {"gpu": 1.0}})
    with pytest.raises(UsageError, match=r"no worker .* of one training: threads=2, gpu=0\.25"):
        on_dask._taken(client, Place(1, resources={"threads": 2.0, "gpu": 0.25}))


def test_a_worker_tells_what_it_offers():
    cluster = {"n_workers": 1, "threads_per_worker": 1, "processes": False}
    offered = {"threads": 2}
    with (
        LocalCluster(**cluster, resources=offered, dashboard_address=None) as there,
        Client(there, set_as_default=False) as client,
    ):
        assert list(client.run(on_dask._resources).values()) == [offered]
