"""The training curve of a run's one codec."""

from collections.abc import Sequence

import numpy as np
import torch

from aecli import figures
from aecli.codecs.base import Codec
from aecli.data.images import Batch, squared_errors
from aecli.runs.folder import RunDir
from aecli.training.records import EpochRecord


def draw_training(
    records: Sequence[EpochRecord],
    test_mse: float,
    baseline: tuple[str, float] | None,
    title: str,
    run_dir: RunDir,
    drawn: bool = False,
    cut: bool = False,
) -> None:
    """training_curve.png: every term of the loss, by epoch; none where nothing was trained.

    baseline: label and mse of what the error is held against. drawn, cut: as for the figure.
    """
    if not records:
        return
    train_mse, val_mse = np.array([(r.train_mse, r.val_mse) for r in records]).T
    further = {
        name: (
            np.array([record.train[name] for record in records]),
            np.array([record.val[name] for record in records]),
        )
        for name in records[0].train
        if name != "mse"
    }
    figure = figures.training_curve(
        1.0 + np.arange(len(train_mse)),
        train_mse,
        val_mse,
        test_mse,
        baseline,
        f"Training ({title})",
        further,
        drawn,
        cut,
    )
    run_dir.save_figure("training_curve", figure)


def decoded(name: str, codec: Codec, batch: Batch, test_mse: float) -> figures.Decoded:
    """A batch through `codec`; test_mse is over all test images."""
    with torch.no_grad():
        images = codec.reconstruct(batch.to(codec.device)).cpu()
    errors, _ = squared_errors(images, batch)
    return figures.Decoded(name, images.numpy(), errors.numpy(), test_mse)
