"""Evidence on changes of the training: jobs that start from others, a class cut, noise, order."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from aecli.config import (
    ElboLoss,
    FitConfig,
    MaskingNoise,
    MlpConfig,
    MuonConfig,
    ReproduceConfig,
    SweepConfig,
    ToVaeConfig,
    with_values,
)
from aecli.data.images import InMemory, mean_image
from aecli.data.sources import default_places
from aecli.errors import JobsFailedError
from aecli.experiments import reproduce_changes
from aecli.experiments.reproduce_changes import (
    conversion_fit,
    measure_noise,
    measure_scarce_class,
    scarce_in_words,
    shuffled,
)
from aecli.measure import classifier, metrics
from aecli.measure.classifier import recall
from aecli.runs.context import Context
from aecli.runs.folder import new_run
from aecli.terminal import Terminal
from aecli.training import jobs
from aecli.training.jobs import Job, train_all

PLAIN = Job(MlpConfig(code_dim=3, hidden=(16,)), FitConfig(epochs=3, batch_size=50), seed=1)
STILL = FitConfig(
    epochs=1, batch_size=400, optimizer=MuonConfig(lr=1e-7, adam_lr=1e-7), loss=ElboLoss()
)
MADE_VARIATIONAL = Job(PLAIN.codec.model_copy(update={"variational": True}), STILL, 1, PLAIN)


@pytest.fixture
def context(tmp_path):
    return Context(tmp_path, default_places(), [], Terminal())


@pytest.fixture
def run_dir(tmp_path):
    with new_run(tmp_path, ReproduceConfig(), "x", []) as made:
        yield made


ONE = SweepConfig(seeds=1, jobs=1)


def test_a_job_starts_from_its_ancestor_which_is_trained_once(images, run_dir, context, capsys):
    [done] = train_all([MADE_VARIATIONAL], images, ONE, run_dir, context).done.values()
    said = capsys.readouterr().err
    assert "trained 1 of 1: mlp code 3 (16), seed 1" in said
    assert "trained 1 of 1: variational mlp code 3 (16), seed 1" in said
    plain = train_all([PLAIN], images, ONE, run_dir, context).done[PLAIN]
    again = train_all([MADE_VARIATIONAL], images, ONE, run_dir, context).done[MADE_VARIATIONAL]
    assert "trained" not in capsys.readouterr().err
    states = [each.codec.state_dict() for each in (done, again)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    before, after = (metrics.mse(each.codec, images.test) for each in (plain, done))
    assert after == pytest.approx(before, rel=1e-3)
    codes = metrics.encode(done.codec, images.train)
    assert torch.cov(codes.T).diagonal().max().item() == pytest.approx(1, abs=0.02)


def test_another_ancestor_is_another_job(images):
    other = replace(PLAIN, seed=2)
    named = [
        jobs._name(replace(MADE_VARIATIONAL, ancestor=ancestor), images, 1, "cpu")
        for ancestor in (PLAIN, other, None)
    ]
    assert len(set(named)) == 3


def test_nothing_starts_from_a_job_that_failed(images, run_dir, context):
    fit = PLAIN.fit.model_copy(update={"optimizer": MuonConfig(lr=1e30, adam_lr=1e30)})
    job = replace(MADE_VARIATIONAL, ancestor=replace(PLAIN, fit=fit))
    with pytest.raises(JobsFailedError, match=r"mlp code 3 \(16\), seed 1: training diverged"):
        train_all([job], images, ONE, run_dir, context)


def test_a_conversion_is_trained_as_to_vae_does_in_the_precision_that_was_decided():
    decided = {"train.precision": "bf16", "train.optimizer.precision": "fp32"}
    fit = conversion_fit(with_values(ReproduceConfig(), decided))
    as_there = ToVaeConfig().train
    assert (fit.loss, fit.epochs) == (as_there.loss, as_there.epochs)
    assert fit.loss.name == "elbo"
    assert (fit.precision, fit.optimizer.precision) == ("bf16", "fp32")


@pytest.fixture
def few(images, monkeypatch):
    monkeypatch.setattr(reproduce_changes, "FEW", 6)
    return reproduce_changes._with_few(images, 0, 20)


def test_one_class_is_cut_and_the_others_to_no_more_than_asked(images, few):
    counts = few.images.train.labels.bincount().tolist()
    assert counts == [20] * 8 + [6] + [20]
    assert (few.label, few.missing, len(few.own)) == (8, 14, 6)
    assert scarce_in_words(images) == "class 8 cut to 6 training images"
    again, other = (reproduce_changes._with_few(images, seed, 20) for seed in (0, 1))
    assert torch.equal(few.own, again.own)
    assert not torch.equal(few.own, other.own)
    assert len({each.images.sha256 for each in (few, other)} | {images.sha256}) == 3


def test_too_few_images_are_not_cut(images, monkeypatch, few):
    monkeypatch.setattr(reproduce_changes, "FEW", 21)  # of 40
    assert reproduce_changes._with_few(images, 0, 40) is None
    monkeypatch.setattr(reproduce_changes, "FEW", 20)
    assert reproduce_changes._with_few(images, 0, 20) is None  # the others are as few
    without = InMemory(images.test.images[:5], torch.arange(5))
    assert reproduce_changes._with_few(replace(images, test=without), 0, 40) is None


def test_each_way_fills_the_class_up_with_what_it_says(few, run_dir, context):
    [trained] = train_all([PLAIN], few.images, ONE, run_dir, context).done.values()
    ways = reproduce_changes._fillings(few, trained.codec, 0)
    assert list(ways) == ["repeated", "distorted", "drawn"]
    for filling in ways.values():
        assert filling.shape == (14, 1, 28, 28)
        assert 0 <= filling.min() <= filling.max() <= 1
        assert few.filled(filling).labels.bincount().tolist() == [20] * 10
    assert torch.equal(ways["repeated"][:6], few.own)
    assert torch.equal(ways["repeated"][6:12], few.own)
    moved = (ways["distorted"] - ways["repeated"]).abs().flatten(1).amax(dim=1)
    assert moved.min() > 0
    assert (ways["distorted"] - ways["repeated"]).abs().mean() < 0.1
    again = reproduce_changes._fillings(few, trained.codec, 0)
    assert all(torch.equal(ways[way], again[way]) for way in ways)


def test_a_scarce_class_is_measured_for_each_seed(
    images, few, undrawn, run_dir, context, monkeypatch
):
    monkeypatch.setattr(reproduce_changes, "_EPOCHS_OF_FEW", (1, 1))
    config = ReproduceConfig(seeds=2, jobs=1, codec=MlpConfig(hidden=(16,)))
    found = measure_scarce_class(images, config, run_dir, context)
    assert len(found) == 2
    assert all(0 <= each.repeated <= 1 for each in found)
    assert (run_dir.path / "scarce_class.png").is_file()
    assert len(list((run_dir.path / "jobs").iterdir())) == 4
    large = with_values(config, {"train.batch_size": 400})
    assert measure_scarce_class(images, large, run_dir, context) == []


def test_recall_is_the_share_of_a_class_that_is_recognised(images):
    """Black images and white ones, and a class that is never trained on."""
    labels = torch.arange(60) % 2 * 2
    pixels = (labels * 127).to(torch.uint8).view(60, 1, 1, 1).expand(60, 1, 28, 28)
    source = InMemory(pixels, labels)
    other = InMemory(torch.cat([pixels, pixels[:1]]), torch.cat([labels, torch.tensor([1])]))
    two = replace(images, train=source, test=other)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    found = [recall(two, label, 0) for label in range(3)]
    assert found == [1, 0, 1]
    assert torch.equal(torch.rand(3), expected)
    assert classifier.SEED == 0


def test_shuffled_images_have_their_squares_elsewhere_where_there_is_ink(images):
    def squares(source):
        """(n, 49, 16)."""
        return F.unfold(source.all().images, 4, stride=4).transpose(1, 2)

    means = F.avg_pool2d(mean_image(images.train), 4).flatten()
    with_ink = means > 0.1 * means.max()
    before, after = squares(images.test), squares(shuffled(images))
    assert torch.equal(before[:, ~with_ink], after[:, ~with_ink])
    assert not torch.equal(before, after)
    for whole, cut_up in zip(before[:9], after[:9], strict=True):
        assert sorted(whole.tolist()) == sorted(cut_up.tolist())
    assert torch.equal(after, squares(shuffled(images)))


def test_noise_in_every_training_leaves_nothing_to_compare(images):
    config = with_values(ReproduceConfig(), {"train.noise": MaskingNoise()})
    assert measure_noise([], images, config, None, None) == []
