"""Pictures of `aecli interpolate`: a path, the hole rates, and the plane of a code of two."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn.functional import avg_pool2d

from aecli import figures
from aecli.codespace.lines import CodeSpace, Paths, walk
from aecli.codespace.region import NEIGHBOURS
from aecli.data.images import Batch, Images, batch_size
from aecli.measure.distances import rms_differences
from aecli.runs.folder import RunDir

if TYPE_CHECKING:
    from aecli.experiments.interpolate import Outcome

_TILES = 22  # decoded images along each side of the plane
_TILE = 48  # pixels of the longer side of one, about; of larger images, means are drawn
_LETTERS = 14  # of a class's name under an image
_GRID = 140  # distances along each side of the plane, for the contour


def draw(outcome: "Outcome", title: str, run_dir: RunDir) -> None:
    """Leave every picture in the run. title: dataset, codec and code."""
    images, own, pca = outcome.images, outcome.own, outcome.pca
    start, end = outcome.end_names
    steps = len(outcome.journey.t)
    rows = [_row("this codec", own, outcome.journey, outcome)]
    rows.append(_nearest_row(images, rows[0]))
    beside: dict[str, tuple[CodeSpace, Paths]] = {}
    if pca is not None and pca is not own and outcome.pca_many is not None:
        beside[f"PCA-{pca.codec.code_dim}"] = pca, outcome.pca_many
    if outcome.before is not None and outcome.before_many is not None:
        beside["before"] = outcome.before, outcome.before_many
    for name, (space, _) in beside.items():
        path = walk(space, outcome.ends.unsqueeze(0), steps, outcome.classifier)
        rows.append(_row(name, space, path, outcome))
    originals = images.test.read(outcome.ends)
    run_dir.save_figure(
        "interpolation",
        figures.interpolation_row(
            originals.images.numpy(),
            (figures.shortened(start, _LETTERS), figures.shortened(end, _LETTERS)),
            outcome.journey.t.numpy(),
            rows,
            _note(outcome),
            f"{steps} codes on the straight line from {start} to {end} ({title})",
            images.shown,
            originals.valid,
        ),
    )
    walked_by = {"this codec": (own, outcome.many)} | beside
    rates = {name: many.hole_rates.numpy() for name, (_, many) in walked_by.items()}
    real = {name: space.test_in_hole for name, (space, _) in walked_by.items()}
    run_dir.save_figure(
        "hole_rates",
        figures.hole_rates(
            outcome.many.t.numpy(),
            rates,
            real,
            len(outcome.many.distances),
            f"How often straight paths are in a hole ({title})",
        ),
    )
    if own.codec.code_dim == 2:
        plane = _plane(outcome)
        walked = f"from {start} to {end} ({title})"
        run_dir.save_figure(
            "latent_map",
            figures.latent_map(
                own.training_codes.numpy(), plane, f"Where the codes lie, and the path {walked}"
            ),
        )
        run_dir.save_figure(
            "decoder_grid",
            figures.decoder_grid(
                _tiles(own, plane),
                plane,
                f"What each code decodes to, and the path {walked}",
                images.shown,
            ),
        )


def _note(outcome: "Outcome") -> str:
    """Note under the images of a path."""
    nearest = (
        "Nearest: the training image that is nearest to what this codec decodes, and the root mean"
        " square of their difference, in pixel units."
    )
    if outcome.classifier is None:
        return nearest
    return (
        f"Under each t the {'digit' if outcome.images.digits else 'class'} that a classifier reads"
        f" ({100 * outcome.classifier.test_accuracy:.1f}% right on test images): it has to name"
        f" one, whatever it is shown. {nearest}"
    )


def _row(name: str, space: CodeSpace, paths: Paths, outcome: "Outcome") -> figures.PathRow:
    codes = space.path(outcome.ends, len(paths.t))
    return figures.PathRow(
        name,
        space.decode(codes).numpy(),
        paths.in_hole[0].numpy(),
        [""] * len(paths.t)
        if paths.read_as is None
        else [_read_as(outcome.images, label) for label in paths.read_as[0].tolist()],
    )


def _read_as(images: Images, label: int) -> str:
    between = "\n" if images.class_names else " "  # a name may be long
    return f"read as{between}{figures.shortened(images.class_name(label), _LETTERS)}"


def _nearest_row(images: Images, row: figures.PathRow) -> figures.PathRow:
    """The training image that is nearest to each decoded one: likeness that an eye can judge."""
    decoded = Batch(torch.from_numpy(row.decoded))
    parts = [rms_differences(decoded, batch) for batch in images.train.batches()]
    rms, nearest = torch.cat(parts, dim=1).min(dim=1)
    found = images.train.read(nearest)
    return figures.PathRow(
        "nearest",
        found.images.numpy(),
        np.zeros(len(decoded), dtype=bool),
        [f"off by {value:.2f}" for value in rms.tolist()],
        on_path=False,
        masks=found.valid,
    )


def _plane(outcome: "Outcome") -> figures.Plane:
    """The rectangle that holds the whole occupied region, and the path."""
    own, journey = outcome.own, outcome.journey
    path = own.path(outcome.ends, len(journey.t))
    low, high = torch.cat([*_occupied_corners(own), path]).aminmax(dim=0)
    margin = 0.03 * (high - low).clamp_min(1e-6)
    x, y = (
        torch.linspace(float(a), float(b), _GRID)
        for a, b in zip(low - margin, high + margin, strict=True)
    )
    grid = torch.cartesian_prod(y, x).flip(1)
    return figures.Plane(
        x.numpy(),
        y.numpy(),
        own.region.distances(grid).unflatten(0, (_GRID, _GRID)).numpy(),
        own.region.threshold,
        path.numpy(),
        journey.in_hole[0].numpy(),
        _plane_names(outcome),
    )


def _plane_names(outcome: "Outcome") -> tuple[str, str]:
    """The path's ends in as few letters as fit on the plane."""
    start, end = (
        name if label is None else figures.shortened(outcome.images.class_name(label), _LETTERS)
        for name, label in zip(("start", "end"), outcome.end_labels, strict=True)
    )
    return start, end


