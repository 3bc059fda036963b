"""Numbers from images and codes; every mean is over all images, never over batch means."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from aecli.codecs.base import Codec
from aecli.data.images import to_unit

BATCH = 4096  # images measured at once; bounds memory, changes no result beyond rounding


@torch.no_grad()
def reconstruction_errors(codec: Codec, images: Tensor) -> Tensor:
    """The mean squared error per pixel of each image's reconstruction, (N,) float64.

    images: (N, C, H, W) uint8 or float32 in [0, 1].
    """
    errors = [_squared_error(codec(batch), batch) for batch in _unit_batches(images, codec)]
    return torch.cat(errors) if errors else torch.empty(0, dtype=torch.float64)


@torch.no_grad()
def mse(codec: Codec, images: Tensor) -> float:
    """The mean squared error per pixel over all images; nan without images."""
    return reconstruction_errors(codec, images).mean().item()


@torch.no_grad()
def encode(codec: Codec, images: Tensor) -> Tensor:
    """The codes (N, code_dim) float32, on the CPU, of images (N, C, H, W) uint8 or float32."""
    return torch.cat([codec.encode(batch).cpu() for batch in _unit_batches(images, codec)])


def psnr_db(mse_per_pixel: float) -> float:
    """Peak signal-to-noise ratio of pixels in [0, 1]: -10 log10(mse); inf of a copy."""
    return -10 * math.log10(mse_per_pixel) if mse_per_pixel > 0 else math.inf


def correlations(codes: Tensor) -> Tensor:
    """The units' correlations (k, k) float64 in codes (N, k); 0 for a unit that never varies."""
    centred = codes.double() - codes.double().mean(dim=0)
    scale = centred.norm(dim=0)
    scaled = centred / torch.where(scale > 0, scale, 1)
    return scaled.T @ scaled


def mean_abs_correlation(matrix: Tensor) -> float:
    """The mean absolute correlation between two different units; 0 of a single unit."""
    k = len(matrix)
    off_diagonal = matrix.abs().sum() - matrix.diagonal().abs().sum()
    return off_diagonal.item() / max(k * (k - 1), 1)


def _squared_error(reconstructions: Tensor, images: Tensor) -> Tensor:
    # Move to the CPU first: Apple's GPUs have no float64.
    return (reconstructions - images).square_().flatten(start_dim=1).mean(dim=1).cpu().double()


def _unit_batches(images: Tensor, codec: Codec) -> Iterator[Tensor]:
    for batch in images.split(BATCH):
        yield to_unit(batch.to(codec.device))
