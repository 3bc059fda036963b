"""Engines: twins trained by the closed form and by autograd, and what a mask leaves out."""

import pytest
import torch
from torch import nn

from aecli import codecs
from aecli.codecs.base import ChainCodec
from aecli.config import FitConfig, LinearConfig, MlpConfig, MseLoss, SparseLoss, with_values
from aecli.data.images import InMemory, mean_image, squared_errors, weighted_mean
from aecli.fields import CodecSection
from aecli.measure import metrics
from aecli.training import closed_form
from aecli.training.autograd import Autograd
from aecli.training.closed_form import ClosedForm
from aecli.training.loop import Training, engine_for, fit
from aecli.training.losses import evaluate
from aecli.training.parameters import FlatParameters
from tests.conftest import digits, source
from tests.twins import go_on

CODECS = [MlpConfig(code_dim=4, hidden=(24, 9)), MlpConfig(hidden=()), LinearConfig(code_dim=5)]
LOSSES = [MseLoss(), SparseLoss(l1=0.1)]


def built(settings):
    torch.manual_seed(0)
    return codecs.build(settings, (1, 28, 28))


def trained(settings, config, train=None):
    codec = built(settings)
    order = torch.Generator().manual_seed(0)
    records = list(fit(codec, train or source(120), source(30, seed=1), config, order))
    return codec, records


@pytest.mark.parametrize("settings", CODECS, ids=lambda c: f"{c.name}{c.code_dim}")
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
@pytest.mark.parametrize(
    ("recipe", "ordered"), [("muon", False), ("chapter", False), ("chapter", True)]
)
def test_twins_by_both_engines_agree(monkeypatch, settings, loss, recipe, ordered):
    common = {"epochs": 2, "batch_size": 25, "precision": "fp32"}
    config = FitConfig(recipe=recipe, loss=loss, ordered=ordered, **common)
    if recipe == "muon":  # in bfloat16 its steps would enlarge the last digits' difference
        config = with_values(config, {"optimizer.precision": "fp32"})
    codec = built(settings)
    assert isinstance(engine_for(codec, FlatParameters(codec), config, 25), ClosedForm)
    one, records = trained(settings, config)
    monkeypatch.setattr(closed_form, "why_not", lambda *_: "asked to step aside")
    assert isinstance(engine_for(codec, FlatParameters(codec), config, 25), Autograd)
    other, others = trained(settings, config)
    assert [r.train.keys() for r in records] == [r.train.keys() for r in others]
    for record, twin in zip(records, others, strict=True):
        assert record.train == pytest.approx(twin.train, rel=1e-2)
        assert record.val == pytest.approx(twin.val, rel=1e-2)
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        assert (mine - theirs).norm() <= 0.02 * theirs.norm()


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
def test_a_loss_is_one_function_for_training_and_evaluation(loss):
    codec, images = built(CODECS[0]), source(50)
    terms = evaluate(loss, codec, images)
    assert terms["mse"] == metrics.mse(codec, images)
    parameters = FlatParameters(codec)
    engine = Autograd(codec, parameters, loss, torch.float32)
    batch = images.all()
    assert dict(zip(engine.terms, engine(batch.images, batch, loss).tolist(), strict=True)) == (
        pytest.approx(terms, rel=1e-5)
    )
    assert terms.keys() == set(loss.terms)


def test_terms_do_not_depend_on_the_batches(monkeypatch):
    codec, images = built(CODECS[0]), source(50)
    whole = evaluate(SparseLoss(), codec, images)
    sevens = torch.arange(50).split(7)
    monkeypatch.setattr(InMemory, "batches", lambda self: map(self.read, sevens))
    assert evaluate(SparseLoss(), codec, images) == pytest.approx(whole, rel=1e-6)


def masked(n=60, share=0.3, seed=0, behind=float("nan")):
    images = digits(n, seed).float() / 255
    mask = torch.rand((n, 1, 28, 28), generator=torch.Generator().manual_seed(seed)) > share
    return InMemory(torch.where(mask, images, behind), torch.arange(n) % 10, mask)


def test_a_mask_of_nothing_changes_nothing():
    whole = InMemory(digits(60).float() / 255)
    same = InMemory(whole.images, mask=torch.ones(60, 1, 28, 28, dtype=torch.bool))
    codec = built(CODECS[0])
    assert metrics.mse(codec, same) == pytest.approx(metrics.mse(codec, whole), rel=1e-6)
    config = FitConfig(epochs=1, batch_size=20, precision="fp32")
    _, of_whole = trained(CODECS[0], config, whole)
    _, of_same = trained(CODECS[0], config, same)
    assert of_same[0].train_mse == pytest.approx(of_whole[0].train_mse, rel=2e-3)


