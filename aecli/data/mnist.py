"""MNIST (LeCun et al., 1998) and Fashion-MNIST (Xiao et al., 2017): the same four files each."""

import hashlib

import numpy as np
import torch

from aecli.data.downloads import Say
from aecli.data.files import RemoteFiles
from aecli.data.idx import parse_idx
from aecli.data.images import InMemory, Raw
from aecli.data.sources import Places, read_files
from aecli.errors import DataError


def read_mnist(remote: RemoteFiles, places: Places, say: Say) -> Raw:
    """The training and the test images, and where they came from. Raises DataError."""
    found = read_files(remote, places, say)
    train, test = (_split(found.contents, part) for part in ("train", "t10k"))
    sha256 = hashlib.sha256()
    for name in sorted(found.contents):
        sha256.update(found.contents[name])
    return Raw(train, test, found.source, sha256.hexdigest(), found.folder)


def _split(contents: dict[str, bytes], part: str) -> InMemory:
    images_name, labels_name = f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"
    images = parse_idx(contents[images_name], dimensions=3, name=images_name)
    labels = parse_idx(contents[labels_name], dimensions=1, name=labels_name)
    if len(images) != len(labels):
        raise DataError(
            f"{images_name} has {len(images):,} images, {labels_name} {len(labels):,} labels"
        )
    return InMemory(
        torch.from_numpy(images.copy()).unsqueeze(1), torch.from_numpy(labels.astype(np.int64))
    )
