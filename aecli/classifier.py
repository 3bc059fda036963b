"""A small classifier, trained once and kept in the user's cache: the judge of decoded images."""

import contextlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from aecli.data import Images, to_unit
from aecli.terminal import Terminal

EPOCHS, BATCH_SIZE, LR, SEED = 8, 256, 3e-3, 0
_FORMAT = 1  # raised when the network or its training changes, so that no stale judge is used
_EVAL_BATCH = 2048


class _Network(nn.Module):
    """Two strided convolutions and a hidden layer, whose activations are the features."""

    def __init__(self, channels: int, height: int, width: int, classes: int) -> None:
        super().__init__()
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
    """A trained judge."""

    network: _Network
    test_accuracy: float
    """On the real test images, in [0, 1]."""

    @torch.no_grad()
    def probabilities(self, images: Tensor) -> Tensor:
        """(N, classes) of images (N, C, H, W) uint8 or float32 in [0, 1]."""
        return torch.cat([self.network(x).softmax(dim=1) for x in _batches(images)])

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """(N, 64): the last hidden layer's activations."""
        return torch.cat([self.network.features(x) for x in _batches(images)])


def judge(images: Images, cache: Path, terminal: Terminal) -> Classifier:
    """The classifier of a dataset: from `cache` if it is there and whole, else trained and kept.

    It learns the real labels of the training split and never sees a decoded image.
    """
    torch.manual_seed(SEED)
    classes = int(images.train.labels.max()) + 1
    network = _Network(*images.shape, classes)
    key = f"{images.name}-{images.sha256[:12]}-{len(images.train)}-v{_FORMAT}"
    path = cache / f"{key}.safetensors"
    with contextlib.suppress(OSError, SafetensorError, RuntimeError):  # then it is trained anew
        network.load_state_dict(load_file(path))
        network.eval()
        return Classifier(network, _accuracy(network, images))
    _train(network, images, terminal)
    accuracy = _accuracy(network, images)
    terminal.say(f"classifier: {100 * accuracy:.2f}% right on the test images; kept in {cache}")
    with contextlib.suppress(OSError):  # a cache that cannot be written costs time only
        _keep(path, network)
    return Classifier(network, accuracy)


def _train(network: _Network, images: Images, terminal: Terminal) -> None:
    generator = torch.Generator().manual_seed(SEED)
    steps = EPOCHS * -(-len(images.train) // BATCH_SIZE)
    optimizer = torch.optim.Adam(network.parameters(), lr=LR, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=LR, total_steps=steps)
    network.train()
    text = f"classifier: training one on {len(images.train):,} labels, once"
    with terminal.working(text, steps, "steps") as advance:
        for _ in range(EPOCHS):
            for index in torch.randperm(len(images.train), generator=generator).split(BATCH_SIZE):
                logits = network(to_unit(images.train.images[index]))
                loss = F.cross_entropy(logits, images.train.labels[index])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                advance()
    network.eval()


@torch.no_grad()
def _accuracy(network: _Network, images: Images) -> float:
    guesses = torch.cat([network(x).argmax(dim=1) for x in _batches(images.test.images)])
    return (guesses == images.test.labels).double().mean().item()


def _batches(images: Tensor) -> list[Tensor]:
    return [to_unit(batch) for batch in images.split(_EVAL_BATCH)]


def _keep(path: Path, network: _Network) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".part-", delete=False) as part:
        part.write(save(network.state_dict()))
    Path(part.name).replace(path)
