"""Sweeps and comparisons: the same numbers however many jobs run, and rows that tell the truth."""

import csv
import json
import shutil
from dataclasses import replace

import pytest
import torch

from aecli import codecs
from aecli.chapter import CodeReading
from aecli.config import (
    FitConfig,
    GaussianNoise,
    MaskingNoise,
    MlpConfig,
    MseLoss,
    PcaCompareConfig,
    SparseLoss,
    SweepConfig,
    resolve,
    with_values,
    yaml_layer,
)
from aecli.data.images import InMemory
from aecli.data.sources import default_places
from aecli.errors import UsageError
from aecli.experiments import sweep_codedim
from aecli.experiments.pca_compare import linear_fit
from aecli.experiments.sweep_codedim import Row, Sweep, row_specs
from aecli.measure.baselines import TRANSFORMS, Baseline
from aecli.runs.context import Context
from aecli.runs.folder import new_run
from aecli.runs.registry import unfinished_run
from aecli.terminal import Terminal
from aecli.training import device
from aecli.training.jobs import Job, Trained, train_all
from aecli.training.loop import corrupt
from tests.conftest import SMALL, digits


def metrics_of(finished):
    return json.loads((finished.run / "metrics.json").read_text())


def rows_of(path):
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.fixture(autouse=True)
def few_images_to_probe(monkeypatch):
    monkeypatch.setattr(sweep_codedim, "N_PROBE", 100)


@pytest.fixture(scope="module")
def small_mlp():
    return Job(MlpConfig(code_dim=3, hidden=(16,)), FitConfig(epochs=2, batch_size=50), seed=1)


def test_tables_do_not_depend_on_the_number_of_jobs(inside):
    told = ("sweep-codedim", "2", "4", *SMALL, "--seeds", "1", "-q")
    one, two = (inside(*told, "--jobs", jobs) for jobs in ("1", "2"))
    assert (one.code, two.code) == (0, 0), one.stderr + two.stderr
    assert (one.run / "table.csv").read_text() == (two.run / "table.csv").read_text()
    assert (one.run / "metrics.json").read_text() == (two.run / "metrics.json").read_text()
    rows = rows_of(one.run / "table.csv")
    assert list(rows[0])[:10] == [
        "code_dim",
        "compression_ratio",
        "narrowest_layer",
        "test_mse",
        "test_mse_sd",
        "train_mse",
        "pca_test_mse",
        "probe_accuracy",
        "chapter_mse",
        "what_it_learns",
    ]
    for row in rows:
        of_transforms = [float(row[f"{name}_test_mse"]) for name in TRANSFORMS]
        assert min(of_transforms) > float(row["pca_test_mse"]) > 0
        assert int(row["thumbnail_numbers"]) <= int(row["code_dim"])
    assert [row["chapter_mse"] for row in rows] == ["", ""]  # the chapter's are MNIST's
    assert {row["dataset"] for row in rows} == {metrics_of(one)["dataset"]} == {"mnist-5k"}
    assert "chapter" not in one.stdout + (one.run / "table.md").read_text()
    settings = "Trained with recipe muon, batch 128, 2 epochs, "
    for text in (one.stdout, (one.run / "table.md").read_text()):
        assert settings in text
        assert "on 300 images of mnist-5k, seed 0." in text
    metrics = json.loads((one.run / "metrics.json").read_text())
    assert float(rows[1]["test_mse"]) == metrics["test_mse_4"]
    names = {path.name for path in one.run.glob("*.png")}
    assert names == {"tradeoff.png", "decoded.png", "code_scatter.png"}
    assert (one.run / "table.md").read_text().startswith("| code | ratio |")


