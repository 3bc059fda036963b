"""The run that an experiment looks into: its codec, training and data, taken over."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from aecli.config import (
    EXPERIMENTS,
    DataConfig,
    EvaluateConfig,
    FitConfig,
    Layer,
    NetworkConfig,
    ToVaeConfig,
    TrainedConfig,
    flag_layer,
    flat_settings,
    idle_settings,
    is_given,
    one_layer,
    resolve,
    set_layer,
    undecided,
    with_values,
)
from aecli.data.known import DATASETS
from aecli.data.own.listing import ARRAYS
from aecli.data.sources import Places, default_places
from aecli.errors import DataError, UsageError
from aecli.fields import NetworkSection
from aecli.pathnames import user_path
from aecli.runs.registry import find_run
from aecli.runs.run import Run

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
    if elsewhere:
        where = _read_alike(config, trained.data)
    else:
        where = with_values(trained, {"data.dir": config.data.dir}).data
    update = {"run": str(run.path.resolve()), "codec": trained.codec}
    # Nothing begins from it here, and what is trained beside it has no layers to leave as they are.
    update["train"] = with_values(trained.train, {"init_from": None, "layers": "all"})
    return with_values(config, {**update, "data": where})


def converted(config: ToVaeConfig, runs_dir: Path) -> ToVaeConfig:
    """`config` with the data of its run and that run's codec, variational; training starts from
    its weights, in batches of the run's size unless one is given. Beside a linear path the recipe
    is `gentle`, unless recipe or optimiser is given.

    Raises DataError for a run without a model or a config, UsageError for none, for one whose codec
    is not a plain network, and where `config` asks for other things than the run has.
    """
    if config.run is None:
        raise UsageError("to-vae needs a run: aecli to-vae RUN")
    run = find_run(config.run, runs_dir, "to-vae", _has_plain_network)
    trained = run.config
    codec = trained.codec
    if not isinstance(codec, NetworkSection):
        raise UsageError(f"to-vae {run.path.name}: its codec is solved for, not trained")
    if codec.variational:
        raise UsageError(f"to-vae {run.path.name}: its codec is variational already")
    if not codec.convertible:
        raise UsageError(
            f"to-vae {run.path.name}: a codec {codec.name!r} cannot become variational; 'kl', whose"
            " code is a grid too, is so from the first step: aecli train --codec kl"
        )
    path = str(run.path.resolve())
    settled = with_values(
        config,
        {
            "run": path,
            "codec": codec.model_copy(update={"variational": True}),
            "data": with_values(trained, {"data.dir": config.data.dir}).data,
            "train.init_from": path,
        },
    )
    named = is_given(config, "train.recipe") or is_given(config, "train.optimizer")
    if codec.begins_with and not named:
        gentle = {"train.recipe": "gentle", "train.optimizer": FitConfig(recipe="gentle").optimizer}
        settled = with_values(settled, gentle)
    if not is_given(config, "train.batch_size"):
        settled = with_values(settled, {"train.batch_size": trained.train.batch_size})
    there = flat_settings(settled)
    mistakes = [
        f"{key}={value}: the run {run.path.name} has {there.get(key)}; leave it out"
        for key, value in flat_settings(config).items()
        if key.startswith(("codec.", "data.", "train.init_from")) and is_given(config, key)
        if key != "data.dir" and value != there.get(key)
    ]
    if mistakes:
        raise UsageError("\n".join(mistakes))
    return settled


def _has_plain_network(run: Run) -> bool:
    """True for a run whose codec is a network that is not variational and can become so."""
    try:
        codec = run.config.codec
    except DataError:
        return False
    return isinstance(codec, NetworkSection) and not codec.variational and codec.convertible


def with_ancestor(config: Network, runs_dir: Path) -> Network:
    """`config` with the run that `train.init_from` names as a path, so that the same config means
    the same run later. Raises DataError for a run without a model or a config."""
    if config.train.init_from is None:
        return config
    run = find_run(config.train.init_from, runs_dir, "train.init_from")
    return with_values(config, {"train.init_from": str(run.path.resolve())})


def places_of_own(run: Run, places: Places) -> Places:
    """Places where the data that a run learned from are looked for: the folder that it had, if that
    is still there, or else the default ones. `places`, which are another dataset's, say only if
    downloads are allowed and how they are shown."""
    own = run.config.data.dir
    found = replace(default_places(None, places.offline), working=places.working)
    if own is None or run.config.data.is_own or not user_path(own).is_dir():
        return found
    return replace(found, data_dir=user_path(own), said_by="data.dir of the run")


_READING = sorted({"binarise", *DataConfig.OF_OWN} - {"test", "gap"})  # those two are of the split


def data_of(
    run: Run,
    data: str,
    assignments: Sequence[str] = (),
    data_dir: str | None = None,
    recorded: Mapping[str, Any] | None = None,
) -> DataConfig:
    """The config of images for the model of a run, which are read as the run read its own, a known
    dataset's as a known one's and a path's as a path's.

    data: name or path, as typed. assignments: those of --set, which count first. recorded: settings
    that count in place of the run's. Raises UsageError, DataError.
    """
    config = _resolved(run, data, assignments, data_dir, recorded)
    if not config.is_own:
        return config
    update: dict[str, Any] = {"test": None, "val": None, "limit_train": None}
    if config.channels is None and not config.bands:
        update["channels"] = run.codec.image_shape[0]
    if Path(config.dataset).suffix.lower() in ARRAYS:
        update["size"] = None  # the images of an array are used as they are
    return config.model_copy(update=update)


def _resolved(
    run: Run,
    data: str,
    assignments: Sequence[str],
    data_dir: str | None,
    recorded: Mapping[str, Any] | None,
) -> DataConfig:
    # Beside DATA in a layer above, settings for the other kind of dataset are passed over.
    base = reading_settings(run.config.data) if recorded is None else dict(recorded)
    known = data == "auto" or data in DATASETS
    if not known and "/" not in data and os.path.lexists(data):
        data = f"./{data}"
    flags = {"DATA": ("data.dataset", data), "--data-dir": ("data.dir", data_dir)}
    layers = [Layer({"data": base}, {}), one_layer([set_layer(assignments), flag_layer(flags)])]
    config = resolve(EXPERIMENTS["train"], layers)
    others = sorted(config.model_fields_set - {"data"})
    if others:
        raise UsageError(f"--set {others[0]}: only data.* settings say how images are read")
    for key in ("test", "gap", "val", "limit_train"):
        if is_given(config, f"data.{key}"):
            raise UsageError(f"--set data.{key}: nothing is held out here; leave it out")
    return config.data


def reading_settings(config: DataConfig) -> dict[str, Any]:
    """The settings by which images are read, but for the defaults."""
    values, defaults = config.model_dump(mode="json"), DataConfig().model_dump(mode="json")
    return {key: values[key] for key in _READING if values[key] != defaults[key]}


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


def _read_alike(config: TrainedConfig, trained_on: DataConfig) -> DataConfig:
    """The data of `config`, read as a run read its own where nothing else is given. Raises
    UsageError."""
    given = {
        key: value
        for key, value in config.data.model_dump(mode="json").items()
        if is_given(config, f"data.{key}")
    }
    layers = [Layer({"data": reading_settings(trained_on)}, {}), Layer({"data": given}, {})]
    return resolve(EXPERIMENTS["train"], layers).data


def _require_same(
    asked: TrainedConfig, trained: NetworkConfig, path: Path, sections: Sequence[str]
) -> None:
    """Raises UsageError, a line for each setting of `sections` that was given and that the run has
    not."""
    idle, there = idle_settings(trained), flat_settings(trained)
    left = undecided(asked) | undecided(trained) | {"data.dir", "train.init_from", "train.layers"}
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
