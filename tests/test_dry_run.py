"""`--dry-run`: it finds what the run would meet, with the run's exit codes, and writes nothing."""

import json
import shutil

import pytest

from aecli.config import EXPERIMENTS, ManyConfig, resolve, set_layer
from aecli.training import device
from tests.conftest import FEW_IMAGES, SMALL

ONLY_LOOK = ("--dry-run", "--offline")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train", "--expect", "tset_mse<1"], 2, "did you mean 'test_mse'?"),
        (["train", "--data-dir", "gone"], 3, "data folder gone: no such folder"),
        (["train", "--dataset", "mnist"], 3, "no source has it"),
        (["train", "--dataset", "fashion-mnist"], 3, "no source has it"),
        (["train", *FEW_IMAGES, "--batch-size", "301"], 2, "batch_size=301 must be at most 300"),
        (["train", "--dataset", "mnist-5k", "--limit-train", "9999"], 2, "must be at most 3667"),
        (["train", *FEW_IMAGES, "--set", "data.val=4000"], 2, "data.val=4000 must be less than"),
        (["train", "--codec", "pca", "--code-dim", "900"], 2, "must be at most 784"),
        (["train", *FEW_IMAGES, "--codec", "pca", "--code-dim", "400"], 2, "at most 300"),
        (["sample", "--run", "gone"], 3, "--run gone: no such run folder"),
        (["sample", "--run", "latest"], 3, "--run latest: no finished run"),
        (["pca-compare", "1000"], 2, "must be at most 784"),
        (["pca-compare", "400", *FEW_IMAGES], 2, "must be at most 300"),
        (["sweep-codedim", "900", "--codec", "dct"], 2, "must be at most 784"),
        (["sweep-codedim", *FEW_IMAGES, "--batch-size", "301"], 2, "batch_size=301 must be at"),
        (["train", *FEW_IMAGES, "--runs-dir", "/dev/null/runs"], 6, "cannot make a run folder in"),
        (["reproduce", "--set", "codec.name=linear"], 2, "codec.name=linear: the claims are"),
    ],
)
def test_a_dry_run_ends_as_the_run_would(inside, tmp_path, arguments, code, message):
    done = inside(*arguments, *ONLY_LOOK)
    assert (done.code, done.stdout) == (code, ""), done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert {path.name for path in tmp_path.iterdir()} <= {"cache"}  # matplotlib's, of fonts


def test_what_would_be_downloaded_is_said_and_not_downloaded(inside, tmp_path, monkeypatch):
    from aecli.data import downloads

    monkeypatch.delattr(downloads, "sources")  # or anything else that reaches out
    done = inside("train", "--dataset", "mnist", "--dry-run", "--json")
    assert done.code == 0, done.stderr
    told = json.loads(done.stdout)
    assert "would be downloaded" in told["data"]
    assert (told["training_images"], told["validation_images"]) == (55_000, 5_000)
    assert told["config"]["data"]["dataset"] == "mnist"
    assert json.loads(inside("train", "--dry-run", "--json").stdout)["config"]["data"][
        "dataset"
    ] == ("auto")
    assert {path.name for path in tmp_path.iterdir()} <= {"cache"}  # matplotlib's, of fonts


def test_offline_auto_is_mnist_5k_with_its_warning(inside):
    done = inside("train", *ONLY_LOOK)
    assert "dataset: mnist-5k" in done.stdout
    assert "WARNING: every figure of this run is mnist-5k's" in done.stderr


def test_the_images_that_would_train_are_said(inside):
    """FINDINGS 37: 3,667 of mnist-5k's by the recipe, all 4,000 by the config."""
    few = ("--dataset", "mnist-5k", *ONLY_LOOK)
    recipe = inside("train", "--recipe", "chapter", *few).stdout
    config = inside("train", "--config", "chapter", *few).stdout
    assert "# training_images: 3667\n# validation_images: 333\n" in recipe
    assert "# training_images: 4000\n# validation_images: 0\n" in config
    assert "precision: fp32" in recipe


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_nothing_is_left_open(inside, small_run, experiment):
    """FINDINGS 20: what is printed is what would run."""
    given = {"to-vae": (str(small_run.run),), "sweep-downsampling": ("8", "16", "32")}
    done = inside(
        experiment, *given.get(experiment, ()), "--dry-run", "--json", "--dataset", "mnist-5k"
    )
    assert done.code == 0, done.stderr
    config = json.loads(done.stdout)["config"]
    many = issubclass(EXPERIMENTS[experiment], ManyConfig)
    assert config["device"] in ("cpu", "cuda")
    assert config["threads"] == (1 if many else device.usable_cores())
    assert config["train"]["precision"] in ("fp32", "bf16")
    assert config["train"]["optimizer"]["precision"] in ("fp32", "bf16")
    assert config["data"]["dataset"] == "mnist-5k"


