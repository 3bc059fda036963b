"""The codecs of latent diffusion: grids, padding, diffusers' own numbers, and hostile folders."""

import itertools
import json
import math
import pickle
import re
import subprocess
import sys

import pytest
import torch
from diffusers import AutoencoderDC, AutoencoderKL
from safetensors.torch import load_file, save_file

from aecli import codecs
from aecli.codecs import pretrained, store
from aecli.codecs.grid_settings import DcConfig, KlConfig
from aecli.config import ElboLoss, FitConfig
from aecli.errors import DataError, UsageError
from aecli.measure import metrics
from aecli.training.loop import Training
from aecli.training.losses import evaluate, loss_terms, with_noise
from tests.conftest import FEW_IMAGES, environment, source
from tests.conftest import SMALL as SMALL_RUN

SMALL = {"width": 4, "widest": 8, "downsampling": 4}
KL, DC = KlConfig(code_dim=32, **SMALL), DcConfig(code_dim=32, **SMALL)
SHAPE = (3, 14, 15)  # padded to 16x16: a grid of 4x4


def built(settings, shape=SHAPE):
    torch.manual_seed(0)
    return codecs.build(settings, shape).eval()


def name(settings):
    return settings.name


@pytest.mark.parametrize("settings", [KL, DC], ids=name)
def test_a_code_is_a_grid_and_an_image_of_any_size_keeps_its_size(settings):
    codec = built(settings)
    images = source(5, shape=SHAPE).all().images
    assert codec.code_shape == (2, 4, 4)
    codes = codec.encode(images)
    assert codes.shape == (5, 2, 4, 4)
    decoded = codec.decode(codes)
    assert decoded.shape == images.shape
    assert 0 <= decoded.min() <= decoded.max() <= 1


@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize("settings", [KL, DC], ids=name)
def test_images_have_any_number_of_channels(settings, channels):
    shape = (channels, 16, 16)
    assert built(settings, shape)(source(2, shape=shape).all().images).shape == (2, *shape)


@pytest.mark.parametrize(("factor", "channels"), [(8, 1), (16, 4), (32, 16), (64, 64), (128, 256)])
def test_numbers_are_the_same_at_every_factor(factor, channels):
    for kind in (KlConfig, DcConfig):
        settings = kind(code_dim=256, downsampling=factor)
        with torch.device("meta"):
            codec = codecs.build(settings, (3, 128, 128))
        side = 128 // factor
        assert codec.code_shape == (channels, side, side)
        assert codec.compression_ratio == 192


@pytest.mark.parametrize("channels", [1, 2, 3, 5, 6, 7, 12, 16, 48, 100, 256, 300])
def test_levels_grow_by_whole_squares(channels):
    for factor in (2, 8, 128):
        widths = DcConfig(downsampling=factor).widths(channels)
        assert len(widths) == factor.bit_length()
        assert widths[-1] % channels == 0
        assert all(width % 4 == 0 for width in widths)
        for fine, coarse in itertools.pairwise(widths):
            assert coarse // fine in (1, 2, 4)
            assert coarse % fine == 0


