"""The convolutional codec: any size of image, a linear path, and trainings that resume."""

import pytest
import torch
from torch.nn import functional as F

from aecli import codecs
from aecli.codecs import store
from aecli.config import ConvConfig, FitConfig, SparseLoss
from aecli.data.images import InMemory
from aecli.errors import DataError
from aecli.measure import metrics
from aecli.training.autograd import Autograd
from aecli.training.loop import Training, engine_for, fit
from aecli.training.optimizers import orthogonalized
from aecli.training.parameters import FlatParameters
from tests.conftest import FEW_IMAGES, digits, source
from tests.twins import require_same_bits_after_a_stop

SMALL = ConvConfig(code_dim=5, width=6)
PATHS = ["none", "pca", "rotated-dct"]


def built(settings, shape=(1, 28, 28)):
    torch.manual_seed(0)
    return codecs.build(settings, shape)


def trained(settings, config, images=None):
    images = images or source(60)
    codec = built(settings, images.shape)
    order = torch.Generator().manual_seed(0)
    return codec, list(fit(codec, images, images.first(20), config, order))


@pytest.mark.parametrize(
    ("shape", "factors", "coarsest"),
    [
        ((1, 28, 28), (4,), (7, 7)),
        ((3, 64, 64), (4, 2), (8, 8)),
        ((3, 512, 512), (8, 2, 2, 2), (8, 8)),
        ((1, 1, 8), (1,), (1, 8)),
        ((12, 1000, 37), (8, 2, 2), (32, 2)),
    ],
)
def test_the_grid_is_about_eight_by_eight(shape, factors, coarsest):
    assert ConvConfig().factors(shape) == factors
    assert ConvConfig().grids(shape)[-1] == coarsest


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("shape", [(1, 1, 8), (1, 1, 1), (3, 5, 9), (6, 33, 47), (12, 1000, 37)])
def test_any_size_trains_and_comes_back_in_its_shape(shape, path):
    settings = ConvConfig(code_dim=1 if shape == (1, 1, 1) else 4, width=4, path=path)
    images = InMemory(torch.rand((5, *shape), generator=torch.Generator().manual_seed(0)))
    codec, [record] = trained(settings, FitConfig(epochs=1, batch_size=3), images)
    codes = codec.encode(images.images)
    assert codes.shape == (5, settings.code_dim)
    assert codec.decode(codes).shape == (5, *shape)
    assert 0 <= record.train_mse < 0.5


def test_a_code_larger_than_the_image_and_one_image():
    settings = ConvConfig(code_dim=50, width=4)
    images = InMemory(torch.rand((1, 1, 4, 5), generator=torch.Generator().manual_seed(0)))
    codec, records = trained(settings, FitConfig(epochs=60, batch_size=1), images)
    assert codec.encode(images.images).shape == (1, 50)
    assert records[-1].train_mse < 0.1 * records[0].train_mse


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 20, 36)])
def test_the_estimate_counts_the_parameters(path, shape):
    settings = ConvConfig(code_dim=7, width=6, depth=2, path=path)
    network = built(settings, shape)
    learned = sum(p.numel() for p in network.parameters())
    estimated, kept = settings.size(shape)
    assert estimated == learned + (7 * shape[0] * shape[1] * shape[2] if path == "pca" else 0)
    assert kept > 4 * shape[0] * shape[1] * shape[2]
    assert network.count_parameters() >= learned


@pytest.mark.parametrize("path", ["pca", "rotated-dct"])
def test_beside_a_path_it_begins_as_the_path(path):
    images = source(80, shape=(3, 12, 16))
    codec = built(ConvConfig(code_dim=6, width=4, path=path), images.shape)
    codec.begin(images)
    batch = images.all().images
    codes = codec.encode(batch)
    torch.testing.assert_close(codes.mean(dim=0), torch.zeros(6), rtol=0, atol=1e-4)
    torch.testing.assert_close(codes.std(dim=0, correction=0), torch.ones(6), rtol=0, atol=1e-3)
    alone = codec.path(batch)
    torch.testing.assert_close(codec(batch), alone, rtol=0, atol=1e-5)  # while it is trained
    torch.testing.assert_close(codec.eval()(batch), alone.clamp(0, 1), rtol=0, atol=1e-5)
    assert metrics.mse(codec, images) <= metrics.mse(codec.path, images)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(codec(batch), alone.clamp(0, 1), rtol=0, atol=1e-5)


def test_without_a_path_it_begins_around_the_means_of_the_channels():
    tints = torch.tensor([0.2, 0.5, 0.9]).view(3, 1, 1)
    images = InMemory(torch.rand((40, 3, 8, 8), generator=torch.Generator().manual_seed(0)) * tints)
    codec = built(ConvConfig(code_dim=4, width=4, downsampling=(2,)), images.shape)
    codec.begin(images)
    expected = images.images.mean(dim=(0, 2, 3)).repeat_interleave(4)
    torch.testing.assert_close(codec.up[-2].bias.sigmoid(), expected)


@pytest.mark.parametrize("recipe", ["muon", "chapter"])
def test_both_recipes_learn_more_than_the_mean_image(recipe):
    images = source(400)
    config = FitConfig(recipe=recipe, epochs=8, batch_size=20, precision="fp32")
    codec, _ = trained(ConvConfig(code_dim=5, width=32), config, images)
    mean = images.all().images.mean(dim=0)
    constant = (images.all().images - mean).square().mean()
    assert metrics.mse(codec, images) < 0.7 * constant


def test_a_training_leaves_the_path_as_it_was_solved():
    images = source(60, shape=(3, 12, 16))
    settings = ConvConfig(code_dim=6, width=4, path="rotated-dct")
    codec = built(settings, images.shape)
    codec.begin(images)
    before = {name: tensor.clone() for name, tensor in codec.named_buffers()}
    after, _ = trained(settings, FitConfig(epochs=2, batch_size=20), images)
    assert before
    for name, tensor in after.named_buffers():
        assert torch.equal(tensor, before[name]), name


