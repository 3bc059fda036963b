"""Small datasets of somebody's own, written by code, and a look at them."""

from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from PIL import Image

from aecli.codespace import encoding
from aecli.config import DataConfig
from aecli.data.own import opened as opening
from aecli.errors import Interrupted


def drawn(n, *shape, seed=0, top=255):
    """Images (n, *shape) uint8, or uint16 for a larger `top`: noise that no two share."""
    dtype = np.uint8 if top < 256 else np.uint16
    return np.random.default_rng(seed).integers(0, top + 1, (n, *shape)).astype(dtype)


def blobs(n, height=8, width=8, seed=0):
    """Images (n, height, width) uint8 that a small code can hold: one bright spot each."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    cy, cx = rng.uniform(0, height, (n, 1, 1)), rng.uniform(0, width, (n, 1, 1))
    return (255 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (0.1 * height * width))).astype(
        np.uint8
    )


def put(folder, images, classes=("",)):
    """Images as PNGs in a folder, dealt out to classes (sub-folders) in turn; their paths."""
    paths = []
    for i, image in enumerate(images):
        path = folder / classes[i % len(classes)] / f"{i:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
        paths.append(path)
    return paths


def spots(path, counts=(60, 60, 60), test_counts=(12, 12, 12), side=8, labelled=True):
    """An archive of images whose class is the place of a bright spot; a class for each count."""
    rng = np.random.default_rng(0)
    arrays = {}
    for part, numbers in (("train", counts), ("test", test_counts)):
        labels = np.repeat(np.arange(len(numbers)), numbers)
        labels = labels[rng.permutation(len(labels))]
        images = rng.integers(0, 40, (len(labels), side, side)).astype(np.uint8)
        for i, label in enumerate(labels):
            images[i, 1 + 2 * (label // 3) :, 1 + 2 * (label % 3)] = 150 + rng.integers(100)
        arrays[f"x_{part}"] = images
        if labelled:
            arrays[f"y_{part}"] = labels
    np.savez(path, **arrays)
    return str(path)


def put_scene(path, pixels, nodata=None):
    """A GeoTIFF of pixels (C, H, W) that lies on the ground."""
    path.parent.mkdir(parents=True, exist_ok=True)
    bands, height, width = pixels.shape
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=bands,
        height=height,
        width=width,
        dtype=pixels.dtype,
        nodata=nodata,
        crs="EPSG:32601",
        transform=Affine(30, 0, 0, 0, -30, 0),
    ) as file:
        file.write(pixels)
    return path


def look(path, tmp_path: Path, workers=2, **keys):
    """The dataset at a path, as if by a new process."""
    opening._opened.clear()
    config = DataConfig(dataset=str(path), **keys)
    return opening.opened(config, tmp_path / "images", workers)


def files_of(opened, split):
    """The names of the files that have images in a part of the split."""
    return {opened.items.names[i] for i in opened.windows[split][:, 0].tolist()}


def interrupted_at_a_batch(patch):
    """Encoding as if Ctrl-C came at its fourth batch."""
    require, seen = encoding.require_finite, []

    def interrupt(codes, name, first):
        seen.append(first)
        if len(seen) == 4:
            raise Interrupted(2)
        require(codes, name, first)

    patch.setattr(encoding, "require_finite", interrupt)
