"""Ordered codes: where codes are cut, what training by it learns, how it is measured and told."""

import csv
import json
import math

import pytest
import torch

from aecli import codecs
from aecli.codecs.base import Codec
from aecli.codecs.ordered import FirstUnits, cut
from aecli.config import (
    ConvConfig,
    FitConfig,
    LinearConfig,
    MlpConfig,
    MseLoss,
    PcaConfig,
    SparseLoss,
    SweepConfig,
    resolve,
    set_layer,
)
from aecli.data import facts
from aecli.data.images import InMemory
from aecli.errors import UsageError
from aecli.experiments import sweep_codedim
from aecli.experiments.sweep_codedim import row_specs
from aecli.fields import CodecSection
from aecli.measure import metrics
from aecli.measure.first_units import counts_of_units, first_units_mse, unit_order
from aecli.runs import preflight
from aecli.training import loop
from aecli.training.autograd import Autograd
from aecli.training.closed_form import ClosedForm
from aecli.training.loop import Training, fit
from aecli.training.ordered import draw_kept
from aecli.training.parameters import FlatParameters
from tests.conftest import SMALL, digits, source
from tests.twins import go_on

MLP = MlpConfig(code_dim=6, hidden=(24, 9))
CONV = ConvConfig(code_dim=5, width=6)


def built(settings):
    torch.manual_seed(0)
    return codecs.build(settings, (1, 28, 28))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def trained(settings, config, images=None):
    codec = built(settings)
    list(fit(codec, images or source(200), source(0), config, seeded()))
    return codec


def masked():
    images = digits(60).float() / 255
    mask = torch.rand((60, 1, 28, 28), generator=seeded()) > 0.3
    return InMemory(torch.where(mask, images, float("nan")), mask=mask)


def test_a_code_is_cut_behind_its_first_units():
    codes = torch.arange(1.0, 13).view(3, 4)
    kept = torch.tensor([1, 4, 2])
    expected = [[1, 0, 0, 0], [5, 6, 7, 8], [9, 10, 0, 0]]
    assert cut(codes, kept).tolist() == expected
    assert cut(codes.view(3, 2, 1, 2), kept).flatten(1).tolist() == expected


@pytest.mark.parametrize("code_dim", [1, 2, 32])
def test_every_number_of_units_is_drawn_and_no_other(code_dim):
    drawn = draw_kept(20_000, code_dim, seeded())
    assert drawn.unique().tolist() == list(range(1, code_dim + 1))
    assert torch.equal(drawn, draw_kept(20_000, code_dim, seeded()))


@pytest.mark.parametrize("settings", [MLP, CONV], ids=lambda each: each.name)
def test_the_first_units_of_a_network_are_a_codec(settings):
    codec, images = built(settings).eval(), source(20)
    batch = images.all().images
    whole, first = FirstUnits(codec, codec.code_dim), FirstUnits(codec, 2)
    assert torch.equal(whole(batch), codec(batch))
    assert torch.equal(first.encode(batch), codec.encode(batch)[:, :2])
    twos = torch.full((20,), 2)
    assert torch.equal(first(batch), codec.decode(cut(codec.encode(batch), twos)))
    assert (first.code_dim, first.narrowest_layer, first.compression_ratio) == (2, 2, 392)
    assert first.count_parameters() == codec.count_parameters()
    assert first.device == codec.device


class Corner(Codec):
    """The first six pixels, as a code that is no vector."""

    def __init__(self):
        super().__init__((1, 2, 4), CodecSection(name="corner", code_dim=6), (3, 1, 2))

    def encode(self, images):
        return images.flatten(1)[:, :6].view(-1, *self.code_shape)

    def decode(self, codes):
        self._require_codes(codes)
        return torch.nn.functional.pad(codes.flatten(1), (0, 2)).view(-1, *self.image_shape)


def test_the_first_units_of_a_code_that_is_no_vector_are_counted_as_in_memory():
    images = torch.arange(1.0, 9).view(1, 1, 2, 4)
    first = FirstUnits(Corner(), 4)
    assert first.encode(images).tolist() == [[1, 2, 3, 4]]
    assert first(images).flatten().tolist() == [1, 2, 3, 4, 0, 0, 0, 0]


def test_the_first_units_of_pca_are_pca_of_as_many_components():
    images, test = source(100), masked()
    pca = codecs.build(PcaConfig(code_dim=6), images.shape)
    pca.solve(images)
    found = first_units_mse(pca, test, [1, 4, 6])
    for k, mse in zip((1, 4, 6), found, strict=True):
        assert mse == pytest.approx(metrics.mse(pca.truncated(k), test), rel=1e-5)
        assert mse == pytest.approx(metrics.mse(FirstUnits(pca, k), test), rel=1e-5)
    assert found[-1] == metrics.mse(pca, test)
    assert unit_order(metrics.encode(pca, images)) == pytest.approx(-1)


