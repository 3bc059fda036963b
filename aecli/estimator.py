"""Autoencoder for scikit-learn: numpy in, numpy out, trained by the same loop as `aecli train`.

Imports scikit-learn and torch; `aecli.Autoencoder` imports this module when it is first asked for.
"""

import hashlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from aecli import codecs
from aecli.codecs.base import Codec
from aecli.config import TrainConfig, flag_layer, resolve
from aecli.data.images import InMemory, Source
from aecli.data.own.scaling import Scale
from aecli.errors import UsageError
from aecli.measure import metrics
from aecli.runs.folder import new_run
from aecli.training import device
from aecli.training.loop import Training
from aecli.training.records import EpochRecord

_ROWS = 64
"""Images at a time, always: a product of another size may round otherwise, and a code must not
depend on what else was encoded."""
_GIVEN = Path("arrays-given-in-python")  # for a dataset, in the config of a saved run

Array = NDArray[Any]


class Autoencoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Transformer from rows, or from images, to codes.

    X: (N, features), or images (N, H, W) or (N, H, W, C), of any numbers. uint8 is divided by 255;
    other numbers of X from 0 to 1 are taken as they are, and else brought there by the least and
    the largest that `fit` saw of each feature (of each channel of images); what lies outside is
    clipped. `inverse_transform` gives the numbers back in the units and the shape of X.

    code_dim: numbers in a code. codec: a codec's name as `aecli train --codec` takes it; `linear`,
    `pca` and `mlp` suit rows. epochs, batch_size, lr: of the training; None for the recipe's. A
    batch is no larger than X. recipe: `muon`, `chapter` or `gentle`. variational: True for codes of
    N(0, I). device: `cpu`, `cuda`, `mps` or `auto`. settings: further keys of a config of
    `aecli train` that begin with `codec.` or `train.`, such as {"codec.hidden": [64],
    "train.noise": "masking"}. random_state: seed for the weights and the order of the images.

    After `fit`: codec_, the codec; history_, a row for each epoch; n_features_in_; image_shape_,
    (C, H, W), where rows are images of one pixel with a channel for each feature.
    """

    def __init__(
        self,
        code_dim: int = 32,
        *,
        codec: str = "mlp",
        epochs: int | None = None,
        batch_size: int | None = None,
        lr: float | None = None,
        recipe: str = "muon",
        variational: bool = False,
        device: str = "cpu",
        settings: Mapping[str, Any] | None = None,
        random_state: Any = 0,
    ) -> None:
        self.code_dim = code_dim
        self.codec = codec
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.recipe = recipe
        self.variational = variational
        self.device = device
        self.settings = settings
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []  # codes are float32, whatever X is
        tags.input_tags.three_d_array = True
        return tags

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803
        """Train, or solve for, the codec. Raises UsageError for settings that do not fit, a
        ValueError for numbers that are none."""
        array = self._validated(X, reset=True)
        shape = array.shape[1:]
        self._shape = shape
        self.image_shape_ = _image_shape(shape)
        self._scale = _scale_of(array, self.image_shape_)
        unit = torch.from_numpy(self._in_unit(array))
        config = self._resolved(len(unit))
        source = InMemory(unit)
        where = torch.device(config.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            codec = codecs.build(config.codec, self.image_shape_).to(where)
            records = _fitted(codec, source, config)
        self.codec_ = codec.cpu().eval()
        self.history_ = [record.row() for record in records]
        self.n_iter_ = max(len(records), 1)
        self._config = config
        self._facts = {
            "sha256": hashlib.sha256(np.ascontiguousarray(array).data).hexdigest(),
            "n_train": len(unit),
            "train_mse": metrics.mse(self.codec_, source),
            "train_seconds": round(sum(record.seconds for record in records), 3),
        }
        self._n_features_out = codec.code_dim
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:  # noqa: N803
        """Codes (N, code_dim) of X."""
        check_is_fitted(self)
        unit = torch.from_numpy(self._in_unit(self._validated(X, reset=False)))
        return _by_rows(lambda some: self.codec_.encode(some).flatten(start_dim=1), unit)

    def inverse_transform(self, X: Any) -> NDArray[np.float32]:  # noqa: N803
        """Rows or images, in the units of those that it was fitted on, of codes (N, code_dim)."""
        check_is_fitted(self)
        codes = check_array(X, dtype=np.float32)
        if codes.shape[1] != self._n_features_out:
            raise ValueError(
                f"X has {codes.shape[1]} numbers a code, but {type(self).__name__} is expecting"
                f" {self._n_features_out}"
            )
        shaped = torch.from_numpy(codes).unflatten(1, self.codec_.code_shape)
        images = _by_rows(self.codec_.decode, shaped)
        pixels = 255 * images if self._scale is None else self._scale.from_unit(images)
        if len(self._shape) == 3:
            pixels = np.moveaxis(pixels, 1, 3)
        return np.ascontiguousarray(pixels.reshape(len(codes), *self._shape))

    def score(self, X: Any, y: Any = None) -> float:  # noqa: N803
        """Minus the mean squared error of X, decoded, per number in [0, 1]; higher is better, as
        GridSearchCV wants it."""
        check_is_fitted(self)
        unit = torch.from_numpy(self._in_unit(self._validated(X, reset=False)))
        return -metrics.mse(self.codec_, InMemory(unit))

    def save(self, runs_dir: str | os.PathLike[str] = "runs") -> Path:
        """Folder of a new run with the codec, its config and its history; `aecli.open` opens it,
        and `aecli encode`, `decode` and `export` take it. Raises StorageError."""
        check_is_fitted(self)
        config, facts = self._config, self._facts
        slug = f"{config.codec.name}{config.codec.code_dim}-python"
        with new_run(Path(runs_dir), config, slug, sys.argv) as run:
            run.note(
                device=config.device,
                precision=config.train.precision,
                dataset={
                    "name": _GIVEN.name,
                    "source": f"{type(self).__name__}.fit",
                    "sha256": facts["sha256"],
                    "n_train": facts["n_train"],
                    "n_val": 0,
                    "n_test": 0,
                },
            )
            run.write_csv("history.csv", self.history_)
            run.save_model(self.codec_, config, self._scale)
            run.write_metrics(
                {
                    "dataset": _GIVEN.name,
                    "code_dim": self.codec_.code_dim,
                    "compression_ratio": self.codec_.compression_ratio,
                    "parameters": self.codec_.count_parameters(),
                    "train_mse": facts["train_mse"],
                    "epochs": len(self.history_),
                    "train_seconds": facts["train_seconds"],
                }
            )
        return run.path

    def _validated(self, given: Any, reset: bool) -> Array:
        # np.ndim would ask what is given, which need not be an array.
        dimensions = given.ndim if hasattr(given, "ndim") else np.asarray(given).ndim
        images = dimensions in (3, 4)
        array: Array = validate_data(
            self, given, reset=reset, ensure_2d=not images, allow_nd=images, dtype="numeric"
        )
        if not reset and array.shape[1:] != self._shape:
            raise ValueError(
                f"X: images of shape {array.shape[1:]}, but {type(self).__name__} is expecting"
                f" {self._shape}"
            )
        return array

    def _in_unit(self, array: Array) -> NDArray[np.float32]:
        """Images (N, C, H, W) float32 in [0, 1] of a validated X."""
        images = np.moveaxis(array, 3, 1) if array.ndim == 4 else array
        images = np.ascontiguousarray(images.reshape(len(array), *self.image_shape_))
        if self._scale is not None:
            return np.ascontiguousarray(self._scale.to_unit(images))
        if images.dtype != np.uint8:
            images = images.clip(0, 255)  # what fit saw was uint8
        return images.astype(np.float32) / np.float32(255)

    def _resolved(self, n: int) -> TrainConfig:
        """The config of the training. Raises UsageError."""
        for key in self.settings or {}:
            if not str(key).startswith(("codec.", "train.")) or key == "train.init_from":
                raise UsageError(
                    f"settings: {key} has no effect here; keys that begin with codec. or train. are"
                    " taken, other than train.init_from"
                )
        given = {
            "codec": ("codec.name", self.codec),
            "code_dim": ("codec.code_dim", _plain(self.code_dim)),
            "variational": ("codec.variational", True if self.variational else None),
            "recipe": ("train.recipe", None if self.recipe == "muon" else self.recipe),
            "epochs": ("train.epochs", _plain(self.epochs)),
            "lr": ("train.optimizer.lr", self.lr),
            "batch_size": ("train.batch_size", _plain(self.batch_size)),
            "device": ("device", self.device),
            "random_state": ("seed", self._seed()),
            "dataset": ("data.dataset", str(_GIVEN.absolute())),
            "val": ("data.val", 0),
            **{key: (key, value) for key, value in (self.settings or {}).items()},
        }
        config = resolve(TrainConfig, [flag_layer(given)])
        if not config.codec.solved and config.train.batch_size > n:
            fitting = {**given, "batch_size": ("train.batch_size", n)}
            config = resolve(TrainConfig, [flag_layer(fitting)])
        return device.decided(config)

    def _seed(self) -> int:
        if isinstance(self.random_state, int | np.integer):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31 - 1))


def _fitted(codec: Codec, source: Source, config: TrainConfig) -> list[EpochRecord]:
    """A record for each epoch of fitting a codec; none if it is solved for. Raises UsageError,
    DivergedError."""
    if codec.settings.solved:
        codec.solve(source)
        return []
    order = torch.Generator().manual_seed(config.seed)
    nothing = source.part(torch.empty(0, dtype=torch.int64))
    training = Training(codec, source, nothing, config.train, order)
    records = []
    while not training.is_done:
        training.take_step()
        if training.is_epoch_over:
            records.append(training.end_epoch())
    return records


def _plain(number: Any) -> Any:
    """A whole number of numpy's as one of Python's; anything else as it is."""
    return int(number) if isinstance(number, np.integer) else number


def _image_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(C, H, W) of a row or an image of X."""
    if len(shape) == 1:
        return shape[0], 1, 1
    height, width, channels = (*shape, 1)[:3]
    return channels, height, width


def _scale_of(array: Array, image_shape: tuple[int, int, int]) -> Scale | None:
    """The scale that brings X to [0, 1]; None for uint8, which is divided by 255."""
    channels = image_shape[0]
    if array.dtype == np.uint8:
        return None
    if array.min() >= 0 and array.max() <= 1:
        return Scale((0.0,) * channels, (1.0,) * channels, "float32", "as given")
    # The last axis has the features of rows and the channels of images, if there are several.
    by_channel = array.reshape(-1, channels).astype(np.float64)
    low, high = by_channel.min(axis=0), by_channel.max(axis=0)
    return Scale(tuple(low.tolist()), tuple(high.tolist()), "float32", "least and largest")


@torch.no_grad()
def _by_rows(function: Any, given: torch.Tensor) -> NDArray[np.float32]:
    """`function` of `given`, _ROWS at a time; the last ones among zeros."""
    n = len(given)
    padded = torch.cat([given, given.new_zeros((-n % _ROWS, *given.shape[1:]))])
    found: NDArray[np.float32] = torch.cat([function(some) for some in padded.split(_ROWS)]).numpy()
    return found[:n]
