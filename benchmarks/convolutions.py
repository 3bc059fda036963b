"""`python -m benchmarks.convolutions`: the convolutional codec's step beside its floor, and its
time to a test error beside other trainers of the same net.

The floor is the time of a step's convolutions and products alone, forward and both gradients, on
operands that lie ready, in the quicker of the two memory layouts and in the training's precision.
Blocks of training steps and of floors take turns in one process; ratios are of medians. A trainer
has a process of its own, and the clock stands still while it is judged.
"""

import argparse
import contextlib
import itertools
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aecli import codecs
from aecli.codecs.base import Codec
from aecli.config import ConvConfig, DataConfig, FitConfig
from aecli.data import datasets, sources
from aecli.data.images import Images, ImageShape, InMemory
from aecli.training import device
from aecli.training.loop import Training
from benchmarks.clock import STEPS_BETWEEN_LOOKS, Clock, Enough, QualityClock
from benchmarks.loops import of_flat, train_by_pythae

BLOCK = 8  # steps, then as many floors
SHAPES: dict[str, tuple[ImageShape, int]] = {
    "28x28x1": ((1, 28, 28), 128),
    "64x64x3": ((3, 64, 64), 64),
}
TRAINERS = ("aecli", "eager", "pythae")
PEER_BATCH = 128
LAYOUTS = {"channels first": torch.contiguous_format, "channels last": torch.channels_last}


def main() -> None:
    """Read the command line, measure, print a JSON object."""
    options = _options()
    if options.trainer:
        print(json.dumps(train(options.trainer, options)))
        return
    found: dict[str, Any] = {"threads": options.threads}
    for name, (shape, batch) in SHAPES.items():
        if options.blocks:
            found[name] = step_beside_floor(shape, batch, options)
    for trainer in TRAINERS if options.budget else ():
        found[trainer] = [_in_a_process(trainer, seed, options) for seed in range(options.repeats)]
    print(json.dumps(found, indent=2))


