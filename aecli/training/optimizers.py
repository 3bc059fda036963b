"""Adam and Muon on flat vectors: few, large operations, and a state that is a few plain tensors.

torch's own give the same steps (a test holds them against each other), but importing them costs
more than a second, and they step the matrices of a small network one at a time.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

# The composition of odd quintics that comes nearest to the sign function on [0.001, 1] (Amsel,
# Persson, Musco & Gower, "The Polar Express", 2025, algorithm 1). Four of these leave an error as
# low as the five equal steps of torch.optim.Muon; measured in benchmarks/README.md.
POLAR_EXPRESS = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
)
_BY_GRAM = 64  # most rows of a block that goes by its Gram matrix; see Muon
_SAFETY = 1.01  # bfloat16 may push a singular value above 1, from where the quintics diverge


class Optimizer(ABC):
    """Steps a part of a flat parameter vector by the same part of its gradient, in place."""

    def __init__(self, parameters: Tensor, gradient: Tensor) -> None:
        self._parameters = parameters
        self._gradient = gradient

    @abstractmethod
    def step(self, lr: float | Tensor) -> None:
        """One step at this learning rate; a scalar on the parameters' device, if it is a tensor."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """The tensors themselves that the next step depends on, besides parameters and gradient."""


class Adam(Optimizer):
    """Kingma & Ba, "Adam: A method for stochastic optimization", ICLR 2015, algorithm 1."""

    def __init__(self, parameters: Tensor, gradient: Tensor) -> None:
        super().__init__(parameters, gradient)
        self._mean = torch.zeros_like(parameters)
        self._square = torch.zeros_like(parameters)
        self._steps = torch.zeros((), device=parameters.device)

    @torch.no_grad()
    def step(self, lr: float | Tensor) -> None:
        self._steps += 1
        torch._fused_adam_(  # the kernel of torch.optim.Adam(fused=True): one pass over all
            [self._parameters],
            [self._gradient],
            [self._mean],
            [self._square],
            [],
            [self._steps],
            lr=lr,
            beta1=0.9,
            beta2=0.999,
            weight_decay=0.0,
            eps=1e-8,
            amsgrad=False,
            maximize=False,
        )

    def state(self) -> dict[str, Tensor]:
        return {"mean": self._mean, "square": self._square, "steps": self._steps}


class Muon(Optimizer):
    """Steps weight matrices by the nearest orthogonal matrix to their (Nesterov) momentum.

    Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024, with its rule
    for the rate of a matrix taller than wide. A network and its mirror image have matrices of the
    same two sides in pairs, which go through the iteration together.

    Not what the papers call Muon where a matrix's shorter side is over `block_rows`: it is cut into
    equal blocks of rows, each made orthogonal by itself, so that rows of two blocks need not be
    orthogonal to each other (as in Khaled et al., "MuonBP", 2025, between whole ones). Blocks of at
    most 64 rows go by their Gram matrices, `orthogonalized_by_gram`; whole matrices and larger
    blocks by `orthogonalized`, to the bits of former trainings.

    parameters, gradient: the matrices of `shapes`, one after the other, flat.
    block_rows: most rows of a block; see `_rows_of_a_block` for how many they are.
    dtype: type of the iteration, as `orthogonalized` takes it.
    """

    def __init__(
        self,
        parameters: Tensor,
        gradient: Tensor,
        shapes: Sequence[torch.Size],
        momentum: float,
        block_rows: int,
        dtype: torch.dtype,
    ) -> None:
        super().__init__(parameters, gradient)
        self._shapes = shapes
        self._beta = momentum
        self._block_rows = block_rows
        self._dtype = dtype
        self.orthogonalize: Callable[[Tensor, bool], Tensor] = self._orthogonalize
        """Function of all blocks from matrices of two sides, (m, rows, columns), and of whether
        these were cut."""
        self._momentum = torch.zeros_like(parameters)
        self._groups: dict[tuple[int, ...], list[int]] = {}
        for i, shape in enumerate(shapes):
            self._groups.setdefault(tuple(sorted(shape)), []).append(i)

    def step(self, lr: float | Tensor) -> None:
        self._momentum.lerp_(self._gradient, 1 - self._beta)
        nesterov = self._matrices(self._gradient.lerp(self._momentum, self._beta))
        weights = self._matrices(self._parameters)
        for group in self._groups.values():
            matrices = torch.stack([_short_side_first(nesterov[i]) for i in group])
            rows = _rows_of_a_block(matrices.shape[1], self._block_rows)
            are_cut = rows < matrices.shape[1]
            blocks = self.orthogonalize(matrices.view(-1, rows, matrices.shape[2]), are_cut)
            for i, direction in zip(group, blocks.view(matrices.shape), strict=True):
                rows, columns = weights[i].shape
                rate = lr * max(1, rows / columns) ** 0.5
                direction = direction if rows <= columns else direction.T
                if isinstance(rate, Tensor):
                    weights[i].sub_(direction.float() * rate)
                else:
                    weights[i].add_(direction, alpha=-rate)

    def state(self) -> dict[str, Tensor]:
        return {"momentum": self._momentum}

    def _orthogonalize(self, blocks: Tensor, are_cut: bool) -> Tensor:
        if are_cut and blocks.shape[1] <= _BY_GRAM:
            return orthogonalized_by_gram(blocks)
        return orthogonalized(blocks, self._dtype)

    def _matrices(self, vector: Tensor) -> list[Tensor]:
        parts = vector.split([shape.numel() for shape in self._shapes])
        return [part.view(shape) for part, shape in zip(parts, self._shapes, strict=True)]


