"""Interpolation: holes where the truth is known, ends that are the images', and the command."""

import csv
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from aecli import codecs
from aecli.cli import metric_names
from aecli.codecs import store
from aecli.codecs.base import Codec
from aecli.codecs.pca import Pca
from aecli.codespace.lines import CodeSpace, walk
from aecli.config import DctConfig, InterpolateConfig, PcaConfig
from aecli.data.images import Images, InMemory
from aecli.errors import UsageError
from aecli.experiments.ends import choose_ends, draw_pairs
from aecli.experiments.interpolate import PAIR_STEPS
from aecli.experiments.interpolate_figures import _plane
from aecli.fields import CodecSection
from tests.conftest import FEW_IMAGES, SMALL
from tests.test_classifier import assert_named

FEW = ("--pairs", "20")
# Says of every image that it is a 0 for certain.
YES_MAN = SimpleNamespace(probabilities=lambda images: torch.eye(10)[[0] * len(images)])


class Identity(Codec):
    """The code of an image of two pixels is its pixels."""

    def __init__(self):
        super().__init__((1, 1, 2), CodecSection(name="identity", code_dim=2))
        self.register_buffer("anything", torch.zeros(1))

    def encode(self, images):
        return images.flatten(start_dim=1)

    def decode(self, codes):
        return codes.unflatten(1, self.image_shape)


def images_at(draw, labels_of):
    """Images whose two pixels are `draw(n, generator)`, which is in [0, 1]."""

    def split(n, seed):
        points = draw(n, torch.Generator().manual_seed(seed))
        return InMemory(points.unflatten(1, (1, 1, 2)), labels_of(points))

    return Images("points", "drawn", "0" * 64, split(3000, 0), split(1000, 1), split(400, 2))


def walked(images, pairs=300):
    space = CodeSpace.of(Identity(), images)
    return space, walk(space, draw_pairs(images.test.labels, pairs, 0), PAIR_STEPS, YES_MAN)


def two_clusters(n, generator):
    far = (torch.rand((n, 1), generator=generator) < 0.5).float()
    return 0.2 + 0.6 * far + 0.02 * torch.randn((n, 2), generator=generator)


def ring(n, generator):
    angle = 2 * torch.pi * torch.rand(n, generator=generator)
    radius = 0.4 + 0.01 * torch.randn(n, generator=generator)
    return 0.5 + torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)


def disc(n, generator):
    angle = 2 * torch.pi * torch.rand(n, generator=generator)
    radius = 0.4 * torch.rand(n, generator=generator).sqrt()
    return 0.5 + torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)


def left_or_right(points):
    return (points[:, 0] > 0.5).long()


def test_between_two_clusters_every_path_is_in_a_hole():
    space, paths = walked(images_at(two_clusters, left_or_right))
    between = (paths.t > 0.2) & (paths.t < 0.8)
    assert paths.leaving.all()
    assert paths.in_hole[:, between].all()
    assert paths.hole_rates[~paths.inner].max() < 0.04
    assert paths.hole_rates[10] == 1
    assert paths.distances[:, 10].min() > 10 * space.region.typical


def test_a_ring_is_left_where_the_chord_is_inside_it():
    images = images_at(ring, left_or_right)
    space = CodeSpace.of(Identity(), images)
    pairs = draw_pairs(images.test.labels, 300, 0)
    paths = walk(space, pairs, PAIR_STEPS, YES_MAN)
    middle = (space.test_codes[pairs[:, 0]] + space.test_codes[pairs[:, 1]]) / 2
    radius = (middle - 0.5).norm(dim=1)
    assert paths.in_hole[radius < 0.3, 10].all()
    assert not paths.in_hole[(radius > 0.385) & (radius < 0.41), 10].any()


def test_no_path_leaves_a_filled_disc():
    # Training codes on a lattice, so that no chance gap is taken for a hole; held-out codes up to
    # the edge, where neighbours are on one side only; and test images that are not at the edge.
    lattice = torch.cartesian_prod(*[torch.linspace(0.1, 0.9, 61)] * 2)
    lattice = lattice[(lattice - 0.5).norm(dim=1) <= 0.4]
    images = images_at(disc, left_or_right)
    test = images.test.images[(images.test.images.flatten(1) - 0.5).norm(dim=1) < 0.36]
    images = Images(
        "disc",
        "drawn",
        "0" * 64,
        InMemory(lattice.unflatten(1, (1, 1, 2)), left_or_right(lattice)),
        images.val,
        InMemory(test, left_or_right(test.flatten(1))),
    )
    _, paths = walked(images)
    assert not paths.in_hole.any()
    assert not paths.leaving.any()