def test_the_order_of_units_is_spearmans():
    codes = torch.randn((50, 4), generator=seeded()) * torch.tensor([1.0, 8.0, 4.0, 2.0])
    assert unit_order(codes) == pytest.approx(1 - 6 * (4 + 4) / (4 * 15))
    assert math.isnan(unit_order(codes[:, :1]))


@pytest.mark.parametrize("code_dim", [1, 32, 33, 100, 784])
def test_some_numbers_of_units_are_measured(code_dim):
    counts = counts_of_units(code_dim)
    assert counts[: min(code_dim, 32)] == list(range(1, min(code_dim, 32) + 1))
    assert counts == sorted(set(counts))
    assert counts[-1] == code_dim
    assert len(counts) <= 64


def both_engines(codec, loss, dtype):
    parameters = FlatParameters(codec)
    yield parameters, ClosedForm(codec, parameters, loss, 30, dtype)
    yield parameters, Autograd(codec, parameters, loss, dtype)


@pytest.mark.parametrize("loss", [MseLoss(), SparseLoss(l1=0.5)], ids=lambda loss: loss.name)
@pytest.mark.parametrize("settings", [MLP, MlpConfig(hidden=()), LinearConfig(code_dim=5)])
@pytest.mark.parametrize("n", [30, 1])
def test_the_closed_form_of_cut_codes_is_autograds(settings, loss, n):
    codec, batch = built(settings), source(n).all()
    kept = draw_kept(n, codec.code_dim, seeded())
    found = []
    for parameters, engine in both_engines(codec, loss, torch.float32):
        means = engine(batch.images, batch, loss, kept)
        found.append((means.view(-1), parameters.gradient.clone()))
        whole = engine(batch.images, batch, loss)
        assert means.view(-1)[0] != whole.view(-1)[0] or n == 1
        assert torch.equal(means.view(-1)[2:], whole.view(-1)[2:])  # a penalty is whole
    for mine, autograds in zip(*found, strict=True):
        torch.testing.assert_close(mine, autograds, rtol=1e-4, atol=1e-8)


def test_the_closed_form_of_cut_codes_behind_a_relu_is_autograds():
    codec, batch = built(MLP), source(30).all()
    codec.encoder.append(torch.nn.ReLU())
    kept = draw_kept(30, codec.code_dim, seeded())
    found = []
    loss = SparseLoss(l1=0.5)
    for parameters, engine in both_engines(codec, loss, torch.float32):
        engine(batch.images, batch, loss, kept)
        found.append(parameters.gradient.clone())
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-8)


def test_in_bfloat16_the_closed_form_of_cut_codes_is_near_autograds():
    codec, batch = built(MLP), source(30).all()
    kept = draw_kept(30, codec.code_dim, seeded())
    found = []
    for dtype in (torch.bfloat16, torch.float32):
        parameters, engine = next(both_engines(codec, MseLoss(), dtype))
        engine(batch.images, batch, MseLoss(), kept)
        found.append(parameters.gradient.clone())
    assert (found[0] - found[1]).norm() < 0.05 * found[1].norm()


def squared_units(codec, inputs, batch, settings):
    """A loss that knows nothing of cuts: encode, decode, compare."""
    decoded = codec.decode(codec.encode(inputs))
    return {"mse": ((decoded - batch.images).square().flatten(1).mean(1), torch.ones(len(inputs)))}


def test_any_loss_learns_the_first_units_alone(monkeypatch):
    monkeypatch.setattr("aecli.training.losses.named", lambda _: squared_units)
    codec, batch = built(MLP), source(30).all()
    parameters, engine = list(both_engines(codec, MseLoss(), torch.float32))[1]
    engine(batch.images, batch, MseLoss(), torch.full((30,), 2))
    into = parameters.view_of(codec.decoder[0].weight, parameters.gradient)
    out_of = parameters.view_of(codec.encoder[-1].weight, parameters.gradient)
    assert into[:, :2].any(dim=0).all()
    assert out_of[:2].any(dim=1).all()
    assert not into[:, 2:].any()
    assert not out_of[2:].any()


def test_nothing_is_drawn_unless_codes_are_ordered(monkeypatch):
    monkeypatch.setattr(loop, "draw_kept", lambda *_: pytest.fail("drawn"))
    trained(MLP, FitConfig(epochs=1, batch_size=100))


def test_the_first_units_learn_most_and_validation_is_of_the_whole_code():
    codec, val = built(MLP), source(50, seed=1)
    config = FitConfig(epochs=20, batch_size=20, ordered=True)
    *_, last = fit(codec, source(200), val, config, seeded())
    assert last.val_mse == metrics.mse(codec, val)
    assert last.val_mse < last.train_mse  # which is of cut codes
    alone, *_, whole = first_units_mse(codec, val, range(1, 7))
    assert alone > whole == last.val_mse
    plain = trained(MLP, FitConfig(epochs=20, batch_size=20))
    assert alone < first_units_mse(plain, val, [1])[0]


