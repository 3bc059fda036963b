"""Carry one experiment from its flags to its exit: resolve, dry-run or run, print, check."""

import contextlib
import gc
import importlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from aecli import processes
from aecli.cli import expect
from aecli.cli.expect import Expectation
from aecli.cli.options import Options
from aecli.cli.shipped import find_config
from aecli.codecs.grid_settings import GridConfig
from aecli.config import (
    EXPERIMENTS,
    AnomalySection,
    EvaluateConfig,
    FitConfig,
    ManyConfig,
    NetworkConfig,
    SweepDownsamplingConfig,
    ToVaeConfig,
    TrainedConfig,
    as_recorded,
    flag_layer,
    flat_settings,
    idle_settings,
    one_layer,
    resolve,
    set_layer,
    settings_of,
    to_yaml,
    with_quick_values,
    with_values,
    yaml_layer,
)
from aecli.errors import (
    AecliError,
    ExpectationError,
    Interrupted,
    JobsFailedError,
    UsageError,
    left_in,
    run_of,
)
from aecli.pathnames import user_path
from aecli.runs import logs, preflight, provenance
from aecli.terminal import Terminal


def launch(
    experiment: str,
    options: Options,
    flags: Mapping[str, tuple[str, Any]],
    argv: list[str],
) -> None:
    """Run `experiment`; flags as `config.flag_layer` takes them. Raises every AecliError."""
    place = processes.place()
    if place is not None and place.rank:
        if not options.dry_run:
            _follow(place, options)
        return
    expectations = expect.parse_all(options.expectations or (), experiment)
    logs.require(options.log)
    config = _resolve(experiment, options, flags)
    terminal = Terminal(options.quiet, options.as_json)
    if isinstance(config, ToVaeConfig):  # whose codec and data are those of its run
        from aecli.runs.subject import converted

        config = converted(config, options.runs_dir)
    config = _with_pretrained(_looked(config, terminal))
    expect.require_there(expectations, config)
    config, warnings = preflight.check(config, None if options.dry_run else options.runs_dir)
    terminal.warn(warnings)
    if options.dry_run:
        _dry_run(config, options, terminal)
        return
    if place is not None:
        processes.require_one_training(config.experiment, config.codec.solved, config.device)
        options = replace(options, continued=options.continued or place.restarts > 0)
    config, resumed = _continued(config, options, terminal)
    _carry_out(config, options, terminal, expectations, argv, resumed)


def _follow(place: processes.Place, options: Options) -> None:
    """Take part in the training that the first of torchrun's processes leads: it resolves what was
    asked for, tells what is wrong with it, and its end ends the others."""
    from aecli.training import follower

    follower.follow(place, options.offline)


def resume(run: str, options: Options, argv: list[str]) -> None:
    """Go on in a run folder, to the end that it would have had. Raises every AecliError.

    A completed run is not gone on with: its metrics are held against --expect, and printed under
    --json.
    """
    from aecli.runs.folder import tidy
    from aecli.runs.record import recorded_config
    from aecli.runs.registry import LATEST, find_unfinished

    logs.require(options.log)
    terminal = Terminal(options.quiet, options.as_json)
    place = processes.place()
    if place is not None and place.rank and run == LATEST:  # which the first process finds
        _follow(place, options)
        return
    found = find_unfinished(run, options.runs_dir)
    path = found.path
    if run == LATEST:
        terminal.say(f"latest unfinished run: {path.name}")
    config = recorded_config(path)
    assert isinstance(config, NetworkConfig)
    expectations = expect.parse_all(options.expectations or (), config.experiment)
    record = found.record
    is_done = record["status"] == "completed"
    if place is not None and not is_done:
        processes.require_one_training(config.experiment, config.codec.solved, config.device)
    if place is not None and place.rank:
        if not is_done:
            _follow(place, options)
        return
    if not is_done:
        _looked(config, terminal)
    if not (is_done and config.data.is_own):  # whose images may be gone
        expect.require_there(expectations, config)
    if is_done:
        tidy(path)
        terminal.say("this run is completed; there is nothing to go on with")
        metrics = found.metrics
        error = _missed(expectations, metrics, path)
        if terminal.as_json:
            terminal.json(_object(metrics, path, error))
        else:
            terminal.path(path)
        if error is not None:
            raise error
        return
    config = _with_flags(config, options)
    config, warnings = preflight.check(config, path.parent)
    terminal.warn([*warnings, *provenance.changes_since(record)])
    options = replace(options, runs_dir=path.parent)
    _carry_out(config, options, terminal, expectations, argv, path)


