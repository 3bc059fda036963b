"""Settings that were tried, and how much each matters."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aecli.figures.style import (
    ACCENT,
    BASELINE,
    HELD_OUT,
    NETWORK,
    STYLE,
    THIRD,
    heading,
    legend_below,
    log_mse_axis,
    new_figure,
)


def tuning(
    points: Mapping[str, Sequence[tuple[int, float]]],
    begun_from: float,
    matters: Mapping[str, float],
    loss: str,
    title: str,
) -> Figure:
    """The validation loss of each training, and bars of how much each setting matters.

    points: by how long was trained, the number of each trial and its loss; begun_from: the loss of
    the settings that were begun from (nan: unknown); matters: shares in [0, 1] by setting.
    """
    with mpl.rc_context(STYLE):
        figure = new_figure(10 if matters else 7, 4.8)
        grid = figure.subplots(1, 2, width_ratios=(3, 2), squeeze=False) if matters else None
        axes: Axes = figure.subplots() if grid is None else grid[0, 0]
        handles: list[Any] = []
        styles = ((HELD_OUT, "o", 22), (NETWORK, "s", 30), (ACCENT, "D", 36), (THIRD, "^", 44))
        for (label, of_one), (colour, mark, size) in zip(points.items(), styles, strict=False):
            if of_one:
                numbers, losses = zip(*of_one, strict=True)
                handles.append(
                    axes.scatter(numbers, losses, size, colour, marker=mark, label=label, zorder=3)
                )
        if math.isfinite(begun_from):
            words = "settings begun from"
            handles.append(axes.axhline(begun_from, color=BASELINE, ls="--", lw=1.3, label=words))
        if all(value > 0 for of_one in points.values() for _, value in of_one):
            log_mse_axis(axes)
        axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
        axes.set_xlabel("settings, in the order in which they were tried")
        axes.set_ylabel(f"validation {loss}")
        if grid is not None:
            _bars(grid[0, 1], matters)
        heading(figure, title)
        legend_below(figure, handles)
        return figure


def _bars(axes: Axes, matters: Mapping[str, float]) -> None:
    names = sorted(matters, key=lambda name: matters[name])
    bars = axes.barh(names, [100 * matters[name] for name in names], color=NETWORK)
    axes.bar_label(bars, [f"{100 * matters[name]:.0f}%" for name in names], padding=3)
    axes.margins(x=0.15)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("share in what they change of the loss, %")
