"""Many codecs side by side: over code dimensions, and against linear maps."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from aecli.figures.labels import Label, place_labels
from aecli.figures.pictures import PictureRow, channel_note, picture_rows
from aecli.figures.style import (
    ACCENT,
    BASELINE,
    FOURTH,
    HELD_OUT,
    NETWORK,
    STYLE,
    THIRD,
    Array,
    code_dim_axis,
    heading,
    in_digits,
    legend_below,
    log_mse_axis,
    new_figure,
    unit_matrix_axes,
)

_LEAST = 1e-5  # share of the largest mse; smaller ones, a copy's rounding, are drawn as this much


@dataclass(frozen=True)
class TradeoffPoint:
    """One code dimension: its test mse over seeds, and whether its layers were widened."""

    code_dim: int
    mse: float
    sd: float
    """Standard deviation over seeds; nan for a single seed."""
    wide: bool


def tradeoff(
    points: Sequence[TradeoffPoint],
    pca: tuple[NDArray[np.integer[Any]], Array],
    printed: Mapping[int, float],
    title: str,
) -> Figure:
    """Test mse over code dimension, both log: the network, PCA's line, and what the chapter prints.

    points: by ascending code dimension. pca: code dimensions (n,), those of the points among them
    as far as PCA has components, and their mse (n,). printed: code dimension -> mse; 0 is not
    drawn, nor what lies beyond the largest code dimension.
    """
    least = _LEAST * max(point.mse for point in points)
    with mpl.rc_context(STYLE):
        figure = new_figure(8, 5.2)
        axes = figure.subplots()
        handles: list[Any] = axes.plot(*pca, "-", color=BASELINE, label="PCA")
        covered: list[Array] = [np.column_stack(pca)]
        for wide, style, label in (
            (False, "o-", "network"),
            (True, "D", "network without hidden layers"),
        ):
            chosen = [point for point in points if point.wide == wide]
            if chosen:
                x = [point.code_dim for point in chosen]
                y = np.array([max(point.mse, least) for point in chosen])
                bars = _error_bars(y, [point.sd for point in chosen])
                drawn = axes.errorbar(
                    x,
                    y,
                    bars,
                    fmt=style,
                    color=ACCENT if wide else NETWORK,
                    ms=8,
                    capsize=4,
                    label=label,
                )
                handles.append(drawn)
                places = np.column_stack([x, y])
                covered += [*places[:, None]] if wide else [places]
                if bars is not None:
                    ends = zip(x, y - bars[0], y + bars[1], strict=True)
                    covered += [np.array([[k, low], [k, high]]) for k, low, high in ends]
        dims = sorted({point.code_dim for point in points})
        crosses = {k: mse for k, mse in printed.items() if mse > 0 and k <= dims[-1]}
        if crosses:
            handles += axes.plot(
                list(crosses),
                list(crosses.values()),
                "x",
                ms=9,
                mew=2.2,
                color=HELD_OUT,
                label="the chapter prints",
            )
            # Two strokes as long as the marker's, on these axes.
            for k, mse in crosses.items():
                covered += [
                    np.array([[k / 1.08, mse / f], [k * 1.08, mse * f]]) for f in (1.08, 1 / 1.08)
                ]
        ticks = sorted({*dims, *crosses})
        code_dim_axis(axes, ticks, min(int(pca[0][0]), ticks[0]))
        log_mse_axis(axes)
        lowest = min(path[:, 1].min() for path in covered[1:])
        # PCA's line falls to nothing at full rank; what lies above that is seen at every point.
        beside = np.interp(dims, *pca)
        axes.set_ylim(bottom=min([lowest, *beside[beside > least]]) / 1.5)
        axes.set_ylabel("test mse per pixel" + _over_seeds(point.sd for point in points))
        heading(figure, title)
        legend_below(figure, handles)
        numbers = [
            Label(
                in_digits(point.mse, 4),
                (point.code_dim, max(point.mse, least)),
                {"fontsize": 9, "color": "#8a6300" if point.wide else NETWORK},
            )
            for point in points
        ]
        place_labels(axes, numbers, covered)
        return figure


def decoded_grid(
    originals: Array,
    decoded: Sequence[tuple[str, Array, float]],
    head: str,
    title: str,
    shown: Sequence[int] = (),
    masks: NDArray[np.bool_] | None = None,
) -> Figure:
    """A row of originals (n, C, H, W) and a row per codec: its name, images and test mse.

    head: text over the column of errors. shown: channels, as for `in_colour`. masks: (n, H, W),
    True where a pixel is valid; None if all are.
    """
    rows = [PictureRow("original", originals, shown=shown, masks=masks)]
    rows += [
        PictureRow(name, images, [in_digits(mse, 5)], shown=shown, masks=masks)
        for name, images, mse in decoded
    ]
    with mpl.rc_context(STYLE):
        return picture_rows(rows, title + channel_note(originals.shape[1], shown), heads=[head])


def comparison(
    code_dims: Sequence[int],
    lines: Sequence[tuple[str, Sequence[float], Sequence[float] | None]],
    title: str,
) -> Figure:
    """Test mse over code dimension for up to six codecs (label, mse, sd or None), log-log.

    The first is the network; the gap between it and a codec called PCA is shaded. An mse of nan is
    not drawn. code_dims: ascending.
    """
    least = _LEAST * max(np.nanmax(mse) for _, mse, _ in lines if not np.isnan(mse).all())
    with mpl.rc_context(STYLE):
        figure = new_figure(8, 5.2)
        axes = figure.subplots()
        colours = (NETWORK, BASELINE, HELD_OUT, ACCENT, THIRD, FOURTH)
        marks = ("o-", "s-", "^--", "v:", "D:", "x:")
        by_label = {label: np.maximum(mse, least) for label, mse, _ in lines}
        handles: list[Any] = []
        for (label, mse, sd), colour, mark in zip(lines, colours, marks, strict=False):
            if np.isnan(mse).all():
                continue
            drawn = axes.errorbar(
                code_dims,
                by_label[label],
                _error_bars(by_label[label], sd or [math.nan]),
                fmt=mark,
                color=colour,
                capsize=4,
                ms=7,
                mfc="none" if mark == "^--" else colour,  # the linear autoencoder lies on PCA
                mew=1.5,
                label=label,
            )
            handles.append(drawn)
        if "PCA" in by_label and len(code_dims) > 1:
            axes.fill_between(
                code_dims,
                by_label[lines[0][0]],
                by_label["PCA"],
                color=NETWORK,
                alpha=0.08,
                lw=0,
            )
        code_dim_axis(axes, code_dims, code_dims[0])
        log_mse_axis(axes)
        axes.set_ylabel(
            "test mse per pixel" + _over_seeds(sd for _, _, sds in lines for sd in sds or ())
        )
        heading(figure, title)
        legend_below(figure, handles)
        return figure


def _error_bars(mse: Array, sds: Sequence[float]) -> Array | None:
    """Lengths (2, n) below and above; below they end where a log axis can still show it.

    None where there is one seed only.
    """
    sd = np.nan_to_num(np.asarray(sds, dtype=float))
    return np.stack([np.minimum(sd, 0.9 * mse), sd]) if sd.any() else None


def _over_seeds(sds: Iterable[float]) -> str:
    """Addition to an axis label where there are error bars."""
    return ", mean and deviation over seeds" if any(sd > 0 for sd in sds) else ""


def unit_mix(mix: Array, title: str) -> Figure:
    """The linear autoencoder's units as mixes of PCA's: |mix| (k, k), columns of norm 1."""
    share = np.abs(mix)
    scale = float(np.ceil(100 * share.max()) / 100)
    with mpl.rc_context(STYLE):
        figure = new_figure(6.6, 5.6)
        axes = figure.subplots()
        shown = axes.imshow(share, cmap="Blues", vmin=0, vmax=scale)
        unit_matrix_axes(axes)
        axes.set(xlabel="linear autoencoder's unit", ylabel="principal component")
        bar = figure.colorbar(shown, ax=axes, shrink=0.9)
        bar.set_label(f"absolute share of the unit's direction; the colours end at {scale:.2g}")
        bar.outline.set_visible(False)
        heading(figure, title)
        return figure