@pytest.mark.parametrize("width", [4, 8, 128])
def test_no_normalisation_of_kl_takes_the_colour_away(width):
    torch.manual_seed(0)
    settings = KlConfig(code_dim=16, width=width, widest=2 * width, downsampling=16)
    layers = settings.layers((3, 16, 16))
    assert all(channels / layers.norm_num_groups >= 4 for channels in layers.block_out_channels)
    assert layers.norm_num_groups == min(32, width // 4)
    codec = codecs.build(settings, (3, 16, 16)).eval()
    images = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        one, other = codec.encode(images)
    assert (one - other).abs().max() > 1e-3  # one place, whose group would be its own mean


def test_a_code_that_is_no_whole_grid_is_refused():
    with pytest.raises(UsageError, match=r"code_dim=100 must be a multiple of 256: .* 16x16"):
        codecs.build(DcConfig(code_dim=100), (3, 128, 128))
    with pytest.raises(UsageError, match="must be a multiple of 16"):
        codecs.build(KlConfig(code_dim=8), (3, 28, 28))


def test_a_factor_beyond_the_whole_image_is_refused():
    assert DcConfig(code_dim=64, downsampling=32).channels((1, 28, 28)) == 64
    assert DcConfig(code_dim=64, downsampling=2).channels((1, 1, 1)) == 64
    with pytest.raises(UsageError, match="too much for 28x28 pixels: from 32 on, one place"):
        DcConfig(code_dim=64, downsampling=64).channels((1, 28, 28))


def test_without_shortcuts_only_the_convolutions_are_left():
    with_them, without = built(DC), built(DC.model_copy(update={"shortcuts": False}))
    without.load_state_dict(with_them.state_dict())
    images = source(3, shape=SHAPE).all().images
    assert with_them.count_parameters() == without.count_parameters()
    assert not torch.allclose(with_them.encode(images), without.encode(images))
    for parameter in without.parameters():
        parameter.data.zero_()
    for parameter in with_them.parameters():
        parameter.data.zero_()
    assert without.encode(images).abs().max() == 0
    assert with_them.encode(images).abs().max() == 0  # the first convolution has no shortcut


def test_shortcuts_carry_space_into_channels():
    # Chen et al. 2024, section 3.2: squares of pixels become channels, which are averaged.
    codec = built(DC)
    block = codec.model.encoder.down_blocks[1][-1]
    block.conv.weight.data.zero_()
    block.conv.bias.data.zero_()
    images = torch.rand(2, block.conv.in_channels, 8, 8)
    squares = torch.nn.functional.pixel_unshuffle(images, 2)
    expected = squares.unflatten(1, (-1, block.group_size)).mean(dim=2)
    torch.testing.assert_close(block(images), expected)


@pytest.mark.parametrize(
    ("settings", "kind"), [(KL, AutoencoderKL), (DC, AutoencoderDC)], ids=["kl", "dc"]
)
def test_codes_and_images_are_those_of_diffusers(tmp_path, settings, kind):
    shape = (3, 16, 16)
    torch.manual_seed(1)
    layers = built(settings, shape)._layers.model_dump() | {"scaling_factor": 0.5}
    model = kind(**layers).eval()
    model.save_pretrained(tmp_path)
    taken = settings.model_copy(update={"from_pretrained": str(tmp_path), "frozen": True})
    bare = type(settings)(from_pretrained=str(tmp_path), frozen=True)
    update = pretrained.settled(bare, shape)
    codec = codecs.build(taken.model_copy(update=update), shape).eval()
    codec.solve(source(4, shape=shape))
    images = source(4, shape=shape).all().images
    with torch.no_grad():
        found = model.encode(2 * images - 1)
        latent = found.latent_dist.mode() if kind is AutoencoderKL else found.latent
        torch.testing.assert_close(codec.encode(images), 0.5 * latent)
        decoded = (model.decode(latent).sample + 1) / 2
        torch.testing.assert_close(codec.decode(codec.encode(images)), decoded.clamp(0, 1))
        if kind is AutoencoderKL:
            means, log_variances = codec.posterior(images)
            assert means.shape == log_variances.shape == (4, 32)
            expected = (0.5 * found.latent_dist.std).flatten(start_dim=1)
            torch.testing.assert_close((0.5 * log_variances).exp(), expected)


def test_the_layers_of_stable_diffusions_autoencoder_are_read(tmp_path):
    described = {  # of its published config.json
        "_class_name": "AutoencoderKL",
        "_diffusers_version": "0.4.2",
        "act_fn": "silu",
        "block_out_channels": [128, 256, 512, 512],
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "in_channels": 3,
        "latent_channels": 4,
        "layers_per_block": 2,
        "norm_num_groups": 32,
        "out_channels": 3,
        "sample_size": 256,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
    }
    (tmp_path / "config.json").write_text(json.dumps(described))
    settings = KlConfig(from_pretrained=str(tmp_path))
    settings = settings.model_copy(update=pretrained.settled(settings, (3, 64, 96)))
    assert settings.code_dim == 4 * 8 * 12
    with torch.device("meta"):
        codec = codecs.build(settings, (3, 64, 96))
        whole = AutoencoderKL(
            **{key: value for key, value in described.items() if not key.startswith("_")}
        )
    shapes = {name: tensor.shape for name, tensor in whole.state_dict().items()}
    assert {name: t.shape for name, t in codec.model.state_dict().items()} == shapes
    assert codec.model.config.scaling_factor == 0.18215


def test_names_of_attention_before_2023_are_read(tmp_path):
    model = AutoencoderKL(**built(KL)._layers.model_dump())
    model.save_pretrained(tmp_path)
    path = tmp_path / pretrained.WEIGHTS
    former = {
        name.replace("to_q", "query").replace("to_out.0", "proj_attn"): tensor
        for name, tensor in load_file(path).items()
    }
    assert any("proj_attn" in name for name in former)
    save_file(former, path)
    found = pretrained.weights(str(tmp_path), model.state_dict())
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0)


