"""Pictures of `aecli evaluate`: one for each part."""

import math
from collections.abc import Mapping, Sequence

from aecli import figures
from aecli.data.images import Images
from aecli.experiments.evaluate_parts import CODES, FEW, MEASURES, Values
from aecli.measure.seeds import mean, spread
from aecli.runs.folder import RunDir

_TITLES = {
    "clustering": "Clusters found without labels, held against the classes",
    "retrieval": "The nearest test images: of the same class?",
    "robustness": "Is an image found by a changed copy of it?",
}
_SCORES = {
    "anomaly_auroc": "by error and codes",
    "anomaly_auroc_error": "by error",
    "anomaly_auroc_density": "by nearest codes",
}


def draw(
    found: Mapping[str, Values],
    by_class: Mapping[str, Mapping[int, Values]],
    labels: Mapping[str, str],
    images: Images,
    run_dir: RunDir,
) -> None:
    """Leave a picture of each part that was measured. labels: names of the contestants."""
    title = f"{images.title}, {labels[CODES]}"
    own = found[CODES]
    if "probe_accuracy" in own:
        assert images.train.labels is not None
        most = int(images.train.labels.bincount().max())
        lines = [
            _label_curve(prefix, labels, values, most)
            for prefix, values in found.items()
            if "probe_accuracy" in values
        ]
        head = f"Labels that a linear classifier needs ({title})"
        run_dir.save_figure("classification", figures.label_curves(lines, head))
    for part, what in _TITLES.items():
        measures = {name: words for name, words in MEASURES[part].items() if name in own}
        series = [
            _shares(prefix, labels, [values.get(name, []) for name in measures])
            for prefix, values in found.items()
            if values.keys() & measures.keys()
        ]
        if series:
            head = f"{what} ({title})"
            run_dir.save_figure(part, figures.share_bars([*measures.values()], series, head))
    if by_class:
        names = [images.class_name(label) for label in by_class[CODES]]
        panels = {
            words: [
                _shares(prefix, labels, [values[score] for values in classes.values()])
                for prefix, classes in by_class.items()
                if all(score in values for values in classes.values())
            ]
            for score, words in _SCORES.items()
        }
        head = f"Odd images told from one normal class ({title})"
        run_dir.save_figure("anomaly", figures.class_scores(names, panels, head))


def _shares(
    prefix: str, labels: Mapping[str, str], values: Sequence[Sequence[float]]
) -> figures.Shares:
    """values: over seeds, by measure; none where one was not measured."""
    means = [mean(each) if each else math.nan for each in values]
    sds = [spread(each) for each in values]
    return figures.Shares(labels[prefix], means, sds, [*labels].index(prefix))


def _label_curve(
    prefix: str, labels: Mapping[str, str], values: Values, most: int
) -> figures.LabelCurve:
    """most: labels of the largest class, where all are used."""
    points = {
        few: values[f"probe_accuracy_{few}"] for few in FEW if f"probe_accuracy_{few}" in values
    }
    points[most] = values["probe_accuracy"]
    counts = sorted(points)
    return figures.LabelCurve(
        labels[prefix],
        counts,
        [mean(points[n]) for n in counts],
        [spread(points[n]) for n in counts],
        mean(values["knn_accuracy"]),
        [*labels].index(prefix),
    )
