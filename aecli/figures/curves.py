"""Trainings over one another: an error per epoch, a colour for each kind of run."""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.figure import Figure

from aecli.figures.colours import class_colours
from aecli.figures.style import (
    STYLE,
    Array,
    epoch_axis,
    heading,
    legend_below,
    log_mse_axis,
    new_figure,
    shortened,
)

MOST_CURVES = 12
"""Kinds of runs in one picture; the colours of more cannot be told apart."""
_LETTERS = 60  # of a name in the legend


@dataclass(frozen=True)
class Curve:
    """Trainings that differ by seed alone."""

    name: str
    values: Sequence[Array]
    """For each seed (n,): the value after each epoch."""


def curves(trainings: Sequence[Curve], term: str, title: str) -> Figure:
    """A line for each seed of the first MOST_CURVES trainings, over the epochs, counted from 1.

    term: name of what is drawn; one that ends with mse has a log axis.
    """
    drawn = trainings[:MOST_CURVES]
    if len(drawn) < len(trainings):
        title += f", {len(drawn)} of {len(trainings)} drawn"
    with mpl.rc_context(STYLE):
        figure = new_figure(8, 4.5)
        axes = figure.subplots()
        handles = []
        for curve, colour in zip(drawn, class_colours(len(drawn)), strict=True):
            alpha = 0.9 if len(curve.values) == 1 else 0.6
            lines = [
                axes.plot(
                    range(1, len(values) + 1),
                    values,
                    "o-" if len(values) < 30 else "-",
                    color=colour,
                    alpha=alpha,
                    ms=4,
                )[0]
                for values in curve.values
            ]
            lines[0].set_label(" " + shortened(curve.name, _LETTERS).replace("$", r"\$"))
            handles.append(lines[0])
        if term.endswith("mse"):
            log_mse_axis(axes)
        epoch_axis(axes, max(len(values) for curve in drawn for values in curve.values))
        words = {"val_mse": "validation mse per pixel", "train_mse": "training mse per pixel"}
        axes.set(xlabel="epoch", ylabel=words.get(term, term))
        heading(figure, title)
        legend_below(figure, handles)
        return figure
