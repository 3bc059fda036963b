"""A dataset as a whole: all its images in order, with file, class and place of each; not split."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import torch
from numpy.typing import NDArray

from aecli import machine
from aecli.config import DataConfig
from aecli.data import binary, facts
from aecli.data.datasets import black_and_white, part_of_each, read_known, require_pixels
from aecli.data.downloads import Say
from aecli.data.images import ImageShape, Joined, Raw, Source
from aecli.data.known import DATASETS
from aecli.data.own.opened import ALL, Opened, every
from aecli.data.own.pictures import UnreadableError
from aecli.data.own.scaling import Scale
from aecli.data.own.source import Read
from aecli.data.own.tiff import Georeference, georeference
from aecli.data.sources import Places
from aecli.errors import DataError, UsageError

PARTS = ("train", "val", "test", "rest")
"""Parts of a dataset: those of its split, and the images that a run's limit left out of it."""
COLUMNS = ("file", "part", "label", "column", "row", "width", "height", "x", "y", "crs")
"""Columns that say what an image is and where it lies. The window is in pixels of its file; x and y
are the coordinates of its centre in the reference system crs. What is not known is empty."""
_MOST_SIDE, _MOST_PIXELS = 2**22, 2**40  # of a scene, of which one row of tiles is held at once


@dataclass(frozen=True)
class Scene:
    """Size and place on the ground of a file that windows are parts of."""

    height: int
    width: int
    georeference: Georeference

    def described(self) -> dict[str, Any]:
        """The scene as JSON has it."""
        where = {"crs": self.georeference.crs, "transform": list(self.georeference.transform)}
        return {"height": self.height, "width": self.width, **where}

    @classmethod
    def of_description(cls, described: Any) -> "Scene":
        """The scene of a description. Raises ValueError, TypeError or KeyError for no such one."""
        transform = [float(each) for each in described["transform"]]
        a, b, c, d, e, f = transform
        height, width = (_length(described[name]) for name in ("height", "width"))
        if not all(map(math.isfinite, transform)) or height * width > _MOST_PIXELS:
            raise ValueError(f"no scene: {str(described)[:80]}")
        return cls(height, width, Georeference(str(described["crs"]), (a, b, c, d, e, f)))


def _length(given: Any) -> int:
    """A side of a scene in pixels. Raises ValueError for what is none."""
    if not isinstance(given, int) or not 1 <= given <= _MOST_SIDE:
        raise ValueError(f"a side of {str(given)[:20]} pixels")
    return given


@dataclass(frozen=True)
class Whole:
    """All images of a dataset, or of a part of it, in the order of its files."""

    name: str
    sha256: str
    """Identity of the images and their order."""
    source: Source
    shown: tuple[int, ...] = ()
    """Channels that figures show, from 0; empty for the rule of the figures."""
    scenes: Mapping[str, Scene] | None = None
    """Files that lie on the ground, by their names."""
    files: "_Files | _Known | None" = None
    """Names and places of all images of the dataset."""
    chosen: NDArray[np.int64] | None = None
    """Indices among all images of the dataset; None for all."""

    def __len__(self) -> int:
        return len(self.source)

    def rows(self, first: int = 0, end: int | None = None) -> Iterator[tuple[Any, ...]]:
        """The values of COLUMNS for each image from `first` up to, not including, `end`."""
        assert self.files is not None
        chosen = np.arange(len(self)) if self.chosen is None else self.chosen
        return self.files.rows(chosen[first:end])

    def only(self, part: str) -> "Whole":
        """The images of one part. Raises UsageError if there are none."""
        assert self.files is not None
        chosen = np.flatnonzero(self.files.parts == part)
        if not len(chosen):
            there = [each for each in PARTS if bool((self.files.parts == each).any())]
            has = f"it has {', '.join(there)}" if there else "it has no parts"
            raise UsageError(f"--part {part}: no image of {self.name} is in it; {has}")
        source = self.source.part(torch.from_numpy(chosen))
        identity = f"{self.sha256} {part}"
        return replace(self, source=source, sha256=identity, chosen=chosen)


def load_whole(
    config: DataConfig,
    places: Places,
    say: Say,
    scale: Scale | None,
    trained_on: DataConfig | None = None,
) -> Whole:
    """All images of the dataset that `config` names.

    scale: the one of the model that they are for; None for one that learned from bytes.
    trained_on: the data of a run, whose parts are told where they are the same dataset's.
    Raises DataError and UsageError.
    """
    if not config.is_own:
        require_pixels(config, scale)
        return _known(config, places, say, trained_on)
    opened = open_every(config, scale, places)
    for note in opened.notes:
        say(f"data: {note}")
    if opened.left_out:
        say(f"data: left out: {opened.left_out:,} with too few valid pixels (data.min_valid)")
    for warning in opened.warnings:
        say(f"WARNING: {warning}")
    return whole_of(opened, config, _parts_of_own(opened, config, trained_on, say))


def open_every(config: DataConfig, scale: Scale | None, places: Places) -> Opened:
    """A path with all its images in one part. Raises DataError, UsageError."""
    cache = Path(platformdirs.user_cache_path("aecli")) / "images"
    return every(config, cache, machine.usable_cores(), scale, places.working)


def whole_of(opened: Opened, config: DataConfig, parts: NDArray[np.str_]) -> Whole:
    """The images of an opened path. parts: (number of files,), the part of each."""
    labels = None if opened.labels is None else torch.from_numpy(opened.labels[ALL])
    windows = opened.windows[ALL]
    source = Read(opened.pool, windows, opened.shape, opened.scale, labels, opened.masked)
    files = _Files(opened, parts)
    shown = tuple(band - 1 for band in config.shown)
    return Whole(opened.name, opened.sha256, source, shown, files.scenes, files)


