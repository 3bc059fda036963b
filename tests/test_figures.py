"""Figures: each draws at odd sizes, and shows the numbers it was given."""

import io

import numpy as np
import pytest
from matplotlib.figure import Figure

from aecli import figures

RNG = np.random.default_rng(0)


def png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("n", [1, 11])
def test_reconstructions(n, channels):
    images = RNG.random((n, channels, 28, 28))
    figure = figures.reconstructions(images, images * 1.2, np.arange(n) / 9, ["x"] * n, "t")
    assert png(figure).startswith(b"\x89PNG")
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert labels == [f"{i / 9:.4f}" for i in range(n)]


@pytest.mark.parametrize("epochs", [1, 40])
@pytest.mark.parametrize("baseline", [None, ("PCA-8", 0.02)])
def test_training_curve(epochs, baseline):
    train = np.geomspace(0.05, 0.01, epochs)
    val = np.full(epochs, np.nan) if epochs == 1 else train * 1.1
    figure = figures.training_curve(np.arange(epochs), train, val, 0.012, baseline, "t")
    axes = figure.axes[0]
    png(figure)
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert ("validation (after the epoch)" in legend) == (epochs > 1)
    assert "test, at the end: 0.01200" in legend
    assert [text.get_text() for text in axes.texts] == (["PCA-8: 0.02000"] if baseline else [])


def test_code_scatter_names_every_class():
    labels = np.repeat(np.arange(10), 5)
    figure = figures.code_scatter(RNG.random((50, 2)), labels, "t")
    png(figure)
    assert [text.get_text() for text in figure.axes[0].texts] == [str(d) for d in range(10)]


@pytest.mark.parametrize("k", [1, 2, 200])
@pytest.mark.parametrize("with_pca", [True, False])
def test_code_units(k, with_pca):
    variances = RNG.random(k)
    figure = figures.code_units(variances, variances if with_pca else None, np.eye(k), "t")
    png(figure)
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    np.testing.assert_allclose(heights, 100 * variances / variances.sum())


@pytest.mark.parametrize("wide", [False, True])
def test_tradeoff(wide):
    points = [
        figures.TradeoffPoint(2, 0.04, 0.001, False),
        figures.TradeoffPoint(784, 0.004, 0.0, wide),
    ]
    pca = (np.array([1, 10, 100]), np.array([0.06, 0.03, 0.005]))
    figure = figures.tradeoff(points, pca, {2: 0.052, 784: 0.0}, "t")
    png(figure)
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["0.0400", "0.0040"]
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert ("network without hidden layers" in legend) == wide


@pytest.mark.parametrize("channels", [1, 3])
def test_decoded_grid_has_a_labelled_row_per_codec(channels):
    images = RNG.random((4, channels, 28, 28))
    figure = figures.decoded_grid(images, [("2", images), ("784 wide", images)], "t")
    png(figure)
    labels = [axes.get_ylabel() for axes in figure.axes[::4]]
    assert labels == ["original", "2", "784 wide"]


@pytest.mark.parametrize("sd", [None, [0.001, 0.001]])
def test_comparison(sd):
    lines = [
        ("network", [0.04, 0.02], sd),
        ("PCA", [0.05, 0.03], None),
        ("DCT", [0.09, 0.06], None),
    ]
    figure = figures.comparison([2, 8], lines, "t")
    png(figure)
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert sorted(legend) == ["DCT", "PCA", "network"]


def test_unit_mix_and_the_chapters_training():
    png(figures.unit_mix(RNG.random((3, 3)), "t"))
    figure = figures.chapter_training(RNG.random((2, 5)), {0: 0.05, 4: 0.02}, "t")
    png(figure)
    assert [text.get_text() for text in figure.axes[0].texts] == ["0.0500", "0.0200"]
