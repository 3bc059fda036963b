"""One codec: its reconstructions, its training, its code."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.ticker
import numpy as np
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from aecli.figures.style import (
    ACCENT,
    BASELINE,
    ERROR_MAP,
    HELD_OUT,
    NETWORK,
    STYLE,
    Array,
    bare,
    log_mse_axis,
    new_figure,
)

_GAP = 3  # pixels between the pictures of a row


def reconstructions(
    originals: Array, decoded: Array, errors: Array, labels: Sequence[str], title: str
) -> Figure:
    """Three rows: originals, reconstructions and absolute errors, a labelled column per image.

    originals, decoded: (n, C, H, W) in [0, 1], C 1 or 3. errors: (n,) mse per pixel of each.
    """
    difference = np.abs(decoded.clip(0, 1) - originals).mean(axis=1)
    shades = mpl.cm.ScalarMappable(mpl.colors.Normalize(0, max(difference.max(), 1e-6)), ERROR_MAP)
    error_row = np.asarray(shades.cmap(shades.norm(difference)))[..., :3]
    rows = [_in_colour(originals), _in_colour(decoded), error_row]
    n, height, width, _ = error_row.shape
    with mpl.rc_context(STYLE):
        figure = new_figure(max(6.5, 0.92 * n + 1.6), 3.8)
        axes = figure.subplots()
        axes.imshow(_tiled(rows))  # one picture: an axes for each image takes ten times as long
        bare(axes)
        columns = (width + _GAP) * np.arange(n) + (width - 1) / 2
        axes.set_xticks(columns, [f"{error:.4f}" for error in errors], fontsize=9.5)
        lines = (height + _GAP) * np.arange(3) + (height - 1) / 2
        axes.set_yticks(lines, ("original", "decoded", "|error|"), fontsize=10.5)
        axes.tick_params(length=0)
        for x, label in zip(columns, labels, strict=True):
            axes.text(x, -3, label, fontsize=9.5, ha="center")
        beside_the_errors = axes.inset_axes((1.01, 0, 0.012, height / (3 * height + 2 * _GAP)))
        bar = figure.colorbar(shades, cax=beside_the_errors)
        bar.set_label("pixel units", fontsize=9)
        bar.outline.set_visible(False)
        figure.suptitle(title, x=0.01, ha="left", weight="bold", fontsize=12)
        axes.set_xlabel("mse per pixel of each image", fontsize=9.5)
        return figure


def _in_colour(images: Array) -> Array:
    """(n, H, W, 3) in [0, 1] of images (n, C, H, W), C 1 or 3."""
    last = images.clip(0, 1).transpose(0, 2, 3, 1)
    return np.broadcast_to(last, (*last.shape[:3], 3))


def _tiled(rows: Sequence[Array]) -> Array:
    """One picture of rows of images (n, H, W, 3), white between them."""
    n, height, width, _ = rows[0].shape
    pitch = np.array([height + _GAP, width + _GAP])
    picture = np.ones((*(pitch * (len(rows), n) - _GAP), 3))
    for r, row in enumerate(rows):
        for i, image in enumerate(row):
            top, left = pitch * (r, i)
            picture[top : top + height, left : left + width] = image
    return picture


def training_curve(
    epochs: Array,
    train_mse: Array,
    val_mse: Array,
    test_mse: float,
    baseline: tuple[str, float] | None,
    title: str,
) -> Figure:
    """The error per epoch on a log scale, the final test error, and a baseline (label, mse)."""
    with mpl.rc_context(STYLE):
        figure = new_figure(8, 4.5)
        axes = figure.subplots()
        axes.plot(
            epochs, train_mse, "o-", color=NETWORK, label="training (running mean of the epoch)"
        )
        if np.isfinite(val_mse).any():
            axes.plot(epochs, val_mse, "s--", color=HELD_OUT, label="validation (after the epoch)")
        axes.plot(
            epochs[-1:],
            [test_mse],
            "D",
            color=ACCENT,
            ms=9,
            label=f"test, at the end: {test_mse:.5f}",
        )
        if baseline is not None:
            label, mse = baseline
            axes.axhline(mse, color=BASELINE)
            axes.annotate(
                f"{label}: {mse:.5f}",
                (1, mse),
                xycoords=("axes fraction", "data"),
                xytext=(-4, 5),
                textcoords="offset points",
                ha="right",
                color=BASELINE,
            )
        log_mse_axis(axes)
        axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
        axes.set(xlabel="epoch", ylabel="mse per pixel", title=title)
        axes.legend()
        return figure


def code_scatter(codes: Array, labels: NDArray[np.integer[Any]], title: str) -> Figure:
    """Two-dimensional codes (n, 2), coloured by label (n,), each class named at its median."""
    with mpl.rc_context(STYLE):
        figure = new_figure(8, 6.4)
        axes = figure.subplots()
        classes = np.unique(labels)
        colours: Colormap = mpl.colormaps["tab10" if len(classes) <= 10 else "tab20"]
        for i, label in enumerate(classes):
            members = codes[labels == label]
            axes.scatter(
                members[:, 0],
                members[:, 1],
                s=5,
                alpha=0.55,
                linewidths=0,
                color=colours(i % colours.N),
            )
        for i, label in enumerate(classes):
            middle = np.median(codes[labels == label], axis=0)
            box = {
                "boxstyle": "circle,pad=0.25",
                "fc": "white",
                "ec": colours(i % colours.N),
                "lw": 1.8,
            }
            axes.annotate(str(label), middle, ha="center", va="center", weight="bold", bbox=box)
        axes.set(xlabel="code unit 0", ylabel="code unit 1", title=title)
        return figure


def code_units(
    variances: Array, pca_variances: Array | None, correlation: Array, title: str
) -> Figure:
    """Left: the variance of each code unit as it comes, beside PCA's; right: their correlations.

    variances: (k,) by unit. pca_variances: (k,) by component, or None. correlation: (k, k).
    """
    with mpl.rc_context(STYLE):
        figure = new_figure(10, 4.5)
        bars, matrix = figure.subplots(1, 2, width_ratios=(1.25, 1))
        units = np.arange(len(variances))
        share = variances / max(float(variances.sum()), 1e-12)
        bars.bar(units, 100 * share, color=NETWORK, width=0.85, label="this codec, unit by unit")
        if pca_variances is not None:
            pca_share = pca_variances / max(float(pca_variances.sum()), 1e-12)
            bars.plot(
                units, 100 * pca_share, "o-", color=BASELINE, ms=4, lw=1.5, label="PCA, in order"
            )
        bars.set(
            xlabel="code unit", ylabel="share of the codes' variance (%)", title="Variance per unit"
        )
        bars.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
        bars.grid(axis="x", visible=False)
        bars.legend()
        shown = matrix.imshow(correlation, cmap="RdBu_r", vmin=-1, vmax=1)
        matrix.grid(visible=False)
        matrix.set(xlabel="code unit", ylabel="code unit", title="Correlation between units")
        for axis in (matrix.xaxis, matrix.yaxis):
            axis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
        bar = figure.colorbar(shown, ax=matrix, shrink=0.85, pad=0.03)
        bar.set_label("correlation")
        bar.outline.set_visible(False)
        figure.suptitle(title, x=0.01, ha="left", weight="bold", fontsize=12)
        return figure


def chapter_training(losses: Array, printed: Mapping[int, float], title: str) -> Figure:
    """The training mse per epoch of each seed (seeds, epochs), and what the chapter prints."""
    with mpl.rc_context(STYLE):
        figure = new_figure(8, 4.5)
        axes = figure.subplots()
        epochs = np.arange(losses.shape[1])
        for i, seed in enumerate(losses):
            label = f"measured, {len(losses)} seed(s)" if i == 0 else None
            axes.plot(epochs, seed, "o-", color=NETWORK, alpha=0.7, label=label)
        axes.plot(
            list(printed),
            list(printed.values()),
            "x",
            color=BASELINE,
            ms=11,
            mew=2.5,
            label="the chapter prints",
        )
        for epoch, mse in printed.items():
            axes.annotate(
                f"{mse:.4f}",
                (epoch, mse),
                xytext=(9, -4),
                textcoords="offset points",
                color=BASELINE,
            )
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
        axes.set(xlabel="epoch", ylabel="training mse per pixel (running mean)", title=title)
        axes.legend()
        return figure
