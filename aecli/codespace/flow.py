"""A flow that carries N(0, I) to the codes of images, trained on these codes alone.

Flow matching (Lipman et al., "Flow matching for generative modeling", ICLR 2023) on the straight
paths of its section 4.1, example II, with sigma_min = 0: from noise e to a whitened code c leads
x_t = (1 - t) e + t c, and a network learns the mean of the velocities c - e that pass x_t.

Codes are cut into parts, each whitened by itself, and the network is told where the part lies: so
the flow begins at a mixture of Gaussians, one for each part, and learns what differs from it.
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

MOST_PARTS = 1024
CODES_PER_PART = 20  # at least
PRIOR = 100
"""Codes that a part has besides its own, as it were, of the covariance of all parts together."""
FLOOR = 1e-4  # added to each part's variances, of codes whitened to variance 1
WIDTH, BLOCKS = 256, 3
BATCH = 512
PRODUCTS = 5e11
"""Products of a training's matrices, forwards, at most: some 45 seconds on two cores with AVX2."""
PASSES = 100  # over the codes, at most: few codes are learned by heart
LR, WARMUP = 2e-3, 0.05
EMA = 0.99
HEUN_STEPS = 25
_ROUNDS = 15  # of k-means
_HELD_OUT = 2000  # codes, at most, that say how many parts there are
_NUMBERS = 2**23  # of the covariances, or of differences of codes, that are held at once
_FREQUENCIES = 16  # of the time, of half a cycle to 8
_AT_ONCE = 4096  # points that are carried, or compared with all centres, side by side


@dataclass(frozen=True)
class Flow:
    """A trained flow. Its codes are of the space that it was trained on."""

    parts: "Parts"
    network: "_Network"

    @torch.no_grad()
    def draw(self, n: int, generator: Generator, labels: Tensor | None = None) -> Tensor:
        """n codes (n, k); labels: the class of each (n,), for a flow that knows classes."""
        part = self.parts.drawn(n, generator, labels)
        noise = torch.randn((n, self.network.rank), generator=generator)
        centres = self.parts.means[part]
        some = torch.arange(n).split(_AT_ONCE)
        points = torch.cat([self._carried(noise[i], centres[i]) for i in some])
        return self.parts.undo(points, part)

    def _carried(self, points: Tensor, centres: Tensor) -> Tensor:
        """Points (n, r) from time 0 to time 1, by Heun's method."""
        step = 1 / HEUN_STEPS
        for i in range(HEUN_STEPS):
            start, end = (points.new_full((len(points), 1), (i + j) * step) for j in (0, 1))
            velocity = self.network.velocity(points, start, centres)
            there = self.network.velocity(points + step * velocity, end, centres)
            points = points + step / 2 * (velocity + there)
        return points

    def tensors(self) -> dict[str, Tensor]:
        """All numbers of it, by name, as `read_flow` takes them from a file."""
        network = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        return self.parts.tensors() | network


