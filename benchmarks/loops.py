"""The training loops that run on torch: aecli's, the chapter's, the peers'; each calls a clock.

Each trains the chapter's net, 784-256-64-32-64-256-784, on the same images, and is set up as its
documentation shows: Adam at 1e-3, batches of 256. aecli's has the settings of its contender.
"""

import itertools
import logging
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.clock import STEPS_BETWEEN_LOOKS, Clock, Pixels, Reconstruct
from benchmarks.contenders import PEER_BATCH
from benchmarks.images import load, load_unit
from benchmarks.task import Task

MANY = 100_000  # epochs; the clock ends the training


def aecli(task: Task, clock: Clock) -> None:
    """`aecli.training.loop.Training`; the settings are those of FitConfig."""
    from aecli import codecs
    from aecli.config import FitConfig, MlpConfig
    from aecli.data.images import InMemory
    from aecli.training import device
    from aecli.training.loop import Training

    device.seed_and_limit(task.seed, task.threads)
    epochs = {"epochs": task.epochs} if task.measure == "epochs" else {}
    config = FitConfig(**task.settings | epochs)
    codec = codecs.build(MlpConfig(), (1, 28, 28))
    train = InMemory(torch.from_numpy(load(task.data, "train")).unsqueeze(1))
    order = torch.Generator().manual_seed(task.seed)
    clock.start(of_flat(codec, (1, 28, 28)))
    training = Training(codec, train, train.first(0), config, order)
    while not training.is_done:
        training.take_step()
        if training.progress is not None:
            clock.step()
        if training.is_epoch_over:
            training.end_epoch()
            clock.epoch()


def chapter(task: Task, clock: Clock) -> None:
    """The chapter's loop as it is printed; only the clock's lines and the folder are not its."""
    from torch.utils.data import DataLoader
    from torchvision import datasets, transforms

    tf = transforms.Compose(
        [transforms.ToTensor(), transforms.Lambda(lambda t: t.view(-1))]
    )  # flatten to 784
    train = datasets.MNIST(task.data, train=True, transform=tf)
    loader = DataLoader(train, batch_size=PEER_BATCH, shuffle=True)
    model = _ChapterAutoencoder()
    opt = torch.optim.Adam(model.parameters(), lr=1e-3)
    loss_fn = nn.MSELoss()
    clock.start(_reconstructs(lambda x: model(x)[0]))
    for epoch in itertools.count():
        total = 0.0
        for i, (x, _) in enumerate(loader, start=1):  # labels are ignored: self-supervised
            x_hat, _ = model(x)
            loss = loss_fn(x_hat, x)  # target IS the input
            opt.zero_grad()
            loss.backward()
            opt.step()
            total += loss.item() * x.size(0)
            if i % STEPS_BETWEEN_LOOKS == 0:
                clock.step()
        print(f"epoch {epoch}: mse = {total / len(train):.4f}", file=sys.stderr)
        clock.epoch()


class _ChapterAutoencoder(nn.Module):
    def __init__(self, in_dim: int = 784, code_dim: int = 32) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(in_dim, 256), nn.ReLU(),
            nn.Linear(256, 64), nn.ReLU(),
            nn.Linear(64, code_dim),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Linear(code_dim, 64), nn.ReLU(),
            nn.Linear(64, 256), nn.ReLU(),
            nn.Linear(256, in_dim), nn.Sigmoid(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = self.encoder(x)
        x_hat = self.decoder(z)
        return x_hat, z


def pythae(task: Task, clock: Clock) -> None:
    """pythae's AE and BaseTrainer, with the chapter's encoder and decoder, over a tensor."""
    net = _ChapterAutoencoder()
    images = torch.from_numpy(load_unit(task.data, "train"))
    train_by_pythae(net, net.encoder, net.decoder, images, 32, PEER_BATCH, task.seed, clock)


def train_by_pythae(
    network: nn.Module,
    encode: Callable[[Tensor], Tensor],
    decode: Callable[[Tensor], Tensor],
    images: Tensor,
    code_dim: int,
    batch_size: int,
    seed: int,
    clock: Clock,
) -> None:
    """Train by pythae's BaseTrainer, Adam at 0.001, a `network` that `encode` and `decode` are
    parts of, on images (n, ...)."""
    from pythae.data.datasets import BaseDataset
    from pythae.models import AE, AEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig
    from pythae.trainers.training_callbacks import TrainingCallback

    class Encoder(BaseEncoder):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.network = network  # the decoder's part too: all that is stepped

        def forward(self, x: Tensor) -> Any:
            return ModelOutput(embedding=encode(x))

    class Decoder(BaseDecoder):  # type: ignore[misc]
        def forward(self, z: Tensor) -> Any:
            return ModelOutput(reconstruction=decode(z))

    class Hands(TrainingCallback):  # type: ignore[misc]
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            clock.start(of_flat(lambda x: decode(encode(x)), images.shape[1:]))

        def on_train_step_end(self, *_: Any, **__: Any) -> None:
            if next(steps) % STEPS_BETWEEN_LOOKS == 0:
                clock.step()

        def on_epoch_end(self, *_: Any, **__: Any) -> None:
            clock.epoch()

    logging.disable(logging.INFO)
    steps = itertools.count(1)
    config = AEConfig(input_dim=tuple(images.shape[1:]), latent_dim=code_dim)
    model = AE(config, Encoder(), Decoder())
    with tempfile.TemporaryDirectory() as folder:
        training = BaseTrainerConfig(
            output_dir=folder,
            learning_rate=1e-3,
            per_device_train_batch_size=batch_size,
            num_epochs=MANY,
            optimizer_cls="Adam",
            no_cuda=True,
            seed=seed,
        )
        dataset = BaseDataset(images, torch.zeros(len(images)))
        BaseTrainer(model, dataset, training_config=training, callbacks=[Hands()]).train()


def keras(task: Task, clock: Clock) -> None:
    """Keras' `Model.fit` on the torch backend."""
    import keras as k

    class Hands(k.callbacks.Callback):  # type: ignore[misc]
        def on_train_begin(self, logs: Any = None) -> None:
            clock.start(lambda x: model(x, training=False).detach().numpy())

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if (batch + 1) % STEPS_BETWEEN_LOOKS == 0:
                clock.step()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            clock.epoch()

    k.utils.set_random_seed(task.seed)
    pixels = load_unit(task.data, "train")
    dense = k.layers.Dense
    model = k.Sequential(
        [
            k.Input((784,)),
            dense(256, "relu"),
            dense(64, "relu"),
            dense(32),
            dense(64, "relu"),
            dense(256, "relu"),
            dense(784, "sigmoid"),
        ]
    )
    model.compile(optimizer=k.optimizers.Adam(1e-3), loss="mse")
    model.fit(pixels, pixels, batch_size=PEER_BATCH, epochs=MANY, verbose=0, callbacks=[Hands()])


def _reconstructs(forward: Callable[[Tensor], Tensor]) -> Reconstruct:
    """`forward`, of tensors, as a function of arrays; in float32, whatever surrounds the call."""

    def reconstruct(images: Pixels) -> Pixels:
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            pixels: Pixels = forward(torch.from_numpy(images)).float().numpy()
        return pixels

    return reconstruct


def of_flat(forward: Callable[[Tensor], Tensor], shape: Sequence[int]) -> Reconstruct:
    """`forward`, of images of a shape, as a clock calls it: on arrays of flat images."""
    return _reconstructs(lambda x: forward(x.view(-1, *shape)).flatten(1))
