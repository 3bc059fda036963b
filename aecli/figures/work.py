"""Figures of codes at work: what reads, groups and finds images by them, beside PCA and pixels."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from aecli.figures.style import (
    BASELINE,
    HELD_OUT,
    NETWORK,
    STYLE,
    THIRD,
    heading,
    legend_below,
    new_figure,
    shortened,
)

_COLOURS, _MARKS = (NETWORK, BASELINE, HELD_OUT, THIRD), ("o", "s", "^", "D")
_BAR = 0.24  # inches
_LETTERS = 40  # of a name at the left
_MOST_CLASSES = 40
_SIZE = 9.5  # points of the numbers


@dataclass(frozen=True)
class Shares:
    """One contestant's shares, each in [0, 1]."""

    label: str
    values: Sequence[float]
    """nan where one was not measured."""
    sds: Sequence[float]
    """Standard deviations over seeds; nan of a single value."""
    place: int = 0
    """0 for the codes, 1 for PCA, 2 for pixels: it decides colour and mark."""


@dataclass(frozen=True)
class LabelCurve:
    """Accuracies of a linear classifier over the number of labels it was given."""

    label: str
    counts: Sequence[float]
    """Labels of each class, at most, ascending; the last is all."""
    accuracies: Sequence[float]
    sds: Sequence[float]
    vote: float
    """Accuracy of the nearest codes' vote, with all labels."""
    place: int = 0
    """Place among the contestants, as in `Shares`."""


def label_curves(curves: Sequence[LabelCurve], title: str) -> Figure:
    """Accuracy over labels of each class, a line for each contestant; the vote beside its end."""
    with mpl.rc_context(STYLE):
        figure = new_figure(8, 4.8)
        axes = figure.subplots()
        handles: list[Any] = []
        for curve in curves:
            colour, mark = _COLOURS[curve.place], _MARKS[curve.place]
            y, sd = 100 * np.asarray(curve.accuracies), 100 * np.nan_to_num(curve.sds)
            style: dict[str, Any] = {"color": colour, "ms": 7, "capsize": 4}
            axes.errorbar(curve.counts, y, sd, fmt=f"{mark}-", label=curve.label, **style)
            handles.append(Line2D([], [], color=colour, marker=mark, ms=7, label=curve.label))
            place = 1.25 * curve.counts[-1]
            hollow: dict[str, Any] = {"mfc": "white", "mec": colour, "mew": 2, "ls": "none"}
            axes.plot([place], [100 * curve.vote], mark, ms=8, **hollow)
        hollow = {"mfc": "white", "mec": "black", "mew": 2, "ls": "none"}
        handles.append(Line2D([], [], marker="o", ms=8, label="vote of the nearest", **hollow))
        counts = sorted({n for curve in curves for n in curve.counts})
        axes.set_xscale("log")
        most = max(counts)
        names = [f"{n:,.0f}" if n < most / 1.5 else "" for n in counts[:-1]]
        names.append(f"all ({most:,.0f})")
        axes.set_xticks(counts, names)
        axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
        axes.set_xlim(counts[0] / 1.6, counts[-1] * 2)
        axes.set_xlabel("labels of each class, at most")
        axes.set_ylabel("test images read rightly, %")
        heading(figure, title)
        legend_below(figure, handles)
        return figure


def share_bars(measures: Sequence[str], series: Sequence[Shares], title: str) -> Figure:
    """A bar for each measure and contestant, with its number at its end, in percent."""
    sides = len(series)
    with mpl.rc_context(STYLE):
        high = len(measures) * (sides * _BAR + 0.16)
        figure = new_figure(8.5, high + 1.5)
        axes = figure.subplots()
        step, air = 1 / (sides + 0.7), 0.02
        for side, each in enumerate(series):
            colour = _COLOURS[each.place]
            places = np.arange(len(measures)) + (side - (sides - 1) / 2) * step
            values, sds = np.asarray(each.values), np.nan_to_num(each.sds)
            axes.barh(places, 100 * np.nan_to_num(values), 0.9 * step, color=colour)
            for place, value, sd in zip(places, values, sds, strict=True):
                if math.isnan(value):
                    continue
                if sd:
                    ends = 100 * np.array([value - sd, value + sd])
                    axes.plot(ends.clip(0, None), [place, place], color="black", lw=1.2)
                end = 100 * (max(value + sd, 0) + air)
                text = f"{100 * value:.1f}" + (f" ± {100 * sd:.1f}" if sd else "")
                axes.text(end, place, text, va="center", fontsize=_SIZE)
        _percent_axis(axes, 0)
        axes.set_xlim(0, 125)
        _named_rows(axes, measures)
        handles = [Patch(color=_COLOURS[each.place], label=each.label) for each in series]
        heading(figure, title)
        legend_below(figure, handles)
        return figure


def class_scores(
    classes: Sequence[str], panels: Mapping[str, Sequence[Shares]], title: str
) -> Figure:
    """A row for each normal class: the AUROC of each contestant, in percent, by each score in a
    panel of its own. Of very many classes the hardest by the first panel's first are drawn."""
    order = np.arange(len(classes))
    if len(classes) > _MOST_CLASSES:
        first = next(iter(panels.values()))[0]
        hardest = np.argsort(first.values, kind="stable")[:_MOST_CLASSES]
        order = np.sort(hardest)
        title += f", the hardest {_MOST_CLASSES} of {len(classes)} drawn"
    with mpl.rc_context(STYLE):
        figure = new_figure(3 + 2.5 * len(panels), 0.33 * len(order) + 2.2)
        every = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        handles: dict[str, Any] = {}
        lowest, highest = 1.0, 1.0
        for axes, (score, series) in zip(every, panels.items(), strict=True):
            axes.set_title(score, loc="left")
            for each in reversed(series):  # the codes on top
                values, sds = np.asarray(each.values)[order], np.nan_to_num(each.sds)[order]
                lowest = min(lowest, max(float((values - sds).min()), 0))
                highest = max(highest, float((values + sds).max()))
                style: dict[str, Any] = {"color": _COLOURS[each.place], "ms": 7, "capsize": 3}
                style |= {"fmt": _MARKS[each.place], "label": each.label}
                rows = np.arange(len(order))
                handles[each.label] = axes.errorbar(100 * values, rows, xerr=100 * sds, **style)
        least = math.floor(20 * lowest - 0.2) * 5
        for axes in every:
            _percent_axis(axes, least)
            axes.set_xlim(least, 100 * highest + 1)
            axes.set_xlabel("AUROC, % (50 is chance)")
            axes.tick_params(axis="y", length=0)
        _named_rows(every[0], [classes[i] for i in order.tolist()])
        heading(figure, title)
        places = {each.label: each.place for series in panels.values() for each in series}
        legend_below(figure, [handles[label] for label in sorted(handles, key=places.__getitem__)])
        return figure


def _percent_axis(axes: Axes, least: float) -> None:
    """An x axis of percents from `least` on, with ticks up to 100 alone."""
    step = next(step for step in (1, 2, 5, 10, 20) if (100 - least) / step <= 6)
    axes.set_xticks(np.arange(100, least - 1e-9, -step)[::-1])
    axes.grid(axis="y", visible=False)


def _named_rows(axes: Axes, names: Sequence[str]) -> None:
    """Names at the left, the first one on top."""
    axes.set_yticks(np.arange(len(names)), [shortened(name, _LETTERS) for name in names])
    for label in axes.get_yticklabels():
        label.set_parse_math(False)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
