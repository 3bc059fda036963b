"""Evidence on latent diffusion's autoencoders: what is measured, on made images."""

import dataclasses

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from aecli import codecs
from aecli.chapter import LatentDiffusion
from aecli.codecs.grid_settings import DcConfig
from aecli.experiments import reproduce_latent
from aecli.experiments.reproduce_latent import measure_latent_diffusion
from aecli.measure.robustness import turned


def test_a_turn_moves_no_pixel_by_a_quarter_and_none_by_nothing():
    images = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(turned(images, 0.0), images)
    torch.testing.assert_close(turned(images, 90.0), images.rot90(1, (2, 3)))
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


def test_operations_are_those_that_torch_counts():
    block = reproduce_latent._block().train()
    with FlopCounterMode(display=False) as counter:
        block(torch.zeros(1, 10, 384))
    attention = 2 * 2 * 10 * 10 * 384  # which torch does not count
    assert reproduce_latent._block_operations(10) == counter.get_total_flops() + attention
    codec = codecs.build(DcConfig(code_dim=64, downsampling=8, width=4, widest=4), (1, 28, 28))
    at_most = 2 * 32 * 32 * codec.count_parameters()  # were every weight used at every pixel
    assert 0 < reproduce_latent._decoder_operations(codec) < at_most


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"quick": True}, "quick"),
        ({"diffusers": None}, "without aecli[diffusion]"),
        ({}, "fewer than 1,000 training images"),
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
