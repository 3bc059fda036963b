"""`python -m benchmarks`: measure everything side by side and write the tables."""

import argparse
import fnmatch
import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine, neighbours, report
from benchmarks.contenders import PEER_BATCH, SWEEP_JOB, Contender, contenders, floor
from benchmarks.processes import WorkerError, run_task, run_together, run_worker, time_command
from benchmarks.summary import Measurement, epoch_seconds
from benchmarks.task import Task

PARTS = ("epochs", "quality", "sweep", "startup", "neighbours")
SECOND_TARGET = 0.0060  # test mse per pixel; the first one is PCA-32's, measured
STARTUP_TRAIN = ("--dataset", "mnist", "-q")
STARTUP_SHORT = ("--epochs", "1", "--limit-train", "256", "--batch-size", "256")


def main() -> None:
    """Read the command line, run every repeat, write the results after each measurement."""
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        _say("reading MNIST, solving PCA-32")
        limit = "" if options.limit_train is None else str(options.limit_train)
        prepared = run_worker(["prepare", folder, limit], options.threads)
        results: dict[str, Any] = {
            "machine": machine.describe(options.threads),
            "settings": {
                "repeats": options.repeats,
                "epochs": options.epochs,
                "budget_seconds": options.budget,
                "train_images": options.limit_train or 60_000,
                "targets": [prepared["pca_test_mse"], SECOND_TARGET],
            },
            "measurements": [],
        }
        bench = Bench(options, folder, tuple(results["settings"]["targets"]))
        for repeat in range(options.repeats):
            for measurement in bench.repeat(repeat):
                results["measurements"].append(measurement.as_dict())
                report.write(results, options.out)
    print(report.markdown(results))


