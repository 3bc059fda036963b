"""A process of its own for each contender: `python -m benchmarks.worker TASK`, JSON on stdout."""

import contextlib
import json
import resource
import sys
from collections.abc import Callable
from typing import Any

from benchmarks.clock import Clock, Enough, EpochClock, QualityClock
from benchmarks.task import Task


def main() -> None:
    """Print what was measured as the last line of stdout; a library's prints go to stderr."""
    out = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        what, *arguments = sys.argv[1:]
        if what == "prepare":
            values = _prepare(*arguments)
        else:
            values = _run(Task.from_json(what), lambda: _wait(out))
    print(json.dumps(values), file=out)


def _prepare(folder: str, limit_train: str) -> dict[str, Any]:
    from benchmarks.images import prepare

    return {"pca_test_mse": prepare(folder, int(limit_train) if limit_train else None)}


def _run(task: Task, wait: Callable[[], None]) -> dict[str, Any]:
    loop = _loop(task)
    clock = _clock(task, wait)
    with contextlib.suppress(Enough):
        loop(task, clock)
    return clock.values() | {"peak_mib": peak_mib()}


def _clock(task: Task, wait: Callable[[], None]) -> Clock:
    if task.measure == "epochs":
        return EpochClock(
            task.epochs, task.budget, wait if task.wait else lambda: None, _floor(task)
        )
    from benchmarks.images import load_unit

    return QualityClock(task.targets, load_unit(task.data, "test"), task.budget)


def _floor(task: Task) -> Callable[[], None] | None:
    if task.floor_batch is None:
        return None
    import torch

    from benchmarks import floor
    from benchmarks.images import load

    return floor.epoch(len(load(task.data, "train")), task.floor_batch, torch.float32)


def _loop(task: Task) -> Callable[[Task, Clock], None]:
    """The loop that the task names, with everything it needs imported."""
    if task.loop == "sklearn":
        from benchmarks import sklearn_loop

        return sklearn_loop.train
    from benchmarks import floor, loops

    _settle_torch(task)
    torch_loops: dict[str, Callable[[Task, Clock], None]] = {
        "floor": floor.train,
        "aecli": loops.aecli,
        "chapter": loops.chapter,
        "pythae": loops.pythae,
        "keras": loops.keras,
    }
    return torch_loops[task.loop]


def _settle_torch(task: Task) -> None:
    """Set torch's threads and seed, and do its late imports now.

    The first optimizer of a process imports torch's compiler, whose seconds no loop can help. They
    belong to starting up, which is measured apart, and not to anyone's first epoch.
    """
    import torch

    torch.set_num_threads(task.threads)
    torch.manual_seed(task.seed)
    torch.optim.Adam([torch.zeros(1)])


def _wait(out: Any) -> None:
    """Say `ready` and wait for a line from whoever started this process."""
    print("ready", file=out, flush=True)
    sys.stdin.readline()


def peak_mib() -> float:
    """The most memory this process has had resident, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
