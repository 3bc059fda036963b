"""Conversion of a trained autoencoder: what is taken over, exactly, and what the command leaves."""

import csv
import json

import pytest
import torch

from aecli import codecs
from aecli.cli import metric_names
from aecli.codecs.base import MAX_LOG_VARIANCE
from aecli.config import ConvConfig, FitConfig, LinearConfig, MlpConfig
from aecli.errors import UsageError
from aecli.measure import metrics
from aecli.training.inheritance import inherit
from aecli.training.loop import fit
from tests.conftest import FEW_IMAGES, SMALL, source

ONLY_LOOK = ("--dry-run", "--offline")
MLP = MlpConfig(code_dim=4, hidden=(24, 9))
KINDS = [MLP, MlpConfig(code_dim=3, hidden=()), LinearConfig(code_dim=3)]
KINDS += [ConvConfig(code_dim=4, width=4), ConvConfig(code_dim=4, width=4, path="pca")]


def built(settings, seed=0):
    torch.manual_seed(seed)
    return codecs.build(settings, (1, 28, 28))


def variational(settings):
    return built(settings.model_copy(update={"variational": True}), seed=1)


def trained(settings):
    codec = built(settings)
    config = FitConfig(epochs=1, batch_size=20)
    list(fit(codec, source(60), source(9), config, torch.Generator().manual_seed(0)))
    return codec.eval()


@pytest.mark.parametrize("settings", KINDS, ids=lambda s: f"{s.name}{s.code_dim}")
def test_every_image_decodes_as_before_and_codes_are_white(settings):
    plain, codec, images = trained(settings), variational(settings), source(60)
    inheritance = inherit(codec, plain, images)
    codec.eval()
    pixels = images.all().images
    torch.testing.assert_close(codec(pixels), plain(pixels), rtol=1e-3, atol=1e-4)
    codes = metrics.encode(codec, images).double()
    if settings.begins_with is None:
        covariance = torch.cov(codes.T, correction=0)
        variances = covariance.diagonal()
        assert codes.mean(dim=0).abs().max() < 1e-3
        assert (covariance - variances.diag()).abs().max() < 1e-2
        assert variances[0].item() == pytest.approx(1, abs=1e-2)
        assert variances.max() < 1.01
    _, log_variances = codec.posterior(pixels)
    torch.testing.assert_close(log_variances.exp(), torch.full_like(log_variances, 0.01))
    assert codec.log_sigma.exp().item() ** 2 == pytest.approx(metrics.mse(plain, images), rel=1e-4)
    names = {*inheritance.taken, *inheritance.changed, *inheritance.new}
    assert names == set(codec.state_dict())
    assert inheritance.new == ("log_sigma",)
    assert len(inheritance.changed) == 4
    assert inheritance.whitened == (settings.begins_with is None)
    assert inheritance.in_words().endswith("with new variances; new: log_sigma")


def test_the_most_varied_direction_comes_first_and_a_dead_one_stays_small():
    plain, images = trained(MLP), source(60)
    with torch.no_grad():
        plain.encoder[-1].weight[2] *= 1e-6  # a unit that hardly varies
    codec = variational(MLP)
    inherit(codec, plain, images)
    pixels = images.all().images
    before = metrics.encode(plain, images).double()
    values, vectors = torch.linalg.eigh(torch.cov(before.T))
    most = (before - before.mean(dim=0)) @ vectors[:, -1] / values[-1].sqrt()
    codes = metrics.encode(codec, images).double()
    assert min((codes[:, 0] - most).abs().max(), (codes[:, 0] + most).abs().max()) < 0.05
    assert codes[:, -1].std() < 0.01
    assert all(tensor.isfinite().all() for tensor in codec.state_dict().values())
    torch.testing.assert_close(codec(pixels), plain(pixels), rtol=1e-3, atol=1e-4)


def test_a_codec_of_the_same_settings_takes_all():
    plain, other = trained(MLP), built(MLP, seed=3)
    inheritance = inherit(other, plain, source(60))
    for name, tensor in plain.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name])
    assert (inheritance.changed, inheritance.new) == ((), ())


def test_other_codecs_are_refused_by_what_differs():
    plain = trained(MLP)
    with pytest.raises(UsageError, match=r"another one: hidden=\(24, 9\), not \(24, 8\)"):
        inherit(built(MlpConfig(code_dim=4, hidden=(24, 8))), plain, source(9))
    with pytest.raises(UsageError, match="another one: mlp, not linear"):
        inherit(built(LinearConfig(code_dim=4)), plain, source(9))
    with pytest.raises(UsageError, match="another one: variational, not plain"):
        inherit(built(MLP), variational(MLP), source(9))
    with pytest.raises(UsageError, match="for images of"):
        inherit(codecs.build(MLP, (1, 7, 7)), plain, source(9))


def test_the_bound_of_log_variances_is_kept():
    codec = variational(MLP)
    inherit(codec, trained(MLP), source(60))
    assert codec.encoder[-1].bias[4:].abs().max() < MAX_LOG_VARIANCE


