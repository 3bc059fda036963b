"""Runs of each kind in a few lines, for the pages that are made of them."""

import io

import numpy as np
import pytest
from PIL import Image

from aecli.config import (
    EXPERIMENTS,
    SweepConfig,
    TrainConfig,
)
from aecli.runs.folder import new_run
from tests.conftest import ONE_PIXEL


def png(shape=(600, 900), noise=False):
    """A PNG as large as a figure; of noise it is as large in bytes as can be."""
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256 if noise else 2, (*shape, 3), np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels if noise else pixels * 255).save(content, "PNG")
    return content.getvalue()


def trained(runs, picture=ONE_PIXEL, slug="x", **numbers):
    with new_run(runs, TrainConfig(), slug, ["aecli", "train"]) as run:
        run.note(dataset={"name": "mnist", "n_train": 10, "n_val": 1, "n_test": 2})
        found = {"test_mse": 0.011, "pca_test_mse": 0.022, "mean_image_test_mse": 0.07}
        run.write_metrics({"dataset": "mnist", **found, **numbers})
        run.write_csv("history.csv", [{"epoch": i, "train_mse": 0.1 / (i + 1)} for i in range(12)])
        run._write("reconstructions.png", picture)
        run._write("training_curve.png", picture)
    return run.path


def swept(runs):
    with new_run(runs, SweepConfig(code_dims=(2, 8, 32)), "x", []) as run:
        run.note(dataset={"name": "mnist"})
        rows = [
            {"code_dim": k, "test_mse": 0.1 / k, "pca_test_mse": 0.02, "what_it_learns": "much"}
            for k in (8, 32, 2)
        ]
        run.write_csv("table.csv", rows)
        run.write_metrics({"rows": 3})
        run._write("tradeoff.png", ONE_PIXEL)
    return run.path


def judged(runs):
    with new_run(runs, EXPERIMENTS["reproduce"](), "x", []) as run:
        claims = [
            {
                "section": i,
                "says": f"claim {i}",
                "verdict": verdict,
                "reason": "so",
                "figure": "s/a.png",
            }
            for i, verdict in enumerate(("holds", "does not hold", "holds only if it is so"))
        ]
        run.write_json("claims.json", claims)
        run.write_metrics({"claims": 3, "quick": False})
        run._write("s/a.png", ONE_PIXEL)
    return run.path


def stopped(runs):
    with pytest.raises(KeyboardInterrupt), new_run(runs, TrainConfig(), "stopped", []):
        raise KeyboardInterrupt
    [path] = runs.glob("*-stopped")
    return path
