"""The closed-form gradient against autograd's, layer by layer and batch by batch."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from aecli import codecs
from aecli.config import LinearConfig, MlpConfig, MseLoss, SparseLoss
from aecli.data.images import Batch
from aecli.training.closed_form import ClosedForm
from aecli.training.parameters import FlatParameters

CONFIGS = [MlpConfig(code_dim=3, hidden=(20, 7)), MlpConfig(hidden=()), LinearConfig(code_dim=5)]


def gradients(config, dtype, images, targets, l1):
    """The loss and the parameters' gradients, by backpropagation and by autograd."""
    torch.manual_seed(0)
    codec = codecs.build(config, (1, 28, 28))
    codes = codec.encode(images)
    loss = F.mse_loss(codec.decode(codes), targets)
    (loss + l1 * codes.abs().mean()).backward()
    expected = [parameter.grad for parameter in codec.parameters()]
    parameters = FlatParameters(codec)
    settings = SparseLoss(l1=l1) if l1 else MseLoss()
    engine = ClosedForm(codec, parameters, settings, 64, dtype)
    means = dict(zip(engine.terms, engine(images, Batch(targets), settings).view(-1), strict=True))
    own_loss = means["mse"]
    assert engine.terms[0] == ("loss" if l1 else "mse")
    if l1:
        assert means["l1"].item() == pytest.approx(codes.abs().mean().item(), rel=1e-5)
    own = [parameters.view_of(p, parameters.gradient) for p in codec.parameters()]
    return own_loss.item(), own, loss.item(), expected


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"{config.name}{config.code_dim}")
@pytest.mark.parametrize("n", [64, 1, 37])
@pytest.mark.parametrize("l1", [0.0, 0.5])
def test_in_float32_it_is_autograds(config, n, l1):
    images, targets = torch.rand(2, n, 1, 28, 28)
    own_loss, own, loss, expected = gradients(config, torch.float32, images, targets, l1)
    assert own_loss == pytest.approx(loss, rel=1e-5)
    for mine, autograds in zip(own, expected, strict=True):
        torch.testing.assert_close(mine, autograds, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"{config.name}{config.code_dim}")
def test_in_bfloat16_it_is_near_autograds(config):
    images, targets = torch.rand(2, 64, 1, 28, 28)
    own_loss, own, loss, expected = gradients(config, torch.bfloat16, images, targets, 0.0)
    assert own_loss == pytest.approx(loss, rel=1e-3)
    for mine, autograds in zip(own, expected, strict=True):
        assert (mine - autograds).norm() < 0.05 * autograds.norm()


def test_the_parameters_are_views_of_one_vector():
    codec = codecs.build(MlpConfig(code_dim=3, hidden=(20,)), (1, 28, 28))
    before = {name: tensor.clone() for name, tensor in codec.state_dict().items()}
    parameters = FlatParameters(codec)
    assert all(torch.equal(before[name], tensor) for name, tensor in codec.state_dict().items())
    parameters.vector.zero_()
    assert all(not tensor.any() for tensor in codec.state_dict().values())
    assert sum(shape.numel() for shape in parameters.shapes) == codec.count_parameters()


@pytest.mark.parametrize(
    "layers",
    [
        [nn.Linear(4, 4), nn.Tanh()],
        [nn.Linear(4, 4), nn.Sigmoid(), nn.Linear(4, 4)],
        [nn.Linear(4, 4), nn.ReLU(), nn.ReLU()],
        [nn.Linear(4, 4), nn.BatchNorm1d(4)],
        [nn.Linear(4, 4, bias=False)],
    ],
    ids=lambda layers: type(layers[-1]).__name__,
)
def test_a_layer_without_a_closed_form_is_refused(layers):
    codec = codecs.build(LinearConfig(code_dim=784), (1, 28, 28))
    codec.decoder = nn.Sequential(*layers)
    with pytest.raises(TypeError, match="no closed-form gradient for layer"):
        ClosedForm(codec, FlatParameters(codec), MseLoss(), 8, torch.float32)
