"""Muon's step on the matrices of the chapter's net, by the rows of its blocks and by the way that
these go: milliseconds in fp32, in turns.

    python -m benchmarks.muon --threads 2
"""

import argparse
import statistics
import time
from functools import partial

import torch

from aecli import codecs
from aecli.config import MlpConfig
from aecli.training import device
from aecli.training.optimizers import Muon, orthogonalized, orthogonalized_by_gram
from aecli.training.parameters import FlatParameters

ROWS = (256, 128, 64, 32)
_ROUNDS, _STEPS = 15, 5


def main() -> None:
    """Read the command line, measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    device.seed_and_limit(0, parser.parse_args().threads)
    steps = {(rows, by_gram): _muon(rows, by_gram) for rows in ROWS for by_gram in (False, True)}
    seconds: dict[tuple[int, bool], list[float]] = {which: [] for which in steps}
    for turn in range(_ROUNDS + 1):
        for which, muon in steps.items():
            started = time.perf_counter()
            for _ in range(_STEPS):
                muon.step(0.025)
            if turn:  # the first one warms up
                seconds[which].append((time.perf_counter() - started) / _STEPS)
    ms = {which: f"{1000 * statistics.median(each):.1f} ms" for which, each in seconds.items()}
    print("| rows of a block, at most | each by itself | by its Gram matrix |")
    print("|---|---|---|")
    for rows in ROWS:
        print(f"| {rows} | {ms[rows, False]} | {ms[rows, True]} |")


def _muon(rows: int, by_gram: bool) -> Muon:
    """Muon on the weight matrices, with a gradient of random numbers."""
    parameters = FlatParameters(codecs.build(MlpConfig(), (1, 28, 28)))
    n = sum(shape.numel() for shape in parameters.matrices)
    gradient = 1e-3 * torch.randn(n)
    muon = Muon(parameters.vector[:n], gradient, parameters.matrices, 0.95, rows, torch.float32)
    plain = partial(orthogonalized, dtype=torch.float32)
    muon.orthogonalize = lambda blocks, are_cut: (
        orthogonalized_by_gram(blocks) if by_gram else plain(blocks)
    )
    return muon


if __name__ == "__main__":
    main()
