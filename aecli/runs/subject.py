"""The run that an experiment looks into: its codec, training and data, taken over."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from aecli.config import (
    EvaluateConfig,
    FitConfig,
    NetworkConfig,
    ToVaeConfig,
    TrainedConfig,
    flat_settings,
    idle_settings,
    is_given,
    undecided,
    with_values,
)
from aecli.errors import UsageError
from aecli.fields import NetworkSection
from aecli.runs.registry import find_run

Config = TypeVar("Config", bound=TrainedConfig)
Network = TypeVar("Network", bound=NetworkConfig)


def settled(config: Config, runs_dir: Path) -> Config:
    """`config` with the codec, training and data of its run, so that it says what is looked into.

    `latest` becomes a path, so that the same config repeats the same run later. A config without a
    run comes back as it is. Of `evaluate` the data stay another dataset's where one is asked for.
    Raises DataError for a run without a model or a config, UsageError where `config` asks for
    another codec, training or dataset than the run's.
    """
    if config.run is None:
        return config
    run = find_run(config.run, runs_dir, _by(config))
    trained = run.config
    elsewhere = _asks_for_other_images(config, trained)
    _require_same(config, trained, run.path, ("codec", "train", *(() if elsewhere else ("data",))))
    where = config.data
    if not elsewhere:
        where = with_values(trained, {"data.dir": config.data.dir}).data
    update = {"run": str(run.path.resolve()), "codec": trained.codec}
    update["train"] = with_values(trained.train, {"init_from": None})  # nothing begins from it here
    return with_values(config, {**update, "data": where})


def converted(config: ToVaeConfig, runs_dir: Path) -> ToVaeConfig:
    """`config` with the data of its run and that run's codec, variational; training starts from
    its weights. Beside a linear path it is trained by Adam, unless an optimiser was given.

    Raises DataError for a run without a model or a config, UsageError for one whose codec is not a
    plain network, and where `config` asks for another codec or dataset.
    """
    assert config.run is not None
    run = find_run(config.run, runs_dir, "to-vae")
    trained = run.config
    codec = trained.codec
    if not isinstance(codec, NetworkSection):
        raise UsageError(
            f"to-vae {run.path.name}: its codec {codec.name} is solved for, not trained"
        )
    if codec.variational:
        raise UsageError(f"to-vae {run.path.name}: its codec is variational already")
    where = with_values(trained, {"data.dir": config.data.dir}).data
    path = str(run.path.resolve())
    wanted = codec.model_copy(update={"variational": True})
    values = {"run": path, "codec": wanted, "data": where, "train.init_from": path}
    settled = with_values(config, values)
    if codec.begins_with and not is_given(config, "train.optimizer"):
        gentle = FitConfig(recipe="gentle").optimizer
        settled = with_values(settled, {"train.recipe": "gentle", "train.optimizer": gentle})
    ours = flat_settings(settled)
    mistakes = [
        f"{key}={value}: the run {run.path.name} has {ours.get(key)}; leave it out"
        for key, value in flat_settings(config).items()
        if key.partition(".")[0] in ("codec", "data") and is_given(config, key)
        if key != "data.dir" and value != ours.get(key)
    ]
    if mistakes:
        raise UsageError("\n".join(mistakes))
    return settled


def with_ancestor(config: Network, runs_dir: Path) -> Network:
    """`config` with the run that `train.init_from` names as a path, so that the same config means
    the same run later. Raises DataError for a run without a model or a config."""
    if config.train.init_from is None:
        return config
    run = find_run(config.train.init_from, runs_dir, "train.init_from")
    return with_values(config, {"train.init_from": str(run.path.resolve())})


def _by(config: TrainedConfig) -> str:
    """The flag or the command that names a run, for errors."""
    return "evaluate" if isinstance(config, EvaluateConfig) else "--run"


def _asks_for_other_images(asked: TrainedConfig, trained: NetworkConfig) -> bool:
    """True if a run's codec is to be evaluated on another dataset than it learned from."""
    dataset = asked.data.dataset
    return (
        isinstance(asked, EvaluateConfig)
        and is_given(asked, "data.dataset")
        and dataset not in ("auto", trained.data.dataset)
    )


def _require_same(
    asked: TrainedConfig, trained: NetworkConfig, path: Path, sections: Sequence[str]
) -> None:
    """Raises UsageError, a line for each setting of `sections` that was given and that the run has
    not."""
    idle, there = idle_settings(trained), flat_settings(trained)
    left = undecided(asked) | undecided(trained) | {"data.dir", "train.init_from"}
    mistakes = []
    for key, wanted in flat_settings(asked).items():
        section = key.partition(".")[0]
        if section not in sections or key in left or not is_given(asked, key):
            continue
        if key not in there:
            was = f"has a {trained.codec.name}, which has no such setting"
        elif key in idle:
            was = f"was made without it: {idle[key].reason}"
        else:
            was = f"was trained {_with(there[key])}"
        if key not in there or key in idle or wanted != there[key]:
            mistakes.append(
                f"{key}={wanted}: {_by(asked)} {path.name} {was}; with a run, leave it out"
            )
    if mistakes:
        raise UsageError("\n".join(mistakes))


def _with(value: object) -> str:
    """Words on a setting by its value, None where it was left open."""
    return "without it" if value is None else f"with {value}"
