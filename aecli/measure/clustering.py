"""Clusters in codes, found without a label and then held against the labels."""

import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits
from torch import Tensor

RESTARTS = 10
MIXTURE_CODES = 20_000  # training codes that a mixture is fitted on, evenly spread, at most
MIXTURE_FLOOR = 1e-4  # added to each component's variances, of units of variance 1
WIDEST_MIXTURE = 256  # numbers in a code up to which full covariances are fitted

Labels = NDArray[np.int64]
Clustering = Callable[[Tensor, Tensor, int, int], Labels]
"""(training points (N, k), test points (M, k), clusters, seed) -> the cluster (M,) of each test
point; no label is seen."""


def kmeans(points: Tensor, test_points: Tensor, clusters: int, seed: int) -> Labels:
    """The nearest centre of each test point, (M,), of centres fitted on training points.

    Lloyd's algorithm from k-means++ starts (Arthur & Vassilvitskii, SODA 2007): of RESTARTS the
    one of least inertia. points: (N, k), N at least `clusters`.
    """
    from sklearn.cluster import KMeans

    model = KMeans(clusters, n_init=RESTARTS, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different points than clusters
        model.fit(points.numpy())
    found: Labels = model.predict(test_points.numpy()).astype(np.int64)
    return found


def mixture(points: Tensor, test_points: Tensor, clusters: int, seed: int) -> Labels:
    """The likeliest component of each test point, (M,), of a mixture fitted on training points.

    A component for each cluster, each with a full covariance, by EM from k-means (Bishop, "Pattern
    recognition and machine learning", section 9.2.2). points: (N, k) standardised, so that the
    floor under the variances means the same in every unit.
    """
    from sklearn.mixture import GaussianMixture

    array = points[:: -(-len(points) // MIXTURE_CODES)].double().numpy()
    model = GaussianMixture(clusters, reg_covar=MIXTURE_FLOOR, random_state=seed)
    # One BLAS thread, as where mixtures are drawn from: the products are small.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # stopped early it is a mixture still
        model.fit(array)
        found: Labels = model.predict(test_points.double().numpy()).astype(np.int64)
    return found


def agreement(clusters: Labels, labels: Labels) -> dict[str, float]:
    """Measures of how clusters (M,) agree with labels (M,), by name: `accuracy`, `nmi`, `ari`.

    accuracy: the largest share of points whose cluster is matched to their label, over all ways to
    match clusters and labels one to one (Xie et al., "Unsupervised deep embedding for clustering
    analysis", ICML 2016, equation 10), found by the Hungarian method. nmi: mutual information over
    the mean of both entropies (Strehl & Ghosh, JMLR 2002, with the arithmetic mean). ari: the
    adjusted Rand index (Hubert & Arabie, Journal of Classification 1985), 0 by chance, 1 at best.
    """
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    return {
        "accuracy": matched_accuracy(clusters, labels),
        "nmi": float(normalized_mutual_info_score(labels, clusters)),
        "ari": float(adjusted_rand_score(labels, clusters)),
    }


def matched_accuracy(clusters: Labels, labels: Labels) -> float:
    """The accuracy under the best one-to-one matching, in [0, 1]; one may be more than the other,
    and what stays unmatched is wrong."""
    from scipy.optimize import linear_sum_assignment

    sides = int(clusters.max()) + 1, int(labels.max()) + 1
    counts = np.bincount(clusters * sides[1] + labels, minlength=sides[0] * sides[1]).reshape(sides)
    matched = linear_sum_assignment(counts, maximize=True)
    return float(counts[matched].sum() / len(labels))
