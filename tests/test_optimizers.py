"""Our optimisers take torch.optim's steps."""

import pytest
import torch

from aecli.config import FitConfig
from aecli.training import device, optimizers
from aecli.training.optimizers import Adam, Muon, orthogonalized, orthogonalized_by_gram


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
    optimizer = Muon(own, gradient, shapes, momentum=0.9, block_rows=64, dtype=torch.bfloat16)
    for _ in range(5):
        for matrix in theirs:
            matrix.grad = torch.randn_like(matrix)
        gradient.copy_(torch.cat([matrix.grad.flatten() for matrix in theirs]))
        reference.step()
        optimizer.step(0.02)
    flat = torch.cat([matrix.detach().flatten() for matrix in theirs])
    torch.testing.assert_close(own, flat, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("rows", "most", "block"),
    [
        (1, 256, 1),
        (30, 256, 30),
        (256, 256, 256),
        (1000, 256, 250),
        (784, 256, 196),
        (500, 256, 250),
        (257, 256, 257),
        (48, 64, 48),
        (256, 64, 64),
        (784, 64, 56),
        (1000, 64, 50),
        (67, 64, 67),
        (5, 1, 1),
    ],
)
def test_wide_matrices_go_in_equal_blocks(rows, most, block):
    assert optimizers._rows_of_a_block(rows, most) == block


@pytest.mark.parametrize("size", [1e-12, 1.0, 1e6])
def test_a_flat_matrix_goes_by_its_gram_matrix_as_by_itself(size):
    torch.manual_seed(0)
    values = torch.logspace(0, -3, 56)
    left, _ = torch.linalg.qr(torch.randn(3, 56, 56))
    right, _ = torch.linalg.qr(torch.randn(3, 784, 56))
    matrices = (left * values) @ right.mT * size
    found = orthogonalized_by_gram(matrices)
    torch.testing.assert_close(found, orthogonalized(matrices, torch.float32), rtol=0, atol=1e-4)


def test_nothing_stays_nothing_by_its_gram_matrix():
    assert orthogonalized_by_gram(torch.zeros(2, 4, 9)).equal(torch.zeros(2, 4, 9))


def test_a_block_by_its_gram_matrix_has_singular_values_near_one():
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalized_by_gram(torch.randn(4, 64, 784)))
    assert 0.4 < values.min() <= values.max() < 1.6


@pytest.mark.parametrize(("rows", "by_gram"), [(64, True), (256, False)])
def test_blocks_of_few_rows_alone_go_by_their_gram_matrices(rows, by_gram, monkeypatch):
    went = []
    monkeypatch.setattr(
        optimizers, "orthogonalized_by_gram", lambda x: went.append(("gram", x.shape)) or x
    )
    monkeypatch.setattr(
        optimizers, "orthogonalized", lambda x, dtype: went.append(("itself", x.shape)) or x
    )
    shapes = [torch.Size(shape) for shape in ((512, 600), (64, 100), (600, 512))]
    flat = torch.ones(sum(shape.numel() for shape in shapes))
    Muon(flat, flat.clone(), shapes, 0.9, rows, torch.float32).step(0.1)
    blocks = "gram" if by_gram else "itself"
    assert went == [(blocks, (1024 // rows, rows, 600)), ("itself", (1, 64, 100))]


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
