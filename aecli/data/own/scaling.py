"""Pixels as a file has them, brought to [0, 1]: by the range of their type, or by percentiles."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from aecli.data.own.pictures import Picture, Pixels

PERCENTILES = (1.0, 99.0)
_RANGES = {"uint8": 255.0, "uint16": 65535.0}


@dataclass(frozen=True)
class Scale:
    """Values that become 0 and 1 in each channel; what lies outside them is clipped."""

    low: tuple[float, ...]
    high: tuple[float, ...]
    dtype: str
    """Type of the pixels it is for."""
    rule: str
    """Rule that gave it, in words."""

    @property
    def is_bytes(self) -> bool:
        """True if it is a division by 255."""
        return self.dtype == "uint8" and set(self.low) == {0.0} and set(self.high) == {255.0}

    def to_unit(self, pixels: Pixels) -> Pixels:
        """(..., C, H, W) as float32 in [0, 1]."""
        low, span = self._numbers()
        return ((pixels.astype(np.float32) - low) / span).clip(0, 1)

    def from_unit(self, pixels: Pixels) -> Pixels:
        """(..., C, H, W) in [0, 1] in the units that the file has, float32."""
        low, span = self._numbers()
        return pixels * span + low

    def _numbers(self) -> tuple[Pixels, Pixels]:
        low, high = (np.array(each, np.float32)[:, None, None] for each in (self.low, self.high))
        return low, np.where(high > low, high - low, 1)

    def described(self) -> dict[str, Any]:
        """The scale as JSON has it."""
        return {
            "low": list(self.low),
            "high": list(self.high),
            "dtype": self.dtype,
            "rule": self.rule,
        }

    @classmethod
    def of_description(cls, described: Any) -> "Scale":
        """The scale of a description. Raises ValueError, TypeError or KeyError for no such one."""
        low, high = (tuple(map(float, described[name])) for name in ("low", "high"))
        if len(low) != len(high) or not all(np.isfinite([*low, *high])):
            raise ValueError(f"scale is {str(described)[:80]}")
        return cls(low, high, str(described["dtype"]), str(described["rule"]))


def scale_of(
    samples: Iterable[Picture],
    limits: Callable[[], tuple[float, float]],
    dtype: str,
    channels: int,
    asked: Literal["auto", "range", "percentiles"],
) -> Scale:
    """The scale of a dataset, found on its training part alone.

    samples: some pictures (C, ...) of that part. limits: a function that gives the least and the
    greatest valid value of that part, which is called only where they matter.
    """
    if dtype in _RANGES:
        if asked == "range" or (asked == "auto" and dtype == "uint8"):
            return _by_type(dtype, channels)
    elif asked != "percentiles":
        low, high = limits()
        if asked == "range":
            return _alike(low, high, channels, dtype, "range of the training part")
        if low >= 0 and high <= 1:
            return _alike(0.0, 1.0, channels, dtype, "floats, in [0, 1] already")
    found = _percentiles(samples, channels)
    widest = max(above - below for below, above in found)
    if asked == "auto" and dtype in _RANGES and widest >= _RANGES[dtype] / 2:
        return _by_type(dtype, channels)
    lows, highs = zip(*found, strict=True)
    rule = "1st to 99th percentile of each channel over the training part"
    return Scale(tuple(lows), tuple(highs), dtype, rule)


def scale_of_known(dtype: str, low: float, high: float, channels: int) -> Scale | None:
    """The scale for a model that learned from bytes over 255: theirs, and that of floats which are
    in [0, 1] already; None for other pixels. low, high: the images' least and greatest value."""
    if dtype == "uint8":
        return _by_type(dtype, channels)
    if dtype == "float32" and low >= 0 and high <= 1:
        return _alike(0.0, 1.0, channels, dtype, "floats, in [0, 1] already")
    return None


def limits_of(pictures: Iterable[Picture], stop_outside_unit: bool) -> tuple[float, float]:
    """The least and the greatest valid value of pictures (C, H, W); inf and -inf without any.

    stop_outside_unit: look no further once a value is not in [0, 1].
    """
    low, high = math.inf, -math.inf
    for picture in pictures:
        values = picture.pixels if picture.valid is None else picture.pixels[:, picture.valid]
        if values.size:
            low, high = min(low, float(values.min())), max(high, float(values.max()))
        if stop_outside_unit and (low < 0 or high > 1):
            break
    return low, high


def _alike(low: float, high: float, channels: int, dtype: str, rule: str) -> Scale:
    return Scale((low,) * channels, (high,) * channels, dtype, rule)


def _by_type(dtype: str, channels: int) -> Scale:
    rule = f"range of {8 if dtype == 'uint8' else 16} bits"
    return _alike(0.0, _RANGES[dtype], channels, dtype, rule)


def _percentiles(samples: Iterable[Picture], channels: int) -> list[tuple[float, float]]:
    """The 1st and 99th percentile of the valid values of each channel."""
    values = [
        picture.pixels.reshape(channels, -1)
        if picture.valid is None
        else picture.pixels[:, picture.valid]
        for picture in samples
    ]
    together = np.concatenate(values, axis=1)
    if not together.shape[1]:
        return [(0.0, 1.0)] * channels
    low, high = np.percentile(together, PERCENTILES, axis=1)
    return [(float(a), float(b)) for a, b in zip(low, high, strict=True)]