def test_an_error_is_over_valid_pixels():
    # Two images of four pixels: errors 1 and 0 over 1 and 3 valid ones.
    images = torch.tensor([[1.0, 9.0, 9.0, 9.0], [0.0, 0.0, 0.0, 9.0]]).view(2, 1, 2, 2)
    mask = torch.tensor([[1, 0, 0, 0], [1, 1, 1, 0]]).bool().view(2, 1, 2, 2)
    batch = InMemory(images, mask=mask).all()
    errors, weights = squared_errors(torch.zeros(2, 1, 2, 2), batch)
    assert errors.tolist() == [1, 0]
    assert weights.tolist() == [0.25, 0.75]
    assert weighted_mean(errors, weights) == 0.25
    assert mean_image(InMemory(images, mask=mask)).flatten().tolist() == [0.5, 0, 0, 0]


@pytest.mark.parametrize("settings", CODECS, ids=lambda c: f"{c.name}{c.code_dim}")
def test_what_stands_behind_a_mask_is_in_no_weight(settings):
    config = FitConfig(epochs=1, batch_size=20, elastic=1.0, noise="gaussian")
    weights = []
    for behind in (float("nan"), 1e6):
        codec, [record] = trained(settings, config, masked(behind=behind))
        assert 0 < record.train_mse < 0.5
        weights.append(codec.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_masked_training_resumes_to_the_same_bits():
    config = FitConfig(epochs=2, batch_size=20)
    whole, _ = trained(CODECS[0], config, masked())
    state = None
    for seed in (0, 99):
        codec = built(CODECS[0])
        order = torch.Generator().manual_seed(seed)
        training = Training(codec, masked(), source(30, seed=1), config, order)
        if state is not None:
            training.restore(state)
        while not training.is_done:
            training.take_step()
            if training.step == 2 and state is None:
                state = {name: tensor.clone() for name, tensor in training.state().items()}
                break
            if training.is_epoch_over:
                training.end_epoch()
    for one, other in zip(whole.parameters(), codec.parameters(), strict=True):
        assert torch.equal(one, other)


class Dropping(ChainCodec):
    """A network that draws from torch's own generator, and has buffers."""

    def __init__(self):
        super().__init__((1, 28, 28), CodecSection(name="dropping", code_dim=4))
        self.encoder = nn.Sequential(nn.Linear(784, 8), nn.BatchNorm1d(8), nn.Dropout(0.5))
        self.encoder.append(nn.Linear(8, 4))
        self.decoder = nn.Sequential(nn.Linear(4, 784), nn.Sigmoid())


@pytest.mark.parametrize("stop", [3, 4, 8])  # of 4 steps to an epoch, 8 in all
def test_what_draws_from_torchs_own_generator_resumes_to_the_same_bits(stop):
    def training():
        torch.manual_seed(0)
        codec = Dropping()
        config = FitConfig(epochs=2, batch_size=30)
        order = torch.Generator().manual_seed(0)
        return codec, Training(codec, source(120), source(30, seed=1), config, order)

    whole, first = training()
    go_on(first, stop)
    state = {name: tensor.clone() for name, tensor in first.state().items()}
    go_on(first, 8)
    resumed, second = training()
    torch.manual_seed(99)
    second.restore(state)
    go_on(second, 8)
    assert not resumed.training
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def chain(*, encoder=(), decoder=()):
    codec = built(LinearConfig(code_dim=4))
    codec.encoder = nn.Sequential(codec.encoder, *encoder)
    codec.decoder = nn.Sequential(*decoder, codec.decoder)
    return codec


def test_chains_whose_gradient_would_be_another_are_left_to_autograd():
    last_relu = built(LinearConfig(code_dim=4))
    last_relu.decoder = nn.Sequential(last_relu.decoder, nn.ReLU())
    twice = built(LinearConfig(code_dim=784))
    twice.decoder = twice.encoder
    overridden = built(LinearConfig(code_dim=4))
    overridden.__class__ = type("Other", (type(overridden),), {"encode": lambda self, x: x})
    more = built(LinearConfig(code_dim=4))
    more.extra = nn.Parameter(torch.zeros(3))
    for codec in (last_relu, twice, overridden, more, chain(decoder=[nn.ReLU()])):
        assert closed_form.why_not(codec, MseLoss())
    assert closed_form.why_not(chain(encoder=[nn.ReLU()]), SparseLoss()) is None


def test_masked_images_are_trained_on_in_bfloat16():
    for loss in LOSSES:
        config = FitConfig(epochs=1, batch_size=20, precision="bf16", loss=loss)
        _, [record] = trained(CODECS[0], config, masked())
        assert 0 < record.train_mse < 0.5


def test_a_batch_without_a_valid_pixel_counts_for_nothing():
    images = masked()
    images.mask[:20] = False
    config = FitConfig(epochs=1, batch_size=1)
    _, [record] = trained(LinearConfig(code_dim=5), config, images)
    assert 0 < record.train_mse < 0.5