class Planted:
    def __reduce__(self):
        return (print, ("a pickle ran",))


def _pickled(folder):
    (folder / pretrained.WEIGHTS).unlink()
    (folder / "diffusion_pytorch_model.bin").write_bytes(pickle.dumps(Planted()))


def _config(**changes):
    def change(folder):
        path = folder / "config.json"
        described = json.loads(path.read_text()) | changes
        path.write_text(json.dumps(described))

    return change


def _tensors(change):
    def changed(folder):
        path = folder / pretrained.WEIGHTS
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path)

    return changed


def _huge_header(folder):
    path = folder / pretrained.WEIGHTS
    path.write_bytes((2**40).to_bytes(8, "little") + path.read_bytes()[8:])


def _infinite(tensors):
    tensors["decoder.conv_in.weight"][0, 0, 0, 0] = float("nan")


def _transposed(tensors):
    weight = tensors["encoder.conv_out.weight"]
    tensors["encoder.conv_out.weight"] = weight.transpose(0, 1).contiguous()


HOSTILE = {
    "pickle": (_pickled, "pickles, which are never read"),
    "huge header": (_huge_header, "no weights to read"),
    "not finite": (_tensors(_infinite), "numbers that are not finite in 'decoder.conv_in.weight'"),
    "wrong shape": (_tensors(_transposed), "config.json makes it"),
    "one too many": (_tensors(lambda t: t.update(more=torch.zeros(3))), "no such one"),
    "one too few": (_tensors(lambda t: t.pop("encoder.conv_in.bias")), "it lacks 'encoder.conv_in"),
    "another class": (_config(_class_name="AutoencoderTiny"), "_class_name is 'AutoencoderTiny'"),
    "unknown key": (_config(evil=1), "evil"),
    "absurd width": (_config(block_out_channels=[16384] * 3), "its layers would have over"),
    "levels": (_config(down_block_types=["DownEncoderBlock2D"]), "1 entries for 3 levels"),
    "block": (_config(act_fn="__import__('os')"), "act_fn"),
    "groups": (_config(norm_num_groups=3), "norm_num_groups=3 does not divide"),
    "no object": (lambda folder: (folder / "config.json").write_text("[]"), "no object of JSON"),
    "deep": (lambda folder: (folder / "config.json").write_text("[" * 60_000), "not a model's"),
    "no folder": (lambda folder: (folder / "config.json").unlink(), "missing or not a file"),
}


def _begun_with(folder):
    settings = KlConfig(from_pretrained=str(folder))
    settings = settings.model_copy(update=pretrained.settled(settings, SHAPE))
    codecs.build(settings, SHAPE).begin(source(4, shape=SHAPE))


@pytest.mark.parametrize("case", HOSTILE)
def test_nothing_in_a_folder_is_trusted(tmp_path, capsys, case):
    spoil, expected = HOSTILE[case]
    AutoencoderKL(**built(KL)._layers.model_dump()).save_pretrained(tmp_path)
    spoil(tmp_path)
    with pytest.raises(DataError, match=re.escape(expected)):
        _begun_with(tmp_path)
    assert "a pickle ran" not in capsys.readouterr().out


