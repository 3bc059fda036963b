"""The only training loop: minibatch gradient descent on the mean squared reconstruction error."""

import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from aecli.codecs.base import ChainCodec, Codec
from aecli.config import AdamConfig, FitConfig, GaussianNoise, MaskingNoise
from aecli.config.sections import NoiseConfig
from aecli.errors import DataError, DivergedError
from aecli.measure import metrics
from aecli.training import device
from aecli.training.augmentation import elastic
from aecli.training.closed_form import Backpropagation, FlatParameters
from aecli.training.optimizers import Adam, Muon, Optimizer

CHECK_EVERY = 32  # steps between looks at the loss; each look waits for the device


@dataclass(frozen=True)
class EpochRecord:
    """A row of history.csv."""

    epoch: int
    """Number of the epoch, from 0 as the chapter counts; messages to people count from 1."""
    train_mse: float
    """Running mean over the epoch, while the weights change: what the chapter prints."""
    val_mse: float
    """Mse on the validation images, after the epoch; nan if there are none."""
    lr: float
    """Learning rate of the epoch's last step."""
    seconds: float
    """Seconds of training; validation is not counted."""

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "EpochRecord":
        """The record that was saved as `row`. Raises DataError if its keys or values are others."""
        names = [field.name for field in fields(cls)]
        numbers = all(isinstance(value, int | float) for value in row.values())
        if sorted(row) != sorted(names) or not numbers:
            raise DataError(
                f"a history row {dict(row)}, where this version of aecli has numbers for"
                f" {', '.join(names)}"
            )
        return cls(**row)


@dataclass(frozen=True)
class Progress:
    """Progress of a training, for a display."""

    step: int
    steps: int
    epoch: int
    images: int
    """Images seen so far, in all epochs."""
    mse: float
    """Running mean over the epoch."""


State = dict[str, Tensor]
"""Tensors that a training's next step depends on, besides its images and config."""


def fit(
    codec: Codec,
    train: Tensor,
    val: Tensor,
    config: FitConfig,
    generator: torch.Generator,
    watch: Callable[[Progress], None] = lambda progress: None,
    keep: Callable[[Callable[[], State]], None] = lambda take: None,
    resumed: State | None = None,
) -> Iterator[EpochRecord]:
    """Train `codec` in place, yielding a record after each epoch.

    train, val: images (N, C, H, W) uint8, on the codec's device; train not empty.
    generator: a CPU generator; draws the order of the images, anew each epoch, and the noise.
    watch: called every few steps.
    keep: called after every step with a function that takes the state there.
    resumed: such a state of a training with the same images and config; fit goes on from there, to
    the same bits; records of epochs before it are not yielded again.
    Raises DivergedError at a loss that is not finite; the codec then holds the weights of the last
    epoch that ended well (or its first ones).
    """
    training = _Training(codec, len(train), config, generator)
    if resumed is not None:
        training.restore(resumed)
    steps = training.steps_per_epoch * config.epochs
    while training.step < steps:
        codec.train()
        epoch, start = divmod(training.step, training.steps_per_epoch)
        order = training.order().to(train.device)
        started = time.perf_counter() - training.seconds
        for i, batch in enumerate(_batches(train, order, config.batch_size, start), start):
            lr = training.take_step(batch, learning_rate_factor(training.step, steps, config))
            training.seconds = time.perf_counter() - started
            if (i + 1) % CHECK_EVERY == 0 or i + 1 == training.steps_per_epoch:
                mse = training.running_mse(i + 1)  # waits for a GPU
                training.seconds = time.perf_counter() - started
                if not math.isfinite(mse):
                    raise training.diverged(steps)
                images = epoch * len(train) + min((i + 1) * config.batch_size, len(train))
                watch(Progress(training.step, steps, epoch, images, mse))
            if i + 1 < training.steps_per_epoch:
                keep(training.state)
        seconds = training.seconds
        if not training.is_finite():  # after the last step, which no loss has seen
            training.take_back()
            raise DivergedError(
                f"training diverged: weights that are not finite after epoch {epoch + 1} of"
                f" {config.epochs} (lr={lr:.3g})"
            )
        codec.eval()
        val_mse = metrics.mse(codec, val)
        if len(val) and not math.isfinite(val_mse):
            training.take_back()
            raise DivergedError(
                f"training diverged: validation mse {val_mse} after epoch {epoch + 1} of"
                f" {config.epochs} (lr={lr:.3g})"
            )
        training.end_epoch()
        yield EpochRecord(epoch, mse, val_mse, lr, seconds)
        keep(training.state)


