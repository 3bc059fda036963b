"""The one trained codec that interpolate and sample look into: one of a run, or one trained now."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

from aecli import codecs
from aecli.codecs.base import Codec
from aecli.config import (
    TrainedConfig,
)
from aecli.data import facts
from aecli.data.images import Images, ImageShape
from aecli.errors import DataError, UsageError
from aecli.experiments.possible import require_codecs
from aecli.experiments.wording import recipe_in_words
from aecli.measure.classifier import Classifier, trained_classifier
from aecli.runs.context import Context, load_images
from aecli.runs.folder import RunDir
from aecli.runs.run import Run
from aecli.runs.subject import settled
from aecli.training import device
from aecli.training.session import train_codec

Config = TypeVar("Config", bound=TrainedConfig)


@dataclass(frozen=True)
class Subject:
    """A trained codec, on the CPU, and the images it was trained on."""

    codec: Codec
    images: Images
    title: str
    """Dataset, codec and code size, for figures."""
    untrained: Codec
    """The same codec before training, with the seed of this experiment."""


def load_subject(
    config: TrainedConfig,
    context: Context,
    run_dir: RunDir,
    check: Callable[[Images], object] = lambda images: None,
) -> Subject:
    """The codec of `config.run`, or one trained now and saved in this run's model/.

    `check` sees the images before any training and may raise. The dataset and the settled config
    are noted in the run. Raises what `settled` raises, and UsageError for images of another size.
    """
    config = settled(config, context.runs_dir)
    if config.run is not None:
        context.terminal.say(f"looking into the run {Path(config.run).name}")
    where = device.prepare(config)
    noted = device.facts(where, config.train)
    context.terminal.warn(run_dir.note(**noted))
    context.tell_machine(run_dir.path, noted)
    run = None if config.run is None else Run(Path(config.run))
    if run is not None:
        require_shape(run, facts.image_shape(config.data), config.data.dataset)
    images, config = load_images(config, context, run_dir, model=run)
    check(images)
    title = f"{images.title}, {config.codec.name}, code {config.codec.code_dim}"
    untrained = codecs.build(config.codec, images.shape)
    if run is None:
        torch.manual_seed(config.seed)
        codec = codecs.build(config.codec, images.shape).to(where)
        train_codec(codec, images, config, context, run_dir)
        run_dir.save_model(codec, config, images.scale)
        return Subject(codec.cpu().eval(), images, title, untrained)
    run_dir.note(subject=config.run)
    context.terminal.warn(other_images(run, images))
    return Subject(run.codec, images, title, untrained)


def plain_ancestor(config: TrainedConfig, context: Context) -> Codec | None:
    """The plain codec that the variational one of a run was converted from; None for any other
    codec, and, with a warning, where the ancestor's run cannot be read any more."""
    if config.run is None or not config.codec.is_variational:
        return None
    begun_from = Run(Path(config.run)).config.train.init_from
    if begun_from is None:
        return None
    try:
        codec = Run(Path(begun_from)).codec
    except DataError as error:
        context.terminal.warn([f"nothing is shown from before the conversion: {error}"])
        return None
    return None if codec.settings.is_variational else codec


def other_images(run: Run, images: Images) -> list[str]:
    """A warning if the images of a path are not those that a run learned from; none if they are."""
    learned_from = (run.record.get("dataset") or {}).get("sha256")
    if images.opened is None or learned_from == images.sha256:
        return []
    return [f"the images in {images.source} are not those that {run.path.name} learned from"]


def require_shape(run: Run, shape: ImageShape, dataset: str) -> None:
    """Raises UsageError if the model of a run decodes images of another shape than a dataset's."""
    decoded = run.codec.image_shape
    if decoded != shape:
        raise UsageError(
            f"the run {run.path.name} decodes {_by(decoded)} images, {dataset} has {_by(shape)}"
        )


def noted_classifier(images: Images, context: Context, run_dir: RunDir) -> Classifier | None:
    """The classifier of `images`, out of the user's cache or trained now; run.json says which.
    None where labels tell nothing apart."""
    if not images.labelled:
        return None
    cache = context.places.cache_dir.parent / "classifiers"
    found = trained_classifier(images, cache, context.terminal)
    run_dir.note(classifier=found.provenance())
    return found


def require_trainable(config: TrainedConfig) -> None:
    """Raises UsageError if the codec to train cannot be built, or a run's does not fit the images
    of a path; no run folder is needed."""
    if config.run is None:
        shape = facts.image_shape(config.data)
        require_codecs([config.codec], shape, config.data.limit_train)
    elif config.data.is_own:
        run = Run(Path(config.run))
        require_shape(run, facts.image_shape(config.data), config.data.dataset)


def training_in_words(config: TrainedConfig, images: Images) -> str:
    """Words on how the codec that is looked into was made."""
    if config.codec.solved:
        how = config.codec.how_solved
    else:
        how = recipe_in_words(config.train, None if config.run else device.prepare(config))
    return f"{how}, on {len(images.train):,} images" + (
        f" ({Path(config.run).name})" if config.run else f", seed {config.seed}"
    )


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
