"""Variational codecs: their mathematics by known answers, both engines, settings, the command."""

import json
import math

import pytest
import torch
from torch import distributions

from aecli import codecs
from aecli.codecs.base import MAX_LOG_VARIANCE
from aecli.codecs.gaussians import drawn, kl_nats, pixels_nats
from aecli.codespace.region import codes_of
from aecli.config import (
    AdamConfig,
    ConvConfig,
    ElboLoss,
    FitConfig,
    Layer,
    LinearConfig,
    MlpConfig,
    TrainConfig,
    resolve,
    set_layer,
)
from aecli.data.images import Batch, InMemory, pixel_variance
from aecli.errors import DivergedError, UsageError
from aecli.measure import metrics
from aecli.measure.variational import active_units, kl_by_unit, nll_nats
from aecli.training import losses
from aecli.training.autograd import Autograd
from aecli.training.closed_form_bound import ClosedFormOfTheBound
from aecli.training.loop import Training, engine_for, fit
from aecli.training.ordered import Cut
from aecli.training.parameters import FlatParameters
from tests.conftest import FEW_IMAGES, SMALL, digits, source
from tests.twins import go_on, left_behind, require_same_bits_after_a_stop

MLP = MlpConfig(code_dim=4, hidden=(24, 9), variational=True)
CONV = ConvConfig(code_dim=4, width=4, variational=True)
CODECS = [MLP, MlpConfig(code_dim=3, hidden=(), variational=True), CONV]
LINEAR = LinearConfig(code_dim=5, variational=True)
LOSSES = [
    ElboLoss(),
    ElboLoss(beta=3.0, free_bits=0.3),
    ElboLoss(likelihood="bernoulli", beta=0.5),
]


def built(settings, seed=0):
    torch.manual_seed(seed)
    return codecs.build(settings, (1, 28, 28))


def trained(settings, config, train=None):
    codec = built(settings)
    order = torch.Generator().manual_seed(0)
    records = list(fit(codec, train or source(120), source(30, seed=1), config, order))
    return codec.eval(), records


def name(settings):
    return f"{settings.name}{settings.code_dim}"


def test_the_divergence_is_that_of_gaussians():
    means, log_variances = torch.randn(2, 50, 3)
    one = distributions.Normal(means, (0.5 * log_variances).exp())
    expected = distributions.kl_divergence(one, distributions.Normal(0.0, 1.0))
    torch.testing.assert_close(kl_nats(means, log_variances), expected)
    assert kl_nats(torch.zeros(3), torch.zeros(3)).tolist() == [0, 0, 0]


@pytest.mark.parametrize("settings", [*CODECS, LINEAR], ids=name)
def test_pixels_cost_their_log_density_over_valid_ones(settings):
    codec, images = built(settings), digits(6).float() / 255
    codes, mask = torch.randn(6, settings.code_dim), torch.rand(6, 1, 28, 28) > 0.3
    with torch.no_grad():
        codec.log_sigma.fill_(-1.5)
        decoded = codec.decode(codes)
    density = distributions.Normal(decoded, math.exp(-1.5)).log_prob(images)
    found, seen = pixels_nats(codec, codes, Batch(images), "gaussian")
    torch.testing.assert_close(found, -density.flatten(1).sum(1), rtol=1e-5, atol=1e-2)
    assert torch.equal(seen, decoded)
    found, _ = pixels_nats(codec, codes, Batch(images, mask), "gaussian")
    torch.testing.assert_close(found, -(density * mask).flatten(1).sum(1), rtol=1e-5, atol=1e-2)


@pytest.mark.parametrize("settings", CODECS, ids=name)
def test_black_and_white_pixels_cost_bits(settings):
    codec, images = built(settings), (digits(6).float() / 255).round()
    codes = torch.randn(6, settings.code_dim)
    found, decoded = pixels_nats(codec, codes, Batch(images), "bernoulli")
    torch.testing.assert_close(decoded, codec.decode(codes))
    expected = distributions.Bernoulli(decoded).log_prob(images).flatten(1).sum(1)
    torch.testing.assert_close(found, -expected, rtol=1e-4, atol=1e-3)


def test_without_a_sigmoid_there_are_no_logits():
    for settings in (LINEAR, ConvConfig(code_dim=4, width=4, path="pca", variational=True)):
        with pytest.raises(UsageError, match="ends in no sigmoid"):
            built(settings).logits(torch.zeros(1, settings.code_dim))
        with pytest.raises(ValueError, match="likelihood=bernoulli needs pixels between 0 and 1"):
            TrainConfig(codec=settings, train=FitConfig(loss=ElboLoss(likelihood="bernoulli")))


