"""A code space: distances in it, the region that images occupy, and paths through it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from aecli.codecs.base import Codec
from aecli.codecs.gaussians import drawn
from aecli.data.images import Source
from aecli.errors import UsageError
from aecli.measure import metrics
from aecli.measure.distances import nearest_distances
from aecli.training.losses import with_noise

NEIGHBOURS = 5
HOLE_QUANTILE = 0.99
_DRAWS = 2**20  # seed of the codes drawn for images: another than that of N(0, I)'s
WIDEST = 4096
"""Numbers of the longest codes that are whitened: the covariance of longer ones takes gigabytes,
and its eigenvectors many minutes."""


def require_narrow(code_dim: int, asked: str = "") -> None:
    """Raises UsageError for codes that are too long to be whitened.

    asked: what needs it, before the message, as "--scores: "; empty for a whole command.
    """
    if code_dim > WIDEST:
        raise UsageError(
            f"{asked}code_dim={code_dim} must be at most {WIDEST}: distances between codes are"
            f" taken by their covariance, a matrix of {code_dim:,}x{code_dim:,} numbers"
        )


@dataclass(frozen=True)
class Whitening:
    """The map to codes of mean 0 and covariance I; codes have no scale of their own to measure in.

    Distances after it do not change under any invertible affine map of the code, which a codec's
    decoder could undo. Directions without variance are left out.
    """

    mean: Tensor
    """(k,) float32."""
    matrix: Tensor
    """(k, r) float32, r the rank of the codes' covariance."""

    @classmethod
    def of(cls, codes: Tensor) -> "Whitening":
        """The whitening of codes (N, k)."""
        mean = codes.double().mean(dim=0)
        covariance = torch.cov(codes.double().T, correction=0).reshape(len(mean), len(mean))
        values, vectors = torch.linalg.eigh(covariance)
        kept = values > values.max().clamp_min(1e-300) * 1e-10
        matrix = vectors[:, kept] / values[kept].sqrt()
        return cls(mean.float(), matrix.float())

    def __call__(self, codes: Tensor) -> Tensor:
        """Codes (N, k) whitened to (N, r)."""
        return (codes - self.mean) @ self.matrix

    def undo(self, points: Tensor) -> Tensor:
        """Codes (N, k) float32 of whitened points (N, r)."""
        back = torch.linalg.pinv(self.matrix.double())
        return (points.double() @ back + self.mean.double()).float()


@dataclass(frozen=True)
class OccupiedRegion:
    """The region where the codes of real images lie.

    The distance of a code is the mean one to its 5 nearest training codes, after whitening. A code
    is in a hole if its distance is above `threshold`: the 99% quantile of the distances of held-out
    codes, so that by this rule one real image in a hundred lies in a hole.
    """

    whitening: Whitening
    references: Tensor
    """The training codes, whitened, (N, r)."""
    typical: float
    """The median distance of held-out codes."""
    threshold: float

    @classmethod
    def calibrated(cls, training: Tensor, held_out: Tensor) -> "OccupiedRegion":
        """The region by training codes (N, k) and other, held-out codes (M, k)."""
        whitening = Whitening.of(training)
        references = whitening(training)
        distances = nearest_distances(whitening(held_out), references, NEIGHBOURS)
        typical, threshold = torch.quantile(distances, torch.tensor([0.5, HOLE_QUANTILE])).tolist()
        return cls(whitening, references, typical, threshold)

    def distances(self, codes: Tensor) -> Tensor:
        """(N,): the distance of each of codes (N, k), in units of the whitened codes' deviation."""
        return nearest_distances(self.whitening(codes), self.references, NEIGHBOURS)

    def in_hole(self, codes: Tensor) -> Tensor:
        """(N,) bool."""
        return self.distances(codes) > self.threshold


@torch.no_grad()
def codes_of(codec: Codec, parts: Sequence[Source]) -> tuple[list[Tensor], list[Tensor]]:
    """The codes (N, k) of each part's images, and those by which they occupy the code space: what
    the decoder has learned from, so of a variational codec one drawn from each image's Gaussian."""
    codes = [metrics.encode(codec, part) for part in parts]
    if not codec.settings.is_variational:
        return codes, codes
    occupying = []
    for seed, part in enumerate(parts, start=_DRAWS):
        found = []
        for batch in with_noise(codec, part, seed):
            assert batch.noise is not None
            found.append(drawn(*codec.posterior(codec.seen(batch)), batch.noise))
        occupying.append(torch.cat(found))
    return codes, occupying


def straight_path(start: Tensor, end: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """t (steps,) from 0 to 1 and the codes (1 - t) start + t end, (..., steps, k).

    start, end: (..., k). The ends are exactly `start` and `end` (the chapter's second exercise).
    """
    t = torch.linspace(0, 1, steps)
    weights = t.unsqueeze(-1)
    return t, (1 - weights) * start.unsqueeze(-2) + weights * end.unsqueeze(-2)
