"""The training loop: what it learns, how its rate moves, and that it repeats bit for bit."""

import math
import threading

import pytest
import torch
from torch.nn import functional as F

from aecli import codecs
from aecli.config import (
    AdamConfig,
    FitConfig,
    LinearConfig,
    MlpConfig,
    MuonConfig,
    PcaConfig,
    with_values,
)
from aecli.data.images import InMemory
from aecli.errors import DivergedError
from aecli.measure import metrics
from aecli.training.feed import Feed
from aecli.training.loop import Training, fit, learning_rate_factor
from tests.conftest import digits, source


def network(seed=0, code_dim=4, hidden=(32,)):
    torch.manual_seed(seed)
    return codecs.build(MlpConfig(code_dim=code_dim, hidden=hidden), (1, 28, 28))


def generator(seed):
    return torch.Generator().manual_seed(seed)


def run(codec, config, train=None, val=None, seed=0):
    train = source(200) if train is None else train
    val = source(50, seed=1) if val is None else val
    return list(fit(codec, train, val, config, generator(seed)))


@pytest.mark.parametrize("recipe", ["muon", "chapter"])
def test_the_error_falls_and_the_last_validation_is_the_codecs(recipe):
    codec = network()
    before = metrics.mse(codec, source(50, seed=1))
    records = run(codec, FitConfig(recipe=recipe, epochs=8, batch_size=20))
    assert [record.epoch for record in records] == list(range(8))
    assert records[-1].val_mse < records[0].val_mse < before
    assert records[-1].val_mse == metrics.mse(codec, source(50, seed=1))


def test_same_seed_same_bits_other_seed_other_bits():
    config = FitConfig(epochs=2, batch_size=32)
    first, again, other = network(), network(), network()
    losses = [
        [r.train_mse for r in run(c, config, seed=s)]
        for c, s in ((first, 0), (again, 0), (other, 1))
    ]
    assert losses[0] == losses[1] != losses[2]
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True)
    )