@pytest.mark.parametrize("settings", [*CODECS, LINEAR], ids=name)
def test_encoding_gives_the_mean_and_variances_are_bounded(settings):
    codec, images = built(settings), digits(9).float() / 255
    means, log_variances = codec.posterior(images)
    assert torch.equal(codec.encode(images), means)
    assert means.shape == log_variances.shape == (9, settings.code_dim)
    with torch.no_grad():
        for parameter in codec.parameters():
            parameter.mul_(1e4)
    _, log_variances = codec.posterior(images)
    assert log_variances.abs().max() <= MAX_LOG_VARIANCE
    assert drawn(means, log_variances, torch.ones(())).isfinite().all()


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@pytest.mark.parametrize("settings", [MLP, CODECS[1]], ids=name)
@pytest.mark.parametrize("n", [12, 5])
@pytest.mark.parametrize("is_cut", [False, True])
def test_the_closed_form_is_autograds(settings, loss, n, is_cut):
    codec, images = built(settings), digits(12)[:n].float() / 255
    inputs = images + 0.1 * torch.randn_like(images)
    codec.begin(InMemory(images))
    batch = Batch(images, noise=torch.randn(n, settings.code_dim))
    kept = torch.arange(n) % settings.code_dim + 1 if is_cut else None
    terms = losses.elbo(Cut(codec, kept) if is_cut else codec, inputs, batch, loss)
    losses.mean_of(terms["loss"]).backward()
    expected = [parameter.grad for parameter in codec.parameters()]
    parameters = FlatParameters(codec)
    engine = engine_for(codec, parameters, FitConfig(loss=loss, precision="fp32"), 12)
    assert isinstance(engine, ClosedFormOfTheBound)
    found = dict(zip(engine.terms, engine(inputs, batch, loss, kept).tolist(), strict=True))
    assert found == pytest.approx(
        {term: losses.mean_of(value).item() for term, value in terms.items()}, rel=1e-5
    )
    for parameter, gradient in zip(codec.parameters(), expected, strict=True):
        own = parameters.view_of(parameter, parameters.gradient)
        if gradient is None:  # sigma, where pixels are black or white
            assert own == 0
        else:
            torch.testing.assert_close(own, gradient, rtol=1e-4, atol=1e-5)


def test_in_bfloat16_it_is_near_autograds():
    codec, images, loss = built(MLP), digits(12).float() / 255, ElboLoss()
    batch = Batch(images, noise=torch.randn(12, 4))
    losses.mean_of(losses.elbo(codec, images, batch, loss)["loss"]).backward()
    expected = [parameter.grad for parameter in codec.parameters()]
    parameters = FlatParameters(codec)
    engine = engine_for(codec, parameters, FitConfig(loss=loss, precision="bf16"), 12)
    engine(images, batch, loss)
    for parameter, gradient in zip(codec.parameters(), expected, strict=True):
        own = parameters.view_of(parameter, parameters.gradient)
        assert (own - gradient).norm() < 0.05 * gradient.norm()


@pytest.mark.parametrize("settings", [*CODECS, LINEAR], ids=name)
def test_terms_are_the_same_in_batches_of_any_size(settings, monkeypatch):
    codec, images = built(settings), source(130)
    whole = losses.evaluate(ElboLoss(), codec, images)
    assert whole.keys() == set(ElboLoss.terms)
    for size in (1, 64):
        parts = torch.arange(130).split(size)
        monkeypatch.setattr(InMemory, "batches", lambda self, p=parts: map(self.read, p))
        assert losses.evaluate(ElboLoss(), codec, images) == pytest.approx(whole, rel=1e-6)


def test_a_masked_images_terms_are_sums_over_its_valid_pixels():
    codec, images = built(MLP), digits(4).float() / 255
    mask = torch.zeros(4, 1, 28, 28, dtype=torch.bool)
    mask[:2] = True  # the other two have none
    noise = torch.randn(4, 4)
    terms = losses.elbo(codec, images, Batch(images, mask, noise=noise), ElboLoss())
    whole = losses.elbo(codec, images, Batch(images, noise=noise), ElboLoss())
    torch.testing.assert_close(terms["pixels_nats"][0][:2], whole["pixels_nats"][0][:2])
    assert terms["pixels_nats"][0][2:].tolist() == [0, 0]


