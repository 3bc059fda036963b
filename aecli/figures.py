"""Figures from arrays; nothing here knows torch, and nothing here saves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import matplotlib.ticker
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

NETWORK, BASELINE, HELD_OUT, ACCENT = "#0b6e99", "#c8553d", "#5a5a5a", "#e0a100"
_ERROR_MAP = "inferno"
_PIXELS_PER_INCH = 160

_STYLE: dict[Any, Any] = {
    "font.size": 10.5,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "lines.linewidth": 2,
    "image.interpolation": "nearest",
    "savefig.facecolor": "white",
}


def reconstructions(
    originals: Array, decoded: Array, errors: Array, labels: Sequence[str], title: str
) -> Figure:
    """Three rows: originals, reconstructions and absolute errors, a labelled column per image.

    originals, decoded: (n, C, H, W) in [0, 1], C 1 or 3. errors: (n,) mse per pixel of each.
    """
    n = len(originals)
    with mpl.rc_context(_STYLE):
        figure = _figure(max(6.5, 0.92 * n + 1.6), 4.0)
        grid = figure.subplots(3, n, squeeze=False)
        difference = np.abs(decoded.clip(0, 1) - originals).mean(axis=1)
        top = max(float(difference.max()), 1e-6)
        for i in range(n):
            _picture(grid[0, i], originals[i])
            _picture(grid[1, i], decoded[i])
            shown = grid[2, i].imshow(difference[i], cmap=_ERROR_MAP, vmin=0, vmax=top)
            _bare(grid[2, i])
            grid[0, i].set_title(labels[i], fontsize=9.5, weight="normal", loc="center", pad=5)
            grid[2, i].set_xlabel(f"{errors[i]:.4f}", fontsize=9.5)
        for row, name in enumerate(("original", "decoded", "|error|")):
            grid[row, 0].set_ylabel(name, fontsize=10.5)
        bar = figure.colorbar(shown, ax=grid[2, :].tolist(), shrink=0.9, aspect=8, pad=0.01)
        bar.set_label("pixel units", fontsize=9)
        bar.outline.set_visible(False)
        figure.suptitle(title, x=0.01, ha="left", weight="bold", fontsize=12)
        figure.supxlabel("mse per pixel of each image", fontsize=9.5)
        return figure


def training_curve(
    epochs: Array,
    train_mse: Array,
    val_mse: Array,
    test_mse: float,
    baseline: tuple[str, float] | None,
    title: str,
) -> Figure:
    """The error per epoch on a log scale, the final test error, and a baseline (label, mse)."""
    with mpl.rc_context(_STYLE):
        figure = _figure(8, 4.5)
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
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(mpl.ticker.NullLocator())
        axes.yaxis.set_major_formatter(mpl.ticker.FormatStrFormatter("%.4g"))
        axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
        axes.set(xlabel="epoch", ylabel="mse per pixel", title=title)
        axes.legend()
        return figure


def code_scatter(codes: Array, labels: NDArray[np.integer[Any]], title: str) -> Figure:
    """Two-dimensional codes (n, 2), coloured by label (n,), each class named at its median."""
    with mpl.rc_context(_STYLE):
        figure = _figure(8, 6.4)
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
    with mpl.rc_context(_STYLE):
        figure = _figure(10, 4.5)
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
    with mpl.rc_context(_STYLE):
        figure = _figure(8, 5)
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
        axes.set_yscale("log")
        ticks = sorted({point.code_dim for point in points} | set(drawn))
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
        lowest = min(point.mse for point in points)
        axes.set_ylim(bottom=lowest / 1.6)  # PCA's line falls to nothing at full rank
        axes.yaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(mpl.ticker.NullLocator())
        axes.yaxis.set_major_formatter(mpl.ticker.FormatStrFormatter("%.4g"))
        axes.set(xlabel="code dimension", ylabel="test mse per pixel", title=title)
        axes.legend()
        return figure


def chapter_training(losses: Array, printed: Mapping[int, float], title: str) -> Figure:
    """The training mse per epoch of each seed (seeds, epochs), and what the chapter prints."""
    with mpl.rc_context(_STYLE):
        figure = _figure(8, 4.5)
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


def decoded_grid(originals: Array, decoded: Sequence[tuple[str, Array]], title: str) -> Figure:
    """A row of originals (n, C, H, W) and a labelled row of reconstructions per codec."""
    rows = [("original", originals), *decoded]
    with mpl.rc_context(_STYLE):
        figure = _figure(0.82 * len(originals) + 1.2, 0.82 * len(rows) + 0.5)
        grid = figure.subplots(len(rows), len(originals), squeeze=False)
        for axes_row, (label, pictures) in zip(grid, rows, strict=True):
            for axes, picture in zip(axes_row, pictures, strict=True):
                _picture(axes, picture)
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
    with mpl.rc_context(_STYLE):
        figure = _figure(8, 5)
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
        axes.set_yscale("log")
        axes.set_xticks(code_dims, [str(k) for k in code_dims])
        axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
        axes.yaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(mpl.ticker.NullLocator())
        axes.yaxis.set_major_formatter(mpl.ticker.FormatStrFormatter("%.4g"))
        axes.set(xlabel="code dimension", ylabel="test mse per pixel", title=title)
        axes.legend()
        return figure


def unit_mix(mix: Array, title: str) -> Figure:
    """How the linear autoencoder's units are made of PCA's: |mix| (k, k), columns of norm 1."""
    with mpl.rc_context(_STYLE):
        figure = _figure(6.4, 5.4)
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


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), dpi=_PIXELS_PER_INCH, layout="constrained")


def _picture(axes: Axes, image: Array) -> None:
    if len(image) == 3:
        axes.imshow(image.transpose(1, 2, 0).clip(0, 1))
    else:
        axes.imshow(image[0], cmap="gray", vmin=0, vmax=1)
    _bare(axes)


def _bare(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
