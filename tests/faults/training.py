"""Rows on training: numbers that stop being finite, and a clock that is set back."""

import json
import math
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor

from aecli import codecs
from aecli.codecs import store
from aecli.codecs.base import Codec
from aecli.config import FitConfig, LinearConfig, MlpConfig, TrainConfig
from aecli.data.images import InMemory
from aecli.errors import DivergedError
from aecli.runs import folder as run_folder
from aecli.training import closed_form
from aecli.training.loop import fit
from tests.conftest import SMALL, digits, source
from tests.faults.outcome import Outcome, refused
from tests.faults.program import inside

_SHAPE = (1, 8, 8)
_STEPS_PER_EPOCH, _EPOCHS = 4, 3
_CODECS = {"mlp": MlpConfig(code_dim=2, hidden=(6,)), "linear": LinearConfig(code_dim=2)}

State = dict[str, Tensor]


def divergence(scratch: Path, thorough: bool) -> Outcome:
    """A run ends with DivergedError and the weights of the last epoch with finite ones."""
    outcome = Outcome()
    steps = range(_STEPS_PER_EPOCH * _EPOCHS)
    for name in _CODECS:
        for optimizer in ("muon", "adam"):
            for n_val in (0, 10):
                for step in steps if thorough else (0, 3, 4, 6, 11):
                    for what in ("loss", "gradient"):
                        for value in (math.nan, math.inf) if thorough else (math.nan,):
                            case = f"{name}, {optimizer}, {n_val} val, {what} {value} at {step}"
                            with outcome.fault(case), _poisoned(step, what, value):
                                _expect_last_good(name, optimizer, n_val, step, what)
    for name in _CODECS:
        with outcome.fault(f"{name}: nan in the images"), refused(DivergedError, "at step 1 of"):
            images = digits(20, shape=_SHAPE).float()
            images[3, 0, 2, 2] = math.nan
            poisoned = InMemory(images)
            codec = _codec(name)
            config = FitConfig(epochs=1, batch_size=20)
            list(fit(codec, poisoned, source(0, shape=_SHAPE), config, torch.Generator()))
    for lr in ("1e30", "1e38") if thorough else ("1e30",):
        with outcome.fault(f"the program: --lr {lr}"):
            flags = (
                "--threads=1",
                "--codec=linear",
                "--recipe=chapter",
                f"--lr={lr}",
                f"--runs-dir={lr}",
            )
            done = inside(scratch, "train", *SMALL, *flags)
            assert done.code == 4, done
            assert "training diverged" in done.stderr
            [run] = [path for path in (scratch / lr).iterdir() if path.is_dir()]
            assert json.loads((run / "run.json").read_text())["status"] == "failed"
            _require_finite(store.load(run / "model").state_dict())
            assert not (scratch / lr / "latest").exists()
    return outcome


def _expect_last_good(name: str, optimizer: str, n_val: int, step: int, what: str) -> None:
    codec = _codec(name)
    config = FitConfig(
        optimizer=optimizer, epochs=_EPOCHS, batch_size=5, schedule="constant", warmup=0.0
    )
    train, val = source(20, shape=_SHAPE), source(n_val, seed=1, shape=_SHAPE)
    ended_well = [_copy(codec.state_dict())]
    with refused(DivergedError, "training diverged"):
        for _ in fit(codec, train, val, config, torch.Generator().manual_seed(0)):
            ended_well.append(_copy(codec.state_dict()))
    found = codec.state_dict()
    _require_finite(found)
    assert len(ended_well) == 1 + step // _STEPS_PER_EPOCH, "an epoch too many or too few"
    assert all(torch.equal(found[k], ended_well[-1][k]) for k in found), "not the last good ones"


def _codec(name: str) -> Codec:
    torch.manual_seed(0)
    return codecs.build(_CODECS[name], _SHAPE)


def _copy(state: State) -> State:
    return {name: tensor.clone() for name, tensor in state.items()}


def _require_finite(state: State) -> None:
    assert all(tensor.isfinite().all() for tensor in state.values()), "weights are not finite"


def _poisoned(step: int, what: str, value: float) -> "mock._patch[object]":
    """Put `value` into the loss, or into every gradient, of one step."""
    true, calls = closed_form.ClosedForm.__call__, iter(range(10**6))

    def poisoned(self: closed_form.ClosedForm, *arguments: object) -> Tensor:
        loss = true(self, *arguments)
        if next(calls) != step:
            return loss
        if what == "loss":
            return loss * value
        self._parameters.gradient.fill_(value)
        return loss

    return mock.patch.object(closed_form.ClosedForm, "__call__", poisoned)


def clock(scratch: Path, thorough: bool) -> Outcome:
    """A run's seconds are those that passed, however the clock is set meanwhile."""
    outcome = Outcome()
    jumps = (-3600, -1, 0, 3600, -86400 * 365) if thorough else (-3600, 3600)
    for jump in jumps:
        with outcome.fault(f"clock set by {jump} s at every look"), _set_by(jump):
            started = time.monotonic()
            with run_folder.new_run(scratch / str(jump), TrainConfig(), "x", []) as run:
                time.sleep(0.05)
            passed = time.monotonic() - started
            record = json.loads((run.path / "run.json").read_text())
            assert record["status"] == "completed"
            assert 0.05 <= record["seconds"] <= passed + 0.001, record["seconds"]
        with outcome.fault(f"epochs under a clock set by {jump} s"), _set_by(jump):
            train, none = source(20, shape=_SHAPE), source(0, shape=_SHAPE)
            config = FitConfig(epochs=3, batch_size=5)
            records = list(fit(_codec("mlp"), train, none, config, torch.Generator()))
            assert all(0 < record.seconds < 60 for record in records)
    return outcome


def _set_by(jump: int) -> "mock._patch[object]":
    """Every look at the clock finds it set by `jump` seconds more."""
    times: Iterator[float] = (time.time() + n * jump for n in range(10**6))

    class Clock(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:
            return datetime.fromtimestamp(next(times), UTC)

    return mock.patch.object(run_folder, "datetime", Clock)
