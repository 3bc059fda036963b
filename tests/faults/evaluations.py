"""Row on evaluations: killed at each fsync and rename, or with damaged jobs, and gone on with."""

import functools
import itertools
import json
import shutil
from pathlib import Path
from typing import Any
from unittest import mock

from tests.faults.kills import compare, go_on, run_folders, was_killed
from tests.faults.outcome import Outcome
from tests.faults.program import inside
from tests.own import spots
from tests.twins import left_behind


def gone_on_with(scratch: Path, thorough: bool) -> Outcome:
    """An evaluation that trains codecs of each class, killed before each nth fsync, and each nth
    rename, or with what it kept of a job cut short: resumed, it leaves what a twin left."""
    outcome = Outcome()
    told = (
        *("evaluate", "--dataset", spots(scratch / "spots.npz", (60, 60), (12, 12)), "-q"),
        *("--codec", "pca", "--code-dim", "2", "--parts", "retrieval,anomaly", "--jobs", "1"),
    )
    run = _evaluate(scratch, told).run
    twin = left_behind(run)
    for call in ("fsync", "rename"):
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


def _evaluate(folder: Path, told: tuple[str, ...]) -> Any:
    with mock.patch("aecli.machine.usable_cores", return_value=1):  # more do not outlive a fork
        return inside(folder, *told)
