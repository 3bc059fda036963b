"""Contestants of `aecli evaluate`: codes, PCA's of as many numbers, and pixels, measured alike."""

from collections.abc import Sequence
from dataclasses import dataclass

from aecli import codecs
from aecli.codecs.base import Codec
from aecli.codecs.pooling import Pooling
from aecli.config import EvaluateConfig
from aecli.data.images import Images, Source
from aecli.experiments.evaluate_parts import (
    CODES,
    MEASURED_BY,
    PCA,
    PIXELS,
    Seen,
    Values,
    looked_at,
    most_side_by_side,
    thinned,
)
from aecli.measure.baselines import pca_beside, pca_of
from aecli.runs.context import Context
from aecli.runs.folder import RunDir
from aecli.runs.run import Run
from aecli.training.jobs import Job, train_all
from aecli.training.measuring import measure_all

_FEWEST_AS_PIXELS = 100  # training images


@dataclass(frozen=True)
class Contestant:
    """A way to look at images, with the seeds that something is drawn with."""

    prefix: str
    codecs: Sequence[tuple[Codec | None, Sequence[int]]]
    """A codec (None: pixels) and its seeds; several where it was trained with each."""
    train: Source
    """Training images that it looks at."""

    def sees_as(self, others: "Sequence[Contestant]") -> bool:
        """True if its training images, which may be some of theirs, have as many classes."""
        return self.train.classes == max(each.train.classes for each in others)


@dataclass(frozen=True)
class _Look:
    """A look at the images through one codec."""

    codec: Codec | None
    """None: at pixels."""
    seeds: tuple[int, ...]
    parts: tuple[str, ...]
    numbers: int
    """Numbers of a vector that the codes of the run are looked at as."""


def measure_contestants(
    config: EvaluateConfig,
    parts: Sequence[str],
    images: Images,
    run: Run | None,
    run_dir: RunDir,
    context: Context,
) -> dict[str, Values]:
    """Measures of each contestant, by its prefix, of these parts. Raises JobsFailedError if a
    training failed."""
    every = contestants(config, images, run, run_dir, context)
    k = pooling_of(config, images).numbers
    asked = [
        (each.prefix, _Look(codec, tuple(seeds), tuple(its), k))
        for each in every
        if (its := [p for p in parts if p != "classification" or each.sees_as(every)])
        for codec, seeds in each.codecs
    ]
    text = "putting codes to work"
    looks = [look for _, look in asked]
    measured = measure_all(_measured, looks, images, config, run_dir, context, text)
    found: dict[str, Values] = {each.prefix: {} for each in every}
    for (prefix, _), values in zip(asked, measured, strict=True):
        for name, more in values.items():
            found[prefix].setdefault(name, []).extend(more)
    for values in found.values():
        if steps := values.get("probe_steps"):
            values["probe_steps"] = [max(steps)]
    return found


def contestants(
    config: EvaluateConfig, images: Images, run: Run | None, run_dir: RunDir, context: Context
) -> list[Contestant]:
    """The codes, PCA's where the training images have as many components, and pixels where they
    are not too large."""
    pooling = pooling_of(config, images)
    train, test = looked_at(images, pooling.numbers)
    seeds = range(config.seed, config.seed + config.seeds)
    codecs: list[tuple[Codec | None, Sequence[int]]]
    if run is not None:
        codecs = [(run.codec, seeds)]
    else:
        jobs = [Job(config.codec, config.train, seed) for seed in config.seeds_of_trainings]
        trainings = train_all(jobs, images, config, run_dir, context)
        trainings.require_all()
        each = [seeds] if len(jobs) == 1 else [[job.seed] for job in jobs]
        trained = [trainings.done[job].codec for job in jobs]
        codecs = list(zip(trained, each, strict=True))
    found = [Contestant(CODES, codecs, train)]
    with context.terminal.working(labels_of(config, images)[PCA]):
        own = codecs[0][0]
        assert own is not None
        elsewhere = run is not None and asks_for_others(config, run)
        another = elsewhere or pooling.numbers < own.code_dim
        pca = pca_of(pooling.numbers, images) if another else pca_beside(own, images)
    if pca is not None:
        found.append(Contestant(PCA, [(pca, seeds)], train))
    if fit_as_pixels(test):
        found.append(Contestant(PIXELS, [(None, seeds)], _few_as_pixels(train)))
    return found


def _measured(images: Images, look: _Look) -> Values:
    """Every measure of the parts. Beside them `probe_steps`, the most that a linear probe took."""
    train, test = looked_at(images, look.numbers)
    if look.codec is None:
        train = _few_as_pixels(train)
    seen = Seen.through(look.codec, train, test, images.train.classes)
    values: Values = {}
    for part in look.parts:
        values |= MEASURED_BY[part](seen, look.seeds)
    return {**values, "probe_steps": [max(seen.probe_steps)]} if seen.probe_steps else values


def asks_for_others(config: EvaluateConfig, run: Run) -> bool:
    """True if the images are of another dataset than the one that the run learned from."""
    return config.data.dataset != run.config.data.dataset


def pooling_of(config: EvaluateConfig, images: Images) -> Pooling:
    """The map from codes to the vectors that are looked at."""
    return codecs.pooling_of(config.codec, images.shape)


def labels_of(config: EvaluateConfig, images: Images) -> dict[str, str]:
    """Names of the contestants in tables and figures: `mlp-32`, `PCA-32`, `pixels`; PCA has as many
    numbers as are looked at."""
    own = f"{config.codec.name}-{config.codec.code_dim}"
    return {CODES: own, PCA: f"PCA-{pooling_of(config, images).numbers}", PIXELS: "pixels"}


def _few_as_pixels(train: Source) -> Source:
    """So many training images as can be held as pixels."""
    return thinned(train, most_side_by_side(train.pixels))


def fit_as_pixels(test: Source) -> bool:
    """True if the pixels of all test images can be held, and of enough training images."""
    return max(len(test), _FEWEST_AS_PIXELS) <= most_side_by_side(test.pixels)