def _with_flags(config: NetworkConfig, options: Options) -> NetworkConfig:
    """The config of a run to go on with, with the settings that may change. Raises UsageError."""
    flags = {
        "--jobs": ("jobs", options.jobs),
        "--device": ("device", options.device),
        "--data-dir": ("data.dir", options.data_dir),
    }
    of_many = {
        "--jobs": options.jobs is not None,
        "--fail-fast": options.fail_fast,
        "--job-timeout": options.job_timeout is not None,
    }
    idle_flags = [flag for flag, given in of_many.items() if given]
    if idle_flags and not isinstance(config, ManyConfig):
        raise UsageError(f"{idle_flags[0]}: a run of `aecli {config.experiment}` trains one codec")
    settings = flat_settings(resolve(type(config), [flag_layer(flags)]))
    config = with_values(
        config, {key: settings[key] for key, given in flags.values() if given is not None}
    )
    if options.device is not None and (idle := idle_settings(config).get("device")):
        raise UsageError(f"--device: device={options.device!r} has no effect: {idle.reason}")
    return config


def _unfinished(config: NetworkConfig, runs_dir: Path, terminal: Terminal) -> Path | None:
    """The run to go on with under --continue, or None; says which, or why there is none."""
    from aecli.runs.record import read_record
    from aecli.runs.registry import unfinished_run

    found = unfinished_run(runs_dir, config)
    if found.path is not None:
        terminal.warn(provenance.changes_since(read_record(found.path)))
    elif found.nearest is None:
        terminal.say(f"--continue: no unfinished {config.experiment} in {runs_dir}; a new run")
    else:
        terminal.say(
            f"WARNING: --continue: no unfinished run of this config in {runs_dir}; a new run."
            f" The nearest, {found.nearest}, differs in {', '.join(found.differences)}"
        )
    return found.path