def test_the_identity_and_pca_are_their_own_cycle(images):
    _, paths = walked(images_at(two_clusters, left_or_right))
    assert paths.cycle_errors.max() == 0
    pca = Pca(images.shape, PcaConfig(code_dim=4))
    pca.solve(images.train)
    pairs = draw_pairs(images.test.labels, 20, 0)
    paths = walk(CodeSpace.of(pca, images), pairs, 5, YES_MAN)
    assert paths.cycle_errors.max() < 1e-4
    assert (paths.confidence == 1).all()
    assert (paths.read_as == 0).all()


def test_the_ends_are_the_decoded_ends(images):
    pca = Pca(images.shape, PcaConfig(code_dim=4))
    pca.solve(images.train)
    space = CodeSpace.of(pca, images)
    ends = torch.tensor([3, 17])
    path = space.path(ends, 10)
    torch.testing.assert_close(path[[0, -1]], space.test_codes[ends], rtol=0, atol=0)
    reconstructed = pca(images.test.images[ends].float() / 255).clamp(0, 1)
    torch.testing.assert_close(space.decode(path)[[0, -1]], reconstructed)


def test_many_pairs_are_walked_as_few_are(images):
    pca = Pca(images.shape, PcaConfig(code_dim=2))
    pca.solve(images.train)
    space = CodeSpace.of(pca, images)
    pairs = draw_pairs(images.test.labels, 450, 0)  # more than are decoded at once
    many, some = (walk(space, p, PAIR_STEPS, YES_MAN) for p in (pairs, pairs[400:]))
    torch.testing.assert_close(many.distances[400:], some.distances, rtol=1e-4, atol=1e-4)
    assert many.distances.shape == (450, PAIR_STEPS)


@pytest.mark.parametrize("draw", [two_clusters, ring])
def test_the_plane_holds_the_whole_occupied_region(draw):
    images = images_at(draw, left_or_right)
    space = CodeSpace.of(Identity(), images)
    ends = torch.tensor([0, 1])
    journey = walk(space, ends.unsqueeze(0), 5, YES_MAN)
    outcome = SimpleNamespace(
        images=images, own=space, journey=journey, ends=ends, end_labels=(0, 1)
    )
    plane = _plane(outcome)
    border = [
        plane.distances[0],
        plane.distances[-1],
        plane.distances[:, 0],
        plane.distances[:, -1],
    ]
    assert np.concatenate(border).min() > plane.threshold
    assert plane.distances.min() < plane.threshold
    assert (plane.path > [plane.x[0], plane.y[0]]).all()
    assert (plane.path < [plane.x[-1], plane.y[-1]]).all()


def test_pairs_are_of_different_digits_and_the_seeds():
    labels = torch.tensor([3] * 95 + [5] * 5)
    pairs = draw_pairs(labels, 200, 1)
    assert (labels[pairs[:, 0]] != labels[pairs[:, 1]]).all()
    assert torch.equal(pairs, draw_pairs(labels, 200, 1))
    assert not torch.equal(pairs, draw_pairs(labels, 200, 2))
    with pytest.raises(UsageError, match="all of one class"):
        draw_pairs(torch.zeros(5), 2, 0)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"from_digit": 3},
        {"to_digit": 3},
        {"from_digit": 3, "to_digit": 8},
        {"from_index": 7},
        {"to_index": 7, "from_digit": 2},
        {"from_index": 7, "to_index": 17},  # of the same digit: they were named one by one
    ],
)
def test_the_ends_are_what_was_asked_for(asked, seed):
    labels = torch.arange(100) % 10
    config = InterpolateConfig(seed=seed, **asked)
    ends = choose_ends(config, labels)
    assert torch.equal(ends, choose_ends(config, labels))
    for end, index in zip(("from", "to"), ends.tolist(), strict=True):
        assert asked.get(f"{end}_index", index) == index
        assert asked.get(f"{end}_digit", index % 10) == index % 10
    assert ends[0] % 10 != ends[1] % 10 or len(asked) == 2