def _known(config: DataConfig, places: Places, say: Say, trained_on: DataConfig | None) -> Whole:
    name, raw = read_known(config, places, say)
    split_as = trained_on if trained_on is not None and trained_on.dataset == name else None
    parts = None if split_as is None else part_of_each(len(raw.train), split_as)
    both, sha256 = (raw.train, raw.test), raw.sha256
    if config.binarise == "stochastic":
        both, sha256 = black_and_white(raw, split_as or config), binary.sha256_of(sha256)
    return Whole(name, sha256, Joined(*both), files=_Known(name, raw, parts))


def _parts_of_own(
    opened: Opened, config: DataConfig, trained_on: DataConfig | None, say: Say
) -> NDArray[np.str_]:
    """The part of each file: of the run's split where it was trained on this path, else what the
    folders say; empty where tiles of it are in several, and, with a warning, where the run's split
    cannot be made again."""
    items = opened.items
    if trained_on is None or not _is_same_path(trained_on.dataset, config.dataset):
        return np.array(items.splits, dtype="<U5")
    try:
        split = facts.look(trained_on)
    except (DataError, UsageError) as error:
        reason = str(error).splitlines()[0]
        say(f"WARNING: which part of the run's split an image was in is not told: {reason}")
        return np.array([""] * len(items.splits), dtype="<U5")
    named: dict[str, set[str]] = {}
    for part, windows in split.windows.items():
        most = trained_on.limit_train if part == "train" else None
        for item in np.unique(windows[:most, 0]).tolist():
            named.setdefault(split.items.names[item], set()).add(part)
    of_each = [named.get(name, {"rest"}) for name in items.names]
    return np.array([one.copy().pop() if len(one) == 1 else "" for one in of_each], dtype="<U5")


def _is_same_path(one: str, other: str) -> bool:
    return one not in DATASETS and Path(one).resolve() == Path(other).resolve()


class _Known:
    """Names of a known dataset's images: their part of the dataset and their index in it."""

    def __init__(self, name: str, raw: Raw, parts: NDArray[np.str_] | None) -> None:
        n_train, n_test = len(raw.train), len(raw.test)
        own = np.full(n_train, "train", dtype="<U5")
        self.parts = np.concatenate([own if parts is None else parts, np.full(n_test, "test")])
        self._n_train = n_train
        every = [each.labels for each in (raw.train, raw.test)]
        there = [labels for labels in every if labels is not None]
        self._labels = torch.cat(there).numpy() if len(there) == len(every) else None
        self._names = DATASETS[name].class_names

    def rows(self, chosen: NDArray[np.int64]) -> Iterator[tuple[Any, ...]]:
        names, rest = self._names, ("",) * (len(COLUMNS) - 3)
        for i, part in zip(chosen.tolist(), self.parts[chosen].tolist(), strict=True):
            file = f"train[{i}]" if i < self._n_train else f"test[{i - self._n_train}]"
            label: int | str = ""
            if self._labels is not None:
                number = int(self._labels[i])
                label = names[number] if names else number
            yield (file, part, label, *rest)


class _Files:
    """Names and places of a path's images."""

    def __init__(self, opened: Opened, parts: NDArray[np.str_]) -> None:
        self._opened = opened
        self._windows = opened.windows[ALL]
        self._of_file = parts

    @property
    def parts(self) -> NDArray[np.str_]:
        """(n,): the part of each image; empty for none."""
        return self._of_file[self._windows[:, 0]]

    @cached_property
    def scenes(self) -> dict[str, Scene]:
        """The files that lie on the ground. Raises DataError."""
        opened, found = self._opened, {}
        for item in np.flatnonzero(opened.items.scenes).tolist():
            name = opened.items.names[item]
            path = opened.path / name if opened.path.is_dir() else opened.path
            try:
                where = georeference(path)
            except UnreadableError as error:
                raise DataError(f"{path}: changed since the first look: {error}") from None
            if where is not None:
                _, height, width = opened.items.shapes[item].tolist()
                found[name] = Scene(height, width, where)
        return found

    def rows(self, chosen: NDArray[np.int64]) -> Iterator[tuple[Any, ...]]:
        items, (_, height, width) = self._opened.items, self._opened.shape
        scenes = self.scenes
        for item, y, x in self._windows[chosen].tolist():
            name = items.names[item]
            scene = scenes.get(name)
            ground: tuple[Any, ...] = ("", "", "")
            if scene is not None:
                where = scene.georeference
                ground = (*where.at(x + width / 2, y + height / 2), where.crs)
            yield (name, str(self._of_file[item]), items.labels[item], x, y, width, height, *ground)


def require_shape(found: ImageShape, wanted: ImageShape, what: str, tiled: bool) -> None:
    """Raises UsageError if images are of another shape than a model's. what: the images, in
    words."""
    if found == wanted:
        return
    sizes = ["x".join(map(str, shape)) for shape in (wanted, found)]
    hint = ""
    if found[1:] != wanted[1:] and wanted[1] == wanted[2]:
        key = "tile" if tiled else "size"
        hint = f"; --set data.{key}={wanted[1]} makes them so large"
    raise UsageError(f"the model encodes {sizes[0]} images, {what} has {sizes[1]}{hint}")
