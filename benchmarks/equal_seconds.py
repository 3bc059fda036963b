"""`python -m benchmarks.equal_seconds`: networks that train for the same seconds on MNIST, and
their errors.

The time of a step is measured first, and the schedule made as long as the budget allows; seconds
are those that the training then took. One training at a time, each in this process. Errors of the
validation split decide what is shipped, those of the test set are reported.
"""

import argparse
import json
import math
import statistics
import time
from typing import Any

import torch

from aecli import codecs
from aecli.codecs.settings import CODECS
from aecli.config import DataConfig, FitConfig
from aecli.data import datasets, sources
from aecli.data.images import Images
from aecli.fields import CodecSection
from aecli.measure import metrics
from aecli.training import device
from aecli.training.loop import Training

_WARM_UP, _TIMED = 4, 24  # steps


def main() -> None:
    """Read the command line, train, print a line of JSON for each training."""
    options = _options()
    data = DataConfig(dataset="mnist", val=0 if options.all_images else None)
    images = datasets.load(data, sources.default_places(), say=lambda _: None)
    codec = CODECS[options.codec](
        name=options.codec, code_dim=options.code_dim, **_values(options.codec_set)
    )
    for seconds in options.seconds:
        for seed in options.seeds:
            print(json.dumps(trained(codec, images, seconds, seed, options)), flush=True)


def trained(
    settings: CodecSection, images: Images, budget: float, seed: int, options: argparse.Namespace
) -> dict[str, Any]:
    """Errors of a network that was trained for about `budget` seconds, and what it took."""
    values = _values(options.train_set)
    config = FitConfig(**values)
    device.seed_and_limit(seed, options.threads)
    step = _seconds_of_a_step(settings, images, config)
    steps = max(int(budget / step), 1)
    total = len(images.train)
    epochs = math.ceil(steps * config.batch_size / total)
    train = images.train.first(min(total, round(steps * config.batch_size / epochs)))
    device.seed_and_limit(seed, options.threads)
    codec = codecs.build(settings, images.shape)
    order = torch.Generator().manual_seed(seed)
    training = Training(codec, train, images.val, FitConfig(**values, epochs=epochs), order)
    seconds = 0.0
    while not training.is_done:
        training.take_step()
        if training.is_epoch_over:
            record = training.end_epoch()
            seconds += record.seconds
    return {
        "codec": options.codec,
        **_values(options.codec_set),
        "code_dim": settings.code_dim,
        "budget": budget,
        "seed": seed,
        "seconds": round(seconds, 1),
        "ms of a step": round(1000 * step, 1),
        "epochs": epochs,
        "images": len(train),
        "parameters": codec.count_parameters(),
        "train_mse": record.train_mse,
        "val_mse": record.val_mse,
        "test_mse": metrics.mse(codec, images.test),
    }


def _seconds_of_a_step(settings: CodecSection, images: Images, config: FitConfig) -> float:
    """The median over some steps after the first ones."""
    codec = codecs.build(settings, images.shape)
    order = torch.Generator().manual_seed(0)
    part = images.train.first((_WARM_UP + _TIMED) * config.batch_size)
    training = Training(codec, part, images.train.first(0), config, order)
    taken = []
    for _ in range(_WARM_UP + _TIMED):
        started = time.perf_counter()
        training.take_step()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken[_WARM_UP:])


def _values(pairs: list[str]) -> dict[str, Any]:
    return {key: json.loads(value) for key, value in (pair.split("=", 1) for pair in pairs)}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks.equal_seconds", description=__doc__)
    add = parser.add_argument
    add("--seconds", type=float, nargs="+", default=[15, 60], help="of training (default: 15 60)")
    add("--seeds", type=int, nargs="+", default=[0, 1, 2], help="(default: 0 1 2)")
    add("--threads", type=int, default=2, help="(default: 2)")
    add("--codec", choices=("mlp", "conv"), default="conv", help="(default: conv)")
    add("--code-dim", type=int, default=32, help="(default: 32)")
    add("--codec-set", nargs="*", default=[], metavar="KEY=JSON", help="its settings, as width=32")
    add("--train-set", nargs="*", default=[], metavar="KEY=JSON", help="as batch_size=64")
    add("--all-images", action="store_true", help="train on the validation images too")
    return parser.parse_args()


if __name__ == "__main__":
    main()
