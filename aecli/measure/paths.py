"""The shape of a path of points: how far from a straight line it is."""

from torch import Tensor


def chord_over_length(points: Tensor) -> float:
    """The distance between a path's ends over its length, the mean over paths; 1 of a line.

    points: (paths, steps, k), 2 steps at least. Of a path whose points are all the same, 1.
    """
    length = points.diff(dim=1).norm(dim=2).sum(dim=1)
    chord = (points[:, -1] - points[:, 0]).norm(dim=1)
    ratio = (chord / length.clamp_min(1e-30)).where(length > 0, 1)
    return ratio.double().mean().item()


def effective_dimension(points: Tensor) -> float:
    """The participation ratio of the variances along a path's principal axes, the mean over paths:
    (sum of l)^2 / sum of l^2 over the eigenvalues l of its points' covariance; 1 of a straight
    line, m of points that vary alike along m axes.

    points: (paths, steps, k). Of a path whose points are all the same, 1.
    """
    centred = (points - points.mean(dim=1, keepdim=True)).double()
    products = centred @ centred.transpose(1, 2)  # (steps, steps): the covariance's eigenvalues
    total = products.diagonal(dim1=1, dim2=2).sum(dim=1)
    squares = products.square().sum(dim=(1, 2))
    ratio = (total.square() / squares.clamp_min(1e-300)).where(total > 0, 1)
    return ratio.mean().item()
