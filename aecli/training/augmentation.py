"""Images bent a little, so that a network never sees the same one twice."""

import torch
import torch.nn.functional as F
from torch import Tensor

_GRID = 5  # random displacements along each side, interpolated smoothly between them


def elastic(images: Tensor, pixels: float, fraction: float, generator: torch.Generator) -> Tensor:
    """Images of which the first `fraction` are distorted by a smooth random field.

    images: (N, C, H, W) float32 in [0, 1]; so is the result. pixels: the standard deviation of the
    displacement where it is drawn. generator: a CPU generator. Simard, Steinkraus & Platt, "Best
    practices for convolutional neural networks", ICDAR 2003, with a coarse grid for the smoothing.
    """
    n, (height, width) = round(fraction * len(images)), images.shape[2:]
    if n == 0:
        return images
    field = torch.randn((n, 2, _GRID, _GRID), generator=generator).to(images.device)
    field = F.interpolate(field, (height, width), mode="bicubic", align_corners=True)
    field *= 2 * pixels / torch.tensor([width, height], device=images.device).view(1, 2, 1, 1)
    still = torch.eye(2, 3, device=images.device).expand(n, 2, 3)
    grid = F.affine_grid(still, [n, 1, height, width], align_corners=False)
    bent = F.grid_sample(images[:n], grid + field.permute(0, 2, 3, 1), align_corners=False)
    return torch.cat([bent.clamp_(0, 1), images[n:]])
