"""Numbers of a set of decoded samples: pixels, a classifier's view, distance to real ones."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

SURE = 0.9  # the probability from which the classifier counts as sure of a class
COVERED = 0.01  # the share of samples of which it must be sure for a class to count as covered


def pixel_range(images: Tensor) -> tuple[float, float]:
    """The median over the samples of the darkest and of the brightest pixel of each.

    images: (N, C, H, W), as decoded: a linear codec's leave [0, 1].
    """
    lows, highs = pixel_extremes(images)
    return lows.median().item(), highs.median().item()


def pixel_extremes(images: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The darkest and the brightest pixel of each image (N, C, H, W), both (N,).

    mask: (N, 1, H, W), True where a pixel is valid, as one at least of each image is (None: all).
    """
    darkest = brightest = images
    if mask is not None:
        darkest = torch.where(mask, images, math.inf)
        brightest = torch.where(mask, images, -math.inf)
    return darkest.flatten(start_dim=1).amin(dim=1), brightest.flatten(start_dim=1).amax(dim=1)


def confidence(probabilities: Tensor) -> float:
    """The mean over the samples of the largest probability; 1 / classes to 1.

    Alone it shows nothing: a classifier may be wholly sure of flat grey, which no label taught it.
    """
    return probabilities.amax(dim=1).double().mean().item()


def entropy_bits(probabilities: Tensor) -> float:
    """The mean over the samples of the class probabilities' entropy; 0 to log2(classes) bits."""
    return (torch.special.entr(probabilities.double()).sum(dim=1).mean() / math.log(2)).item()


def classes_covered(probabilities: Tensor) -> int:
    """The number of classes that the classifier is SURE of in at least COVERED of the samples."""
    highest, guesses = probabilities.max(dim=1)
    counts = torch.bincount(guesses[highest >= SURE], minlength=probabilities.shape[1])
    return int((counts >= COVERED * len(probabilities)).sum())


def class_entropy_bits(probabilities: Tensor) -> float:
    """The entropy of the histogram of likeliest classes: 0 for one only, log2(classes) for all."""
    counts = torch.bincount(probabilities.argmax(dim=1), minlength=probabilities.shape[1])
    return entropy_bits((counts / counts.sum()).unsqueeze(0))


def rms(distances: Tensor, pixels: int) -> float:
    """The mean over images of the root mean square pixel difference to another image.

    distances: (N,), the Euclidean ones between images of so many pixels.
    """
    return distances.double().mean().item() / pixels**0.5


@dataclass(frozen=True)
class Moments:
    """Mean (d,) and covariance (d, d) of features, float64."""

    mean: Tensor
    covariance: Tensor

    @classmethod
    def of(cls, features: Tensor) -> "Moments":
        """The moments of features (N, d)."""
        d = features.shape[1]
        double = features.double()
        return cls(double.mean(dim=0), torch.cov(double.T, correction=0).reshape(d, d))


def frechet_distance(a: Moments, b: Moments) -> float:
    """The squared Frechet distance of two Gaussians (Dowson & Landau 1982, equation 4).

    |mean_a - mean_b|^2 + tr(A + B - 2 (A B)^(1/2)): what Heusel et al. (2017) compute in the
    features of an Inception network and call FID. In other features it is no FID, and its values
    compare only with others in the same features.
    """
    # tr (A B)^(1/2) = tr (R B R)^(1/2) with R = A^(1/2): symmetric, so its roots are real.
    values, vectors = torch.linalg.eigh(a.covariance)
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    shared = torch.linalg.eigvalsh(root @ b.covariance @ root).clamp_min(0).sqrt().sum()
    apart = (a.mean - b.mean).square().sum()
    traces = a.covariance.trace() + b.covariance.trace()
    return max((apart + traces - 2 * shared).item(), 0.0)