@pytest.mark.parametrize("settings", [KL, DC], ids=name)
def test_a_model_is_saved_and_loaded_to_the_bit(tmp_path, settings):
    codec = built(settings)
    description, weights = store.pack(codec, settings)
    (tmp_path / "config.json").write_text(json.dumps(description))
    (tmp_path / "model.safetensors").write_bytes(weights)
    again = store.load(tmp_path)
    images = source(3, shape=SHAPE).all().images
    assert torch.equal(again(images), codec(images))


def test_the_bound_of_kl_is_that_of_flat_codes():
    codec = built(KL).train()
    codec.begin(source(20, shape=SHAPE))
    batch = next(with_noise(codec, source(4, shape=SHAPE)))
    terms = loss_terms(ElboLoss(beta=0.5), codec, batch.images, batch)
    means, log_variances = codec.posterior(batch.images)
    kl = 0.5 * (means**2 + log_variances.exp() - 1 - log_variances).sum(dim=1)
    torch.testing.assert_close(terms["kl_nats"][0], kl, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(terms["loss"][0], terms["pixels_nats"][0] + 0.5 * kl)


@pytest.mark.parametrize("settings", [KL, DC], ids=name)
def test_a_training_learns_and_goes_on_to_the_same_bits(settings):
    loss = {"loss": ElboLoss(beta=1e-6)} if settings.is_variational else {}
    config = FitConfig(epochs=2, batch_size=8, **loss)
    train = source(32, shape=SHAPE)
    assert math.isnan(evaluate(config.loss, built(settings), train.first(0))["mse"])

    def training():
        torch.manual_seed(0)
        codec = codecs.build(settings, SHAPE)
        return codec, Training(codec, train, train.first(8), config, torch.Generator())

    codec, whole = training()
    before = evaluate(config.loss, codec.eval(), train)["mse"]
    codec.train()
    states = []
    while not whole.is_done:
        whole.take_step()
        if whole.is_epoch_over:
            whole.end_epoch()
        states.append({key: tensor.clone() for key, tensor in whole.state().items()})
    assert metrics.mse(codec, train) < before
    for at in (1, 5):
        other, resumed = training()
        resumed.restore(states[at])
        if resumed.is_epoch_over:
            resumed.end_epoch()
        while not resumed.is_done:
            resumed.take_step()
            if resumed.is_epoch_over:
                resumed.end_epoch()
        for key, tensor in codec.state_dict().items():
            assert torch.equal(other.state_dict()[key], tensor), key


def test_a_run_goes_on_with_the_weights_that_it_began_with(inside, tmp_path):
    folder = tmp_path / "model"
    layers = built(DcConfig(code_dim=98, **SMALL), (1, 28, 28))._layers.model_dump()
    AutoencoderDC(**layers).save_pretrained(folder)
    frozen = ("--from-pretrained", str(folder), "--set", "codec.frozen=true")
    done = inside("train", *FEW_IMAGES, *frozen)
    assert done.code == 0, done.stderr
    record = done.run / "run.json"
    killed = json.loads(record.read_text()) | {"status": "interrupted"}
    record.write_text(json.dumps(killed))
    assert inside("resume", str(done.run)).code == 0
    record.write_text(json.dumps(killed))
    torch.manual_seed(1)
    AutoencoderDC(**layers).save_pretrained(folder)
    refused = inside("resume", str(done.run))
    assert refused.code == 2
    assert f"began with the weights of {folder}, which have changed since" in refused.stderr


def test_training_the_mlp_imports_nothing_of_this(tmp_path):
    told = ("train", *SMALL_RUN, "--code-dim", "2", "--runs-dir", str(tmp_path), "-q")
    code = (
        f"import sys; sys.argv = ['aecli', *{told}]\n"
        "from aecli.cli import main\n"
        "try: main()\n"
        "finally: print([m for m in ('diffusers', 'transformers', 'huggingface_hub',"
        " 'aecli.codecs.diffusion') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=environment(tmp_path),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_an_absent_diffusers_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(UsageError, match=r"pip install 'aecli\[diffusion\]'"):
        codecs.build(DC, SHAPE)
