"""The floor: the matrix products of one epoch of the chapter's net, and nothing else."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.clock import Clock
from benchmarks.images import load
from benchmarks.task import Task

WIDTHS = (784, 256, 64, 32, 64, 256, 784)
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Product:
    """`left` (m, k) times `right` (k, n), written into `out` (m, n)."""

    out: Tensor
    left: Tensor
    right: Tensor

    @property
    def flops(self) -> int:
        """Multiplications and additions."""
        return 2 * self.left.shape[0] * self.left.shape[1] * self.right.shape[1]

    def run(self) -> None:
        torch.mm(self.left, self.right, out=self.out)


def products(batch_size: int, dtype: torch.dtype) -> list[Product]:
    """The products of one step, in a step's order: forward, then backward.

    Per layer the output, the weights' gradient and the input's gradient, the last but for the
    first layer. Every operand and result has memory of its own, laid out as in `nn.Linear`.
    """
    generator = torch.Generator().manual_seed(0)

    def matrix(rows: int, columns: int) -> Tensor:
        return (0.05 * torch.randn(rows, columns, generator=generator)).to(dtype)

    activations = [matrix(batch_size, width) for width in WIDTHS]
    gradients = [matrix(batch_size, width) for width in WIDTHS]
    weights = [matrix(outputs, inputs) for inputs, outputs in itertools.pairwise(WIDTHS)]
    weight_gradients = [torch.empty_like(weight) for weight in weights]

    forward = [
        Product(activations[i + 1], activations[i], weight.t()) for i, weight in enumerate(weights)
    ]
    backward: list[Product] = []
    for i in reversed(range(len(weights))):
        backward.append(Product(weight_gradients[i], gradients[i + 1].t(), activations[i]))
        if i > 0:
            backward.append(Product(gradients[i], gradients[i + 1], weights[i]))
    return forward + backward


def epoch(n_images: int, batch_size: int, dtype: torch.dtype) -> Callable[[], None]:
    """A function that does the products of one epoch over so many images."""
    full, rest = divmod(n_images, batch_size)
    step = products(batch_size, dtype)
    last_step = products(rest, dtype) if rest else []

    def run() -> None:
        for _ in range(full):
            for product in step:
                product.run()
        for product in last_step:
            product.run()

    return run


def train(task: Task, clock: Clock) -> None:
    """Do epochs of products over as many images as there are; settings: batch_size, precision."""
    batch_size, dtype = task.settings["batch_size"], _DTYPES[task.settings["precision"]]
    run = epoch(len(load(task.data, "train")), batch_size, dtype)
    clock.start(lambda images: images)
    while True:
        run()
        clock.epoch()
