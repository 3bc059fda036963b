"""A flow that carries N(0, I) to the codes of images, trained on these codes alone.

Flow matching (Lipman et al., "Flow matching for generative modeling", ICLR 2023) on the straight
paths of its section 4.1, example II, with sigma_min = 0: from noise e to a whitened code c leads
x_t = (1 - t) e + t c, and a network learns the mean of the velocities c - e that pass x_t.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Generator, Tensor, nn

from aecli.codespace.region import Whitening
from aecli.errors import DataError
from aecli.training.optimizers import Adam
from aecli.training.parameters import FlatParameters

WIDTH, BLOCKS = 384, 3
BATCH = 1024
PRODUCTS = 8e11
"""Products of a training's matrices, forwards, at most: some 45 seconds on two cores with AVX2."""
PASSES = 100  # over the codes, at most: few codes are learned by heart
LR, WARMUP = 2e-3, 0.05
EMA = 0.995
HEUN_STEPS = 25
_FREQUENCIES = 16  # of the time, of half a cycle to 8
_AT_ONCE = 4096  # points that are carried side by side


@dataclass(frozen=True)
class Flow:
    """A trained flow. Its codes are of the space that it was trained on."""

    whitening: Whitening
    network: "_Network"

    @torch.no_grad()
    def draw(self, n: int, generator: Generator, labels: Tensor | None = None) -> Tensor:
        """n codes (n, k); labels: the class of each (n,), for a flow that knows classes, and only
        for such a one."""
        noise = torch.randn((n, self.network.rank), generator=generator)
        parts = torch.arange(n).split(_AT_ONCE)
        points = [self._carried(noise[i], None if labels is None else labels[i]) for i in parts]
        return self.whitening.undo(torch.cat(points))

    def _carried(self, points: Tensor, labels: Tensor | None) -> Tensor:
        """Points (n, r) from time 0 to time 1, by Heun's method."""
        classes = self.network.one_hot(labels)
        step = 1 / HEUN_STEPS
        for i in range(HEUN_STEPS):
            start, end = (points.new_full((len(points), 1), (i + j) * step) for j in (0, 1))
            velocity = self.network.velocity(points, start, classes)
            there = self.network.velocity(points + step * velocity, end, classes)
            points = points + step / 2 * (velocity + there)
        return points

    def tensors(self) -> dict[str, Tensor]:
        """All numbers of it, by name, as `read_flow` takes them from a file."""
        whitening = {"mean": self.whitening.mean, "matrix": self.whitening.matrix}
        return whitening | {f"network.{k}": v for k, v in self.network.state_dict().items()}


