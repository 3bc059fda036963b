"""Ink of a drawing: is it one connected piece?"""

import numpy as np
import torch
from torch import Tensor

_INK = 0.5  # of the brightest pixel: at least as bright is ink
_NEIGHBOURS = np.ones((3, 3))  # two pixels touch along a side or at a corner


def connected(images: Tensor) -> Tensor:
    """(N,) bool: is the ink of each of images (N, 1, H, W), light on dark, one connected piece?

    Ink are the pixels at least half as bright as the image's brightest one; two of them touch along
    a side or at a corner. An image without any has no piece.
    """
    from scipy.ndimage import label  # takes a moment to import, and few runs need it

    inks = (images >= _INK * images.amax(dim=(1, 2, 3), keepdim=True)) & (images > 0)
    return torch.tensor([label(ink, _NEIGHBOURS)[1] == 1 for ink in inks[:, 0].numpy()])