def test_train_goes_on_from_a_runs_weights(inside):
    first = inside("train", *SMALL, "--code-dim", "3")
    named = f"train.init_from={first.run.name}"
    gentle = ("--set", "train.optimizer.lr=0.0001", "--set", "train.optimizer.adam_lr=0.0001")
    again = inside("train", *SMALL, "--code-dim", "3", "--set", named, *gentle)
    assert again.code == 0, again.stderr
    assert again.metrics()["test_mse"] < 1.01 * first.metrics()["test_mse"]
    noted = json.loads((again.run / "run.json").read_text())["init_from"]
    described = json.loads((first.run / "model" / "config.json").read_text())
    assert noted["weights_sha256"] == described["weights_sha256"]
    assert "weights of " in again.stderr
    refused = inside("sample", *SMALL, "--set", named)
    assert (refused.code, "train.init_from is for" in refused.stderr) == (2, True)
    missing = inside("train", *SMALL, "--set", "train.init_from=nowhere")
    assert (missing.code, "train.init_from nowhere" in missing.stderr) == (3, True)


def test_the_command_leaves_both_codecs_numbers_and_pictures(inside):
    first = inside("train", *FEW_IMAGES, "--epochs", "1", "--code-dim", "2")
    told = ("--samples", "40", "--epochs", "1", "--set", "betas=[1e5]", "--offline")
    done = inside("to-vae", "latest", *told)
    assert done.code == 0, done.stderr
    found = done.metrics()
    assert tuple(found) == metric_names.METRICS["to-vae"]
    assert found["plain_test_mse"] == first.metrics()["test_mse"]
    assert found["error_ratio"] == found["test_mse"] / found["plain_test_mse"]
    rows = list(csv.DictReader((done.run / "conversion.csv").read_text().splitlines()))
    assert [row["beta"] for row in rows] == ["", "12.0", "100000.0"]
    assert float(rows[1]["test_mse"]) == found["test_mse"]
    for name in ("before_after", "beta_curve", "code_maps", "training_curve"):
        assert (done.run / f"{name}.png").is_file()
    again = inside("to-vae", "--config", str(done.run / "config.yaml"), "--dry-run", "--offline")
    assert again.code == 0, again.stderr
    foreseen = inside("to-vae", "latest", "--dry-run", "--offline")  # the newest plain one
    assert f"run: {first.run}" in foreseen.stdout, foreseen.stderr
    seen = inside("sample", "--run", done.run.name, "--samples", "20", "--offline")
    assert seen.code == 0, seen.stderr
    repeated = inside("sample", "--config", str(seen.run / "config.yaml"), *ONLY_LOOK)
    assert repeated.code == 0, repeated.stderr
    walked = inside("interpolate", "--run", done.run.name, "--set", "pairs=5", "--offline")
    assert walked.code == 0, walked.stderr
    assert 0 <= walked.metrics()["before_pairs_leaving"] <= 5
    assert "; before the conversion: " in walked.stdout
    first.run.rename(first.run.with_name("moved"))
    again = inside("interpolate", "--run", done.run.name, "--set", "pairs=5", "--offline")
    assert "nothing is shown from before the conversion: " in again.stderr
    assert again.metrics()["before_pairs_leaving"] is None
    first.run.with_name("moved").rename(first.run)
    for told, message in (
        ((done.run.name,), "variational already"),
        ((first.run.name, "--set", "codec.code_dim=3"), f"the run {first.run.name} has 2"),
        ((), "to-vae needs a run"),
    ):
        refused = inside("to-vae", *told, "--offline")
        assert (refused.code, message in refused.stderr) == (2, True), refused.stderr


def test_a_solved_codec_is_refused(inside):
    first = inside("train", *FEW_IMAGES, "--codec", "pca", "--code-dim", "2")
    done = inside("to-vae", first.run.name)
    assert (done.code, "is solved for, not trained" in done.stderr) == (2, True)
    none = inside("to-vae", "latest")
    assert (none.code, "to-vae latest: no finished run" in none.stderr) == (3, True)


def test_a_run_on_all_images_and_beside_a_path_is_converted(inside):
    few = ("--dataset", "mnist-5k", "--offline", "--limit-train", "200", "--set", "data.val=0")
    codec = ("--codec", "conv", "--set", "codec.path=pca", "--set", "codec.width=4")
    first = inside("train", *few, *codec, "--code-dim", "3", "--epochs", "1", "--batch-size", "100")
    assert first.code == 0, first.stderr
    told = ("--samples", "20", "--epochs", "1", "--offline")
    done = inside("to-vae", "latest", *told)
    assert done.code == 0, done.stderr
    found = done.metrics()
    assert found["plain_test_mse"] == first.metrics()["test_mse"]  # on the whole test set
    assert (found["val_mse"], found["holes_calibrated_on"]) == (None, "half-of-test")
    config = (done.run / "config.yaml").read_text()
    assert "recipe: gentle" in config
    assert "name: adam" in config
