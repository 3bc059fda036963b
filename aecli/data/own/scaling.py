"""Pixels as a file has them, brought to [0, 1]: by the range of their type, or by percentiles."""

from collections.abc import Iterable
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
    dtype: str,
    channels: int,
    low: float,
    high: float,
    asked: Literal["auto", "range", "percentiles"],
) -> Scale:
    """The scale of a dataset, found on samples of its training part alone.

    samples: pictures (C, H, W). low, high: the least and the greatest valid value of that part.
    """
    top = _RANGES.get(dtype)
    if asked == "range" or (asked == "auto" and dtype == "uint8"):
        return _by_range(dtype, channels, low, high)
    if asked == "auto" and top is None and low >= 0 and high <= 1:
        return Scale((0.0,) * channels, (1.0,) * channels, dtype, "floats, in [0, 1] already")
    found = _percentiles(samples, channels)
    widest = max(above - below for below, above in found)
    if asked == "auto" and top is not None and widest >= top / 2:
        return _by_range(dtype, channels, low, high)
    lows, highs = zip(*found, strict=True)
    rule = "1st to 99th percentile of each channel over the training part"
    return Scale(tuple(lows), tuple(highs), dtype, rule)


def _by_range(dtype: str, channels: int, low: float, high: float) -> Scale:
    top = _RANGES.get(dtype)
    if top is None:
        rule = "range of the training part"
        return Scale((low,) * channels, (high,) * channels, dtype, rule)
    rule = f"range of {8 if dtype == 'uint8' else 16} bits"
    return Scale((0.0,) * channels, (top,) * channels, dtype, rule)


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