def test_the_chapters_numbers_stand_beside_mnists():
    reading = CodeReading(0.9, 0.9, 0.5, 0.5, 0.9, False)
    job = Job(MlpConfig(code_dim=2), FitConfig(), 0)
    trained = [Trained(job, codecs.build(job.codec, (1, 28, 28)), [])]
    [spec] = row_specs(SweepConfig(code_dims=(2,)))
    beside = {name: Baseline(name, None, 0.056) for name in ("pca", *TRANSFORMS)}
    row = Row(spec, trained, [0.04], [0.04], [0.05], beside, reading)
    for dataset, printed in (("mnist", True), ("fashion-mnist", False)):
        sweep = Sweep(dataset, [row], 0.8, 0.9, 0.067)
        assert sweep.table()[0]["chapter_mse"] == (0.052 if printed else None)
        header, [line] = sweep_codedim._printed(sweep.table())
        assert ("chapter" in header, "0.052" in line) == (printed, printed)
        assert len(header) == len(line)


def test_rows_trained_otherwise_are_named(images):
    config = SweepConfig(code_dims=(2, 784), variants=("plain", "masking"), seeds=2)
    said = sweep_codedim._settings(config, images)
    assert "; those without hidden layers with recipe muon (optimizer=adam, lr=0.005" in said
    assert "; masking with recipe muon (noise=masking, level=0.5)" in said
    assert said.endswith("; on 400 images of blobs, 2 seeds (0 to 1).")


def test_finished_jobs_are_not_trained_again(images, tmp_path, small_mlp, capsys):
    config = SweepConfig(seeds=1, jobs=1)
    with new_run(tmp_path, config, "x", []) as run_dir:
        context = Context(tmp_path, default_places(), [], Terminal())
        first = train_all([small_mlp], images, config, run_dir, context).done[small_mlp]
        again = train_all([small_mlp, small_mlp], images, config, run_dir, context).done[small_mlp]
    assert capsys.readouterr().err.count("trained") == 1
    assert first.records == again.records
    states = [t.codec.state_dict() for t in (first, again)]
    assert all(torch.equal(states[0][k], s[k]) for s in states for k in s)


def test_a_code_as_large_as_the_image_gets_a_row_where_an_identity_is_possible():
    specs = row_specs(SweepConfig(code_dims=(2, 784)))
    assert [(spec.key, spec.codec.hidden) for spec in specs] == [
        ("2", (256, 64)),
        ("784", (256, 64)),
        ("784_wide", ()),
    ]
    assert len(row_specs(SweepConfig(code_dims=(784,), codec=MlpConfig(hidden=(800,))))) == 1
    many = row_specs(SweepConfig(code_dims=(2,), variants=("plain", "gaussian", "sparse")))
    assert [spec.key for spec in many] == ["2", "2_gaussian", "2_sparse"]


def test_noise_is_what_it_says():
    images = torch.full((50, 1, 28, 28), 0.5)
    generator = torch.Generator().manual_seed(0)
    assert corrupt(images, FitConfig(), generator) is images
    noisy = corrupt(images, GaussianNoise(level=0.2), generator)
    assert noisy.mean().item() == pytest.approx(0.5, abs=0.01)
    assert noisy.std().item() == pytest.approx(0.2, abs=0.01)
    masked = corrupt(images, MaskingNoise(level=0.3), generator)
    assert sorted(masked.unique().tolist()) == [0, 0.5]
    assert (masked == 0).double().mean().item() == pytest.approx(0.3, abs=0.01)


def test_an_l1_penalty_makes_codes_smaller(images):
    from aecli import codecs
    from aecli.training.loop import fit

    sizes = []
    for l1 in (0.0, 0.1):
        torch.manual_seed(0)
        codec = codecs.build(MlpConfig(code_dim=8, hidden=(32,)), (1, 28, 28))
        loss = SparseLoss(l1=l1) if l1 else MseLoss()
        config = FitConfig(epochs=5, batch_size=50, loss=loss)
        list(
            fit(
                codec,
                images.train,
                images.val,
                config,
                torch.Generator().manual_seed(0),
            )
        )
        sizes.append(codec.encode(digits(50) / 255).abs().mean().item())
    assert sizes[1] < 0.3 * sizes[0]


