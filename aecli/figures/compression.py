"""Error of codes of equally many numbers over the factor of their grid."""

import math
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
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

Line = tuple[str, Sequence[int], Sequence[float], Sequence[float]]
"""Label, factors, mse, and its deviation over seeds (nan of one seed)."""


def downsampling(lines: Sequence[Line], levels: Sequence[tuple[str, float]], title: str) -> Figure:
    """Test mse over the factor of the grid, a line for each kind of codec, log-log; and as dashed
    levels codecs without a grid (label, mse)."""
    colours = (NETWORK, ACCENT, HELD_OUT, THIRD)
    with mpl.rc_context(STYLE):
        figure = new_figure(8, 5.2)
        axes = figure.subplots()
        handles: list[Any] = []
        for (label, factors, mse, sds), colour, mark in zip(lines, colours, "osvD", strict=False):
            if not factors:
                continue
            bars = None if any(map(math.isnan, sds)) else list(sds)
            handles.append(
                axes.errorbar(
                    factors, mse, bars, fmt=f"{mark}-", color=colour, capsize=4, ms=7, label=label
                )
            )
        styles = ((0, (5, 2)), (0, (1, 1.5)), (0, (4, 1.5, 1, 1.5)), (0, (8, 3)))
        for (label, value), dashes in zip(levels, styles, strict=False):
            handles.append(
                axes.axhline(value, color=BASELINE, linestyle=dashes, lw=1.3, label=label)
            )
        every = sorted({factor for _, factors, _, _ in lines for factor in factors})
        axes.set_xscale("log", base=2)
        axes.set_xticks(every, [f"f{factor}" for factor in every], minor=False)
        axes.minorticks_off()
        axes.set_xlabel("factor from the image's side to the code's grid")
        log_mse_axis(axes)
        axes.set_ylabel("test mse per pixel")
        heading(figure, title)
        legend_below(figure, handles)
        return figure
