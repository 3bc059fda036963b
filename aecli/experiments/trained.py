"""The one trained codec that interpolate and sample look into: of a run, or trained on the spot."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

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
from aecli.data import Images, Split
from aecli.errors import DataError, UsageError
from aecli.experiments.context import Context
from aecli.experiments.possible import require_codecs
from aecli.experiments.train import train_codec
from aecli.experiments.wording import recipe_in_words
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


def find_run(named: str, runs_dir: Path) -> Path:
    """The run folder that `--run` names: a path, or `latest`, the newest finished run with a model.

    Raises DataError if it is not there or has no model.
    """
    if named != "latest":
        path = Path(named)
        if not (path / "model" / "config.json").is_file():
            what = "a run folder without a model" if path.is_dir() else "no such run folder"
            raise DataError(f"--run {named}: {what}")
        return path
    runs = (
        p.parent.parent
        for p in runs_dir.glob("*/model/config.json")
        if not p.parent.parent.is_symlink()
    )
    for path in sorted(
        runs, key=lambda run: (_record(run).get("started", ""), run.name), reverse=True
    ):
        if _record(path).get("status") == "completed":
            return path
    raise DataError(f"--run latest: no finished run in {runs_dir} has a model")


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
    where = device.prepare(config)
    context.terminal.warn(run_dir.note(**device.facts(where, config.train.precision)))
    images = data.load(config.data, context.places, context.terminal.say)
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


def with_held_out(images: Images) -> Images:
    """The same images with the first half of the test set as validation split.

    For codecs that all training images train, as in the chapter: holes are calibrated on this half,
    and paths and samples measured on the other.
    """
    half = len(images.test) // 2
    first, second = (
        Split(images.test.images[part], images.test.labels[part])
        for part in (slice(half), slice(half, None))
    )
    return replace(images, val=first, test=second)


def require_trainable(config: TrainedConfig) -> None:
    """Raises UsageError if the codec to train on the spot cannot be; before a run folder is made."""
    if config.run is None:
        shape = data.image_shape(config.data)
        require_codecs([config.codec], shape, config.data.limit_train)


def training_in_words(config: TrainedConfig, images: Images) -> str:
    """How the codec that is looked into came about."""
    if config.codec.name in ("pca", "dct"):
        how = "solved for"
    else:
        how = recipe_in_words(config.train, None if config.run else device.prepare(config))
    return f"{how}, on {len(images.train):,} images" + (
        f" ({Path(config.run).name})" if config.run else f", seed {config.seed}"
    )


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


def _record(run: Path) -> dict[str, Any]:
    try:
        record = json.loads((run / "run.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
