"""The units of one code: their variance and correlation, what each says, and how few suffice."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from aecli.counts import count
from aecli.figures.labels import Label, place_labels
from aecli.figures.style import (
    BASELINE,
    NETWORK,
    STYLE,
    Array,
    code_dim_axis,
    heading,
    in_digits,
    legend_below,
    log_mse_axis,
    new_figure,
    unit_axis,
    unit_matrix_axes,
)

_MANY = 256  # units of a code; of more no bar is wide enough to see
_LEAST_PERCENT = 1e-6  # of the codes' variance; a unit that has less is drawn there
_LEAST_SHARE = 1e-5  # of the largest mse; PCA's line leaves the axes below it
_LEAST_SCALE = 0.1  # smallest scale of correlations; below it all is noise, and should look so


def code_units(
    variances: Array, pca_variances: Array | None, correlation: Array | None, title: str
) -> Figure:
    """Left: the variance of each code unit, beside PCA's; right: their correlations. Units are
    shown as they come, but those of a code of many from the largest variance to the smallest.

    variances: (k,) by unit. pca_variances: (k,) by component, fewer where PCA has no more, or None.
    correlation: (k, k), or None where k is too large for it. A single unit has nothing to be
    correlated with; there is no right side then, and none without correlations.
    """
    k = len(variances)
    sides = 1 if k == 1 or correlation is None else 2
    with mpl.rc_context(STYLE):
        figure = new_figure(10 if sides > 1 else 6.5, 4.8)
        bars, *others = figure.subplots(1, sides, squeeze=False, width_ratios=(1.25, 1)[:sides])[0]
        units, is_many = np.arange(k), k > _MANY
        share = 100 * variances / max(float(variances.sum()), 1e-12)
        label, handles = "this codec, by unit", list[Any]()
        if is_many:
            falling = np.maximum(np.sort(share)[::-1], _LEAST_PERCENT)
            handles += bars.plot(units, falling, color=NETWORK, lw=2.5, label=label)
            bars.set_yscale("log")
        else:
            handles = [bars.bar(units, share, color=NETWORK, width=0.85, label=label)]
        if pca_variances is not None:
            pca_share = 100 * pca_variances / max(float(pca_variances.sum()), 1e-12)
            handles += bars.plot(
                units[: len(pca_share)],
                np.maximum(pca_share, _LEAST_PERCENT) if is_many else pca_share,
                "-" if is_many else "o-",
                color=BASELINE,
                ms=4,
                lw=1.5,
                label="PCA, by component",
            )
        unit_axis(bars, k)
        if is_many:
            bars.set_xlabel("units, or components, from the largest variance on")
        bars.set(ylabel="share of the codes' variance (%)", title="Variance per unit")
        for matrix in others:
            assert correlation is not None
            matrix.set_title("Correlation between units")
            scale = _off_diagonal_scale(correlation)
            shown = matrix.imshow(
                np.ma.masked_where(np.eye(k, dtype=bool), correlation),
                cmap=mpl.colormaps["RdBu_r"].with_extremes(bad="#9a9a9a"),
                vmin=-scale,
                vmax=scale,
            )
            unit_matrix_axes(matrix)
            matrix.set(xlabel="code unit (grey: with itself)", ylabel="code unit")
            bar = figure.colorbar(shown, ax=matrix, shrink=0.85, pad=0.03)
            bar.set_label(f"correlation; the colours end at ±{scale:.2g}")
            bar.outline.set_visible(False)
        legend_below(figure, handles)
        heading(figure, title)
        return figure


def kl_units(divergences: Array, active: NDArray[np.bool_], title: str) -> Figure:
    """Nats that each unit of a variational codec says of an image: its divergence from N(0, 1).

    divergences: (k,) in nats. active: (k,), True for units whose mean varies with the image.
    """
    with mpl.rc_context(STYLE):
        figure = new_figure(8, 4.5)
        axes = figure.subplots()
        units = np.arange(len(divergences))
        handles = [
            axes.bar(units[which], divergences[which], width=0.85, color=colour, label=label)
            for which, colour, label in (
                (active, NETWORK, f"active: {active.sum()} of {count(len(active), 'unit')}"),
                (~active, BASELINE, "not active: the same for every image"),
            )
            if which.any()
        ]
        unit_axis(axes, len(units))
        axes.set(ylabel="divergence from N(0, 1) (nats)", ylim=(0, None))
        legend_below(figure, handles)
        heading(figure, title)
        return figure


def deleted_units(
    mse: Sequence[float],
    whole_mse: float,
    pca_mse: Sequence[float],
    pca_whole_mse: float,
    title: str,
) -> Figure:
    """Test mse, log, without each unit of a code, beside PCA's without each component.

    mse, pca_mse: (k,) by unit. whole_mse, pca_whole_mse: with all of them, as a line.
    """
    with mpl.rc_context(STYLE):
        figure = new_figure(9, 4.8)
        axes = figure.subplots()
        handles: list[Any] = []
        for errors, whole, colour, mark, name, parts in (
            (mse, whole_mse, NETWORK, "o", "this codec", "unit"),
            (pca_mse, pca_whole_mse, BASELINE, "s", "PCA", "component"),
        ):
            label = f"{name}, without a {parts}"
            handles += axes.plot(errors, mark, color=colour, ms=6, label=label)
            label = f"{name}, with all {parts}s"
            handles.append(axes.axhline(whole, color=colour, lw=1.5, label=label))
            axes.vlines(range(len(errors)), whole, errors, color=colour, lw=1, alpha=0.4)
        log_mse_axis(axes)
        unit_axis(axes, len(mse))
        axes.set(ylabel="test mse per pixel")
        heading(figure, title)
        legend_below(figure, handles)
        return figure


def ordered(units: Sequence[int], mse: Array, pca_mse: Array, title: str) -> Figure:
    """Test mse over the number of first units, both log, of one ordered code and of PCA.

    units: (n,) ascending, the last the whole code. mse, pca_mse: (n,); nan where PCA has no more
    components.
    """
    named = [k for k in units if k.bit_count() == 1 or k == units[-1]]
    with mpl.rc_context(STYLE):
        figure = new_figure(8, 5.2)
        axes = figure.subplots()
        handles = axes.plot(units, mse, "o-", color=NETWORK, ms=5, label="this codec, one training")
        lowest = mse.min()
        covered = [np.column_stack([units, mse])]
        if np.isfinite(pca_mse).any():
            line = axes.plot(units, pca_mse, "-", color=BASELINE, label="PCA")
            handles += line
            there = np.isfinite(pca_mse)
            covered.append(np.column_stack([units, pca_mse])[there])
            above = pca_mse[there & (pca_mse > _LEAST_SHARE * mse.max())]
            lowest = min([lowest, *above])  # it falls to nothing at full rank
        code_dim_axis(axes, named, 1)
        log_mse_axis(axes)
        axes.set_ylim(bottom=lowest / 1.5)
        axes.set(xlabel="first units, with 0 for the others", ylabel="test mse per pixel")
        heading(figure, title)
        legend_below(figure, handles)
        at = dict(zip(units, mse.tolist(), strict=True))
        numbers = [Label(in_digits(at[k], 4), (k, at[k]), {"color": NETWORK}) for k in named]
        place_labels(axes, numbers, covered)
        return figure


def _off_diagonal_scale(correlation: Array) -> float:
    """The largest |correlation| of two units, rounded up to two digits; at least _LEAST_SCALE."""
    apart = np.abs(correlation[~np.eye(len(correlation), dtype=bool)])
    return max(float(np.ceil(100 * np.nanmax(apart, initial=0)) / 100), _LEAST_SCALE)
