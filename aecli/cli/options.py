"""The options that every experiment has, declared once for all subcommands."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, get_origin

import typer

from aecli.pathnames import user_path

PANEL = "Common options"


def completing(words: Sequence[str]) -> Callable[[str], list[str]]:
    """Completion of a value by the shell, where it is one of these words."""

    def complete(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return complete


def alternatives(metavar: str | None) -> list[str]:
    """The words that a metavar such as `auto|cpu|cuda` offers; empty for another."""
    words = (metavar or "").split("|")
    return words if len(words) > 1 and all(word.islower() for word in words) else []


def one_of(name: str, words: str, help: str) -> Any:
    """An option whose value is one of words such as `auto|cpu|cuda`, which a shell completes."""
    return typer.Option(
        name, metavar=words, help=help, autocompletion=completing(alternatives(words))
    )


def _option(*names: str, help: str, metavar: str | None = None, **settings: Any) -> Any:
    if words := alternatives(metavar):
        settings["autocompletion"] = completing(words)
    return typer.Option(
        *names, help=help, metavar=metavar, rich_help_panel=PANEL, show_default=False, **settings
    )


RUNS_DIR = _option(
    "--runs-dir",
    metavar="DIR",
    envvar="AECLI_RUNS_DIR",
    parser=user_path,
    help="Folder of the run folders (default: $AECLI_RUNS_DIR, else runs).",
)
DATA_DIR = _option(
    "--data-dir",
    metavar="DIR",
    help="Folder that has the dataset's files, in MNIST/raw/..., and no other place is searched"
    " (default: $AECLI_DATA_DIR, then the user's cache).",
)
OFFLINE = _option("--offline", help="Download nothing.")
AS_JSON = _option(
    "--json", help="Print one JSON object on stdout: the metrics, and `run`, the run's folder."
)
QUIET = _option(
    "-q", "--quiet", help="Print no messages on stderr, other than warnings and errors."
)
LOG = _option(
    "--log",
    metavar="tensorboard",
    help="Log to add each epoch to, besides history.csv: tensorboard, whose events come into the"
    " run's folder. Needs 'aecli[tensorboard]' (default: none).",
)
EXPECT = _option(
    "--expect",
    metavar="'METRIC<=X'",
    help="Condition on a metric; exit 7 if it does not hold. Repeatable; `aecli help expect` lists"
    " the metrics (default: none).",
)


@dataclass(frozen=True)
class Options:
    """Options of a run: those of every experiment, and ways to run; None or empty if not given."""

    config: Annotated[
        str | None,
        _option(
            "--config",
            metavar="NAME|FILE",
            help="Config to start from: the name of one that `aecli configs` lists, or a YAML file"
            " (default: none).",
        ),
    ]
    assignments: Annotated[
        list[str] | None,
        _option(
            "--set",
            metavar="KEY.KEY=VALUE",
            help="Value for a config key, such as train.noise=masking. Repeatable; `aecli schema`"
            " lists the keys (default: none).",
        ),
    ]
    runs_dir: Annotated[Path, RUNS_DIR]
    seed: Annotated[
        int | None,
        _option(
            "--seed",
            metavar="N",
            help="Seed for the initial weights, the order of the images, and all else that is"
            " drawn (default: 0).",
        ),
    ]
    device: Annotated[
        str | None,
        _option(
            "--device",
            metavar="auto|cpu|cuda|mps",
            help="Device to compute on (default: auto, which is cuda where there is one, else"
            " cpu).",
        ),
    ]
    threads: Annotated[
        int | None,
        _option(
            "--threads",
            metavar="N",
            help="Number of CPU threads (default: one per core that this process may use; 1 for"
            " each of many trainings).",
        ),
    ]
    precision: Annotated[
        str | None,
        _option(
            "--precision",
            metavar="auto|fp32|bf16",
            help="Number format of training's matrix products (default: auto, which is bf16 where"
            " the hardware is faster at it, else fp32).",
        ),
    ]
    dataset: Annotated[
        str | None,
        _option(
            "--dataset",
            metavar="NAME",
            help="Name of a dataset that `aecli data` lists (default: auto, which is mnist where"
            " it can be had, else mnist-5k).",
        ),
    ]
    data_dir: Annotated[str | None, DATA_DIR]
    offline: Annotated[bool, OFFLINE]
    dry_run: Annotated[
        bool,
        _option(
            "--dry-run",
            help="Check every setting, print the config that would run, and write nothing.",
        ),
    ]
    as_json: Annotated[bool, AS_JSON]
    quiet: Annotated[bool, QUIET]
    expectations: Annotated[list[str] | None, EXPECT]
    log: Annotated[str | None, LOG]

    # Ways to carry out a run of many trainings, which not every command has; none changes a number.
    continued: bool = False
    """Go on in the newest unfinished run of the same config, if there is one."""
    fail_fast: bool = False
    """Stop the run at the first training that fails."""
    job_timeout: float | None = None
    """Seconds that one training may take (None: no limit)."""
    jobs: int | None = None
    """Number of trainings at a time in a run that is resumed (None: as before)."""

    @classmethod
    def only(cls, **given: Any) -> "Options":
        """These options, and the defaults of all others."""
        common = (f.name for f in fields(cls) if get_origin(f.type) is Annotated)
        values: dict[str, Any] = {name: _DEFAULTS.get(name) for name in common}
        return cls(**values | given)


_DEFAULTS: dict[str, Any] = {
    "runs_dir": Path("runs"),
    "offline": False,
    "dry_run": False,
    "as_json": False,
    "quiet": False,
}


def with_common_options(
    command: Callable[..., None], own: Sequence[inspect.Parameter], documentation: str
) -> Callable[..., None]:
    """`command(options, **own)` as typer takes it: with a parameter per common option."""
    every = [field for field in fields(Options) if get_origin(field.type) is Annotated]

    def wrapper(**arguments: Any) -> None:
        common = {field.name: arguments.pop(field.name) for field in every}
        command(Options(**common), **arguments)

    common = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            annotation=field.type,
            default=_DEFAULTS.get(field.name),
        )
        for field in every
    ]
    wrapper.__signature__ = inspect.Signature([*own, *common])  # type: ignore[attr-defined]
    wrapper.__doc__ = documentation
    return wrapper
