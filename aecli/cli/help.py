"""Help as plain text, legible at any width, with examples that a test runs.

Typer's own help draws boxes of Rich, whose columns of options are cut on narrow terminals.
"""

import difflib
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

_NARROW = 60  # columns; below, what an option does stands under its name
_WIDEST = 100
_NAMES = 28  # columns for the names, at most

# Command -> (what the example does, the line). tests/test_examples.py runs each of them.
EXAMPLES: dict[str, tuple[tuple[str, str], ...]] = {
    "": (
        ("Train the chapter's network and measure it.", "aecli train --code-dim 32"),
        ("Show what a command does, with examples.", "aecli help sample"),
    ),
    "train": (
        ("Train the chapter's network with a code of 32 numbers.", "aecli train --code-dim 32"),
        (
            "Train by the chapter's own recipe, and fail (exit 7) unless it gets below 0.021.",
            "aecli train --recipe chapter --expect 'test_mse<0.021'",
        ),
    ),
    "sweep-codedim": (
        ("Measure the chapter's table.", "aecli sweep-codedim 2 8 32 784"),
        (
            "Go on with it after an interruption, two trainings at a time.",
            "aecli sweep-codedim 2 8 32 784 --continue --jobs 2",
        ),
    ),
    "pca-compare": (
        ("Compare at the default code dimensions.", "aecli pca-compare"),
        (
            "Look at one seed of the chapter's own recipe.",
            "aecli pca-compare 2 32 --seeds 1 --recipe chapter",
        ),
    ),
    "sweep-downsampling": (
        ("Take a look at two factors.", "aecli sweep-downsampling 2 4 --quick --code-dim 196"),
        (
            "Cut photographs into tiles and compare all factors.",
            "aecli sweep-downsampling --config downsampling --dataset ./photos",
        ),
    ),
    "tune": (
        ("Look for better settings for ten minutes.", "aecli tune --budget 10m"),
        (
            "Look for those of a convolutional codec of your own images, and go on where it was.",
            "aecli tune --dataset ./photos --codec conv --budget 1h --continue",
        ),
    ),
    "reproduce": (
        ("Judge every claim; fifty minutes on two cores.", "aecli reproduce"),
        ("Take a first look in three minutes.", "aecli reproduce --quick"),
    ),
    "interpolate": (
        (
            "Train a code of two numbers and walk from a 3 to an 8 in it.",
            "aecli interpolate --code-dim 2 --from-digit 3 --to-digit 8",
        ),
        ("Walk in the code of the newest finished run.", "aecli interpolate --run latest"),
    ),
    "sample": (
        ("Draw codes for the model of the newest finished run.", "aecli sample --run latest"),
        ("Train a code of 8 numbers first.", "aecli sample --code-dim 8 --samples 500"),
    ),
    "to-vae": (
        ("Convert the codec of the newest finished run.", "aecli to-vae latest"),
        (
            "Convert it with several weights of N(0, I), for the curve of what they cost.",
            "aecli to-vae latest --set 'betas=[4, 16]'",
        ),
    ),
    "evaluate": (
        ("Put the codes of the newest finished run to work.", "aecli evaluate latest"),
        (
            "Look at two parts of it alone.",
            "aecli evaluate latest --parts clustering,retrieval",
        ),
    ),
    "resume": (
        ("Go on with a run.", "aecli resume runs/20261123T002049Z-train-mlp32"),
        (
            "Go on and judge the result, in a script that is tried again.",
            "aecli resume runs/20261123T002049Z-train-mlp32 --json --expect 'test_mse<=0.006'",
        ),
    ),
    "encode": (
        ("Encode all images of a dataset.", "aecli encode latest mnist -o codes.npy"),
        (
            "Encode a folder of photographs and find the oddest of them.",
            "aecli encode latest ./photos -o photos.npy --scores",
        ),
    ),
    "decode": (
        ("Decode codes into pictures.", "aecli decode latest codes.npy -o decoded"),
        ("Decode them into one array.", "aecli decode latest codes.npy -o decoded --npy"),
    ),
    "search": (
        (
            "Find the digits nearest to the one of index 7.",
            "aecli search latest 7 --in codes.npy",
        ),
        (
            "Find what is nearest to an image, by the angle between codes.",
            "aecli search latest digit.png --in codes.npy -k 5 --metric cosine",
        ),
    ),
    "export": (
        ("Export encoder and decoder as ONNX.", "aecli export latest -o exported"),
        ("Export them as torch.export has them.", "aecli export latest --format torch -o exported"),
    ),
    "report": (
        ("Make a page of the newest finished run.", "aecli report latest -o report.html"),
        ("Make one of all trainings.", "aecli report '*-train-*' -o trainings.html"),
    ),
    "ls": (
        ("List the runs.", "aecli ls"),
        (
            "List trainings by their error, the best first.",
            "aecli ls --where command==train --columns run,codec.code_dim,test_mse --sort test_mse",
        ),
    ),
    "compare": (
        (
            "Compare the trainings of the last week.",
            "aecli compare --where command==train --since 7d",
        ),
        (
            "Fail (exit 7) if the newest run is 2% worse than another one.",
            "aecli compare latest --baseline 20261120T080000Z-train-mlp32 --expect"
            " 'test_mse<=baseline*1.02'",
        ),
    ),
    "rm": (
        ("Remove the newest finished run without a question.", "aecli rm latest --yes"),
        (
            "Keep the 3 trainings with the lowest error.",
            "aecli rm --where command==train --keep-best 3 --by test_mse --yes",
        ),
    ),
    "clean": (
        ("Say what the cache holds, and ask before it is removed.", "aecli clean"),
        ("Remove decoded images from the cache, without a question.", "aecli clean images --yes"),
    ),
    "schema": (
        ("Print the schema of `aecli train`.", "aecli schema"),
        ("Keep that of a sweep for an editor.", "aecli schema sweep-codedim > sweep.schema.json"),
    ),
    "configs": (
        ("List the configs.", "aecli configs"),
        ("Train by one of them.", "aecli train --config chapter"),
    ),
    "configs show": (
        ("Print a config with its comments.", "aecli configs show best32"),
        ("Keep a copy of it.", "aecli configs show best32 > best32.yaml"),
    ),
    "configs copy": (
        ("Copy a config into this folder.", "aecli configs copy chapter"),
        ("Copy it under another name.", "aecli configs copy chapter mine.yaml"),
    ),
    "data": (
        ("List the datasets.", "aecli data"),
        ("Download one of them.", "aecli data fetch mnist"),
    ),
    "data fetch": (
        ("Get MNIST from the first source that has it.", "aecli data fetch mnist"),
        ("Get the digits that need no download.", "aecli data fetch mnist-5k"),
    ),
    "data verify": (
        ("Check every dataset on this machine.", "aecli data verify"),
        ("Check one.", "aecli data verify mnist-5k"),
    ),
    "data look": (
        ("Say what is in a folder and how it would be split.", "aecli data look ./photos"),
        ("Cut its images into tiles.", "aecli data look ./photos --set data.tile=64"),
    ),
    "completion": (
        ("Let this bash complete aecli's commands.", "aecli completion bash > aecli.bash"),
        ("Print the script for zsh.", "aecli completion zsh"),
    ),
    "help": (
        ("Show the help of a command.", "aecli help train"),
        ("List the exit codes.", "aecli help exit-codes"),
    ),
}


