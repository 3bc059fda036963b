"""The command line: one thin function per subcommand, one handler for every error.

Nothing heavy is imported here, so that `aecli --help` is quick; each command imports what it needs.
"""

import atexit
import functools
import gc
import os
import shlex
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.completion import completion_init  # type: ignore[attr-defined]  # not in its __all__

from aecli import __version__, interrupts
from aecli.cli import codes, shelf
from aecli.cli.flags import FLAGS
from aecli.cli.help import Command, Group, explain
from aecli.cli.house import (
    COMPLETE,
    configs_app,
    data_app,
    show_completion,
    show_help,
    show_schema,
)
from aecli.cli.options import (
    AS_JSON,
    DATA_DIR,
    EXPECT,
    LOG,
    OFFLINE,
    QUIET,
    RUNS_DIR,
    Options,
    one_of,
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
    atexit.register(gc.freeze)  # else Python looks for cycles in all that torch leaves: 0.5 s
    interrupts.install(terminal.error_at_once)
    try:
        if COMPLETE in os.environ:  # a shell asks for words; typer answers, and exits
            completion_init()
        code = typer.main.get_command(app)(prog_name="aecli", standalone_mode=False)
    except AecliError as error:
        terminal.error(str(error))
        run = run_of(error)
        if run is not None and str(run) not in str(error):
            terminal.error(f"the run's folder: {run}")
        code = error.exit_code
    except Interrupted as interrupt:
        terminal.error(f"interrupted: {interrupt.reason}" if interrupt.reason else "interrupted")
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


# The experiments, in the order in which `aecli --help` lists them.
EXPERIMENTS = {
    "train": "Train one codec, measure it against PCA, and leave a run folder.",
    "sweep-codedim": (
        "Train at every code dimension, over several seeds, and print the trade-off table."
    ),
    "pca-compare": (
        "Compare network, linear autoencoder, PCA and DCT, and check the Eckart-Young theorem."
    ),
    "sweep-downsampling": (
        "Train codes of equally many numbers on ever coarser grids, and see what it costs."
        "\n\n"
        "Each factor has codecs dc, the same without its shortcuts, kl and conv, beside PCA and"
        " transforms. Needs 'aecli[diffusion]'."
    ),
    "tune": (
        "Look for better settings on the validation images, within a budget of time."
        "\n\n"
        "Settings are proposed by what was found so far, and the better third of all that were"
        " tried is trained for longer; the test images are not looked at. Needs 'aecli[tune]'."
    ),
    "reproduce": "Measure and judge every claim of the chapter; write the ledger.",
    "interpolate": (
        "Walk the straight line between two test images' codes, and find the holes it meets."
        "\n\n"
        "A code is in a hole if its mean distance to the 5 nearest training codes, after whitening,"
        " is above the 99% quantile of that distance over the validation images' codes."
    ),
    "sample": "Decode codes that no image was encoded to, and measure how real the images look.",
    "to-vae": (
        "Make a trained autoencoder variational, so that codes of N(0, I) decode to images; measure"
        " and draw both."
    ),
    "evaluate": (
        "Put codes to work, beside PCA's and pixels: classify, cluster, retrieve, find odd images."
        "\n\n"
        "Every number is of test images. With --dataset the codes of other images than those that"
        " the run learned from are put to work."
    ),
}


def _add(experiment: str, documentation: str) -> None:
    """Make a command of an experiment, with its flags."""
    flags = FLAGS[experiment]

    def launched(options: Options, **given: Any) -> None:
        from aecli.cli.launch import launch  # imports pydantic, which --help has no use for

        settings = {
            flag.name: (flag.key, given[flag.parameter])
            for flag in flags
            if not flag.of_many and given[flag.parameter] != []  # no code dimension was given
        }
        how = {flag.key: given[flag.parameter] for flag in flags if flag.of_many}
        launch(experiment, replace(options, **how), settings, sys.argv)

    own = [flag.as_parameter() for flag in flags]
    command(experiment)(with_common_options(launched, own, documentation))


for _name, _documentation in EXPERIMENTS.items():
    _add(_name, _documentation)


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
        one_of(
            "--device",
            "auto|cpu|cuda|mps",
            help="Device to go on with; another one may change last bits of the numbers (default:"
            " as in the run so far).",
        ),
    ] = None,
    data_dir: Annotated[str | None, DATA_DIR] = None,
    offline: Annotated[bool, OFFLINE] = False,
    as_json: Annotated[bool, AS_JSON] = False,
    quiet: Annotated[bool, QUIET] = False,
    expectations: Annotated[list[str] | None, EXPECT] = None,
    log: Annotated[str | None, LOG] = None,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Stop the run at the first training that fails.")
    ] = False,
    job_timeout: Annotated[
        float | None,
        typer.Option(
            "--job-timeout",
            metavar="SECONDS",
            min=0,
            help="Longest time that one training may take; one that takes longer has failed"
            " (default: no limit).",
        ),
    ] = None,
) -> None:
    """Go on with an interrupted, killed or failed run, to the same end as if it had not stopped.

    A run that is completed already is not trained again: its metrics are held against --expect, and
    printed with --json.
    """
    from aecli.cli.launch import resume

    options = Options.only(
        runs_dir=runs_dir,
        device=device,
        data_dir=data_dir,
        offline=offline,
        as_json=as_json,
        quiet=quiet,
        expectations=expectations,
        log=log,
        fail_fast=fail_fast,
        job_timeout=job_timeout,
        jobs=jobs,
    )
    resume(run, options, sys.argv)


@command("report")
def report_runs(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN",
            help="Runs on the page, whatever their state: folders, names as `aecli ls` prints them,"
            " patterns of names in quotes, or latest, the newest finished one.",
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            "-o",
            metavar="FILE.html",
            help="Page to write; a former one is replaced (default: report.html, here).",
            show_default=False,
        ),
    ] = "report.html",
    runs_dir: Annotated[Path, RUNS_DIR] = Path("runs"),
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object: page, bytes and runs.")
    ] = False,
    quiet: Annotated[bool, QUIET] = False,
) -> None:
    """Write one page on runs, to open in a browser or to send: it needs no other file.

    It has what was run on which images, the result and its verdict, tables, pictures, the network,
    settings, provenance, and the command that repeats the run; of `reproduce`, the ledger. Several
    runs have a table of their results on top. Nothing out of a run folder is executed.
    """
    from aecli.cli.report import report

    report(runs, output, Terminal(quiet, as_json), runs_dir)


# Commands in the order in which `aecli --help` lists them.
command("encode")(codes.encode)
command("decode")(codes.decode)
command("search")(codes.search)
command("export")(codes.export)
command("report")(report_runs)
command("compare")(shelf.compare)
command("ls")(shelf.show_runs)
command("rm")(shelf.remove)
command("clean")(shelf.clean)
app.add_typer(configs_app, name="configs")
app.add_typer(data_app, name="data")
command("schema")(show_schema)
command("completion")(show_completion)
command("help")(show_help)
