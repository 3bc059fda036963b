"""The orthonormal 2-D DCT-II at chosen places, by separable cosines.

No (code_dim, pixels) basis is made: of 512x512x3 pixels and 256 numbers that would be 0.8 GB, and a
hundred times the products. A *place* is the index of a coefficient in an image's (C, H, W)
coefficients, flattened: channel, vertical frequency u, horizontal frequency v.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from aecli.data.images import ImageShape


class Factors(NamedTuple):
    """The separable transform at some places."""

    rows: Tensor
    """(m, H), the cosines down that the places need, each once."""
    columns: Tensor
    """(l, W), the cosines across."""
    where: tuple[Tensor, Tensor, Tensor]
    """Indices (k,) of the places in the (C, m, l) coefficients that these make."""


def coefficients(images: Tensor, factors: Factors) -> Tensor:
    """Coefficients (N, k) of images (N, C, H, W) at the factors' k places."""
    return (factors.rows @ (images @ factors.columns.T))[:, *factors.where]


def images_of(codes: Tensor, factors: Factors, channels: int) -> Tensor:
    """Images (N, channels, H, W) whose coefficients (N, k) are `codes`, and 0 elsewhere."""
    rows, columns, where = factors
    grid = codes.new_zeros((codes.shape[0], channels, len(rows), len(columns)))
    grid[:, *where] = codes
    return rows.T @ (grid @ columns)


def all_coefficients(images: Tensor) -> Tensor:
    """Every coefficient (N, C, H, W) of images (N, C, H, W)."""
    height, width = images.shape[2:]
    rows, columns = (cosines(torch.arange(n), n) for n in (height, width))
    return rows.to(images.device) @ (images @ columns.T.to(images.device))


def lowest_places(image_shape: ImageShape, count: int) -> Tensor:
    """The first `count` places by rising (u/H)^2 + (v/W)^2, each channel's in turn, (count,)."""
    channels, height, width = image_shape
    each = -(-count // channels)  # so many of a channel: none of them is the first beyond it
    v, u = np.meshgrid(np.arange(min(width, each)), np.arange(min(height, each)))
    order = np.argsort(((u / height) ** 2 + (v / width) ** 2).ravel(), kind="stable")
    lowest = (u * width + v).ravel()[order[:each]]
    i = np.arange(count)
    return torch.from_numpy(i % channels * height * width + lowest[i // channels])


def require_places(places: Tensor, of_shape: Tensor, image_shape: ImageShape) -> None:
    """Raises ValueError unless `places` are of images of this shape, and all different."""
    if of_shape.tolist() != list(image_shape):
        raise ValueError(f"its places are of images of another shape than {image_shape}")
    pixels = math.prod(image_shape)
    inside = (places >= 0) & (places < pixels)
    if not inside.all() or len(places.unique()) < len(places):
        raise ValueError(f"its places are not {len(places)} different ones from 0 to {pixels - 1}")


def cosines(frequencies: Tensor, n: int) -> Tensor:
    """Rows (m, n) float32 of the orthonormal DCT-II matrix: the cosine of each frequency (m,),
    sampled at n pixels."""
    u = frequencies.cpu().double().unsqueeze(1)  # on the CPU: Apple's GPUs have no float64
    angles = torch.pi * (2 * torch.arange(n, dtype=torch.float64) + 1) * u / (2 * n)
    return (((2 - (u == 0).double()) / n).sqrt() * angles.cos()).float()


def factors_of(places: Tensor, image_shape: ImageShape) -> Factors:
    """Factors of the transform of images of a shape at places (k,) int64."""
    _, height, width = image_shape
    us, row = (places // width % height).unique(return_inverse=True)
    vs, column = (places % width).unique(return_inverse=True)
    down, across = cosines(us, height), cosines(vs, width)
    channel = places // (height * width)
    return Factors(down.to(places.device), across.to(places.device), (channel, row, column))
