"""Figures of an autoencoder made variational: what the weight of N(0, I) costs, where codes lie."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Patch
from numpy.typing import NDArray

from aecli.figures.colours import class_colours
from aecli.figures.labels import Label, place_labels
from aecli.figures.style import (
    ACCENT,
    BASELINE,
    NETWORK,
    STYLE,
    Array,
    heading,
    legend_below,
    new_figure,
)

_POINTS = 5_000  # codes drawn of each map, at most
_NORMAL_95 = 2.448  # radius that holds 95% of N(0, I) in two dimensions
_NAMED_CLASSES = 20


@dataclass(frozen=True)
class ConversionPoint:
    """A codec on the curve."""

    beta: float | None
    """Weight of the divergence; None for the plain codec."""
    test_mse: float
    frechet_distance: float
    """Distance of the images that N(0, I) decodes to."""
    collapsed: bool
    """True if no unit is active."""


@dataclass(frozen=True)
class CodeMap:
    """A codec's codes in two dimensions, and where none lie."""

    name: str
    codes: Array
    """(N, 2)."""
    labels: NDArray[np.integer[Any]] | None
    x: Array
    """(columns,) ascending, of code unit 0; `y` (rows,) of unit 1."""
    y: Array
    in_hole: NDArray[np.bool_]
    """(rows, columns)."""


def beta_curve(points: Sequence[ConversionPoint], title: str) -> Figure:
    """The Frechet distance of N(0, I)'s images against the error of reconstructions, both on log
    scales, by the weight of the divergence; the plain codec first among the points."""
    plain, *others = points
    errors = np.array([point.test_mse for point in others])
    distances = np.array([point.frechet_distance for point in others])
    with mpl.rc_context(STYLE):
        figure = new_figure(8, 5)
        axes = figure.subplots()
        handles = axes.plot(errors, distances, "o-", color=NETWORK, label="variational, by beta")
        handles += axes.plot(
            [plain.test_mse],
            [plain.frechet_distance],
            "D",
            color=BASELINE,
            ms=9,
            label="plain autoencoder",
        )
        axes.set(
            xscale="log",
            yscale="log",
            xlabel="test mse per pixel",
            ylabel="Frechet distance of N(0, I), decoded",
        )
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
            axis.set_minor_formatter(mpl.ticker.NullFormatter())
        axes.xaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
        labels = [
            Label(
                f"{point.beta:g}" + (" (collapsed)" if point.collapsed else ""),
                (point.test_mse, point.frechet_distance),
                {"color": NETWORK},
            )
            for point in others
        ]
        legend_below(figure, handles)
        heading(figure, title)
        place_labels(axes, labels, [np.column_stack([errors, distances])], nearest=8)
        return figure


def code_maps(maps: Sequence[CodeMap], title: str) -> Figure:
    """Side by side, two-dimensional codes by class, holes shaded, and where N(0, I) draws."""
    labels = maps[0].labels
    classes = [] if labels is None else np.unique(labels).tolist()
    colours = dict(zip(classes, class_colours(len(classes)), strict=True))
    with mpl.rc_context(STYLE):
        figure = new_figure(5.6 * len(maps), 5.6)
        for axes, each in zip(figure.subplots(1, len(maps), squeeze=False)[0], maps, strict=True):
            axes.contourf(
                each.x, each.y, each.in_hole, levels=[0.5, 1.5], colors=[BASELINE], alpha=0.25
            )
            few = np.random.default_rng(0).permutation(len(each.codes))[:_POINTS]
            shown = NETWORK if each.labels is None else [colours[k] for k in each.labels[few]]
            axes.scatter(*each.codes[few].T, s=5, c=shown, alpha=0.6, linewidths=0)
            axes.add_patch(Circle((0, 0), _NORMAL_95, fill=False, ec=ACCENT, lw=2.5))
            axes.set(
                xlim=(each.x[0], each.x[-1]),
                ylim=(each.y[0], each.y[-1]),
                xlabel="code unit 0",
                ylabel="code unit 1",
                title=each.name,
            )
        handles: list[Any] = [
            Patch(color=BASELINE, alpha=0.25, lw=0, label="holes"),
            Line2D([], [], color=ACCENT, lw=2.5, label="95% of N(0, I)"),
        ]
        if len(classes) <= _NAMED_CLASSES:
            dot: dict[str, Any] = {"marker": "o", "ms": 6, "lw": 0}
            handles += [Line2D([], [], color=colours[k], label=str(k), **dot) for k in classes]
        legend_below(figure, handles)
        heading(figure, title)
        return figure
