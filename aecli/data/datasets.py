"""A dataset as Images: train, val and test, from the first source that has it, or from a path."""

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from aecli.config import DataConfig, NetworkConfig
from aecli.data import binary, facts
from aecli.data.binary import Binarised
from aecli.data.downloads import Say
from aecli.data.images import Images, Raw, Source, require_batch
from aecli.data.known import DATASETS
from aecli.data.own.opened import Opened, model_scale
from aecli.data.own.scaling import Scale
from aecli.data.own.source import source_of
from aecli.data.sources import NotFoundError, Places, locate, read_files
from aecli.errors import UsageError

_FALL_BACK = (
    "MNIST is not available; using mnist-5k, 5,000 of its digits.",
    "every figure of this run is mnist-5k's, not MNIST's; for so few images",
    "`--config offline` trains longer, as they need.",
)


def load(
    config: DataConfig,
    places: Places,
    say: Say,
    scale: Scale | None = None,
    for_model: bool = False,
) -> Images:
    """The dataset a config asks for, split.

    for_model: True for a model that is there, whose pixels were brought to [0, 1] by `scale` (None:
    it learned from bytes); False for images that are scaled by themselves.
    `auto` is mnist, or, with a warning through `say`, mnist-5k where mnist cannot be had.
    Raises DataError if no source has it or a file is damaged, UsageError if the split or the pixels
    do not fit.
    """
    if config.is_own:
        return _own(config, places, say, scale, for_model or scale is not None)
    require_pixels(config, scale)
    name, raw = read_known(config, places, say)
    known = DATASETS[name]
    train, val = _split(raw.train, config)
    test, sha256, aside = raw.test, raw.sha256, ""
    if config.binarise == "stochastic":
        train, val, test = (Binarised(each, i) for i, each in enumerate((train, val, test)))
        aside, sha256 = ", black and white", binary.sha256_of(sha256)
    return Images(
        name,
        raw.source,
        sha256,
        train,
        val,
        test,
        aside=aside,
        class_names=known.class_names,
        digits=known.digits,
    )


def read_known(config: DataConfig, places: Places, say: Say) -> tuple[str, Raw]:
    """The known dataset that a config asks for, by its name, not split further. `auto` and errors
    as in `load`."""
    _refuse_idle_folder(config, places)
    name = config.dataset
    if name == "auto":
        try:
            return "mnist", DATASETS["mnist"].read(places, say)
        except NotFoundError as error:
            say(str(error))
            for line in _FALL_BACK:
                say(f"WARNING: {line}")
            name = "mnist-5k"
    return name, DATASETS[name].read(places, say)


def require_pixels(config: DataConfig, scale: Scale | None) -> None:
    """Raises UsageError for images whose pixels are not such as a model learned from; scale: the
    model's, None for one that learned from bytes."""
    if config.is_own:
        opened = facts.look(config)
        model_scale(scale, opened.items, opened.path)
    elif scale is not None and not scale.is_bytes:
        raise UsageError(
            f"{config.dataset}: pixels of uint8; the model was trained on {scale.dtype}, brought to"
            f" [0, 1] by {scale.rule}"
        )


def part_of_each(n: int, config: DataConfig) -> NDArray[np.str_]:
    """The part of the split, train or val, that each of a known dataset's `n` training images is
    in; `rest` for those that are in neither. Raises UsageError."""
    parts = np.full(n, "rest", dtype="<U5")
    first, last = _split_indices(n, config)
    parts[first], parts[last] = "train", "val"
    return parts


def black_and_white(raw: Raw, config: DataConfig) -> tuple[Source, Source]:
    """All training images of a known dataset and all test images, each black and white as in the
    part that `load` puts it into; those of `rest` as if the limit left them in. Raises
    UsageError."""
    n = len(raw.train)
    order, numbers = _order(n), np.empty(n, np.int64)
    numbers[order] = np.arange(n)
    _, last = _split_indices(n, config)
    numbers[last] = binary.PER_SPLIT + np.arange(len(last))
    return Binarised(raw.train, 0, torch.from_numpy(numbers)), Binarised(raw.test, 2)


def check(config: NetworkConfig, places: Places) -> None:
    """Raise the errors of `load` and the first step that can be known before a run is begun.

    Nothing is downloaded. Raises DataError if the dataset is not available, UsageError if it has
    too few training images. A config that looks into a run must have that run's data.
    """
    _refuse_idle_folder(config.data, places)
    if config.data.is_own:
        _check_sizes(config, config.data.dataset)
        return
    name = "mnist" if config.data.dataset == "auto" else config.data.dataset
    remote = DATASETS[name].remote
    if remote is not None and (places.named or places.offline) and locate(remote, places) is None:
        try:
            read_files(remote, dataclasses.replace(places, offline=True), lambda _: None)
        except NotFoundError:
            if config.data.dataset != "auto":
                raise
            name = "mnist-5k"
    _check_sizes(config, name)


@dataclass(frozen=True)
class Foreseen:
    """Facts of a dataset that is not read yet."""

    name: str
    """Name of the dataset; `auto` if it depends on a download."""
    source: str
    """Source that it would come from, in words."""
    n_train: int
    n_val: int
    warnings: tuple[str, ...] = ()


