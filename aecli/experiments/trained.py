"""The one trained codec that interpolate and sample look into: of a run, or trained on the spot."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from aecli import codecs, data, device
from aecli.codecs import Codec
from aecli.config import EXPERIMENTS, NetworkConfig, TrainedConfig, resolve, yaml_layer
from aecli.data import Images
from aecli.errors import DataError, UsageError
from aecli.experiments.context import Context
from aecli.experiments.train import train_codec
from aecli.rundir import RunDir


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


def load_subject(config: TrainedConfig, context: Context, run_dir: RunDir) -> Subject:
    """The codec of `config.run`, or one trained now and saved in this run's model/.

    Raises DataError for a run without a model, UsageError for one of other images.
    """
    if config.run is None:
        return _train_now(config, context, run_dir)
    path = find_run(config.run, context.runs_dir)
    layer = yaml_layer(path / "config.yaml")
    model = EXPERIMENTS.get(layer.values.get("experiment", ""))
    if model is None or not issubclass(model, NetworkConfig):
        raise DataError(f"--run {config.run}: its config.yaml names no experiment with a codec")
    trained = resolve(model, [layer])
    run_dir.note(subject=str(path))
    if config.data.dataset not in ("auto", trained.data.dataset):
        raise UsageError(
            f"--run {path.name} was trained on {trained.data.dataset},"
            f" not on dataset={config.data.dataset}"
        )
    images = data.load(trained.data, context.places, context.terminal.say)
    codec = codecs.load(path / "model")
    if codec.image_shape != images.shape:
        raise UsageError(
            f"--run {path.name} decodes {_by(codec.image_shape)} images,"
            f" {images.name} has {_by(images.shape)}"
        )
    torch.manual_seed(config.seed)
    untrained = codecs.build(trained.codec, images.shape)
    return Subject(codec, images, _title(images, trained.codec), untrained)


def _train_now(config: TrainedConfig, context: Context, run_dir: RunDir) -> Subject:
    where = device.prepare(config)
    images = data.load(config.data, context.places, context.terminal.say)
    untrained = codecs.build(config.codec, images.shape)
    torch.manual_seed(config.seed)
    codec = codecs.build(config.codec, images.shape).to(where)
    train_codec(codec, images, config, context, run_dir)
    run_dir.save_model(codec, config)
    return Subject(codec.cpu().eval(), images, _title(images, config.codec), untrained)


def _title(images: Images, codec: Any) -> str:
    return f"{images.name}, {codec.name}, code {codec.code_dim}"


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _record(run: Path) -> dict[str, Any]:
    try:
        record = json.loads((run / "run.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
