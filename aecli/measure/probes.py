"""Simple readers of codes: of the digit, its slant and its stroke thickness."""

import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from aecli.data.images import Batch, to_unit

NEIGHBOURS = 5
DRAWS = 5  # of a few labels of each class, for each seed
PROBE_TOLERANCE, PROBE_STEPS = 1e-3, 500  # tighter ones changed no accuracy by more than 0.2 points
_INK = 0.5  # a pixel at least this bright is ink


def linear_probe_accuracy(
    codes: Tensor,
    labels: Tensor,
    test_codes: Tensor,
    test_labels: Tensor,
    steps: list[int] | None = None,
) -> float:
    """The test accuracy, in [0, 1], of logistic regression on standardised codes.

    The linear probe of Alain & Bengio, "Understanding intermediate layers using linear classifier
    probes", 2016: the multinomial model, whose mean cross-entropy with the penalty |w|^2 / (2 N) is
    minimised by L-BFGS until no part of the gradient is above PROBE_TOLERANCE, or for PROBE_STEPS.
    codes: (N, k), test_codes: (M, k), labels: (N,) of two classes or more, and (M,).
    steps: a list to which the number of steps that it took is added.
    """
    x, y = standardised(codes, test_codes)
    return _probe_accuracy(x, labels, y, test_labels, steps)


def few_labels_accuracy(
    codes: Tensor,
    labels: Tensor,
    test_codes: Tensor,
    test_labels: Tensor,
    per_class: int,
    seed: int,
    steps: list[int] | None = None,
) -> float:
    """The test accuracy of the same probe where so many images of each class have a label, the
    mean over DRAWS draws of them; a class that has fewer gives all.

    Codes are standardised by all training images, which needs no label. Shapes as above.
    """
    x, y = standardised(codes, test_codes)
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(DRAWS):
        few = few_of_each(labels, per_class, generator)
        found.append(_probe_accuracy(x[few.numpy()], labels[few], y, test_labels, steps))
    return float(np.mean(found))


def few_of_each(labels: Tensor, per_class: int, generator: torch.Generator) -> Tensor:
    """Indices (n,) of so many images of each class of labels (N,), drawn without repeats; of all of
    a class that has fewer."""
    order = torch.randperm(len(labels), generator=generator)
    return torch.cat([order[labels[order] == label][:per_class] for label in labels.unique()])


def knn_accuracy(
    codes: Tensor,
    labels: Tensor,
    test_codes: Tensor,
    test_labels: Tensor,
    scaled: bool = False,
) -> float:
    """The test accuracy, in [0, 1], of a vote of the 5 nearest codes, by Euclidean distance.

    scaled: True if distances between these codes mean something as they are; else each unit is
    standardised by the training codes.
    """
    from sklearn.neighbors import KNeighborsClassifier

    both = (codes.numpy(), test_codes.numpy()) if scaled else standardised(codes, test_codes)
    vote = KNeighborsClassifier(NEIGHBOURS, algorithm="brute").fit(both[0], labels.numpy())
    return float(vote.score(both[1], test_labels.numpy()))


def linear_r2(codes: Tensor, values: Tensor, test_codes: Tensor, test_values: Tensor) -> float:
    """R^2 on test codes of a value read by linear regression; 1 is perfect, 0 the mean.

    codes: (N, k), values: (N,), test_codes: (M, k), test_values: (M,).
    """
    from sklearn.linear_model import Ridge

    # Float64 and a ridge: units of an overcomplete code repeat one another.
    x, y = standardised(codes.double(), test_codes.double())
    return float(Ridge(1.0).fit(x, values.numpy()).score(y, test_values.numpy()))


