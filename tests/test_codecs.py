"""Codecs: shapes, the chapter's layers, exact transforms, and models that load only if whole."""

import json
import re

import numpy as np
import pytest
import scipy.fft
import torch
from safetensors.torch import save_file
from sklearn.decomposition import PCA

from aecli import codecs
from aecli.codecs import CODECS, principal, store
from aecli.config import DctConfig, LinearConfig, MlpConfig, PcaConfig
from aecli.data.images import InMemory
from aecli.errors import DataError, UsageError
from aecli.measure import metrics
from tests.conftest import digits, source

CONFIGS = {"mlp": MlpConfig, "linear": LinearConfig, "pca": PcaConfig, "dct": DctConfig}


def made(name, code_dim=5, shape=(1, 28, 28), n=200):
    torch.manual_seed(0)
    codec = codecs.build(CONFIGS[name](code_dim=code_dim), shape)
    if codec.settings.solved:
        codec.solve(source(n, shape=shape))
    return codec


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 12, 20)])
def test_every_codec_encodes_and_decodes(name, shape):
    codec = made(name, code_dim=5, shape=shape)
    images = digits(7, shape=shape) / 255
    codes = codec.encode(images)
    assert codes.shape == (7, 5)
    assert codec.decode(codes).shape == images.shape
    torch.testing.assert_close(codec(images), codec.decode(codes))


def test_the_default_mlp_is_the_chapters_network():
    codec = made("mlp", code_dim=32)
    encoder = [m.out_features for m in codec.encoder if isinstance(m, torch.nn.Linear)]
    decoder = [m.out_features for m in codec.decoder if isinstance(m, torch.nn.Linear)]
    assert (encoder, decoder) == ([256, 64, 32], [64, 256, 784])
    assert codec.count_parameters() == 439_728
    assert isinstance(codec.decoder[-1], torch.nn.Sigmoid)
    assert isinstance(codec.encoder[-1], torch.nn.Linear)
    assert codec.compression_ratio == 24.5


def test_pca_is_scikit_learns():
    images = digits(300)
    pixels = images.flatten(1).double().numpy() / 255
    known = PCA(n_components=5).fit(pixels)
    expected = known.inverse_transform(known.transform(pixels))
    np.testing.assert_allclose(
        made("pca", n=300)(images / 255).flatten(1).numpy(), expected, atol=2e-5
    )


def test_pca_error_is_the_discarded_tail_of_the_spectrum():
    # Eckart-Young: the training error is the sum of the eigenvalues left out.
    images = digits(300)
    spectrum = torch.cov((images.flatten(1).double() / 255).T, correction=0)
    tail = torch.linalg.eigvalsh(spectrum).flip(0)[5:].sum() / 784
    assert metrics.mse(made("pca", n=300), InMemory(images)) == pytest.approx(tail.item(), rel=1e-4)


@pytest.mark.parametrize("n", [60, 300])
def test_pca_is_the_same_by_covariance_gram_matrix_and_iteration(monkeypatch, n):
    shape, k = (1, 12, 12), 7
    images = source(n, shape=shape)
    pixels = images.all().images.flatten(1).double()
    variances, vectors = torch.linalg.eigh(torch.cov(pixels.T))
    for rows in (10_000, 100, 10):
        monkeypatch.setattr(principal, "LARGEST_MATRIX", rows)
        pca = codecs.build(PcaConfig(code_dim=k), shape)
        pca.solve(images)
        torch.testing.assert_close(
            pca.variances.double(), variances.flip(0)[:k], rtol=1e-3, atol=1e-9
        )
        overlap = (pca.components.double() @ vectors.flip(1)[:, :k]).abs()
        torch.testing.assert_close(overlap, torch.eye(k, dtype=torch.float64), rtol=0, atol=2e-2)
        torch.testing.assert_close(pca.mean.double(), pixels.mean(dim=0), rtol=1e-5, atol=1e-6)


def test_pca_of_as_many_components_as_images_is_orthonormal_and_copies_them():
    pca = made("pca", code_dim=20, n=20)  # whose covariance has rank 19
    gram = pca.components @ pca.components.T
    torch.testing.assert_close(gram, torch.eye(20), rtol=0, atol=1e-5)
    assert metrics.mse(pca, source(20)) < 1e-9
    assert torch.equal(pca.components, made("pca", code_dim=20, n=20).components)


def test_pca_that_memory_does_not_allow_is_refused(monkeypatch):
    monkeypatch.setattr(principal, "LARGEST_MATRIX", 100)
    monkeypatch.setattr(principal, "LARGEST_BASIS", 20 * 784)
    with pytest.raises(UsageError, match=r"at most 10 \(within 3 GiB of memory\) for codec 'pca'"):
        made("pca", code_dim=11)
    made("pca", code_dim=10)


