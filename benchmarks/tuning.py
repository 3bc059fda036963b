"""`aecli tune` beside random search and the settings that both begin from: at an equal budget, the
test error of what each found, which none of them looked at.

    python -m benchmarks.tuning --budget 60 mnist-5k PATH,data.tile=32,codec.code_dim=64
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.processes import ROOT

SAMPLERS = ("tpe", "random")


def main() -> None:
    """Read the command line, search and train, print a table of each seed and of the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("datasets", nargs="+", help="NAME or PATH[,KEY=VALUE...]")
    parser.add_argument("--budget", default="60s")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    print(
        "| images | seed | begun from | as many epochs | tpe | random |\n|---|---|---|---|---|---|"
    )
    for text in options.datasets:
        dataset, *settings = text.split(",")
        told = ["--dataset", dataset, *(word for each in settings for word in ("--set", each))]
        errors: dict[str, list[float]] = {}
        for seed in range(options.seeds):
            row = _row(told, str(seed), options.budget)
            for name, error in row.items():
                errors.setdefault(name, []).append(error)
            _print(Path(dataset).name, str(seed), list(row.values()))
        _print(Path(dataset).name, "median", [statistics.median(each) for each in errors.values()])


def _row(told: Sequence[str], seed: str, budget: str) -> dict[str, float]:
    """Test errors by the way that the settings came about."""
    with tempfile.TemporaryDirectory() as folder:
        own = ("--seed", seed, "--runs-dir", folder)
        found = {}
        epochs = ""
        for sampler in SAMPLERS:
            search = ("tune", *told, *own, "--budget", budget, "--sampler", sampler)
            run = _run(*search, "--set", f"name={sampler}")
            config = next(Path(folder).glob(f"*-tune-{sampler}")) / "tuned.yaml"
            found[sampler] = _run("train", "--config", str(config), *own)["test_mse"]
            epochs = str(run["epochs"]) if sampler == "tpe" else epochs
        begun = _run("train", *told, *own)["test_mse"]
        longer = _run("train", *told, *own, "--epochs", epochs)["test_mse"]
        return {"begun from": begun, "as many epochs": longer, **found}


def _run(*arguments: str) -> dict[str, Any]:
    """What `aecli ... --json` prints."""
    command = [sys.executable, "-m", "aecli", *arguments, "--json", "-q"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"aecli {' '.join(arguments)}: exit {done.returncode}\n{done.stderr}")
    metrics: dict[str, Any] = json.loads(done.stdout)
    return metrics.get("metrics", metrics)


def _print(name: str, seed: str, errors: Sequence[float]) -> None:
    print(f"| {name} | {seed} | {' | '.join(f'{error:.5f}' for error in errors)} |", flush=True)


if __name__ == "__main__":
    main()
