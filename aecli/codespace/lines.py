"""A codec's code space and measurements along straight lines through it."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from aecli.codecs.base import Codec
from aecli.codespace.region import OccupiedRegion, codes_of, straight_path
from aecli.data.images import Images, batch_size
from aecli.measure import metrics
from aecli.measure.classifier import Classifier
from aecli.terminal import Advance, show_nothing


@dataclass(frozen=True)
class CodeSpace:
    """A codec, its codes, and the region they occupy."""

    codec: Codec
    training_codes: Tensor
    """(n_train, k)."""
    test_codes: Tensor
    """(n_test, k)."""
    test_occupying: Tensor
    """(n_test, k): the codes by which they occupy the space, others only of a variational codec."""
    region: OccupiedRegion
    """Calibrated on the validation images."""

    @classmethod
    def of(cls, codec: Codec, images: Images) -> "CodeSpace":
        parts = (images.train, images.val, images.test)
        (training, _, test), (occupying, held_out, of_test) = codes_of(codec, parts)
        return cls(codec, training, test, of_test, OccupiedRegion.calibrated(occupying, held_out))

    def path(self, ends: Tensor, steps: int) -> Tensor:
        """The codes (steps, k) on the line between two test images: ends (2,), their indices."""
        start, end = self.test_codes[ends]
        return straight_path(start, end, steps)[1]

    @cached_property
    def test_in_hole(self) -> float:
        """The share of test images whose codes are in a hole."""
        return self.region.in_hole(self.test_occupying).double().mean().item()

    def decode(self, codes: Tensor) -> Tensor:
        """Images (N, C, H, W) as they are looked at, clipped to [0, 1]."""
        return metrics.decode(self.codec, codes).clamp(0, 1)


@dataclass(frozen=True)
class Paths:
    """Measurements along straight lines through a code space; all but `t` are (paths, steps)."""

    t: Tensor
    """(steps,) from 0 to 1."""
    distances: Tensor
    """Distances to the nearest training codes, as the occupied region measures them."""
    in_hole: Tensor
    cycle_errors: Tensor
    """The distance between a code and that of its decoded image, in the region's units."""
    confidence: Tensor | None = None
    """The classifier's largest probability for the decoded image; None without a classifier."""
    read_as: Tensor | None = None
    """The label that the classifier reads in it; None likewise."""

    @property
    def inner(self) -> Tensor:
        """(steps,) bool: strictly between the ends."""
        return (self.t > 0) & (self.t < 1)

    @property
    def leaving(self) -> Tensor:
        """(paths,) bool: in a hole somewhere strictly between the ends."""
        return (self.in_hole & self.inner).any(dim=1)

    @property
    def hole_rates(self) -> Tensor:
        """(steps,) float64: the fraction of paths in a hole at each t."""
        return self.in_hole.double().mean(dim=0)


@torch.no_grad()
def walk(
    space: CodeSpace,
    pairs: Tensor,
    steps: int,
    classifier: Classifier | None,
    advance: Advance = show_nothing,
) -> Paths:
    """The straight paths between the codes of test images: pairs (paths, 2) of their indices.

    advance: called with the number of paths done.
    """
    parts = []
    for some in pairs.split(max(batch_size(space.codec.pixels) // steps, 1)):
        start, end = space.test_codes[some].unbind(dim=1)
        t, path = straight_path(start, end, steps)
        codes = path.flatten(end_dim=1)
        decoded = metrics.decode(space.codec, codes)
        whitened = space.region.whitening
        # Unclipped: a linear codec's cycle is exact only with what its decoder really gave.
        again = space.codec.encode(decoded).flatten(start_dim=1)
        cycle_errors = (whitened(again) - whitened(codes)).norm(dim=1)
        distances = space.region.distances(codes)
        met = [distances, distances > space.region.threshold, cycle_errors]
        if classifier is not None:
            met += classifier.probabilities(decoded.clamp(0, 1)).max(dim=1)
        parts.append([values.unflatten(0, (len(some), steps)) for values in met])
        advance(len(some))
    return Paths(t, *(torch.cat(values) for values in zip(*parts, strict=True)))
