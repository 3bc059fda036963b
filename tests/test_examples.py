"""Every example in a help text and in a shell block of the README runs, on little data.

The rule: the line is run as it stands, with options added that make it small (a later one wins):
300 digits of mnist-5k, one epoch, one seed; ./photos are 40 small pictures. Code dimensions over 32
are left out. A run folder becomes one that is there, a dataset to fetch the one that needs no
network. `--expect` may fail (7): its name and form hold. Nothing is drawn.
"""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aecli.cli import encode, look, search
from aecli.cli.help import EXAMPLES
from aecli.experiments import (
    evaluate,
    interpolate,
    pca_compare,
    sample,
    sweep_codedim,
    to_vae,
    train,
)
from tests.conftest import ONE_PIXEL

README = Path(__file__).parents[1] / "README.md"
DATA = ("--dataset", "mnist-5k", "--offline")
TINY = (*DATA, "--limit-train", "300", "--epochs", "1")
NARROW = ("--set", "codec.width=2", "--set", "codec.widest=4", "--set", "codecs=[dc]")
SMALLER = {
    "train": (*TINY, "--batch-size", "100"),
    "sweep-codedim": (*TINY, "--seeds", "1", "--jobs", "1"),
    "pca-compare": (*TINY, "--seeds", "1", "--jobs", "1"),
    "sweep-downsampling": (*DATA, "--limit-train", "64", "--jobs", "1", *NARROW),
    "interpolate": (*TINY, "--pairs", "5"),
    "sample": (*TINY, "--samples", "40"),
    "to-vae": ("--offline", "--epochs", "1", "--samples", "40"),
    "evaluate": ("--offline", "--seeds", "1", "--parts", "robustness"),
    "tune": (*TINY, "--batch-size", "100", "--budget", "4s", "--jobs", "1"),
    "reproduce": ("--dry-run",),  # tests/test_reproduce.py runs it
    "resume": (),
    "encode": ("--offline",),
}
NOT_RUN = {
    "pip": "installs the program",
    "pytest": "runs the tests, of which this is one",
    "tail": "takes the last line of a call that is run",
}


def shell_blocks(text):
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        yield from block.splitlines()


def calls(line):
    """The programs that a line of shell calls, each as a list of words."""
    line = re.sub(r"\w+=\$\((.*?)\)", r"\1", line)  # run=$(aecli ...)
    part, parts = [], []
    for word in shlex.split(line, comments=True):
        if word in ("|", "&&"):
            parts.append(part)
            part = []
        else:
            part.append(word)
    for words in filter(None, [*parts, part]):
        yield words[: words.index(">")] if ">" in words else words


LINES = [line for examples in EXAMPLES.values() for _, line in examples]
LINES += list(shell_blocks(README.read_text("utf-8")))
CALLS = {shlex.join(call): call for line in LINES for call in calls(line) if call[0] == "aecli"}
OTHERS = {call[0] for line in LINES for call in calls(line) if call[0] != "aecli"}


def small(words, run):
    """The words that make a call small, and a run folder that is there in place of any other."""
    if words[0] in ("compare", "ls", "rm"):
        return words
    words = [run if re.match(r"runs/\d{8}T|\$run", word) else word for word in words]
    if words[:2] == ["data", "fetch"]:
        return ["data", "fetch", "mnist-5k"]
    if words[0] in ("sweep-codedim", "pca-compare"):
        words = [word for word in words if not word.isdecimal() or int(word) <= 32]
    extra = list(SMALLER.get(words[0], ()))
    if "./photos" in words:
        one = [*("--epochs", "1", "--jobs", "1"), *NARROW, *("--set", "data.tile=64")]
        extra = {
            "train": ["--epochs", "1"],
            "encode": ["--set", "data.size=28"],
            "tune": ["--epochs", "1", "--budget", "6s", "--jobs", "1"],
            "sweep-downsampling": [*one, *("--set", "downsamplings=[8]", "--set", "fewer=[]")],
        }.get(words[0], [])
    if words[0] == "encode":
        words = ["mnist-5k" if word == "mnist" else word for word in words]
    if "--run" in words:  # whose training is that of the run
        extra = ["--offline", *extra[len(TINY) :]]
    return [*words, *extra]


def write_photos(folder):
    """Forty pictures of 64x80 pixels."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    for i in range(40):
        pixels = generator.integers(0, 256, (64, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")


def write_codes(inside):
    """codes.npy of the small run's model, and one of its images as digit.png."""
    assert inside("encode", "latest", "mnist-5k", "-o", "codes.npy", "--part", "val").code == 0
    Image.fromarray(np.zeros((28, 28), np.uint8)).save("digit.png")


@pytest.fixture
def quick(monkeypatch):
    """Nothing is drawn, and the probes read little."""
    for module in (look, pca_compare, sample, search, to_vae, train):
        monkeypatch.setattr(module, "_draw", lambda *_: None)
    monkeypatch.setattr(encode, "_draw", lambda *_: ONE_PIXEL)
    for module in (evaluate, interpolate, sweep_codedim):
        monkeypatch.setattr(module, "draw", lambda *_: None)
    monkeypatch.setattr(sweep_codedim, "N_PROBE", 50)


@pytest.mark.parametrize("line", CALLS)
def test_every_example_runs(inside, quick, small_run, line):
    words = CALLS[line][1:]
    of_runs = any(word.startswith(("runs/", "$run")) or word == "latest" for word in words)
    if of_runs or words[0] == "report":
        shutil.copytree(small_run.run.parent, "runs", symlinks=True)
    if words[0] in ("compare", "ls", "rm"):
        if not Path("runs").exists():
            shutil.copytree(small_run.run.parent, "runs", symlinks=True)
        shutil.copytree(small_run.run, "runs/20261120T080000Z-train-mlp32")
    if words == ["resume", "latest"]:  # the newest unfinished one
        record = Path("runs", small_run.run.name, "run.json")
        record.write_text(record.read_text().replace('"completed"', '"interrupted"'))
    if "./photos" in words:
        write_photos(Path("photos"))
    if words[0] in ("decode", "search"):
        write_codes(inside)
    done = inside(*small(words, f"runs/{small_run.run.name}"))
    assert done.code in ((0, 7) if "--expect" in words else (0,)), done.stderr


def test_what_is_not_run_is_known_by_name():
    assert set(NOT_RUN) == OTHERS