def _occupied_corners(space: CodeSpace) -> tuple[Tensor, Tensor]:
    """Two corners (1, 2) of a rectangle that holds the occupied region.

    It reaches as far from the training codes that lie in it as the threshold allows. A tree finds
    their neighbours, which takes a hundredth of the time that all distances take.
    """
    region = space.region
    tree = cKDTree(region.references.numpy())
    nearest, _ = tree.query(region.references.numpy(), NEIGHBOURS)
    codes = space.training_codes
    occupied = codes[torch.from_numpy(nearest.mean(axis=1)) <= region.threshold]
    reach = region.threshold * codes.std(dim=0, correction=0, keepdim=True)
    low, high = (occupied if len(occupied) else codes).aminmax(dim=0, keepdim=True)
    return low - reach, high + reach


def _tiles(space: CodeSpace, plane: figures.Plane) -> NDArray[np.float32]:
    """Images (tiles, tiles, C, H, W) decoded from the centres of a grid over the plane; of large
    ones each pixel is the mean of some."""
    x, y = (
        torch.from_numpy(side[0] + (side[-1] - side[0]) * (np.arange(_TILES) + 0.5) / _TILES)
        for side in (plane.x, plane.y)
    )
    codes = torch.cartesian_prod(y, x).flip(1).float()
    fewer = max(max(space.codec.image_shape[1:]) // _TILE, 1)
    parts = [
        avg_pool2d(space.decode(some), fewer, ceil_mode=True) if fewer > 1 else space.decode(some)
        for some in codes.split(batch_size(space.codec.pixels))
    ]
    return torch.cat(parts).unflatten(0, (_TILES, _TILES)).numpy()
