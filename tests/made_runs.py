"""Run folders made up, by the number: `python -m tests.made_runs DIR [N]`; their numbers are drawn.

They measure how long commands take that read many runs, and are the runs of tests whose truth is
known.
"""

import json
import random
import sys
from datetime import datetime
from pathlib import Path

from aecli.config import TrainConfig, settings_of, with_values

METRICS = {"dataset": "mnist-5k", "code_dim": 32, "parameters": 439728, "beats_pca": True}


def make_run(runs: Path, name: str, seed: int = 0, metrics=None, config=None, **facts) -> Path:
    """A completed run of `train` with these metrics beside METRICS. facts: what run.json has else;
    config: settings other than the defaults."""
    path = runs / name
    path.mkdir(parents=True)
    changed = {"data.dataset": "mnist-5k", "device": "cpu", "threads": 2, "seed": seed}
    settings = settings_of(with_values(TrainConfig(), changed | (config or {})))
    record = {
        "format": 2,
        "status": "completed",
        "command": "train",
        "seed": seed,
        "started": datetime.strptime(name[:16], "%Y%m%dT%H%M%S%z").isoformat(),
        "finished": datetime.strptime(name[:16], "%Y%m%dT%H%M%S%z").isoformat(),
        "seconds": 60.0,
        "versions": {"aecli": "0.1.0", "torch": "2.14.1"},
        "program_sha256": "a" * 64,
        "dataset": {"name": "mnist-5k", "sha256": "b" * 64, "n_test": 1000},
        "config": settings,
    }
    (path / "run.json").write_text(json.dumps(record | facts))
    metrics = {"test_mse": 0.02} if metrics is None else metrics
    (path / "metrics.json").write_text(json.dumps(METRICS | metrics))
    return path


def write_history(run: Path, values) -> None:
    """history.csv of a run, a row for each value."""
    rows = [f"{i},{value},{value},0.01,1.0" for i, value in enumerate(values)]
    (run / "history.csv").write_text("\n".join(["epoch,train_mse,val_mse,lr,seconds", *rows]))


def many(runs: Path, n: int) -> None:
    """n runs: code dimensions and recipes, five seeds of each."""
    draw = random.Random(0)
    for i in range(n):
        kind, seed = divmod(i, 5)
        changed = {"codec.code_dim": 2 + kind % 20, "train.epochs": 5 + kind // 20}
        mse = 0.1 / (2 + kind % 20) + draw.gauss(0, 0.0002)
        name = f"20260101T{i // 3600:02d}{i // 60 % 60:02d}{i % 60:02d}Z-train-mlp"
        metrics = {"test_mse": mse, "psnr_db": 20 - mse, "pca_test_mse": 0.02}
        metrics |= {f"number_{k}": draw.random() for k in range(15)}
        run = make_run(runs, name, seed, metrics, changed)
        write_history(run, [mse + 0.1 / (epoch + 1) for epoch in range(20)])


if __name__ == "__main__":
    many(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 200)
