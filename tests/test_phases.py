"""A grid that goes on with larger images, its middle alone: decoupled phases."""

import json

import pytest
import torch

from aecli import codecs
from aecli.cli.shipped import find_config
from aecli.codecs.grid_settings import DcConfig, KlConfig
from aecli.config import EXPERIMENTS, ElboLoss, FitConfig, SweepConfig, TrainConfig
from aecli.config.resolve import Layer, resolve, set_layer, yaml_layer
from aecli.errors import UsageError
from aecli.training.inheritance import inherit
from aecli.training.loop import Training, fit
from tests.conftest import source
from tests.own import drawn, put
from tests.twins import require_same_bits_after_a_stop

SMALL = {"width": 4, "widest": 8, "downsampling": 4}
LOW, HIGH = (3, 16, 16), (3, 24, 32)


def built(kind, shape, channels=4, **changed):
    torch.manual_seed(0)
    numbers = channels * shape[1] * shape[2] // 16
    return codecs.build(kind(code_dim=numbers, **SMALL, **changed), shape)


def trained(kind=DcConfig):
    codec = built(kind, LOW)
    loss = {"loss": ElboLoss(beta=1e-6)} if codec.settings.is_variational else {}
    config = FitConfig(epochs=2, batch_size=8, **loss)
    images = source(24, shape=LOW)
    list(fit(codec, images, images.first(4), config, torch.Generator()))
    return codec


def taken(config, ancestor):
    """A codec for larger images with a training of it that goes on from `ancestor`."""
    codec = built(DcConfig, HIGH)
    images = source(24, shape=HIGH)
    inherit(codec, ancestor, images)
    return codec, Training(codec, images, images.first(4), config, torch.Generator(), True)


@pytest.mark.parametrize("kind", [DcConfig, KlConfig])
def test_a_grid_takes_the_numbers_of_one_for_images_of_another_size(kind):
    ancestor = trained(kind)
    codec = built(kind, HIGH)
    inherit(codec, ancestor, source(4, shape=LOW))
    for name, tensor in ancestor.state_dict().items():
        assert torch.equal(codec.state_dict()[name], tensor), name


def test_other_channels_or_layers_are_another_codec():
    ancestor = trained()
    with pytest.raises(UsageError, match="for images of 3 channels and codes of 4, not 3 channels"):
        inherit(built(DcConfig, HIGH, channels=8), ancestor, source(4, shape=LOW))
    with pytest.raises(UsageError, match="for images of 3 channels and codes of 4, not 1 channels"):
        inherit(built(DcConfig, (1, 16, 16)), ancestor, source(4, shape=LOW))
    with pytest.raises(UsageError, match="depth=1, not 2"):
        inherit(built(DcConfig, HIGH, depth=2), ancestor, source(4, shape=LOW))


def test_the_middle_alone_is_trained():
    ancestor = trained()
    codec, training = taken(FitConfig(layers="middle", epochs=1, batch_size=8), ancestor)
    while not training.is_epoch_over:
        training.take_step()
    training.end_epoch()
    moved = {
        name
        for name, tensor in codec.named_parameters()
        if not torch.equal(tensor, ancestor.get_parameter(name))
    }
    ends = ("model.encoder.conv_in", "model.decoder.conv_out", "model.decoder.norm_out")
    assert not [name for name in moved if name.startswith(ends)]
    in_the_middle = {id(parameter) for parameter in codec.middle}
    assert moved <= {n for n, p in codec.named_parameters() if id(p) in in_the_middle}
    assert {"model.encoder.conv_out.weight", "model.decoder.conv_in.weight"} <= moved


@pytest.mark.parametrize("stop", [1, 3, 5])
def test_a_training_of_the_middle_goes_on_to_the_same_bits(stop):
    ancestor = trained()
    config = FitConfig(layers="middle", epochs=2, batch_size=8)
    require_same_bits_after_a_stop(lambda: taken(config, ancestor), stop, 6)


@pytest.mark.parametrize(
    ("experiment", "settings", "message"),
    [
        (TrainConfig, ["codec.name=mlp", "train.init_from=x"], "is for codec 'dc'"),
        (TrainConfig, ["codec.name=kl", "train.init_from=x"], "is for codec 'dc'"),
        (TrainConfig, ["codec.name=dc"], "name those of a run in train.init_from, or a folder's"),
        (SweepConfig, ["codec.name=dc"], "name those of a run in train.init_from, or a folder's"),
    ],
)
def test_the_middle_of_what_learned_nothing_is_refused(experiment, settings, message):
    with pytest.raises(UsageError, match=message):
        resolve(experiment, [set_layer(["train.layers=middle", *settings])])


def test_the_two_configs_are_of_one_net():
    low, high = (
        resolve(TrainConfig, [yaml_layer(find_config(name))]) for name in ("dc-low", "dc-high")
    )
    first = codecs.build(low.codec, (3, low.data.tile, low.data.tile))
    second = codecs.build(high.codec, (3, high.data.tile, high.data.tile))
    inherit(second, first, source(4, shape=first.image_shape))
    assert first.compression_ratio == second.compression_ratio == 192


def test_the_commands_train_in_two_phases(inside, tmp_path):
    put(tmp_path / "photos", drawn(30, 32, 32, 3))
    common = ("--dataset", "./photos", "--epochs", "1", "--batch-size", "8", "--offline")
    dc = [f"codec.{key}={value}" for key, value in {"name": "dc", **SMALL}.items()]
    keys = [word for key in dc for word in ("--set", key)]
    low = inside("train", *common, *keys, "--set", "data.size=16", "--code-dim", "64")
    assert low.code == 0, low.stderr
    phase = ("--set", "train.init_from=latest", "--set", "train.layers=middle")
    high = inside("train", *common, *keys, "--set", "data.size=32", "--code-dim", "256", *phase)
    assert high.code == 0, high.stderr
    assert f"weights of {low.run.name}" in high.stderr
    look = inside("evaluate", "latest", "--dry-run", "--json")
    assert look.code == 0, look.stderr
    there = json.loads(look.stdout)["config"]
    assert (there["train"]["layers"], there["train"]["init_from"]) == ("all", None)
    resolve(EXPERIMENTS["evaluate"], [Layer(there, {})])
    other = inside("train", *common, *keys, "--set", "data.size=32", "--code-dim", "128", *phase)
    assert (other.code, "codes of 4, not 3 channels and codes of 2" in other.stderr) == (2, True)
