"""Results as Markdown, CSV and JSON; `python -m benchmarks.report FILE.json` prints them."""

import csv
import io
import json
import math
import statistics
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.contenders import CHAPTER_LOOP, PEERS
from benchmarks.summary import (
    EpochRow,
    Measurement,
    QualityRow,
    Sooner,
    epoch_row,
    quality_row,
    sooner,
    throughput_ratio,
)

Table = tuple[Sequence[str], Sequence[Sequence[str]]]
"""Column heads and rows."""


def write(results: dict[str, Any], folder: Path) -> None:
    """results.json (all raw values), results.md (the tables) and ratios.csv, into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (folder / "results.md").write_text(markdown(results))
    (folder / "ratios.csv").write_text(ratios_csv(results))


def markdown(results: dict[str, Any]) -> str:
    """All tables, with the machine at their head."""
    runs = Runs.of(results)
    parts = [
        _machine(results),
        "Bounds that aecli has to keep, and whether it does:\n\n" + _table(_bounds(runs)),
        "Seconds per epoch, and as a multiple of the fp32 floor of the same batch size, measured"
        " in turns with it:\n\n" + _table(_epochs(runs)),
        "Seconds of training from the first step until the mse over all test images is at most"
        " the target, and the same in epochs of the fp32 floor at batch 256:\n\n"
        + _table(_quality(runs)),
        "Whole commands, and jobs of a sweep:\n\n" + _table(_commands(runs)),
        "Beside other processes, with both cores for each: seconds, and over the same alone:\n\n"
        + _table(_beside_neighbours(runs)),
    ]
    return "\n\n".join(parts) + "\n"


@dataclass(frozen=True)
class Runs:
    """All measurements of one benchmark run, with functions that select from them."""

    measurements: list[Measurement]
    targets: list[float]
    budget_seconds: float

    @staticmethod
    def of(results: dict[str, Any]) -> "Runs":
        settings = results["settings"]
        measurements = [Measurement(**m) for m in results["measurements"]]
        return Runs(measurements, settings["targets"], settings["budget_seconds"])

    def named(self, part: str, contender: str) -> list[Measurement]:
        """The measurements that have values."""
        return [
            m
            for m in self.measurements
            if m.part == part and m.contender == contender and not m.problem
        ]

    def contenders(self, part: str) -> list[str]:
        """The contenders' names, in the order in which they first ran."""
        return list(dict.fromkeys(m.contender for m in self.measurements if m.part == part))

    def problem(self, part: str, contender: str) -> str | None:
        """The first reason why a contender has no values."""
        reasons = (
            m.problem for m in self.measurements if m.part == part and m.contender == contender
        )
        return next((reason for reason in reasons if reason), None)

    def epochs(self, contender: str) -> EpochRow | None:
        found = self.named("epochs", contender)
        return epoch_row(found) if found else None

    def quality(self, contender: str, i: int) -> QualityRow | None:
        found = self.named("quality", contender)
        return quality_row(found, i, self.targets[i]) if found else None

    def soonest_of_aecli(self, i: int) -> QualityRow | None:
        """aecli's best row for the `i`-th target."""
        names = [name for name in self.contenders("quality") if name.startswith("aecli")]
        rows = [row for name in names if (row := self.quality(name, i))]
        return min(rows, key=lambda row: row.seconds, default=None)

    def sooner(self, ours: str, theirs: str, i: int) -> Sooner | None:
        return sooner(self.named("quality", ours), self.named("quality", theirs), i)


def _machine(results: dict[str, Any]) -> str:
    machine, settings = results["machine"], results["settings"]
    versions = ", ".join(f"{name} {v}" for name, v in machine["versions"].items() if v)
    return (
        f"{machine['cpu']}, {machine['cores']} cores ({', '.join(machine['flags'])}),"
        f" {machine['memory_gib']} GiB, {machine['system']}; {machine['threads']} threads;"
        f" Python {machine['python']}, {versions}."
        f" {settings['train_images']:,} training images; medians over {settings['repeats']}"
        f" repeats of {settings['epochs']} epochs each. PCA-32's test mse, measured:"
        f" {settings['targets'][0]:.5f}."
    )