class Bench:
    """The repeats: what is run, in which order."""

    def __init__(self, options: argparse.Namespace, data: str, targets: tuple[float, ...]) -> None:
        self._options = options
        self._data = data
        self._targets = targets

    def repeat(self, repeat: int) -> Iterator[Measurement]:
        """Measure all once; every other repeat in the opposite order, so that drifts cancel."""
        chosen = [c for c in contenders() if c.measure in self._options.parts]
        chosen = [c for c in chosen if _matches(c.name, self._options.only)]
        for contender in chosen if repeat % 2 == 0 else reversed(chosen):
            _say(f"repeat {repeat}: {contender.name} ({contender.measure})")
            yield from self._contender(repeat, contender)
        if "sweep" in self._options.parts:
            _say(f"repeat {repeat}: sweep")
            yield self._sweep(repeat)
        if "startup" in self._options.parts:
            _say(f"repeat {repeat}: start-up")
            yield self._startup(repeat)
        if "neighbours" in self._options.parts:
            _say(f"repeat {repeat}: neighbours")
            yield self._neighbours(repeat)

    def _contender(self, repeat: int, contender: Contender) -> list[Measurement]:
        """The floor, then the contender; only the reason if the contender cannot run."""
        common: dict[str, Any] = {
            "repeat": repeat,
            "part": contender.measure,
            "contender": contender.name,
            "batch_size": contender.settings.get("batch_size", PEER_BATCH),
            "load": round(os.getloadavg()[0], 2),
        }
        reason = why_not(contender)
        if reason:
            return [Measurement(**common, problem=f"skipped: {reason}")]
        floor_contender = floor(contender.floor_batch)
        floor_values = run_task(self._task(repeat, floor_contender))
        floor_measurement = Measurement(
            repeat, "floor", floor_contender.name, contender.floor_batch, floor_values
        )
        seconds = epoch_seconds(floor_measurement)
        try:
            values = run_task(self._task(repeat, contender))
        except WorkerError as error:
            return [floor_measurement, Measurement(**common, problem=f"failed: {error}")]
        return [floor_measurement, Measurement(**common, values=values, floor_seconds=seconds)]

    def _task(self, repeat: int, contender: Contender, **others: Any) -> Task:
        told: dict[str, Any] = {
            "threads": self._options.threads,
            "measure": contender.measure,
            "settings": contender.settings,
            "epochs": self._options.epochs,
            "budget": self._options.budget,
            "targets": self._targets if contender.measure == "quality" else (),
            "seed": repeat,
            "floor_batch": contender.floor_batch if contender.turns else None,
        }
        return Task(contender.loop, self._data, **told | others)

    def _sweep(self, repeat: int) -> Measurement:
        """One training job on one thread alone, then two of them side by side."""
        job = Contender("sweep job", "epochs", "aecli", PEER_BATCH, SWEEP_JOB)
        told = {"threads": 1, "epochs": SWEEP_JOB["epochs"], "floor_batch": None, "wait": True}
        task = self._task(repeat, job, **told)
        try:
            runs = [run_together([task]), run_together([task, task])]
        except WorkerError as error:
            return Measurement(repeat, "sweep", "sweep", problem=f"failed: {error}")
        alone, together = ([sum(v["epoch_seconds"]) for v in values] for values in runs)
        values = {"alone_seconds": alone[0], "together_seconds": together}
        return Measurement(repeat, "sweep", "sweep", values=values)

    def _startup(self, repeat: int) -> Measurement:
        """Whole commands, from start to exit."""
        threads = self._options.threads
        with tempfile.TemporaryDirectory() as runs:
            train = ("-m", "aecli", "train", *STARTUP_TRAIN, "--runs-dir")
            whole = Path(runs) / "whole"
            commands: dict[str, Sequence[str]] = {
                "import torch": ("-c", "import torch"),
                "aecli --help": ("-m", "aecli", "--help"),
                "aecli train, 256 images": (*train, runs, *STARTUP_SHORT),
                "aecli train": (*train, str(whole), *self._limit()),
            }
            try:
                timed = {name: time_command(command, threads) for name, command in commands.items()}
            except WorkerError as error:
                return Measurement(repeat, "startup", "startup", problem=f"failed: {error}")
            metrics = json.loads((whole / "latest" / "metrics.json").read_text())
        values = {
            "train_seconds": metrics["train_seconds"],
            "seconds": {name: t.seconds for name, t in timed.items()},
            "peak_mib": {name: t.peak_mib for name, t in timed.items()},
        }
        return Measurement(repeat, "startup", "startup", values=values)

    def _neighbours(self, repeat: int) -> Measurement:
        load = round(os.getloadavg()[0], 2)
        try:
            values = {"seconds": neighbours.measure()}
        except WorkerError as error:
            return Measurement(repeat, "neighbours", "neighbours", problem=f"failed: {error}")
        return Measurement(repeat, "neighbours", "neighbours", values=values, load=load)

    def _limit(self) -> Sequence[str]:
        limit = self._options.limit_train
        return () if limit is None else ("--limit-train", str(limit))


def why_not(contender: Contender) -> str | None:
    """Reason why a contender cannot run here (not installed, or a setting unknown), or None."""
    if contender.needs and importlib.util.find_spec(contender.needs) is None:
        return f"{contender.needs} is not installed"
    if contender.loop == "aecli":
        from aecli.config import FitConfig

        unknown = sorted(contender.settings.keys() - FitConfig.model_fields.keys())
        if unknown:
            return f"aecli has no setting {', '.join(unknown)}"
    if contender.settings.get("precision") == "bf16" and not _has_bf16():
        return "the processor has no bf16 products"
    return None


def _has_bf16() -> bool:
    """True if bfloat16's products are not emulated here, at minutes an epoch by `muon-256`; told
    without torch, which would make this process large."""
    return bool({"avx512_bf16", "amx_bf16"} & set(machine.describe(1)["flags"]))


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("--repeats", type=int, default=3, help="number of times that everyone runs (default: 3)")
    add("--threads", type=int, default=2, help="threads of every process (default: 2)")
    add("--epochs", type=int, default=3, help="epochs timed per process (default: 3)")
    add("--budget", type=float, default=120, help="seconds of training per process (default: 120)")
    add("--parts", nargs="+", choices=PARTS, default=PARTS, help="parts to measure (default: all)")
    add("--only", nargs="+", default=["*"], metavar="PATTERN", help="contenders, as 'aecli muon*'")
    add("--limit-train", type=int, metavar="N", help="for a trial: train on N images only")
    add("--out", type=Path, default=Path("benchmarks/results"), help="folder for the results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
