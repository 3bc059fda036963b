"""Rows on run folders: many at once, hostile names and links, places that cannot be written."""

import contextlib
import json
import multiprocessing
import os
import threading
import time
from pathlib import Path
from unittest import mock

from aecli.config import EXPERIMENTS, TrainConfig
from aecli.data import datasets
from aecli.errors import StorageError
from aecli.runs.folder import new_run
from tests.faults.outcome import Outcome, refused
from tests.faults.program import QUICK, inside, shell

_CONFIG = TrainConfig()
_AT_ONCE = 50


def same_second(scratch: Path, thorough: bool) -> Outcome:
    """Runs that begin together have a folder each, and all complete."""
    outcome = Outcome()
    _begin_together(outcome, scratch / "threads", threading.Thread, threading.Barrier(_AT_ONCE))
    if thorough and "fork" in multiprocessing.get_all_start_methods():
        fork = multiprocessing.get_context("fork")
        _begin_together(outcome, scratch / "processes", fork.Process, fork.Barrier(_AT_ONCE))
    return outcome


def _begin_together(outcome: Outcome, runs: Path, worker: type, barrier: object) -> None:
    def one() -> None:
        barrier.wait(60)
        with new_run(runs, _CONFIG, "x", []) as run:
            run.save_text("mine.txt", run.path.name)

    workers = [worker(target=one) for _ in range(_AT_ONCE)]
    for each in workers:
        each.start()
    for each in workers:
        each.join(120)
    found = [path for path in runs.iterdir() if path.is_dir() and not path.is_symlink()]
    for i in range(_AT_ONCE):
        with outcome.fault(f"{runs.name}: run {i} of {_AT_ONCE} at once"):
            assert len(found) == _AT_ONCE, f"{len(found)} folders"
            assert (found[i] / "mine.txt").read_text() == found[i].name
            assert json.loads((found[i] / "run.json").read_text())["status"] == "completed"


_NAMES = {
    "spaces": "my runs",
    "a newline": "my\nruns",
    "not ASCII": "läufe-走",
    "not UTF-8": os.fsdecode(b"l\xe4ufe"),
    "200 characters": "r" * 200,
    "control characters": "a\x1b[2J",
    "a dash": "-runs",
    "quotes": "a'b\"c",
    "wildcards": "*[a]?",
}


def paths(scratch: Path, thorough: bool) -> Outcome:
    """Any name works, or is refused; nothing is ever written outside the run folder."""
    outcome = Outcome()
    for fault, name in _NAMES.items():
        with outcome.fault(f"runs folder with {fault}"):
            _use(scratch / name)
        if thorough or fault == "not UTF-8":
            with outcome.fault(f"the program, --runs-dir with {fault}"):
                done = inside(scratch, "train", *QUICK, f"--runs-dir={name}x", "--json", "-q")
                assert done.code == 0, done
                run = Path(json.loads(done.stdout)["run"])
                assert run.parent == scratch / f"{name}x"
                assert json.loads((run / "run.json").read_text())["status"] == "completed"
    for name in ("../../x", "..", "a/b", "/etc", "", ".", "-x", "a\nb", "x" * 41, "ü", "a\0b"):
        with outcome.fault(f"a run named {name!r}"):
            done = inside(scratch, "train", "--set", f"name={json.dumps(name)}", "--dry-run")
            assert done.code == 2, done
            assert "letters, digits" in done.stderr
    with outcome.fault("no name leads out"):
        assert not (scratch.parent / "x").exists()
        assert not Path("/etc/run.json").exists()
    with outcome.fault("runs folder behind a link"):
        (scratch / "there").mkdir()
        (scratch / "link").symlink_to("there")
        _use(scratch / "link")
        assert len(list((scratch / "there").glob("*Z-train-x/run.json"))) == 1
    with outcome.fault("latest is a folder of the user's"):
        (scratch / "own" / "latest").mkdir(parents=True)
        (scratch / "own" / "latest" / "mine").write_text("mine")
        _use(scratch / "own")
        assert (scratch / "own" / "latest" / "mine").read_text() == "mine"
    _planted_links(outcome, scratch)
    return outcome