class _Training:
    """A training under way: what it steps, and where it stands."""

    def __init__(
        self, codec: Codec, images: int, config: FitConfig, generator: torch.Generator
    ) -> None:
        self._config, self._generator = config, generator
        self.steps_per_epoch = math.ceil(images / config.batch_size)
        self.step = 0
        """Steps done, in all epochs."""
        self.seconds = 0.0
        """Seconds spent on this epoch's steps."""
        self._images = images
        self._parameters = FlatParameters(codec)
        dtype = device.product_dtype(config.precision, codec.device)
        batch_size = min(config.batch_size, images)
        assert isinstance(codec, ChainCodec)
        self._gradient = Backpropagation(codec, self._parameters, batch_size, dtype)
        self._optimizers = _build_optimizers(self._parameters, config, codec.device)
        self._losses = torch.zeros(self.steps_per_epoch, device=codec.device)
        self._good = self._parameters.vector.clone()
        self._before_order = generator.get_state()

    def order(self) -> Tensor:
        """This epoch's order of the images; a resumed training draws the same again."""
        if self.step % self.steps_per_epoch == 0:
            self._before_order = self._generator.get_state()
            return torch.randperm(self._images, generator=self._generator)
        again = torch.Generator()
        again.set_state(self._before_order)
        return torch.randperm(self._images, generator=again)

    def take_step(self, images: Tensor, factor: float) -> float:
        """One step on a batch, with the peak rates times `factor`; returns the first rate."""
        if self._config.elastic:
            pixels, fraction = self._config.elastic, self._config.elastic_fraction
            images = elastic(images, pixels, fraction, self._generator)
        noisy = corrupt(images, self._config.noise, self._generator)
        i = self.step % self.steps_per_epoch
        self._losses[i] = self._gradient(noisy, images, getattr(self._config.loss, "l1", 0.0))
        for optimizer, peak in self._optimizers:
            optimizer.step(peak * factor)
        self.step += 1
        return self._optimizers[0][1] * factor

    def running_mse(self, steps: int) -> float:
        """The mean over the images of this epoch's first `steps` steps."""
        sizes = torch.full((steps,), float(self._config.batch_size), dtype=torch.float64)
        if steps == self.steps_per_epoch:
            sizes[-1] = self._images - self._config.batch_size * (steps - 1)
        return (self._losses[:steps].cpu().double() @ sizes / sizes.sum()).item()

    def is_finite(self) -> bool:
        """True if every weight is finite."""
        return bool(self._parameters.vector.isfinite().all())

    def end_epoch(self) -> None:
        self._good.copy_(self._parameters.vector)
        self.seconds = 0.0

    def take_back(self) -> None:
        """Give the codec the weights of the last epoch that ended well."""
        self._parameters.vector.copy_(self._good)

    def diverged(self, steps: int) -> DivergedError:
        """The error that says where; the last good weights are back."""
        self.take_back()
        first = int((~self._losses.isfinite()).nonzero()[0])
        epoch = (self.step - 1) // self.steps_per_epoch
        step = epoch * self.steps_per_epoch + first
        lr = self._config.optimizer.lr * learning_rate_factor(step, steps, self._config)
        return DivergedError(
            f"training diverged: loss {self._losses[first].item()} at step {step + 1} of {steps}"
            f" (epoch {epoch + 1} of {self._config.epochs}, lr={lr:.3g}); a lower --lr may help"
        )

    def state(self) -> State:
        """The state: the tensors themselves, not copies."""
        return {
            **self._tensors(),
            "step": torch.tensor(self.step),
            "seconds": torch.tensor(self.seconds, dtype=torch.float64),
            "generator": self._generator.get_state(),
            "generator_before_order": self._before_order,
        }

    def restore(self, state: State) -> None:
        """Go on from a state; raises DataError if it is not one of such a training."""
        here = self.state().keys()
        if state.keys() != here:
            raise DataError(
                f"not the state of such a training: it lacks {_listed(here - state.keys())} and has"
                f" {_listed(state.keys() - here)} that has no place here"
            )
        try:
            for name, tensor in self._tensors().items():
                tensor.copy_(state[name].view(tensor.shape))
            self.step, self.seconds = int(state["step"]), float(state["seconds"])
            self._generator.set_state(state["generator"])
            self._before_order = state["generator_before_order"]
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise DataError(f"not the state of such a training: {error}") from None

    def _tensors(self) -> State:
        return {
            "parameters": self._parameters.vector,
            "last_good": self._good,
            "losses": self._losses,
            **{
                f"{type(optimizer).__name__.lower()}_{name}": tensor
                for optimizer, _ in self._optimizers
                for name, tensor in optimizer.state().items()
            },
        }