def test_pca_compare_leaves_its_curve_and_its_checks(inside):
    done = inside(
        *("pca-compare", "2", "5", *SMALL, "--seeds", "2", "--jobs", "1"),
        *("--expect", "pca_test_mse_5>0", "--expect", "rotated_dct_test_mse_5>0"),
    )
    assert done.code == 0, done.stderr
    rows = rows_of(done.run / "curve.csv")
    assert list(rows[0])[:7] == [
        "code_dim",
        "ae_test_mse",
        "ae_test_mse_sd",
        "pca_test_mse",
        "dct_test_mse",
        "advantage",
        "advantage_percent",
    ]
    for row in rows:
        gap = float(row["pca_test_mse"]) - float(row["ae_test_mse"])
        assert float(row["advantage"]) == pytest.approx(gap)
        for name in ("linear", *TRANSFORMS):
            assert float(row[f"{name}_test_mse"]) > 0, name
    assert [row["thumbnail_numbers"] for row in rows] == ["1", "4"]
    checks = rows_of(done.run / "eckart_young.csv")
    for check in checks:
        assert float(check["linear_train_mse"]) >= float(check["discarded_tail_mse"]) * (1 - 1e-4)
        assert float(check["pca_train_mse"]) == pytest.approx(
            float(check["discarded_tail_mse"]), rel=1e-3
        )
    assert {row["dataset"] for row in (*rows, *checks)} == {"mnist-5k"}
    assert (
        "the linear autoencoder, with seed 0 alone, with recipe muon (lr=0.1, momentum=0.9)"
        in done.stdout
    )
    metrics = json.loads((done.run / "metrics.json").read_text())
    assert {metrics["largest_advantage_at"], metrics["smallest_advantage_at"]} <= {2, 5}
    assert "largest at code dimension" in (done.run / "explanation.md").read_text()


@pytest.mark.parametrize("decided", ["fp32", "bf16"])
def test_the_linear_autoencoder_is_trained_as_the_config_decided(monkeypatch, decided):
    monkeypatch.setattr(device, "fast_bf16", lambda where: decided == "fp32")  # another CPU
    config = with_values(PcaCompareConfig(), {"train.optimizer.precision": decided})
    fit, cpu = linear_fit(config), torch.device("cpu")
    assert device.facts(cpu, fit)["muon_precision"] == decided
    assert device.facts(cpu, fit)["precision"] == "fp32"


def test_pca_compare_where_pca_leaves_no_error(inside):
    done = inside("pca-compare", "2", "300", *SMALL, "--seeds", "1", "--jobs", "1")
    assert done.code == 0, done.stderr
    exact = rows_of(done.run / "eckart_young.csv")[1]
    assert float(exact["discarded_tail_mse"]) == 0
    assert exact["excess_percent"] == ""
    assert "At 300 PCA leaves no error" in done.stdout
    assert done.metrics()["largest_linear_excess_percent"] is not None
    json.loads((done.run / "metrics.json").read_text(), parse_constant=pytest.fail)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pca-compare", "2", "1000"], "code_dims=1000 must be at most 784 (1x28x28 pixels)"),
        (
            ["pca-compare", "2", "400", *SMALL],
            "code_dims=400 must be at most 300 (training images)",
        ),
        (["pca-compare", "--codec", "dct"], "codec.name='dct' must be 'mlp', 'conv' or 'linear'"),
        (["sweep-codedim", "2", "900", "--codec", "pca"], "must be at most 784 (1x28x28 pixels)"),
        (
            ["sweep-codedim", "2", *SMALL, "--limit-train", "4", "--batch-size", "2"],
            "data.limit_train=4 must be at least 5: the probes",
        ),
        (["sample", "--codec", "dct", "--code-dim", "900"], "must be at most 784"),
        (["interpolate", "--codec", "pca", "--code-dim", "900"], "must be at most 784"),
        (
            ["reproduce", "--set", "data.limit_train=255", "--set", "train.batch_size=100"],
            "data.limit_train=255 must be at least 256",
        ),
        (["reproduce", "--set", "codec.name=linear"], "reproduce judges codec.name=mlp only"),
        (["sample", "--set", "data.val=50"], "data.val=50 must be at least 100, or 0"),
        (["interpolate", "--set", "data.val=50"], "data.val=50 must be at least 100, or 0"),
    ],
)
def test_what_can_be_known_is_refused_before_there_is_a_run_folder(
    inside, tmp_path, arguments, message
):
    offline = () if "--offline" in arguments else ("--dataset", "mnist-5k", "--offline")
    done = inside(*arguments, *offline)
    assert (done.code, done.stdout) == (2, ""), done.stderr
    assert message in done.stderr
    assert not list((tmp_path / "runs").glob("*Z-*"))
    dry = inside(*arguments, *offline, "--dry-run")
    assert (dry.code, dry.stdout) == (2, ""), dry.stderr


