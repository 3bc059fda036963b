"""A small classifier of images, trained once and kept in the user's cache."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from aecli.data.files import keep
from aecli.data.images import Images, Source, batch_size, to_unit
from aecli.errors import StorageError
from aecli.terminal import Advance, Terminal, show_nothing

LARGEST = 64
"""Rows and columns that the network sees of an image; larger ones are reduced by averaging, so that
neither its weights nor its memory grow with them."""
EPOCHS, BATCH_SIZE, LR, SEED = 8, 256, 3e-3, 0
THREADS = 1  # always the same, for they decide the last bits of what is learned
_BATCHES = 14  # of an epoch, at least: a few hundred images are learned from in smaller ones
_FORMAT = 3  # raised when the network or its training changes, so that no stale one is used
_HASHED = 64  # bytes of a kept file before its weights: their SHA-256, in hexadecimal


class _Network(nn.Module):
    """Two strided convolutions and a hidden layer, whose activations are the features."""

    def __init__(self, channels: int, height: int, width: int, classes: int) -> None:
        super().__init__()
        height, width = min(height, LARGEST), min(width, LARGEST)
        self.convolutions = nn.Sequential(
            nn.Conv2d(channels, 24, 5, stride=2, padding=2),
            nn.BatchNorm2d(24),
            nn.ReLU(),
            nn.Conv2d(24, 48, 3, stride=2, padding=1),
            nn.BatchNorm2d(48),
            nn.ReLU(),
            nn.Flatten(),
        )
        pixels = 48 * (-(-height // 4)) * (-(-width // 4))
        self.hidden = nn.Linear(pixels, 64)
        self.output = nn.Linear(64, classes)

    def features(self, images: Tensor) -> Tensor:
        return F.relu(self.hidden(self.convolutions(images)))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.output(F.dropout(self.features(images), 0.3, self.training))
        return logits


@dataclass(frozen=True)
class Classifier:
    """A trained classifier."""

    network: _Network
    test_accuracy: float
    """Accuracy on the real test images, in [0, 1]."""
    name: str
    """All that decides its weights: the data's hash, the training images, two versions: of this
    file and of torch."""
    weights_sha256: str
    source: str
    """`trained` (by this process) or `cache`."""

    def provenance(self) -> dict[str, str | float]:
        """Facts of it for run.json."""
        return {
            "name": self.name,
            "weights_sha256": self.weights_sha256,
            "test_accuracy": self.test_accuracy,
            "source": self.source,
        }

    @torch.no_grad()
    def probabilities(self, images: Tensor) -> Tensor:
        """(N, classes) of images (N, C, H, W) uint8 or float32 in [0, 1]."""
        return torch.cat([self.network(x).softmax(dim=1) for x in _batches(images)])

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """(N, 64): the last hidden layer's activations."""
        return torch.cat([self.network.features(x) for x in _batches(images)])


def trained_classifier(images: Images, cache: Path, terminal: Terminal) -> Classifier:
    """The classifier of a dataset: from `cache` if it is there and whole, else trained and kept.
    The dataset must have labels.

    It learns the real labels of the training split and never sees a decoded image. The same images,
    machine and torch give the same one, whatever the number of threads. The global random state is
    left as it was, so that what follows does not depend on where the classifier came from.
    """
    name = f"{images.sha256[:12]}-{len(images.train)}-v{_FORMAT}-torch-{torch.__version__}"
    path = cache / f"{name}.weights"
    with torch.random.fork_rng(devices=[]):
        network = _untrained(images)
        kept = _read(path, network, terminal)
        if kept is not None:
            return Classifier(network, _accuracy(network, images), name, kept, "cache")
        network = _untrained(images)  # a new one: reading may have changed half of the old
        with _threads(THREADS):
            text = f"classifier: training one on {len(images.train):,} labels, once"
            with terminal.working(text, _steps(images), "steps") as advance:
                _train(network, images, SEED, advance)
    weights = save(network.state_dict())
    sha256 = hashlib.sha256(weights).hexdigest()
    accuracy = _accuracy(network, images)
    terminal.say(f"classifier: {100 * accuracy:.2f}% right on the test images")
    try:
        keep(path, sha256.encode() + weights)
    except StorageError as error:
        terminal.say(f"WARNING: {error}; the classifier is used, and trained again the next time")
    return Classifier(network, accuracy, name, sha256, "trained")


