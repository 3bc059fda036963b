"""The one trained codec that interpolate and sample look into: of a run, or trained on the spot."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

from aecli import codecs, data, device
from aecli.codecs import Codec
from aecli.config import (
    EXPERIMENTS,
    NetworkConfig,
    Section,
    TrainedConfig,
    resolve,
    yaml_layer,
)
from aecli.data import Images
from aecli.errors import DataError, UsageError
from aecli.experiments.context import Context
from aecli.experiments.train import train_codec
from aecli.registry import find_run
from aecli.rundir import RunDir

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


def settled(config: Config, runs_dir: Path) -> Config:
    """`config` with the codec, training and data of its run, so that it says what is looked into.

    `latest` becomes a path, so that the same config repeats the same run later. A config without a
    run comes back as it is. Raises DataError for a run without a model or a config, UsageError
    where `config` asks for another codec, training or dataset than the run's.
    """
    if config.run is None:
        return config
    path = find_run(config.run, runs_dir)
    trained = _config_of(path, config.run)
    for section in ("codec", "train", "data"):
        if section in config.model_fields_set:
            default = type(config).model_fields[section].default
            _require_same(
                section, getattr(config, section), getattr(trained, section), default, path
            )
    where = trained.data.model_copy(update={"dir": config.data.dir})
    update = {"run": str(path.resolve()), "codec": trained.codec, "train": trained.train}
    return config.model_copy(update={**update, "data": where})


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
    facts = device.facts(where, config.train.precision)
    context.terminal.warn(run_dir.note(**facts))
    context.tell_machine(run_dir.path, facts)
    images = data.load(config.data, context.places, context.terminal.say)
    context.tell_data(images)
    run_dir.note(dataset=images.provenance())
    found = config.data.model_copy(update={"dataset": images.name})
    run_dir.write_config(config.model_copy(update={"data": found}))
    check(images)
    title = f"{images.name}, {config.codec.name}, code {config.codec.code_dim}"
    untrained = codecs.build(config.codec, images.shape)
    if config.run is None:
        torch.manual_seed(config.seed)
        codec = codecs.build(config.codec, images.shape).to(where)
        train_codec(codec, images, config, context, run_dir)
        run_dir.save_model(codec, config)
        return Subject(codec.cpu().eval(), images, title, untrained)
    run_dir.note(subject=config.run)
    codec = codecs.load(Path(config.run) / "model")
    if codec.image_shape != images.shape:
        raise UsageError(
            f"--run {Path(config.run).name} decodes {_by(codec.image_shape)} images,"
            f" {images.name} has {_by(images.shape)}"
        )
    return Subject(codec, images, title, untrained)


def _config_of(path: Path, named: str) -> NetworkConfig:
    try:
        layer = yaml_layer(path / "config.yaml")
        model = EXPERIMENTS.get(str(layer.values.get("experiment")))
        if model is None or not issubclass(model, NetworkConfig):
            raise DataError(f"--run {named}: its config.yaml names no experiment with a codec")
        return resolve(model, [layer])
    except UsageError as error:  # the run is damaged; nothing the user typed is wrong
        raise DataError(f"--run {named}: its config cannot be read: {error}") from None


def _require_same(
    section: str, asked: Section, trained: Section, default: Section, path: Path
) -> None:
    """Raises UsageError if something was asked for, beyond defaults, that the run has not."""
    for key in asked.model_fields_set - {"dir"}:
        wanted, there = getattr(asked, key), getattr(trained, key, None)
        if wanted not in (there, getattr(default, key, None)):
            raise UsageError(
                f"{section}.{key}={wanted}: --run {path.name} was trained with {there};"
                f" with a run, leave it out"
            )


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
