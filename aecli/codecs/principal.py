"""Principal components of images, by whichever way fits their number and size.

The covariance where it is small; the Gram matrix of the images where they are fewer than pixels;
randomised subspace iteration (Halko, Martinsson & Tropp, "Finding structure with randomness", SIAM
Review 2011, algorithm 4.4) where both are large. Pixels that are not valid count as the mean.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from aecli.data.images import BATCH_BYTES, Source, mean_image

LARGEST_MATRIX = 6_000
"""Rows of the largest covariance or Gram matrix that is decomposed whole, in about a minute."""
LARGEST_BASIS = 2**28
"""Numbers in the largest set of components of large images: by the Gram matrix, 1 GiB of float32,
of which two are held at a time. By subspace iteration half of it: 1 GiB of float64, of which three
are."""
_LARGE_BATCH = 2**27  # bytes
_BLOCK = 256  # rows of a covariance computed together
_MORE = 10  # directions beyond those asked for
_PASSES = 4  # over all images


def most_components(images: int, pixels: int) -> tuple[int, str]:
    """The largest number of components that so many images of so many pixels have here, 1 at least,
    and what limits it, in words."""
    limits = [(images, "training images"), (pixels, "pixels")]
    if pixels > LARGEST_MATRIX:
        numbers = LARGEST_BASIS if images <= LARGEST_MATRIX else LARGEST_BASIS // 2
        limits.append((max(numbers // pixels - _MORE, 1), "within 3 GiB of memory"))
    return min(limits)


def principal_components(source: Source, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (pixels,), the `count` largest variances, and their components (count, pixels), float64;
    those of large images by the Gram matrix float32.

    `most_components` says how many there can be.
    """
    n, pixels = len(source), source.pixels
    mean = mean_image(source).flatten()
    if pixels <= LARGEST_MATRIX and (pixels <= n or n > LARGEST_MATRIX):
        variances, vectors = torch.linalg.eigh(_covariance(source, mean))  # variances rise
        return mean, variances.flip(0)[:count], vectors.T.flip(0)[:count]
    if n <= LARGEST_MATRIX:
        return mean, *_by_gram_matrix(source, mean, count)
    return mean, *_by_subspace_iteration(source, mean, count)


def total_variance(source: Source) -> float:
    """The sum of all variances, in squared pixel units: the trace of the covariance."""
    mean = mean_image(source).flatten()
    squares = sum(rows.double().square().sum().item() for rows in _centred(source, mean))
    return squares / max(len(source) - 1, 1)


def _centred(source: Source, mean: Tensor, at_once: int = 2 * BATCH_BYTES) -> Iterator[Tensor]:
    """All images in order, (n, pixels) float32 without the mean; at_once: bytes of a batch."""
    centre = mean.float()
    for batch in source.batches(at_once):
        rows = batch.images.flatten(start_dim=1) - centre
        if batch.mask is not None:
            rows *= batch.mask.expand_as(batch.images).flatten(start_dim=1)
        yield rows


def _covariance(source: Source, mean: Tensor) -> Tensor:
    """The covariance (pixels, pixels) float64, on and below the diagonal; not all of it above,
    where `eigh` does not look."""
    scatter = torch.zeros((len(mean), len(mean)), dtype=torch.float64)
    for rows in _centred(source, mean):
        for start in range(0, len(mean), _BLOCK):
            end = start + _BLOCK
            scatter[start:end, :end] += rows[:, start:end].T @ rows[:, :end]
    return scatter / max(len(source) - 1, 1)


def _by_gram_matrix(source: Source, mean: Tensor, count: int) -> tuple[Tensor, Tensor]:
    gram = _gram_matrix(source, mean)
    values, vectors = torch.linalg.eigh(gram / max(len(source) - 1, 1))
    values, vectors = values.flip(0)[:count].clamp_min(0), vectors.flip(1)[:, :count]
    is_large = len(mean) > LARGEST_MATRIX
    dtype = torch.float32 if is_large else torch.float64
    components = torch.zeros((count, len(mean)), dtype=dtype)
    start = 0
    for rows in _centred(source, mean):
        components.addmm_(vectors[start : start + len(rows)].T.to(dtype), rows.to(dtype))
        start += len(rows)
    # Directions without variance are any that are orthogonal to the others, the same every time.
    rank = int((values > values.max() * 1e-10).sum())
    fill = torch.Generator().manual_seed(0)
    components[rank:] = torch.randn(components[rank:].shape, dtype=dtype, generator=fill)
    if not is_large:
        return values, _orthonormal_rows(components)
    # It takes minutes for large images, and those with variance are orthogonal as they are.
    known, rest = components[:rank], components[rank:]
    known /= known.norm(dim=1, keepdim=True)
    if len(rest):
        rest -= (rest @ known.T) @ known
        rest.copy_(_orthonormal_rows(rest))
    return values, components


def _gram_matrix(source: Source, mean: Tensor) -> Tensor:
    """The inner products (N, N) float64 of all images, on and below the diagonal; 0 above it, where
    `eigh` does not look."""
    gram = torch.zeros((len(source), len(source)), dtype=torch.float64)
    # Every batch is read once for each after it: of large images there are few large ones.
    at_once = 2 * BATCH_BYTES if len(mean) <= LARGEST_MATRIX else _LARGE_BATCH
    start = 0
    for rows in _centred(source, mean, at_once):
        end, first = start + len(rows), 0
        for others in _centred(source, mean, at_once):
            last = first + len(others)
            gram[start:end, first:last] = rows.double() @ others.double().T
            if last == end:
                break
            first = last
        start = end
    return gram


def _by_subspace_iteration(source: Source, mean: Tensor, count: int) -> tuple[Tensor, Tensor]:
    size = min(count + _MORE, len(source), len(mean))
    fill = torch.Generator().manual_seed(0)
    basis = torch.randn((size, len(mean)), dtype=torch.float64, generator=fill)
    for _ in range(_PASSES):
        image = torch.zeros_like(basis)
        for rows in _centred(source, mean):
            image += (rows.double() @ basis.T).T @ rows.double()
        basis = _orthonormal_rows(image)
    small = torch.zeros((size, size), dtype=torch.float64)
    for rows in _centred(source, mean):
        codes = rows.double() @ basis.T
        small += codes.T @ codes
    variances, vectors = torch.linalg.eigh(small / max(len(source) - 1, 1))
    return variances.flip(0)[:count], vectors.T.flip(0)[:count] @ basis


def _orthonormal_rows(matrix: Tensor) -> Tensor:
    basis, upper = torch.linalg.qr(matrix.T)
    return (basis * upper.diagonal().sign()).T  # rows keep their directions
