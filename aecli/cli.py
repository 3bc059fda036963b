"""The command line: one thin function per subcommand, one handler for every error.

Nothing heavy is imported here, so that `aecli --help` is quick; each command imports what it needs.
"""

import shlex
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from aecli import __version__, interrupts
from aecli.errors import AecliError, Interrupted, UsageError
from aecli.options import Options, with_common_options
from aecli.pathnames import user_path
from aecli.terminal import Terminal

Flags = dict[str, tuple[str, Any]]
"""Flag -> (config key, value); None was not given."""

app = typer.Typer(
    name="aecli",
    help="A command-line laboratory for autoencoders.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
configs_app = typer.Typer(help="List, show and copy the configs that ship with aecli.")
data_app = typer.Typer(help="Show, fetch and verify the datasets.")
app.add_typer(configs_app, name="configs")
app.add_typer(data_app, name="data")


def main() -> NoReturn:
    """Run the command line and exit with the contract's code."""
    terminal = Terminal()
    interrupts.install(terminal.error)
    try:
        code = typer.main.get_command(app)(standalone_mode=False)
    except AecliError as error:
        terminal.error(str(error))
        code = error.exit_code
    except Interrupted as interrupt:
        terminal.error("interrupted")
        if interrupt.run is not None:
            terminal.error(f"go on with: aecli resume {shlex.quote(str(interrupt.run))}")
        code = interrupt.exit_code
    except typer.TyperException as error:  # a flag that typer cannot parse
        if message := error.format_message():  # there is none where the help was shown instead
            terminal.error(f"{message}  (see --help)")
        code = UsageError.exit_code
    except Exception:
        terminal.error("this is a bug in aecli; please report it with the lines below")
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
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """A command-line laboratory for autoencoders."""


CodeDim = Annotated[int | None, typer.Option("--code-dim", help="Numbers in a code.")]
CodecName = Annotated[str | None, typer.Option("--codec", help="mlp, linear, pca or dct.")]
Recipe = Annotated[str | None, typer.Option("--recipe", help="muon, or chapter: as it trains.")]
Epochs = Annotated[int | None, typer.Option("--epochs", help="Passes over the training images.")]
BatchSize = Annotated[int | None, typer.Option("--batch-size", help="Images per step.")]
LearningRate = Annotated[float | None, typer.Option("--lr", help="Peak learning rate.")]
LimitTrain = Annotated[
    int | None, typer.Option("--limit-train", help="Train on the first N images only.")
]
Run = Annotated[
    str | None,
    typer.Option("--run", metavar="DIR|latest", help="A run with a model (default: train one)."),
]


@app.command()
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
        **_network_flags(codec, recipe, epochs, batch_size, lr, limit_train),
    }
    _launch("train", options, flags)


CodeDims = Annotated[
    list[int] | None, typer.Argument(metavar="[K]...", help="Code dimensions.", show_default=False)
]
Seeds = Annotated[int | None, typer.Option("--seeds", help="Seeds per code dimension.")]
Jobs = Annotated[int | None, typer.Option("--jobs", help="Trainings side by side.")]
Continued = Annotated[
    bool, typer.Option("--continue", help="Go on in the newest unfinished run of this config.")
]
FailFast = Annotated[bool, typer.Option("--fail-fast", help="Stop at the first failed job.")]
JobTimeout = Annotated[
    float | None, typer.Option("--job-timeout", metavar="SECONDS", min=0, help="Of each job.")
]


@app.command("sweep-codedim")
@with_common_options
def sweep_codedim(
    options: Options,
    code_dims: CodeDims = None,
    seeds: Seeds = None,
    jobs: Jobs = None,
    continued: Continued = False,
    fail_fast: FailFast = False,
    job_timeout: JobTimeout = None,
    codec: CodecName = None,
    recipe: Recipe = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    lr: LearningRate = None,
    limit_train: LimitTrain = None,
) -> None:
    """Regenerate the trade-off table: every code dimension, over several seeds."""
    flags = {
        "K": ("code_dims", code_dims or None),
        "--seeds": ("seeds", seeds),
        "--jobs": ("jobs", jobs),
        **_network_flags(codec, recipe, epochs, batch_size, lr, limit_train),
    }
    _launch("sweep-codedim", options, flags, continued, fail_fast, job_timeout)


@app.command("pca-compare")
@with_common_options
def pca_compare(
    options: Options,
    code_dims: CodeDims = None,
    seeds: Seeds = None,
    jobs: Jobs = None,
    continued: Continued = False,
    fail_fast: FailFast = False,
    job_timeout: JobTimeout = None,
    codec: CodecName = None,
    recipe: Recipe = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    lr: LearningRate = None,
    limit_train: LimitTrain = None,
) -> None:
    """Compare network, linear autoencoder, PCA and DCT, and check Eckart-Young."""
    flags = {
        "K": ("code_dims", code_dims or None),
        "--seeds": ("seeds", seeds),
        "--jobs": ("jobs", jobs),
        **_network_flags(codec, recipe, epochs, batch_size, lr, limit_train),
    }
    _launch("pca-compare", options, flags, continued, fail_fast, job_timeout)


