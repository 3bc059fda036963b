"""Settings that `aecli tune` chooses among, around those that it begins from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aecli.codecs.grid_settings import GridConfig
from aecli.codecs.settings import ConvConfig, MlpConfig
from aecli.config.effects import with_values
from aecli.config.sections import CodecConfig, FitConfig
from aecli.config.tuning import TuneConfig
from aecli.fields import CodecSection, ImageShape

_SIDE = 28  # pixels of an image's side, of which one is the unit of moving and bending
_FEWEST = 8  # images of a batch
_WIDER = 2.0  # times as wide as the layers that are begun from
_MOST_BENT, _WIDEST, _DEEPEST, _LONGEST = 10.0, 4096, 64, 100_000  # what a config may have at most
_SHARES = 9, 3, 1  # epochs that are begun from, over those of a training


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
        "width": _widths(codec),
        "depth": _depths(codec),
        "elastic": _once(train.elastic, 0.0, *(min(n * unit, _MOST_BENT) for n in (0.5, 1, 2))),
        "shift": _once(train.shift, 0, max(round(unit), 1), max(round(2 * unit), 2)),
        "mirror": (train.mirror, not train.mirror),
    }
    return {
        name: values
        for name, values in every.items()
        if name in config.tuned and (isinstance(values, Range) or len(values) > 1)
    }


def rungs(config: TuneConfig) -> tuple[int, ...]:
    """The numbers of epochs that settings are trained for, each about three times the one before;
    among them those that are begun from."""
    own = config.train.epochs
    found = {max(round(own / share), 1) for share in _SHARES}
    return tuple(sorted(found | ({min(3 * own, _LONGEST)} if "epochs" in config.tuned else set())))


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
    names = ("batch_size", "elastic", "shift", "mirror")
    train = with_values(train, {name: chosen[name] for name in names if name in chosen})
    factor, depth = chosen.get("width", 1.0), chosen.get("depth")
    if isinstance(codec, MlpConfig):
        hidden = codec.hidden if depth is None else _of_depth(codec.hidden, depth)
        return with_values(codec, {"hidden": tuple(_wide(n, factor) for n in hidden)}), train
    if isinstance(codec, ConvConfig | GridConfig) and _has_layers(codec):
        values = {"width": _wide(codec.width, factor), "depth": depth or codec.depth}
        codec = with_values(codec, values)
    return codec, train


def largest(config: TuneConfig) -> TuneConfig:
    """The same with the codec and the batch that take the most memory of those that are tried."""
    depths = _depths(config.codec) if "depth" in config.tuned else ()
    chosen: dict[str, Any] = {"depth": max(depths)} if depths else {}
    if "width" in config.tuned:
        chosen["width"] = max(_widths(config.codec))
    codec, train = settled(config, chosen)
    factor = 2 if "batch_size" in config.tuned else 1
    values = {"codec": codec, "train": train, "train.batch_size": factor * train.batch_size}
    return with_values(config, values)


def _once(*values: float) -> tuple[float, ...]:
    return tuple(dict.fromkeys(values))


def _has_layers(codec: CodecSection) -> bool:
    """True if its layers can be others."""
    if isinstance(codec, MlpConfig):
        return bool(codec.hidden)
    if isinstance(codec, GridConfig):
        return codec.architecture is None and codec.from_pretrained is None
    return isinstance(codec, ConvConfig)


def _widths(codec: CodecSection) -> tuple[float, ...]:
    """Factors of the widths."""
    if not _has_layers(codec):
        return (1.0,)
    widest = max(codec.hidden) if isinstance(codec, MlpConfig) else getattr(codec, "width", 0)
    return (1.0, 0.5, _WIDER) if widest * _WIDER <= _WIDEST else (1.0, 0.5)


def _depths(codec: CodecSection) -> tuple[int, ...]:
    """Numbers of layers, or of blocks in each stage, the given one first."""
    if not _has_layers(codec):
        return ()
    assert isinstance(codec, MlpConfig | ConvConfig | GridConfig)
    given = len(codec.hidden) if isinstance(codec, MlpConfig) else codec.depth
    others = [depth for depth in (given - 1, given + 1) if 1 <= depth <= _DEEPEST]
    return (given, *others)


def _of_depth(hidden: tuple[int, ...], depth: int) -> tuple[int, ...]:
    """So many layers: the first ones, or, for more, the last one again."""
    return (*hidden, *hidden[-1:] * (depth - len(hidden)))[:depth]


def _wide(width: int, factor: float) -> int:
    return max(round(width * factor), 1)
