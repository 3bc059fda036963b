"""A run folder of a former version: listed, gone on with, sampled from."""

import json

from safetensors.torch import load, save

from aecli.runs import storage
from tests.test_resume import SMALL, record, stopped  # noqa: F401
from tests.twins import left_behind

# What stood under `train` before optimiser, noise and loss were sections.
FORMER = {
    "optimizer": "muon",
    "lr": 0.03,
    "adam_lr": 0.01,
    "momentum": 0.9,
    "noise": "none",
    "elastic": 0.0,
}


def as_formerly(run, l1=0.0):
    """Rewrite a run's folder as it was before formats had numbers."""
    told = record(run)
    train = told["config"]["train"]
    train |= FORMER | {"muon_precision": train["optimizer"]["precision"], "l1": l1}
    del train["loss"], told["format"]
    (run / "run.json").write_text(json.dumps(told))
    (run / "config.yaml").write_text(json.dumps(told["config"]))  # JSON is YAML
    for generation in (run / "checkpoint").iterdir():
        progress = json.loads((generation / "progress.json").read_text())
        state = load((generation / "state.safetensors").read_bytes())
        del progress["format"], state["weights"], state["torch_generator"]
        state["losses"] = state["losses"][:, -1 if l1 == 0 else 1].clone()
        kept = ("epoch", "train_mse", "val_mse", "lr", "seconds")
        progress["history"] = [{key: row[key] for key in kept} for row in progress["history"]]
        files = {
            "state.safetensors": save(state),
            "progress.json": json.dumps(progress).encode(),
        }
        storage.seal(generation, files, run)


def test_it_is_listed_gone_on_with_and_looked_into(inside, stopped):  # noqa: F811
    told = (*SMALL, "--code-dim", "2", "--recipe", "muon-256")
    twin = left_behind(inside(*told).run)
    path = stopped(4, *told)  # in the second epoch
    as_formerly(path)
    assert path.name in inside("ls").stdout
    again = inside("resume", str(path))
    assert again.code == 0, again.stderr
    assert "going on after step 4, 1 epoch done" in again.stderr
    assert left_behind(path) == twin
    sampled = inside("sample", "--run", path.name, "--samples", "20", "--offline")
    assert sampled.code == 0, sampled.stderr
    repeated = inside("train", "--config", str(path / "config.yaml"), "--dry-run")
    assert repeated.code == 0, repeated.stderr


def test_a_config_of_a_former_version_repeats_its_run(inside, tmp_path):
    now = inside(*SMALL, "--recipe", "chapter", "--set", "train.noise=masking", "--dry-run").stdout
    former = tmp_path / "former.yaml"
    former.write_text(
        "experiment: train\nthreads: 1\n"
        + "train: {recipe: chapter, optimizer: adam, lr: 0.001, epochs: 3, batch_size: 100,"
        " noise: masking, noise_level: 0.3, l1: 0.0}\n"
        "codec: {hidden: [8]}\ndata: {dataset: mnist-5k, limit_train: 300}\ncheckpoint_seconds: 0\n"
    )
    again = inside("train", "--config", "former.yaml", "--offline", "--dry-run")
    assert again.code == 0, again.stderr
    assert again.stdout == now


def test_muon_as_a_run_wrote_it_has_the_rows_that_it_had(inside, tmp_path):
    former = tmp_path / "former.yaml"
    former.write_text(
        "experiment: train\n"
        "train: {recipe: muon, optimizer: {name: muon, lr: 0.03, adam_lr: 0.01, momentum: 0.9,"
        " precision: fp32}}\n"
    )
    again = inside("train", "--config", "former.yaml", "--offline", "--dry-run")
    by_name = ("--recipe", "muon-256", "--set", "train.optimizer.precision=fp32")
    now = inside("train", *by_name, "--offline", "--dry-run").stdout
    assert again.stdout == now.replace("recipe: muon-256", "recipe: muon")
    assert "block_rows: 256" in now


def test_a_sparse_one_is_gone_on_with(inside, stopped):  # noqa: F811
    told = (*SMALL, "--code-dim", "2", "--recipe", "muon-256", "--set", "train.loss=sparse")
    twin = inside(*told).run
    path = stopped(4, *told)
    as_formerly(path, l1=0.01)
    again = inside("resume", str(path))
    assert again.code == 0, again.stderr
    model = "model/model.safetensors"
    assert (path / model).read_bytes() == (twin / model).read_bytes()
