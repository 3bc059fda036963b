"""Known answers on the full MNIST, where this machine has it (AECLI_DATA_DIR or the cache)."""

import pytest
import torch

from aecli.codecs.pca import Pca
from aecli.config import DataConfig, PcaConfig
from aecli.data import datasets, inventory
from aecli.data.sources import default_places
from aecli.measure import metrics


@pytest.fixture(scope="module")
def mnist():
    places = default_places(offline=True)
    if {name: where for name, where, _ in inventory.overview(places)}["mnist"] == "not here":
        pytest.skip("no MNIST on this machine")
    return datasets.load(DataConfig(dataset="mnist", val=0), places, lambda _: None)


def test_mnist_has_its_known_digits(mnist):
    assert [len(split) for split in (mnist.train, mnist.val, mnist.test)] == [60_000, 0, 10_000]
    assert mnist.test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert mnist.train.labels.bincount().tolist()[:3] == [5923, 6742, 5958]
    assert mnist.train.images.dtype == torch.uint8


def test_pca_has_its_known_error_on_the_test_set(mnist):
    pca = Pca(mnist.shape, PcaConfig(code_dim=32))
    pca.solve(mnist.train)
    for code_dim, known in ((2, 0.05567), (8, 0.03744), (32, 0.01683)):
        fewer = pca.truncated(code_dim)
        assert metrics.mse(fewer, mnist.test) == pytest.approx(known, abs=2e-5)
