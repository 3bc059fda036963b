"""Baselines beside a network: the same sizes, the same images, and a reason where there is none."""

from dataclasses import replace

import pytest
import torch

from aecli import codecs
from aecli.codecs import principal
from aecli.config import MlpConfig, PcaConfig, RotatedDctConfig
from aecli.data.images import InMemory
from aecli.measure import metrics
from aecli.measure.baselines import (
    TRANSFORMS,
    Baselines,
    baselines_beside,
    best_of,
    effective_rank,
    full_pca,
    transform_columns,
    variance_beyond,
)
from tests.conftest import digits


def coloured(images, n=400, shape=(3, 8, 8), mask=None):
    """The fixture's Images with other ones, whose channels are alike."""
    grey = digits(n, shape=(1, *shape[1:])).float() / 255
    tint = torch.linspace(1, 0.5, shape[0])[:, None, None]
    noise = 0.02 * torch.randn((n, *shape), generator=torch.Generator().manual_seed(0))
    every = InMemory((grey * tint + noise).clamp(0, 1), mask=mask)
    train, test = torch.arange(n - 50), torch.arange(n - 50, n)
    return replace(images, train=every.part(train), test=every.part(test))


def test_all_have_the_code_size_that_they_say(images):
    data = coloured(images)
    found = Baselines(data, 20).beside(20)
    assert [b.label for b in found.values()] == [
        "PCA-20",
        "DCT-20",
        "rotated DCT-20",
        "thumbnail-12",
    ]
    for baseline in found.values():
        assert baseline.label.endswith(f"-{baseline.codec.code_dim}")
        assert baseline.test_mse == metrics.mse(baseline.codec, data.test)
        assert not baseline.why_not
    assert list(found) == ["pca", *TRANSFORMS]
    assert transform_columns(found)["thumbnail_numbers"] == 12


def test_colours_that_are_alike_are_one_colour(images):
    found = Baselines(coloured(images), 20).beside(20)
    assert found["rotated_dct"].test_mse < 0.7 * found["dct"].test_mse
    assert best_of(found).test_mse == min(b.test_mse for b in found.values())


def test_a_smaller_size_is_as_if_asked_for_alone(images):
    data = coloured(images)
    together = Baselines(data, 30, full_pca(data)).beside(9)
    alone = Baselines(data, 9).beside(9)
    for name, baseline in together.items():
        assert baseline.test_mse == pytest.approx(alone[name].test_mse, rel=1e-4), name


def test_a_code_larger_than_the_image_has_none_beside_it(images):
    found = Baselines(coloured(images), 200).beside(193)
    assert [b.codec for b in found.values()] == [None] * 4
    assert found["pca"].why_not == "it has at most 192 components (pixels)"
    assert {found[name].why_not for name in TRANSFORMS} == {"the image has 192 numbers"}
    assert best_of(found) is None
    assert set(transform_columns(found).values()) == {None}


def test_a_code_smaller_than_a_pixel_has_no_thumbnail_beside_it(images):
    found = Baselines(coloured(images), 2).beside(2)
    assert found["thumbnail"].codec is None
    assert found["thumbnail"].why_not == "a pixel has 3 numbers"
    assert all(found[name].test_mse for name in ("pca", "dct", "rotated_dct"))


def test_few_images_have_few_components_and_they_are_told(images):
    data = coloured(images, n=70)  # 20 to train on
    found = Baselines(data, 40).beside(40)
    assert found["pca"].label == "PCA-20"
    assert effective_rank(found["pca"].codec, data) == 19
    assert found["dct"].label == "DCT-40"


def test_the_rank_is_of_directions_with_variance(images):
    flat = torch.randn((300, 5), generator=torch.Generator().manual_seed(0))
    directions = torch.linalg.qr(torch.randn((36, 5), generator=torch.Generator().manual_seed(1)))
    pixels = (0.5 + 0.1 * flat @ directions[0].T).view(300, 1, 6, 6)
    data = replace(images, train=InMemory(pixels))
    for most in (36, 12, 5):
        pca = codecs.build(PcaConfig(code_dim=most), (1, 6, 6))
        pca.solve(data.train)
        assert effective_rank(pca, data) == 5
    grey = replace(images, train=InMemory(torch.full((50, 1, 6, 6), 0.3)))
    assert effective_rank(full_pca(grey), grey) == 0


def test_the_codec_itself_is_not_solved_again(images):
    pca = codecs.build(PcaConfig(code_dim=5), images.shape)
    pca.solve(images.train)
    assert baselines_beside(pca, images)["pca"].codec is pca
    network = codecs.build(MlpConfig(code_dim=5), images.shape)
    again = baselines_beside(network, images)["pca"].test_mse
    assert again == metrics.mse(pca, images.test)


def test_the_variance_that_memory_leaves_no_room_for_is_counted(images, monkeypatch):
    data = coloured(images)
    whole = full_pca(data)
    assert variance_beyond(whole, data) == 0
    total = whole.variances.double().sum().item()
    assert principal.total_variance(data.train) == pytest.approx(total, rel=1e-5)
    monkeypatch.setattr(principal, "LARGEST_MATRIX", 100)
    monkeypatch.setattr(principal, "LARGEST_BASIS", 60 * 192)
    cut = full_pca(data)
    assert cut.code_dim == 20
    tail = whole.variances[20:].double().sum().item()
    assert variance_beyond(cut, data) == pytest.approx(tail, rel=1e-2)
    none = Baselines(data, 40).beside(40)["pca"]
    assert (none.label, none.codec) == ("PCA-40", None)
    assert none.why_not == "it has at most 20 components (within 3 GiB of memory)"


def test_masked_pixels_have_no_variance(images):
    mask = torch.rand((60, 1, 8, 8), generator=torch.Generator().manual_seed(0)) > 0.5
    data = coloured(images, n=60, mask=mask)
    batch = data.train.all()
    count = batch.mask.sum(dim=0).clamp_min(1)
    deviations = (batch.images - batch.images.sum(dim=0) / count) * batch.mask
    expected = deviations.double().square().sum().item() / (len(batch) - 1)
    assert principal.total_variance(data.train) == pytest.approx(expected, rel=1e-5)


def test_codecs_solved_for_on_masked_images_are_measured_on_valid_pixels(images):
    mask = torch.ones((400, 1, 8, 8), dtype=torch.bool)
    mask[:, :, :, 5:] = False
    found = Baselines(coloured(images, mask=mask), 30).beside(30)
    behind = coloured(images, mask=mask)
    for source in (behind.train, behind.test):
        source.images[:, :, :, 5:] = float("nan")
    other = Baselines(behind, 30).beside(30)
    for name, baseline in found.items():
        assert 0 < baseline.test_mse < 0.02
        assert baseline.test_mse == other[name].test_mse


def test_rotated_dct_of_one_channel_is_a_dct(images):
    codec = codecs.build(RotatedDctConfig(code_dim=784), (1, 28, 28))
    codec.solve(images.train)
    assert codec.rotation.tolist() == [[1.0]]
    assert metrics.mse(codec, images.test) < 1e-10
