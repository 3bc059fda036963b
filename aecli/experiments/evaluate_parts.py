"""Parts of `aecli evaluate` that look at all classes at once, by what each measures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from aecli.codecs.base import Codec
from aecli.data import facts
from aecli.data.images import Images, Source, batch_size
from aecli.measure import clustering, probes
from aecli.measure.clustering import Clustering, agreement
from aecli.measure.retrieval import retrieval
from aecli.measure.robustness import CHANGES, found_first
from aecli.measure.views import View

Values = dict[str, list[float]]
"""Measures by name: a value for each seed where something is drawn, one where nothing is."""

CODES, PCA, PIXELS = "", "pca_", "pixels_"
"""Contestants by what the names of their metrics begin with."""

MEASURES: Mapping[str, Mapping[str, str]] = {
    "classification": {
        "probe_accuracy": "linear probe, all labels",
        "probe_accuracy_100": "linear probe, 100 labels of each class",
        "probe_accuracy_10": "linear probe, 10 labels of each class",
        "knn_accuracy": f"vote of the {probes.NEIGHBOURS} nearest",
    },
    "clustering": {
        "kmeans_accuracy": "k-means, accuracy",
        "kmeans_nmi": "k-means, NMI",
        "kmeans_ari": "k-means, ARI",
        "mixture_accuracy": "Gaussian mixture, accuracy",
        "mixture_nmi": "Gaussian mixture, NMI",
        "mixture_ari": "Gaussian mixture, ARI",
    },
    "retrieval": {
        "retrieval_map": "retrieval by class, mAP",
        "precision_at_10": "retrieval by class, precision@10",
    },
    "anomaly": {
        "anomaly_auroc": "odd among one class, AUROC",
        "anomaly_auroc_error": "the same, by error alone",
        "anomaly_auroc_density": "the same, by nearest codes alone",
        "other_auroc": "another dataset among the run's own, AUROC",
        "other_auroc_error": "the same, by error alone",
        "other_auroc_density": "the same, by nearest codes alone",
    },
    "robustness": {
        "found_shifted": "found when shifted by 2 pixels",
        "found_brightened": "found when 10% brighter",
        "found_noised": "found when noisy",
        "found_rotated": "found when rotated by 10 degrees",
    },
}
"""Parts, what each measures, and what tables call it."""

FEW = (100, 10)  # labels of each class
MOST_TRAINING, MOST_TEST = 100_000, 10_000  # images that are looked at


def most_side_by_side(numbers: int) -> int:
    """The number of images that are held at once as vectors of so many numbers."""
    return batch_size(numbers, facts.SIDE_BY_SIDE)


def looked_at(images: Images, numbers: int) -> tuple[Source, Source]:
    """The training and the test images that are looked at, so many as can be held as vectors of so
    many numbers."""
    most = most_side_by_side(numbers)
    train, test = min(MOST_TRAINING, most), min(MOST_TEST, most)
    return thinned(images.train, train), thinned(images.test, test)


def thinned(source: Source, most: int) -> Source:
    """So many of the images, evenly spread: a path's may be sorted by class; all if they are
    fewer."""
    n = len(source)
    return source if n <= most else source.part(torch.arange(most) * n // most)


@dataclass(frozen=True)
class Seen:
    """Training and test images as a view sees them, and their labels."""

    view: View
    training: Tensor
    """(N, k)."""
    labels: Tensor | None
    source: Source
    """The test images."""
    test: Tensor
    """(M, k)."""
    classes: int = 0
    """Classes of all training images, of which these may be a part; 0 for those of `labels`."""
    probe_steps: list[int] = field(default_factory=list)
    """Steps of the linear probes, as they are fitted."""

    @classmethod
    def through(cls, codec: Codec | None, train: Source, test: Source, classes: int = 0) -> "Seen":
        """These images through a codec; as pixels for None."""
        view, training = View.fitted(codec, train)
        return cls(view, training, train.labels, test, view.all(test), classes)

    @property
    def all_labels(self) -> tuple[Tensor, Tensor]:
        """Labels (N,) and (M,), which are there."""
        assert self.labels is not None
        assert self.source.labels is not None
        return self.labels, self.source.labels


def classification(seen: Seen, seeds: Sequence[int]) -> Values:
    """Accuracies of readers of codes; few labels are drawn with each seed, where any class has
    more."""
    labels, test_labels = seen.all_labels
    both = (seen.training, labels, seen.test, test_labels)
    values = {"probe_accuracy": [probes.linear_probe_accuracy(*both, seen.probe_steps)]}
    for few in FEW:
        if labels.bincount().max() > few:
            values[f"probe_accuracy_{few}"] = [
                probes.few_labels_accuracy(*both, few, seed, seen.probe_steps) for seed in seeds
            ]
    values["knn_accuracy"] = [probes.knn_accuracy(*both, scaled=True)]
    return values


def cluster(seen: Seen, seeds: Sequence[int]) -> Values:
    """Agreement of clusters with classes: as many clusters as classes, fitted on the training
    images without a label, held against the labels of the test images."""
    labels, test_labels = seen.all_labels
    clusters, pair = seen.classes or len(labels.unique()), (seen.training, seen.test)
    values = _agreement("kmeans", clustering.kmeans, pair, test_labels, clusters, seeds)
    if seen.training.shape[1] <= clustering.WIDEST_MIXTURE:
        x, y = map(torch.from_numpy, probes.standardised(*pair))
        values |= _agreement("mixture", clustering.mixture, (x, y), test_labels, clusters, seeds)
    return values


def _agreement(
    name: str,
    clustered: Clustering,
    points: tuple[Tensor, Tensor],
    test_labels: Tensor,
    clusters: int,
    seeds: Sequence[int],
) -> Values:
    rows = [agreement(clustered(*points, clusters, seed), test_labels.numpy()) for seed in seeds]
    return {f"{name}_{measure}": [row[measure] for row in rows] for measure in rows[0]}


def retrieve(seen: Seen, seeds: Sequence[int]) -> Values:
    """Retrieval by class among the test images; nothing where no two have the same one."""
    _, test_labels = seen.all_labels
    found = retrieval(seen.test, test_labels)
    if found is None:
        return {}
    return {
        "retrieval_map": [found.mean_average_precision],
        "precision_at_10": [found.precision_at_10],
    }


def robustness(seen: Seen, seeds: Sequence[int]) -> Values:
    """Shares of test images found by changed copies; the noise is drawn with each seed."""
    values: Values = {}
    for name, change in CHANGES.items():
        drawn = seeds if name == "noised" else seeds[:1]
        values[f"found_{name}"] = [
            found_first(seen.view, seen.source, seen.test, change, seed) for seed in drawn
        ]
    return values


MEASURED_BY: Mapping[str, Callable[[Seen, Sequence[int]], Values]] = {
    "classification": classification,
    "clustering": cluster,
    "retrieval": retrieve,
    "robustness": robustness,
}
"""Parts by the function that measures each, but for `anomaly`, which trains codecs of its own."""
