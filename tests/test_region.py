"""Code-space geometry where the truth is known."""

import pytest
import torch

from aecli.codespace.region import OccupiedRegion, Whitening, straight_path
from aecli.measure.distances import nearest_distances


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_whitened_codes_have_mean_zero_and_covariance_one():
    codes = normal(500, 3) @ torch.tensor([[3.0, 1, 0], [0, 0.1, 0], [0, 0, 50]]) + 7
    white = Whitening.of(codes)(codes)
    torch.testing.assert_close(white.mean(dim=0), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(torch.cov(white.T, correction=0), torch.eye(3), atol=1e-3, rtol=0)


def test_a_direction_without_variance_is_left_out():
    codes = torch.cat([normal(100, 2), torch.full((100, 1), 4.0)], dim=1)
    assert Whitening.of(codes)(codes).shape == (100, 2)


def test_the_region_does_not_depend_on_the_codes_scale_or_mixing():
    training, held_out, asked = normal(400, 3), normal(200, 3, seed=1), 3 * normal(50, 3, seed=2)
    mix = torch.tensor([[2.0, 1, 0], [0, 30, 4], [1, 0, 0.2]])
    plain = OccupiedRegion.calibrated(training, held_out)
    mixed = OccupiedRegion.calibrated(training @ mix + 5, held_out @ mix + 5)
    torch.testing.assert_close(
        plain.distances(asked), mixed.distances(asked @ mix + 5), rtol=1e-3, atol=1e-3
    )


def test_one_held_out_code_in_a_hundred_is_in_a_hole():
    region = OccupiedRegion.calibrated(normal(2000, 2), held_out := normal(1000, 2, seed=1))
    assert region.in_hole(held_out).double().mean().item() == pytest.approx(0.01, abs=0.001)
    assert region.typical < region.threshold


def test_the_gap_between_two_clusters_is_a_hole_and_a_disc_has_none():
    angle = 6.2832 * torch.rand(2000, generator=torch.Generator().manual_seed(0))
    circle = torch.stack([angle.cos(), angle.sin()], dim=1)
    ring = OccupiedRegion.calibrated(circle[:1500] + 0.02 * normal(1500, 2), circle[1500:])
    assert ring.in_hole(torch.zeros(1, 2)).item()
    assert ring.in_hole(circle[:500]).double().mean() < 0.05
    disc = OccupiedRegion.calibrated(normal(3000, 2), normal(1000, 2, seed=3))
    _, path = straight_path(torch.tensor([-1.0, 0]), torch.tensor([1.0, 0.5]), 21)
    assert disc.in_hole(path).sum() <= 1  # by its rule, one real code in a hundred is in one


def test_distances_are_to_the_nearest():
    points, references = torch.tensor([[0.0, 0], [5, 0]]), torch.tensor([[1.0, 0], [5, 2], [9, 0]])
    assert nearest_distances(points, references).tolist() == [1, 2]
    assert nearest_distances(points, references, 2).tolist() == pytest.approx(
        [(1 + 29**0.5) / 2, 3]
    )
    assert nearest_distances(points[:0], references).shape == (0,)


def test_a_point_has_no_distance_to_itself():
    points = normal(200, 32) + 50  # far from the origin: products of matrices round most there
    assert torch.cdist(points, points).diagonal().max() > 1e-3
    assert nearest_distances(points, points).abs().max() == 0
    exact = (points.double().unsqueeze(1) - points.double()).norm(dim=2).topk(3, largest=False)
    torch.testing.assert_close(
        nearest_distances(points, points, 3).double(), exact.values.mean(dim=1), rtol=1e-5, atol=0
    )


def test_a_path_starts_and_ends_exactly_and_has_even_steps():
    start, end = normal(4, 7), normal(4, 7, seed=1)
    t, path = straight_path(start, end, 10)
    assert (t[0], t[-1], len(t)) == (0, 1, 10)
    assert path.shape == (4, 10, 7)
    assert torch.equal(path[:, 0], start)
    assert torch.equal(path[:, -1], end)
    steps = path.diff(dim=1)
    torch.testing.assert_close(steps, steps[:, :1].expand_as(steps), atol=1e-5, rtol=1e-4)