def orthogonalized(matrices: Tensor, dtype: torch.dtype) -> Tensor:
    """About U V^T of each matrix U S V^T: singular values between 0.4 and 1.6.

    matrices: (m, rows, columns) with rows at most columns.
    dtype: type of the products; bfloat16 in the papers, float32 where the hardware lacks it: there
    bfloat16 takes 27 times as long for a whole step (two AVX2 cores, the chapter's network).
    """
    x = matrices.to(dtype)
    x = x / (x.norm(dim=(1, 2), keepdim=True) * _SAFETY**2).clamp(min=1e-7)
    for a, b, c in POLAR_EXPRESS:
        a, b, c = a / _SAFETY, b / _SAFETY**3, c / _SAFETY**5
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def orthogonalized_by_gram(matrices: Tensor) -> Tensor:
    """The same as by `orthogonalized` but for rounding, in less time where matrices are flat.

    Each quintic takes X to q(G) X, with G = X X^T; so the small q(G) are multiplied with each
    other, and X itself only twice, for the first G and at the end (Dao AI Lab, "Gram
    Newton-Schulz", 2026). In float32 whatever the training's precision is: the squares of singular
    values, which G has, are too wide a range for bfloat16.

    matrices: (m, rows, columns) with rows at most columns, float32.
    """
    gram = torch.bmm(matrices, matrices.mT)
    squares = gram.diagonal(dim1=1, dim2=2).sum(1).view(-1, 1, 1)
    scale = 1 / (squares.sqrt() * _SAFETY**2).clamp(min=1e-7)
    gram = gram * scale.square()
    factor = product = _factor(gram, *POLAR_EXPRESS[0])
    for quintic in POLAR_EXPRESS[1:]:
        gram = torch.bmm(torch.bmm(gram, factor), factor)
        factor = _factor(gram, *quintic)
        product = torch.bmm(factor, product)
    return torch.bmm(product * scale, matrices)


def _factor(gram: Tensor, a: float, b: float, c: float) -> Tensor:
    """The q(G) of a quintic, a I + b G + c G^2."""
    a, b, c = a / _SAFETY, b / _SAFETY**3, c / _SAFETY**5
    factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
    factor.diagonal(dim1=1, dim2=2).add_(a)
    return factor


def _rows_of_a_block(rows: int, most: int) -> int:
    """The most rows of equal blocks, `most` at most and over a quarter of that; all of them if no
    such number divides."""
    fitting = (size for size in range(min(rows, most), most // 4, -1) if rows % size == 0)
    return next(fitting, rows)


def _short_side_first(matrix: Tensor) -> Tensor:
    return matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