def slant_degrees(images: Tensor) -> Tensor:
    """The slant of each image's ink from the vertical, (N,) float32 in degrees, right is positive.

    Computed from second image moments, as in Morpho-MNIST (Castro et al., JMLR 2019, section 3.1):
    arctan(-mu_11 / mu_02) with y downwards. images: (N, C, H, W); an image without ink has 0.
    """
    ink = to_unit(images).mean(dim=1)
    height, width = ink.shape[1:]
    y, x = torch.meshgrid(
        torch.arange(height, dtype=torch.float32),
        torch.arange(width, dtype=torch.float32),
        indexing="ij",
    )
    mass = ink.sum(dim=(1, 2)).clamp_min(1e-6)
    centre_y, centre_x = (ink * y).sum(dim=(1, 2)) / mass, (ink * x).sum(dim=(1, 2)) / mass
    dy, dx = y - centre_y[:, None, None], x - centre_x[:, None, None]
    mu_11 = (ink * dx * dy).sum(dim=(1, 2))
    mu_02 = (ink * dy * dy).sum(dim=(1, 2)).clamp_min(1e-6)
    return torch.rad2deg(torch.atan(-mu_11 / mu_02))


def thickness_pixels(images: Tensor) -> Tensor:
    """The mean stroke thickness of each image, (N,) float32 in pixels; 0 without ink.

    Four times the mean distance from ink to paper, exact for a straight stroke of any width
    (a stroke's distances rise evenly from 0 to half its width). Morpho-MNIST does so too, on images
    enlarged four times. images: (N, C, H, W).
    """
    from scipy.ndimage import distance_transform_edt

    scale = 4
    thickness = np.zeros(len(images), np.float32)
    for start in range(0, len(images), 1000):
        grey = to_unit(images[start : start + 1000]).mean(dim=1, keepdim=True)
        large = F.interpolate(grey, scale_factor=scale, mode="bilinear", align_corners=False)
        for i, ink in enumerate((large[:, 0] >= _INK).numpy(), start=start):
            if ink.any():
                # A pixel's centre is half a pixel further from the edge than the edge itself.
                thickness[i] = 4 * (distance_transform_edt(ink)[ink].mean() - 0.5) / scale
    return torch.from_numpy(thickness)


def sharpness(pairs: Iterable[tuple[Tensor, Batch]]) -> float:
    """The share of the originals' edge contrast that reconstructions keep: 1 is sharp, 0 is grey.

    The regression slope of the reconstructions' pixel differences on the originals', so that noise,
    which has contrast of its own, does not count; between valid pixels only. pairs: reconstructions
    (n, C, H, W) float32 and their originals, some at a time.
    """
    kept, whole = 0.0, 0.0
    for reconstructions, batch in pairs:
        for dim in (2, 3):
            edges = batch.images.diff(dim=dim)
            if batch.mask is not None:
                size = batch.mask.shape[dim] - 1
                edges *= batch.mask.narrow(dim, 0, size) & batch.mask.narrow(dim, 1, size)
            kept += (reconstructions.diff(dim=dim) * edges).sum().item()
            whole += edges.square().sum().item()
    return kept / max(whole, 1e-12)


def _probe_accuracy(
    x: NDArray[Any],
    labels: Tensor,
    test_x: NDArray[Any],
    test_labels: Tensor,
    steps: list[int] | None,
) -> float:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    # C=1.0 is the penalty |w|^2 / 2 beside the sum of N cross-entropies; the tolerance is of their
    # mean.
    probe = LogisticRegression(C=1.0, max_iter=PROBE_STEPS, tol=PROBE_TOLERANCE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the rule says so many steps at most
        probe.fit(x, labels.numpy())
    if steps is not None:
        steps.append(int(probe.n_iter_.max()))
    return float(probe.score(test_x, test_labels.numpy()))


def standardised(codes: Tensor, test_codes: Tensor) -> tuple[NDArray[Any], NDArray[Any]]:
    """Both, scaled to the training codes' mean 0, deviation 1; a unit that never varies stays 0."""
    mean, deviation = codes.mean(dim=0), codes.std(dim=0, correction=0)
    scale = torch.where(deviation > 0, deviation, 1)
    return ((codes - mean) / scale).numpy(), ((test_codes - mean) / scale).numpy()