def test_drawn_ends_decode_as_the_digits_that_they_are():
    labels = torch.arange(100) % 10
    legible = {23, 38, 57}

    def read_decoded(index):
        return int(labels[index]) if index in legible else 11

    assert choose_ends(
        InterpolateConfig(from_digit=3, to_digit=8), labels, read_decoded
    ).tolist() == [23, 38]
    [start, end] = choose_ends(InterpolateConfig(from_index=7, to_digit=8), labels, read_decoded)
    assert (start, end) == (7, 38)  # named by index it stays, whatever it decodes as
    config = InterpolateConfig(from_digit=1, to_digit=2)  # none of which is legible
    start, end = choose_ends(config, labels, read_decoded).tolist()
    assert (start % 10, end % 10) == (1, 2)


def test_an_end_that_decodes_as_what_it_is_stays(images):
    labels = torch.arange(100) % 10
    config = InterpolateConfig(seed=3)
    drawn = choose_ends(config, labels)
    assert torch.equal(drawn, choose_ends(config, labels, lambda index: int(labels[index])))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"to_index": 100}, r"to_index=100 must be at most 99 \(100 test images\)"),
        ({"from_digit": 3, "to_index": 13}, "both ends are of digit 3"),
    ],
)
def test_ends_that_cannot_be_had(asked, message):
    with pytest.raises(UsageError, match=message):
        choose_ends(InterpolateConfig(**asked), torch.arange(100) % 10)
    with pytest.raises(UsageError, match="no test image of digit 9"):
        choose_ends(InterpolateConfig(from_digit=9), torch.arange(9))


def rows_of(path):
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.fixture
def interpolate(inside):
    def call(*arguments):
        return inside("interpolate", *arguments, *FEW)

    return call


def test_a_run_leaves_what_the_contract_says(interpolate):
    done = interpolate(*SMALL, "--from-digit", "3", "--to-digit", "8", "--steps", "12")
    assert done.code == 0, done.stderr
    metrics = done.metrics()
    assert tuple(metrics) == metric_names.METRICS["interpolate"]
    assert (metrics["code_dim"], metrics["from_digit"], metrics["to_digit"]) == (2, 3, 8)
    assert metrics["pairs"] == 20
    assert 0 <= metrics["held_out_in_hole"] < 0.1
    path = rows_of(done.run / "path.csv")
    columns = ["t", "nearest_code_distance", "confidence", "cycle_error", "in_hole"]
    assert list(path[0])[:5] == columns
    assert [row["t"] for row in (path[0], path[-1])] == ["0.0", "1.0"]
    rated = rows_of(done.run / "rates.csv")
    assert {row["dataset"] for row in (*path, *rated)} == {metrics["dataset"]} == {"mnist-5k"}
    assert "recipe muon, batch 256, 2 epochs" in done.stdout
    assert len(path) == 12
    for row in path:
        too_far = float(row["nearest_code_distance"]) > metrics["hole_threshold"]
        assert row["in_hole"] == str(int(too_far))
    assert sum(int(row["in_hole"]) for row in path) == metrics["steps_in_hole"]
    rates = rows_of(done.run / "rates.csv")
    assert len(rates) == PAIR_STEPS
    assert float(rates[10]["t"]) == 0.5
    assert float(rates[10]["in_hole_rate"]) == metrics["in_hole_rate_middle"]
    assert float(rates[10]["pca_in_hole_rate"]) == metrics["pca_in_hole_rate_middle"]
    assert {path.name for path in done.run.glob("*.png")} == {
        "interpolation.png",
        "latent_map.png",
        "decoder_grid.png",
        "hole_rates.png",
    }
    assert store.load(done.run / "model").code_dim == 2
    assert "99% quantile of 333 held-out codes" in done.stdout
    assert_named(done.run)
    assert "right on the test images" in done.stdout


def test_a_trained_run_is_looked_into_and_the_config_repeats_it(interpolate, small_run, tmp_path):
    shutil.copytree(small_run.run, tmp_path / "runs" / small_run.run.name)
    first = interpolate("--run", "latest", "--steps", "2", "--offline")
    assert first.code == 0, first.stderr
    assert first.run.name.endswith("-interpolate-mlp2")
    assert not (first.run / "model").exists()
    record = json.loads((first.run / "run.json").read_text())
    assert record["subject"].endswith(small_run.run.name)
    assert record["dataset"]["n_train"] == 300
    (tmp_path / "runs/latest").unlink()
    again = interpolate("--config", str(first.run / "config.yaml"), "--offline")
    assert again.code == 0, again.stderr
    assert again.metrics() == first.metrics()