class Command(TyperCommand):
    """Command whose help ends with its examples."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        formatter.write(_help(self, ctx))


class Group(TyperGroup):
    """Group of commands whose help ends with its examples."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        formatter.write(_help(self, ctx, self.commands))


def explain(error: typer.TyperException, argv: Sequence[str]) -> str:
    """The message of a mistake that typer found, and which help to read; "" if there is none."""
    ctx: Any = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":  # its message is the help
        sys.stderr.write(ctx.get_help())
        return ""
    message: str = error.format_message()
    command = next((f" {word}" for word in argv[1:] if not word.startswith("-")), "")
    path = ctx.command_path if ctx is not None else f"aecli{command}"
    if not message:  # the help was shown instead
        return ""
    option = getattr(error, "option_name", None)
    if option is not None and ctx is not None and isinstance(ctx.command, TyperGroup):
        right = _with_option_after_command(ctx.command, option, argv)
        if right:
            return f"{option} stands after the command: {right}"
    return f"{message}  (see {path} --help)"


def nearest(word: str, words: Iterable[str]) -> str:
    """A question whether the nearest of `words` was meant, or all of them."""
    known = list(words)
    begun = [each for each in known if each.startswith(word)]
    near = begun or difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"


def paragraphs(text: str, indent: str = "") -> str:
    """`text` filled to the terminal's width, paragraph by paragraph."""
    return "\n\n".join(_filled(part, indent) for part in text.split("\n\n"))


