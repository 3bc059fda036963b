"""The run that an experiment looks into: its codec, training and data, taken over."""

from pathlib import Path
from typing import TypeVar

from aecli.config import (
    NetworkConfig,
    TrainedConfig,
    flat_settings,
    idle_settings,
    is_given,
    undecided,
    with_values,
)
from aecli.errors import UsageError
from aecli.runs.registry import find_run

Config = TypeVar("Config", bound=TrainedConfig)


def settled(config: Config, runs_dir: Path) -> Config:
    """`config` with the codec, training and data of its run, so that it says what is looked into.

    `latest` becomes a path, so that the same config repeats the same run later. A config without a
    run comes back as it is. Raises DataError for a run without a model or a config, UsageError
    where `config` asks for another codec, training or dataset than the run's.
    """
    if config.run is None:
        return config
    run = find_run(config.run, runs_dir)
    trained = run.config
    _require_same(config, trained, run.path)
    where = with_values(trained, {"data.dir": config.data.dir}).data
    update = {"run": str(run.path.resolve()), "codec": trained.codec, "train": trained.train}
    return with_values(config, {**update, "data": where})


def _require_same(asked: TrainedConfig, trained: NetworkConfig, path: Path) -> None:
    """Raises UsageError, a line for each setting that was given and that the run has not."""
    idle, there = idle_settings(trained), flat_settings(trained)
    left = undecided(asked) | undecided(trained) | {"data.dir"}
    mistakes = []
    for key, wanted in flat_settings(asked).items():
        section = key.partition(".")[0]
        if section not in ("codec", "train", "data") or key in left or not is_given(asked, key):
            continue
        if key not in there:
            was = f"has a {trained.codec.name}, which has no such setting"
        elif key in idle:
            was = f"was made without it: {idle[key].reason}"
        else:
            was = f"was trained {_with(there[key])}"
        if key not in there or key in idle or wanted != there[key]:
            mistakes.append(f"{key}={wanted}: --run {path.name} {was}; with a run, leave it out")
    if mistakes:
        raise UsageError("\n".join(mistakes))


def _with(value: object) -> str:
    """Words on a setting by its value, None where it was left open."""
    return "without it" if value is None else f"with {value}"
