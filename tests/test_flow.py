"""The flow: what it draws before and after training, of classes too, and what is kept of it."""

import math

import pytest
import torch
from safetensors.torch import save_file

from aecli.codespace import flow
from aecli.codespace.flow import Flow, Parts, read_flow, steps_for, trained_flow
from aecli.codespace.samplers import SAMPLERS, class_samplers
from aecli.errors import DataError

CENTRES = torch.tensor([[0.0, 0.0], [12.0, 0.0], [0.0, 12.0]])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def clusters(n=600):
    """Codes (n, 2) around three centres, 12 apart, deviation 1, and the centre of each."""
    labels = torch.arange(n) % 3
    return CENTRES[labels] + torch.randn((n, 2), generator=generator(2)), labels


def nearest_centre(codes):
    """The distance of each code to its nearest centre, and which that is."""
    return torch.cdist(codes, CENTRES).min(dim=1)


@pytest.fixture
def small(monkeypatch):
    """A network that learns a code of two numbers within a second."""
    monkeypatch.setattr(flow, "WIDTH", 48)
    monkeypatch.setattr(flow, "BATCH", 256)
    monkeypatch.setattr(flow, "PASSES", 150)
    monkeypatch.setattr(flow, "LR", 1e-2)
    monkeypatch.setattr(flow, "EMA", 0.9)


@pytest.fixture
def one_step(monkeypatch):
    monkeypatch.setattr(flow, "PRODUCTS", 1)


def test_before_training_it_draws_from_the_parts_gaussians():
    parts, _ = Parts.of(clusters()[0], None, generator())
    untrained = Flow(parts, flow._Network(2))
    drawn, same = untrained.draw(50, generator(5)), generator(5)
    part = parts.drawn(50, same)
    expected = parts.undo(torch.randn((50, 2), generator=same), part)
    torch.testing.assert_close(drawn, expected, atol=0.05, rtol=0.01)


@pytest.mark.parametrize("t", [0.0, 0.3, 0.5, 1.0])
def test_of_gaussian_codes_nothing_is_left_to_learn(small, t):
    # Their velocity is the first term, and the rest, as F sees it, has variance 1 at any time.
    network = flow._Network(2)
    codes, noise = torch.randn((2, 40_000, 2), generator=generator())
    centres = torch.zeros((40_000, 2))
    with torch.no_grad():
        loss = network.loss(codes, noise, torch.full((40_000, 1), t), centres)
    assert loss.item() == pytest.approx(1, abs=0.02)


def test_its_loss_is_that_of_the_velocity():
    network = flow._Network(4)
    torch.nn.init.normal_(network.last.weight, generator=generator(1))
    codes, noise = torch.randn((2, 30, 4), generator=generator())
    t, centres = (
        torch.rand((30, 1), generator=generator()),
        torch.randn((30, 4), generator=generator(7)),
    )
    velocity = network.velocity((1 - t) * noise + t * codes, t, centres)
    weights = t.square() + (1 - t).square()
    expected = (weights * (velocity - (codes - noise)).square()).mean()
    torch.testing.assert_close(network.loss(codes, noise, t, centres), expected)


def test_codes_are_cut_into_parts_of_one_class_and_each_is_whitened():
    codes, labels = clusters(900)
    parts, part = Parts.of(codes, labels, generator())
    assert torch.equal(parts.classes[part], labels)
    assert torch.equal(parts.counts, part.bincount().double())
    points = parts.whitened(codes, part)
    torch.testing.assert_close(parts.undo(points, part), codes, atol=1e-3, rtol=0)
    assert points.mean(dim=0).abs().max() < 1e-4
    torch.testing.assert_close(torch.cov(points.T), torch.eye(2), atol=0.1, rtol=0)
    drawn = parts.drawn(60, generator(), labels[:60])
    assert torch.equal(parts.classes[drawn], labels[:60])


def test_the_number_of_parts_is_what_held_out_codes_are_likeliest_under():
    gaussian = torch.randn((2000, 4), generator=generator())
    assert len(Parts.of(gaussian, None, generator())[0].classes) == 1
    parts, part = Parts.of(clusters(900)[0], None, generator())
    assert 3 <= len(parts.classes) <= 16
    assert torch.equal(parts.counts, part.bincount().double())
    assert len(Parts.of(gaussian[:30], None, generator())[0].classes) == 1


def test_it_learns_clusters_that_a_gaussian_does_not(small):
    codes, _ = clusters()
    drawn = trained_flow(codes, generator()).draw(1000, generator(1))
    distances, cluster = nearest_centre(drawn)
    assert (distances < 4).double().mean() > 0.95
    assert torch.bincount(cluster).min() > 250
    distances, _ = nearest_centre(SAMPLERS["full-gaussian"](codes, 1000, generator()).codes)
    assert (distances < 4).double().mean() < 0.6