def foresee(config: DataConfig, places: Places) -> Foreseen:
    """A forecast of `load`, without reading or downloading. Raises UsageError for sizes.

    Errors that `check` raises are not raised again.
    """
    if config.is_own:
        opened = facts.look(config)
        n_train, n_val = _sizes_of_own(opened, config)
        return Foreseen(config.dataset, f"{opened.path}", n_train, n_val, opened.warnings)
    name = "mnist" if config.dataset == "auto" else config.dataset
    remote = DATASETS[name].remote
    if remote is None:
        return Foreseen(name, "installed with aecli", *_sizes(DATASETS[name].n_train, config))
    found = locate(remote, places)
    if found is not None:
        source = f"{found[0]} {found[1]}"
        return Foreseen(name, source, *_sizes(DATASETS[name].n_train, config))
    if places.offline:
        sizes = _sizes(DATASETS["mnist-5k"].n_train, config)
        return Foreseen("mnist-5k", "installed with aecli", *sizes, _FALL_BACK)
    source = f"would be downloaded ({remote.title})"
    return Foreseen(config.dataset, source, *_sizes(DATASETS[name].n_train, config))


def check_sizes(config: NetworkConfig) -> None:
    """Raises UsageError if a dataset has too few training images for `config`; reads nothing.

    `auto` is taken for mnist: only later is it known if mnist-5k replaces it.
    """
    _check_sizes(config, "mnist" if config.data.dataset == "auto" else config.data.dataset)


def _check_sizes(config: NetworkConfig, name: str) -> None:
    if config.data.is_own:
        opened = facts.look(config.data)
        name, (n_train, _) = opened.name, _sizes_of_own(opened, config.data)
    else:
        n_train, _ = _sizes(DATASETS[name].n_train, config.data)
    if facts.is_looked_into(config):
        return
    if not config.codec.solved:
        require_batch(config.train.batch_size, n_train, name)
    code_dim = max(getattr(config, "code_dims", (config.codec.code_dim,)))
    if "pca" in (config.codec.name, config.codec.begins_with) and code_dim > n_train:
        raise UsageError(
            f"code_dim={code_dim} must be at most {n_train} (training images) for codec 'pca'"
        )


def _own(
    config: DataConfig, places: Places, say: Say, scale: Scale | None, for_model: bool
) -> Images:
    """The images of a path. Raises DataError, UsageError."""
    _refuse_idle_folder(config, places)
    opened = facts.look(config, places.working)
    for note in opened.notes:
        if for_model and note.startswith("scale: "):
            continue  # the model has its own
        say(f"data: {note}{'; see data.csv' if note.startswith('left out') else ''}")
    if opened.left_out:
        say(f"data: left out: {opened.left_out:,} with too few valid pixels (data.min_valid)")
    for warning in opened.warnings:
        say(f"WARNING: {warning}")
    n_train, _ = _sizes_of_own(opened, config)
    scale = model_scale(scale, opened.items, opened.path) if for_model else opened.scale
    train, val, test = (source_of(opened, split, scale) for split in ("train", "val", "test"))
    return Images(
        opened.name,
        f"{opened.path}",
        opened.sha256,
        train.first(n_train),
        val,
        test,
        class_names=opened.classes,
        shown=tuple(band - 1 for band in config.shown),
        opened=opened,
        scale=scale,
    )


def _sizes_of_own(opened: Opened, config: DataConfig) -> tuple[int, int]:
    """The numbers of images that train and that validate. Raises UsageError."""
    n_train, n_val = (len(opened.windows[split]) for split in ("train", "val"))
    if config.limit_train is not None:
        if config.limit_train > n_train:
            raise UsageError(f"data.limit_train={config.limit_train} must be at most {n_train}")
        n_train = config.limit_train
    channels = opened.shape[0]
    if config.shown and (max(config.shown) > channels or len(config.shown) not in (1, 3)):
        raise UsageError(
            f"data.shown={list(config.shown)}: one or three of the channels 1 to {channels}"
        )
    return n_train, n_val


def _refuse_idle_folder(config: DataConfig, places: Places) -> None:
    """Raises UsageError if a folder is named for a dataset that is not read from a folder."""
    if places.named and config.is_own:
        raise UsageError(
            f"data.dir={places.data_dir}: the images are in {config.dataset}; leave --data-dir out"
        )
    if places.named and config.dataset != "auto" and DATASETS[config.dataset].remote is None:
        raise UsageError(
            f"data.dir={places.data_dir}: {config.dataset} comes with aecli and is read from no"
            " folder; leave --data-dir out"
        )


def _split(everything: Source, config: DataConfig) -> tuple[Source, Source]:
    """A fixed split into train and val, the same for every seed; smaller limits are nested."""
    first, last = _split_indices(len(everything), config)
    return everything.part(torch.from_numpy(first)), everything.part(torch.from_numpy(last))


def _split_indices(n: int, config: DataConfig) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The indices that train, (n_train,), and that validate, (n_val,)."""
    n_train, n_val = _sizes(n, config)
    order = _order(n)
    return order[:n_train], order[n - n_val :]


def _order(n: int) -> NDArray[np.int64]:
    """The permutation of numpy's RandomState(0), whose stream numpy keeps frozen (NEP 19)."""
    return np.random.RandomState(0).permutation(n)


def _sizes(n: int, config: DataConfig) -> tuple[int, int]:
    """The numbers of images, out of `n`, that train and that validate. Raises UsageError."""
    val = config.val
    n_val = n // 12 if val is None else round(val * n) if isinstance(val, float) else val
    if n_val >= n:
        raise UsageError(f"data.val={n_val} must be less than {n} (training images)")
    n_train = n - n_val
    if config.limit_train is not None:
        if config.limit_train > n_train:
            raise UsageError(f"data.limit_train={config.limit_train} must be at most {n_train}")
        n_train = config.limit_train
    return n_train, n_val