def test_all_components_reproduce_the_image():
    images = source(60, shape=(1, 6, 6))
    for name in ("pca", "dct"):
        assert metrics.mse(made(name, code_dim=36, shape=(1, 6, 6), n=60), images) < 1e-10


def test_dct_rows_are_scipys_transform():
    codec = made("dct", code_dim=64, shape=(1, 8, 8))
    image = digits(1, shape=(1, 8, 8)) / 255
    expected = scipy.fft.dctn(image[0, 0].numpy(), norm="ortho").ravel()
    np.testing.assert_allclose(sorted(codec.encode(image)[0]), sorted(expected), atol=1e-5)
    assert codec.encode(image)[0, 0] == pytest.approx(expected[0], abs=1e-5)  # the mean first
    torch.testing.assert_close(codec.basis @ codec.basis.T, torch.eye(64), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["pca", "dct"])
def test_a_basis_has_at_most_as_many_vectors_as_pixels(name):
    message = rf"code_dim=900 must be at most 784 \(1x28x28 pixels\) for codec '{name}'"
    with pytest.raises(UsageError, match=message):
        made(name, code_dim=900)


def test_pca_needs_as_many_images_as_components():
    with pytest.raises(UsageError, match="code_dim=50 must be at most 20"):
        made("pca", code_dim=50, n=20)


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize(
    ("images", "told"),
    [
        (digits(3), r"a uint8 tensor of shape \(3, 1, 28, 28\), .*to_unit divides uint8 by 255"),
        (torch.zeros(3, 1, 28, 28).double(), "a float64 tensor of shape"),
        (torch.zeros(3, 784), r"a float32 tensor of shape \(3, 784\)"),
        (torch.zeros(28, 28), r"a float32 tensor of shape \(28, 28\)"),
        (torch.zeros(1, 28, 28), r"a float32 tensor of shape \(1, 28, 28\)"),
        (torch.zeros(3, 3, 28, 28), r"a float32 tensor of shape \(3, 3, 28, 28\)"),
        (torch.tensor(1.0), r"a float32 tensor of shape \(\)"),
        (np.zeros((3, 1, 28, 28), "f4"), "a float32 numpy array of shape .*from_numpy converts it"),
        ([[1.0]], "a list"),
        ("digit.png", "a str"),
    ],
)
def test_images_that_a_codec_cannot_take_are_named(name, images, told):
    codec = made(name)
    expected = r".*expected a float32 tensor of shape \(N, 1, 28, 28\), with pixels in \[0, 1\]"
    for call in (codec, codec.encode):
        with pytest.raises(UsageError, match="images: " + told) as error:
            call(images)
        assert re.search(expected, str(error.value))


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("codes", [torch.zeros(3, 6), torch.zeros(5), np.zeros((3, 5)), None])
def test_codes_that_a_codec_cannot_take_are_named(name, codes):
    expected = r"codes: a .*, expected a float32 tensor of shape \(N, 5\)"
    with pytest.raises(UsageError, match=expected):
        made(name).decode(codes)


@pytest.fixture
def saved(tmp_path):
    """A model folder as a run leaves it, and the codec in it."""
    codec = made("mlp")
    description, weights = store.pack(codec, MlpConfig(code_dim=5))
    (tmp_path / "config.json").write_text(json.dumps(description))
    (tmp_path / "model.safetensors").write_bytes(weights)
    return tmp_path, codec


def test_a_saved_model_loads_to_the_same_codec(saved):
    folder, codec = saved
    images = digits(9) / 255
    assert torch.equal(store.load(folder)(images), codec(images))
    assert torch.equal(store.load(str(folder))(images), codec(images))


def test_a_run_folder_is_not_its_model(saved):
    folder, _ = saved
    (folder / "run" / "model").mkdir(parents=True)
    with pytest.raises(DataError, match=r"no model to read: .*; a run's model is in .*/run/model"):
        store.load(folder / "run")


@pytest.mark.parametrize("damage", ["missing", "truncated", "other", "not json", "bad key"])
def test_a_damaged_model_is_refused(saved, damage):
    folder, _ = saved
    weights = folder / "model.safetensors"
    if damage == "missing":
        weights.unlink()
    elif damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif damage == "other":
        save_file(made("mlp", code_dim=6).state_dict(), weights)
    elif damage == "not json":
        (folder / "config.json").write_text("{")
    else:
        (folder / "config.json").write_text('{"codec": {"name": "x"}, "image_shape": [1, 2, 3]}')
    with pytest.raises(DataError, match="model"):
        store.load(folder)
