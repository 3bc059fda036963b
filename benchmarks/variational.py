"""`python -m benchmarks.variational`: a variational codec's epoch beside the plain one's.

Both train on MNIST in one process, by the same recipe, and take turns, an epoch each; the ratio is
that of the medians. Noise, the bound's terms and their gradients are in it; the look at the
validation images after an epoch is not.
"""

import argparse
import json
import statistics
import time
from typing import Any

import torch

from aecli import codecs
from aecli.config import DataConfig, ElboLoss, FitConfig, MlpConfig, MseLoss
from aecli.data import datasets, sources
from aecli.data.images import Images
from aecli.training import device
from aecli.training.loop import Training

RECIPES = {"default": FitConfig(), "chapter, fp32": FitConfig(recipe="chapter")}


def main() -> None:
    """Read the command line, measure, print a JSON object."""
    parser = argparse.ArgumentParser("python -m benchmarks.variational", description=__doc__)
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: 2)")
    parser.add_argument("--epochs", type=int, default=7, help="epochs of each (default: 7)")
    options = parser.parse_args()
    device.seed_and_limit(0, options.threads)
    images = datasets.load(DataConfig(dataset="mnist"), sources.default_places(), lambda _: None)
    found = {name: beside(recipe, images, options.epochs) for name, recipe in RECIPES.items()}
    print(json.dumps({"threads": options.threads} | found, indent=2))


def beside(recipe: FitConfig, images: Images, epochs: int) -> dict[str, Any]:
    """Seconds of an epoch of each, medians, and their ratio; the first epochs warm up."""
    losses = {False: MseLoss(), True: ElboLoss()}
    seconds: dict[bool, list[float]] = {False: [], True: []}
    trainings = {}
    for variational, loss in losses.items():
        codec = codecs.build(MlpConfig(variational=variational), images.shape)
        fit = recipe.model_copy(update={"loss": loss, "epochs": epochs + 1})
        order = torch.Generator().manual_seed(0)
        trainings[variational] = Training(codec, images.train, images.val.first(0), fit, order)
    for _ in range(epochs + 1):
        for variational, training in trainings.items():
            started = time.perf_counter()
            while not training.is_epoch_over:
                training.take_step()
            seconds[variational].append(time.perf_counter() - started)
            training.end_epoch()
    plain, other = (statistics.median(seconds[which][1:]) for which in (False, True))
    pairs = zip(seconds[True][1:], seconds[False][1:], strict=True)
    ratios = sorted(a / b for a, b in pairs)
    return {
        "seconds of a plain epoch": plain,
        "seconds of a variational epoch": other,
        "ratio": other / plain,
        "ratios, lowest and highest": [ratios[0], ratios[-1]],
    }


if __name__ == "__main__":
    main()