@pytest.mark.parametrize("stop", [1, 3, 5])
@pytest.mark.parametrize(
    ("settings", "images", "given"),
    [
        (MLP, source(60), {"noise": "gaussian", "loss": SparseLoss()}),
        (MLP, masked(), {"recipe": "chapter"}),
        (LinearConfig(code_dim=5), source(60), {"precision": "bf16"}),
        (CONV, source(60), {"mirror": True}),
    ],
    ids=["mlp", "masked", "linear", "conv"],
)
def test_an_ordered_training_resumes_to_the_same_bits(settings, images, given, stop):
    config = FitConfig(epochs=2, batch_size=20, ordered=True, **given)  # 3 steps to an epoch

    def training(seed):
        codec = built(settings)
        return codec, Training(codec, images, source(0), config, seeded(seed))

    whole, first = training(0)
    go_on(first, stop)
    state = {name: tensor.clone() for name, tensor in first.state().items()}
    go_on(first, 6)
    resumed, second = training(99)
    second.restore(state)
    go_on(second, 6)
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


def test_an_ordered_table_has_one_training_and_no_row_of_another_codec():
    config = SweepConfig(code_dims=(2, 784), ordered=True)
    specs = row_specs(config)
    assert [(spec.key, spec.variant, spec.wide) for spec in specs] == [
        ("2", "ordered", False),
        ("784", "ordered", False),
    ]
    assert facts.wide_dims(config) == ()
    assert preflight.trainings(config) == config.seeds
    assert preflight.largest_codec(config) == MlpConfig(code_dim=784)


def test_variants_beside_an_ordered_table_are_refused():
    with pytest.raises(UsageError) as error:
        resolve(SweepConfig, [set_layer(["ordered=true", "variants=[plain, sparse]"])])
    assert str(error.value).startswith("ordered=true and variants=['plain', 'sparse']: ")


def rows_of(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def test_a_sweep_of_one_ordered_code(inside, monkeypatch, jobs_here):
    monkeypatch.setattr(sweep_codedim, "N_PROBE", 100)
    told = ("sweep-codedim", "2", "4", "--ordered", *SMALL, "--seeds", "2", "--jobs", "1")
    done = inside(*told, "--expect", "ordered_rank_correlation<=1", "--expect", "failed_jobs==0")
    assert done.code == 0, done.stderr
    of_seeds = done.stdout.partition("-1 if in order, by seed: ")[2].partition(".\n")[0].split(", ")
    assert len(of_seeds) == 2
    found = sum(map(float, of_seeds)) / 2
    assert done.metrics()["ordered_rank_correlation"] == pytest.approx(found, abs=1e-3)
    assert done.stderr.count("trained ") == 2
    assert "trained 2 of 2: mlp code 4" in done.stderr
    rows = rows_of(done.run / "table.csv")
    assert [(row["code_dim"], row["variant"], row["narrowest_layer"]) for row in rows] == [
        ("2", "ordered", "2"),
        ("4", "ordered", "4"),
    ]
    assert float(rows[0]["test_mse"]) > float(rows[1]["test_mse"]) > 0
    assert float(rows[0]["pca_test_mse"]) > float(rows[1]["pca_test_mse"])
    for text in (done.stdout, (done.run / "table.md").read_text()):
        assert "first units" in text
        assert "Trained with recipe muon (ordered=True), batch 128, 2 epochs" in text
        assert "Every row has the first units of the same 2 codes of 4, with 0 for the" in text
    assert {path.name for path in done.run.glob("*.png")} == {
        "tradeoff.png",
        "decoded.png",
        "code_scatter.png",
    }
    again = inside(*told[:1], "--config", str(done.run / "config.yaml"), "--offline", "--dry-run")
    assert again.code == 0, again.stderr
    assert "ordered: true" in again.stdout


def test_a_training_that_is_ordered_leaves_its_curve(inside):
    told = ("train", *SMALL, "--set", "train.ordered=true", "--code-dim", "5")
    done = inside(*told, "--expect", "ordered_rank_correlation<=1")
    assert done.code == 0, done.stderr
    measured = json.loads((done.run / "metrics.json").read_text())
    rows = rows_of(done.run / "ordered.csv")
    assert list(rows[0])[:3] == ["units", "test_mse", "pca_test_mse"]
    assert [int(row["units"]) for row in rows] == [1, 2, 3, 4, 5]
    assert float(rows[-1]["test_mse"]) == measured["test_mse"]
    assert float(rows[-1]["pca_test_mse"]) == pytest.approx(measured["pca_test_mse"], rel=1e-6)
    assert (done.run / "ordered.png").exists()
    assert "first units alone" in done.stdout
    plain = inside("train", *SMALL, "--code-dim", "5")
    assert "ordered_rank_correlation" not in plain.metrics()
    assert not list(plain.run.glob("ordered*"))


@pytest.mark.parametrize(
    ("command", "key"), [(("train",), "train.ordered"), (("sweep-codedim", "2"), "ordered")]
)
def test_an_order_that_nothing_is_trained_for_cannot_be_expected(inside, command, key):
    done = inside(*command, *SMALL, "--expect", "ordered_rank_correlation<0")
    assert done.code == 2
    assert f"--expect 'ordered_rank_correlation<0': {key} is false" in done.stderr
