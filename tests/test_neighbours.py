"""Waiting beside other processes: when a sleeping team is held, and that no bit depends on it."""

import itertools
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from aecli import codecs
from aecli.config import FitConfig, MlpConfig
from aecli.training import neighbours
from aecli.training.loop import fit
from aecli.training.neighbours import SleepingTeam, Watcher
from tests.conftest import source

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of waiting threads")


class Team:
    ended = False

    def end(self):
        self.ended = True


def held(waits, monkeypatch):
    """After each look, whether a team was held."""
    monkeypatch.setattr(neighbours, "SleepingTeam", Team)
    watcher = Watcher()
    seen = []
    for waited in waits:
        watcher.look(waited)
        seen.append(watcher.team is not None)
    return seen


@pytest.mark.parametrize(
    ("waits", "expected"),
    [
        ([0.0, 0.05, 0.14], [False, False, False]),
        ([0.0, 0.8, 0.05], [False, True, True]),
        ([0.8, *[0.01] * 9], [True] * 10),
        ([0.8, *[0.01] * 10], [*[True] * 10, False]),
        ([0.8, *[0.01] * 9, 0.6, *[0.01] * 9], [True] * 20),
        ([0.8, *[0.01, 0.08] * 5], [*[True] * 10, False]),
    ],
)
def test_a_team_is_held_while_threads_wait_and_a_while_longer(waits, expected, monkeypatch):
    assert held(waits, monkeypatch) == expected


def tasks():
    return len(list(Path("/proc/self/task").iterdir()))


@linux
def test_a_sleeping_team_is_more_threads_and_leaves_none_behind():
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    before = tasks()
    try:
        team = SleepingTeam()
        assert tasks() == before + 3
        assert torch.get_num_threads() == 3
        team.end()
        for _ in range(100):  # libgomp's own take a moment more
            if tasks() > before:
                time.sleep(0.05)
        assert tasks() == before
    finally:
        torch.set_num_threads(threads)


def trained():
    torch.manual_seed(0)
    codec = codecs.build(MlpConfig(code_dim=3), (1, 28, 28))
    images = source(64)
    order = torch.Generator().manual_seed(0)
    list(fit(codec, images, images.first(20), FitConfig(epochs=1, batch_size=64), order))
    return codec.state_dict()


def test_no_bit_depends_on_it():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        alone = trained()
        team = SleepingTeam()
        beside = trained()
        team.end()
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(alone[name], beside[name]) for name in alone)


@linux
def test_this_process_has_waited_some_time():
    waited = neighbours.seconds_waited()
    assert waited is not None
    assert waited >= 0


@pytest.mark.parametrize("name", ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"])
def test_who_says_how_to_wait_is_left_alone(name, monkeypatch):
    monkeypatch.setenv(name, "passive")
    monkeypatch.setattr(neighbours.threading, "Thread", None)  # starting one would fail
    neighbours.watch.__wrapped__()


def test_at_the_programs_end_no_thread_is_left_inside_torch(monkeypatch):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    waited = itertools.count(step=1000)  # seconds more at every look: a team is held
    monkeypatch.setattr(neighbours, "seconds_waited", lambda: float(next(waited)))
    at_exit = []
    monkeypatch.setattr(neighbours.atexit, "register", at_exit.append)
    before = set(threading.enumerate())

    def started():
        return {each.name for each in set(threading.enumerate()) - before}

    neighbours.watch.__wrapped__()
    deadline = time.monotonic() + 20
    while "sleeping team" not in started() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert started() == {"neighbours", "sleeping team"}
    [end] = at_exit
    end()
    assert started() == set()
