"""`python -m benchmarks.grids`: a training step of the codecs `kl` and `dc` beside the same step of
a plain loop over diffusers' class, in either memory layout.

The loop is the one that everybody writes: the model's own encode and decode, the error, for `kl`
with its divergence, backward, Adam. Blocks of steps take turns in one process, all on the same
images in memory; ratios are of medians, to the quicker layout.
"""

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from aecli import codecs
from aecli.codecs.base import Codec
from aecli.codecs.grid_settings import BETA_OF_LATENT_DIFFUSION, DcConfig, KlConfig
from aecli.config import AdamConfig, CodecConfig, ElboLoss, FitConfig
from aecli.data.images import InMemory
from aecli.training import device
from aecli.training.loop import Training

BLOCK = 3  # steps of each contender in turn
SHAPE = (3, 128, 128)
LAYOUTS = {"channels first": torch.contiguous_format, "channels last": torch.channels_last}


def main() -> None:
    """Read the command line, measure, print a JSON object."""
    options = _options()
    found: dict[str, Any] = {"threads": options.threads, "batch": options.batch}
    for settings in (KlConfig, DcConfig):
        for factor in options.downsamplings:
            config = settings(code_dim=256, downsampling=factor, width=8)
            found[f"{config.name} f{factor}"] = beside_plain_loops(config, options)
    print(json.dumps(found, indent=2))


def beside_plain_loops(settings: CodecConfig, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of aecli's step, by Adam and by Muon, and of a plain loop's, medians over blocks."""
    device.seed_and_limit(0, options.threads)
    generator = torch.Generator().manual_seed(0)
    images = InMemory(torch.rand((BLOCK * options.batch, *SHAPE), generator=generator))
    contenders = {
        "adam": _aecli(settings, images, options, AdamConfig(lr=1e-3)),
        "muon": _aecli(settings, images, options),
        **{
            layout: _plain_loop(codecs.build(settings, SHAPE), images, options.batch, how)
            for layout, how in LAYOUTS.items()
        },
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for block in range(options.blocks + 1):
        for name, steps in contenders.items():
            started = time.perf_counter()
            steps()
            if block:  # the first one warms up
                seconds[name].append((time.perf_counter() - started) / BLOCK)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    plain = min(medians[layout] for layout in LAYOUTS)
    ratios = sorted(
        ours / min(theirs)
        for ours, *theirs in zip(seconds["adam"], *(seconds[n] for n in LAYOUTS), strict=True)
    )
    return {
        "seconds of a step": medians,
        "ratio by adam": medians["adam"] / plain,
        "ratios by adam, lowest and highest": [ratios[0], ratios[-1]],
        "ratio by muon": medians["muon"] / plain,
    }


def _aecli(
    settings: CodecConfig,
    images: InMemory,
    options: argparse.Namespace,
    optimizer: AdamConfig | None = None,
) -> Callable[[], None]:
    """A function that takes the steps of a block, by aecli's training."""
    changed: dict[str, Any] = {} if optimizer is None else {"optimizer": optimizer}
    if isinstance(settings, KlConfig):
        changed["loss"] = ElboLoss(beta=BETA_OF_LATENT_DIFFUSION)
    config = FitConfig(batch_size=options.batch, epochs=options.blocks + 1, **changed)
    codec = codecs.build(settings, SHAPE)
    order = torch.Generator().manual_seed(0)
    training = Training(codec, images, images.first(1), config, order)

    def steps() -> None:
        for _ in range(BLOCK):
            training.take_step()
        if training.is_epoch_over:
            training.end_epoch()

    return steps


def _plain_loop(
    codec: Codec, images: InMemory, batch: int, layout: torch.memory_format
) -> Callable[[], None]:
    """A function that takes the steps of a block, by a plain loop over the model of a codec."""
    model: Any = codec.model
    model.to(memory_format=layout).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    pixels = images.all().images

    def loss_of(seen: Tensor) -> Tensor:
        if codec.settings.name != "kl":
            return F.mse_loss(model.decode(model.encode(seen).latent).sample, seen)
        posterior = model.encode(seen).latent_dist
        error = F.mse_loss(model.decode(posterior.sample()).sample, seen)
        divergence = posterior.kl().mean() / math.prod(SHAPE)
        return error + BETA_OF_LATENT_DIFFUSION * divergence

    def steps() -> None:
        for chosen in torch.randperm(len(pixels)).split(batch):
            seen = (2 * pixels[chosen] - 1).contiguous(memory_format=layout)
            optimizer.zero_grad()
            loss_of(seen).backward()
            optimizer.step()

    return steps


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks.grids", description=__doc__)
    add = parser.add_argument
    add("--threads", type=int, default=2, help="threads (default: 2)")
    add("--blocks", type=int, default=7, help="blocks of 3 steps of each (default: 7)")
    add("--batch", type=int, default=16, help="images of a step (default: 16)")
    add("--downsamplings", type=int, nargs="+", default=[8, 32], help="factors (default: 8 32)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
