"""Rows on evaluations: killed at each fsync and rename, or with damaged jobs, and gone on with; of
images whose classes are odd."""

import functools
import itertools
import json
import math
import shutil
from pathlib import Path
from typing import Any
from unittest import mock

from tests.faults.kills import compare, go_on, run_folders, was_killed
from tests.faults.outcome import Outcome, within
from tests.faults.program import inside
from tests.own import spots
from tests.twins import left_behind

_PCA = ("--codec", "pca", "--code-dim", "2", "--jobs", "1")
_CLASSES = {  # by the numbers of their training and their test images
    "a class with one image": ((60, 60, 1), (10, 10, 1)),
    "no class twice": ((1,) * 9, (1,) * 9),
    "one class": ((60,), (10,)),
    "one class to learn from": ((60,), (10, 10)),
    "a class that is not learned from": ((60, 60), (10, 10, 10)),
    "a class that is not tested": ((60, 60, 60), (10, 10)),
    "one test image": ((60, 60), (1,)),
}


def gone_on_with(scratch: Path, thorough: bool) -> Outcome:
    """An evaluation that trains codecs of each class, killed before each nth fsync, and each nth
    rename, or with what it kept of a job cut short: resumed, it leaves what a twin left."""
    outcome = Outcome()
    told = (
        *("evaluate", "--dataset", spots(scratch / "spots.npz", (60, 60), (12, 12))),
        *(*_PCA, "-q", "--parts", "retrieval,anomaly"),
    )
    run = _evaluate(scratch, told).run
    twin = left_behind(run)
    for call in ("fsync", "rename") if thorough else ("rename",):
        for number in itertools.count() if thorough else (6,):
            folder = scratch / f"{call}-{number}"
            folder.mkdir()
            if not was_killed(functools.partial(_evaluate, folder, told), call, number):
                break  # it makes no so many calls
            with outcome.fault(f"kill -9 before {call} {number}"):
                go_on(folder, folder / "runs", told)
                [path] = run_folders(folder / "runs")
                compare(left_behind(path), twin)
    kept = sorted(path.relative_to(run) for path in (run / "jobs").rglob("*") if path.is_file())
    for name in kept if thorough else kept[:1]:
        copy = scratch / "copy" / run.name
        shutil.copytree(run, copy)
        with outcome.fault(f"{name.name} cut short"):
            content = (copy / name).read_bytes()
            (copy / name).write_bytes(content[: len(content) // 2])
            record = json.loads((copy / "run.json").read_text())
            (copy / "run.json").write_text(json.dumps({**record, "status": "interrupted"}))
            done = inside(scratch, "resume", str(copy))
            assert done.code == 0, done.stderr
            assert "what was kept of it is trained anew" in done.stderr, done.stderr
            compare(left_behind(copy), twin)
        shutil.rmtree(copy.parent)
    return outcome


def odd_classes(scratch: Path, thorough: bool) -> Outcome:
    """Exit 0: what cannot be measured is null and named, and every number is finite."""
    outcome = Outcome()
    for kind, counts in _CLASSES.items() if thorough else [*_CLASSES.items()][:2]:
        with outcome.fault(kind), within(20):
            data = spots(scratch / f"{kind}.npz", *counts)
            done = inside(scratch, "evaluate", "--dataset", data, *_PCA, "--seeds", "1")
            assert done.code == 0, done.stderr
            numbers = [value for value in done.metrics().values() if isinstance(value, float)]
            assert numbers
            assert all(map(math.isfinite, numbers))
            left_out = json.loads((done.run / "run.json").read_text())["parts_left_out"]
            for part in left_out:
                assert f"{part} is left out" in done.stdout
    return outcome


def _evaluate(folder: Path, told: tuple[str, ...]) -> Any:
    # More threads do not outlive a fork.
    with mock.patch("aecli.training.device.usable_cores", return_value=1):
        return inside(folder, *told)
