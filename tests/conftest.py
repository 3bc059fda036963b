"""Shared fixtures: a program that runs apart from the user's own data, cache and runs.

No torch is imported for this file alone: the process that only hands out tests to others, and
those that tests start, would wait for it.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import isfunction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aecli import locks

if TYPE_CHECKING:
    import torch

    from aecli.data.images import Images, Source

FEW_IMAGES = ("--dataset", "mnist-5k", "--limit-train", "300", "--offline")
ONE_PIXEL = (  # a whole PNG
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0:~\x9bU\0\0\0\nIDATx\x9cc`\0\0\0\x02"
    b"\0\x01H\xaf\xa4q\0\0\0\0IEND\xaeB`\x82"
)
# Enough of a run to leave every file, in about a second of training and drawing.
SMALL = (*FEW_IMAGES, "--epochs", "2")


def pytest_configure() -> None:
    _keep_to_one_core()
    _take_signals_back()


def _keep_to_one_core() -> None:
    """Run one of several workers of pytest on a core of its own: their torch threads would wait for
    each other."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker and hasattr(os, "sched_setaffinity"):
        import torch

        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})
        torch.set_num_threads(1)  # two on one core would spin for each other


def _take_signals_back() -> None:
    """Take signals back that a script's background or nohup made this process ignore: the programs
    that tests start would inherit that, and tests send them these signals."""
    for number, handler in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGHUP, signal.SIG_DFL),
    ):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


_PROGRAM = {"aecli", "inside_drawn", "judged", "small_run"}
_LONG = {
    "test_classifier",
    "test_faults",
    "test_extending",
    "test_workers",
    "test_pictures",
    "test_mnist",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that call the program, or take long otherwise; `-m 'not program'` is what one
    runs while one works."""
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if fixtures & _PROGRAM or item.path.stem in _LONG:
            item.add_marker("program")


@dataclass(frozen=True)
class Finished:
    """A finished call of the program."""

    code: int
    stdout: str
    stderr: str

    @property
    def run(self) -> Path:
        """The run folder, by the contract the last line of stdout."""
        return Path(self.stdout.splitlines()[-1])

    @property
    def errors(self) -> list[str]:
        """The lines on stderr that say what is wrong; not where the run's folder is."""
        lines = self.stderr.splitlines()
        return [
            line
            for line in lines
            if line.startswith("aecli: ") and not line.startswith("aecli: the run's folder: ")
        ]

    def metrics(self) -> dict[str, Any]:
        return json.loads((self.run / "metrics.json").read_text())


def environment(tmp_path: Path, **extra: str) -> dict[str, str]:
    """This process's environment without the user's data, cache and settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AECLI_")}
    return {**kept, "XDG_CACHE_HOME": str(tmp_path / "cache"), "COLUMNS": "100", **extra}


@pytest.fixture
def aecli(tmp_path: Path) -> Callable[..., Finished]:
    """Call the installed command in a process of its own, in tmp_path."""

    def call(*arguments: str, env: dict[str, str] | None = None, cwd: Path = tmp_path) -> Finished:
        command = [str(Path(sys.executable).with_name("aecli")), *arguments]
        done = subprocess.run(
            command,
            cwd=cwd,
            env=environment(tmp_path, **(env or {})),
            capture_output=True,
            timeout=120,
            stdin=subprocess.DEVNULL,
        )
        stdout, stderr = (s.decode("utf-8", "surrogateescape") for s in (done.stdout, done.stderr))
        return Finished(done.returncode, stdout, stderr)

    return call


@pytest.fixture
def inside(undrawn: None, inside_drawn: Callable[..., Finished]) -> Callable[..., Finished]:
    """Call the program's main() in this process, which is quicker, in tmp_path; a run leaves its
    pictures without drawing them, which is most of the time of a small one."""
    return inside_drawn


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are not drawn: a run saves a picture of one pixel under each one's name. The
    classifier is trained for one epoch and the flow for one step, as no test here looks at what
    they say."""
    from aecli import figures
    from aecli.codespace import flow
    from aecli.measure import classifier
    from aecli.runs.folder import RunDir

    monkeypatch.setattr(classifier, "EPOCHS", 1)
    monkeypatch.setattr(flow, "PRODUCTS", 1)
    for name, function in vars(figures).items():
        if isfunction(function):
            monkeypatch.setattr(figures, name, lambda *_, **__: None)
    monkeypatch.setattr(
        RunDir, "save_figure", lambda run, name, _: run._write(f"{name}.png", ONE_PIXEL)
    )


@pytest.fixture
def jobs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many trainings run in this process, one after the other: others take seconds to begin."""
    from aecli.training import workers

    def here(work, shared, tasks, workers_, timeout=None):  # type: ignore[no-untyped-def]
        return workers.do_here(*pickle.loads(pickle.dumps((work, shared, tasks))))

    monkeypatch.setattr(workers, "do_in_workers", here)


@pytest.fixture
def inside_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Finished]:
    """Call the program's main() in this process, in tmp_path, and let it draw its pictures."""
    from aecli.cli import main

    for name in [name for name in os.environ if name.startswith("AECLI_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Finished:
        monkeypatch.setattr(sys, "argv", ["aecli", *arguments])
        with pytest.raises(SystemExit) as exit_:
            main()
        captured = capsys.readouterr()
        return Finished(int(exit_.value.code or 0), captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """One small run by the installed command, for every test that only looks at what it left; made
    by the first of pytest's workers that needs it."""
    temporary = tmp_path_factory.getbasetemp()
    of_all = temporary.parent if "PYTEST_XDIST_WORKER" in os.environ else temporary
    folder = of_all / "small"
    folder.mkdir(exist_ok=True)
    left = folder / "left.json"
    with locks.hold(folder / "lock", patience=120):
        if not left.is_file():
            program = str(Path(sys.executable).with_name("aecli"))
            done = subprocess.run(
                [program, "train", *SMALL, "--code-dim", "2"],
                cwd=folder,
                env=environment(folder),
                capture_output=True,
                text=True,
                timeout=120,
            )
            left.write_text(json.dumps([done.returncode, done.stdout, done.stderr]))
    return Finished(*json.loads(left.read_text()))


def source(n: int, seed: int = 0, shape: Sequence[int] = (1, 28, 28)) -> Source:
    """Such images as `digits` makes, as a source without labels."""
    from aecli.data.images import InMemory

    return InMemory(digits(n, seed, shape))


def digits(n: int, seed: int = 0, shape: Sequence[int] = (1, 28, 28)) -> torch.Tensor:
    """Images with the structure of digits' sort: a few smooth blobs mixed, (n, *shape) uint8."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    height, width = shape[1:]
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    centres = torch.rand((12, 2), generator=torch.Generator().manual_seed(99))
    blobs = torch.stack(
        [torch.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 0.02) for cy, cx in centres.tolist()]
    )
    mix = torch.rand((n, shape[0], len(blobs)), generator=generator) ** 3
    images = torch.einsum("nck,khw->nchw", mix, blobs).clamp(0, 1)
    return (255 * images).round().to(torch.uint8)


@pytest.fixture
def images() -> Images:
    import torch

    from aecli.data.images import Images, InMemory

    def split(n: int, seed: int) -> Source:
        return InMemory(digits(n, seed), torch.arange(n) % 10)

    return Images("blobs", "drawn", "0" * 64, split(400, 0), split(60, 1), split(100, 2))
