"""`python -m benchmarks.profile`: where the time of a training step goes, as a Markdown table."""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import yaml
from torch.profiler import ProfilerActivity, profile, record_function

from aecli import codecs
from aecli.config import DataConfig, FitConfig, MlpConfig
from aecli.data import datasets, sources
from aecli.training import device
from aecli.training.closed_form import ClosedForm
from aecli.training.loop import Training
from aecli.training.optimizers import Adam, Muon

WARM_UP = 64  # steps before the first that is measured
PRODUCTS = {"aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::addmv", "aten::_addmm"}
GATHER = {"aten::randperm", "aten::split", "aten::index_select", "aten::copy_", "aten::div_"}
PHASES = ("gather", "forward", "backward", "optimiser")
MARKED = (
    (ClosedForm, "_forward", "forward"),
    (ClosedForm, "_compare", "forward"),
    (ClosedForm, "_backward", "backward"),
    (Muon, "step", "optimiser"),
    (Adam, "step", "optimiser"),
)
"""Functions of aecli whose time belongs to a phase."""


@dataclass(frozen=True)
class Steps:
    """Observations of some training steps."""

    count: int
    seconds: float
    events: Sequence[Any]
    """torch.autograd.profiler_util.FunctionEvent; empty without the profiler."""

    @property
    def microseconds(self) -> float:
        """Microseconds per step."""
        return 1e6 * self.seconds / self.count


def main() -> None:
    """Run the loop without and with the profiler, and print the table."""
    options = _options()
    settings = dict(_key_and_value(text) for text in options.set)
    config = FitConfig(**{"epochs": 1000} | settings)
    plain = _run(config, options, profiled=False)
    for owner, name, phase in MARKED:
        setattr(owner, name, record_function(phase)(getattr(owner, name)))
    profiled = _run(config, options, profiled=True)
    shown = ", ".join(f"{key} {value}" for key, value in settings.items()) or "the defaults"
    print(f"{shown}; {options.threads} threads; torch {torch.__version__}:\n")
    print(table(pieces(profiled), profiled.microseconds))
    print(
        f"\nWithout the profiler the step takes {plain.microseconds:,.0f} us: every operation pays"
        " for being watched, small ones the most, and that is part of what is left."
    )


def _run(config: FitConfig, options: argparse.Namespace, profiled: bool) -> Steps:
    """Train from the start and look at `options.steps` steps or a few more after the warm-up."""
    device.seed_and_limit(0, options.threads)
    codec = codecs.build(MlpConfig(), (1, 28, 28))
    wanted = DataConfig(dataset="mnist", val=0)
    images = datasets.load(wanted, sources.default_places(), _say).train
    order = torch.Generator().manual_seed(0)
    profiler = profile(activities=[ProfilerActivity.CPU])
    training = Training(codec, images, images.first(0), config, order)
    first, start = 0, 0.0
    while not training.is_done:
        training.take_step()
        if training.progress is None:  # the device has not been waited for
            continue
        if not first and training.step >= WARM_UP:
            if profiled:
                profiler.start()
            first, start = training.step, time.perf_counter()
        elif first and training.step >= first + options.steps:
            seconds, count = time.perf_counter() - start, training.step - first
            if profiled:
                profiler.stop()
            return Steps(count, seconds, profiler.events() or [] if profiled else [])
        if training.is_epoch_over:
            training.end_epoch()
    raise SystemExit("the training ended before so many steps: set fewer --steps or more epochs")


def pieces(steps: Steps) -> dict[str, float]:
    """Microseconds per step of each kind of work, by the profiler: each event's own time."""
    totals: dict[str, float] = {}
    for event in steps.events:
        phase = _phase(event) or "other"
        piece = f"{phase}: {_kind(event)}" if phase != "gather" else "gather and scale"
        totals[piece] = totals.get(piece, 0.0) + event.self_cpu_time_total / steps.count
    return dict(sorted(totals.items()))


def _phase(event: Any) -> str | None:
    """The phase that an event belongs to, by the outermost of its callers that has one."""
    for name in reversed(list(_callers(event))):
        if name in PHASES:
            return name
        if name in GATHER:
            return "gather"
    return None


def _callers(event: Any) -> Iterator[str]:
    """The event's own name, its caller's, and so on."""
    while event is not None:
        yield event.name
        event = event.cpu_parent


def _kind(event: Any) -> str:
    if event.name in PRODUCTS:
        return "matrix products"
    return "elementwise and other" if event.name.startswith("aten::") else "Python"


def table(totals: dict[str, float], step: float) -> str:
    """Markdown: microseconds and share of a step; time outside all operations comes last.

    totals: microseconds per step of each piece. step: microseconds of a step.
    """
    left = step - sum(totals.values())
    rows = {**totals, "Python and overhead (what is left)": left, "a step": step}
    lines = ["| piece | us per step | share |", "|---|---|---|"]
    lines += [f"| {name} | {us:,.0f} | {us / step:.0%} |" for name, us in rows.items()]
    return "\n".join(lines)


def _key_and_value(text: str) -> tuple[str, Any]:
    key, _, value = text.partition("=")
    return key, yaml.safe_load(value)


def _say(message: str) -> None:
    print(message, file=sys.stderr)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks.profile", description=__doc__)
    add = parser.add_argument
    add("--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings of FitConfig")
    add("--threads", type=int, default=2, help="number of threads (default: 2)")
    add("--steps", type=int, default=200, help="steps to look at, after 64 others (default: 200)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
