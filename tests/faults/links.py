"""Row on links: one in a run folder, however deep, leads no write and no removal outside."""

import contextlib
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from aecli.config import TrainConfig
from aecli.errors import AecliError
from aecli.runs.folder import RunDir, new_run
from tests.faults.kills import SMALL
from tests.faults.outcome import Outcome
from tests.faults.program import inside

_SWEEP = (
    *("sweep-codedim", "2", "--dataset", "mnist-5k", "--offline", "--limit-train", "100"),
    *("--codec", "pca", "--seeds", "1", "--jobs", "1", "-q"),
)
_QUICK = ("checkpoint", "checkpoint/000002", "run.json", "config.yaml", ".lock", "model")


def everywhere(scratch: Path, thorough: bool) -> Outcome:
    """Each folder and file of a run replaced by a link to a similar one of the user's."""
    outcome = Outcome()
    runs = {"train": _stopped(scratch)}
    if thorough:
        runs["sweep"] = _unfinished_sweep(scratch)
    for command, run in runs.items():
        for name in _names(run) if thorough else _QUICK:
            with outcome.fault(f"{command}: a link at {name}"):
                _resume_with_a_link(scratch / f"{command} {name}".replace("/", " "), run, name)
    _sections(outcome, scratch)
    _links_beside_runs(outcome, scratch)
    return outcome


def _names(run: Path) -> list[str]:
    """Names of all that is in the run, and of all that will be."""
    there = {path.relative_to(run).as_posix() for path in run.rglob("*")}
    return sorted(there | {"model", "model/model.safetensors", "jobs", "metrics.json", ".lock"})


def _stopped(scratch: Path) -> Path:
    """A training that was stopped after its third checkpoint."""
    save, count = RunDir.save_checkpoint, 0

    def save_and_stop(self, state, history):
        nonlocal count
        save(self, state, history)
        count += 1
        if count == 3:
            sys.exit(9)

    with mock.patch.object(RunDir, "save_checkpoint", save_and_stop):
        assert inside(scratch, *SMALL).code == 9
    [run] = (path for path in (scratch / "runs").glob("*Z-train-*") if not path.is_symlink())
    return run


def _unfinished_sweep(scratch: Path) -> Path:
    run = inside(scratch, *_SWEEP).run
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {"status": "interrupted"}))
    return run


def _resume_with_a_link(folder: Path, run: Path, name: str) -> None:
    copy, own = folder / "runs" / run.name, folder / "own"
    shutil.copytree(run, copy, symlinks=True)
    own.mkdir()
    place, target = copy / name, own / Path(name).name
    if place.exists():
        place.rename(target)
    elif not Path(name).suffix:
        target.mkdir()
    if target.is_dir():  # a user's folder, and one that a run would take for its own
        for photos in ("2019", "2020", "000001", "000009"):
            (target / photos).mkdir(exist_ok=True)
            (target / photos / "photo.jpg").write_text("a photo")
            (target / photos / "manifest.json").touch()
            (target / photos / ".photo.jpg.part").write_text("a part")
    place.parent.mkdir(exist_ok=True)
    place.symlink_to(target, target.is_dir())
    before = _everything(own)
    done = inside(folder, "resume", str(copy), "-q")
    assert done.code in (0, 3, 6), done
    assert done.code == 0 or "link" in done.stderr or "levels of symbolic" in done.stderr, done
    assert "Traceback" not in done.stderr
    assert _everything(own) == before, "something outside was changed"


def _everything(folder: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(folder).as_posix(): None if path.is_dir() else path.read_bytes()
        for path in folder.rglob("*")
    }


def _sections(outcome: Outcome, scratch: Path) -> None:
    """Sections of a run, and folders in them, replaced by links while it runs."""
    for name in ("sweep", "sweep/model", "sweep/deep", "jobs", "jobs/one", "checkpoint"):
        own = scratch / "own" / name
        own.mkdir(parents=True)
        with outcome.fault(f"a section: a link at {name}"):
            with new_run(scratch / "sections", TrainConfig(), "x", []) as run:
                (run.path / name).parent.mkdir(exist_ok=True)
                (run.path / name).symlink_to(own)
                for write in _writes(run):
                    with contextlib.suppress(AecliError):
                        write()
            assert list(own.iterdir()) == [], "written outside"
            assert (run.path / name).is_symlink(), "the link was replaced"


def _writes(run: RunDir) -> Iterator:
    section = run.section("sweep")
    yield lambda: section.save_text("t.txt", "text")
    yield lambda: section.save_text("model/t.txt", "text")
    yield lambda: section.save_text("deep/er/t.txt", "text")
    yield lambda: section.save_job("one", {}, [])
    yield lambda: run.save_checkpoint({}, [])


def _links_beside_runs(outcome: Outcome, scratch: Path) -> None:
    runs = scratch / "beside"
    runs.mkdir()
    with outcome.fault("latest is a file of the user's"):
        (runs / "latest").write_text("mine")
        with new_run(runs, TrainConfig(), "x", []):
            pass
        assert (runs / "latest").read_text() == "mine"
        (runs / "latest").unlink()
    with outcome.fault("latest leads to a folder of the user's"):
        (scratch / "latest-own").mkdir()
        (runs / "latest").symlink_to(scratch / "latest-own")
        with new_run(runs, TrainConfig(), "x", []) as run:
            pass
        assert list((scratch / "latest-own").iterdir()) == []
        assert (runs / "latest").readlink().name == run.path.name