def test_the_chapter_recipe_is_the_chapters_loop():
    # The chapter's own loop, as printed, over the same order of images.
    codec, twin = network(), network()
    images = digits(100)
    config = FitConfig(recipe="chapter", epochs=2, batch_size=32, precision="fp32")
    records = run(codec, config, train=InMemory(images))
    optimizer = torch.optim.Adam(twin.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(0)
    for epoch in range(2):
        total = 0.0
        for index in torch.randperm(100, generator=generator).split(32):
            x = images[index] / 255
            loss = F.mse_loss(twin(x), x)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(x)
        assert records[epoch].train_mse == pytest.approx(total / 100, rel=1e-5)


@pytest.mark.parametrize("batch_size", [1, 7, 64, 200])
def test_any_batch_size_uses_every_image_once(batch_size):
    # At a learning rate of nothing the running mean is the plain mean over all images.
    codec = network()
    expected = metrics.mse(codec, source(200))
    config = FitConfig(
        recipe="chapter", epochs=1, batch_size=batch_size, optimizer=AdamConfig(lr=1e-30)
    )
    assert run(codec, config)[0].train_mse == pytest.approx(expected, rel=1e-5)


def test_without_validation_images_there_is_no_validation_error():
    [record] = run(network(), FitConfig(epochs=1, batch_size=50), val=source(0))
    assert math.isnan(record.val_mse)


@pytest.mark.program
def test_a_linear_codec_reaches_pca_and_never_passes_it():
    images = source(400)
    torch.manual_seed(0)
    linear = codecs.build(LinearConfig(code_dim=4), (1, 28, 28))
    pca = codecs.build(PcaConfig(code_dim=4), (1, 28, 28))
    pca.solve(images)
    run(
        linear,
        FitConfig(epochs=150, batch_size=50, optimizer=MuonConfig(lr=0.05), precision="fp32"),
        images,
    )
    bound = metrics.mse(pca, images)
    assert bound * (1 - 1e-6) <= metrics.mse(linear, images) <= bound * 1.01


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_the_rate_rises_to_its_peak_and_falls(schedule):
    config = FitConfig(schedule=schedule, warmup=0.2)
    factors = [learning_rate_factor(step, 100, config) for step in range(100)]
    assert all(0 < factor <= 1 for factor in factors)
    assert factors[:20] == sorted(factors[:20])
    assert factors[20:] == sorted(factors[20:], reverse=True)
    assert factors[20] > 0.98
    assert factors[-1] == 1 if schedule == "constant" else factors[-1] < 0.01


def test_divergence_names_step_and_rate_and_keeps_the_last_good_weights():
    codec = network()
    good = {name: tensor.clone() for name, tensor in codec.state_dict().items()}
    poisoned = digits(200).float() / 255
    poisoned[:] = math.nan  # as float images: uint8 ones cannot hold it
    with pytest.raises(DivergedError, match=r"loss nan at step 1 of 10 \(epoch 1 of "):
        run(codec, FitConfig(epochs=1, batch_size=20), train=InMemory(poisoned))
    assert all(torch.equal(good[name], tensor) for name, tensor in codec.state_dict().items())


def test_a_huge_rate_diverges_after_a_good_epoch():
    torch.manual_seed(0)
    codec = codecs.build(LinearConfig(code_dim=4), (1, 28, 28))
    config = FitConfig(
        optimizer=AdamConfig(lr=1e4), schedule="constant", epochs=400, batch_size=200
    )
    with pytest.raises(DivergedError, match="diverged"):
        run(codec, with_values(config, {"optimizer.lr": 1e18}))
    assert math.isfinite(metrics.mse(codec, source(50)))


@pytest.mark.parametrize("noise", ["none", "gaussian"])
@pytest.mark.parametrize("recipe", ["muon", "chapter"])
@pytest.mark.parametrize("stop", [1, 3, 4, 5, 7, 8])
def test_a_training_resumed_after_any_step_ends_with_the_same_bits(recipe, noise, stop):
    config = FitConfig(recipe=recipe, epochs=2, batch_size=50, noise=noise)  # 4 steps an epoch
    whole, stopped, resumed = network(), network(), network(seed=1)
    expected = run(whole, config)
    states = []
    training = Training(stopped, source(200), source(50, seed=1), config, generator(0))
    while not training.is_done:
        training.take_step()
        if training.is_epoch_over:
            training.end_epoch()
        states.append({name: tensor.clone() for name, tensor in training.state().items()})
    assert [int(state["step"]) for state in states] == [1, 2, 3, 4, 5, 6, 7, 8]
    training = Training(resumed, source(200), source(50, seed=1), config, generator(99))
    training.restore(states[stop - 1])
    rest = []
    while not training.is_done:
        training.take_step()
        if training.is_epoch_over:
            rest.append(training.end_epoch())
    rows = [(r.epoch, r.train_mse, r.val_mse, r.lr) for r in rest]
    assert rows == [(r.epoch, r.train_mse, r.val_mse, r.lr) for r in expected][stop // 4 :]
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("done", [0, 1, 4, 5])
def test_batches_that_are_read_ahead_are_those_that_are_not(done):
    images, order = source(53), torch.randperm(53, generator=generator(0))
    ways = []
    for reads_ahead in (False, True):
        one = Feed(images, torch.device("cpu"), 12)
        one._reads_ahead = reads_ahead
        ways.append([batch.images.clone() for batch in one.batches(order, done)])
    assert [len(batch) for batch in ways[0]] == [12, 12, 12, 12, 5][done:]
    assert all(torch.equal(a, b) for a, b in zip(*ways, strict=True))


def test_batches_that_nobody_takes_leave_no_thread():
    before = threading.active_count()
    one = Feed(source(53), torch.device("cpu"), 12)
    one._reads_ahead = True
    batches = one.batches(torch.arange(53), 0)
    next(batches)
    assert threading.active_count() == before + 1
    del batches
    assert threading.active_count() == before
