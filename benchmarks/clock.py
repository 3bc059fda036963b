"""Clocks that a training loop calls: seconds per epoch, or seconds until a test error."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.float32]
Reconstruct = Callable[[Pixels], Pixels]
"""Reconstructions (n, 784) of images (n, 784), pixels in [0, 1]."""

STEPS_BETWEEN_LOOKS = 32
_IMAGES_AT_ONCE = 2000


class Enough(Exception):  # noqa: N818  (it is no error)
    """Everything asked for has been measured: the loop may end where it stands."""


class Clock(ABC):
    """A loop calls start() before its first step, step() now and then, epoch() after each epoch."""

    def __init__(self, budget: float, wait: Callable[[], None] = lambda: None) -> None:
        """budget: seconds of training after which it is Enough. wait: called before the start."""
        self.seconds = 0.0
        """Seconds of training so far; what the clock itself does is not counted."""
        self._budget = budget
        self._wait = wait
        self._resumed = 0.0

    def start(self, reconstruct: Reconstruct) -> None:
        self._reconstruct = reconstruct
        self._wait()
        self._resumed = time.perf_counter()

    @abstractmethod
    def step(self) -> None:
        """Called about every 32 steps. Raises Enough."""

    @abstractmethod
    def epoch(self) -> None:
        """Called after each epoch. Raises Enough."""

    @abstractmethod
    def values(self) -> dict[str, Any]:
        """All that was measured."""

    def _lap(self) -> float:
        """Seconds since the clock was resumed; they are added to `seconds`."""
        lap = time.perf_counter() - self._resumed
        self.seconds += lap
        return lap


class EpochClock(Clock):
    """Seconds of each epoch, and of an epoch of the floor before and after each."""

    def __init__(
        self,
        epochs: int,
        budget: float,
        wait: Callable[[], None] = lambda: None,
        floor: Callable[[], None] | None = None,
    ) -> None:
        """floor: does one epoch of it."""
        super().__init__(budget, wait)
        self._wanted = epochs
        self._floor = floor
        self._epochs: list[float] = []
        self._floors: list[float] = []

    def start(self, reconstruct: Reconstruct) -> None:
        self._time_the_floor()
        super().start(reconstruct)

    def step(self) -> None:
        """Do nothing: only whole epochs are timed."""

    def epoch(self) -> None:
        self._epochs.append(self._lap())
        self._time_the_floor()
        if len(self._epochs) == self._wanted or self.seconds > self._budget:
            raise Enough
        self._resumed = time.perf_counter()

    def values(self) -> dict[str, Any]:
        """`floor_seconds`: empty, or one more than epochs, for they take turns."""
        return {"epoch_seconds": self._epochs, "floor_seconds": self._floors}

    def _time_the_floor(self) -> None:
        if self._floor is None:
            return
        started = time.perf_counter()
        self._floor()
        self._floors.append(time.perf_counter() - started)


class QualityClock(Clock):
    """Seconds of training until the mse over all test images is at most each target.

    The clock stands still while the test images are reconstructed.
    """

    def __init__(self, targets: Sequence[float], test: Pixels, budget: float) -> None:
        """targets: mse per pixel. test: (n, 784)."""
        super().__init__(budget)
        self._targets = targets
        self._test = test
        self._reached: list[float | None] = [None] * len(targets)
        self._curve: list[tuple[float, float]] = []

    def step(self) -> None:
        self._lap()
        mse = mse_per_pixel(self._reconstruct, self._test)
        self._curve.append((self.seconds, mse))
        for i, target in enumerate(self._targets):
            if mse <= target and self._reached[i] is None:
                self._reached[i] = self.seconds
        if None not in self._reached or self.seconds > self._budget:
            raise Enough
        self._resumed = time.perf_counter()

    def epoch(self) -> None:
        self.step()

    def values(self) -> dict[str, Any]:
        """`reached`: seconds to each target, None where it was not; `curve`: (seconds, mse)."""
        best = min((mse for _, mse in self._curve), default=None)
        return {
            "reached": self._reached,
            "spent_seconds": self.seconds,
            "best_mse": best,
            "curve": self._curve,
        }


def mse_per_pixel(reconstruct: Reconstruct, images: Pixels) -> float:
    """The mean squared error over all pixels of all images (n, 784), summed in float64."""
    total = 0.0
    for start in range(0, len(images), _IMAGES_AT_ONCE):
        batch = images[start : start + _IMAGES_AT_ONCE]
        total += float(np.square(reconstruct(batch).astype(np.float64) - batch).sum())
    return total / images.size