def _with_option_after_command(group: TyperGroup, option: str, argv: Sequence[str]) -> str | None:
    """The line as it has to be typed; None if no command named in it has such an option."""
    import shlex

    words = list(argv[1:])
    for n, word in enumerate(words):
        command = group.commands.get(word)
        if command is not None:
            known = {name for param in command.params for name in param.opts}
            if option not in known:
                return None
            return shlex.join(["aecli", word, *words[:n], *words[n + 1 :]])
    if any(option in param.opts for c in group.commands.values() for param in c.params):
        return f"aecli COMMAND {option}"
    return None


def _help(
    command: TyperCommand | TyperGroup, ctx: Any, commands: Mapping[str, Any] | None = None
) -> str:
    usage = " ".join(["Usage:", ctx.command_path, *command.collect_usage_pieces(ctx)])
    parts = [_filled(usage, "", "  "), paragraphs(textwrap.dedent(command.help or "").strip())]
    panels: dict[str, list[tuple[str, str]]] = {}
    for param in command.get_params(ctx):
        panel, names = _names(param)
        panels.setdefault(panel, []).append((names, getattr(param, "help", None) or ""))
    parts += [listing(panel, rows) for panel, rows in sorted(panels.items(), key=_order)]
    if commands:
        rows = [
            (name, (each.help or "").strip().split("\n\n")[0]) for name, each in commands.items()
        ]
        parts.append(listing("Commands", rows))
    name = ctx.command_path.partition(" ")[2]
    lines = [
        f"{_filled('# ' + what, '  ', '  # ')}\n  {line}" for what, line in EXAMPLES.get(name, ())
    ]
    if lines:
        parts.append("Examples:\n" + "\n".join(lines))
    parts.append("Exit codes: aecli help exit-codes")
    return "\n\n".join(parts) + "\n"


def _names(param: Any) -> tuple[str, str]:
    """The heading that a parameter stands under, and how it is typed."""
    if param.param_type_name == "argument":
        return "Arguments", param.metavar or param.name.upper()
    metavar = "" if param.is_flag else f" {param.metavar or 'TEXT'}"
    names = ", ".join(sorted(param.opts, key=len)) + metavar
    return getattr(param, "rich_help_panel", None) or "Options", names


def _order(panel: tuple[str, Any]) -> int:
    return {"Arguments": 0, "Options": 1}.get(panel[0], 2)


def listing(heading: str, rows: Sequence[tuple[str, str]]) -> str:
    """Names and texts in two columns; below one another on a narrow terminal."""
    names = min(max(len(name) for name, _ in rows), _NAMES)
    lines = [f"{heading}:"]
    for name, text in rows:
        if _columns() < _NARROW:
            lines += [f"  {name}", _filled(text, "      ")]
        elif len(name) > names:
            lines += [f"  {name}", _filled(text, " " * (names + 4))]
        else:
            lines.append(_filled(text, f"  {name:<{names}}  ", " " * (names + 4)))
    return "\n".join(lines)


def _filled(text: str, indent: str = "", later: str | None = None) -> str:
    return textwrap.fill(
        " ".join(text.split()),
        _columns(),
        initial_indent=indent,
        subsequent_indent=indent if later is None else later,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _columns() -> int:
    return min(max(shutil.get_terminal_size().columns, 20), _WIDEST)
