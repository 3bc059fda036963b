"""Codes in whole steps: for each unit a range cut into 2^bits equal steps, and how often each step
is met; both are found from the training images' codes.

The steps are entropy-coded (`codespace.bits`), so a range costs nothing where no code lies. What
few bits can buy is decided by the step's width and by what is clamped to the range's ends.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_BITS = 16
MOST_BIN_BITS = 10
"""Logarithm of the most bins that a unit's frequencies are counted in."""
MOST_FREQUENCY = 2**16 - 1
_MIDDLE, _BEYOND = 0.99, 2.0
"""A value further outside the middle 99% of a unit's codes than twice their width is an outlier:
ranges do not reach for it. (Of a normal distribution this is 12.9 standard deviations.)"""
_TAILS = (0.0, 1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.02, 0.03, 0.05, 0.08, 0.12)
"""Shares of training codes that a range may leave out at either end."""
_SPACED = 2**14  # codes of a unit, evenly spaced by rank, that ranges are judged on


@dataclass(frozen=True, eq=False)
class Quantiser:
    """Steps of each unit of a code and their frequencies."""

    bits: int
    """Logarithm of the number of steps, 1 to 16."""
    lows: NDArray[np.float32]
    """(k,): where each unit's range begins."""
    highs: NDArray[np.float32]
    """(k,): where it ends; where it began for a unit that has one value alone."""
    frequencies: tuple[NDArray[np.uint16], ...]
    """For each unit 2^b whole numbers from 1 on, b from 0 to `bits`: how often one of the 2^b bins
    is met, each of 2^(bits - b) neighbouring steps that are taken as equally likely."""

    @classmethod
    def fitted(cls, bits: int, codes: NDArray[Any], images: int) -> "Quantiser":
        """The quantiser by training codes (N, k) for so many images that are to be stored."""
        ranges = np.array([fitted_range(unit, bits) for unit in codes.T], np.float32)
        plain = cls(bits, ranges[:, 0], ranges[:, 1], ())
        steps = plain.steps(codes)
        found = tuple(fitted_frequencies(unit, bits, images) for unit in steps.T)
        return cls(bits, plain.lows, plain.highs, found)

    @cached_property
    def widths(self) -> NDArray[np.float64]:
        """(k,): the width of each unit's steps."""
        return (self.highs.astype(np.float64) - self.lows) / 2**self.bits

    def steps(self, codes: NDArray[Any]) -> NDArray[np.uint16]:
        """The step (n, k) that each number of codes (n, k) lies in; the nearest for one outside."""
        widths = np.where(self.widths > 0, self.widths, 1)
        places = np.floor((codes - self.lows.astype(np.float64)) / widths)
        last = np.where(self.widths > 0, 2**self.bits - 1, 0)
        return np.clip(places, 0, last).astype(np.uint16)

    def outside(self, codes: NDArray[Any]) -> NDArray[np.int64]:
        """(n,): how many numbers of each of the codes (n, k) lie outside of their ranges."""
        return ((codes < self.lows) | (codes > self.highs)).sum(axis=1)

    def codes(self, steps: NDArray[np.uint16]) -> NDArray[np.float32]:
        """The codes (n, k) that steps (n, k) stand for: the middle of each."""
        middles = (steps + 0.5) * self.widths
        return np.asarray(self.lows + middles, np.float32)

    def lengths(self, steps: NDArray[np.uint16]) -> NDArray[np.float64]:
        """(n,): the bits that codes of these steps (n, k) take where each step takes minus the
        logarithm of its share (Shannon 1948), which entropy coding comes within a thousandth of."""
        found = np.zeros(len(steps))
        for unit, counts in zip(steps.T, self.frequencies, strict=True):
            alike = 2**self.bits // len(counts)  # steps of a bin
            shares = counts[unit // alike] / counts.astype(np.int64).sum() / alike
            found -= np.log2(shares)
        return found


def fitted_range(values: NDArray[Any], bits: int) -> tuple[float, float]:
    """The range of a unit, from its values (N,) over training images: of those that leave out the
    same share at both ends, the one whose 2^bits steps have the least mean squared error.

    Few bits want a narrow range, many a wide one. An outlier counts as if it lay where outliers
    begin: one odd image in thousands would else widen all steps.
    """
    values = np.sort(values.astype(np.float64))
    last = len(values) - 1
    rest = (1 - _MIDDLE) / 2
    low, high = (float(values[round(share * last)]) for share in (rest, 1 - rest))
    if high > low:
        beyond = _BEYOND * (high - low)
        values = values.clip(low - beyond, high + beyond)
    judged = values[np.linspace(0, last, min(len(values), _SPACED)).astype(np.int64)]
    ends = [(round(tail * last), last - round(tail * last)) for tail in _TAILS]
    ranges = [(np.float32(values[i]), np.float32(values[j])) for i, j in dict.fromkeys(ends)]
    errors = [_error(judged, *each, bits) for each in ranges]
    best = ranges[int(np.argmin(errors))]
    return float(best[0]), float(best[1])


def _error(values: NDArray[np.float64], low: np.float32, high: np.float32, bits: int) -> float:
    """The mean squared error of values (n,) by the steps of a range."""
    one = Quantiser(bits, np.array([low]), np.array([high]), ())
    return float(np.square(one.codes(one.steps(values[:, None]))[:, 0] - values).mean())


def fitted_frequencies(steps: NDArray[np.uint16], bits: int, images: int) -> NDArray[np.uint16]:
    """The frequencies of a unit's bins, from its steps (N,) over training images.

    Each bin counts half a code more than it has (Krichevsky and Trofimov 1981), so that none is
    impossible. There are as many bins as make the file of so many images smallest: the frequencies
    themselves, 16 bits each, and the codes, whose length is that of each training code by the
    others' counts. Few training images so get few bins, and fine steps no finer ones.
    """
    count, n = np.bincount(steps, minlength=2**bits).astype(np.float64), len(steps)
    best, least = count, np.inf
    for bin_bits in range(min(bits, MOST_BIN_BITS), -1, -1):
        count = count.reshape(2**bin_bits, -1).sum(axis=1)
        there = count[count > 0]
        shares = (there - 0.5) / (n - 1 + len(count) / 2)
        length = -(there * np.log2(shares)).sum() / n + bits - bin_bits
        total = images * length + 16 * len(count)
        if total <= least:
            best, least = count, total
    weights = 2 * best + 1
    scaled = weights * min(1.0, MOST_FREQUENCY / weights.max())
    return np.maximum(np.rint(scaled), 1).astype(np.uint16)
