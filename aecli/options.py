"""The options that every experiment has, declared once for all subcommands."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from aecli.pathnames import user_path

PANEL = "Every experiment"


def _option(*names: str, help: str, **settings: Any) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=PANEL, **settings)


@dataclass(frozen=True)
class Options:
    """Values of the common options; None or empty where not given."""

    config: Annotated[
        str | None,
        _option("--config", metavar="NAME|FILE", help="A shipped config's name, or a YAML file."),
    ]
    assignments: Annotated[
        list[str] | None,
        _option("--set", metavar="KEY.KEY=VALUE", help="Set any config value; repeatable."),
    ]
    runs_dir: Annotated[
        Path,
        _option(
            "--runs-dir",
            envvar="AECLI_RUNS_DIR",
            parser=user_path,
            metavar="DIR",
            help="Where run folders are made.",
        ),
    ]
    seed: Annotated[int | None, _option("--seed", help="Of weights and order.")]
    device: Annotated[
        str | None, _option("--device", metavar="auto|cpu|cuda|mps", help="Where to compute.")
    ]
    threads: Annotated[int | None, _option("--threads", help="CPU threads.")]
    precision: Annotated[
        str | None,
        _option("--precision", metavar="auto|fp32|bf16", help="Of training's matrix products."),
    ]
    dataset: Annotated[
        str | None, _option("--dataset", metavar="NAME", help="`aecli data` lists them.")
    ]
    data_dir: Annotated[
        str | None,
        _option(
            "--data-dir",
            metavar="DIR",
            help="A folder that has MNIST/raw/... [env var: AECLI_DATA_DIR]",
        ),
    ]
    offline: Annotated[bool, _option("--offline", help="Download nothing.")]
    dry_run: Annotated[
        bool, _option("--dry-run", help="Validate, print the resolved config, write nothing.")
    ]
    as_json: Annotated[bool, _option("--json", help="Print one JSON object on stdout.")]
    quiet: Annotated[bool, _option("-q", "--quiet", help="No messages on stderr.")]
    expectations: Annotated[
        list[str] | None,
        _option("--expect", metavar="'METRIC<=X'", help="Exit 7 unless it holds; repeatable."),
    ]

    @classmethod
    def only(cls, **given: Any) -> "Options":
        """These options, and of all others the defaults."""
        values: dict[str, Any] = {f.name: _DEFAULTS.get(f.name) for f in fields(cls)}
        return cls(**values | given)


_DEFAULTS: dict[str, Any] = {
    "runs_dir": Path("runs"),
    "offline": False,
    "dry_run": False,
    "as_json": False,
    "quiet": False,
}


def with_common_options(command: Callable[..., None]) -> Callable[..., None]:
    """`command(options, ...)` as typer takes it: with a parameter per field of Options."""

    @functools.wraps(command)
    def wrapper(**arguments: Any) -> None:
        common = {field.name: arguments.pop(field.name) for field in fields(Options)}
        command(Options(**common), **arguments)

    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
    keyword = inspect.Parameter.KEYWORD_ONLY
    common = [
        inspect.Parameter(
            field.name, keyword, annotation=field.type, default=_DEFAULTS.get(field.name)
        )
        for field in fields(Options)
    ]
    parameters = [parameter.replace(kind=keyword) for parameter in own] + common
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return wrapper