def _use(runs: Path) -> Path:
    """Make a run and write a file into it; the run's path."""
    with new_run(runs, _CONFIG, "x", []) as run:
        run.save_text("t.txt", "text")
    assert (run.path / "t.txt").read_text() == "text"
    return run.path


def _planted_links(outcome: Outcome, scratch: Path) -> None:
    """A link that somebody puts into a run folder does not decide what is overwritten."""
    for where in ("t.txt", ".t.txt.part", "run.json", ".run.json.part", "sub", "sub/t.txt"):
        for dangling in (False, True):
            outside = scratch / f"outside {where} {dangling}".replace("/", " ")
            content = "not to be touched"
            with outcome.fault(f"{'dangling ' * dangling}link at {where}"):
                with (
                    contextlib.suppress(StorageError),
                    new_run(scratch / "planted", _CONFIG, "x", []) as run,
                ):
                    _plant(run.path / where, outside, content, dangling)
                    run.save_text("t.txt", "text")
                    run.save_text("sub/t.txt", "text")
                if where == "sub":
                    assert not outside.exists() or not list(outside.iterdir()), "written outside"
                else:
                    found = outside.read_text() if outside.exists() else None
                    assert found == (None if dangling else content), "written outside"


def _plant(link: Path, outside: Path, content: str, dangling: bool) -> None:
    if not dangling:
        outside.mkdir() if link.name == "sub" else outside.write_text(content)
    link.parent.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(outside)


def storage(scratch: Path, thorough: bool) -> Outcome:
    """Exit 6 naming the place, before any data is loaded; what can be made is made."""
    outcome = Outcome()
    (scratch / "file").write_text("")
    (scratch / "gone").symlink_to("nowhere/at/all")
    (scratch / "to-file").symlink_to("file")
    places = ("file", "file/below", "gone", "to-file", "/proc/runs", "/dev/null/x", "/dev/null")
    for experiment in EXPERIMENTS if thorough else ("train", "sweep-codedim", "interpolate"):
        for runs in places:
            if not Path("/proc").is_dir() and runs == "/proc/runs":
                continue
            with outcome.fault(f"{experiment} --runs-dir {runs}"), _no_data_is_loaded():
                started = time.monotonic()
                done = inside(scratch, experiment, "--offline", "--runs-dir", runs)
                assert (done.code, done.stdout) == (6, ""), done
                assert f"in {runs}: " in done.stderr
                assert "Traceback" not in done.stderr
                assert time.monotonic() - started < 2 or not thorough
    with outcome.fault("a runs folder and its parents that are missing"):
        assert inside(scratch, "train", *QUICK, "--runs-dir", "a/b/c").run.is_dir()
    with outcome.fault("a run folder that is removed under way"), refused(StorageError, "t.txt"):
        _with_a_folder_removed(scratch / "removed")
    if thorough:
        with outcome.fault("read-only, as another user"):
            _read_only(scratch)
    return outcome


@contextlib.contextmanager
def _no_data_is_loaded():
    with mock.patch.object(datasets, "load", side_effect=AssertionError("data was loaded")):
        yield


def _with_a_folder_removed(runs: Path) -> None:
    with new_run(runs, _CONFIG, "x", []) as run:
        run.path.rename(run.path.with_name("away"))
        run.path.write_text("a file in its place")
        run.save_text("t.txt", "text")


def _read_only(scratch: Path) -> None:
    """A folder without the right to write; the superuser has it anyway, so gives it away."""
    folder = scratch / "read-only"
    folder.mkdir(mode=0o555)
    if os.geteuid() == 0:
        return
    done = shell(scratch, '"$AECLI" train --offline --runs-dir read-only')
    assert (done.code, done.stdout) == (6, ""), done
