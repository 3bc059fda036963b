"""Evidence on the region that codes occupy, for `aecli reproduce`: codes drawn from within its
range, the area between codes that is empty, and where paths become incoherent."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aecli.chapter import InRange, Step
from aecli.chapter.evidence import ALMOST_SURELY, SELDOM, Partial
from aecli.codecs.base import Codec
from aecli.codespace.lines import Paths
from aecli.codespace.region import OccupiedRegion
from aecli.data.images import Images
from aecli.experiments.reproduce_changes import draw_rows
from aecli.measure import metrics
from aecli.runs.context import Context
from aecli.runs.folder import RunDir
from aecli.training.jobs import Trained

_RANGE = 0.005, 0.995  # quantiles of a unit's values between which its range is
_DRAWN = 2000  # codes
_COHERENT = 0.5  # confidence below which no class is likelier than all others together
_SHOWN = 12  # images in a row of a picture


def measure_region(
    networks: Partial[int, Sequence[Trained]],
    halves: Images,
    seed: int,
    run_dir: RunDir,
    context: Context,
) -> dict[str, Any]:
    """Fields of the evidence: `in_range`, by code dimension, a value for each codec; `empty`, from
    codes of 2; `normal_turning`, from those of 32. Holes are calibrated on `halves.val`. A picture
    of what the first codes drawn are decoded to."""
    found = Partial[int, list[InRange]](reason=networks.reason)
    others: dict[str, Any] = {}
    empty: list[float] = []
    rows = []
    total = sum(map(len, networks.values()))
    with context.terminal.working("drawing codes from the occupied range", total, "codecs") as done:
        for k, trained in networks.items():
            for number, each in enumerate(trained):
                generator = torch.Generator().manual_seed(seed + number)
                codes = metrics.encode(each.codec, halves.train)
                region = OccupiedRegion.calibrated(codes, metrics.encode(each.codec, halves.val))
                low, high = _range(codes)
                drawn = low + (high - low) * torch.rand((_DRAWN, k), generator=generator)
                found.setdefault(k, []).append(_in_range(region, drawn))
                if k == 2:
                    empty.append(_empty(region, codes, generator))
                    others["empty"] = empty
                if k == 32 and not number:
                    normal = torch.randn((_DRAWN, k), generator=generator)
                    others["normal_turning"] = _turning(region, normal, ALMOST_SURELY)
                if not number:
                    rows.append(_row(each.codec, drawn, found[k][0]))
                done()
    note = "The first codes drawn, each unit evenly from the middle 99% of its values."
    title = f"Decoded from within the occupied range ({halves.title})"
    if rows:
        draw_rows("in_range", rows, title, note, halves, run_dir, "in holes")
    return {"in_range": found, **others}


def _range(codes: Tensor) -> tuple[Tensor, Tensor]:
    """The lowest and the highest value (k,) of each unit's range over codes (N, k)."""
    low, high = np.quantile(codes.numpy(), _RANGE, axis=0)
    return torch.from_numpy(low).float(), torch.from_numpy(high).float()


def _in_range(region: OccupiedRegion, drawn: Tensor) -> InRange:
    share = region.in_hole(drawn).double().mean().item()
    return InRange(share, _turning(region, drawn, SELDOM))


def _turning(region: OccupiedRegion, codes: Tensor, share: float) -> float:
    """Number by which the distance at which holes begin is multiplied for `share` of codes (n, k)
    to be in holes."""
    return torch.quantile(region.distances(codes), 1 - share).item() / region.threshold


def _empty(region: OccupiedRegion, codes: Tensor, generator: torch.Generator) -> float:
    """The share of the convex hull of codes (N, 2), without those out of a unit's range, that is a
    hole, by points drawn evenly from it."""
    from scipy.spatial import Delaunay  # takes a moment to import, and few runs need it

    low, high = _range(codes)
    within = codes[((codes >= low) & (codes <= high)).all(dim=1)]
    points = low + (high - low) * torch.rand((_DRAWN, 2), generator=generator)
    inside = Delaunay(within.numpy()).find_simplex(points.numpy()) >= 0
    return region.in_hole(points[torch.from_numpy(inside)]).double().mean().item()


def _row(codec: Codec, drawn: Tensor, found: InRange) -> tuple[str, Tensor, str]:
    shown = metrics.decode(codec, drawn[:_SHOWN])
    return f"code {codec.code_dim}", shown, f"{100 * found.in_holes:.1f}%"


def steps_of(paths: Paths) -> list[Step]:
    """Means over paths at each of their places."""
    assert paths.confidence is not None  # the images have labels
    incoherent = paths.confidence < _COHERENT
    return [
        Step(t, *(share.double().mean().item() for share in shares))
        for t, *shares in zip(
            [round(t, 6) for t in paths.t.tolist()],
            paths.in_hole.T,
            incoherent.T,
            (incoherent & paths.in_hole).T,
            strict=True,
        )
    ]
