"""Help: every option in a plain sentence with its default, two examples per command, any width."""

import re

import pytest
import typer

from aecli.cli import app, flags, metric_names
from aecli.cli.help import EXAMPLES
from aecli.cli.options import alternatives
from aecli.cli.shipped import shipped_configs
from aecli.cli.topics import EXIT_CODES
from aecli.codecs.settings import CODECS
from aecli.config import EXPERIMENTS

# Words that leave a reader in the middle of a sentence.
RIDDLES = ("Of ", "As ", "What ", "Whether ", "How ", "Where ", "Which ", "One ", "It ")
CONFIG_KEYS = {
    "--code-dim": "codec.code_dim",
    "--codec": "codec.name",
    "--recipe": "train.recipe",
    "--epochs": "train.epochs",
    "--batch-size": "train.batch_size",
    "--lr": "train.optimizer.lr",
    "--precision": "train.precision",
    "--dataset": "data.dataset",
    "--seed": "seed",
    "--device": "device",
    "--seeds": "seeds",
    "--steps": "steps",
    "--pairs": "pairs",
    "--samples": "samples",
    "code_dims": "code_dims",
}
NONE_BY_DEFAULT = {
    "--from-digit": "any",
    "--to-digit": "another",
    "--from-index": "drawn",
    "--to-index": "drawn",
    "--limit-train": "all",
    "--jobs": "one per core",
    "--threads": "one per core",
    "--run": "none",
    "--data-dir": "$AECLI_DATA_DIR",
}


def commands():
    def walk(command, path):
        yield " ".join(path), command
        for name, child in getattr(command, "commands", {}).items():
            yield from walk(child, [*path, name])

    return dict(walk(typer.main.get_command(app), []))


COMMANDS = commands()
OPTIONS = [
    (name, param)
    for name, command in COMMANDS.items()
    for param in command.params
    if "--help" not in param.opts
]


def config_default(command, key):
    value = EXPERIMENTS[command]()
    for part in key.split("."):
        value = getattr(value, part)
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


@pytest.mark.parametrize(
    ("command", "param"), OPTIONS, ids=[f"{c} {p.opts[0]}" for c, p in OPTIONS]
)
def test_every_option_is_a_sentence_with_its_default(command, param):
    text = param.help
    assert text, param.name
    assert text[0].isupper()
    assert not text.startswith(RIDDLES)
    assert text.endswith(".")
    if param.param_type_name == "option" and param.is_flag:
        return
    default = re.search(r"\(default: (.+?)\)", text)
    assert (default is None) == param.required, text
    name = param.opts[0]
    if command in EXPERIMENTS and name in CONFIG_KEYS:
        shown = re.split(r"[;,]", default[1])[0]
        assert shown == config_default(command, CONFIG_KEYS[name])
    elif command in EXPERIMENTS and name in NONE_BY_DEFAULT:
        assert default[1].startswith(NONE_BY_DEFAULT[name])


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_ends_with_two_examples_and_the_exit_codes(inside, command):
    done = inside(*command.split(), "--help")
    assert (done.code, done.stderr) == (0, "")
    assert len(EXAMPLES[command]) == 2
    end = done.stdout.split("\nExamples:\n")[1]
    for _, line in EXAMPLES[command]:
        assert f"\n  {line}\n" in end
    assert end.rstrip().endswith("Exit codes: aecli help exit-codes")
    assert inside("help", *command.split()).stdout == done.stdout


def test_the_words_that_a_shell_completes_are_those_of_the_config():
    assert flags.CODEC.words == tuple(CODECS)
    assert alternatives("auto|cpu") == ["auto", "cpu"]
    assert alternatives("NAME|FILE") == alternatives("faiss") == alternatives(None) == []


def test_there_are_examples_of_commands_only():
    assert EXAMPLES.keys() == COMMANDS.keys()


@pytest.mark.parametrize("columns", [40, 80, 200])
@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_the_terminal(inside, monkeypatch, command, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = inside("help", *command.split()).stdout.splitlines()
    shown = {f"  {line}" for _, line in EXAMPLES[command]}  # to be copied, so never broken
    assert max(len(line) for line in lines if line not in shown) <= min(columns, 100)


def test_the_topics_of_help(inside):
    codes = inside("help", "exit-codes").stdout
    assert all(re.search(rf"^ *{code}  ", codes, re.MULTILINE) for code in EXIT_CODES)
    listed = re.split(r"[\s,:]+", inside("help", "expect").stdout)
    assert {name for names in metric_names.METRICS.values() for name in names} <= set(listed)
    assert "--config" in inside("help", "config").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "No such command 'trian'. Did you mean 'train'?"),
        (["data", "fecth"], "Did you mean 'fetch'?"),
        (["help", "trian"], "no 'trian'; did you mean 'train'?"),
        (["help", "exit"], "no 'exit'; did you mean 'exit-codes'?"),
        (["help", "data", "fecth"], "did you mean 'fetch'?"),
        (["help", "train", "more"], "see aecli train --help"),
        (
            ["-q", "train", "--epochs", "1"],
            "-q stands after the command: aecli train -q --epochs 1",
        ),
        (
            ["--dataset", "mnist", "train"],
            "--dataset stands after the command: aecli train --dataset mnist",
        ),
        (["--json"], "--json stands after the command: aecli COMMAND --json"),
        (["-q", "schema"], "No such option: -q  (see aecli --help)"),
        (["train", "--epohcs", "1"], "(see aecli train --help)"),
    ],
)
def test_a_typo_is_answered_with_what_is_right(inside, arguments, message):
    done = inside(*arguments)
    assert (done.code, done.stdout) == (2, "")
    assert message in done.stderr


def test_configs_are_listed_with_their_command_and_a_whole_sentence(inside):
    lines = inside("configs").stdout.splitlines()
    assert len(lines) == len(shipped_configs()) + 1
    for line, config in zip(lines[1:], shipped_configs(), strict=True):
        assert line.split()[:2] == [config.name, config.command]
        assert line.endswith(".")
        assert f"\nexperiment: {config.command}\n" in config.path.read_text("utf-8")


def test_the_schema_says_what_every_key_does(inside):
    import json

    for name in EXPERIMENTS:
        schema = json.loads(inside("schema", name).stdout)
        models = [schema, *schema["$defs"].values()]
        for model in models:
            for key, field in model["properties"].items():
                if key in ("name", "experiment") and "const" in field:
                    continue  # a codec's name, a command's: the title says what it is
                text = field.get("description", "")
                assert text.endswith("."), f"{model['title']}.{key}"
                assert not text.startswith(RIDDLES)


@pytest.mark.parametrize("option", ["--set", "--config", "--epochs", "--expect", "--runs-dir"])
def test_an_option_without_its_value_is_one_line(inside, option):
    done = inside("train", "--dry-run", option)
    assert done.code == 2
    [line] = done.errors
    assert f"Option '{option}' requires an argument" in line
    assert "(see aecli train --help)" in line


def test_the_program_alone_shows_its_help(inside):
    done = inside()
    assert done.code == 2
    assert done.stderr.startswith("Usage: ")
    assert "aecli: " not in done.stderr
