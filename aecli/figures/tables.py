"""Many codecs side by side: over code dimensions, and against linear maps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import matplotlib.ticker
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from aecli.figures.style import (
    ACCENT,
    BASELINE,
    HELD_OUT,
    NETWORK,
    STYLE,
    Array,
    draw_picture,
    log_mse_axis,
    new_figure,
)


@dataclass(frozen=True)
class TradeoffPoint:
    """One code dimension: its test mse over seeds, and whether its layers were widened."""

    code_dim: int
    mse: float
    sd: float
    wide: bool


def tradeoff(
    points: Sequence[TradeoffPoint],
    pca: tuple[NDArray[np.integer[Any]], Array],
    printed: Mapping[int, float],
    title: str,
) -> Figure:
    """Test mse over code dimension, both log: the network, PCA's line, and what the chapter prints.

    pca: code dimensions (n,) and their mse (n,). printed: code dimension -> mse; 0 is not drawn.
    """
    with mpl.rc_context(STYLE):
        figure = new_figure(8, 5)
        axes = figure.subplots()
        axes.plot(*pca, "-", color=BASELINE, label="PCA")
        for wide, style, label in (
            (False, "o-", "network"),
            (True, "D", "network without hidden layers"),
        ):
            chosen = [point for point in points if point.wide == wide]
            if chosen:
                axes.errorbar(
                    [point.code_dim for point in chosen],
                    [point.mse for point in chosen],
                    [point.sd for point in chosen],
                    fmt=style,
                    color=NETWORK if not wide else ACCENT,
                    ms=8,
                    capsize=4,
                    label=label,
                )
        for point in points:
            axes.annotate(
                f"{point.mse:.4f}",
                (point.code_dim, point.mse),
                xytext=(0, -16),
                textcoords="offset points",
                ha="center",
                fontsize=9,
                color=NETWORK if not point.wide else "#8a6300",
            )
        drawn = {k: mse for k, mse in printed.items() if mse > 0}
        axes.plot(
            list(drawn),
            list(drawn.values()),
            "x",
            ms=9,
            mew=2.2,
            color=HELD_OUT,
            label="the chapter prints",
        )
        axes.set_xscale("log")
        log_mse_axis(axes)
        ticks = sorted({point.code_dim for point in points} | set(drawn))
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
        lowest = min(point.mse for point in points)
        axes.set_ylim(bottom=lowest / 1.6)  # PCA's line falls to nothing at full rank
        axes.set(xlabel="code dimension", ylabel="test mse per pixel", title=title)
        axes.legend()
        return figure


def decoded_grid(originals: Array, decoded: Sequence[tuple[str, Array]], title: str) -> Figure:
    """A row of originals (n, C, H, W) and a labelled row of reconstructions per codec."""
    rows = [("original", originals), *decoded]
    with mpl.rc_context(STYLE):
        figure = new_figure(0.82 * len(originals) + 1.2, 0.82 * len(rows) + 0.5)
        grid = figure.subplots(len(rows), len(originals), squeeze=False)
        for axes_row, (label, pictures) in zip(grid, rows, strict=True):
            for axes, picture in zip(axes_row, pictures, strict=True):
                draw_picture(axes, picture)
            axes_row[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=10)
        figure.suptitle(title, x=0.01, ha="left", weight="bold", fontsize=12)
        return figure


def comparison(
    code_dims: Sequence[int],
    lines: Sequence[tuple[str, Sequence[float], Sequence[float] | None]],
    title: str,
) -> Figure:
    """Test mse over code dimension for several codecs (label, mse, sd or None), log-log.

    The first is the network; the gap between it and a codec called PCA is shaded.
    """
    with mpl.rc_context(STYLE):
        figure = new_figure(8, 5)
        axes = figure.subplots()
        colours = (NETWORK, BASELINE, HELD_OUT, ACCENT)
        marks = ("o-", "s-", "^--", "v:")
        for (label, mse, sd), colour, mark in zip(lines, colours, marks, strict=False):
            axes.errorbar(code_dims, mse, sd, fmt=mark, color=colour, capsize=4, ms=7, label=label)
        by_label = {label: mse for label, mse, _ in lines}
        if "PCA" in by_label:
            axes.fill_between(
                code_dims, lines[0][1], by_label["PCA"], color=NETWORK, alpha=0.08, lw=0
            )
        axes.set_xscale("log")
        log_mse_axis(axes)
        axes.set_xticks(code_dims, [str(k) for k in code_dims])
        axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
        axes.set(xlabel="code dimension", ylabel="test mse per pixel", title=title)
        axes.legend()
        return figure


def unit_mix(mix: Array, title: str) -> Figure:
    """How the linear autoencoder's units are made of PCA's: |mix| (k, k), columns of norm 1."""
    with mpl.rc_context(STYLE):
        figure = new_figure(6.4, 5.4)
        axes = figure.subplots()
        shown = axes.imshow(np.abs(mix), cmap="Blues", vmin=0, vmax=1)
        axes.grid(visible=False)
        axes.set(xlabel="linear autoencoder's unit", ylabel="principal component", title=title)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
        bar = figure.colorbar(shown, ax=axes, shrink=0.9)
        bar.set_label("absolute share of the unit's direction")
        bar.outline.set_visible(False)
        return figure