@contextlib.contextmanager
def _collecting_nothing() -> Iterator[None]:
    """Imports without Python's garbage collector, which would find nothing: 0.2 to 0.3 s less."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _carry_out(
    config: NetworkConfig,
    options: Options,
    terminal: Terminal,
    expectations: Sequence[Expectation],
    argv: list[str],
    resumed: Path | None,
) -> None:
    """Run the experiment, print what it found, and check what was expected of it."""
    terminal.say(_first_line(config, resumed))  # torch, imported below, takes a second or two
    try:
        config = _decided(config, options.runs_dir)
        _looked(config, terminal)  # the images of the run that is looked into, perhaps

        with _collecting_nothing():
            from aecli.data import datasets, sources
            from aecli.experiments.result import Result
            from aecli.runs.context import Context
            from aecli.training import workers

            experiment = _experiment(config)
        places = sources.default_places(config.data.dir, options.offline)
        places = replace(places, working=terminal.working)
        datasets.check(config, places)
        context = Context(
            options.runs_dir,
            places,
            argv,
            terminal,
            resumed,
            options.fail_fast,
            options.job_timeout,
            options.log,
        )
        with workers.kept():
            result: Result = experiment.run(config, context)
    except BaseException as error:
        if resumed is not None:  # whose folder is there, whatever is in the way of going on
            left_in(error, resumed)
        _print_failure(error, terminal)
        raise
    problem: AecliError | None = _missed(expectations, result.metrics, result.path)
    if result.failures:
        from aecli.training.jobs import failure_text

        missed = f"\n{problem}" if problem else ""
        problem = JobsFailedError(failure_text(result.failures) + missed)
        left_in(problem, result.path)
    try:
        if terminal.as_json:
            terminal.json(_object(result.metrics, result.path, problem))
        else:
            terminal.table(result.title, result.summary, result.header)
            for note in result.notes:
                terminal.sentence(note)
            terminal.path(result.path)
    except AecliError as error:
        left_in(error, result.path)
        raise
    if problem is not None:
        raise problem


def _looked(config: NetworkConfig, terminal: Terminal) -> NetworkConfig:
    """`config` with a batch size that suits the images of its path, which are looked at here, once
    and with progress, before anything needs their shape. Raises DataError, UsageError."""
    if not config.data.is_own:
        return config
    from aecli.data.facts import look, with_fitting_batch

    look(config.data, terminal.working)
    fitting = with_fitting_batch(config)
    if fitting != config:
        terminal.say(
            f"batch_size={fitting.train.batch_size} instead of {config.train.batch_size}: there are"
            " few images, and a batch size is not given"
        )
    return fitting


def _with_pretrained(config: NetworkConfig) -> NetworkConfig:
    """`config` with the layers and the code of the model that its codec is taken from. Raises
    DataError, UsageError."""
    codec = config.codec
    refuses = isinstance(config, SweepDownsamplingConfig)
    if refuses or not isinstance(codec, GridConfig) or codec.from_pretrained is None:
        return config
    if codec.architecture is not None:  # a config as it ran
        return config
    from aecli.codecs import pretrained
    from aecli.data.facts import image_shape

    found = pretrained.settled(codec, image_shape(config.data))
    pretrained.require_weights(codec.from_pretrained, found["architecture"])
    return with_values(config, {f"codec.{key}": value for key, value in found.items()})


def _missed(
    expectations: Sequence[Expectation], metrics: Mapping[str, Any], path: Path
) -> AecliError | None:
    """The error of a run whose metrics do not meet every expectation."""
    try:
        expect.check(expectations, metrics)
    except ExpectationError as error:
        left_in(error, path)
        return error
    return None


def _object(metrics: Mapping[str, Any], path: Path, error: AecliError | None) -> dict[str, Any]:
    """The JSON object of a run that has its metrics."""
    failure = {} if error is None else {"error": str(error), "exit_code": error.exit_code}
    return {**metrics, "run": str(path), **failure}


def _print_failure(error: BaseException, terminal: Terminal) -> None:
    """The folder of a run that failed, on stdout, so that a script has it; nothing without one."""
    path = run_of(error)
    if path is None:
        return
    if not terminal.as_json:
        terminal.path(path)
        return
    text = str(error) if isinstance(error, AecliError) else f"{type(error).__name__}: {error}"
    if isinstance(error, Interrupted):
        text = f"interrupted by {error.reason or error.signal_name}"
    code = getattr(error, "exit_code", 1)
    terminal.json({"run": str(path), "error": text, "exit_code": code})


def _first_line(config: NetworkConfig, resumed: Path | None) -> str:
    """A sentence on what is about to be trained."""
    codec, fit = config.codec, config.train
    start = f"going on in {resumed}: " if resumed else ""
    if isinstance(config, TrainedConfig) and config.run is not None:
        return f"{start}{config.experiment}: the model of {config.run}, seed {config.seed}"
    own: FitConfig | AnomalySection = fit
    if isinstance(config, EvaluateConfig) and not config.trains_codecs_of_all:
        own = config.anomaly  # codecs of one class each, alone
    layers = "-".join(map(str, getattr(codec, "hidden", ())))
    code_dim = getattr(own, "code_dim", None) or codec.code_dim
    dims = ", ".join(map(str, getattr(config, "code_dims", (code_dim,))))
    name = f"variational {codec.name}" if codec.is_variational else codec.name
    what = f"{name}{f' ({layers})' if layers else ''}, code {dims}"
    if not codec.solved:
        plural = "" if own.epochs == 1 else "s"
        what += f", recipe {fit.recipe}, {own.epochs} epoch{plural} in batches of {own.batch_size}"
    many = "seeds" not in idle_settings(config)
    seeds = getattr(config, "seeds", 1) if many else 1
    seed = f"seed {config.seed}" if seeds == 1 else f"{seeds} seeds from {config.seed}"
    return f"{start}{config.experiment}: {what}, {seed}, dataset {config.data.dataset}"


def _resolve(
    experiment: str, options: Options, flags: Mapping[str, tuple[str, Any]]
) -> NetworkConfig:
    flags = _with_named_codec(flags)
    layers = []
    if options.config is not None:
        layers.append(yaml_layer(find_config(options.config)))
        named = str(layers[0].values.get("experiment", experiment))
        if named != experiment and named in EXPERIMENTS:
            raise UsageError(
                f"--config {options.config} is a config of `aecli {named}`, not of {experiment}"
            )
    flagged = flag_layer(
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
    # Both are typed in one line: `--recipe chapter --set train.warmup=0.1` means both.
    layers.append(one_layer([set_layer(options.assignments or ()), flagged]))
    config = resolve(EXPERIMENTS[experiment], layers)
    assert isinstance(config, NetworkConfig)
    return with_quick_values(config)


def _with_named_codec(flags: Mapping[str, tuple[str, Any]]) -> Mapping[str, tuple[str, Any]]:
    """Flags with the codec that a folder given by --from-pretrained has, where none is named."""
    _, folder = flags.get("--from-pretrained", ("", None))
    if folder is None or flags["--codec"][1] is not None:
        return flags
    from aecli.codecs import pretrained

    name, _ = pretrained.read(str(user_path(folder)))
    return {**flags, "--codec": ("codec.name", name)}


def _continued(
    config: NetworkConfig, options: Options, terminal: Terminal
) -> tuple[NetworkConfig, Path | None]:
    """The run to go on with under --continue, and `config` as that run decided it.

    Says why there is none. Raises UsageError if the config in that folder was changed.
    """
    run = _unfinished(config, options.runs_dir, terminal) if options.continued else None
    if run is None:
        return config, None

    from aecli.runs.record import recorded_config

    recorded = recorded_config(run)
    assert isinstance(recorded, NetworkConfig)
    return as_recorded(config, recorded), run


def _decided(config: NetworkConfig, runs_dir: Path) -> NetworkConfig:
    """`config` as it will run: the codec of its run, this machine's device, threads, precision.

    Raises DataError for a run without a model, UsageError for a device that is not there.
    """
    if config.device == "mps":  # read by torch as it is imported: what MPS lacks runs on the CPU
        os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")

    from aecli.training import device

    if isinstance(config, TrainedConfig):
        from aecli.runs.subject import settled

        config = settled(config, runs_dir)
    elif config.train.init_from is not None:
        from aecli.runs.subject import with_ancestor

        config = with_ancestor(config, runs_dir)
    return device.decided(config)


def _experiment(config: NetworkConfig) -> Any:
    """The module with `check` and `run` of an experiment."""
    return importlib.import_module(f"aecli.experiments.{config.experiment.replace('-', '_')}")


def _in_words(fact: Any) -> str:
    """A fact of a dry run as a comment has it."""
    if isinstance(fact, list):
        return "; ".join(fact)
    return "unknown" if fact is None else str(fact)


def _dry_run(config: NetworkConfig, options: Options, terminal: Terminal) -> None:
    """Check all that can be known of a run before it; print its config; write nothing."""
    from aecli.cli.dryrun import foresee, foresee_jobs

    config, resumed = _continued(config, options, terminal)
    config = _decided(config, options.runs_dir)
    if resumed is not None:
        terminal.say(f"would go on in {resumed}")
    config, facts = foresee(config, options.runs_dir, options.offline, terminal)
    experiment = _experiment(config)
    experiment.check(config, facts["training_images"])
    if isinstance(config, ManyConfig) and hasattr(experiment, "jobs"):
        jobs = experiment.jobs(config)
        facts |= foresee_jobs(config, jobs, facts["training_images"], options.runs_dir)
    if terminal.as_json:
        terminal.json({"config": settings_of(config), **facts})
    else:
        comments = "".join(f"# {name}: {_in_words(fact)}\n" for name, fact in facts.items())
        terminal.data(to_yaml(config) + comments.rstrip("\n"))
