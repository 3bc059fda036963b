"""Odd images among normal ones, told by scores that are higher the odder an image is."""

import torch
from torch import Tensor


def ranks(scores: Tensor, held_out: Tensor) -> Tensor:
    """The share (N,) float64 of held-out normal images that score lower than each of `scores`,
    equal ones counted half.

    So an image's rank, in [0, 1], depends on no other image that is tested, and ranks of different
    scores can be added: one minus it is the p-value of a conformal test for outliers (Bates et al.,
    "Testing for outliers with conformal p-values", Annals of Statistics 2023, section 1), but for
    the tested image itself, which that counts too.
    scores: (N,), held_out: (M,), M at least 1.
    """
    ordered = held_out.double().sort().values
    asked = scores.double().contiguous()
    lower, not_higher = (torch.searchsorted(ordered, asked, right=right) for right in (False, True))
    return (lower + not_higher).double() / (2 * len(ordered))


def auroc(normal: Tensor, odd: Tensor) -> float:
    """The chance that an odd image scores higher than a normal one, equal scores counted half.

    The area under the receiver operating characteristic, in [0, 1]; 0.5 is chance (Hanley & McNeil,
    Radiology 1982). normal: (N,), odd: (M,), both at least 1 long.
    """
    return ranks(odd, normal).mean().item()
