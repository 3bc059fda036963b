"""One new thing of each kind, in one file and one line: every command takes it."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import aecli
from tests.conftest import environment

FILES = {
    "codecs/toy_settings.py": '''
from typing import ClassVar, Literal

from aecli.fields import CodecSection, PositiveInt


class ToyConfig(CodecSection):
    """Small convolutional network, with buffers and a code that is no vector."""

    made_by: ClassVar[str] = "aecli.codecs.toy:Toy"
    name: Literal["toy"] = "toy"
    width: PositiveInt = 4
    """Channels between."""
''',
    "codecs/toy.py": """
from torch import nn

from aecli.codecs.base import Codec


class Toy(Codec):
    def __init__(self, image_shape, settings):
        super().__init__(image_shape, settings, code_shape=(settings.code_dim, 1, 1))
        channels, height, width = image_shape
        small, n = (settings.width, height // 2, width // 2), settings.width * height * width // 4
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, settings.width, 3, stride=2, padding=1),
            nn.BatchNorm2d(settings.width),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(n, settings.code_dim),
            nn.Unflatten(1, self.code_shape),
        )
        self.decoder = nn.Sequential(
            nn.Flatten(),
            nn.Linear(settings.code_dim, n),
            nn.Unflatten(1, small),
            nn.ConvTranspose2d(settings.width, channels, 2, stride=2),
            nn.Sigmoid(),
        )

    def encode(self, images):
        self._require_images(images)
        return self.encoder(images)

    def decode(self, codes):
        self._require_codes(codes)
        return self.decoder(codes)
""",
    "data/toy.py": """
import torch

from aecli.data.images import InMemory, Raw


def read_toy(places, say):
    generator = torch.Generator().manual_seed(0)

    def part(n):
        labels = torch.arange(n) % 4
        angles = torch.linspace(0, 3, 12 * 16).view(12, 16)
        images = torch.sin(angles * (1 + labels.view(-1, 1, 1)))
        colours = torch.rand((n, 3, 1, 1), generator=generator)
        images = (0.5 + 0.4 * images.unsqueeze(1) * colours).clamp(0, 1)
        mask = torch.rand((n, 1, 12, 16), generator=generator) > 0.1
        images[~mask.expand_as(images)] = float("nan")
        return InMemory(images, labels, mask)

    return Raw(part(450), part(120), "drawn", "0" * 64, None)
""",
    "training/toy_loss.py": '''
from typing import ClassVar, Literal

from aecli.data.images import squared_errors
from aecli.fields import LossSection, PositiveFloat


class ToyLoss(LossSection):
    """Squared error and a pull of the codes towards zero."""

    made_by: ClassVar[str] = "aecli.training.toy_loss:toy"
    terms: ClassVar[tuple[str, ...]] = ("pulled", "mse")
    name: Literal["toy"] = "toy"
    pull: PositiveFloat = 0.001
    """Weight of the codes' mean square."""


def toy(codec, inputs, batch, settings):
    codes = codec.encode(inputs)
    errors, weights = squared_errors(codec.decode(codes).float(), batch)
    pull = settings.pull * codes.float().square().flatten(1).mean(1)
    return {"pulled": (errors + pull, weights), "mse": (errors, weights)}
