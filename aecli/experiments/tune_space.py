"""Settings that `aecli tune` chooses among, around those that it begins from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aecli.codecs.grid_settings import GridConfig
from aecli.config import CodecConfig, ConvConfig, FitConfig, MlpConfig, TuneConfig, with_values
from aecli.data.images import ImageShape

_SIDE = 28  # pixels of an image's side, of which one is the unit of moving and bending
_FEWEST = 8  # images of a batch


@dataclass(frozen=True)
class Range:
    """Numbers between two ends, evenly on a logarithmic scale."""

    low: float
    high: float


Space = Mapping[str, Range | tuple[Any, ...]]
"""Name of a setting -> its values; those of a tuple are all there are, and the first is the one
that is begun from."""


def space(config: TuneConfig, shape: ImageShape, images: int) -> Space:
    """The settings that are looked for and the values of each, for so many training images.

    A setting that this codec or these images leave no choice of is not in it.
    """
    train, codec = config.train, config.codec
    unit = min(shape[1:]) / _SIDE
    batch = train.batch_size
    every: dict[str, Range | tuple[Any, ...]] = {
        "lr": Range(train.optimizer.lr / 8, train.optimizer.lr * 8),
        "batch_size": tuple(
            size
            for size in (batch, batch // 4, batch // 2, 2 * batch)
            if size == batch or _FEWEST <= size <= images
        ),
        "width": (1.0, 0.5, 2.0) if _has_width(codec) else (1.0,),
        "depth": _depths(codec),
        "epochs": (train.epochs, 2 * train.epochs, 4 * train.epochs),
        "elastic": _once(train.elastic, 0.0, 0.5 * unit, unit, 2 * unit),
        "shift": _once(train.shift, 0, max(round(unit), 1), max(round(2 * unit), 2)),
        "mirror": (train.mirror, not train.mirror),
    }
    return {
        name: values
        for name, values in every.items()
        if name in config.tuned and (isinstance(values, Range) or len(values) > 1)
    }


def begun_from(config: TuneConfig, among: Space) -> dict[str, Any]:
    """The values that a search begins from."""
    return {
        name: config.train.optimizer.lr if isinstance(values, Range) else values[0]
        for name, values in among.items()
    }


def settled(config: TuneConfig, chosen: Mapping[str, Any]) -> tuple[CodecConfig, FitConfig]:
    """Codec and training with the values that were chosen."""
    codec, train = config.codec, config.train
    if "lr" in chosen:
        train = with_values(train, {"optimizer.lr": chosen["lr"]})
    names = ("batch_size", "epochs", "elastic", "shift", "mirror")
    train = with_values(train, {name: chosen[name] for name in names if name in chosen})
    factor, depth = chosen.get("width", 1.0), chosen.get("depth")
    if isinstance(codec, MlpConfig):
        hidden = codec.hidden if depth is None else _of_depth(codec.hidden, depth)
        return with_values(codec, {"hidden": tuple(_wide(n, factor) for n in hidden)}), train
    if isinstance(codec, ConvConfig | GridConfig):
        values = {"width": _wide(codec.width, factor), "depth": depth or codec.depth}
        codec = with_values(codec, values) if _has_width(codec) else codec
    return codec, train


def _once(*values: float) -> tuple[float, ...]:
    return tuple(dict.fromkeys(values))


def _has_width(codec: CodecConfig) -> bool:
    if isinstance(codec, MlpConfig):
        return bool(codec.hidden)
    if isinstance(codec, GridConfig):
        return codec.architecture is None and codec.from_pretrained is None
    return isinstance(codec, ConvConfig)


def _depths(codec: CodecConfig) -> tuple[int, ...]:
    """Numbers of layers, or of blocks in each stage, the given one first."""
    if not _has_width(codec):
        return ()
    assert isinstance(codec, MlpConfig | ConvConfig | GridConfig)
    given = len(codec.hidden) if isinstance(codec, MlpConfig) else codec.depth
    return tuple(depth for depth in (given, given - 1, given + 1) if depth == given or depth >= 1)


def _of_depth(hidden: tuple[int, ...], depth: int) -> tuple[int, ...]:
    """So many layers: the first ones, or, for more, the last one again."""
    return (*hidden, *hidden[-1:] * (depth - len(hidden)))[:depth]


def _wide(width: int, factor: float) -> int:
    return max(round(width * factor), 1)
