"""Labels beside their points, where they cover neither one another nor what is drawn."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

_POINT = 72  # points per inch
_DIRECTIONS = ((0, -1), (0, 1), (1, 0), (-1, 0), (1, 1), (-1, -1), (1, -1), (-1, 1))
_FAR = 12  # points from which a line leads from a label to its point
_STEP = 3  # pixels between the places of a line that a label is compared with


@dataclass(frozen=True)
class Label:
    """A text and the point, in the axes' data, that it belongs to."""

    text: str
    point: tuple[float, float]
    style: dict[str, Any] = field(default_factory=dict)
    pad: float = 0
    """Points from the text to the edge of the box around it."""


def place_labels(
    axes: Axes, labels: Sequence[Label], covered: Sequence[NDArray[Any]] = (), nearest: float = 6
) -> None:
    """Draws each label as near to its point as it finds room, the first ones first.

    The limits of `axes` must be final. covered: what no label may lie on, polylines (n, 2) in the
    axes' data. nearest: points between a label and its point; with 0 a label may lie on it.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    layout = figure.get_layout_engine()
    if layout is not None:  # so that the axes have their place; to draw all takes twice as long
        layout.execute(figure)
    axes.apply_aspect()
    pixels = figure.dpi / _POINT
    inside = axes.get_window_extent()
    points = axes.transData.transform(np.array([label.point for label in labels]).reshape(-1, 2))
    taken: list[Bbox] = []
    drawn = _places(axes, covered)
    if nearest:
        drawn = np.concatenate([drawn, points])
    for label, point in zip(labels, points, strict=True):
        size = _size(axes, label) + 4  # pixels of air
        best, least = (0.0, 0.0), np.inf
        for offset in _offsets(size, nearest * pixels, pixels):
            box = Bbox.from_bounds(*(point + offset - size / 2), *size)
            cost = _cost(box, taken, drawn, inside)
            if cost < least:
                best, least = offset, cost
            if cost == 0:
                break
        taken.append(Bbox.from_bounds(*(point + best - size / 2), *size))
        gap = np.abs(best) - size / 2
        leads = bool(gap.max() > _FAR * pixels)
        _annotate(axes, label, (best[0] / pixels, best[1] / pixels), leads)


def _offsets(size: Any, nearest: float, pixels: float) -> Iterator[tuple[float, float]]:
    """Offsets from the point to the middles of the places that are tried, in pixels."""
    if nearest == 0:
        yield 0.0, 0.0
    for gap in (nearest, *(nearest + pixels * more for more in (4, 8, 14, 20, 28, 38, 50, 66, 90))):
        for x, y in _DIRECTIONS:
            yield x * (size[0] / 2 + gap), y * (size[1] / 2 + gap)


def _cost(box: Bbox, taken: Sequence[Bbox], drawn: NDArray[Any], inside: Bbox) -> float:
    """The amount that a label in that box would cover; 0 for nothing."""
    out = max(inside.x0 - box.x0, box.x1 - inside.x1, inside.y0 - box.y0, box.y1 - inside.y1, 0)
    covered = sum(
        max(min(box.x1, b.x1) - max(box.x0, b.x0), 0)
        * max(min(box.y1, b.y1) - max(box.y0, b.y0), 0)
        for b in taken
    )
    x, y = drawn.T
    under = ((x > box.x0) & (x < box.x1) & (y > box.y0) & (y < box.y1)).sum()
    return 100.0 * out + covered + 10.0 * under


def _places(axes: Axes, lines: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """(n, 2) pixels, close together, along polylines."""
    parts = [np.empty((0, 2))]
    for line in lines:
        corners = axes.transData.transform(line)
        corners = corners[np.isfinite(corners).all(axis=1)]
        parts.append(corners)
        for a, b in pairwise(corners):
            parts.append(np.linspace(a, b, min(int(np.abs(b - a).max() / _STEP) + 1, 2000)))
    return np.concatenate(parts)


def _size(axes: Axes, label: Label) -> NDArray[Any]:
    """The label's width and height in pixels, with the box around it."""
    annotation = _annotate(axes, label, (0, 0), leads=False)
    box = Text.get_window_extent(annotation)
    annotation.remove()
    figure = axes.get_figure(root=True)
    assert figure is not None
    return np.array([box.width, box.height]) + 2 * label.pad * figure.dpi / _POINT


def _annotate(axes: Axes, label: Label, offset: tuple[float, float], leads: bool) -> Annotation:
    arrow = {"arrowstyle": "-", "color": "#777777", "lw": 0.8, "shrinkA": 0, "shrinkB": 0}
    annotation = axes.annotate(
        label.text,
        label.point,
        xytext=offset,
        textcoords="offset points",
        ha="center",
        va="center",
        arrowprops=arrow if leads else None,
        **label.style,
    )
    annotation.set_in_layout(False)
    return annotation
