"""`aecli completion`: the shells themselves complete by the script that it prints."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import environment

PROGRAM = Path(sys.executable).with_name("aecli")


@pytest.mark.parametrize(
    ("typed", "word", "expected"),
    [
        ("tr", 1, ["train"]),
        ("train --code-", 2, ["--code-dim"]),
        ("train --codec r", 3, ["rotated-dct"]),
        ("sample --device c", 3, ["cpu", "cuda"]),
        ("export x --format t", 4, ["torch"]),
        ("resume x --device c", 4, ["cpu", "cuda"]),
        ("data fe", 2, ["fetch"]),
        ("help ex", 2, ["export", "exit-codes", "expect"]),
    ],
)
def test_bash_completes(inside, tmp_path, typed, word, expected):
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash")
    script = tmp_path / "aecli.bash"
    script.write_text(inside("completion", "bash").stdout)
    code = (
        f'source "{script}"; COMP_WORDS=(aecli {typed}); COMP_CWORD={word};'
        ' _aecli_completion aecli; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    path = f"{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [bash, "--norc", "-c", code],
        env=environment(tmp_path, PATH=path),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.split() == expected, done.stderr


def test_the_program_answers_zsh_and_fish(aecli):
    zsh = aecli(env={"_AECLI_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": "aecli tr"})
    assert '"train"' in zsh.stdout
    fish = aecli(
        env={
            "_AECLI_COMPLETE": "complete_fish",
            "_TYPER_COMPLETE_ARGS": "aecli tr",
            "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        }
    )
    assert fish.stdout.startswith("train")


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_shell_takes_the_script(inside, tmp_path, shell):
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"there is no {shell}")
    script = tmp_path / f"aecli.{shell}"
    script.write_text(inside("completion", shell).stdout)
    done = subprocess.run([program, "-n", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_another_shell_is_refused(inside):
    done = inside("completion", "tcsh")
    assert done.code == 2
    assert done.errors == ["aecli: aecli completion tcsh: expected bash, zsh or fish"]
