"""`torch.compile` on the CPU: milliseconds of a step of aecli's, of a plain loop over the same
network, and of that loop compiled, in turns.

    python -m benchmarks.compiled --threads 2
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

from aecli import codecs
from aecli.codecs.base import Codec
from aecli.config import AdamConfig, CodecConfig, ConvConfig, FitConfig, MlpConfig
from aecli.data.images import InMemory
from aecli.training import device
from aecli.training.loop import Training

CODECS: dict[str, CodecConfig] = {"mlp": MlpConfig(), "conv": ConvConfig(code_dim=32)}
_ROUNDS, _STEPS = 9, 20
_IMAGES, _BATCH = 20_000, 256


def main() -> None:
    """Read the command line, measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    device.seed_and_limit(0, options.threads)
    pixels = torch.randint(0, 256, (_IMAGES, 1, 28, 28), dtype=torch.uint8)
    print("| codec | aecli, Adam | plain loop | plain loop, compiled | seconds to compile |")
    print("|---|---|---|---|---|")
    for name, config in CODECS.items():
        steps = {"aecli": _own(config, pixels)}
        steps |= {
            kind: _plain(config, pixels, kind == "compiled") for kind in ("eager", "compiled")
        }
        started = time.perf_counter()
        steps["compiled"]()
        compiling = time.perf_counter() - started
        seconds: dict[str, list[float]] = {kind: [] for kind in steps}
        for turn in range(_ROUNDS + 1):
            for kind, step in steps.items():
                started = time.perf_counter()
                for _ in range(_STEPS):
                    step()
                if turn:  # the first one warms up
                    seconds[kind].append((time.perf_counter() - started) / _STEPS)
        ms = [f"{1000 * statistics.median(each):.2f} ms" for each in seconds.values()]
        print(f"| {name} | {' | '.join(ms)} | {compiling:.0f} |", flush=True)


def _own(config: CodecConfig, pixels: torch.Tensor) -> Callable[[], None]:
    """A step of aecli's own."""
    source = InMemory(pixels)
    fit = FitConfig(
        epochs=100, batch_size=_BATCH, optimizer=AdamConfig(), schedule="constant", precision="fp32"
    )
    order = torch.Generator().manual_seed(0)
    training = Training(
        codecs.build(config, (1, 28, 28)), source, source.first(0), fit, order, False
    )

    def step() -> None:
        training.take_step()
        if training.is_epoch_over:
            training.end_epoch()

    return step


def _plain(config: CodecConfig, pixels: torch.Tensor, compiled: bool) -> Callable[[], None]:
    """A step as a user would write it, images in memory."""
    codec: Codec = codecs.build(config, (1, 28, 28))
    forward = torch.compile(codec) if compiled else codec
    optimizer = torch.optim.Adam(codec.parameters(), lr=1e-3, fused=True)

    def step() -> None:
        images = pixels[torch.randint(0, _IMAGES, (_BATCH,))].float().div_(255)
        optimizer.zero_grad()
        F.mse_loss(forward(images), images).backward()
        optimizer.step()

    return step


if __name__ == "__main__":
    main()
