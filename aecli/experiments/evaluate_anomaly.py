"""Part `anomaly` of `aecli evaluate`: each class in turn as the only one that is normal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from aecli import codecs
from aecli.codecs.base import Codec
from aecli.codecs.pca import Pca
from aecli.codecs.pooling import Pooling
from aecli.codecs.principal import most_components
from aecli.codespace.region import NEIGHBOURS, OccupiedRegion
from aecli.config import CodecConfig, EvaluateConfig, FitConfig, PcaConfig, with_values
from aecli.data import facts
from aecli.data.images import Images, Joined, Source
from aecli.experiments.evaluate_parts import (
    CODES,
    PCA,
    PIXELS,
    Values,
    most_side_by_side,
    thinned,
)
from aecli.measure import metrics
from aecli.measure.anomaly import auroc, ranks
from aecli.measure.distances import nearest_distances
from aecli.measure.views import View, vectors
from aecli.runs.context import Context
from aecli.runs.folder import RunDir
from aecli.training.jobs import Job, train_all

FEWEST, FEWEST_HELD_OUT = 50, 5
"""Images of a class that is taken as normal: to train on, and held out for ranks."""
_SHARE = 10  # of the training images, one of so many is held out where no others are


@dataclass(frozen=True)
class Normal:
    """Images of a kind that is normal, and test images of it and of another."""

    fit: Source
    held_out: Source
    """More normal images, for ranks: no codec, PCA or nearest image is of them."""
    test: Source
    odd: Source


def classes_alone(config: EvaluateConfig, train: Source, test: Source) -> list[int]:
    """The classes with enough training images, and with test images; none where all test images
    are of one. Raises UsageError without labels."""
    codec = codec_alone(config)
    needs_all = "pca" in (codec.name, codec.begins_with)
    least = max(FEWEST, -(-codec.code_dim * _SHARE // (_SHARE - 1)) if needs_all else 0)
    counts = train.require_labels("anomaly").bincount()
    there = test.require_labels("anomaly").unique().tolist()
    enough = [label for label in there if label < len(counts) and counts[label] >= least]
    return enough if len(there) > 1 else []


def anomaly(
    config: EvaluateConfig,
    images: Images,
    test: Source,
    contestants: Sequence[str],
    run_dir: RunDir,
    context: Context,
) -> dict[str, dict[int, Values]]:
    """AUROC by contestant, by class, by measure: of codecs trained on the class alone, a value for
    each seed; of PCA, and of pixels, one.

    The protocol of Ruff et al., "Deep one-class classification", ICML 2018, section 4.1: each class
    in turn is the only one that is learned from, and all test images of the others are odd. An
    image is as odd as its reconstruction error, as the distance of its code to the 5 nearest
    training codes after whitening, and as both: the mean of its ranks by each among held-out
    normal images: those for validation, or, where a class has fewer than FEWEST_HELD_OUT of them,
    the last tenth of those to train on. Of tiles and equal files only the former are kept apart
    from what is learned. Pixels have no reconstruction; their distance is the one between images.
    contestants: CODES, and PCA and PIXELS where they are asked for.
    Raises JobsFailedError if a training failed.
    """
    split = _with_classes_held_out(images)
    each = {
        label: _alone(split, test, label) for label in classes_alone(config, images.train, test)
    }
    jobs = {
        label: _jobs(config, label, images.class_name(label), len(normal.fit))
        for label, normal in each.items()
    }
    every = [job for of_class in jobs.values() for job in of_class]
    trainings = train_all(every, split, config, run_dir, context)
    trainings.require_all()
    k = pooling_alone(config, images).numbers
    found: dict[str, dict[int, Values]] = {name: {} for name in contestants}
    with context.terminal.working("looking for odd images", len(each), "classes") as advance:
        for label, normal in each.items():
            ways: dict[str, list[Codec | None]] = {
                CODES: [trainings.done[job].codec for job in jobs[label]],
                PCA: [_pca(k, normal.fit)],
                PIXELS: [None],
            }
            for name in contestants:
                rows = [aurocs(codec, normal) for codec in ways[name]]
                found[name][label] = {key: [row[key] for row in rows] for key in rows[0]}
            advance()
    return found


def others(codec: Codec, normal: Normal, contestants: Sequence[str]) -> dict[str, Values]:
    """AUROC by contestant, by measure, of another dataset's images among those that a codec has
    learned from; PCA is of these too. Scores as in `anomaly`."""
    ways: dict[str, Codec | None] = {
        CODES: codec,
        PCA: _pca(codec.pooling.numbers, normal.fit),
        PIXELS: None,
    }
    found = {}
    for name in contestants:
        values = aurocs(ways[name], normal)
        found[name] = {key.replace("anomaly", "other"): [value] for key, value in values.items()}
    return found


def mean_over_classes(by_class: Mapping[int, Values]) -> Values:
    """The mean over classes of each measure, for each seed."""
    rows = list(by_class.values())
    return {
        measure: torch.tensor([row[measure] for row in rows]).double().mean(dim=0).tolist()
        for measure in rows[0]
    }


def aurocs(codec: Codec | None, normal: Normal) -> dict[str, float]:
    """The AUROC by each score, and by both; for pixels (None) by the one that there is.

    Both are ranks, which are 1 for all that is odder than any held-out image, however much: few of
    these tell less apart than the scores do.
    """
    scores = _scores(codec, normal)
    found = {f"anomaly_auroc_{name}": auroc(test, odd) for name, (_, test, odd) in scores.items()}
    if len(found) == 1:
        return {"anomaly_auroc": next(iter(found.values())), **found}
    test_ranks = [ranks(test, held_out) for held_out, test, _ in scores.values()]
    odd_ranks = [ranks(odd, held_out) for held_out, _, odd in scores.values()]
    both = auroc(torch.stack(test_ranks).mean(dim=0), torch.stack(odd_ranks).mean(dim=0))
    return {"anomaly_auroc": both, **found}


def _scores(codec: Codec | None, normal: Normal) -> dict[str, list[Tensor]]:
    """Scores of the held-out, the normal and the odd images, by name; higher is odder."""
    most = most_side_by_side(normal.fit.pixels if codec is None else codec.pooling.numbers)
    fit, held_out = (thinned(each, most) for each in (normal.fit, normal.held_out))
    parts = (held_out, normal.test, normal.odd)
    if codec is None:
        view, training = View.fitted(None, fit)
        near = [nearest_distances(view.all(part), training, NEIGHBOURS) for part in parts]
        return {"density": near}
    codes = [vectors(codec, part) for part in parts]
    region = OccupiedRegion.calibrated(vectors(codec, fit), codes[0])
    return {
        "error": [metrics.reconstruction_errors(codec, part)[0] for part in parts],
        "density": [region.distances(some) for some in codes],
    }


def _with_classes_held_out(images: Images) -> Images:
    """The same images with some of each class for validation: those that are, where they are
    enough, else the last tenth of the class's training images."""
    labels = images.train.require_labels("anomaly")
    there = torch.zeros(0, dtype=torch.long) if images.val.labels is None else images.val.labels
    counts = there.bincount(minlength=int(labels.max()) + 1)
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique().tolist():
        if counts[label] < FEWEST_HELD_OUT:
            own = (labels == label).nonzero().squeeze(1)
            held_out[own[len(own) - len(own) // _SHARE :]] = True
    if not held_out.any():
        return images
    train, val = (images.train.part(which.nonzero().squeeze(1)) for which in (~held_out, held_out))
    kept = (counts[there] >= FEWEST_HELD_OUT).nonzero().squeeze(1)
    if len(kept):
        val = Joined(images.val.part(kept), val)
    return replace(images, train=train, val=val)


def _alone(images: Images, test: Source, label: int) -> Normal:
    odd = (test.require_labels("anomaly") != label).nonzero().squeeze(1)
    fit, held_out, own = (part.of_class(label) for part in (images.train, images.val, test))
    return Normal(fit, held_out, own, test.part(odd))


def codec_alone(config: EvaluateConfig) -> CodecConfig:
    """The codec that learns one class alone."""
    code_dim = config.anomaly.code_dim or config.codec.code_dim
    return config.codec.model_copy(update={"code_dim": code_dim})


def pooling_alone(config: EvaluateConfig, images: Images) -> Pooling:
    """The map from its codes to the vectors that are compared."""
    return codecs.pooling_of(codec_alone(config), images.shape)


def fit_alone(config: EvaluateConfig, batch_size: int) -> FitConfig:
    """The training of a codec on one class alone."""
    own = {"epochs": config.anomaly.epochs, "batch_size": batch_size}
    return with_values(config.train, own)


def _jobs(config: EvaluateConfig, label: int, name: str, images: int) -> list[Job]:
    """A training on a class of this name and of so many images with each seed."""
    fit = fit_alone(config, facts.fitting_batch(config.anomaly.batch_size, images))
    return [
        Job(codec_alone(config), fit, seed, label=label, class_name=name)
        for seed in config.seeds_of_trainings
    ]


def _pca(code_dim: int, source: Source) -> Pca:
    """PCA of so many components, or of all that these images have."""
    most, _ = most_components(len(source), source.pixels)
    pca = Pca(source.shape, PcaConfig(code_dim=min(code_dim, most)))
    pca.solve(source)
    return pca