def test_it_draws_the_class_that_is_asked_for(small):
    codes, labels = clusters()
    wanted = torch.tensor([2, 0, 0, 1]).repeat(50)
    drawn = trained_flow(codes, generator(), labels).draw(200, generator(1), wanted)
    distances, cluster = nearest_centre(drawn)
    assert (cluster == wanted).double().mean() > 0.95
    assert (distances < 4).double().mean() > 0.95


@pytest.mark.parametrize("name", sorted(class_samplers().keys() - {"flow"}))
def test_the_others_draw_a_class_from_its_codes_alone(name):
    codes, labels = clusters()
    wanted = torch.tensor([1, 1, 2, 0]).repeat(20)
    first, again = (class_samplers()[name](codes, labels, wanted, generator(3)) for _ in range(2))
    assert torch.equal(first.codes, again.codes)
    distances, cluster = nearest_centre(first.codes)
    assert torch.equal(cluster, wanted)
    assert distances.max() < 5


def test_no_class_is_drawn_from_the_standard_normal():
    assert class_samplers().keys() == SAMPLERS.keys() - {"standard-normal"}


def test_the_global_generator_decides_nothing_and_is_left_alone(one_step):
    codes, labels = clusters(60)
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        trained = trained_flow(codes, generator(), labels)
        found.append(trained.draw(20, generator(1), labels[:20]))
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(*found)


def test_it_trains_where_gradients_are_off(one_step):
    with torch.no_grad():
        drawn = SAMPLERS["flow"](clusters(60)[0], 5, generator())
    assert drawn.found == {"flow_parts": len(drawn.kept["counts"]), "flow_steps": 1}
    assert not any(tensor.requires_grad for tensor in drawn.kept.values())


def test_few_codes_and_large_ones_take_fewer_steps():
    of_32, of_784 = (flow._Network(k).products for k in (32, 784))
    assert steps_for(55_000, of_32) > steps_for(55_000, of_784) > 1
    assert steps_for(55_000, of_32) * of_32 * flow.BATCH <= flow.PRODUCTS
    assert steps_for(55_000, of_32) > steps_for(1_000, of_32) > steps_for(100, of_32)
    assert steps_for(2, of_32) == 1


@pytest.mark.parametrize("classes", [False, True])
def test_what_is_kept_draws_the_same_again(one_step, tmp_path, classes):
    codes, labels = clusters(60)
    wanted = labels[:20] if classes else None
    trained = trained_flow(codes, generator(), labels if classes else None)
    save_file(trained.tensors(), tmp_path / "flow.safetensors")
    again = read_flow(tmp_path / "flow.safetensors")
    assert torch.equal(again.draw(20, generator(1), wanted), trained.draw(20, generator(1), wanted))


def test_a_file_that_is_no_flow_is_refused(one_step, tmp_path):
    path = tmp_path / "flow.safetensors"
    tensors = trained_flow(clusters(60)[0], generator()).tensors()
    for wrong in (
        {"mean": torch.zeros(2)},
        tensors | {"roots": torch.zeros((1, 2, 3))},
        tensors | {"means": torch.zeros(())},
        tensors | {"matrix": torch.zeros(())},
        tensors | {"network.last.bias": torch.zeros(3)},
        {name: tensor for name, tensor in tensors.items() if name != "network.last.bias"},
    ):
        save_file(wrong, path)
        with pytest.raises(DataError, match="not a flow of aecli"):
            read_flow(path)
    path.write_bytes(b"no tensors")
    with pytest.raises(DataError, match=r"flow\.safetensors: not a flow of aecli"):
        read_flow(path)
    with pytest.raises(DataError, match="not a flow of aecli"):
        read_flow(tmp_path / "gone")


def test_codes_far_out_do_not_break_it(small):
    codes = clusters()[0]
    codes[0] = 1e4
    assert trained_flow(codes, generator()).draw(100, generator(1)).isfinite().all()


def test_parts_of_long_codes_are_whitened_on_several_threads():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        codes = torch.randn((2200, 256), generator=generator(3))
        labels = torch.arange(2200) % 2
        parts, part = Parts.of(codes, labels, generator())
        whitened = parts.whitened(codes, part)
        assert len(parts.means) >= 2
        for own in range(len(parts.means)):
            points = whitened[part == own]
            assert points.mean(dim=0).abs().max() < 1e-3
            assert 0.5 < points.var(dim=0).mean() < 2
        cut = flow._cut_into(2, codes, generator())
        assert math.isfinite(cut.mean_log_likelihood(codes[:50]))
    finally:
        torch.set_num_threads(threads)