def test_kernels_go_to_muon_as_matrices():
    codec = built(SMALL)
    parameters = FlatParameters(codec)
    n = sum(shape.numel() for shape in parameters.matrices)
    biases = sum(p.numel() for p in codec.parameters() if p.ndim == 1)
    assert n + biases == len(parameters.vector)
    kernels = [p for p in parameters.ordered if p.ndim == 4]
    assert torch.Size((6, 16 * 9)) in parameters.matrices
    assert len(kernels) == 6

    config = FitConfig(precision="fp32", schedule="constant", warmup=0, batch_size=20)
    images = source(20)
    training = Training(codec, images, images, config, torch.Generator().manual_seed(0))
    training._parameters.gradient.zero_()
    before = codec.down[1].weight.clone()
    training.take_step()
    gradient = training._parameters.view_of(codec.down[1].weight, training._parameters.gradient)
    expected = orthogonalized(gradient.flatten(1).unsqueeze(0), torch.float32)[0]
    moved = (before - codec.down[1].weight).flatten(1) / config.optimizer.lr
    torch.testing.assert_close(moved, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("loss", ["mse", SparseLoss(l1=0.1)])
def test_its_gradient_is_plain_autograds_in_both_layouts(loss):
    codec, images = built(SMALL), digits(12).float() / 255
    config = FitConfig(loss=loss, precision="fp32")
    reconstructions = codec(images.contiguous())
    terms = F.mse_loss(reconstructions, images)
    if config.loss.name == "sparse":
        terms = terms + 0.1 * codec.encode(images).abs().mean()
    expected = torch.autograd.grad(terms, list(codec.parameters()))
    parameters = FlatParameters(codec)
    engine = engine_for(codec, parameters, config, 12)
    assert isinstance(engine, Autograd)
    batch = InMemory(images).all()
    engine(batch.images, batch, config.loss)
    for parameter, gradient in zip(codec.parameters(), expected, strict=True):
        mine = parameters.view_of(parameter, parameters.gradient)
        torch.testing.assert_close(mine, gradient, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("path", ["none", "rotated-dct"])
@pytest.mark.parametrize("stop", [1, 3, 5])  # of 3 steps to an epoch, 6 in all
def test_it_resumes_after_any_step_to_the_same_bits(path, stop):
    images = source(60)
    config = FitConfig(epochs=2, batch_size=20, elastic=1.0, shift=2, mirror=True)

    def training():
        codec = built(ConvConfig(code_dim=5, width=6, path=path))
        order = torch.Generator().manual_seed(0)
        return codec, Training(codec, images, images.first(10), config, order)

    require_same_bits_after_a_stop(training, stop, 6)


@pytest.mark.parametrize("path", PATHS)
def test_it_trains_in_bfloat16(path):
    config = FitConfig(epochs=1, batch_size=20, precision="bf16")
    codec, [record] = trained(ConvConfig(code_dim=5, width=4, path=path), config)
    assert 0 < record.train_mse < 0.5
    assert all(tensor.isfinite().all() for tensor in codec.state_dict().values())


@pytest.mark.parametrize("path", PATHS)
def test_masked_images_train_and_what_is_behind_the_mask_counts_for_nothing(path):
    weights = []
    for behind in (float("nan"), 1e6):
        mask = torch.rand((40, 1, 28, 28), generator=torch.Generator().manual_seed(0)) > 0.3
        pixels = torch.where(mask, digits(40).float() / 255, behind)
        settings = ConvConfig(code_dim=5, width=4, path=path)
        images = InMemory(pixels, mask=mask)
        codec, [record] = trained(settings, FitConfig(epochs=1, batch_size=20), images)
        assert 0 < record.train_mse < 0.5
        weights.append(codec.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize("path", PATHS)
def test_a_model_comes_back_from_disk_and_a_damaged_scale_does_not(tmp_path, path):
    settings = ConvConfig(code_dim=5, width=4, path=path)
    codec, _ = trained(settings, FitConfig(epochs=1, batch_size=20))

    def save():
        description, weights = store.pack(codec, settings)
        (tmp_path / "config.json").write_text(store.json.dumps(description))
        (tmp_path / "model.safetensors").write_bytes(weights)

    save()
    again, images = store.load(tmp_path), digits(9).float() / 255
    assert torch.equal(codec(images), again(images))
    if path != "none":
        codec.path_scale[0] = 0
        save()
        with pytest.raises(DataError, match="the scale of its linear path is not positive"):
            store.load(tmp_path)


def test_settings_out_of_range_are_named():
    for value in ((), (0,), (300,), (2,) * 9):
        with pytest.raises(ValueError, match="downsampling"):
            ConvConfig(downsampling=value)
    assert ConvConfig(downsampling=[2, 2]).factors((1, 28, 28)) == (2, 2)


@pytest.mark.parametrize(
    "command",
    [
        ("train", "--code-dim", "2"),
        ("sweep-codedim", "2", "4", "--seeds", "1"),
        ("pca-compare", "2", "4", "--seeds", "1"),
        ("interpolate", "--pairs", "5"),
        ("sample", "--samples", "10"),
    ],
    ids=lambda command: command[0],
)
def test_every_command_takes_it(inside, jobs_here, command):
    told = ("--codec", "conv", "--set", "codec.width=4", "--threads", "1")
    done = inside(*command, *FEW_IMAGES, *told, "--epochs", "1")
    assert done.code == 0, done.stderr
    assert "conv" in done.run.name + done.stdout
    assert (done.run / "metrics.json").is_file()
