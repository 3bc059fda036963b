"""The images that every contender trains on: MNIST, read by aecli once, then plain files."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SPLITS = {"train": "train", "test": "t10k"}  # values: the start of torchvision's file names


def load(folder: str, split: str) -> NDArray[np.uint8]:
    """The images of `train` or `test`, (n, 28, 28) uint8."""
    images: NDArray[np.uint8] = np.load(Path(folder) / f"{split}.npy")
    return images


def load_unit(folder: str, split: str) -> NDArray[np.float32]:
    """The same as (n, 784) float32 in [0, 1]."""
    images = load(folder, split)
    pixels = images.reshape(len(images), -1).astype(np.float32)
    pixels /= 255
    return pixels


def prepare(folder: str, limit_train: int | None) -> float:
    """Fill `folder` with MNIST as .npy and in torchvision's layout.

    Returns the test mse per pixel of PCA-32, solved on the same training images by aecli.
    """
    import torch

    from aecli.codecs.pca import Pca
    from aecli.config import DataConfig, PcaConfig
    from aecli.data import datasets, sources
    from aecli.data.images import Source
    from aecli.measure import metrics

    config = DataConfig(dataset="mnist", val=0, limit_train=limit_train)
    images = datasets.load(config, sources.default_places(), say=lambda _: None)
    raw = Path(folder) / "MNIST" / "raw"
    raw.mkdir(parents=True)

    def write(name: str, source: Source) -> None:
        batch = source.all()
        assert batch.labels is not None
        pixels = batch.images.mul(255).round().to(torch.uint8).squeeze(1).numpy()
        np.save(Path(folder) / f"{name}.npy", pixels)
        _write_idx(raw / f"{SPLITS[name]}-images-idx3-ubyte", pixels)
        _write_idx(raw / f"{SPLITS[name]}-labels-idx1-ubyte", batch.labels.numpy())

    write("train", images.train)
    write("test", images.test)
    pca = Pca(images.shape, PcaConfig(code_dim=32))
    pca.solve(images.train)
    return metrics.mse(pca, images.test)


def _write_idx(path: Path, array: NDArray[np.generic]) -> None:
    """An IDX file of unsigned bytes: 0, 0, type 8, dimensions, then big-endian sizes and bytes."""
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    path.write_bytes(header + array.astype(np.uint8).tobytes())
