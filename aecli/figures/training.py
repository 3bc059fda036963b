"""One codec: its reconstructions, its training, its code."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from aecli.counts import count
from aecli.figures.colours import class_colours
from aecli.figures.labels import Label, place_labels
from aecli.figures.pictures import PictureRow, channel_note, picture_rows
from aecli.figures.style import (
    ACCENT,
    BASELINE,
    ERROR_MAP,
    HELD_OUT,
    NETWORK,
    STYLE,
    Array,
    epoch_axis,
    heading,
    in_digits,
    legend_below,
    log_mse_axis,
    new_figure,
    shortened,
    text_width,
)

_LEGEND_LINES = 26  # classes in a column of the scatter's legend
_LETTERS = 20  # of a class's name in it
_NAMED_CLASSES = 40  # more names than these would cover the points
_WORDS = 12, 12  # as many names that are words, and letters of each
_POINTS = 20_000  # more would lie on each other, and take long to draw
_TERMS = {"pixels_nats": "pixels (nats)", "kl_nats": "KL (nats)", "loss": "loss"}


@dataclass(frozen=True)
class Decoded:
    """Some images through one codec."""

    name: str
    images: Array
    """(n, C, H, W)."""
    errors: Array
    """(n,) mse per pixel of each."""
    mean_error: float
    """Mse per pixel over all test images, not only these."""


def reconstructions(
    originals: Array,
    codecs: Sequence[Decoded],
    labels: Sequence[str],
    title: str,
    shown: Sequence[int] = (),
    masks: NDArray[np.bool_] | None = None,
) -> Figure:
    """Rows: originals, each codec's reconstructions, the first's absolute errors.

    originals: (n, C, H, W) in [0, 1]. labels: over the columns. shown: channels, as for
    `in_colour`; errors are means over all. masks: (n, H, W), True where a pixel is valid; None if
    all are.
    """
    difference = np.abs(codecs[0].images.clip(0, 1) - originals).mean(axis=1)
    if masks is not None:
        difference = np.where(masks, difference, 0)
    shades = mpl.cm.ScalarMappable(mpl.colors.Normalize(0, max(difference.max(), 1e-6)), ERROR_MAP)
    error_map = np.asarray(shades.cmap(shades.norm(difference)))[..., :3].transpose(0, 3, 1, 2)
    rows = [
        PictureRow("original", originals, shown=shown, masks=masks),
        *(
            PictureRow(
                codec.name,
                codec.images,
                [in_digits(codec.mean_error, 5)],
                [in_digits(error, 4) for error in codec.errors],
                shown=shown,
                masks=masks,
            )
            for codec in codecs
        ),
        PictureRow(
            "|error|" if len(codecs) == 1 else f"|error|,\n{codecs[0].name}",
            error_map,
            masks=masks,
        ),
    ]
    with mpl.rc_context(STYLE):
        return picture_rows(
            rows,
            title + channel_note(originals.shape[1], shown),
            "Under each image its own mse per pixel.",
            ["mse, all\ntest images"],
            labels,
            shades,
        )


def training_curve(
    epochs: Array,
    train_mse: Array,
    val_mse: Array,
    test_mse: float,
    baseline: tuple[str, float] | None,
    title: str,
    further: Mapping[str, tuple[Array, Array]] | None = None,
    drawn: bool = False,
    cut: bool = False,
) -> Figure:
    """The error per epoch on a log scale, the final test error, and a baseline (label, mse).

    epochs: (n,), counted from 1. further: the training and validation values (n,) of each further
    term of the loss, in a panel of its own below. drawn: True where the errors of training and
    validation are those of a code that was drawn, which are larger than the test's, of the mean.
    cut: True if in training codes were cut.
    """
    further, of_mean = further or {}, ", of the mean code" if drawn else ""
    with mpl.rc_context(STYLE):
        figure = new_figure(8, 4.5 + 1.7 * len(further))
        ratios = [3.0, *(1.4 for _ in further)]
        panels = figure.subplots(len(ratios), height_ratios=ratios, sharex=True, squeeze=False)
        axes = panels[0, 0]
        for panel, (name, (train, val)) in zip(panels[1:, 0], further.items(), strict=True):
            panel.plot(epochs, train, "o-", color=NETWORK)
            if np.isfinite(val).any():
                panel.plot(epochs, val, "s--", color=HELD_OUT, ms=5)
            panel.set(ylabel=_TERMS.get(name, name))
        handles = axes.plot(
            epochs,
            train_mse,
            "o-",
            color=NETWORK,
            label="training (running mean of the epoch" + (", codes cut)" if cut else ")"),
        )
        if np.isfinite(val_mse).any():
            handles += axes.plot(
                epochs, val_mse, "s--", color=HELD_OUT, ms=5, label="validation (after the epoch)"
            )
        handles += axes.plot(  # hollow and wide, so that it hides no other marker
            epochs[-1:],
            [test_mse],
            "D",
            color=ACCENT,
            ms=13,
            mfc="none",
            mew=2.2,
            zorder=1.5,
            label=f"test, at the end{of_mean}: {in_digits(test_mse, 5)}",
        )
        if baseline is not None:
            label, mse = baseline
            handles.append(axes.axhline(mse, color=BASELINE, label=f"{label}: {in_digits(mse, 5)}"))
        log_mse_axis(axes)
        epoch_axis(axes, int(epochs[-1]))
        axes.set(ylabel="mse per pixel" + (", of a drawn code" if drawn else ""))
        panels[-1, 0].set(xlabel="epoch")
        legend_below(figure, handles)
        heading(figure, title)
        return figure


def code_scatter(
    codes: Array,
    labels: NDArray[np.integer[Any]] | None,
    title: str,
    names: Sequence[str] = (),
) -> Figure:
    """Two-dimensional codes (n, 2), coloured by label (n,), each class named near its median.

    labels: None for one colour and no legend. names: that of each label, from 0 on; empty if its
    number is its name. Of very many codes some are drawn, which the title says.
    """
    mixed = np.random.default_rng(0).permutation(len(codes))  # or the last class hides others
    if len(codes) > _POINTS:
        mixed = mixed[:_POINTS]
        title += f", {_POINTS:,} of {len(codes):,} drawn"
    classes = [] if labels is None else np.unique(labels).tolist()
    colours = dict(zip(classes, class_colours(len(classes)), strict=True))
    named = {k: names[k] if k < len(names) else str(k) for k in classes}
    short = {k: shortened(name, _LETTERS) for k, name in named.items()}
    columns = -(-len(classes) // _LEGEND_LINES)
    wide = max((text_width(name, float(STYLE["font.size"])) for name in short.values()), default=0)
    with mpl.rc_context(STYLE):
        figure = new_figure(7.9 + max(0.75, wide + 0.5) * columns, 6.4)
        axes = figure.subplots()
        axes.scatter(
            codes[mixed, 0],
            codes[mixed, 1],
            s=float(np.clip(40_000 / len(codes), 5, 25)),
            alpha=0.6,
            linewidths=0,
            c=NETWORK if labels is None else [colours[label] for label in labels[mixed].tolist()],
        )
        axes.set(xlabel="code unit 0", ylabel="code unit 1")
        heading(figure, title)
        if labels is not None:
            _class_legend(axes, colours, short, columns)
            medians = {k: np.median(codes[labels == k], axis=0).tolist() for k in classes}
            _name_classes(axes, colours, named, medians)
        return figure


def _class_legend(
    axes: Axes, colours: Mapping[int, str], names: Mapping[int, str], columns: int
) -> None:
    """A legend beside the axes: the colour of each class, by its label, and its name."""
    dot: dict[str, Any] = {"marker": "o", "ms": 7, "lw": 0}
    legend = axes.legend(
        handles=[Line2D([], [], color=colour, label=" ", **dot) for colour in colours.values()],
        loc="upper left",
        bbox_to_anchor=(1.01, 1),
        title="label",
        ncols=columns,
    )
    # Set now: matplotlib leaves out a name that begins with _, and reads a formula between $.
    for text, name in zip(legend.get_texts(), names.values(), strict=True):
        text.set(text=name, parse_math=False)


def _name_classes(
    axes: Axes,
    colours: Mapping[int, str],
    names: Mapping[int, str],
    places: Mapping[int, tuple[float, float]],
) -> None:
    """Write each class near its place, unless so many names, or such long ones, cover the codes."""
    most, letters = _WORDS
    numbers = all(len(name) <= 3 for name in names.values())
    if len(names) > (_NAMED_CLASSES if numbers else most):
        return
    labels = []
    for k, colour in colours.items():
        box = {"boxstyle": "round,pad=0.25,rounding_size=0.6", "fc": "white", "lw": 1.8}
        style = {"weight": "bold", "bbox": box | {"ec": colour}, "parse_math": False}
        labels.append(Label(f" {shortened(names[k], letters)} ", places[k], style, pad=4))
    place_labels(axes, labels, (), 0)


def chapter_training(losses: Array, printed: Mapping[int, float], title: str) -> Figure:
    """The training mse per epoch of each seed (seeds, epochs), and what the chapter prints.

    printed: epoch -> mse, epochs counted from 0, as the chapter does; empty where it says nothing.
    """
    with mpl.rc_context(STYLE):
        figure = new_figure(8, 4.5)
        axes = figure.subplots()
        epochs = 1 + np.arange(losses.shape[1])
        lines = [axes.plot(epochs, seed, "o-", color=NETWORK, alpha=0.7)[0] for seed in losses]
        lines[0].set_label(f"measured, {count(len(losses), 'seed')}")
        handles = lines[:1]
        if printed:
            crosses = axes.plot(
                [1 + epoch for epoch in printed],
                list(printed.values()),
                "x",
                color=BASELINE,
                ms=11,
                mew=2.5,
                label="the chapter prints",
            )
            handles += crosses
        log_mse_axis(axes)
        epoch_axis(axes, losses.shape[1])
        where = "epoch, counted from 1" + (" (the chapter counts from 0)" if printed else "")
        axes.set(xlabel=where, ylabel="training mse per pixel (running mean)")
        heading(figure, title)
        legend_below(figure, handles)
        numbers = [
            Label(in_digits(mse, 4), (1 + epoch, mse), {"color": BASELINE})
            for epoch, mse in printed.items()
        ]
        covered = [np.column_stack([epochs, seed]) for seed in losses]
        place_labels(axes, numbers, covered, nearest=8)
        return figure