@app.command()
@with_common_options
def reproduce(
    options: Options,
    quick: Annotated[
        bool | None, typer.Option("--quick", help="Few images and epochs: a look, not a result.")
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


@app.command()
@with_common_options
def interpolate(
    options: Options,
    run: Run = None,
    from_digit: Annotated[
        int | None, typer.Option("--from-digit", help="Start at a test image of this digit.")
    ] = None,
    to_digit: Annotated[
        int | None, typer.Option("--to-digit", help="End at a test image of this digit.")
    ] = None,
    from_index: Annotated[
        int | None, typer.Option("--from-index", help="Start at this test image.")
    ] = None,
    to_index: Annotated[
        int | None, typer.Option("--to-index", help="End at this test image.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", help="Images on the line, its ends included.")
    ] = None,
    pairs: Annotated[
        int | None, typer.Option("--pairs", help="Random pairs for the statistics.")
    ] = None,
    code_dim: CodeDim = None,
    codec: CodecName = None,
    recipe: Recipe = None,
    epochs: Epochs = None,
    limit_train: LimitTrain = None,
) -> None:
    """Walk the straight line between two test images' codes, and see where it meets holes.

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


@app.command()
@with_common_options
def sample(
    options: Options,
    run: Run = None,
    samples: Annotated[int | None, typer.Option("--samples", help="Drawn by each sampler.")] = None,
    code_dim: CodeDim = None,
    codec: CodecName = None,
    recipe: Recipe = None,
    epochs: Epochs = None,
    limit_train: LimitTrain = None,
) -> None:
    """Decode codes that no image was encoded to, and judge how real the samples are."""
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


@app.command("resume")
def resume_run(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder.")],
    data_dir: Annotated[
        str | None, typer.Option("--data-dir", metavar="DIR", help="Where its data are now.")
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Download nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No messages on stderr.")] = False,
    expectations: Annotated[
        list[str] | None,
        typer.Option("--expect", metavar="'METRIC<=X'", help="Exit 7 unless it holds."),
    ] = None,
    fail_fast: FailFast = False,
    job_timeout: JobTimeout = None,
) -> None:
    """Go on with an interrupted, killed or failed run, to the very end it would have had."""
    from aecli.launch import Many, resume

    options = Options.only(
        data_dir=data_dir,
        offline=offline,
        as_json=as_json,
        quiet=quiet,
        expectations=expectations,
    )
    resume(run, options, sys.argv, Many(False, fail_fast, job_timeout))


@app.command("ls")
def list_runs(
    runs_dir: Annotated[
        Path,
        typer.Option(
            "--runs-dir",
            envvar="AECLI_RUNS_DIR",
            parser=user_path,
            metavar="DIR",
            help="Where run folders are.",
        ),
    ] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """List the runs, oldest first: completed, failed, interrupted, running, or dead (killed)."""
    from aecli.rundir import list_runs

    rows = list_runs(runs_dir)
    terminal = Terminal(as_json=as_json)
    if as_json:
        terminal.json({"runs": rows})
    elif rows:
        terminal.columns([tuple(rows[0]), *(tuple(map(str, row.values())) for row in rows)])
    else:
        terminal.say(f"no runs in {runs_dir}")


@app.command()
def schema(
    experiment: Annotated[str, typer.Argument(help="Which experiment's config.")] = "train",
) -> None:
    """Print the JSON Schema of an experiment's config, for editors."""
    from aecli.config import json_schema

    Terminal().json(json_schema(experiment))


def _network_flags(
    codec: str | None,
    recipe: str | None,
    epochs: int | None,
    batch_size: int | None,
    lr: float | None,
    limit_train: int | None,
) -> Flags:
    """What the flags of every training set in a config."""
    return {
        "--codec": ("codec.name", codec),
        "--recipe": ("train.recipe", recipe),
        "--epochs": ("train.epochs", epochs),
        "--batch-size": ("train.batch_size", batch_size),
        "--lr": ("train.lr", lr),
        "--limit-train": ("data.limit_train", limit_train),
    }


def _launch(
    experiment: str,
    options: Options,
    flags: Flags,
    continued: bool = False,
    fail_fast: bool = False,
    job_timeout: float | None = None,
) -> None:
    from aecli.launch import Many, launch  # imports pydantic, which --help has no use for

    launch(experiment, options, flags, sys.argv, Many(continued, fail_fast, job_timeout))


@configs_app.callback(invoke_without_command=True)
def _configs(context: typer.Context) -> None:
    """List the configs that ship with aecli; `show` and `copy` take one of their names."""
    if context.invoked_subcommand is None:
        from aecli.config import shipped_configs

        Terminal().columns([(config.name, config.summary) for config in shipped_configs()])


@configs_app.command("show")
def configs_show(name: str) -> None:
    """Print one."""
    from aecli.config import shipped_config

    Terminal().data(shipped_config(name).path.read_text("utf-8").rstrip("\n"))


@configs_app.command("copy")
def configs_copy(
    name: str, to: Annotated[str, typer.Argument(help="A file or folder.")] = "."
) -> None:
    """Copy one, to edit and to give to --config."""
    from aecli.config import copy_config

    Terminal().path(copy_config(name, to))


DataDir = Annotated[  # a folder named here must have the data; one of the environment need not
    str | None,
    typer.Option(
        "--data-dir",
        metavar="DIR",
        help="Look in this folder alone (default: $AECLI_DATA_DIR, then the user's cache).",
    ),
]


@data_app.callback(invoke_without_command=True)
def _data(context: typer.Context) -> None:
    """Show the datasets: what is on this machine, and where."""
    if context.invoked_subcommand is None:
        from aecli.data import default_places, inventory

        Terminal().columns(inventory.overview(default_places()))


@data_app.command("fetch")
def data_fetch(name: str, data_dir: DataDir = None) -> None:
    """Get a dataset, downloaded into the user's cache if need be; prints the folder where it is."""
    from aecli.data import default_places, inventory

    terminal = Terminal()
    terminal.path(inventory.fetch(name, default_places(data_dir), terminal.say))


@data_app.command("verify")
def data_verify(
    name: Annotated[
        str | None, typer.Argument(help="One dataset (default: all there are).")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Check every file that is there; exit 3 if one is damaged."""
    from aecli.data import default_places, inventory

    terminal = Terminal()
    terminal.columns(inventory.verify(name, default_places(data_dir), terminal.say))