def test_the_weight_rises_in_the_warm_up_and_is_the_same_everywhere_after():
    loss = ElboLoss(beta=4.0, kl_warmup=0.5)
    assert [loss.at(position).beta for position in (0, 0.25, 0.5, 1)] == [0, 2, 4, 4]
    assert ElboLoss(kl_warmup=0.0).at(0).beta == 1


def test_training_begins_with_the_pixels_deviation():
    codec, images = built(MLP), source(50)
    codec.begin(images)
    assert codec.log_sigma.exp().item() == pytest.approx(pixel_variance(images) ** 0.5)


@pytest.mark.parametrize("settings", [MLP, CONV, LINEAR], ids=name)
@pytest.mark.parametrize("recipe", ["muon", "chapter"])
def test_it_learns(settings, recipe):
    config = FitConfig(recipe=recipe, epochs=4, batch_size=20, loss=ElboLoss(kl_warmup=0.5))
    codec, records = trained(settings, config)
    assert records[-1].train["pixels_nats"] < records[0].train["pixels_nats"]
    assert codec.log_sigma.exp().item() ** 2 != pytest.approx(pixel_variance(source(120)))


@pytest.mark.parametrize("settings", [MLP, CONV], ids=name)
@pytest.mark.parametrize("stop", [1, 3, 5])  # of 3 steps to an epoch, 6 in all; 4 warm up
def test_it_resumes_in_the_warm_up_to_the_same_bits(settings, stop):
    images = source(60)
    config = FitConfig(epochs=2, batch_size=20, noise="gaussian", loss=ElboLoss(kl_warmup=0.7))

    def training():
        codec = built(settings)
        order = torch.Generator().manual_seed(0)
        return codec, Training(codec, images, images.first(10), config, order)

    require_same_bits_after_a_stop(training, stop, 6)


def test_masks_train_by_autograd_and_what_is_behind_them_counts_for_nothing():
    weights = []
    for behind in (float("nan"), 1e6):
        mask = torch.rand((40, 1, 28, 28), generator=torch.Generator().manual_seed(0)) > 0.3
        images = InMemory(torch.where(mask, digits(40).float() / 255, behind), mask=mask)
        codec, [record] = trained(MLP, FitConfig(epochs=1, batch_size=20, loss=ElboLoss()), images)
        assert math.isfinite(record.train["loss"])
        weights.append(codec.state_dict())
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    parameters = FlatParameters(built(MLP))
    config = FitConfig(loss=ElboLoss())
    assert isinstance(engine_for(built(MLP), parameters, config, 4, masked=True), Autograd)


def test_beta_0_is_the_plain_error():
    config = {"epochs": 8, "batch_size": 20, "precision": "fp32"}
    _, plain = trained(MlpConfig(code_dim=4, hidden=(24, 9)), FitConfig(**config))
    codec, _ = trained(MLP, FitConfig(**config, loss=ElboLoss(beta=0.0)))
    assert metrics.mse(codec, source(30, seed=1)) < 1.15 * plain[-1].val_mse


def test_a_heavy_weight_collapses_every_unit():
    codec, records = trained(MLP, FitConfig(epochs=20, batch_size=20, loss=ElboLoss(beta=1e5)))
    assert active_units(metrics.encode(codec, source(30))) == 0
    assert records[-1].val["kl_nats"] < 0.1
    assert active_units(torch.tensor([[0.0, 1.0], [0.19, 1.0]])) == 0  # a variance of 0.009
    assert active_units(torch.tensor([[0.0, 1.0], [0.21, 1.0]])) == 1


def test_free_bits_cost_the_same_whatever_is_below_them():
    codec, batch = built(MLP), Batch(digits(5).float() / 255, noise=torch.randn(5, 4))
    free, bits = ElboLoss(free_bits=100.0), 100 * math.log(2)
    terms = losses.elbo(codec, batch.images, batch, free)
    cost = terms["loss"][0] - terms["pixels_nats"][0]
    torch.testing.assert_close(cost, torch.full((5,), 4 * bits))
    by_unit = kl_by_unit(codec, InMemory(batch.images))
    assert by_unit.sum().item() == pytest.approx(terms["kl_nats"][0].mean().item(), rel=1e-5)


