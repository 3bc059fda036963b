"""Images moved and mirrored: the pixels that were there, and masks with them; and deformed."""

import pytest
import torch
from torch.nn import functional as F

from aecli.config import DeformationNoise
from aecli.data.images import Batch
from aecli.training.augmentation import deformed, mirrored, moved
from aecli.training.loop import corrupt


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def batch(masked, n=40, shape=(3, 6, 9)):
    images = torch.rand((n, *shape), generator=seeded(1))
    return Batch(images, images[:, :1] > 0.3 if masked else None)


@pytest.mark.parametrize("masked", [False, True])
def test_a_moved_image_is_a_crop_of_it_with_its_edges_repeated(masked):
    before = batch(masked)
    after = moved(before, 2, seeded())
    found = set()
    for i in range(len(before)):
        wide = F.pad(before.images[i : i + 1], (2, 2, 2, 2), mode="replicate")[0]
        crops = {(y, x): wide[:, y : y + 6, x : x + 9] for y in range(5) for x in range(5)}
        [(y, x)] = [place for place, crop in crops.items() if torch.equal(crop, after.images[i])]
        found.add((y, x))
        if masked:
            wide = F.pad(before.mask[i : i + 1].float(), (2, 2, 2, 2), mode="replicate")[0]
            assert torch.equal(wide[:, y : y + 6, x : x + 9].bool(), after.mask[i])
    assert {y for y, _ in found} == {x for _, x in found} == set(range(5))


def test_an_image_moved_further_than_it_is_wide_is_its_edge():
    after = moved(batch(False, n=200), 500, seeded()).images
    flat = (after == after[:, :, :1, :1]).all(dim=(1, 2, 3))
    assert 150 < int(flat.sum()) < 200


@pytest.mark.parametrize("masked", [False, True])
def test_half_of_the_images_are_mirrored_with_their_masks(masked):
    before = batch(masked, n=400)
    after = mirrored(before, seeded())
    turned = torch.tensor(
        [torch.equal(a, b.flip(2)) for a, b in zip(after.images, before.images, strict=True)]
    )
    assert 150 < int(turned.sum()) < 250
    assert torch.equal(after.images[~turned], before.images[~turned])
    if masked:
        assert torch.equal(after.mask[turned], before.mask[turned].flip(3))
        assert torch.equal(after.mask[~turned], before.mask[~turned])


def test_the_generator_decides():
    for change in (lambda g: moved(batch(False), 3, g), lambda g: mirrored(batch(False), g)):
        one, same, other = (change(seeded(seed)).images for seed in (0, 0, 1))
        assert torch.equal(one, same)
        assert not torch.equal(one, other)


def _blob(x, y, height=41, width=61):
    """A round spot so far right of the middle, and below it."""
    rows = torch.arange(height)[:, None] - (height - 1) / 2 - y
    columns = torch.arange(width) - (width - 1) / 2 - x
    return torch.exp(-(rows**2 + columns**2) / 8).view(1, 1, height, width)


def _place(images):
    """The middle of each image's ink, (n, 2): right of the image's own middle, and below it."""
    height, width = images.shape[2:]
    ink = images[:, 0] / images.sum(dim=(1, 2, 3)).view(-1, 1, 1)
    x = (ink.sum(dim=1) * (torch.arange(width) - (width - 1) / 2)).sum(dim=1)
    y = (ink.sum(dim=2) * (torch.arange(height) - (height - 1) / 2)).sum(dim=1)
    return torch.stack([x, y], dim=1)


STILL = {"elastic": 0.0, "rotation": 0.0, "scale": 0.0, "shear": 0.0, "shift": 0.0}


def _deformed(images, **by):
    return deformed(images, DeformationNoise(**{**STILL, **by}), seeded(1))


def test_a_deformation_by_next_to_nothing_leaves_the_images():
    images = torch.rand((3, 2, 9, 14))
    torch.testing.assert_close(_deformed(images, shift=1e-6), images, atol=1e-5, rtol=0)


def test_a_deformation_by_nothing_is_refused():
    with pytest.raises(ValueError, match="deforms nothing: every amount is 0"):
        DeformationNoise(**STILL)


def test_a_rotation_keeps_distances_from_the_middle_of_an_oblong_image():
    found = _place(_deformed(_blob(9, 5).expand(50, -1, -1, -1), rotation=20))
    torch.testing.assert_close(found.norm(dim=1), torch.full((50,), 106.0).sqrt(), atol=0.1, rtol=0)
    degrees = torch.rad2deg(torch.atan2(found[:, 1], found[:, 0]))
    assert 12 < degrees.std() < 28


def test_shift_scale_and_shear_move_a_spot_as_they_say():
    spots = _blob(6, 4).expand(400, -1, -1, -1)
    moved_by = _place(_deformed(spots, shift=2)) - torch.tensor([6.0, 4.0])
    assert moved_by.std(dim=0).tolist() == pytest.approx([2, 2], rel=0.15)
    scaled = _place(_deformed(spots, scale=0.1)) / torch.tensor([6.0, 4.0])
    torch.testing.assert_close(scaled[:, 0], scaled[:, 1], atol=0.01, rtol=0)  # both ways alike
    assert scaled[:, 0].log().std().item() == pytest.approx(0.1, rel=0.15)
    sheared = _place(_deformed(spots, shear=0.2))
    torch.testing.assert_close(sheared[:, 1], torch.full((400,), 4.0), atol=0.02, rtol=0)
    assert sheared[:, 0].std().item() == pytest.approx(0.2 * 4, rel=0.15)


def test_an_elastic_deformation_moves_parts_of_an_image_differently():
    found = [_place(_deformed(_blob(x, 0).expand(200, -1, -1, -1), elastic=2)) for x in (-20, 20)]
    left, right = (place[:, 0] - x for place, x in zip(found, (-20, 20), strict=True))
    assert 0.5 < left.std() < 2.5
    assert abs(torch.corrcoef(torch.stack([left, right]))[0, 1]) < 0.5


def test_deformed_is_of_the_generator_and_in_the_unit_interval():
    images = torch.rand((5, 3, 20, 20))
    noise = DeformationNoise()
    once, again = (corrupt(images, noise, seeded(7)) for _ in range(2))
    assert torch.equal(once, again)
    assert not torch.allclose(once, images, atol=0.05)
    assert once.min() >= 0
    assert once.max() <= 1
