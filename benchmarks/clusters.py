"""`python -m benchmarks.clusters`: trainings on a Dask cluster beside those in this machine's own
processes, what one job costs there, and the memory of thousands that wait.

Needs `aecli[dask]`. Real trainings, of the default net on MNIST's first images, in turns by both
engines, each with two workers that it starts itself; then on two workers that are there. A stub is
a job that does nothing: its seconds are the engine's own.
"""

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
from distributed import LocalCluster

from aecli.config import DataConfig, FitConfig, MlpConfig
from aecli.data import datasets, sources
from aecli.training import jobs, workers
from aecli.training.checkpoints import Checkpoints
from aecli.training.jobs import Job
from aecli.training.on_dask import do_on_dask
from aecli.training.shared import Shared
from aecli.training.workers import Failure, Place

WORKERS = 2


def main() -> None:
    """Read the command line, measure, print a JSON object."""
    options = _options()
    found: dict[str, Any] = {}
    with LocalCluster(
        n_workers=WORKERS, threads_per_worker=1, dashboard_address="127.0.0.1:0", memory_limit=0
    ) as cluster:
        address = cluster.scheduler_address
        _timed(do_on_dask, _stub, None, range(8), address)  # imports what a job needs
        found["stubs"] = stubs(address, options.stubs)
    if options.trainings:
        found["trainings"] = trainings(options)
    print(json.dumps(found, indent=2))


def stubs(address: str, count: int) -> dict[str, float]:
    """Milliseconds of a job that does nothing, and what this process, which has the scheduler in
    it, grows by while so many wait."""
    several = [_timed(do_on_dask, _stub, None, range(200), address) / 200 for _ in range(3)]
    process = psutil.Process()
    before = process.memory_info().rss
    peak, started, outcomes = 0, time.perf_counter(), 0
    place = _place(count, address)
    for _, outcome in do_on_dask(_stub, _Nothing(), range(count), place):
        assert not isinstance(outcome, Failure), outcome
        outcomes += 1
        if outcomes % 50 == 0:
            peak = max(peak, process.memory_info().rss)
    assert outcomes == count
    return {
        "milliseconds of a job": 1000 * statistics.median(several),
        "jobs": count,
        "milliseconds of one of these": 1000 * (time.perf_counter() - started) / count,
        "growth in MB": (peak - before) / 1e6,
    }


def trainings(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of as many trainings by both engines, medians over rounds in turns."""
    config = DataConfig(dataset="mnist", val=0, limit_train=options.images)
    images = datasets.load(config, sources.default_places(), lambda _: None)
    nowhere = Checkpoints(Path("nowhere"), "", 30.0)
    shared = Shared(images, 1, "cpu", nowhere)
    fit = FitConfig(epochs=options.epochs)
    tasks = [(Job(MlpConfig(), fit, seed), None, 0, str(seed)) for seed in range(options.trainings)]
    seconds: dict[str, list[float]] = {"local": [], "dask": [], "dask, workers there": []}
    for _ in range(options.rounds):
        seconds["local"].append(_timed(workers.do_locally, jobs._train, shared, tasks))
        seconds["dask"].append(_timed(do_on_dask, jobs._train, shared, tasks))
        with LocalCluster(
            n_workers=WORKERS, threads_per_worker=1, dashboard_address="127.0.0.1:0", memory_limit=0
        ) as cluster:
            address = cluster.scheduler_address
            _timed(do_on_dask, jobs._train, shared, tasks[:WORKERS], address)
            seconds["dask, workers there"].append(
                _timed(do_on_dask, jobs._train, shared, tasks, address)
            )
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    ratios = {
        name: [a / b for a, b in zip(seconds["local"], seconds[name], strict=True)]
        for name in list(seconds)[1:]
    }
    return {
        "seconds": medians,
        "throughput over that of local": {
            name: statistics.median(each) for name, each in ratios.items()
        },
        "each": ratios,
    }


class _Nothing:
    images = None


def _stub(shared: Any, task: int) -> int:
    return task


_names = 0


def _place(count: int, address: str | None) -> Place:
    global _names
    names = [f"stub-{_names + i}" for i in range(count)]
    _names += count
    return Place(WORKERS, names=names, scheduler=address)


def _timed(
    engine: Any, work: Any, shared: Any, tasks: Sequence[Any], address: str | None = None
) -> float:
    started = time.perf_counter()
    for _, outcome in engine(work, shared or _Nothing(), tasks, _place(len(tasks), address)):
        assert not isinstance(outcome, Failure), outcome
    return time.perf_counter() - started


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks.clusters", description=__doc__)
    add = parser.add_argument
    add("--stubs", type=int, default=5000, help="jobs that wait (default: 5000)")
    add("--trainings", type=int, default=12, help="trainings of a round (default: 12)")
    add("--images", type=int, default=12_000, help="images of a training (default: 12000)")
    add("--epochs", type=int, default=3, help="epochs of a training (default: 3)")
    add("--rounds", type=int, default=3, help="rounds (default: 3)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
