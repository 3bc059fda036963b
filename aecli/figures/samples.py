"""Figures of decoded samples and of the codes they are drawn from; arrays only, nothing saved."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from aecli.figures.style import ACCENT, NETWORK, STYLE, Array, draw_picture, new_figure

_NORMAL_99, _NORMAL_75 = 2.326, 0.674  # N(0, 1)'s quantiles


def sample_grids(
    samples: Sequence[Array],
    names: Sequence[str],
    frechet: Sequence[float],
    confidence: Sequence[float],
    title: str,
) -> Figure:
    """A row of pictures per sampler, its name on the left, its two scores on the right.

    samples: of each sampler (n, C, H, W) in [0, 1]; rows may differ in n.
    """
    columns = max(map(len, samples))
    with mpl.rc_context(STYLE):
        figure = new_figure(10, 0.66 * len(samples) + 1.2)
        grid = figure.subplots(
            len(samples), columns + 2, squeeze=False, width_ratios=[1] * columns + [1.1, 1.1]
        )
        figure.set_layout_engine("constrained", w_pad=0.03, h_pad=0.03, wspace=0, hspace=0)
        for axes in grid.flat:
            axes.set_axis_off()
        for row, (pictures, name) in enumerate(zip(samples, names, strict=True)):
            for axes, picture in zip(grid[row], pictures, strict=False):
                draw_picture(axes, picture)
                axes.set_axis_on()
            grid[row, 0].set_ylabel(
                name.replace(", ", ",\n"), rotation=0, ha="right", va="center", fontsize=10.5
            )
            for axes, score in zip(
                grid[row, -2:], (f"{frechet[row]:.1f}", f"{confidence[row]:.2f}"), strict=True
            ):
                axes.text(0.5, 0.5, score, ha="center", va="center", fontsize=11)
        for axes, head in zip(grid[0, -2:], ("Frechet\ndistance", "confi-\ndence"), strict=True):
            axes.set_title(head, fontsize=9.5, weight="normal", loc="center", pad=4)
        figure.suptitle(title, x=0.01, ha="left", weight="bold", fontsize=12)
        figure.supxlabel(
            "the first samples drawn of each, none picked;  Frechet distance to the training images"
            " in the classifier's features, 0 is best",
            fontsize=9.5,
        )
        return figure


def code_ranges(quantiles: Array, title: str) -> Figure:
    """Each unit's 1% to 99% range and quartiles against those of N(0, 1).

    quantiles: (5, k), the 1%, 25%, 50%, 75% and 99% of the codes of each unit.
    """
    lowest, lower, middle, upper, highest = quantiles
    units = np.arange(quantiles.shape[1])
    thick = float(np.clip(220 / len(units), 1, 9))  # points; the bars of 784 units must not touch
    with mpl.rc_context(STYLE):
        figure = new_figure(10, 4.6)
        axes = figure.subplots()
        axes.axhspan(-_NORMAL_99, _NORMAL_99, color=ACCENT, alpha=0.22, lw=0)
        axes.axhspan(-_NORMAL_75, _NORMAL_75, color=ACCENT, alpha=0.35, lw=0)
        axes.vlines(units, lowest, highest, color=NETWORK, lw=max(thick / 5, 0.6))
        axes.vlines(units, lower, upper, color=NETWORK, lw=thick)
        axes.plot(units, middle, "o", color="white", mec=NETWORK, ms=max(thick * 0.55, 1))
        axes.set(xlabel="code unit", ylabel="value of the code unit (dimensionless)", title=title)
        axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
        axes.grid(axis="x", visible=False)
        axes.set_xlim(-0.8, len(units) - 0.2)
        axes.legend(
            handles=[
                Line2D([], [], color=NETWORK, lw=1.5, label="codes, 1% to 99%"),
                Line2D([], [], color=NETWORK, lw=7, label="codes, quartiles"),
                Patch(color=ACCENT, alpha=0.22, lw=0, label="N(0, 1), 1% to 99%"),
                Patch(color=ACCENT, alpha=0.5, lw=0, label="N(0, 1), quartiles"),
            ],
            loc="upper center",
            bbox_to_anchor=(0.5, -0.14),
            ncols=4,
        )
        return figure
