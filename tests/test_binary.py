"""Black and white images: what is drawn, when it is the same, and when anew."""

import json
import pickle

import pytest
import torch

from aecli import codecs
from aecli.config import FitConfig, MlpConfig, TrainConfig, resolve, set_layer
from aecli.data.binary import Binarised, binarised
from aecli.data.images import Batch, InMemory
from aecli.errors import UsageError
from aecli.training.loop import Training
from tests.conftest import FEW_IMAGES
from tests.twins import require_same_bits_after_a_stop


def grey(n):
    pixels = torch.rand((n, 1, 28, 28), generator=torch.Generator().manual_seed(0))
    return InMemory(pixels)


def test_a_pixels_value_is_its_chance_of_white():
    pixels = torch.tensor([0.0, 0.25, 1.0]).view(1, 1, 1, 3).expand(4000, 1, 1, 3)
    images = Binarised(InMemory(pixels), 0).all().images
    assert images.unique().tolist() == [0, 1]
    low, middle, high = images.mean(dim=0).flatten().tolist()
    assert (low, high) == (0, 1)
    assert middle == pytest.approx(0.25, abs=0.03)  # four deviations


def test_what_is_measured_is_the_same_in_any_batch_and_part():
    images = Binarised(grey(40), 1)
    whole = images.all().images
    assert torch.equal(images.read(torch.tensor([7, 3])).images, whole[[7, 3]])
    part = images.part(torch.arange(10, 20))
    assert torch.equal(part.all().images, whole[10:20])
    assert torch.equal(part.first(4).to(torch.device("cpu")).all().images, whole[10:14])
    assert not torch.equal(Binarised(grey(40), 2).all().images, whole)


def test_it_travels_to_workers_as_it_is():
    images = Binarised(grey(9), 1).part(torch.tensor([4, 2]))
    again = pickle.loads(pickle.dumps(images))
    assert torch.equal(again.all().images, images.all().images)


def test_they_are_other_images_than_grey_ones(inside):
    told = ("train", *FEW_IMAGES, "--epochs", "1", "--code-dim", "2")
    ones = [inside(*told), inside(*told, "--set", "data.binarise=stochastic")]
    records = [json.loads((one.run / "run.json").read_text()) for one in ones]
    assert records[0]["dataset"]["sha256"] != records[1]["dataset"]["sha256"]
    assert ones[1].stdout.startswith("mnist-5k, black and white: mlp with a code of 2")
    refused = inside("reproduce", "--set", "data.binarise=stochastic", "--offline")
    assert (refused.code, "about grey digits" in refused.stderr) == (2, True)


def test_what_is_not_valid_stays_black():
    mask = torch.zeros(30, 1, 4, 4, dtype=torch.bool)
    mask[:, :, :2] = True
    images = Binarised(InMemory(torch.ones(30, 1, 4, 4), mask=mask), 0)
    assert torch.equal(images.all().images, mask.float())
    drawn = binarised(Batch(torch.full((30, 1, 4, 4), 0.5) * mask, mask), torch.Generator())
    assert drawn.images[:, :, 2:].sum() == 0
    assert 0 < drawn.images.mean() < 0.5


def test_training_sees_new_ones_in_each_epoch_and_resumes_to_the_same_bits():
    images = Binarised(grey(60), 0)
    seen = []

    def training():
        torch.manual_seed(0)
        codec = codecs.build(MlpConfig(code_dim=3, hidden=(9,)), (1, 28, 28))
        config = FitConfig(epochs=2, batch_size=20)
        order = torch.Generator().manual_seed(0)
        made = Training(codec, images, images.first(10), config, order)
        work = made._work
        made._work = lambda inputs, batch, *rest: (
            seen.append(batch.images.clone()) or work(inputs, batch, *rest)
        )
        return codec, made

    require_same_bits_after_a_stop(training, 2, 6)
    assert all(set(batch.unique().tolist()) == {0, 1} for batch in seen)
    sums = [torch.cat(seen[a : a + 3]).sum().item() for a in (0, 3)]
    assert sums[0] != sums[1]
    assert all(torch.equal(a, b) for a, b in zip(seen[2:6], seen[6:], strict=True))


def test_it_is_for_known_datasets(tmp_path):
    with pytest.raises(UsageError, match=r"data\.binarise='stochastic' has no effect: .* a path"):
        resolve(
            TrainConfig, [set_layer(["data.binarise=stochastic", f"data.dataset={tmp_path}/a"])]
        )


def test_the_command_trains_on_them(inside):
    done = inside(
        *("train", *FEW_IMAGES, "--epochs", "1", "--code-dim", "2", "--variational"),
        *("--set", "data.binarise=stochastic", "--set", "train.likelihood=bernoulli"),
        *("--set", "nll_images=20"),
    )
    assert done.code == 0, done.stderr
    found = done.metrics()
    assert found["sigma"] is None
    assert 0 < found["nll_nats"] <= 784
