"""The command line: one thin function per subcommand, one handler for every error.

Nothing heavy is imported here, so that `aecli --help` is quick; each command imports what it needs.
"""

import functools
import shlex
import sys
import traceback
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from aecli import __version__, interrupts
from aecli.cli.flags import (
    END_DIGIT,
    END_INDEX,
    BatchSize,
    BatchSizeOfMany,
    CodecName,
    CodeDim,
    CompareDims,
    Continued,
    Epochs,
    FailFast,
    Flags,
    Jobs,
    JobTimeout,
    LearningRate,
    LimitTrain,
    PlaneCodeDim,
    Recipe,
    Run,
    Seeds,
    SweepDims,
    network_flags,
    value,
)
from aecli.cli.help import Command, Group, explain
from aecli.cli.house import configs_app, data_app, show_help, show_runs, show_schema
from aecli.cli.options import (
    AS_JSON,
    DATA_DIR,
    EXPECT,
    OFFLINE,
    QUIET,
    RUNS_DIR,
    Options,
    with_common_options,
)
from aecli.errors import AecliError, Interrupted, UsageError, run_of
from aecli.terminal import Terminal

app = typer.Typer(
    name="aecli",
    cls=Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
command = functools.partial(app.command, cls=Command)


def main() -> NoReturn:
    """Run the command line and exit with the contract's code."""
    terminal = Terminal()
    interrupts.install(terminal.error)
    try:
        code = typer.main.get_command(app)(prog_name="aecli", standalone_mode=False)
    except AecliError as error:
        terminal.error(str(error))
        run = run_of(error)
        if run is not None and str(run) not in str(error):
            terminal.error(f"the run's folder: {run}")
        code = error.exit_code
    except Interrupted as interrupt:
        terminal.error("interrupted")
        if (run := run_of(interrupt)) is not None:
            terminal.error(f"go on with: aecli resume {shlex.quote(str(run))}")
        code = interrupt.exit_code
    except typer.TyperException as error:  # a flag that typer cannot parse
        if message := explain(error, sys.argv):
            terminal.error(message)
        code = UsageError.exit_code
    except Exception as error:
        terminal.error("this is a bug in aecli; please report it with the lines below")
        if (run := run_of(error)) is not None:
            terminal.error(f"the run's folder: {run}")
        traceback.print_exc()
        code = 1
    sys.exit(code if isinstance(code, int) else 0)


def _print_version(wanted: bool) -> None:
    if wanted:
        Terminal().data(f"aecli {__version__}")
        raise typer.Exit


@app.callback()
def _aecli(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Laboratory for autoencoders: train them, measure them against PCA, look into their codes."""


@command()
@with_common_options
def train(
    options: Options,
    code_dim: CodeDim = None,
    codec: CodecName = None,
    recipe: Recipe = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    lr: LearningRate = None,
    limit_train: LimitTrain = None,
) -> None:
    """Train one codec, measure it against PCA, and leave a run folder."""
    flags = {
        "--code-dim": ("codec.code_dim", code_dim),
        **network_flags(codec, recipe, epochs, batch_size, lr, limit_train),
    }
    _launch("train", options, flags)


@command("sweep-codedim")
@with_common_options
def sweep_codedim(
    options: Options,
    code_dims: SweepDims = None,
    seeds: Seeds = None,
    jobs: Jobs = None,
    continued: Continued = False,
    fail_fast: FailFast = False,
    job_timeout: JobTimeout = None,
    codec: CodecName = None,
    recipe: Recipe = None,
    epochs: Epochs = None,
    batch_size: BatchSizeOfMany = None,
    lr: LearningRate = None,
    limit_train: LimitTrain = None,
) -> None:
    """Train at every code dimension, over several seeds, and print the trade-off table."""
    flags = {
        "K": ("code_dims", code_dims or None),
        "--seeds": ("seeds", seeds),
        "--jobs": ("jobs", jobs),
        **network_flags(codec, recipe, epochs, batch_size, lr, limit_train),
    }
    _launch("sweep-codedim", options, flags, continued, fail_fast, job_timeout)


@command("pca-compare")
@with_common_options
def pca_compare(
    options: Options,
    code_dims: CompareDims = None,
    seeds: Seeds = None,
    jobs: Jobs = None,
    continued: Continued = False,
    fail_fast: FailFast = False,
    job_timeout: JobTimeout = None,
    codec: CodecName = None,
    recipe: Recipe = None,
    epochs: Epochs = None,
    batch_size: BatchSizeOfMany = None,
    lr: LearningRate = None,
    limit_train: LimitTrain = None,
) -> None:
    """Compare network, linear autoencoder, PCA and DCT, and check the Eckart-Young theorem."""
    flags = {
        "K": ("code_dims", code_dims or None),
        "--seeds": ("seeds", seeds),
        "--jobs": ("jobs", jobs),
        **network_flags(codec, recipe, epochs, batch_size, lr, limit_train),
    }
    _launch("pca-compare", options, flags, continued, fail_fast, job_timeout)


@command()
@with_common_options
def reproduce(
    options: Options,
    quick: Annotated[
        bool | None,
        typer.Option("--quick", help="Use few images and epochs: a look, not a result."),
    ] = None,
    seeds: Seeds = None,
    jobs: Jobs = None,
    continued: Continued = False,
    fail_fast: FailFast = False,
    job_timeout: JobTimeout = None,
) -> None:
    """Measure and judge every claim of the chapter; write the ledger."""
    flags: Flags = {
        "--quick": ("quick", quick),
        "--seeds": ("seeds", seeds),
        "--jobs": ("jobs", jobs),
    }
    _launch("reproduce", options, flags, continued, fail_fast, job_timeout)


@command()
@with_common_options
def interpolate(
    options: Options,
    run: Run = None,
    from_digit: Annotated[
        int | None,
        value("--from-digit", metavar="0..9", help=END_DIGIT.format("start", "any")),
    ] = None,
    to_digit: Annotated[
        int | None,
        value("--to-digit", metavar="0..9", help=END_DIGIT.format("end", "another")),
    ] = None,
    from_index: Annotated[
        int | None, value("--from-index", metavar="I", help=END_INDEX.format("start"))
    ] = None,
    to_index: Annotated[
        int | None, value("--to-index", metavar="I", help=END_INDEX.format("end"))
    ] = None,
    steps: Annotated[
        int | None,
        value(
            "--steps", metavar="N", help="Number of codes on the line, ends included (default: 10)."
        ),
    ] = None,
    pairs: Annotated[
        int | None,
        value(
            "--pairs",
            metavar="N",
            help="Number of random pairs that the rates are measured on (default: 500).",
        ),
    ] = None,
    code_dim: PlaneCodeDim = None,
    codec: CodecName = None,
    recipe: Recipe = None,
    epochs: Epochs = None,
    limit_train: LimitTrain = None,
) -> None:
    """Walk the straight line between two test images' codes, and find the holes it meets.

    A code is in a hole if its mean distance to the 5 nearest training codes, after whitening, is
    above the 99% quantile of that distance over the validation images' codes.
    """
    flags = {
        "--run": ("run", run),
        "--from-digit": ("from_digit", from_digit),
        "--to-digit": ("to_digit", to_digit),
        "--from-index": ("from_index", from_index),
        "--to-index": ("to_index", to_index),
        "--steps": ("steps", steps),
        "--pairs": ("pairs", pairs),
        "--code-dim": ("codec.code_dim", code_dim),
        "--codec": ("codec.name", codec),
        "--recipe": ("train.recipe", recipe),
        "--epochs": ("train.epochs", epochs),
        "--limit-train": ("data.limit_train", limit_train),
    }
    _launch("interpolate", options, flags)


@command()
@with_common_options
def sample(
    options: Options,
    run: Run = None,
    samples: Annotated[
        int | None,
        value("--samples", metavar="N", help="Number of codes from each sampler (default: 2000)."),
    ] = None,
    code_dim: CodeDim = None,
    codec: CodecName = None,
    recipe: Recipe = None,
    epochs: Epochs = None,
    limit_train: LimitTrain = None,
) -> None:
    """Decode codes that no image was encoded to, and measure how real the images look."""
    flags = {
        "--run": ("run", run),
        "--samples": ("samples", samples),
        "--code-dim": ("codec.code_dim", code_dim),
        "--codec": ("codec.name", codec),
        "--recipe": ("train.recipe", recipe),
        "--epochs": ("train.epochs", epochs),
        "--limit-train": ("data.limit_train", limit_train),
    }
    _launch("sample", options, flags)


@command("resume")
def resume_run(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="Run to go on with: its folder, its name as `aecli ls` prints it, or latest, the"
            " newest unfinished one.",
        ),
    ],
    runs_dir: Annotated[Path, RUNS_DIR] = Path("runs"),
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            metavar="N",
            help="Number of trainings at a time (default: as in the run so far).",
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            metavar="auto|cpu|cuda|mps",
            help="Device to go on with; another one may change last bits of the numbers (default:"
            " as in the run so far).",
        ),
    ] = None,
    data_dir: Annotated[str | None, DATA_DIR] = None,
    offline: Annotated[bool, OFFLINE] = False,
    as_json: Annotated[bool, AS_JSON] = False,
    quiet: Annotated[bool, QUIET] = False,
    expectations: Annotated[list[str] | None, EXPECT] = None,
    fail_fast: FailFast = False,
    job_timeout: JobTimeout = None,
) -> None:
    """Go on with an interrupted, killed or failed run, to the same end as if it had not stopped.

    A run that is completed already is not trained again: its metrics are held against --expect, and
    printed with --json.
    """
    from aecli.cli.launch import Many, resume

    options = Options.only(
        runs_dir=runs_dir,
        device=device,
        data_dir=data_dir,
        offline=offline,
        as_json=as_json,
        quiet=quiet,
        expectations=expectations,
    )
    resume(run, options, sys.argv, Many(False, fail_fast, job_timeout, jobs))


def _launch(
    experiment: str,
    options: Options,
    flags: Flags,
    continued: bool = False,
    fail_fast: bool = False,
    job_timeout: float | None = None,
) -> None:
    from aecli.cli.launch import Many, launch  # imports pydantic, which --help has no use for

    launch(experiment, options, flags, sys.argv, Many(continued, fail_fast, job_timeout))


# Commands in the order in which `aecli --help` lists them.
command("ls")(show_runs)
app.add_typer(configs_app, name="configs")
app.add_typer(data_app, name="data")
command("schema")(show_schema)
command("help")(show_help)