@dataclass(frozen=True)
class Parts:
    """Parts of the codes, each with its own mean and covariance; p of them."""

    whitening: Whitening
    """The map to whitened codes (N, r), in which the parts are."""
    classes: Tensor
    """(p,) int64: the class that each part is of; 0 where no class is known."""
    counts: Tensor
    """(p,) float64: the number of training codes in each."""
    means: Tensor
    """(p, r) float32."""
    roots: Tensor
    """(p, r, r) float32: the square root of each covariance, symmetric."""

    @classmethod
    def of(
        cls, codes: Tensor, labels: Tensor | None, generator: Generator
    ) -> tuple["Parts", Tensor]:
        """Parts of codes (N, k), each of one class of `labels` (N,), and the part (N,) of each."""
        whitening = Whitening.of(codes)
        points = whitening(codes)
        if labels is None:
            labels = torch.zeros(len(codes), dtype=torch.long)
        part = torch.empty_like(labels)
        classes: list[int] = []
        means, roots = [], []
        for label in labels.unique().tolist():
            of_class = (labels == label).nonzero().flatten()
            cut = _cut(points[of_class], generator)
            part[of_class] = cut.part + len(classes)
            classes.extend([label] * len(cut.means))
            means.append(cut.means.float())
            roots.append(_roots(cut.covariances).float())
        counts = part.bincount().double()
        moments = torch.cat(means), torch.cat(roots)
        return cls(whitening, torch.tensor(classes), counts, *moments), part

    def drawn(self, n: int, generator: Generator, labels: Tensor | None = None) -> Tensor:
        """Parts (n,) by the codes in them; by those of the class where `labels` (n,) names it."""
        if labels is None:
            return torch.multinomial(self.counts, n, replacement=True, generator=generator)
        part = torch.empty_like(labels)
        for label in labels.unique().tolist():
            wanted = labels == label
            counts = self.counts * (self.classes == label)
            part[wanted] = torch.multinomial(
                counts, int(wanted.sum()), replacement=True, generator=generator
            )
        return part

    def whitened(self, codes: Tensor, part: Tensor) -> Tensor:
        """Points (N, r) of codes (N, k), each by the mean and covariance of its part (N,)."""
        points = self.whitening(codes) - self.means[part]
        # One by one: of several of 256 rows or more, torch 2.14 on two threads inverts none.
        inverses = torch.stack([torch.linalg.inv(root) for root in self.roots.double()])
        return self._each(points, part, inverses.float())

    def undo(self, points: Tensor, part: Tensor) -> Tensor:
        """Codes (N, k) of points (N, r) as `whitened` gives them."""
        return self.whitening.undo(self._each(points, part, self.roots) + self.means[part])

    def tensors(self) -> dict[str, Tensor]:
        """All numbers of them, by name."""
        own = {name: getattr(self, name) for name in ("classes", "counts", "means", "roots")}
        return {"mean": self.whitening.mean, "matrix": self.whitening.matrix, **own}

    def _each(self, points: Tensor, part: Tensor, matrices: Tensor) -> Tensor:
        """Points (N, r), each times the matrix of its part."""
        result = torch.empty_like(points)
        for i in part.unique().tolist():
            inside = part == i
            result[inside] = points[inside] @ matrices[i]
        return result