def test_one_label_teaches_the_probes_nothing(images, tmp_path):
    labels = torch.zeros_like(images.train.labels)
    alike = replace(images, train=InMemory(images.train.images, labels))
    with new_run(tmp_path, SweepConfig(), "x", []) as run_dir:
        context = Context(tmp_path, default_places(), [], Terminal())
        with pytest.raises(UsageError, match="all training images have one label"):
            sweep_codedim.measure_sweep(SweepConfig(), alike, run_dir, context)
    assert not (run_dir.path / "jobs").exists()


def test_a_row_worse_than_a_constant_picture_is_warned_of(inside):
    weak = ("--recipe", "chapter", "--lr", "1e-5", "--set", "train.epochs=1")
    done = inside("sweep-codedim", "2", *SMALL[:4], "--offline", *weak, "--seeds", "1", "-q")
    assert done.code == 0, done.stderr
    assert "WARNING: code 2: test mse " in done.stderr


@pytest.mark.parametrize("command", ["sweep-codedim", "pca-compare"])
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["0"], 2, "K: code_dims.0=0 must be at least 1"),
        (["2", "--", "-8"], 2, "code_dims.1=-8 must be at least 1"),
        (["2", "2"], 2, "K: code_dims=[2, 2]: 2 stands twice"),
        (["x"], 2, "Invalid value for 'K'"),
        (["2", "--seeds", "0"], 2, "--seeds: seeds=0 must be at least 1"),
        (["2", "--jobs", "0"], 2, "--jobs: jobs=0 must be at least 1"),
        (["400", *SMALL, "--codec", "linear", "--batch-size", "301"], 2, "must be at most 300"),
    ],
)
def test_bad_input(inside, command, arguments, code, message):
    done = inside(command, *arguments)
    assert (done.code, done.stdout) == (code, ""), done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_continue_trains_only_what_is_missing_and_ends_with_the_same_table(
    inside, tmp_path, monkeypatch
):
    told = ("sweep-codedim", "2", "3", *SMALL, "--seeds", "1", "--jobs", "1")
    whole = inside(*told)
    table = (whole.run / "table.csv").read_text()
    config = resolve(SweepConfig, [yaml_layer(whole.run / "config.yaml")])
    assert unfinished_run(tmp_path / "runs", config).path is None
    record = json.loads((whole.run / "run.json").read_text())
    (whole.run / "run.json").write_text(json.dumps(record | {"status": "interrupted"}))
    (whole.run / "table.csv").unlink()
    [lost] = (whole.run / "jobs").glob("mlp3-*")
    shutil.rmtree(lost)
    was = device.fast_bf16(torch.device("cpu"))
    monkeypatch.setattr(device, "fast_bf16", lambda where: not was)  # it goes on on another CPU
    shown = inside(*told, "--continue", "--dry-run")
    assert f"would go on in {whole.run}" in shown.stderr
    assert f"precision: {'bf16' if was else 'fp32'}" in shown.stdout
    again = inside(*told, "--continue")
    assert again.run == whole.run
    assert [line for line in again.stderr.splitlines() if line.startswith("trained")] == [
        next(
            line
            for line in again.stderr.splitlines()
            if line.startswith("trained 1 of 1: mlp code 3")
        )
    ]
    assert (again.run / "table.csv").read_text() == table
    record = json.loads((again.run / "run.json").read_text())
    assert record["status"] == "completed"
    assert len(record["resumed"]) == 1
