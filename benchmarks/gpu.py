"""`python -m benchmarks.gpu`: a training step on a GPU, beside its floor and a plain loop.

The floor is the time of a step's products and convolutions alone, forward and both gradients, on
operands that lie ready, launched at once from a CUDA graph, in the quicker memory layout. The plain
loop is the one that everybody writes: images on the GPU, autocast, torch's fused Adam. Blocks of
steps take turns in one process; medians of microseconds. `--device cpu` is a look at the program.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from aecli import codecs
from aecli.codecs.grid_settings import DcConfig
from aecli.config import CodecConfig, ConvConfig, FitConfig, MlpConfig
from aecli.config.sections import Precision
from aecli.data.images import ImageShape, InMemory
from aecli.training import device, work
from aecli.training.loop import Training
from benchmarks.convolutions import LAYOUTS, floor

NETS: dict[str, tuple[CodecConfig, ImageShape, int]] = {
    "mlp 256": (MlpConfig(), (1, 28, 28), 256),
    "mlp 4096": (MlpConfig(), (1, 28, 28), 4096),
    "conv 128": (ConvConfig(), (1, 28, 28), 128),
    "dc f32 16": (DcConfig(code_dim=256, downsampling=32, width=8), (3, 128, 128), 16),
}
BLOCK = 10  # whole batches of each contender in turn
DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}
Steps = Callable[[], Any]


def main() -> None:
    """Read the command line, measure, print a line for each net and precision."""
    parser = argparse.ArgumentParser("python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--device", default="cuda", help="cuda or cpu (default: cuda)")
    parser.add_argument("--blocks", type=int, default=15, help="blocks of each (default: 15)")
    options = parser.parse_args()
    where = torch.device(options.device)
    device.seed_and_limit(0, 1)
    if where.type == "cuda":
        print(json.dumps({"gpu": torch.cuda.get_device_name(), "torch": torch.__version__}))
    for name, (settings, shape, batch) in NETS.items():
        for precision in DTYPES:
            found = beside_floor(settings, shape, batch, precision, where, options.blocks)
            print(json.dumps({"net": name, "precision": precision, **found}), flush=True)


def beside_floor(
    settings: CodecConfig,
    shape: ImageShape,
    batch: int,
    precision: Precision,
    where: torch.device,
    blocks: int,
) -> dict[str, float]:
    """Microseconds of a step of each contender, medians over blocks."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand((BLOCK * batch, shape[0], 4, 4), generator=generator)
    pixels = F.interpolate(coarse, shape[1:], mode="bilinear").mul(255).to(torch.uint8)
    images = InMemory(pixels)
    made = settings, shape, where
    contenders: dict[str, Steps] = {
        "floor": _floor(made, batch, DTYPES[precision]),
        "plain": _plain_loop(made, pixels.to(where), batch, DTYPES[precision]),
        "chapter": _aecli(made, images, batch, blocks, precision, "chapter"),
        "chapter, no graph": _aecli(made, images, batch, blocks, precision, "chapter", False),
        "muon": _aecli(made, images, batch, blocks, precision, "muon"),
        "muon, no graph": _aecli(made, images, batch, blocks, precision, "muon", False),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for block in range(blocks + 2):
        for name, steps in contenders.items():
            _wait(where)
            started = time.perf_counter()
            steps()
            _wait(where)
            if block > 1:  # the first ones warm up, and record
                seconds[name].append((time.perf_counter() - started) / BLOCK)
    return {name: round(1e6 * statistics.median(values), 1) for name, values in seconds.items()}


def _wait(where: torch.device) -> None:
    if where.type == "cuda":
        torch.cuda.synchronize()


Made = tuple[CodecConfig, ImageShape, torch.device]


def _build(made: Made) -> Any:
    settings, shape, where = made
    return codecs.build(settings, shape).to(where)


def _floor(made: Made, batch: int, dtype: torch.dtype) -> Steps:
    """A function that does the floor of a block of steps, in the quicker layout."""
    codec = _build(made)
    found: dict[str, tuple[float, Steps]] = {}
    for name, layout in LAYOUTS.items():
        once = floor(codec, batch, layout, dtype)
        run = _replayed(once) if made[2].type == "cuda" else once
        run()
        _wait(made[2])
        started = time.perf_counter()
        for _ in range(BLOCK):
            run()
        _wait(made[2])
        found[name] = time.perf_counter() - started, run
    _, best = min(found.values(), key=lambda timed: timed[0])
    return lambda: [best() for _ in range(BLOCK)]


def _replayed(once: Steps) -> Steps:
    """The same kernels from a graph."""
    for _ in range(3):
        once()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        once()
    return partial(_replay, graph, once)


def _replay(graph: torch.cuda.CUDAGraph, once: Steps) -> None:
    """Launch a graph; `once` holds the operands that it reads and writes."""
    graph.replay()


def _aecli(
    made: Made,
    images: InMemory,
    batch: int,
    blocks: int,
    precision: Precision,
    recipe: str,
    graph: bool = True,
) -> Steps:
    """A function that takes a block's steps, by aecli's training."""
    config = FitConfig(
        recipe=recipe, precision=precision, batch_size=batch, epochs=blocks + 2, warmup=0.0
    )
    codec, order = _build(made), torch.Generator().manual_seed(0)
    before = work.STEPS_BEFORE_RECORDING

    def steps() -> None:
        work.STEPS_BEFORE_RECORDING = before if graph else 10**9
        for _ in range(BLOCK):
            training.take_step()
        work.STEPS_BEFORE_RECORDING = before
        training._batches = None  # the epoch ends without its validation

    training = Training(codec, images, images.first(1), config, order)
    return steps


def _plain_loop(made: Made, images: Tensor, batch: int, dtype: torch.dtype) -> Steps:
    """A function that takes a block's steps by a plain loop."""
    codec, where = _build(made), made[2]
    optimizer = torch.optim.Adam(codec.parameters(), lr=1e-3, fused=True)
    codec.train()

    def steps() -> None:
        order = torch.randperm(len(images), device=where)
        for chosen in order.split(batch):
            seen = images[chosen].float() / 255
            optimizer.zero_grad()
            with torch.autocast(where.type, dtype, enabled=dtype is not torch.float32):
                loss = F.mse_loss(codec(seen), seen)
            loss.backward()
            optimizer.step()

    return steps


if __name__ == "__main__":
    main()
