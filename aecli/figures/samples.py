"""Figures of decoded samples and of the codes they are drawn from; arrays only, nothing saved."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from aecli.figures.pictures import PictureRow, channel_note, picture_rows
from aecli.figures.style import (
    ACCENT,
    NETWORK,
    STYLE,
    Array,
    heading,
    legend_below,
    new_figure,
    unit_axis,
)

_NORMAL_99, _NORMAL_75 = 2.326, 0.674  # N(0, 1)'s quantiles


def sample_grids(
    samples: Sequence[Array],
    names: Sequence[str],
    scores: Mapping[str, Sequence[str]],
    note: str,
    title: str,
    shown: Sequence[int] = (),
    masks: Sequence[NDArray[np.bool_] | None] = (),
) -> Figure:
    """A row of pictures per sampler, its name on the left, its scores on the right.

    samples: by sampler, (n, C, H, W) in [0, 1]; rows may differ in n. scores: the head of a
    column and what stands in it, by sampler. note: what the scores mean. shown: channels, as for
    `in_colour`. masks: by sampler, (n, H, W), True where a pixel is valid; empty if all are.
    """
    masks = masks or [None] * len(names)
    columns = list(zip(*scores.values(), strict=True))
    rows = [
        PictureRow(name, pictures, cells, shown=shown, masks=valid)
        for name, pictures, cells, valid in zip(names, samples, columns, masks, strict=True)
    ]
    with mpl.rc_context(STYLE):
        return picture_rows(
            rows, title + channel_note(samples[0].shape[1], shown), note, list(scores)
        )


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
        unit_axis(axes, len(units))
        axes.set_ylabel("value of the code unit (dimensionless)")
        heading(figure, title)
        legend_below(
            figure,
            [
                Line2D([], [], color=NETWORK, lw=1.5, label="codes, 1% to 99%"),
                Line2D([], [], color=NETWORK, lw=7, label="codes, quartiles"),
                Patch(color=ACCENT, alpha=0.22, lw=0, label="N(0, 1), 1% to 99%"),
                Patch(color=ACCENT, alpha=0.5, lw=0, label="N(0, 1), quartiles"),
            ],
        )
        return figure
