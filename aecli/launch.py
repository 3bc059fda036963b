"""Carry one experiment from its flags to its exit: resolve, dry-run or run, print, check."""

import importlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aecli import expect, preflight
from aecli.config import (
    EXPERIMENTS,
    NetworkConfig,
    TrainedConfig,
    find_config,
    flag_layer,
    resolve,
    set_layer,
    to_yaml,
    yaml_layer,
)
from aecli.errors import DataError, JobsFailedError, UsageError
from aecli.options import Options
from aecli.terminal import Terminal


@dataclass(frozen=True)
class Many:
    """How a run of many trainings is gone about."""

    continued: bool = False
    """Go on in the newest unfinished run of the same config, if there is one."""
    fail_fast: bool = False
    job_timeout: float | None = None
    """Seconds."""


def launch(
    experiment: str,
    options: Options,
    flags: Mapping[str, tuple[str, Any]],
    argv: list[str],
    many: Many = Many(),
) -> None:
    """Run `experiment`; flags as `config.flag_layer` takes them. Raises every AecliError."""
    config = _resolve(experiment, options, flags)
    if options.dry_run:
        preflight.check(config, None)
        _dry_run(config, options.runs_dir, Terminal(options.quiet, options.as_json))
        return
    preflight.check(config, options.runs_dir)
    resumed = None
    if many.continued:
        from aecli.rundir import unfinished_run

        resumed = unfinished_run(options.runs_dir, config)
    _carry_out(config, options, argv, many, resumed)


def resume(run: str, options: Options, argv: list[str], many: Many) -> None:
    """Go on in a run folder, to the end that it would have had. Raises every AecliError."""
    from aecli.rundir import read_record, recorded_config, tidy

    path = Path(run)
    if not path.is_dir():
        raise DataError(f"{run}: no such run folder")
    path = path.resolve()
    config = recorded_config(path)
    assert isinstance(config, NetworkConfig)
    terminal = Terminal(options.quiet, options.as_json)
    if read_record(path).get("status") == "completed":
        tidy(path)
        terminal.say("this run is completed; there is nothing to go on with")
        terminal.path(path)
        return
    if options.data_dir is not None:
        where = config.data.model_copy(update={"dir": options.data_dir})
        config = config.model_copy(update={"data": where})
    preflight.check(config, path.parent)
    _carry_out(config, replace(options, runs_dir=path.parent), argv, many, path)


def _carry_out(
    config: NetworkConfig, options: Options, argv: list[str], many: Many, resumed: Path | None
) -> None:
    """Run the experiment, print what it found, and check what was expected of it."""
    expectations = [expect.parse(text, config.experiment) for text in options.expectations or ()]
    if config.device == "mps":  # read by torch as it is imported: what MPS lacks runs on the CPU
        os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")

    from aecli import data
    from aecli.experiments.context import Context, Result

    terminal = Terminal(options.quiet, options.as_json)
    places = data.default_places(config.data.dir, options.offline)
    data.check(config, places)
    module = importlib.import_module(f"aecli.experiments.{config.experiment.replace('-', '_')}")
    context = Context(
        options.runs_dir, places, argv, terminal, resumed, many.fail_fast, many.job_timeout
    )
    result: Result = module.run(config, context)
    if options.as_json:
        terminal.json({**result.metrics, "run": str(result.path)})
    else:
        terminal.table(result.title, result.summary, result.header)
        for note in result.notes:
            terminal.data(note)
        terminal.path(result.path)
    if result.failures:
        from aecli.experiments.jobs import failure_text

        raise JobsFailedError(failure_text(result.failures))
    expect.check(expectations, result.metrics)


def _resolve(
    experiment: str, options: Options, flags: Mapping[str, tuple[str, Any]]
) -> NetworkConfig:
    layers = [yaml_layer(find_config(options.config))] if options.config is not None else []
    for named in (str(layer.values.get("experiment", experiment)) for layer in layers):
        if named != experiment and named in EXPERIMENTS:
            raise UsageError(
                f"--config {options.config} is a config of `aecli {named}`, not of {experiment}"
            )
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
    config = resolve(EXPERIMENTS[experiment], layers)
    assert isinstance(config, NetworkConfig)
    return config


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
