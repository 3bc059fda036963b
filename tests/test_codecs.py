"""Codecs: shapes, the chapter's layers, exact transforms, and models that load only if whole."""

import hashlib
import json
import math
import re

import numpy as np
import pytest
import scipy.fft
import torch
from safetensors.torch import save, save_file
from sklearn.decomposition import PCA

from aecli import codecs
from aecli.codecs import CODECS, principal, store
from aecli.codecs.cosines import all_coefficients
from aecli.codecs.grid_settings import GridConfig
from aecli.config import DctConfig, MlpConfig, PcaConfig, RotatedDctConfig, ThumbnailConfig
from aecli.data.images import Batch, InMemory, filled, squared_errors, weighted_mean
from aecli.errors import DataError, UsageError
from aecli.measure import metrics
from tests.conftest import digits, source


def made(name, code_dim=5, shape=(1, 28, 28), n=200):
    """A codec of so many numbers, or of the nearest whole grids."""
    torch.manual_seed(0)
    settings = CODECS[name](code_dim=code_dim)
    if isinstance(settings, GridConfig):
        places = math.prod(settings.grid(shape, settings.downsampling))
        settings = settings.model_copy(update={"code_dim": places * max(code_dim // places, 1)})
    codec = codecs.build(settings, shape).eval()
    if codec.settings.solved:
        codec.solve(source(n, shape=shape))
    return codec


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 12, 20)])
def test_every_codec_encodes_and_decodes(name, shape):
    codec = made(name, code_dim=5, shape=shape)
    images = digits(7, shape=shape) / 255
    codes = codec.encode(images)
    assert codes.shape == (7, *codec.code_shape)
    grey = shape[0] == 1
    others = {"thumbnail": 4 if grey else 3} | dict.fromkeys(("kl", "dc"), 16 if grey else 6)
    assert codec.code_dim == others.get(name, 5)
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


@pytest.mark.parametrize("rows", [6000, 100])
def test_pca_of_as_many_components_as_images_is_orthonormal_and_copies_them(monkeypatch, rows):
    monkeypatch.setattr(principal, "LARGEST_MATRIX", rows)
    pca = made("pca", code_dim=20, n=20)  # whose covariance has rank 19
    gram = pca.components @ pca.components.T
    torch.testing.assert_close(gram, torch.eye(20), rtol=0, atol=1e-5)
    assert metrics.mse(pca, source(20)) < 1e-9
    assert torch.equal(pca.components, made("pca", code_dim=20, n=20).components)


def test_pca_that_memory_does_not_allow_is_refused(monkeypatch):
    monkeypatch.setattr(principal, "LARGEST_MATRIX", 100)
    monkeypatch.setattr(principal, "LARGEST_BASIS", 40 * 784)
    with pytest.raises(UsageError, match=r"at most 10 \(within 3 GiB of memory\) for codec 'pca'"):
        made("pca", code_dim=11)
    made("pca", code_dim=10)
    monkeypatch.setattr(principal, "LARGEST_BASIS", 784)
    made("pca", code_dim=1)
    with pytest.raises(UsageError, match=r"at most 1 \("):
        made("pca", code_dim=2)


def test_all_components_reproduce_the_image():
    images = source(60, shape=(1, 6, 6))
    for name in ("pca", "dct", "rotated-dct", "thumbnail"):
        assert metrics.mse(made(name, code_dim=36, shape=(1, 6, 6), n=60), images) < 1e-10


def test_dct_rows_are_scipys_transform():
    codec = made("dct", code_dim=64, shape=(1, 8, 8))
    image = digits(1, shape=(1, 8, 8)) / 255
    expected = scipy.fft.dctn(image[0, 0].numpy(), norm="ortho").ravel()
    np.testing.assert_allclose(sorted(codec.encode(image)[0]), sorted(expected), atol=1e-5)
    assert codec.encode(image)[0, 0] == pytest.approx(expected[0], abs=1e-5)  # the mean first