def trained_flow(codes: Tensor, generator: Generator, labels: Tensor | None = None) -> Flow:
    """The flow to codes (N, k); the same codes, generator and threads give the same one.

    labels: (N,), the class of each, for a flow to the codes of any class that is asked for.
    The length of the training follows from the number and size of the codes, never from a clock.
    """
    parts, part = Parts.of(codes, labels, generator)
    seed = int(torch.randint(2**31, (), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _Network(parts.means.shape[1])
    with torch.enable_grad():
        _train(network, parts.whitened(codes, part), parts.means[part], generator)
    return Flow(parts, network)


def steps_for(count: int, products: int) -> int:
    """Number of training's steps for so many codes and a network of so many products a point."""
    return max(min(int(PRODUCTS / (products * BATCH)), PASSES * count // BATCH), 1)


def read_flow(path: str | os.PathLike[str]) -> Flow:
    """The flow that a run kept as `flow.safetensors`. Raises DataError for any other file."""
    try:
        return _flow_of(load_file(path))
    except (OSError, SafetensorError, LookupError, ValueError, RuntimeError) as error:
        raise DataError(f"{path}: not a flow of aecli: {error}") from None


class _Network(nn.Module):
    """Layers with a residual stream, each block of which sees the time and the part's centre.

    The velocity is written (2t - 1) / s^2 x + F(x / s, t) / s, where s^2 = t^2 + (1 - t)^2 is the
    variance of whitened x_t. The first term is the velocity if codes are Gaussian; the rest has
    variance 1 / s^2 then. So F sees and gives numbers of variance 1 at any time (as in Karras et
    al., "Elucidating the design space of diffusion-based generative models", 2022, for their
    paths), and before its first step, where it is 0, the flow draws from the part's Gaussian.
    """

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.rank = rank
        self.first = nn.Linear(2 * rank, WIDTH)
        self.condition = nn.Linear(2 * _FREQUENCIES + rank, BLOCKS * 2 * WIDTH, bias=False)
        self.inner = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(BLOCKS))
        self.outer = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(BLOCKS))
        self.last = nn.Linear(WIDTH, rank)
        for layer in (*self.outer, self.last):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    @property
    def products(self) -> int:
        """Products of numbers that a point takes."""
        return sum(layer.weight.numel() for layer in self.modules() if isinstance(layer, nn.Linear))

    def forward(self, x: Tensor, t: Tensor, centres: Tensor) -> Tensor:
        """F: (n, r) of points x (n, r), times t (n, 1) and the centres of their parts (n, r)."""
        angles = torch.pi * t * torch.arange(1, _FREQUENCIES + 1)
        conditions = self.condition(torch.cat([angles.cos(), angles.sin(), centres], dim=1))
        scales_and_shifts = conditions.split(WIDTH, dim=1)
        hidden = self.first(torch.cat([x, centres], dim=1))
        for i, (inner, outer) in enumerate(zip(self.inner, self.outer, strict=True)):
            scale, shift = scales_and_shifts[2 * i : 2 * i + 2]
            hidden = hidden + outer(F.silu(inner(hidden) * (1 + scale) + shift))
        return self.last(hidden)

    def velocity(self, x: Tensor, t: Tensor, centres: Tensor) -> Tensor:
        """(n, r), as above."""
        variance = _variance(t)
        s = variance.sqrt()
        return (2 * t - 1) / variance * x + self(x / s, t, centres) / s

    def loss(self, codes: Tensor, noise: Tensor, t: Tensor, centres: Tensor) -> Tensor:
        """The mean squared error of F, which is that of the velocity times s^2."""
        variance = _variance(t)
        x, s = (1 - t) * noise + t * codes, variance.sqrt()
        wanted = s * (codes - noise) - (2 * t - 1) / s * x
        return (self(x / s, t, centres) - wanted).square().mean()


def _variance(t: Tensor) -> Tensor:
    return t.square() + (1 - t).square()


@dataclass(frozen=True)
class _Cut:
    """Points (n, r) cut into parts, p of them, none of which is empty."""

    part: Tensor
    """(n,): the part of each point."""
    means: Tensor
    """(p, r) float64."""
    covariances: Tensor
    """(p, r, r) float64, each drawn towards that within all parts."""

    def mean_log_likelihood(self, points: Tensor) -> float:
        """The mean of the log density of points (m, r) under the mixture of the parts' Gaussians,
        but for a constant of r."""
        p, rank = self.means.shape
        lower = torch.linalg.cholesky(self.covariances)
        one = torch.eye(rank, dtype=torch.float64)
        inverses = torch.linalg.solve_triangular(lower, one.expand_as(lower), upper=False)
        heights = self.part.bincount().double().log() - lower.diagonal(dim1=1, dim2=2).log().sum(1)
        found = []
        for some in points.double().split(max(_NUMBERS // (p * rank), 1)):
            apart = torch.einsum("kij,nkj->nki", inverses, some.unsqueeze(1) - self.means)
            found.append((heights - apart.square().sum(dim=2) / 2).logsumexp(dim=1))
        return torch.cat(found).mean().item() - math.log(len(self.part))


def _cut(points: Tensor, generator: Generator) -> _Cut:
    """Points (n, r) in 1, 2, 4, ... parts: so many that points held out are likeliest.

    A fifth is held out, _HELD_OUT at most; the first number after which the likelihood falls is
    taken, and all points are cut so.
    """
    n, rank = points.shape
    most = max(min(MOST_PARTS, n // CODES_PER_PART, _NUMBERS // rank**2), 1)
    chosen, best = 1, -math.inf
    if most > 1:
        order = torch.randperm(n, generator=generator)
        held_out, rest = order.tensor_split([min(n // 5, _HELD_OUT)])
        parts = 1
        while parts <= most:
            found = _cut_into(parts, points[rest], generator).mean_log_likelihood(points[held_out])
            if found <= best:
                break
            chosen, best, parts = parts, found, 2 * parts
    return _cut_into(chosen, points, generator)


def _cut_into(parts: int, points: Tensor, generator: Generator) -> _Cut:
    """Points (n, r) in so many parts by k-means (Lloyd 1982); fewer, if some come out empty."""
    n, rank = points.shape
    centres = points[torch.randperm(n, generator=generator)[:parts]]
    part = torch.zeros(n, dtype=torch.long)
    for _ in range(_ROUNDS if parts > 1 else 0):
        part = torch.cat(
            [torch.cdist(some, centres).argmin(dim=1) for some in points.split(_AT_ONCE)]
        )
        counts = part.bincount(minlength=parts).unsqueeze(1)
        sums = torch.zeros_like(centres).index_add_(0, part, points)
        centres = torch.where(counts > 0, sums / counts.clamp_min(1), centres)
    part = part.unique(return_inverse=True)[1]
    counts = part.bincount().double()
    means = torch.zeros((len(counts), rank), dtype=torch.float64)
    means = means.index_add_(0, part, points.double()) / counts.unsqueeze(1)
    apart = points.double() - means[part]
    products = torch.zeros((len(counts), rank, rank), dtype=torch.float64)
    for i in range(len(counts)):
        own = apart[part == i]
        products[i] = own.T @ own
    within = products.sum(dim=0) / n
    floor = FLOOR * torch.eye(rank, dtype=torch.float64)
    covariances = (products + PRIOR * within) / (counts + PRIOR)[:, None, None] + floor
    return _Cut(part, means, covariances)


def _roots(covariances: Tensor) -> Tensor:
    """The symmetric square roots of covariances (p, r, r)."""
    values, vectors = torch.linalg.eigh(covariances)
    return (vectors * values.clamp_min(0).sqrt().unsqueeze(1)) @ vectors.mT


def _train(network: _Network, points: Tensor, centres: Tensor, generator: Generator) -> None:
    """Train F on points (N, r) of parts with these centres (N, r); the network is left with the
    moving average of its weights."""
    flat = FlatParameters(network)
    optimizer = Adam(flat.vector, flat.gradient)
    average = flat.vector.clone()
    steps = steps_for(len(points), network.products)
    for step in range(steps):
        chosen = torch.randint(len(points), (BATCH,), generator=generator)
        noise = torch.randn((BATCH, network.rank), generator=generator)
        # One time in each of BATCH equal parts of [0, 1]: their mean loss varies less.
        t = (torch.arange(BATCH) + torch.rand(BATCH, generator=generator)) / BATCH
        loss = network.loss(points[chosen], noise, t.unsqueeze(1), centres[chosen])
        gradients = torch.autograd.grad(loss, flat.ordered)
        torch.cat([gradient.flatten() for gradient in gradients], out=flat.gradient)
        optimizer.step(LR * _schedule(step, steps))
        average.lerp_(flat.vector, 1 - min(EMA, (step + 1) / (step + 10)))
    flat.vector.copy_(average)
    network.requires_grad_(False)


def _schedule(step: int, steps: int) -> float:
    """Share of the highest learning rate: a rise over WARMUP of the steps, then a line to 0."""
    return min((step + 1) / (WARMUP * steps), 1) * (1 - step / steps)


def _flow_of(tensors: Mapping[str, Tensor]) -> Flow:
    """The flow whose `tensors` these are. Raises LookupError, ValueError or RuntimeError."""
    whitening = Whitening(tensors["mean"], tensors["matrix"])
    parts = Parts(whitening, *(tensors[name] for name in ("classes", "counts", "means", "roots")))
    p, rank = parts.means.shape
    shapes = [(p,), (p,), (p, rank), (p, rank, rank)]
    found = [tuple(parts.tensors()[n].shape) for n in ("classes", "counts", "means", "roots")]
    if found != shapes or whitening.matrix.shape[1:] != (rank,):
        raise ValueError(f"its tensors have the shapes {found}")
    with torch.random.fork_rng(devices=[]):
        network = _Network(rank)
    state = {k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")}
    network.load_state_dict(state)
    return Flow(parts, network.requires_grad_(False))