def test_the_likelihood_of_a_linear_one_is_that_of_probabilistic_pca():
    # p(x) = N(b, W W^T + s^2 I); with orthogonal columns the posterior has independent units,
    # and then one sample of it is enough (Tipping & Bishop 1999).
    torch.manual_seed(0)
    codec = codecs.build(LinearConfig(code_dim=2, variational=True), (1, 2, 3))
    scales, sigma = torch.tensor([0.9, 0.4]), 0.3
    basis = torch.linalg.qr(torch.randn(6, 2)).Q * scales
    variances = sigma**2 / (scales**2 + sigma**2)
    offset = torch.rand(6)
    unbounded = MAX_LOG_VARIANCE * torch.atanh(variances.log() / MAX_LOG_VARIANCE)
    to_means = (basis / (scales**2 + sigma**2)).T
    with torch.no_grad():
        codec.decoder.weight.copy_(basis)
        codec.decoder.bias.copy_(offset)
        codec.encoder.weight.copy_(torch.cat([to_means, torch.zeros(2, 6)]))
        codec.encoder.bias.copy_(torch.cat([-to_means @ offset, unbounded]))
        codec.log_sigma.fill_(math.log(sigma))
    images = torch.rand(7, 1, 2, 3)
    covariance = basis @ basis.T + sigma**2 * torch.eye(6)
    density = distributions.MultivariateNormal(offset, covariance).log_prob(images.flatten(1))
    expected = -density.mean().item()
    for samples in (1, 10):
        assert nll_nats(codec, InMemory(images), "gaussian", samples) == pytest.approx(expected)
    assert math.isnan(nll_nats(codec, InMemory(images[:0]), "gaussian", 1))


def test_more_samples_give_a_higher_likelihood_and_never_less_than_the_bound():
    codec, _ = trained(MLP, FitConfig(epochs=3, batch_size=20, loss=ElboLoss(kl_warmup=0.0)))
    images = source(40)
    terms = losses.evaluate(ElboLoss(), codec, images)
    one, many = (nll_nats(codec, images, "gaussian", n) for n in (1, 200))
    assert many < one
    assert many < terms["pixels_nats"] + terms["kl_nats"]


def config(*assignments):
    return resolve(TrainConfig, [set_layer(assignments)])


def test_the_loss_follows_the_codec_and_its_keys_may_stand_in_train():
    assert config("codec.variational=true").train.loss == ElboLoss()
    short = config("codec.variational=true", "train.beta=4.0", "train.kl_warmup=0.5")
    assert short.train.loss == ElboLoss(beta=4.0, kl_warmup=0.5)
    conv = config("codec.name=conv", "codec.variational=true", "train.likelihood=bernoulli")
    assert conv.train.loss == ElboLoss(likelihood="bernoulli")
    layers = [
        Layer({"codec": {"variational": True}, "train": {"loss": {"beta": 4.0}}}, {}),
        set_layer(["train.free_bits=0.1"]),
    ]
    assert resolve(TrainConfig, layers).train.loss == ElboLoss(beta=4.0, free_bits=0.1)
    from_python = TrainConfig(codec=MLP, train=FitConfig(optimizer=AdamConfig(lr=0.1)))
    assert from_python.train.optimizer == AdamConfig(lr=0.1)
    chapter = config("codec.variational=true", "train.recipe=chapter")
    assert (chapter.train.loss, chapter.train.optimizer.name) == (ElboLoss(), "adam")


def test_a_network_beside_a_path_is_trained_gently_unless_told_otherwise():
    beside = ("codec.name=conv", "codec.path=pca")
    assert config(*beside).train.optimizer == AdamConfig(lr=3e-4)
    assert config(*beside, "train.optimizer.lr=0.1").train.optimizer == AdamConfig(lr=0.1)
    assert config(*beside, "train.recipe=muon").train.optimizer.name == "muon"
    assert config(*beside, "train.optimizer=muon").train.optimizer.name == "muon"
    assert config("codec.name=conv").train.recipe == "muon"


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["train.beta=2.0"], "train.loss.name=elbo needs a variational codec"),
        (["codec.variational=true", "train.loss=sparse"], "is trained by the loss elbo"),
        (["codec.name=pca", "codec.variational=true"], "codec.variational"),
        (["codec.variational=true", "train.beta=-1.0"], "beta"),
        (["codec.variational=true", "train.likelihood=poisson"], "likelihood"),
        (["nll_samples=5"], "nll_samples=5 has no effect: the codec is not variational"),
        (
            ["codec.variational=true", "train.beta=0.0", "train.kl_warmup=0.5"],
            "train.loss.kl_warmup=0.5 has no effect: train.loss.beta=0",
        ),
    ],
)
def test_settings_that_do_not_fit_are_named(assignments, message):
    with pytest.raises(UsageError, match=message):
        config(*assignments)