def test_a_damaged_model_is_found(inside):
    run = inside("train", *SMALL, "--code-dim", "2").run
    (run / "model/model.safetensors").write_bytes(b"")
    done = inside("sample", "--run", str(run), *ONLY_LOOK)
    assert (done.code, done.stdout) == (3, "")
    shutil.rmtree(run / "model")
    assert inside("sample", "--run", str(run), *ONLY_LOOK).code == 3


def test_the_config_that_is_written_is_what_ran(inside, monkeypatch):
    """FINDINGS 20: another machine, with other cores and no bf16, repeats it as it was."""
    small = (*SMALL, "--code-dim", "2", "--set", "codec.hidden=[8]")
    first = inside("train", *small, "--threads", "1", "--precision", "bf16").run
    text = (first / "config.yaml").read_text()
    for line in ("device: cpu", "threads: 1", "precision: bf16", "dataset: mnist-5k"):
        assert line in text
    monkeypatch.setattr(device, "fast_bf16", lambda where: False)
    monkeypatch.setattr(device, "usable_cores", lambda: 7)
    again = inside("train", "--config", str(first / "config.yaml"), "--offline").run
    assert (again / "config.yaml").read_text() == text
    for run in (first, again):
        record = json.loads((run / "run.json").read_text())
        assert (record["threads"], record["precision"]) == (1, "bf16")
        assert record["config"]["train"]["precision"] == "bf16"
    model = "model/model.safetensors"
    assert (again / model).read_bytes() == (first / model).read_bytes()


def test_a_config_without_a_decision_is_decided_once(monkeypatch):
    config = resolve(EXPERIMENTS["train"], [set_layer(["codec.name=pca"])])
    monkeypatch.setattr(device, "fast_bf16", lambda where: True)
    assert device.decided(config).train.precision == "fp32"  # nothing is trained in bf16
    network = device.decided(resolve(EXPERIMENTS["train"], []))
    assert network.train.precision == "bf16"
    assert device.decided(network) == network


def test_the_command_line_is_one_layer(inside):
    done = inside("train", "--recipe", "chapter", "--set", "train.warmup=0.25", "--dry-run")
    assert "warmup: 0.25" in done.stdout
    assert "name: adam" in done.stdout
    both = inside("train", "--set", "train.epochs=7", "--epochs", "9", "--dry-run")
    assert "epochs: 9" in both.stdout
    idle = inside("train", "--codec", "pca", "--set", "train.epochs=7", "--dry-run")
    assert idle.code == 2
    assert "--set train.epochs=7: train.epochs=7 has no effect" in idle.stderr


def test_a_dry_sweep_tells_its_jobs_and_their_seconds_by_earlier_ones(inside, jobs_here):
    sweep = ("sweep-codedim", "2", "3", *FEW_IMAGES, "--seeds", "2", "--jobs", "2")
    look = json.loads(inside(*sweep, "--dry-run", "--json").stdout)
    assert (look["jobs"], look["jobs_at_a_time"], look["jobs_seconds"]) == (4, 2, None)
    assert look["jobs_longest_first"][0] == "mlp code 3 (256-64), seed 0"
    assert look["jobs_longest_first"][-1] == "mlp code 2 (256-64), seed 1"
    assert 1e6 < look["bytes_of_a_job"] < 1e9
    done = inside(*sweep)
    assert done.code == 0, done.stderr
    for path in done.run.glob("jobs/*/history.json"):
        kept = json.loads(path.read_text())
        kept["history"] = [{"seconds": 12.0 if "mlp2" in str(path) else 12.5}] * 2
        path.write_text(json.dumps(kept))
    told = json.loads(inside(*sweep, "--dry-run", "--json").stdout)
    assert told["jobs_seconds"] == pytest.approx(2 * (12.0 + 12.5), rel=0.05)
    twice = json.loads(inside(*sweep, "--epochs", "10", "--dry-run", "--json").stdout)
    assert twice["jobs_seconds"] == pytest.approx(2 * told["jobs_seconds"], abs=0.2)
    other = inside(*sweep, "--recipe", "chapter", "--dry-run")
    assert "\n# jobs_seconds: unknown\n" in other.stdout
    assert "\n# jobs_longest_first: mlp code 3 (256-64), seed 0; mlp" in other.stdout
    [first, *_] = done.run.glob("jobs/*/history.json")
    first.write_text("[]")  # a job that cannot be read tells nothing
    assert json.loads(inside(*sweep, "--dry-run", "--json").stdout)["jobs_seconds"] > 40


@pytest.mark.parametrize(("command", "jobs"), [("pca-compare", 4), ("sweep-downsampling", 6)])
def test_every_sweep_foresees_its_jobs(inside, command, jobs):
    dims = ("2", "3") if command == "pca-compare" else ("8",)
    told = inside(command, *dims, *FEW_IMAGES, "--seeds", "1", "--dry-run", "--json")
    assert told.code == 0, told.stderr
    found = json.loads(told.stdout)
    assert found["jobs"] == len(found["jobs_longest_first"]) == jobs
