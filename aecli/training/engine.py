"""Engines: what makes the gradient of a batch."""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor

from aecli.data.images import Batch


class Engine(ABC):
    """Makes the gradient of a loss over a batch."""

    terms: tuple[str, ...]
    """Names of the loss's terms; the first is minimised."""

    @abstractmethod
    def __call__(
        self, inputs: Tensor, batch: Batch, loss: Any, kept: Tensor | None = None
    ) -> Tensor:
        """The terms' means over the batch, (terms,) or a scalar for a single one; the first one's
        gradient is in `parameters.gradient`.

        inputs: (n, C, H, W) float32, what the codec sees of `batch`, noise and all. loss: its
        settings at this point of the training. kept: (n,) int64, the number of first units of each
        code that are decoded, with 0 for the others; None for all.
        """
