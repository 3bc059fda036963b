"""Evidence on latent diffusion's autoencoders: what is measured, on made images."""

import dataclasses

import pytest
import torch

from aecli.chapter import LatentDiffusion
from aecli.experiments import reproduce_latent
from aecli.experiments.reproduce_latent import measure_latent_diffusion, turned


def test_a_turn_moves_no_pixel_by_a_quarter_and_none_by_nothing():
    images = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(turned(images, 0.0), images)
    torch.testing.assert_close(turned(images, 90.0), images.rot90(-1, (2, 3)))
    back = turned(turned(images, 180.0), 180.0)
    torch.testing.assert_close(back, images)


def test_a_turn_keeps_a_disc_round_in_an_oblong_image():
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(48.0), indexing="ij")
    disc = torch.sigmoid(8 - ((x - 23.5) ** 2 + (y - 15.5) ** 2).sqrt())[None, None]
    assert (turned(disc, 37.0) - disc).abs().max() < 0.03


def test_codes_have_one_number_of_numbers_at_every_factor():
    assert reproduce_latent._grids((1, 28, 28)) == (64, [8, 16, 32])
    assert reproduce_latent._grids((3, 128, 128)) == (1024, [8, 16, 32, 64, 128])
    assert set(reproduce_latent._pixels_to_a_number().values()) == {96.0}


def test_operations_are_those_of_the_products():
    width, tokens = 384, 10
    products = 12 * width * width * tokens + 2 * tokens * tokens * width
    assert reproduce_latent._block_operations(tokens) == 2 * products


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"quick": True}, "quick"),
        ({"diffusers": None}, "without aecli[diffusion]"),
        ({}, "fewer than 2,000 training images"),
    ],
)
def test_what_cannot_be_measured_is_said(asked, why, images, monkeypatch):
    if "diffusers" in asked:
        monkeypatch.setattr(reproduce_latent.importlib.util, "find_spec", lambda _: None)

    @dataclasses.dataclass
    class Asked:
        quick: bool = asked.get("quick", False)

    @dataclasses.dataclass
    class OfImages:
        images: object

    found = measure_latent_diffusion(OfImages(images), Asked(), None, None)
    assert found == why
    assert not isinstance(found, LatentDiffusion)
