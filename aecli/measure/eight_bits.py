"""Images of 8 bits, as files hold them: bytes, their error, and their size in a format."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

Pixels = NDArray[np.uint8]


def in_bytes(images: Tensor) -> Pixels:
    """Images in [0, 1] as bytes, clipped and rounded."""
    found: Pixels = images.mul(255).round().clamp(0, 255).to(torch.uint8).numpy()
    return found


def mse(one: Pixels, other: Pixels) -> float:
    """The mean squared error of pixels, in [0, 1]."""
    return float(np.square(one.astype(np.float64) - other).mean()) / 255**2


def written(image: Pixels, pillow: str, keywords: Mapping[str, Any]) -> bytes:
    """The file of an image (C, H, W), by Pillow's name of its format."""
    content = io.BytesIO()
    channels = image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0))
    Image.fromarray(channels).save(content, format=pillow, **keywords)
    return content.getvalue()


def read(content: bytes, channels: int) -> Pixels:
    """The image (C, H, W) in a file; WebP's are in colours, also those of a grey image."""
    with Image.open(io.BytesIO(content)) as file:
        found = np.asarray(file.convert("L" if channels == 1 else "RGB"))
    return found[None] if channels == 1 else found.transpose(2, 0, 1)
