"""The linear case in two listings: in closed form, and by gradient descent, as the chapter writes
its own network. The ledger runs both, and counts their lines."""

import ast
import inspect
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from sklearn.decomposition import PCA
from torch import Tensor, nn


def by_closed_form(images: Tensor, code_dim: int) -> tuple[Tensor, Tensor]:
    """The mean (pixels,) and the axes (code_dim, pixels) of scikit-learn's PCA of images
    (N, pixels)."""
    pca = PCA(n_components=code_dim, svd_solver="covariance_eigh").fit(images.numpy())
    return torch.from_numpy(pca.mean_), torch.from_numpy(pca.components_)


class Linear(nn.Module):
    """A linear map to the code and one back."""

    def __init__(self, pixels: int, code_dim: int) -> None:
        super().__init__()
        self.encoder = nn.Linear(pixels, code_dim)
        self.decoder = nn.Linear(code_dim, pixels)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images (n, pixels) decoded, and their codes (n, code_dim)."""
        code = self.encoder(images)
        return self.decoder(code), code


def by_gradient(images: Tensor, code_dim: int, seed: int) -> Iterator[Linear]:
    """A linear autoencoder of images (N, pixels) after each epoch, for as long as it is asked."""
    torch.manual_seed(seed)
    model = Linear(images.shape[1], code_dim)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    while True:
        model.train()
        for chosen in torch.randperm(len(images)).split(256):
            x = images[chosen]
            decoded, _ = model(x)
            loss = F.mse_loss(decoded, x)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        yield model


def lines_of(*listed: Callable[..., object]) -> int:
    """Lines of functions and classes, without docstrings, comments and empty lines."""
    return sum(
        len([line for line in ast.unparse(_undocumented(each)).splitlines() if line.strip()])
        for each in listed
    )


def _undocumented(listed: Callable[..., object]) -> ast.Module:
    tree = ast.parse(inspect.getsource(listed))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return tree
