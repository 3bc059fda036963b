"""The only training loop: minibatch gradient descent on the mean squared reconstruction error."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from aecli import metrics
from aecli.codecs import Codec
from aecli.config import FitConfig
from aecli.errors import DivergedError

CHECK_EVERY = 32  # steps between looks at the loss; each look waits for the device


@dataclass(frozen=True)
class EpochRecord:
    """A row of history.csv."""

    epoch: int
    """From 0, as the chapter counts."""
    train_mse: float
    """Running mean over the epoch, while the weights change: what the chapter prints."""
    val_mse: float
    """On the validation images, after the epoch; nan if there are none."""
    lr: float
    """Of the epoch's last step."""
    seconds: float
    """Of training; validation not counted."""


@dataclass(frozen=True)
class Progress:
    """Where training stands, for a display."""

    step: int
    steps: int
    epoch: int
    images: int
    """Seen so far, in all epochs."""
    mse: float
    """Running mean over the epoch."""


def fit(
    codec: Codec,
    train: Tensor,
    val: Tensor,
    config: FitConfig,
    generator: torch.Generator,
    watch: Callable[[Progress], None] = lambda progress: None,
) -> Iterator[EpochRecord]:
    """Train `codec` in place, yielding a record after each epoch.

    train, val: images (N, C, H, W) uint8, on the codec's device; train not empty.
    generator: a CPU generator; draws the order of the images, anew each epoch, and the noise.
    watch: called every few steps.
    Raises DivergedError at a loss that is not finite; the codec then holds the weights of the last
    epoch that ended well (or its first ones).
    """
    optimizers = build_optimizers(codec, config)
    steps_per_epoch = math.ceil(len(train) / config.batch_size)
    steps = steps_per_epoch * config.epochs
    losses = torch.empty(steps_per_epoch, device=train.device)
    weights = torch.full((steps_per_epoch,), float(config.batch_size), dtype=torch.float64)
    weights[-1] = len(train) - config.batch_size * (steps_per_epoch - 1)
    good = _snapshot(codec)

    for epoch in range(config.epochs):
        codec.train()
        started = time.perf_counter()
        order = torch.randperm(len(train), generator=generator).to(train.device)
        for i, batch in enumerate(_batches(train, order, config.batch_size)):
            step = epoch * steps_per_epoch + i
            lr = _set_learning_rates(optimizers, learning_rate_factor(step, steps, config))
            codes = codec.encode(corrupt(batch, config, generator))
            loss = F.mse_loss(codec.decode(codes), batch)
            penalized = loss + config.l1 * codes.abs().mean() if config.l1 else loss
            codec.zero_grad()
            penalized.backward()
            for optimizer in optimizers:
                optimizer.step()
            losses[i] = loss.detach()
            if (i + 1) % CHECK_EVERY == 0 or i + 1 == steps_per_epoch:
                mse = _running_mean(losses[: i + 1], weights[: i + 1])
                if not math.isfinite(mse):
                    codec.load_state_dict(good)
                    raise _diverged(losses[: i + 1], epoch, steps_per_epoch, steps, config)
                images = epoch * len(train) + int(weights[: i + 1].sum())
                watch(Progress(step + 1, steps, epoch, images, mse))
        seconds = time.perf_counter() - started
        codec.eval()
        val_mse = metrics.mse(codec, val)
        if len(val) and not math.isfinite(val_mse):
            codec.load_state_dict(good)
            raise DivergedError(
                f"training diverged: validation mse {val_mse} after epoch {epoch} (lr={lr:.3g})"
            )
        good = _snapshot(codec)
        yield EpochRecord(epoch, mse, val_mse, lr, seconds)


def corrupt(images: Tensor, config: FitConfig, generator: torch.Generator) -> Tensor:
    """Images as a denoising autoencoder sees them; `images` themselves if there is no noise.

    images: float32 in [0, 1]. generator: a CPU generator. Gaussian noise is added, masking sets
    pixels to zero (Vincent et al., "Stacked Denoising Autoencoders", JMLR 2010, section 3.3).
    """
    if config.noise == "none":
        return images
    if config.noise == "gaussian":
        noise = torch.randn(images.shape, generator=generator).to(images.device)
        return images + config.noise_level * noise
    kept = torch.rand(images.shape, generator=generator) >= config.noise_level
    return images * kept.to(images.device)


def build_optimizers(codec: Codec, config: FitConfig) -> list[torch.optim.Optimizer]:
    """Adam on everything; or, under `muon`, Muon on the weight matrices and Adam on the rest.

    Adam: Kingma & Ba, ICLR 2015. Muon, which steps by the nearest orthogonal matrix to the
    momentum: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024.
    """
    if config.optimizer == "adam":
        return [torch.optim.Adam(codec.parameters(), lr=config.lr, fused=True)]
    matrices = [parameter for parameter in codec.parameters() if parameter.ndim == 2]
    rest = [parameter for parameter in codec.parameters() if parameter.ndim != 2]
    muon = torch.optim.Muon(matrices, lr=config.lr, momentum=config.momentum, weight_decay=0)
    return [muon, torch.optim.Adam(rest, lr=config.adam_lr, fused=True)]


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


def _set_learning_rates(optimizers: list[torch.optim.Optimizer], factor: float) -> float:
    """Set every group to its peak times `factor`; returns the first optimizer's rate."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            peak = group.setdefault("initial_lr", group["lr"])
            group["lr"] = peak * factor
    lr: float = optimizers[0].param_groups[0]["lr"]
    return lr


def _batches(images: Tensor, order: Tensor, batch_size: int) -> Iterator[Tensor]:
    """The images as float batches in [0, 1], gathered into one reused pair of buffers."""
    raw = torch.empty((batch_size, *images.shape[1:]), dtype=images.dtype, device=images.device)
    unit = torch.empty(raw.shape, device=images.device)
    for index in order.split(batch_size):
        n = len(index)
        torch.index_select(images, 0, index, out=raw[:n])
        yield unit[:n].copy_(raw[:n]).div_(255)


def _running_mean(losses: Tensor, weights: Tensor) -> float:
    return (losses.cpu().double() @ weights / weights.sum()).item()


def _diverged(
    losses: Tensor, epoch: int, steps_per_epoch: int, steps: int, config: FitConfig
) -> DivergedError:
    first = int((~losses.isfinite()).nonzero()[0])
    step = epoch * steps_per_epoch + first
    lr = config.lr * learning_rate_factor(step, steps, config)
    return DivergedError(
        f"training diverged: loss {losses[first].item()} at step {step} of {steps}"
        f" (epoch {epoch}, lr={lr:.3g}); a lower --lr may help"
    )


def _snapshot(codec: Codec) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in codec.state_dict().items()}
