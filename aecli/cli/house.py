"""Commands that only list or show: `configs`, `data`, `schema` and `help`."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from aecli.cli.help import Command, Group, nearest
from aecli.cli.options import DATA_DIR
from aecli.errors import UsageError
from aecli.terminal import Terminal

COMPLETE = "_AECLI_COMPLETE"
"""Variable of the environment by which a shell asks for words that complete a line."""

configs_app = typer.Typer(cls=Group)
data_app = typer.Typer(cls=Group)


def show_schema(
    experiment: Annotated[
        str,
        typer.Argument(
            metavar="COMMAND", help="Command whose config is described (default: train)."
        ),
    ] = "train",
) -> None:
    """Print the JSON Schema of a command's config, for editors."""
    from aecli.config import json_schema

    Terminal().json(json_schema(experiment))


def _subjects(context: typer.Context, incomplete: str) -> list[str]:
    """Commands and topics that `help` knows, as a shell completes them."""
    from aecli.cli.topics import TOPICS

    root = context.find_root()
    words = [*getattr(root.command, "commands", {}), *TOPICS]
    return [word for word in words if word.startswith(incomplete)]


def show_help(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="COMMAND|TOPIC",
            autocompletion=_subjects,
            help="Command, such as train or data fetch, or topic: config, exit-codes or expect"
            " (default: the list of commands).",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Show the help of a command, or a page on configs, exit codes or --expect."""
    from aecli.cli.topics import TOPICS

    terminal = Terminal()
    root = context.find_root()
    if words and words[0] in TOPICS and len(words) == 1:
        terminal.data(TOPICS[words[0]]())
        return
    found, at = root.command, root
    for word in words or ():
        commands = getattr(found, "commands", {})
        if word not in commands:
            known = [*commands, *(TOPICS if at is root else ())]
            hint = nearest(word, known) if known else f"see {at.command_path} --help"
            raise UsageError(f"aecli help {' '.join(words or ())}: no {word!r}; {hint}")
        found = commands[word]
        at = typer.Context(found, info_name=word, parent=at)
    terminal.data(found.get_help(at).rstrip("\n"))


def show_completion(
    shell: Annotated[
        str, typer.Argument(metavar="SHELL", help="Shell that runs the script: bash, zsh or fish.")
    ],
) -> None:
    """Print the script by which a shell completes commands and options on the TAB key.

    bash: add `source <(aecli completion bash)` to ~/.bashrc. zsh: the same with zsh to ~/.zshrc,
    after compinit. fish: write it to ~/.config/fish/completions/aecli.fish.
    """
    from typer.completion import get_completion_script  # type: ignore[attr-defined]  # not in its __all__

    if shell not in ("bash", "zsh", "fish"):
        raise UsageError(f"aecli completion {shell}: expected bash, zsh or fish")
    Terminal().data(
        get_completion_script(prog_name="aecli", complete_var=COMPLETE, shell=shell).rstrip("\n")
    )


@configs_app.callback(invoke_without_command=True)
def _configs(context: typer.Context) -> None:
    """List the configs that ship with aecli, and the command that each is for."""
    if context.invoked_subcommand is None:
        from aecli.cli.shipped import shipped_configs

        rows = [(config.name, config.command, config.summary) for config in shipped_configs()]
        Terminal().columns([("config", "command", "what it does"), *rows])


_ConfigName = Annotated[
    str, typer.Argument(metavar="NAME", help="Name of a config that `aecli configs` lists.")
]


@configs_app.command("show", cls=Command)
def configs_show(name: _ConfigName) -> None:
    """Print a config, with the comments that say what it is and what it scored."""
    from aecli.cli.shipped import shipped_config

    Terminal().data(shipped_config(name).path.read_text("utf-8").rstrip("\n"))


@configs_app.command("copy", cls=Command)
def configs_copy(
    name: _ConfigName,
    to: Annotated[
        str,
        typer.Argument(
            metavar="TO",
            help="File to write, or folder to write it in; nothing is replaced (default: the"
            " current folder).",
            show_default=False,
        ),
    ] = ".",
) -> None:
    """Copy a config, to edit it and to give it to --config."""
    from aecli.cli.shipped import copy_config

    Terminal().path(copy_config(name, to))


@data_app.callback(invoke_without_command=True)
def _data(context: typer.Context) -> None:
    """List the datasets: where each is on this machine, and what it is."""
    if context.invoked_subcommand is None:
        from aecli.data import inventory
        from aecli.data.sources import default_places

        Terminal().columns(inventory.overview(default_places()))


@data_app.command("fetch", cls=Command)
def data_fetch(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name of a dataset that `aecli data` lists.")
    ],
    data_dir: Annotated[str | None, DATA_DIR] = None,
) -> None:
    """Get a dataset, downloaded into the user's cache if need be, and print its folder."""
    from aecli.data import inventory
    from aecli.data.sources import default_places

    terminal = Terminal()
    places = replace(default_places(data_dir), working=terminal.working)
    terminal.path(inventory.fetch(name, places, terminal.say))


@data_app.command("verify", cls=Command)
def data_verify(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="Name of one dataset (default: all that are on this machine).",
            show_default=False,
        ),
    ] = None,
    data_dir: Annotated[str | None, DATA_DIR] = None,
) -> None:
    """Check every file that is on this machine; exit 3 if one is damaged."""
    from aecli.data import inventory
    from aecli.data.sources import default_places

    terminal = Terminal()
    terminal.columns(inventory.verify(name, default_places(data_dir), terminal.say))


@data_app.command("look", cls=Command)
def data_look(
    path: Annotated[
        str,
        typer.Argument(metavar="PATH", help="Folder of images, array, or scene."),
    ],
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Setting of the images, such as data.tile=64 (default: none).",
        ),
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option(
            "-o",
            metavar="FILE",
            help="Picture to write of some of the images (default: NAME-look.png, here).",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say what is at a path and what training would use of it, and draw a sheet of samples.

    Exit 3 if there are files that cannot be used; each is named.
    """
    from aecli.cli.look import look

    look(path, assignments or (), sheet, Terminal(as_json=as_json))
