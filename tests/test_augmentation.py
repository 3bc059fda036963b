"""Images moved and mirrored: the pixels that were there, and masks with them."""

import pytest
import torch
from torch.nn import functional as F

from aecli.data.images import Batch
from aecli.training.augmentation import mirrored, moved


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