def step_beside_floor(shape: ImageShape, batch: int, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of a training step and of its floor, medians over blocks that take turns."""
    device.seed_and_limit(0, options.threads)
    codec = codecs.build(ConvConfig(), shape)
    pixels = torch.rand((BLOCK * batch, *shape), generator=torch.Generator().manual_seed(0))
    images = InMemory(pixels)
    config = FitConfig(batch_size=batch, epochs=2 * options.blocks)
    floors = {name: floor(codec, batch, layout) for name, layout in LAYOUTS.items()}
    training = Training(codec, images, images.first(1), config, torch.Generator().manual_seed(0))
    seconds: dict[str, list[float]] = {"step": [], **{name: [] for name in floors}}

    def steps() -> None:
        for _ in range(BLOCK):
            training.take_step()

    for block in range(options.blocks + 1):
        for name, work in (("step", steps), *floors.items()):
            started = time.perf_counter()
            for _ in range(1 if name == "step" else BLOCK):
                work()
            if block:  # the first one warms up
                seconds[name].append((time.perf_counter() - started) / BLOCK)
        training.end_epoch()
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    lowest = min(medians[name] for name in floors)
    ratios = sorted(
        step / min(values)
        for step, *values in zip(seconds["step"], *(seconds[name] for name in floors), strict=True)
    )
    return {
        "batch": batch,
        "seconds of a step": medians["step"],
        **{f"seconds of the floor, {name}": medians[name] for name in floors},
        "ratio": medians["step"] / lowest,
        "ratios, lowest and highest": [ratios[0], ratios[-1]],
        "parameters": codec.count_parameters(),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def floor(
    codec: Codec, batch: int, layout: torch.memory_format, dtype: torch.dtype = torch.float32
) -> Callable[[], None]:
    """A function that does the convolutions and products of one step of a codec, forward and both
    gradients, but for the images' own, on the codec's device."""
    work: list[Callable[[], Any]] = []

    def like(tensor: Tensor) -> Tensor:
        return torch.rand_like(tensor, dtype=dtype)

    def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        wanted = [bool(work), True, True]  # the first layer's inputs are images
        if isinstance(module, nn.Conv2d):
            x, weight = like(inputs[0]), module.weight.detach().to(dtype, copy=True)
            x, weight = (t.contiguous(memory_format=layout) for t in (x, weight))
            y = like(output).contiguous(memory_format=layout)
            bias, groups = like(weight[:, 0, 0, 0]), module.groups
            assert not isinstance(module.padding, str)
            padding, stride = list(module.padding), list(module.stride)
            work.append(lambda: F.conv2d(x, weight, bias, stride, padding, groups=groups))
            tail = (stride, padding, [1, 1], False, [0, 0], groups, wanted)
            backward = torch.ops.aten.convolution_backward
            work.append(lambda: backward(y, x, weight, [len(weight)], *tail))
        elif isinstance(module, nn.Linear):
            x, y = (like(each.flatten(end_dim=-2)) for each in (inputs[0], output))
            weight = module.weight.detach().to(dtype, copy=True)
            outs = torch.empty_like(y), torch.empty_like(x), torch.empty_like(weight)
            work.append(lambda: torch.mm(x, weight.T, out=outs[0]))
            work.append(lambda: torch.mm(y, weight, out=outs[1]))
            work.append(lambda: torch.mm(y.T, x, out=outs[2]))

    hooks = [m.register_forward_hook(add) for m in codec.modules()]
    with torch.no_grad():
        codec(torch.rand(batch, *codec.image_shape, device=codec.device))
    for hook in hooks:
        hook.remove()

    def run() -> None:
        with torch.no_grad():
            for each in work:
                each()

    return run


def train(trainer: str, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds until each target, by one trainer, on MNIST; None where the budget ended first."""
    config = DataConfig(dataset="mnist", val=0)
    images = datasets.load(config, sources.default_places(), say=lambda _: None)
    device.seed_and_limit(options.seed, options.threads)
    codec = codecs.build(ConvConfig(), images.shape)
    codec.begin(images.train)  # as aecli's training does: the peers are to have the same net
    test = images.test.all().images.flatten(start_dim=1).numpy()
    clock = QualityClock(options.targets, test, options.budget)
    with contextlib.suppress(Enough):
        {"aecli": _aecli, "eager": _eager, "pythae": _pythae}[trainer](
            codec, images, clock, options
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seed": options.seed, **clock.values(), "peak_mib": peak}


def _aecli(codec: Codec, images: Images, clock: Clock, options: argparse.Namespace) -> None:
    """aecli's own training, with a schedule of as many epochs as are asked for."""
    config = FitConfig(batch_size=PEER_BATCH, epochs=options.epochs)
    order = torch.Generator().manual_seed(options.seed)
    clock.start(of_flat(codec, images.shape))
    training = Training(codec, images.train, images.train.first(0), config, order)
    while not training.is_done:
        training.take_step()
        if training.progress is not None:
            clock.step()
        if training.is_epoch_over:
            training.end_epoch()


def _eager(codec: Codec, images: Images, clock: Clock, options: argparse.Namespace) -> None:
    """The loop that everybody writes: shuffled batches of a tensor, Adam at 0.001."""
    pixels = images.train.all().images
    optimizer = torch.optim.Adam(codec.parameters(), lr=1e-3)
    steps = itertools.count(1)
    clock.start(of_flat(codec, images.shape))
    while True:
        for chosen in torch.randperm(len(pixels)).split(PEER_BATCH):
            batch = pixels[chosen]
            loss = F.mse_loss(codec(batch), batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if next(steps) % STEPS_BETWEEN_LOOKS == 0:
                clock.step()


def _pythae(codec: Codec, images: Images, clock: Clock, options: argparse.Namespace) -> None:
    """pythae's trainer, over a tensor, Adam at 0.001."""
    pixels, parts = images.train.all().images, (codec, codec.encode, codec.decode)
    train_by_pythae(*parts, pixels, codec.code_dim, PEER_BATCH, options.seed, clock)


def _in_a_process(trainer: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.convolutions", "--trainer", trainer]
    for name in ("threads", "epochs", "budget"):
        command += [f"--{name}", str(getattr(options, name))]
    command += ["--seed", str(seed), "--targets", *map(str, options.targets)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"seed": seed, "failed": done.stderr.splitlines()[-1:]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks.convolutions", description=__doc__)
    add = parser.add_argument
    add("--threads", type=int, default=2, help="threads of every process (default: 2)")
    add("--blocks", type=int, default=15, help="blocks of 8 steps and floors (default: 15)")
    add("--repeats", type=int, default=3, help="trainings of each trainer (default: 3)")
    add("--budget", type=float, default=300, help="seconds of each (default: 300; 0: none)")
    add("--epochs", type=int, default=1, help="length of aecli's schedule (default: 1)")
    add("--targets", type=float, nargs="+", default=[0.0168, 0.008, 0.006], help="test errors")
    add("--trainer", choices=TRAINERS, help=argparse.SUPPRESS)
    add("--seed", type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