def recall(images: Images, label: int, seed: int) -> float:
    """The share of a class's test images, in [0, 1], that a classifier recognises which is trained
    now on the training split, with a seed of its own, and not kept.

    There must be some such images. The global random state is left as it was.
    """
    with torch.random.fork_rng(devices=[]), _threads(THREADS):
        network = _untrained(images, seed)
        _train(network, images, seed, show_nothing)
        of_class = images.test.part((_labels(images.test) == label).nonzero().flatten())
        return _accuracy(network, replace(images, test=of_class))


def _untrained(images: Images, seed: int = SEED) -> _Network:
    torch.manual_seed(seed)
    labels = _labels(images.train)
    return _Network(*images.shape, int(labels.max()) + 1)


def _read(path: Path, network: _Network, terminal: Terminal) -> str | None:
    """Set `network` from a kept file; return the weights' SHA-256, None if they are not whole."""
    limit = 2 * sum(tensor.nbytes for tensor in network.state_dict().values())
    try:
        if not path.exists():
            return None
        if not path.is_file() or path.stat().st_size > limit:
            raise ValueError("not a file of the right size")
        content = path.read_bytes()
        sha256, weights = content[:_HASHED].decode("ascii", "replace"), content[_HASHED:]
        if hashlib.sha256(weights).hexdigest() != sha256:
            raise ValueError("its SHA-256 is wrong")
        network.load_state_dict(load(weights))
    except (OSError, ValueError, SafetensorError, RuntimeError) as error:
        terminal.say(f"WARNING: {path} is damaged ({error}): the classifier is trained anew")
        return None
    network.eval()
    return sha256


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _train(network: _Network, images: Images, seed: int, advance: Advance) -> None:
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=LR, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=_steps(images))
    network.train()
    for _ in range(EPOCHS):
        order = torch.randperm(len(images.train), generator=generator)
        for index in order.split(_batch_size(images)):
            loss = F.cross_entropy(
                network(_read_reduced(images.train, index)), _labels(images.train)[index]
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            advance()
    network.eval()


def _steps(images: Images) -> int:
    return EPOCHS * -(-len(images.train) // _batch_size(images))


def _batch_size(images: Images) -> int:
    return min(BATCH_SIZE, max(len(images.train) // _BATCHES, 8))


@torch.no_grad()
def _accuracy(network: _Network, images: Images) -> float:
    guesses = [network(_reduced(batch.images)).argmax(dim=1) for batch in images.test.batches()]
    return (torch.cat(guesses) == _labels(images.test)).double().mean().item()


def _labels(images: Source) -> Tensor:
    assert images.labels is not None  # a classifier is asked for only where there are labels
    return images.labels


def _batches(images: Tensor) -> Iterator[Tensor]:
    """All images (N, C, H, W), as the network sees them, a bounded number at once."""
    for batch in images.split(batch_size(images.shape[1:].numel())):
        yield _reduced(to_unit(batch))


def _read_reduced(source: Source, indices: Tensor) -> Tensor:
    """The images at `indices` as the network sees them; few large ones are held at once."""
    parts = indices.split(batch_size(source.pixels))
    return torch.cat([_reduced(source.read(part).images) for part in parts])


def _reduced(images: Tensor) -> Tensor:
    """Images (n, C, H, W) of at most LARGEST rows and columns: means of what lies in each."""
    height, width = images.shape[2:]
    if max(height, width) <= LARGEST:
        return images
    return F.adaptive_avg_pool2d(images, (min(height, LARGEST), min(width, LARGEST)))