def _epochs(runs: Runs) -> Table:
    heads = ("contender", "batch", "s per epoch", "x floor", "lowest to highest", "peak MiB")
    rows = [_floor_row(runs, name) for name in runs.contenders("floor")]
    for name in runs.contenders("epochs"):
        row = runs.epochs(name)
        if row is None:
            rows.append(_no_values(name, runs.problem("epochs", name), len(heads)))
            continue
        spread = f"{row.lowest_ratio:.2f} to {row.highest_ratio:.2f}"
        rows.append(
            (
                name,
                str(row.batch_size),
                f"{row.seconds:.3f}",
                f"{row.ratio:.2f}",
                spread,
                f"{row.peak_mib:.0f}",
            )
        )
    return heads, rows


def _floor_row(runs: Runs, name: str) -> Sequence[str]:
    """The floor over all times it ran; its spread is the machine's unrest."""
    found = runs.named("floor", name)
    seconds = [statistics.median(m.values["epoch_seconds"]) for m in found]
    median = statistics.median(seconds)
    spread = f"{min(seconds) / median:.2f} to {max(seconds) / median:.2f}"
    peak = statistics.median(m.values["peak_mib"] for m in found)
    return (name, str(found[0].batch_size), f"{median:.3f}", "1.00", spread, f"{peak:.0f}")


def _quality(runs: Runs) -> Table:
    heads = (
        "contender",
        *(f"s to {target:.5f}" for target in runs.targets),
        *(f"floor epochs to {target:.5f}" for target in runs.targets),
        f"times sooner than the chapter's loop to {runs.targets[0]:.5f}",
        "best mse",
        "peak MiB",
    )
    rows = []
    for name in runs.contenders("quality"):
        by_target = [row for i in range(len(runs.targets)) if (row := runs.quality(name, i))]
        if not by_target:
            rows.append(_no_values(name, runs.problem("quality", name), len(heads)))
            continue
        rows.append(
            (
                name,
                *(_seconds(row) for row in by_target),
                *(f"{row.floor_epochs:.1f}" if row.reached else "-" for row in by_target),
                _times(runs.sooner(name, CHAPTER_LOOP, 0)),
                f"{by_target[0].best_mse:.5f}",
                f"{by_target[0].peak_mib:.0f}",
            )
        )
    return heads, rows


def _seconds(row: QualityRow) -> str:
    if not math.isfinite(row.seconds):
        return f"not reached in {row.spent_seconds:.0f} s" + _in_some(row)
    return f"{row.seconds:.2f}" + _in_some(row)


def _in_some(row: QualityRow) -> str:
    return f" ({row.reached} of {row.repeats} reached it)" if 0 < row.reached < row.repeats else ""


def _times(found: Sooner | None) -> str:
    if found is None:
        return "-"
    return f"{'> ' if found.at_least else ''}{found.times:.1f}"


def _commands(runs: Runs) -> Table:
    heads = ("what", "value")
    rows: list[Sequence[str]] = []
    for part in ("startup", "sweep"):
        if reason := runs.problem(part, part):
            rows.append(_no_values(part, reason, len(heads)))
    started = runs.named("startup", "startup")
    for name in started[0].values["seconds"] if started else ():
        seconds, peak = _startup(started, name)
        rows.append((f"`{name}`", f"{seconds:.2f} s, peak {peak:.0f} MiB"))
    for what, found in (
        ("`aecli train` of 256 images beyond `import torch`", beyond_import(started)),
        ("`aecli train`: its training", training_seconds(started)),
        ("`aecli train` beyond `import torch` and its training", beyond_training(started)),
    ):
        if found is not None:
            rows.append((what, f"{found:.2f} s"))
    swept = runs.named("sweep", "sweep")
    if swept:
        alone = statistics.median(m.values["alone_seconds"] for m in swept)
        rows.append(("a sweep's job on 1 thread alone, 1 epoch", f"{alone:.2f} s"))
        ratio = statistics.median(map(throughput_ratio, swept))
        rows.append(("jobs per second of two side by side over one alone", f"{ratio:.2f}"))
    return heads, rows