''',
    "codespace/toy_sampler.py": """
from aecli.codespace.samplers import Drawn, gaussian


def narrow(training, n, generator):
    drawn = gaussian(training, n, generator)
    return Drawn(training.mean(dim=0) + 0.5 * (drawn.codes - training.mean(dim=0)))
""",
    "training/toy_engine.py": """
def backwards(work, shared, tasks, place):
    for index in reversed(range(len(tasks))):
        yield index, work(shared, tasks[index])
""",
}
# File -> the line after which the new one stands, and the new one.
LINES = {
    "codecs/settings.py": (
        '    "thumbnail": ThumbnailConfig,\n}\n',
        'from aecli.codecs.toy_settings import ToyConfig; CODECS["toy"] = ToyConfig\n',
    ),
    "data/known.py": (
        "DATASETS: dict[str, Dataset] = {\n",
        '    "toy": Dataset("toy", (3, 12, 16), 450, 120, _lazily("aecli.data.toy:read_toy")),\n',
    ),
    "config/sections.py": (
        r"LOSSES: dict.*\n",
        'from aecli.training.toy_loss import ToyLoss; LOSSES["toy"] = ToyLoss\n',
    ),
    "config/sections.py ": (
        '    "muon": {},\n',
        '    "toy": {"epochs": 2, "batch_size": 50, "optimizer": {"name": "adam", "lr": 0.01}},\n',
    ),
    "codespace/samplers.py": (
        '    "flow": flow,\n}\n',
        'from aecli.codespace.toy_sampler import narrow; SAMPLERS["narrow"] = narrow\n',
    ),
    "config/experiments.py": (
        "JOB_ENGINES = {",
        '"backwards": "aecli.training.toy_engine:backwards", ',
    ),
}

DRIVER = """
import json, os, signal, sys
from aecli.cli import main
from aecli.codespace import flow
from aecli.measure import classifier
from aecli.runs.folder import RunDir
from aecli.training.loop import Training

flow.PRODUCTS = 1  # one step

def call(*arguments):
    sys.argv = ["aecli", *arguments]
    try:
        main()
    except SystemExit as end:
        return end.code

def killed_at(step, *arguments):
    true = Training.take_step
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    def take_step(training):
        if training.step == step:
            os.kill(os.getpid(), signal.SIGKILL)
        true(training)
    Training.take_step = take_step
    os._exit(call(*arguments))

TOY = ("--dataset", "toy", "--codec", "toy", "--recipe", "toy", "--threads", "1", "-q")
TOY += ("--set", "data.val=110")
MORE = ("--set", "codec.width=3", "--set", "train.loss=toy", "--set", "checkpoint_seconds=0")
one, ordered = ("--code-dim", "4"), ("--set", "train.ordered=true")
done = {
    "killed": killed_at(8, "train", *TOY, *MORE, *one, "--runs-dir", "killed"),
    "resume": call("resume", "latest", "-q", "--runs-dir", "killed"),
    "twin": call("train", *TOY, *MORE, *one, "--runs-dir", "twin"),
    "undrawn": setattr(RunDir, "save_figure", lambda *_: None),
    "untrained": setattr(classifier, "EPOCHS", 1),
    "train": call("train", *TOY, *MORE, *one, "--set", "train.noise=gaussian", *ordered),
    "sample": call("sample", "--run", "latest", "--samples", "100", "--offline", "-q"),
    "interpolate": call("interpolate", "--run", "latest", "--pairs", "20", "--offline", "-q"),
    "evaluate": call(
        "evaluate", "latest", "--parts", "retrieval,anomaly,robustness", "--seeds", "1",
        "--jobs", "1", "--set", "anomaly.epochs=1", "--offline", "-q",
    ),
    "encode": call("encode", "latest", "toy", "-o", "codes.npy", "--scores", "-q"),
    "sweep": call(
        "sweep-codedim", "2", "8", *TOY, *MORE[:4], "--seeds", "1", "--set", "engine=backwards"
    ),
    "pca": call("train", "--dataset", "toy", "--codec", "pca", *one, "-q"),
}
print(json.dumps(done), file=sys.stderr)
"""


def inserted(text, after, line):
    """`text` with a line behind what matches `after`, and how often that stands there."""
    pattern = after if ".*" in after else re.escape(after)
    return re.subn(pattern, lambda match: match[0] + line, text)


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A copy of the program with one more of each kind, after every command was run with it."""
    folder = tmp_path_factory.mktemp("house")
    source = Path(aecli.__file__).parent
    shutil.copytree(source, folder / "aecli", ignore=shutil.ignore_patterns("__pycache__"))
    if (source.parent / "configs").is_dir():  # a checkout; the wheel has them inside
        shutil.copytree(source.parent / "configs", folder / "configs")
    for name, text in FILES.items():
        (folder / "aecli" / name).write_text(text)
    for name, (after, line) in LINES.items():
        path = folder / "aecli" / name.strip()
        text, times = inserted(path.read_text(), after, line)
        assert times == 1, f"{name}: {after!r} stands there {times} times"
        path.write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", DRIVER],
        cwd=folder,
        env=environment(folder, PYTHONPATH=str(folder)),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stderr.splitlines()[-1]), done


def record_of(folder):
    [path] = [path for path in folder.glob("*Z-*") if not path.is_symlink()]
    return path


def test_every_command_takes_them(house):
    _, codes, done = house
    assert (codes.pop("killed"), codes.pop("undrawn"), codes.pop("untrained")) == (-9, None, None)
    assert set(codes.values()) == {0}, f"{codes}\n{done.stderr}"


def test_a_killed_run_ends_as_its_twin(house):
    folder, _, _ = house
    killed, twin = record_of(folder / "killed"), record_of(folder / "twin")
    for name in ("model/model.safetensors", "training_curve.png", "reconstructions.png"):
        assert (killed / name).read_bytes() == (twin / name).read_bytes(), name
    assert json.loads((killed / "run.json").read_text())["resumed"]


def test_the_terms_of_the_loss_are_columns_and_are_drawn(house):
    folder, _, _ = house
    header = (record_of(folder / "twin") / "history.csv").read_text().splitlines()[0]
    assert header == "epoch,train_mse,val_mse,train_pulled,val_pulled,lr,seconds"


def test_masked_pixels_are_in_no_number(house):
    # What stands behind the masks is no number at all.
    folder, _, _ = house
    metrics = json.loads((record_of(folder / "twin") / "metrics.json").read_text())
    for name in ("train_mse", "val_mse", "test_mse", "pca_test_mse", "mean_image_test_mse"):
        assert 0 < metrics[name] < 0.2, name
    assert metrics["code_dim"] == 4


def test_the_sampler_and_the_job_engine_are_used(house):
    folder, _, _ = house
    runs = [path for path in (folder / "runs").iterdir() if not path.is_symlink()]
    [sampled] = [path for path in runs if "-sample-" in path.name]
    assert "\nnarrow," in (sampled / "samplers.csv").read_text()
    [swept] = [path for path in runs if "-sweep-" in path.name]
    assert json.loads((swept / "run.json").read_text())["config"]["engine"] == "backwards"
    assert len((swept / "table.csv").read_text().splitlines()) == 3
