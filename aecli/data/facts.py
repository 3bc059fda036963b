"""Facts of a config's images before they are loaded: their shape, their number; no torch here.

A known dataset's stand in a table. A path is looked at, once in a process and, as long as nothing
there changes, once on a machine.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from aecli import machine
from aecli.config import (
    DataConfig,
    NetworkConfig,
    SweepConfig,
    TrainedConfig,
    is_given,
    with_values,
    without_layers,
)
from aecli.data.downloads import Working
from aecli.data.known import DATASETS, Dataset
from aecli.terminal import not_shown

if TYPE_CHECKING:
    from aecli.data.images import ImageShape
    from aecli.data.own.opened import Opened

Config = TypeVar("Config", bound=NetworkConfig)

_STEPS = 16  # of an epoch, at least, where the batch size is left open
IN_MEMORY = 2**30
"""Bytes of the images of a path up to which they are held in memory; more are read from their file
a batch at a time."""
SIDE_BY_SIDE = 2**28
"""Bytes of training images as `evaluate` sees them, pixels or codes, that it holds at once; all of
MNIST's pixels fit."""


def look(data: DataConfig, working: Working = not_shown) -> "Opened":
    """The path of a config, looked at. Raises DataError, UsageError."""
    import platformdirs

    from aecli.data.own.opened import opened

    cache = Path(platformdirs.user_cache_path("aecli")) / "images"
    return opened(data, cache, machine.usable_cores(), working)


def image_shape(data: DataConfig) -> "ImageShape":
    """Channels, height and width of the images; of mnist's for `auto`."""
    return look(data).shape if data.is_own else _known(data).image_shape


def pixels(data: DataConfig) -> int:
    """Numbers in one image."""
    return math.prod(image_shape(data))


def n_images(data: DataConfig) -> tuple[int, int]:
    """The numbers of images to train on, the validation split included, and to test on."""
    if data.is_own:
        windows = look(data).windows
        return len(windows["train"]) + len(windows["val"]), len(windows["test"])
    return _known(data).n_train, _known(data).n_test


def n_held_out(data: DataConfig) -> tuple[int, int] | None:
    """The numbers of images of a path to validate and to test on; None for a known dataset."""
    if not data.is_own:
        return None
    windows = look(data).windows
    return len(windows["val"]), len(windows["test"])


def n_classes(data: DataConfig) -> int:
    """The number of classes; 0 where there are none, and where that is not known yet."""
    return len(look(data).classes) if data.is_own else _known(data).classes


def bytes_in_memory(data: DataConfig) -> float:
    """Bytes of the images that a run holds in memory, about."""
    size = float(pixels(data))
    if not data.is_own:
        return 3 * sum(n_images(data)) * size  # uint8, and parts of the split beside the whole
    held = look(data).bytes_in_memory
    return 2.0 * held if held <= IN_MEMORY else IN_MEMORY


def with_fitting_batch(config: Config) -> Config:
    """`config` with a batch that suits few images of a path (`fitting_batch`), where none is given
    and no run's model is looked into."""
    given = is_given(config, "train.batch_size")
    if not config.data.is_own or config.codec.solved or given or is_looked_into(config):
        return config
    there = len(look(config.data).windows["train"])
    n_train = min(there, config.data.limit_train or there)
    fitting = fitting_batch(config.train.batch_size, n_train)
    return with_values(config, {"train.batch_size": fitting})


def fitting_batch(batch: int, n_train: int) -> int:
    """The batch size `batch`, or, of few images, the largest power of two that makes 16 steps or
    more of an epoch, 8 at least, all images at most."""
    if n_train >= _STEPS * batch:
        return batch
    fitting = max(8, 2 ** int(math.log2(max(n_train / _STEPS, 1))))
    return min(batch, fitting, max(n_train, 1))


def is_looked_into(config: NetworkConfig) -> bool:
    """True if the codec is that of a run, so that none of all images is trained."""
    return isinstance(config, TrainedConfig) and config.run is not None


def wide_dims(config: SweepConfig) -> tuple[int, ...]:
    """The code dimensions of a sweep that have one more row, without hidden layers."""
    if config.ordered:
        return ()
    size = pixels(config.data)
    codecs = {k: config.codec.model_copy(update={"code_dim": k}) for k in config.code_dims}
    return tuple(k for k, codec in codecs.items() if without_layers(codec, size))


def _known(data: DataConfig) -> Dataset:
    """Facts of the dataset; of mnist for `auto`, which is the larger one that it may be."""
    return DATASETS["mnist" if data.dataset == "auto" else data.dataset]
