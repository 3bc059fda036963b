"""`python -m benchmarks.tile_search RUN`: are the tiles of a scene found again by changed copies?

RUN is a training on one scene, cut into overlapping tiles, some held out. Each held-out
tile is looked for among all tiles of the scene at the run's stride, by copies of it: the window 16
pixels beside it, 10% brighter; the tile mirrored; the tile turned by 10 degrees. It is found if it
is among the first five. PCA of as many numbers, and a thumbnail, are held against the codec.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aecli import codecs
from aecli.codecs.base import Codec
from aecli.codecs.principal import most_components
from aecli.config import PcaConfig, ThumbnailConfig
from aecli.data import datasets
from aecli.data.images import Batch, Source
from aecli.data.own.opened import ALL
from aecli.data.sources import default_places
from aecli.data.whole import open_every, whole_of
from aecli.errors import UsageError
from aecli.measure.robustness import brightened, rotated
from aecli.measure.views import View
from aecli.runs.run import Run

SHIFT = 16  # pixels, to the right or, at the right edge, to the left
FIRST = 5


class Scene:
    """Windows of the one scene that a run learned from."""

    def __init__(self, run: Run) -> None:
        """Raises DataError and UsageError."""
        self._config = run.config.data
        places = default_places(offline=True)
        self._opened = open_every(self._config, run.scale, places)
        if len(self._opened.items) != 1:
            raise UsageError(f"{self._config.dataset}: must be one scene")
        self.split = datasets.load(self._config, places, print, run.scale, for_model=True)
        whole = whole_of(self._opened, self._config, self._splits())
        self.tiles, self._windows = whole.source, self._opened.windows[ALL]

    def held_out(self) -> NDArray[np.int64]:
        """Indices among all tiles of those that are images of the test. A whole scene does not say
        which of its tiles are on which side, so that their pixels tell."""
        tested = {_content(one) for one in _each(self.split.test)}
        found = [i for i, one in enumerate(_each(self.tiles)) if _content(one) in tested]
        return np.array(found)

    def beside(self, indices: NDArray[np.int64]) -> Source:
        """The windows SHIFT pixels beside these tiles."""
        _, _, width = self._opened.items.shapes[0].tolist()
        moved = self._windows[indices].copy()
        tile = self._config.tile
        assert tile is not None
        fits = moved[:, 2] + SHIFT + tile <= width
        moved[:, 2] += np.where(fits, SHIFT, -SHIFT).astype(moved.dtype)
        placed = replace(self._opened, windows={ALL: moved}, labels=None)
        return whole_of(placed, self._config, self._splits()).source

    def _splits(self) -> NDArray[np.str_]:
        return np.array(self._opened.items.splits, dtype="<U5")


def main() -> None:
    """Read the command line, measure, print a JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    run = Run(parser.parse_args().run)
    scene, codec = Scene(run), run.codec
    indices = scene.held_out()
    own = scene.tiles.part(torch.from_numpy(indices))
    copies: dict[str, tuple[Source, Callable[[Batch], Batch]]] = {
        f"{SHIFT} pixels beside, 10% brighter": (scene.beside(indices), _brighter),
        "mirrored": (own, _mirrored),
        "turned by 10 degrees": (own, _turned),
    }
    found = {
        name: {
            how: _found(View.fitted(each, scene.tiles), indices, source, change)
            for how, (source, change) in copies.items()
        }
        for name, each in _contestants(codec, scene.split.train)
    }
    about = {"tiles": len(scene.tiles), "stride": run.config.data.stride, "held out": len(indices)}
    print(json.dumps(about | {f"among the first {FIRST}": found}, indent=2))


def _contestants(codec: Codec, train: Source) -> Iterator[tuple[str, Codec]]:
    yield f"{codec.settings.name}-{codec.code_dim}", codec
    most, _ = most_components(len(train), train.pixels)
    for settings in (
        PcaConfig(code_dim=min(codec.code_dim, most)),
        ThumbnailConfig(code_dim=codec.code_dim),
    ):
        solved = codecs.build(settings, train.shape)
        solved.solve(train)
        yield f"{settings.name}-{settings.code_dim}", solved


def _found(
    seen: tuple[View, Tensor],
    indices: NDArray[np.int64],
    source: Source,
    change: Callable[[Batch], Batch],
) -> float:
    """The share of tiles that are among the FIRST nearest, of all, to their changed copies."""
    view, points = seen
    queries = torch.cat([view(change(batch)) for batch in source.batches()])
    distances = torch.cdist(queries.double(), points.double())
    own = distances[torch.arange(len(indices)), torch.from_numpy(indices)]
    nearer = (distances < own.unsqueeze(1)).sum(dim=1)
    return (nearer < FIRST).double().mean().item()


def _brighter(batch: Batch) -> Batch:
    return brightened(batch, torch.Generator())


def _turned(batch: Batch) -> Batch:
    return rotated(batch, torch.Generator())


def _mirrored(batch: Batch) -> Batch:
    mask = None if batch.mask is None else batch.mask.flip(3)
    return replace(batch, images=batch.images.flip(3), mask=mask)


def _each(source: Source) -> Iterator[Tensor]:
    for batch in source.batches():
        yield from batch.images


def _content(image: Tensor) -> bytes:
    return image.numpy().tobytes()


if __name__ == "__main__":
    main()
