"""The command line: one thin function per subcommand, one handler for every error.

Nothing heavy is imported here, so that `aecli --help` is quick; each command imports what it needs.
"""

import signal
import sys
import traceback
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from aecli import __version__
from aecli.errors import AecliError, Interrupted, UsageError
from aecli.options import Options, with_common_options
from aecli.terminal import Terminal

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
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        code = typer.main.get_command(app)(standalone_mode=False)
    except AecliError as error:
        terminal.error(str(error))
        code = error.exit_code
    except Interrupted as interrupt:
        terminal.error("interrupted")
        code = interrupt.exit_code
    except typer.TyperException as error:  # a flag that typer cannot parse
        terminal.error(f"{error.format_message()}  (see --help)")
        code = UsageError.exit_code
    except Exception:
        terminal.error("this is a bug in aecli; please report it with the lines below")
        traceback.print_exc()
        code = 1
    sys.exit(code if isinstance(code, int) else 0)


def _interrupt(number: int, _frame: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_DFL)  # a second one ends the program at once
    raise Interrupted(number)


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
    from aecli.launch import launch

    flags = {
        "--code-dim": ("codec.code_dim", code_dim),
        "--codec": ("codec.name", codec),
        "--recipe": ("train.recipe", recipe),
        "--epochs": ("train.epochs", epochs),
        "--batch-size": ("train.batch_size", batch_size),
        "--lr": ("train.lr", lr),
        "--limit-train": ("data.limit_train", limit_train),
    }
    launch("train", options, flags, sys.argv)


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
    from aecli.launch import launch

    flags = {
        "--run": ("run", run),
        "--samples": ("samples", samples),
        "--code-dim": ("codec.code_dim", code_dim),
        "--codec": ("codec.name", codec),
        "--recipe": ("train.recipe", recipe),
        "--epochs": ("train.epochs", epochs),
        "--limit-train": ("data.limit_train", limit_train),
    }
    launch("sample", options, flags, sys.argv)


@app.command()
def schema(
    experiment: Annotated[str, typer.Argument(help="Which experiment's config.")] = "train",
) -> None:
    """Print the JSON Schema of an experiment's config, for editors."""
    from aecli.config import json_schema

    Terminal().json(json_schema(experiment))


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
    name: str, to: Annotated[Path, typer.Argument(help="A file or folder.")] = Path()
) -> None:
    """Copy one, to edit and to give to --config."""
    from aecli.config import copy_config

    Terminal().path(copy_config(name, to))


DataDir = Annotated[Path | None, typer.Option("--data-dir", envvar="AECLI_DATA_DIR")]


@data_app.callback(invoke_without_command=True)
def _data(context: typer.Context) -> None:
    """Show the datasets: what is on this machine, and where."""
    if context.invoked_subcommand is None:
        from aecli.data import default_places, inventory

        Terminal().columns(inventory.overview(default_places()))


@data_app.command("fetch")
def data_fetch(name: str, data_dir: DataDir = None) -> None:
    """Get a dataset from the first source that has it; prints where it is."""
    from aecli.data import default_places, inventory

    terminal = Terminal()
    terminal.data(inventory.fetch(name, default_places(data_dir), terminal.say))


@data_app.command("verify")
def data_verify(
    name: Annotated[
        str | None, typer.Argument(help="One dataset (default: all there are).")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Check every file that is there; exit 3 if one is damaged."""
    from aecli.data import default_places, inventory

    Terminal().columns(inventory.verify(name, default_places(data_dir)))