def trained_flow(codes: Tensor, generator: Generator, labels: Tensor | None = None) -> Flow:
    """The flow to codes (N, k); the same codes, generator and threads give the same one.

    labels: (N,), the class of each, for a flow to the codes of any class that is asked for.
    The length of the training follows from the number and size of the codes, never from a clock.
    """
    whitening = Whitening.of(codes)
    points = whitening(codes)
    classes = 0 if labels is None else int(labels.max()) + 1
    seed = int(torch.randint(2**31, (), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _Network(points.shape[1], classes)
    with torch.enable_grad():
        _train(network, points, network.one_hot(labels), generator)
    return Flow(whitening, network)


def steps_for(count: int, products: int) -> int:
    """Number of training's steps for so many codes and a network of so many products a point."""
    return max(min(int(PRODUCTS / (products * BATCH)), math.ceil(PASSES * count / BATCH)), 1)


def read_flow(path: str | os.PathLike[str]) -> Flow:
    """The flow that a run kept as `flow.safetensors`. Raises DataError for any other file."""
    try:
        return _flow_of(load_file(path))
    except (OSError, SafetensorError, LookupError, ValueError, RuntimeError) as error:
        raise DataError(f"{path}: not a flow of aecli: {error}") from None


class _Network(nn.Module):
    """Layers with a residual stream, each block of which sees time and class.

    The velocity is written (2t - 1) / s^2 x + F(x / s, t) / s, where s^2 = t^2 + (1 - t)^2 is the
    variance of whitened x_t. The first term is the velocity if codes are Gaussian; the rest has
    variance 1 / s^2 then. So F sees and gives numbers of variance 1 at any time (as in Karras et
    al., "Elucidating the design space of diffusion-based generative models", 2022, for their
    paths), and before its first step, where it is 0, the flow draws from the codes' Gaussian.
    """

    def __init__(self, rank: int, classes: int) -> None:
        super().__init__()
        self.rank, self.classes = rank, classes
        self.first = nn.Linear(rank, WIDTH)
        self.condition = nn.Linear(2 * _FREQUENCIES + classes, BLOCKS * WIDTH, bias=False)
        self.inner = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(BLOCKS))
        self.outer = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(BLOCKS))
        self.last = nn.Linear(WIDTH, rank)
        for layer in (*self.outer, self.last):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    @property
    def products(self) -> int:
        """Products of numbers that a point takes."""
        return sum(p.numel() for p in self.parameters() if p.ndim == 2)

    def one_hot(self, labels: Tensor | None) -> Tensor | None:
        """(n, classes) float32 of labels (n,); None where no class is known."""
        return None if labels is None else F.one_hot(labels, self.classes).float()

    def forward(self, x: Tensor, t: Tensor, classes: Tensor | None) -> Tensor:
        """F: (n, r) of points x (n, r), times t (n, 1) and one-hot classes (n, classes)."""
        angles = torch.pi * t * torch.arange(1, _FREQUENCIES + 1)
        seen = [angles.cos(), angles.sin(), *([] if classes is None else [classes])]
        conditions = self.condition(torch.cat(seen, dim=1)).split(WIDTH, dim=1)
        hidden = self.first(x)
        for inner, outer, condition in zip(self.inner, self.outer, conditions, strict=True):
            hidden = hidden + outer(F.silu(inner(hidden) + condition))
        return self.last(hidden)

    def velocity(self, x: Tensor, t: Tensor, classes: Tensor | None) -> Tensor:
        """(n, r), as above."""
        variance = _variance(t)
        s = variance.sqrt()
        return (2 * t - 1) / variance * x + self(x / s, t, classes) / s

    def loss(self, codes: Tensor, noise: Tensor, t: Tensor, classes: Tensor | None) -> Tensor:
        """The mean squared error of F, which is that of the velocity times s^2."""
        variance = _variance(t)
        x, s = (1 - t) * noise + t * codes, variance.sqrt()
        wanted = s * (codes - noise) - (2 * t - 1) / s * x
        return (self(x / s, t, classes) - wanted).square().mean()


def _variance(t: Tensor) -> Tensor:
    return t.square() + (1 - t).square()


def _train(network: _Network, points: Tensor, classes: Tensor | None, generator: Generator) -> None:
    """Train F on points (N, r); the network is left with the moving average of its weights."""
    flat = FlatParameters(network)
    optimizer = Adam(flat.vector, flat.gradient)
    average = flat.vector.clone()
    steps = steps_for(len(points), network.products)
    for step in range(steps):
        chosen = torch.randint(len(points), (BATCH,), generator=generator)
        noise = torch.randn((BATCH, network.rank), generator=generator)
        # One time in each of BATCH equal parts of [0, 1]: their mean loss varies less.
        t = (torch.arange(BATCH) + torch.rand(BATCH, generator=generator)) / BATCH
        given = None if classes is None else classes[chosen]
        loss = network.loss(points[chosen], noise, t.unsqueeze(1), given)
        gradients = torch.autograd.grad(loss, flat.ordered)
        torch.cat([gradient.flatten() for gradient in gradients], out=flat.gradient)
        optimizer.step(LR * _schedule(step, steps))
        average.lerp_(flat.vector, 1 - min(EMA, (step + 1) / (step + 10)))
    flat.vector.copy_(average)
    for parameter in flat.ordered:
        parameter.requires_grad_(False)


def _schedule(step: int, steps: int) -> float:
    """Share of the highest learning rate: a rise over WARMUP of the steps, then a line to 0."""
    return min((step + 1) / (WARMUP * steps), 1) * (1 - step / steps)


def _flow_of(tensors: Mapping[str, Tensor]) -> Flow:
    """The flow whose `tensors` these are. Raises LookupError, ValueError or RuntimeError."""
    whitening = Whitening(tensors["mean"], tensors["matrix"])
    rank = whitening.matrix.shape[1]
    seen = tensors["network.condition.weight"].shape[1]
    with torch.random.fork_rng(devices=[]):
        network = _Network(rank, seen - 2 * _FREQUENCIES)
    state = {k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")}
    network.load_state_dict(state)
    return Flow(whitening, network.requires_grad_(False))