@pytest.mark.parametrize("name", ["pca", "dct", "rotated-dct"])
@pytest.mark.parametrize(("shape", "code_dim"), [((1, 8, 8), 64), ((3, 6, 9), 40), ((4, 1, 7), 5)])
def test_an_orthonormal_transform_gives_back_its_codes(name, shape, code_dim):
    codec = made(name, code_dim, shape)
    codes = torch.randn((9, code_dim), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(codec.encode(codec.decode(codes)), codes, atol=2e-5, rtol=0)
    away = codec.decode(codes) - codec.decode(torch.zeros_like(codes))  # Parseval
    torch.testing.assert_close(away.flatten(1).norm(dim=1), codes.norm(dim=1), atol=1e-4, rtol=0)


def test_dct_takes_the_lowest_frequencies_of_each_channel_in_turn():
    images = digits(4, shape=(2, 6, 9)) / 255
    whole = scipy.fft.dctn(images.numpy(), axes=(2, 3), norm="ortho")
    v, u = np.meshgrid(np.arange(9), np.arange(6))
    order = np.argsort(((u / 6) ** 2 + (v / 9) ** 2).ravel(), kind="stable")
    expected = whole.reshape(4, 2, -1)[:, :, order].transpose(0, 2, 1).reshape(4, -1)[:, :7]
    np.testing.assert_allclose(made("dct", 7, (2, 6, 9)).encode(images), expected, atol=1e-5)
    np.testing.assert_allclose(all_coefficients(images), whole, atol=1e-5)


def test_rotated_dct_finds_the_axes_of_the_colours():
    # Three channels that are one picture in three strengths lie on one axis.
    grey, strengths = digits(50, shape=(1, 8, 8)) / 255, torch.tensor([1.0, 0.5, 0.25])
    codec = codecs.build(RotatedDctConfig(code_dim=20), (3, 8, 8))
    codec.solve(InMemory(grey * strengths[:, None, None]))
    torch.testing.assert_close(codec.rotation[0], strengths / strengths.norm())
    gram = codec.rotation @ codec.rotation.T
    torch.testing.assert_close(gram, torch.eye(3), atol=1e-6, rtol=0)
    assert (codec.places < 64).all()  # all on the first axis
    assert codec.count_parameters() == 3 + 9 + 20


def test_rotated_dct_keeps_what_is_largest():
    # Its error on its training images is what the coefficients left out hold.
    images, shape = digits(60, shape=(3, 8, 10)).float() / 255, (3, 8, 10)
    codec = codecs.build(RotatedDctConfig(code_dim=9), shape)
    codec.solve(InMemory(images))
    whole = codecs.build(RotatedDctConfig(code_dim=240), shape)
    whole.solve(InMemory(images))
    codes = whole.encode(images)
    assert (codes.abs().mean(dim=0).diff() < 1e-6).all()
    left_out = codes[:, 9:].square().sum().item() / images.numel()
    assert metrics.mse(codec, InMemory(images)) == pytest.approx(left_out, rel=1e-4)
    assert metrics.mse(codec, InMemory(images)) < metrics.mse(
        made("dct", 9, shape), InMemory(images)
    )
    for name, tensor in whole.truncated(9).state_dict().items():
        assert torch.equal(tensor, codec.state_dict()[name]), name


@pytest.mark.parametrize("name", ["dct", "rotated-dct", "thumbnail"])
def test_a_constant_image_is_one_number_of_each_channel(name):
    values = torch.tensor([0.25, 0.75])[:, None, None]
    images = values.expand(5, 2, 9, 12) * torch.linspace(0.1, 1, 5)[:, None, None, None]
    codec = codecs.build(CODECS[name](code_dim=2), (2, 9, 12))
    codec.solve(InMemory(images))
    torch.testing.assert_close(codec(images), images)


@pytest.mark.parametrize(
    ("code_dim", "shape", "size"),
    [
        (128, (3, 64, 64), (6, 6)),
        (256, (3, 512, 512), (9, 9)),
        (32, (1, 28, 28), (5, 5)),
        (784, (1, 28, 28), (28, 28)),
        (42, (1, 12, 20), (5, 8)),
        (3, (3, 28, 28), (1, 1)),
        (5, (1, 1, 1000), (1, 5)),
        (7, (2, 1000, 2), (3, 1)),
    ],
)
def test_a_thumbnail_has_the_images_proportions(code_dim, shape, size):
    codec = codecs.build(ThumbnailConfig(code_dim=code_dim), shape)
    assert codec.code_dim == shape[0] * size[0] * size[1] <= code_dim
    assert (len(codec.down), len(codec.across)) == size
    for shares in (codec.down, codec.across):
        torch.testing.assert_close(shares.sum(dim=1), torch.ones(len(shares)))


def test_a_thumbnail_is_the_mean_over_areas():
    codec = codecs.build(ThumbnailConfig(code_dim=4), (1, 3, 3))
    image = torch.arange(9.0).view(1, 1, 3, 3)
    # A quarter of the area is the corner, half of two neighbours, a quarter of the middle.
    assert codec.encode(image)[0, 0].item() == pytest.approx((0 + 0.5 + 1.5 + 1) / 2.25)


def test_a_thumbnail_of_less_than_a_pixel_is_refused():
    told = r"code_dim=2 must be at least 3 \(channels\) for codec 'thumbnail'"
    with pytest.raises(UsageError, match=told):
        codecs.build(ThumbnailConfig(code_dim=2), (3, 8, 8))


def test_large_images_need_no_basis():
    # Of 512x512x3 pixels, 256 rows of a basis would be 0.8 GB.
    images = torch.rand((2, 3, 512, 512), generator=torch.Generator().manual_seed(0))
    for name in ("dct", "rotated-dct", "thumbnail"):
        codec = codecs.build(CODECS[name](code_dim=256), (3, 512, 512))
        codec.solve(InMemory(images))
        assert sum(tensor.nbytes for tensor in codec.state_dict().values()) < 100_000
        assert codec(images).shape == images.shape


def half_masked(behind):
    """Images with another half of each not valid, and the same whole."""
    whole = digits(40, shape=(2, 8, 8)).float() / 255
    mask = torch.ones((40, 1, 8, 8), dtype=torch.bool)
    mask[::2, :, :4], mask[1::2, :, :, 4:] = False, False
    return InMemory(torch.where(mask, whole, behind), mask=mask), whole


@pytest.mark.parametrize("name", ["pca", "dct", "rotated-dct", "thumbnail"])
def test_what_stands_behind_a_mask_is_in_no_transform(name):
    errors = []
    for behind in (float("nan"), 1e6):
        images, _ = half_masked(behind)
        codec = codecs.build(CODECS[name](code_dim=12), images.shape)
        codec.solve(images)
        errors.append(metrics.mse(codec, images))
        torch.testing.assert_close(
            metrics.encode(codec, images), codec.encode(codec.seen(images.all()))
        )
    assert errors[0] == errors[1]
    zeros = squared_errors(codec(images.all().images), images.all())
    assert errors[0] < weighted_mean(*zeros)  # than with the hole left in


def test_a_hole_is_filled_with_the_mean_of_what_is_valid():
    images = torch.tensor([[1.0, 3.0], [0.0, 0.0]]).view(1, 1, 2, 2)
    mask = torch.tensor([[True, True], [False, True]]).view(1, 1, 2, 2)
    batch = Batch(images, mask)
    assert filled(batch).flatten().tolist() == pytest.approx([1, 3, 4 / 3, 0])
    assert filled(batch, torch.full((1, 2, 2), 7.0)).flatten().tolist() == [1, 3, 7, 0]
    assert filled(Batch(images)) is images
    assert filled(Batch(images * 0, mask & False)).isfinite().all()


@pytest.mark.parametrize("name", ["pca", "dct", "rotated-dct", "thumbnail"])
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
    codec = made(name)
    shape = ", ".join(map(str, codec.code_shape))
    expected = rf"codes: a .*, expected a float32 tensor of shape \(N, {shape}\)"
    with pytest.raises(UsageError, match=expected):
        codec.decode(codes)


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


def test_a_dct_that_a_former_version_saved_is_read(tmp_path):
    codec = made("dct")
    description, _ = store.pack(codec, DctConfig(code_dim=5))
    basis = torch.eye(784)[:5].contiguous()
    weights = save({"basis": basis})
    description |= {"weights_sha256": hashlib.sha256(weights).hexdigest()}
    del description["sha256"]  # which it did not write
    (tmp_path / "config.json").write_text(json.dumps(description))
    (tmp_path / "model.safetensors").write_bytes(weights)
    images = digits(9) / 255
    assert torch.equal(store.load(tmp_path)(images), codec(images))


def test_a_description_that_was_changed_is_refused(saved):
    folder, _ = saved
    path = folder / "config.json"
    path.write_text(path.read_text().replace("[1, 28, 28]", "[1, 14, 56]"))  # as many pixels
    with pytest.raises(DataError, match="was changed"):
        store.load(folder)


@pytest.mark.parametrize("place", [-1, 784, 0])
def test_places_that_cannot_be_are_refused(tmp_path, place):
    codec = made("rotated-dct")
    codec.places[:2] = torch.tensor([0, place])
    description, weights = store.pack(codec, RotatedDctConfig(code_dim=5))
    (tmp_path / "config.json").write_text(json.dumps(description))
    (tmp_path / "model.safetensors").write_bytes(weights)
    with pytest.raises(DataError, match="its places are not 5 different ones from 0 to 783"):
        store.load(tmp_path)


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
