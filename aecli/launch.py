"""Carry one experiment from its flags to its exit: resolve, dry-run or run, print, check."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aecli import expect
from aecli.config import (
    EXPERIMENTS,
    ExperimentConfig,
    TrainedConfig,
    find_config,
    flag_layer,
    resolve,
    set_layer,
    to_yaml,
    yaml_layer,
)
from aecli.options import Options
from aecli.terminal import Terminal


def launch(
    experiment: str,
    options: Options,
    flags: Mapping[str, tuple[str, Any]],
    argv: list[str],
    continued: bool = False,
) -> None:
    """Run `experiment`; flags as `config.flag_layer` takes them. Raises every AecliError.

    continued: go on in the newest unfinished run of the same config, if there is one.
    """
    expectations = [expect.parse(text, experiment) for text in options.expectations or ()]
    config = _resolve(experiment, options, flags)
    terminal = Terminal(options.quiet, options.as_json)
    if options.dry_run:
        _dry_run(config, options.runs_dir, terminal)
        return

    from aecli.data import default_places
    from aecli.experiments.context import Context, Result

    data_dir = Path(config.data.dir) if config.data.dir else None
    places = default_places(data_dir, options.offline)
    module = importlib.import_module(f"aecli.experiments.{experiment.replace('-', '_')}")
    result: Result = module.run(
        config, Context(options.runs_dir, places, argv, terminal, continued)
    )
    if options.as_json:
        terminal.json({**result.metrics, "run": str(result.path)})
    else:
        terminal.table(result.title, result.summary, result.header)
        for note in result.notes:
            terminal.data(note)
        terminal.path(result.path)
    expect.check(expectations, result.metrics)


def _resolve(
    experiment: str, options: Options, flags: Mapping[str, tuple[str, Any]]
) -> ExperimentConfig:
    layers = [yaml_layer(find_config(options.config))] if options.config is not None else []
    layers.append(set_layer(options.assignments or ()))
    layers.append(
        flag_layer(
            {
                "--seed": ("seed", options.seed),
                "--device": ("device", options.device),
                "--threads": ("threads", options.threads),
                "--precision": ("train.precision", options.precision),
                "--dataset": ("data.dataset", options.dataset),
                "--data-dir": ("data.dir", options.data_dir),
                **flags,
            }
        )
    )
    return resolve(EXPERIMENTS[experiment], layers)


def _dry_run(config: Any, runs_dir: Path, terminal: Terminal) -> None:
    """Print the resolved config and the parameter count; nothing is written, no memory is taken."""
    import torch

    from aecli import codecs, data

    if isinstance(config, TrainedConfig):
        from aecli.experiments.trained import settled

        config = settled(config, runs_dir)
    with torch.device("meta"):
        codec = codecs.build(config.codec, data.image_shape(config.data))
    parameters = codec.count_parameters()
    if terminal.as_json:
        terminal.json({"config": config.model_dump(mode="json"), "parameters": parameters})
    else:
        terminal.data(f"{to_yaml(config)}# parameters: {parameters}")
