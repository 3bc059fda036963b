"""Ink in one piece, and how far a path is from a straight line."""

import itertools

import pytest
import torch

from aecli.chapter.listings import Linear, by_closed_form, by_gradient, lines_of
from aecli.measure.ink import connected
from aecli.measure.paths import chord_over_length, effective_dimension

WHOLE = ["#..", ".#.", "..#"]  # corners touch
BROKEN = ["#..", "...", "..#"]
SHADED = ["9..", "4..", "..9"]  # 4 of 9 is no ink
BLANK = ["...", "...", "..."]


def listed():
    """Not this one."""
    # nor this one

    return 1


def longer():
    first = 1
    return first + 1


def drawing(rows):
    value = {"#": 1.0, ".": 0.0, "9": 0.9, "4": 0.4}
    return torch.tensor([[[value[pixel] for pixel in row] for row in rows]])


def test_ink_is_one_piece_if_every_pixel_touches_another():
    drawings = torch.stack([drawing(rows) for rows in (WHOLE, BROKEN, SHADED, BLANK)])
    assert connected(drawings).tolist() == [True, False, False, False]
    assert connected(0.2 * drawings).tolist() == [True, False, False, False]  # of its brightest


def test_a_line_has_a_chord_as_long_as_itself_and_one_dimension():
    t = torch.linspace(0, 1, 20).unsqueeze(1)
    line = (t * torch.tensor([3.0, -4.0, 1.0])).unsqueeze(0)
    assert chord_over_length(line) == pytest.approx(1.0)
    assert effective_dimension(line) == pytest.approx(1.0)


def test_a_circle_has_two_dimensions_and_half_of_it_the_chord_of_its_diameter():
    angles = torch.linspace(0, 2 * torch.pi, 1001)
    circle = torch.stack([angles.cos(), angles.sin(), torch.zeros_like(angles)], dim=1)[None]
    assert effective_dimension(circle[:, :-1]) == pytest.approx(2.0, abs=1e-4)
    assert chord_over_length(circle[:, :501]) == pytest.approx(2 / torch.pi, abs=1e-4)
    assert chord_over_length(circle) == pytest.approx(0.0, abs=1e-4)
    both = torch.cat([circle, torch.zeros_like(circle)])  # a path that never moves counts as 1
    assert chord_over_length(both) == pytest.approx(0.5, abs=1e-4)
    assert effective_dimension(both) == pytest.approx(1.5, abs=1e-3)


def test_gradient_descent_comes_down_to_the_closed_forms_error_and_never_below():
    generator = torch.Generator().manual_seed(0)
    scale = torch.tensor([3.0, 2.0, 0.1, 0.1, 0.1])
    images = torch.randn((256, 5), generator=generator) * scale
    mean, axes = by_closed_form(images, 2)
    assert torch.allclose(mean, images.mean(dim=0), atol=1e-5)
    assert torch.allclose(axes @ axes.T, torch.eye(2), atol=1e-5)
    bound = (images - ((images - mean) @ axes.T @ axes + mean)).square().mean().item()
    models = itertools.islice(by_gradient(images, 2, seed=0), 60)  # a step each
    errors = [(images - model(images)[0]).square().mean().item() for model in models]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] > bound  # no linear map is below PCA (Eckart-Young)


def test_lines_are_those_of_code():
    assert lines_of(listed, longer) == 5
    assert lines_of(by_closed_form) == 3
    assert lines_of(Linear, by_gradient) == 23