def _listed(names: Collection[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"


def _build_optimizers(
    parameters: FlatParameters, config: FitConfig, where: torch.device
) -> list[tuple[Optimizer, float]]:
    """Optimisers and their peak rates: Adam on everything; or, under `muon`, Muon on the weight
    matrices and Adam on the rest."""
    vector, gradient = parameters.vector, parameters.gradient
    settings = config.optimizer
    if isinstance(settings, AdamConfig):
        return [(Adam(vector, gradient), settings.lr)]
    n = sum(shape.numel() for shape in parameters.matrices)
    dtype = device.muon_dtype(config, where)
    muon = Muon(vector[:n], gradient[:n], parameters.matrices, settings.momentum, dtype)
    return [(muon, settings.lr), (Adam(vector[n:], gradient[n:]), settings.adam_lr)]


def corrupt(images: Tensor, noise: NoiseConfig, generator: torch.Generator) -> Tensor:
    """Images as a denoising autoencoder sees them; `images` themselves if there is no noise.

    images: float32 in [0, 1]. generator: a CPU generator. Gaussian noise is added, masking sets
    pixels to zero (Vincent et al., "Stacked Denoising Autoencoders", JMLR 2010, section 3.3).
    """
    if isinstance(noise, GaussianNoise):
        drawn = torch.randn(images.shape, generator=generator).to(images.device)
        return images + noise.level * drawn
    if isinstance(noise, MaskingNoise):
        kept = torch.rand(images.shape, generator=generator) >= noise.level
        return images * kept.to(images.device)
    return images


def learning_rate_factor(step: int, steps: int, config: FitConfig) -> float:
    """The learning rate of `step` (from 0) of `steps`, as a fraction of its peak, in (0, 1]."""
    position = (step + 0.5) / steps
    if position < config.warmup:
        return position / config.warmup
    remaining = (1 - position) / (1 - config.warmup)
    match config.schedule:
        case "constant":
            return 1.0
        case "linear":
            return remaining
        case "cosine":
            return 0.5 * (1 - math.cos(math.pi * remaining))


def _batches(images: Tensor, order: Tensor, batch_size: int, start: int) -> Iterator[Tensor]:
    """The images as float batches in [0, 1], from batch `start` on, in reused buffers."""
    raw = torch.empty((batch_size, *images.shape[1:]), dtype=images.dtype, device=images.device)
    unit = torch.empty(raw.shape, device=images.device)
    for index in order.split(batch_size)[start:]:
        n = len(index)
        torch.index_select(images, 0, index, out=raw[:n])
        yield unit[:n].copy_(raw[:n]).div_(255)