# Situation -> the one it is compared with; a limit, where there is one, is in _at_most.
_COMPARED = {
    "as libgomp waits, alone": None,
    "as libgomp waits, two at once": "as libgomp waits, alone",
    "alone": "as libgomp waits, alone",
    "two at once": "alone",
    "beside one busy process": "alone",
    "beside one that comes later, last epochs": "alone, last epochs",
    "sweep, alone": None,
    "sweep, beside one busy process": "sweep, alone",
}


def _beside_neighbours(runs: Runs) -> Table:
    heads = ("what", "s", "ratio", "lowest to highest")
    found = runs.named("neighbours", "neighbours")
    if not found:
        return heads, [_no_values("neighbours", runs.problem("neighbours", "neighbours"), 4)]
    rows: list[Sequence[str]] = []
    for what, beside in _COMPARED.items():
        seconds = f"{statistics.median(m.values['seconds'][what] for m in found):.2f}"
        ratios = _ratios(found, what)
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}" if beside else ""
        rows.append((what, seconds, f"{statistics.median(ratios):.2f}" if beside else "", spread))
    return heads, rows


def _ratios(found: Sequence[Measurement], what: str) -> list[float]:
    """Seconds of a situation over those of the one that it is compared with, per repeat."""
    beside = _COMPARED[what]
    return [m.values["seconds"][what] / m.values["seconds"][beside or what] for m in found]


def _beside(runs: Runs, what: str) -> float | None:
    found = runs.named("neighbours", "neighbours")
    return statistics.median(_ratios(found, what)) if found else None


def _startup(started: Sequence[Measurement], command: str) -> tuple[float, float]:
    """Median seconds and peak MiB of one command."""
    seconds = statistics.median(m.values["seconds"][command] for m in started)
    return seconds, statistics.median(m.values["peak_mib"][command] for m in started)


def beyond_import(started: Sequence[Measurement]) -> float | None:
    """Seconds of a train of 256 images beyond importing torch: the median of the differences."""
    if not started:
        return None
    commands = [m.values["seconds"] for m in started]
    beyond = [s["aecli train, 256 images"] - s["import torch"] for s in commands]
    return float(statistics.median(beyond))


def training_seconds(started: Sequence[Measurement]) -> float | None:
    """Seconds that a whole `aecli train` takes to train: the median."""
    trained = [m.values["train_seconds"] for m in started]
    return float(statistics.median(trained)) if trained else None


def beyond_training(started: Sequence[Measurement]) -> float | None:
    """Seconds of a whole `aecli train` beyond importing torch and training: the median."""
    beyond = [
        m.values["seconds"]["aecli train"]
        - m.values["seconds"]["import torch"]
        - m.values["train_seconds"]
        for m in started
    ]
    return float(statistics.median(beyond)) if beyond else None


def _bounds(runs: Runs) -> Table:
    """Each bound, what was measured, and whether it holds."""
    rows = [_bound(text, measured, limit) for text, measured, limit in _at_most(runs)]
    rows += [_bound(text, measured, limit, True) for text, measured, limit in _at_least(runs)]
    return ("bound", "measured", "holds"), rows


Bound = tuple[str, float | None, float]
"""Words, the measured value (None: not measured), the limit."""


