"""Our optimisers take torch.optim's steps."""

import pytest
import torch

from aecli.config import FitConfig
from aecli.training import device, optimizers
from aecli.training.optimizers import Adam, Muon, orthogonalized


def test_adam_is_torchs():
    torch.manual_seed(0)
    theirs = torch.nn.Parameter(torch.randn(50))
    reference = torch.optim.Adam([theirs], lr=0.01)
    own, gradient = theirs.detach().clone(), torch.zeros(50)
    optimizer = Adam(own, gradient)
    for _ in range(5):
        theirs.grad = torch.randn(50)
        gradient.copy_(theirs.grad)
        reference.step()
        optimizer.step(0.01)
    torch.testing.assert_close(own, theirs.detach(), rtol=1e-6, atol=1e-7)


def test_muon_with_the_papers_coefficients_is_torchs(monkeypatch):
    monkeypatch.setattr(optimizers, "POLAR_EXPRESS", ((3.4445, -4.7750, 2.0315),) * 5)
    monkeypatch.setattr(optimizers, "_SAFETY", 1.0)
    torch.manual_seed(0)
    theirs = [torch.nn.Parameter(torch.randn(shape)) for shape in ((20, 30), (30, 20), (7, 9))]
    reference = torch.optim.Muon(theirs, lr=0.02, momentum=0.9, weight_decay=0.0)
    own = torch.cat([matrix.detach().flatten() for matrix in theirs])
    gradient = torch.zeros_like(own)
    shapes = [matrix.shape for matrix in theirs]
    optimizer = Muon(own, gradient, shapes, momentum=0.9, dtype=torch.bfloat16)
    for _ in range(5):
        for matrix in theirs:
            matrix.grad = torch.randn_like(matrix)
        gradient.copy_(torch.cat([matrix.grad.flatten() for matrix in theirs]))
        reference.step()
        optimizer.step(0.02)
    flat = torch.cat([matrix.detach().flatten() for matrix in theirs])
    torch.testing.assert_close(own, flat, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("rows", "block"),
    [(1, 1), (30, 30), (256, 256), (1000, 250), (784, 196), (500, 250), (257, 257)],
)
def test_wide_matrices_go_in_equal_blocks(rows, block):
    assert optimizers._rows_of_a_block(rows) == block


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_orthogonalized_matrices_have_singular_values_near_one(dtype):
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalized(torch.randn(3, 16, 40), dtype).float())
    assert 0.4 < values.min() <= values.max() < 1.6


@pytest.mark.parametrize(
    ("fast", "precision", "dtype"),
    [
        (True, "auto", torch.bfloat16),
        (True, "fp32", torch.bfloat16),
        (False, "auto", torch.float32),
        (False, "fp32", torch.float32),
        (False, "bf16", torch.bfloat16),
    ],
)
def test_muon_leaves_bfloat16_where_it_is_slow_and_not_asked_for(
    monkeypatch, fast, precision, dtype
):
    monkeypatch.setattr(device, "fast_bf16", lambda where: fast)
    fit = FitConfig(precision=precision)
    assert device.muon_dtype(fit, torch.device("cpu")) is dtype