def test_the_command_leaves_its_terms_and_warns_of_a_collapse(inside):
    told = (*SMALL, "--variational", "--code-dim", "3", "--set", "nll_images=20")
    done = inside("train", *told, "--set", "train.beta=1e5", "--epochs", "8")
    assert done.code == 0, done.stderr
    found = done.metrics()
    assert found["active_units"] == 0
    assert "no unit is active" in done.stderr
    assert found["nll_images"] == 20
    assert math.isfinite(found["nll_nats"])
    assert (done.run / "kl_units.png").is_file()
    header = (done.run / "history.csv").read_text().splitlines()[0]
    assert header.startswith("epoch,train_mse,val_mse,train_loss,val_loss,train_pixels_nats,")
    assert json.loads((done.run / "model" / "config.json").read_text())["codec"]["variational"]


def test_a_rate_a_hundred_times_too_high_ends_well_or_with_exit_4(inside):
    done = inside("train", *SMALL, "--variational", "--lr", "3.0", "--set", "nll_images=20")
    assert done.code in (0, 4)
    if done.code == 0:
        assert math.isfinite(done.metrics()["elbo_nats"])
    else:
        assert "training diverged: " in done.stderr


def test_beside_a_path_sigma_begins_at_the_paths_error():
    codec, images = built(ConvConfig(code_dim=4, width=4, path="pca", variational=True)), source(60)
    codec.begin(images)
    assert codec.log_sigma.exp().item() ** 2 == pytest.approx(
        metrics.mse(codec.path, images), rel=1e-3
    )


def test_sigma_has_a_rate_of_its_own():
    images, config = source(40), FitConfig(recipe="gentle", batch_size=20, loss=ElboLoss())
    codec = built(MLP)
    training = Training(codec, images, images, config, torch.Generator())
    before = codec.log_sigma.item()
    training.take_step()
    factor = training._lr / config.optimizer.lr
    assert abs(codec.log_sigma.item() - before) == pytest.approx(0.01 * factor, rel=1e-3)


def test_a_term_that_is_not_finite_is_named():
    codec, images = built(MLP), source(40)
    training = Training(
        codec, images, images, FitConfig(batch_size=20, loss=ElboLoss()), torch.Generator()
    )
    with torch.no_grad():
        codec.log_sigma.fill_(-60.0)  # a precision beyond float32
    with pytest.raises(DivergedError, match="training diverged: pixels_nats"):
        go_on(training, 2)


@pytest.mark.parametrize("command", ["sample", "interpolate", "sweep-codedim"])
def test_every_command_takes_one(inside, command):
    few = (*FEW_IMAGES, "--epochs", "1", "--variational")
    more = {
        "sample": ("--samples", "20"),
        "interpolate": ("--pairs", "5"),
        "sweep-codedim": ("2", "--seeds", "1", "--jobs", "1"),
    }
    done = inside(command, *more[command], *few)
    assert done.code == 0, done.stderr


def test_a_model_and_a_run_come_back(inside):
    told = ("train", *SMALL, "--variational", "--code-dim", "2", "--set", "nll_images=20")
    first = inside(*told)
    again = inside("train", "--config", str(first.run / "config.yaml"))
    assert again.code == 0, again.stderr
    ours, theirs = left_behind(first.run), left_behind(again.run)
    assert ours["model/model.safetensors"] == theirs["model/model.safetensors"]
    assert ours["metrics.json"] == theirs["metrics.json"]


def test_images_occupy_the_code_space_by_draws_and_a_plain_codecs_by_their_codes():
    images = source(400)
    codec = built(MlpConfig(code_dim=6, hidden=(8,), variational=True))
    (codes,), (occupying,) = codes_of(codec, [images])
    means, log_variances = codec.posterior(images.all().images)
    torch.testing.assert_close(codes, means)
    noise = (occupying - means) / (0.5 * log_variances).exp()
    assert noise.mean().abs() < 0.1
    assert noise.var().item() == pytest.approx(1, abs=0.1)
    plain = built(MlpConfig(code_dim=6, hidden=(8,)))
    (codes,), (occupying,) = codes_of(plain, [images])
    assert occupying is codes