@pytest.mark.parametrize(("codec", "code_dim"), [("pca", "1"), ("dct", "8"), ("linear", "1")])
def test_every_codec_is_walked_through(interpolate, codec, code_dim):
    done = interpolate(*FEW_IMAGES, "--codec", codec, "--code-dim", code_dim)
    assert done.code == 0, done.stderr
    metrics = done.metrics()
    assert metrics["pca_pairs_leaving"] is not None
    if codec == "pca":
        assert metrics["pca_pairs_leaving"] == metrics["pairs_leaving"]
    assert not (done.run / "latent_map.png").exists()


def test_an_overcomplete_code_has_no_pca_beside_it(interpolate):
    done = interpolate(*SMALL, "--code-dim", "900", "--set", "codec.hidden=[]")
    assert done.code == 0, done.stderr
    assert done.metrics()["pca_in_hole_rate_middle"] is None
    assert "PCA-900: none" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--from-index", "5", "--to-index", "5"], "to_index=5 must be another than from_index"),
        (["--from-digit", "5", "--to-digit", "5"], "to_digit=5 must be another than from_digit"),
        (["--from-digit", "5", "--from-index", "5"], "both choose the same end"),
        (["--to-digit", "5", "--to-index", "5"], "both choose the same end"),
        (["--from-digit", "10"], "from_digit=10 must be at most 9 (10 classes)"),
        (["--steps", "1"], "--steps: steps=1 must be at least 2"),
        (["--from-index", "1000", *SMALL], "from_index=1000 must be at most 999"),
        (["--set", "data.val=0", *SMALL], "data.val=0 leaves no held-out images"),
        ([*FEW_IMAGES, "--limit-train", "4", "--codec", "dct"], "limit_train=4 must be at least 5"),
    ],
)
def test_bad_input_gets_one_clear_line_and_exits_2(interpolate, arguments, message):
    done = interpolate(*arguments)
    assert done.code == 2
    [line] = done.errors
    assert message in line


def test_a_bad_run_gets_one_clear_line_and_its_exit_code(interpolate, small_run, tmp_path):
    def spoilt(name, spoil):
        shutil.copytree(small_run.run, tmp_path / name)
        spoil(tmp_path / name)
        return ["--run", str(tmp_path / name)]

    def other_size(run):
        config = DctConfig(code_dim=2)
        description, weights = store.pack(codecs.build(config, (1, 14, 14)), config)
        (run / "model/config.json").write_text(json.dumps(description))
        (run / "model/model.safetensors").write_bytes(weights)

    def without_val(run):
        config = (run / "config.yaml").read_text()
        (run / "config.yaml").write_text(config.replace("val: null", "val: 0"))

    good = ["--run", str(small_run.run)]
    for arguments, code, message in [
        (["--run", "gone"], 3, "--run gone: no such run folder"),
        (["--run", "latest"], 3, "--run latest: no finished run"),
        (spoilt("a", lambda run: shutil.rmtree(run / "model")), 3, "a run folder without a model"),
        (spoilt("b", lambda run: (run / "config.yaml").unlink()), 3, "its config cannot be read"),
        (spoilt("c", lambda run: (run / "model/model.safetensors").unlink()), 3, "no model to"),
        (spoilt("d", other_size), 2, "decodes 1x14x14 images, mnist-5k has 1x28x28"),
        (spoilt("e", without_val), 2, "leaves no held-out images"),
        ([*good, "--dataset", "fashion-mnist"], 2, "data.dataset=fashion-mnist: --run "),
        ([*good, "--code-dim", "8"], 2, "codec.code_dim=8: --run "),
        ([*good, "--epochs", "7"], 2, "train.epochs=7: --run "),
    ]:
        done = interpolate(*arguments)
        assert done.code == code, message
        [line] = done.errors
        assert message in line


def test_a_dry_run_shows_the_codec_of_the_run(interpolate, small_run):
    done = interpolate("--run", str(small_run.run), "--dry-run")
    assert "limit_train: 300" in done.stdout
    assert interpolate("--run", "gone", "--dry-run").code == 3
