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
    as_recorded,
    find_config,
    flag_layer,
    resolve,
    set_layer,
    settings_of,
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
    for text in options.expectations or ():
        expect.parse(text, experiment)  # before anything is done
    config = _resolve(experiment, options, flags)
    if options.dry_run:
        _dry_run(config, options, many)
        return
    preflight.check(config, options.runs_dir)
    config, resumed = _continued(config, options.runs_dir) if many.continued else (config, None)
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
    config = _decided(config, options.runs_dir)

    from aecli import data
    from aecli.experiments.context import Context, Result

    terminal = Terminal(options.quiet, options.as_json)
    places = data.default_places(config.data.dir, options.offline)
    data.check(config, places)
    context = Context(
        options.runs_dir, places, argv, terminal, resumed, many.fail_fast, many.job_timeout
    )
    result: Result = _experiment(config).run(config, context)
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


def _continued(config: NetworkConfig, runs_dir: Path) -> tuple[NetworkConfig, Path | None]:
    """The newest unfinished run that `config` may mean, and `config` as that run decided it.

    Raises UsageError if the config in that folder was changed.
    """
    from aecli.rundir import recorded_config, unfinished_run

    run = unfinished_run(runs_dir, config)
    if run is None:
        return config, None
    recorded = recorded_config(run)
    assert isinstance(recorded, NetworkConfig)
    return as_recorded(config, recorded), run


def _decided(config: NetworkConfig, runs_dir: Path) -> NetworkConfig:
    """`config` as it will run: the codec of its run, this machine's device, threads, precision.

    Raises DataError for a run without a model, UsageError for what is not to be had.
    """
    if config.device == "mps":  # read by torch as it is imported: what MPS lacks runs on the CPU
        os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")

    from aecli import device

    if isinstance(config, TrainedConfig):
        from aecli.experiments.trained import settled

        config = settled(config, runs_dir)
    return device.decided(config)


def _experiment(config: NetworkConfig) -> Any:
    """The module with `check` and `run` of an experiment."""
    return importlib.import_module(f"aecli.experiments.{config.experiment.replace('-', '_')}")


def _dry_run(config: NetworkConfig, options: Options, many: Many) -> None:
    """Check all that can be known of a run before it; print its config; write nothing."""
    from aecli.dryrun import foresee

    preflight.check(config, None)
    config, resumed = _continued(config, options.runs_dir) if many.continued else (config, None)
    config = _decided(config, options.runs_dir)
    terminal = Terminal(options.quiet, options.as_json)
    if resumed is not None:
        terminal.say(f"would go on in {resumed}")
    config, facts = foresee(config, options.runs_dir, options.offline, terminal)
    _experiment(config).check(config, facts["training_images"])
    if terminal.as_json:
        terminal.json({"config": settings_of(config), **facts})
    else:
        comments = "".join(f"# {name}: {fact}\n" for name, fact in facts.items())
        terminal.data(to_yaml(config) + comments.rstrip("\n"))