def _at_most(runs: Runs) -> list[Bound]:
    started = runs.named("startup", "startup")
    chapter_256, chapter_1024 = (runs.epochs(f"aecli chapter {size} fp32") for size in (256, 1024))
    soonest = runs.soonest_of_aecli(1)
    default, default_bf16 = (runs.epochs(f"aecli muon 256 {name}") for name in ("fp32", "bf16"))
    return [
        (
            "default recipe, batch 256, fp32: an epoch <= 2.6 floors",
            default.ratio if default else None,
            2.6,
        ),
        (
            "default recipe, batch 256, bf16: an epoch <= 2.0 fp32 floors",
            default_bf16.ratio if default_bf16 else None,
            2.0,
        ),
        (
            "chapter recipe, batch 256, fp32: an epoch <= 1.25 floors",
            chapter_256.ratio if chapter_256 else None,
            1.25,
        ),
        (
            "chapter recipe, batch 1024, fp32: an epoch <= 1.15 floors",
            chapter_1024.ratio if chapter_1024 else None,
            1.15,
        ),
        (
            "test mse 0.0060 within 10 epochs of the floor" + _who(soonest),
            soonest.floor_epochs if soonest else None,
            10,
        ),
        (
            "`aecli --help` <= 0.25 s",
            _startup(started, "aecli --help")[0] if started else None,
            0.25,
        ),
        ("`aecli train` of 256 images <= 1.5 s beyond `import torch`", beyond_import(started), 1.5),
        (
            "`aecli train` <= 1.5 s beyond `import torch` and its training",
            beyond_training(started),
            1.5,
        ),
        ("`aecli train`: training <= 7 s", training_seconds(started), 7),
        (
            "`aecli train`: peak memory <= 1331 MiB (1.3 GiB)",
            _startup(started, "aecli train")[1] if started else None,
            1331,
        ),
        (
            "alone <= 1.05 times the time with libgomp's own spinning",
            _beside(runs, "alone"),
            1.05,
        ),
        ("two trainings at once: <= 2.5 times one alone", _beside(runs, "two at once"), 2.5),
        (
            "a training beside one busy process: <= 2 times alone",
            _beside(runs, "beside one busy process"),
            2,
        ),
        (
            "a training beside one that comes later: <= 3 times alone",
            _beside(runs, "beside one that comes later, last epochs"),
            3,
        ),
    ]


def _at_least(runs: Runs) -> list[Bound]:
    swept = runs.named("sweep", "sweep")
    throughput = statistics.median(map(throughput_ratio, swept)) if swept else None
    bounds: list[Bound] = [
        ("two jobs of a sweep: >= 1.8 times the throughput of one", throughput, 1.8)
    ]
    soonest = runs.soonest_of_aecli(0)
    for name, _, _ in PEERS:
        found = runs.sooner(soonest.contender, name, 0) if soonest else None
        limit = 15 if name == CHAPTER_LOOP else 1
        text = f"PCA-32's test mse >= {limit} times sooner than {name}" + _who(soonest)
        bounds.append((text, found.times if found else None, limit))
    return bounds


def _who(row: QualityRow | None) -> str:
    return f" ({row.contender})" if row else ""


def _bound(
    text: str, measured: float | None, limit: float, at_least: bool = False
) -> Sequence[str]:
    if measured is None:
        return (text, "not measured", "-")
    if not math.isfinite(measured):
        return (text, "not reached", "**no**")
    holds = measured >= limit if at_least else measured <= limit
    return (text, f"{measured:.2f}", "yes" if holds else "**no**")


def ratios_csv(results: dict[str, Any]) -> str:
    """A line per contender and measure: the median in seconds, and over the floor."""
    runs = Runs.of(results)
    lines: list[Sequence[Any]] = [
        ("part", "contender", "batch_size", "target_mse", "seconds", "ratio_to_floor", "problem")
    ]
    for name in runs.contenders("epochs"):
        row = runs.epochs(name)
        problem = runs.problem("epochs", name)
        shown = (row.batch_size, "", row.seconds, row.ratio) if row else ("", "", "", "")
        lines.append(("epochs", name, *shown, problem or ""))
    for name in runs.contenders("quality"):
        for i, target in enumerate(runs.targets):
            reach = runs.quality(name, i)
            times = _finite(reach.seconds, reach.floor_epochs) if reach else ("", "")
            reason = runs.problem("quality", name) or ("" if all(times) else "not reached")
            lines.append(("quality", name, "", target, *times, reason))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()


def _finite(*values: float) -> tuple[Any, ...]:
    return tuple(value if math.isfinite(value) else "" for value in values)


def _no_values(name: str, problem: str | None, columns: int) -> Sequence[str]:
    """The row of a contender that was skipped or failed: its name, and the reason."""
    return (name, problem or "", *[""] * (columns - 2))


def _table(table: Table) -> str:
    lines: Iterable[Sequence[str]] = (table[0], ["---"] * len(table[0]), *table[1])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    print(markdown(json.loads(Path(sys.argv[1]).read_text())), end="")
