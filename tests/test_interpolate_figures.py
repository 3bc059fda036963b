"""Figures of interpolation: what is framed, where the rows stand, in which units."""

import numpy as np
import pytest

from aecli import figures
from aecli.png import png

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("steps", [2, 10, 23])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_row_frames_the_images_in_holes(steps, channels):
    in_hole = np.arange(steps) % 2 == 1
    row = figures.PathRow("x", RNG.random((steps, channels, 28, 28)), in_hole, ["as 3"] * steps)
    t = np.linspace(0, 1, steps)
    figure = figures.interpolation_row(
        RNG.random((2, channels, 28, 28)), ("a 3", "a 8"), t, [row, row], "n", "t"
    )
    assert png(figure).startswith(b"\x89PNG")
    axes = figure.axes[0]
    said = [text.get_text() for text in axes.texts]
    assert sorted(said) == sorted(
        ["original\na 3", "original\na 8", *[f"t = {x:.2f}\nas 3" for x in t] * 2]
    )
    framed = [frame.get_x() + 14.5 for frame in axes.patches]  # the middle of an image 28 wide
    under = [text.get_text() for text in axes.texts if text.get_position()[0] in framed]
    assert len(axes.patches) == 2 * in_hole.sum()
    assert {f"t = {x:.2f}\nas 3" for x in t[in_hole]} <= set(under)


@pytest.mark.parametrize("hole", [False, True])
def test_the_plane_is_drawn(hole):
    x, y = np.linspace(0, 2, 30), np.linspace(-1, 1, 20)
    distances = np.hypot(*np.meshgrid(x - 1, y))
    path = np.linspace((0.1, 0), (1.9, 0.5), 5)
    in_hole = np.array([hole, False, False, False, hole])
    plane = figures.Plane(x, y, distances, 0.7 if hole else 9.0, path, in_hole, ("3", "8"))
    figure = figures.latent_map(RNG.random((500, 2)), plane, "t")
    assert png(figure).startswith(b"\x89PNG")
    assert figure.axes[0].get_xlim() == (0, 2)
    tiles = RNG.random((4, 4, 1, 28, 28))
    assert png(figures.decoder_grid(tiles, plane, "t")).startswith(b"\x89PNG")


def test_the_decoder_grid_has_its_first_row_at_the_bottom():
    x = np.linspace(0, 1, 5)
    path = np.array([[0.1, 0.1], [0.9, 0.9]])
    plane = figures.Plane(x, x, np.zeros((5, 5)), 1, path, np.zeros(2, bool), ("3", "8"))
    tiles = np.zeros((2, 2, 1, 3, 3))
    tiles[0, 1] = 1  # low y, high x
    figure = figures.decoder_grid(tiles, plane, "t")
    shown = figure.axes[0].images[0].get_array()
    assert shown[-1, -1].tolist() == [1, 1, 1]
    assert shown.sum() == 27  # 3x3 pixels in 3 colours


def test_rates_are_drawn_in_percent():
    figure = figures.hole_rates(
        np.linspace(0, 1, 3), {"a": np.array([0, 0.5, 0])}, {"a": 0.01}, 9, "t"
    )
    png(figure)
    assert list(figure.axes[0].lines[0].get_ydata()) == [0, 50, 0]
    assert "% of 9 pairs" in figure.axes[0].get_ylabel()
