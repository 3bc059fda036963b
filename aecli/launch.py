"""Carry one experiment from its flags to its exit: resolve, dry-run or run, print, check."""

import importlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aecli import expect, preflight, provenance
from aecli.config import (
    EXPERIMENTS,
    ManyConfig,
    NetworkConfig,
    TrainedConfig,
    find_config,
    flag_layer,
    resolve,
    set_layer,
    to_yaml,
    yaml_layer,
)
from aecli.errors import JobsFailedError, UsageError
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
    jobs: int | None = None
    """Trainings side by side, of a run that is resumed; None: as it was told before."""


def launch(
    experiment: str,
    options: Options,
    flags: Mapping[str, tuple[str, Any]],
    argv: list[str],
    many: Many = Many(),
) -> None:
    """Run `experiment`; flags as `config.flag_layer` takes them. Raises every AecliError."""
    config = _resolve(experiment, options, flags)
    terminal = Terminal(options.quiet, options.as_json)
    config, warnings = preflight.check(config, None if options.dry_run else options.runs_dir)
    terminal.warn(warnings)
    if options.dry_run:
        _dry_run(config, options.runs_dir, terminal)
        return
    resumed = _unfinished(config, options.runs_dir, terminal) if many.continued else None
    _carry_out(config, options, argv, many, resumed)


def resume(run: str, options: Options, argv: list[str], many: Many) -> None:
    """Go on in a run folder, to the end that it would have had. Raises every AecliError."""
    from aecli.registry import find_unfinished
    from aecli.rundir import read_record, recorded_config, tidy

    terminal = Terminal(options.quiet, options.as_json)
    path = find_unfinished(run, options.runs_dir)
    if run == "latest":
        terminal.say(f"latest unfinished run: {path.name}")
    config = recorded_config(path)
    assert isinstance(config, NetworkConfig)
    record = read_record(path)
    if record["status"] == "completed":
        tidy(path)
        terminal.say("this run is completed; there is nothing to go on with")
        terminal.path(path)
        return
    config = _with_flags(config, options, many)
    config, warnings = preflight.check(config, path.parent)
    terminal.warn([*warnings, *provenance.changes_since(record)])
    _carry_out(config, replace(options, runs_dir=path.parent), argv, many, path)


def _with_flags(config: NetworkConfig, options: Options, many: Many) -> NetworkConfig:
    """The config of a run that is gone on with, with what may be another now. Raises UsageError."""
    flags = {
        "--jobs": ("jobs", many.jobs),
        "--device": ("device", options.device),
        "--data-dir": ("data.dir", options.data_dir),
    }
    if many.jobs is not None and not isinstance(config, ManyConfig):
        raise UsageError(f"--jobs: a run of `aecli {config.experiment}` trains one codec")
    told = resolve(type(config), [flag_layer(flags)])
    update: dict[str, Any] = {}
    if options.data_dir is not None:
        update["data"] = config.data.model_copy(update={"dir": told.data.dir})
    if options.device is not None:
        update["device"] = told.device
    if isinstance(told, ManyConfig) and many.jobs is not None:
        update["jobs"] = told.jobs
    return config.model_copy(update=update)


def _unfinished(config: NetworkConfig, runs_dir: Path, terminal: Terminal) -> Path | None:
    """The run to go on with under --continue, or None; says which, or why there is none."""
    from aecli.registry import unfinished_run
    from aecli.rundir import read_record

    found = unfinished_run(runs_dir, config)
    if found.path is not None:
        terminal.say(f"--continue: going on in {found.path.name}")
        terminal.warn(provenance.changes_since(read_record(found.path)))
    elif found.nearest is None:
        terminal.say(f"--continue: no unfinished {config.experiment} in {runs_dir}; a new run")
    else:
        terminal.say(
            f"WARNING: --continue: no unfinished run of this config in {runs_dir}; a new run."
            f" The nearest, {found.nearest}, differs in {', '.join(found.differences)}"
        )
    return found.path


def _carry_out(
    config: NetworkConfig, options: Options, argv: list[str], many: Many, resumed: Path | None
) -> None:
    """Run the experiment, print what it found, and check what was expected of it."""
    expectations = [expect.parse(text, config.experiment) for text in options.expectations or ()]
    if config.device == "mps":  # read by torch as it is imported: what MPS lacks runs on the CPU
        os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")

    from aecli.data import default_places
    from aecli.experiments.context import Context, Result

    terminal = Terminal(options.quiet, options.as_json)
    data_dir = Path(config.data.dir) if config.data.dir else None
    places = default_places(data_dir, options.offline)
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
