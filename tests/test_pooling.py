"""Codes on large grids: averaged where they are compared, whole where they are decoded, refused
where a matrix of all their numbers would be needed."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from aecli import codecs
from aecli.cli import search as search_command
from aecli.codecs.grid_settings import DcConfig, KlConfig
from aecli.codecs.pooling import Pooling
from aecli.codespace import archive as archives
from aecli.codespace import indexes
from aecli.codespace.archive import Archive, Pooled
from aecli.codespace.nearest import nearest
from aecli.config import EvaluateConfig, MlpConfig
from aecli.experiments import evaluate_anomaly
from aecli.experiments import train as training
from aecli.experiments.evaluate_anomaly import Normal, aurocs
from aecli.measure.views import View, vectors
from aecli.terminal import not_shown
from tests.conftest import source
from tests.own import spots

SHAPE = (6, 7, 7)  # 294 numbers: squares of 2x2 places leave 6x4x4
POOLING = Pooling(SHAPE)
SMALL = {"code_dim": 294, "downsampling": 4, "width": 4, "widest": 4}


@pytest.mark.parametrize(
    ("code_shape", "side", "numbers"),
    [
        ((300,), 1, 300),  # a vector stays as it is
        ((1, 16, 16), 1, 256),
        ((16, 8, 8), 2, 256),
        ((4, 64, 64), 8, 256),
        (SHAPE, 2, 96),  # odd sides
        ((4, 100, 3), 4, 100),
        ((512, 1, 1), 1, 512),  # one place is all there is
        ((512, 2, 2), 2, 512),
        ((300, 5, 3), 8, 300),
    ],
)
def test_the_smallest_squares_that_leave_few_numbers(code_shape, side, numbers):
    pooling = Pooling(code_shape)
    assert (pooling.side, pooling.numbers) == (side, numbers)
    codes = torch.randn(3, *code_shape)
    found = pooling(codes)
    assert found.shape == (3, numbers)
    assert torch.equal(pooling(codes.flatten(start_dim=1)), found)
    assert pooling(codes[:0]).shape == (0, numbers)
    assert (pooling.in_words == "") == (side == 1)
    if side == 1:
        assert torch.equal(found, codes.flatten(start_dim=1))


def test_a_square_at_the_edge_has_the_places_that_there_are():
    found = Pooling((30, 3, 3))(torch.arange(270.0)[None])
    assert found[0, :4].tolist() == [2, 3.5, 6.5, 8]
    whole = torch.randn(4, 300, 5, 3)
    torch.testing.assert_close(Pooling((300, 5, 3))(whole), whole.mean(dim=(2, 3)))


# Search.


def archive(folder, n=400):
    codes = np.random.default_rng(0).standard_normal((n, 294)).astype(np.float32)
    np.save(folder / "codes.npy", codes)
    return Archive(folder / "codes.npy", np.load(folder / "codes.npy", mmap_mode="c"), {}, POOLING)


def test_averages_are_searched_in_any_blocks(tmp_path, monkeypatch):
    found = archive(tmp_path)
    by_hand = POOLING(torch.from_numpy(np.array(found.codes))).numpy()
    exact = nearest(by_hand, by_hand[:3], 5)
    for at_once in (1, 7, 1000):
        monkeypatch.setattr(archives, "batch_size", lambda numbers, n=at_once: n)
        assert found.compared.shape == by_hand.shape
        assert np.array_equal(found.compared[3:19], by_hand[3:19])
        assert np.array_equal(found.compared[np.array([9, 2, 9])], by_hand[[9, 2, 9]])
        again = nearest(found.compared, by_hand[:3], 5)
        assert [each.tolist() for each in again.indices] == [e.tolist() for e in exact.indices]
    assert found.codes.shape == (400, 294)
    as_they_are = replace(found, pooling=Pooling((294,)))
    assert as_they_are.compared is as_they_are.codes


@pytest.mark.parametrize("kind", ["binary", "faiss"])
def test_indexes_are_of_averages(tmp_path, kind):
    if kind == "faiss":
        pytest.importorskip("faiss")
    found = archive(tmp_path)
    assert isinstance(found.compared, Pooled)
    query = np.array(found.compared[7:8])
    for _ in ("built", "loaded"):
        index = indexes.opened(kind, found, None, 4, not_shown)
        answer = index.search(query, 4)
        assert answer.copies[0].tolist() == [7]
        assert len(answer.indices[0]) == 4
        if kind == "faiss":
            exact = nearest(found.compared, query, 4, with_copies=False)
            assert set(answer.indices[0]) <= set(range(400)) - {7}
            assert answer.indices[0].tolist() == exact.indices[0].tolist()


# Evaluate.


def built(kind):
    torch.manual_seed(0)
    return codecs.build(kind(**SMALL), (1, 28, 28)).eval()


def test_views_are_of_averages_and_a_frozen_networks_are_standardised():
    images = source(20)
    dc = built(DcConfig)
    view, training_codes = View.fitted(dc, images)
    assert training_codes.shape == (20, 96)
    torch.testing.assert_close(training_codes.mean(dim=0), torch.zeros(96), atol=1e-4, rtol=0)
    torch.testing.assert_close(view.all(images), training_codes)
    dc.settings = dc.settings.model_copy(update={"frozen": True, "from_pretrained": "a"})
    torch.testing.assert_close(View.fitted(dc, images)[1], training_codes)
    kl = built(KlConfig)
    found = View.fitted(kl, images)[1]  # in units of N(0, I)
    assert torch.equal(found, kl.pooling(kl.encode(images.all().images).detach()))


def test_odd_images_are_told_by_averages(monkeypatch):
    fit, held_out, test, odd = (source(n, seed=n) for n in (60, 20, 21, 22))
    widths = []

    def noted(codec, part):
        widths.append(vectors(codec, part).shape[1])
        return vectors(codec, part)

    monkeypatch.setattr(evaluate_anomaly, "vectors", noted)
    assert 0 <= aurocs(built(KlConfig), Normal(fit, held_out, test, odd))["anomaly_auroc"] <= 1
    assert set(widths) == {96}


def test_a_limit_is_of_the_numbers_that_are_compared():
    config = EvaluateConfig(codec=DcConfig(code_dim=16384, downsampling=8))
    assert codecs.pooling_of(config.codec, (3, 256, 256)).numbers == 256
    assert codecs.pooling_of(MlpConfig(code_dim=5000), (1, 28, 28)).numbers == 5000


GRID = ("--codec", "dc", "--code-dim", "272", "--epochs", "1", "--set", "codec.downsampling=4")
GRID += ("--set", "codec.width=4", "--set", "codec.widest=4", "--offline")


def test_what_takes_a_codec_takes_a_grid_and_says_what_it_does_with_it(
    inside, jobs_here, tmp_path, monkeypatch
):
    data = spots(tmp_path / "spots.npz", side=16)
    trained = inside("train", "--dataset", data, *GRID)
    assert trained.code == 0, trained.stderr
    averaged = "averaged over squares of 2x2 places, to 68 numbers"
    parts = ("--parts", "clustering,anomaly,robustness", "--seeds", "1", "--threads", "1")
    done = inside("evaluate", "latest", *parts, "--set", "anomaly.epochs=1")
    assert done.code == 0, done.stderr
    assert f"Codes of dc-272 are {averaged}." in done.stdout
    assert "PCA-68" in done.stdout
    for name in ("kmeans_nmi", "pca_kmeans_nmi", "anomaly_auroc", "pca_found_noised"):
        assert done.metrics()[name] is not None, name

    assert inside("encode", "latest", data, "-o", "codes.npy").code == 0
    assert np.load(tmp_path / "codes.npy").size == 216 * 272
    monkeypatch.setattr(search_command, "_draw", lambda *_: None)
    found = inside("search", "latest", "5", "--in", "codes.npy", "-k", "3")
    assert found.code == 0, found.stderr
    assert f"searched by exact search; codes are {averaged}" in found.stdout
    by_index = inside("search", "latest", "5", "--in", "codes.npy", "-k", "3", "--codes", "binary")
    assert averaged in by_index.stdout
    decoded = inside("decode", "latest", "codes.npy", "-o", "decoded", "--npy")
    assert decoded.code == 0, decoded.stderr

    refused = inside("to-vae", trained.run.name)
    assert refused.code == 2
    assert "a codec 'dc' cannot become variational; 'kl'" in refused.stderr
    passed_over = inside("to-vae", "latest")
    assert passed_over.code == 3
    assert "no finished run in runs has a model of a kind that it takes" in passed_over.stderr


def test_pca_with_too_few_components_is_told(inside, tmp_path):
    data = spots(tmp_path / "few.npz", counts=(30, 30), side=16, labelled=False)
    assert inside("train", "--dataset", data, *GRID).code == 0
    done = inside("evaluate", "latest", "--seeds", "1")
    assert done.code == 0, done.stderr
    assert re.search(
        r"PCA-68 is left out: PCA has at most \d\d components \(training images\)\.", done.stdout
    )
    assert done.metrics()["pca_found_noised"] is None


# What is refused.


@pytest.mark.parametrize("command", ["sample", "interpolate"])
def test_codes_too_long_for_a_matrix_are_refused_with_their_number(inside, command):
    told = ("--codec", "mlp", "--code-dim", "16384", "--dataset", "mnist-5k", "--offline")
    for more in ((), ("--dry-run",)):
        refused = inside(command, *told, *more)
        assert refused.code == 2
        assert "code_dim=16384 must be at most 4096" in refused.stderr
        assert "16,384x16,384" in refused.stderr


def test_a_training_of_a_long_code_leaves_its_correlations_out(inside, monkeypatch):
    monkeypatch.setattr(training, "WIDEST", 3)
    few = ("--dataset", "mnist-5k", "--limit-train", "64", "--batch-size", "64", "--offline")
    for code_dim in (3, 4):
        done = inside("train", *few, "--epochs", "1", "--code-dim", str(code_dim), "--json")
        assert done.code == 0, done.stderr
        assert (json.loads(done.stdout)["mean_abs_correlation"] is None) == (code_dim > 3)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--codec", "dc", "--variational"), "codec 'kl' is always variational, codec 'dc' never"),
        (
            ("--codec", "kl", "--set", "codec.variational=false"),
            "codec 'kl' is always variational, codec 'dc' never",
        ),
        (
            ("--codec", "dc", "--set", "train.loss.name=elbo"),
            "train.loss.name=elbo needs a variational codec, which 'dc' never is",
        ),
        (("--codec", "mlp", "--set", "train.loss.name=elbo"), "--variational, or"),
        (("--codec", "kl", "--set", "train.loss=sparse"), "train.loss.name=sparse: codec.varia"),
    ],
)
def test_what_is_variational_is_said_in_words(inside, given, words):
    refused = inside("train", *given, "--dataset", "mnist-5k", "--offline", "--dry-run")
    assert refused.code == 2
    assert words in refused.stderr
