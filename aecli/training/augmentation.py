"""Images bent, moved or mirrored, so that a network never sees the same one twice."""

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from aecli.config import DeformationNoise
from aecli.data.images import Batch, sent

_GRID = 5  # random displacements along each side, interpolated smoothly between them


def elastic(batch: Batch, pixels: float, fraction: float, generator: torch.Generator) -> Batch:
    """The batch with the first `fraction` of its images distorted by a smooth random field.

    A pixel is valid where all that it is made of is. pixels: the standard deviation of the
    displacement where it is drawn. generator: a CPU generator. Simard, Steinkraus & Platt, "Best
    practices for convolutional neural networks", ICDAR 2003, with a coarse grid for the smoothing.
    """
    images = batch.images
    n, (height, width) = round(fraction * len(images)), images.shape[2:]
    if n == 0:
        return batch
    still = torch.eye(2, 3, device=images.device).expand(n, 2, 3)
    grid = F.affine_grid(still, [n, 1, height, width], align_corners=False)
    grid = grid + _smooth_field(images[:n], pixels, generator)
    bent = torch.cat(
        [F.grid_sample(images[:n], grid, align_corners=False).clamp_(0, 1), images[n:]]
    )
    if batch.mask is None:
        return replace(batch, images=bent)
    shares = F.grid_sample(batch.mask[:n].float(), grid, align_corners=False)
    mask = torch.cat([shares > 0.999, batch.mask[n:]])
    return replace(batch, images=bent * mask, mask=mask)


def moved(batch: Batch, pixels: int, generator: torch.Generator) -> Batch:
    """The batch with each image moved by up to so many pixels in both directions; what comes in at
    an edge repeats it. generator: a CPU generator."""
    n, (height, width) = len(batch), batch.images.shape[2:]
    shifts = torch.randint(-pixels, pixels + 1, (2, n, 1), generator=generator)
    rows, columns = (
        sent((torch.arange(side) + shift).clamp_(0, side - 1), batch.images.device)
        for side, shift in zip((height, width), shifts, strict=True)
    )
    which = torch.arange(n, device=batch.images.device)[:, None, None]
    place = (which, slice(None), rows[:, :, None], columns[:, None, :])
    images = batch.images[place].permute(0, 3, 1, 2)
    mask = None if batch.mask is None else batch.mask[place].permute(0, 3, 1, 2)
    return replace(batch, images=images, mask=mask)


def mirrored(batch: Batch, generator: torch.Generator) -> Batch:
    """The batch with each image mirrored left to right at even chances. generator: a CPU
    generator."""
    chosen = sent(torch.rand(len(batch), generator=generator) < 0.5, batch.images.device)
    chosen = chosen[:, None, None, None]
    images = torch.where(chosen, batch.images.flip(3), batch.images)
    mask = None if batch.mask is None else torch.where(chosen, batch.mask.flip(3), batch.mask)
    return replace(batch, images=images, mask=mask)


def deformed(images: Tensor, by: DeformationNoise, generator: torch.Generator) -> Tensor:
    """Images (n, C, H, W), each turned, scaled, sheared, moved and bent at random; what comes in at
    an edge repeats it. generator: a CPU generator.

    The distortions of Simard, Steinkraus & Platt (2003), there for classifiers; as the noise of a
    denoising autoencoder they make a code of what all handwritings of a digit have in common.
    """
    n, _, height, width = images.shape
    drawn = torch.randn((5, n), generator=generator)
    turn, larger, shear, right, down = sent(drawn, images.device)
    angle, scale = turn * math.radians(by.rotation), torch.exp(larger * by.scale)
    # From pixels' places to those that they come from; both axes run from -1 to 1, however long.
    rows = [
        [
            scale * angle.cos(),
            (shear * by.shear - scale * angle.sin()) * height / width,
            right * by.shift * 2 / width,
        ],
        [scale * angle.sin() * width / height, scale * angle.cos(), down * by.shift * 2 / height],
    ]
    places = torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)
    grid = F.affine_grid(places, [n, 1, height, width], align_corners=False)
    grid = grid + _smooth_field(images, by.elastic, generator)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False).clamp_(0, 1)


def _smooth_field(images: Tensor, pixels: float, generator: torch.Generator) -> Tensor:
    """A smooth random displacement for each pixel of images (n, C, H, W), (n, H, W, 2), in
    coordinates from -1 to 1; `pixels` is its standard deviation where it is drawn."""
    n, _, height, width = images.shape
    field = sent(torch.randn((n, 2, _GRID, _GRID), generator=generator), images.device)
    field = F.interpolate(field, (height, width), mode="bicubic", align_corners=True)
    field *= sent(2 * pixels / torch.tensor([width, height]), images.device).view(1, 2, 1, 1)
    return field.permute(0, 2, 3, 1)
