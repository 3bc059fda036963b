"""Numbers from images and codes; every mean is over all images, never over batch means."""

import math

import torch
from torch import Tensor

from aecli.codecs.base import Codec
from aecli.data.images import Source, batch_size, squared_errors, weighted_mean


@torch.no_grad()
def reconstruction_errors(codec: Codec, source: Source) -> tuple[Tensor, Tensor]:
    """The mean squared error per valid pixel of each image's reconstruction, and its weight in a
    mean over images, both (N,) float64 on the CPU."""
    errors, weights = [], []
    for batch in source.batches():
        there = batch.to(codec.device)
        found = squared_errors(codec.reconstruct(there), there)
        # Move to the CPU first: Apple's GPUs have no float64.
        error, weight = (each.cpu().double() for each in found)
        errors.append(error)
        weights.append(weight)
    none = torch.empty(0, dtype=torch.float64)
    return torch.cat([*errors, none]), torch.cat([*weights, none])


def mse(codec: Codec, source: Source) -> float:
    """The mean squared error over all valid pixels; nan without images."""
    return weighted_mean(*reconstruction_errors(codec, source))


@torch.no_grad()
def encode(codec: Codec, source: Source) -> Tensor:
    """The codes (N, code_dim) float32 of all images, on the CPU; other shapes are flattened."""
    codes = [codec.encode(codec.seen(b.to(codec.device))).cpu() for b in source.batches()]
    return torch.cat(codes).flatten(start_dim=1)


@torch.no_grad()
def decode(codec: Codec, codes: Tensor) -> Tensor:
    """Images (N, C, H, W) of codes (N, code_dim), a bounded number at once."""
    shaped = codes.unflatten(1, codec.code_shape)
    return torch.cat([codec.decode(some) for some in shaped.split(batch_size(codec.pixels))])


def psnr_db(mse_per_pixel: float) -> float:
    """Peak signal-to-noise ratio of pixels in [0, 1]: -10 log10(mse); inf of a copy."""
    return -10 * math.log10(mse_per_pixel) if mse_per_pixel > 0 else math.inf


def correlations(codes: Tensor) -> Tensor:
    """The units' correlations (k, k) float64 in codes (N, k); 0 for a unit that never varies."""
    centred = codes.double() - codes.double().mean(dim=0)
    scale = centred.norm(dim=0)
    scaled = centred / torch.where(scale > 0, scale, 1)
    return scaled.T @ scaled


def largest_angle_degrees(columns: Tensor, others: Tensor) -> float:
    """The largest principal angle, in degrees, between what columns (pixels, k) and others span."""
    a, b = (torch.linalg.qr(each.double())[0] for each in (columns, others))
    return math.degrees(math.acos(torch.linalg.svdvals(a.T @ b).min().clamp(max=1).item()))


def mean_abs_correlation(matrix: Tensor) -> float:
    """The mean absolute correlation between two different units; 0 of a single unit."""
    k = len(matrix)
    off_diagonal = matrix.abs().sum() - matrix.diagonal().abs().sum()
    return off_diagonal.item() / max(k * (k - 1), 1)
