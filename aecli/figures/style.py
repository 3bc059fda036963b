"""The look that all figures share: colours, titles that fit, legends below, axes of errors."""

import math
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.ticker
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

NETWORK, BASELINE, HELD_OUT, ACCENT = "#0b6e99", "#c8553d", "#5a5a5a", "#e0a100"
THIRD, FOURTH = "#3f8f4f", "#8a5fb0"  # baselines beside the first two
ERROR_MAP = "inferno"
PIXELS_PER_INCH = 160
TITLE, NOTE = 12, 9.5  # points

STYLE: dict[Any, Any] = {
    "figure.autolayout": False,  # what the user's own settings say lays no figure out
    "figure.constrained_layout.use": False,
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


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of that many inches, laid out by matplotlib's constrained layout."""
    return Figure(figsize=(width, height), dpi=PIXELS_PER_INCH, layout="constrained")


def heading(figure: Figure, title: str) -> None:
    """The figure's title, in as many lines as it needs."""
    text = wrapped(title, figure.get_figwidth() - 0.2, TITLE, "bold")
    style: dict[str, Any] = {"weight": "bold", "fontsize": TITLE, "parse_math": False}
    figure.suptitle(text, x=0.01, ha="left", **style)


def legend_below(figure: Figure, handles: Sequence[Any]) -> None:
    """A legend under the axes, where it covers nothing; in as many columns as fit."""
    size = float(mpl.rcParams["font.size"])
    widths = [text_width(str(handle.get_label()), size) + 5 * size / 72 for handle in handles]
    columns = next(
        n
        for n in range(len(handles), 0, -1)
        if n == 1 or sum(map(max, _columns(widths, n))) < figure.get_figwidth() - 0.3
    )
    figure.legend(handles=list(handles), loc="outside lower center", ncols=columns)


def _columns(values: Sequence[float], n: int) -> list[Sequence[float]]:
    """The values in `n` columns, filled one after the other as matplotlib fills a legend's."""
    least, more = divmod(len(values), n)
    ends = np.cumsum([least + (i < more) for i in range(n)]).tolist()
    return [values[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def text_width(text: str, size: float, weight: str = "normal") -> float:
    """The width of a line of text in inches."""
    font = FontProperties(size=size, weight=weight)
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return float(width) / 72


def shortened(text: str, letters: int) -> str:
    """`text` in at most so many letters, an ellipsis where its middle was: names that begin alike
    often end differently."""
    if len(text) <= letters:
        return text
    tail = (letters - 1) // 2
    return f"{text[: letters - 1 - tail].rstrip()}…{text[len(text) - tail :].lstrip()}"


def wrapped(text: str, inches: float, size: float, weight: str = "normal") -> str:
    """`text` in lines of at most that width; a word that is wider alone is cut."""

    def fits(line: str) -> bool:
        return text_width(line, size, weight) <= inches

    lines = [""]
    for word in text.split():
        rest = word
        if lines[-1] and not fits(f"{lines[-1]} {rest}"):
            lines.append("")
        while not lines[-1] and not fits(rest) and len(rest) > 1:
            guess = int(1.1 * len(rest) * inches / text_width(rest, size, weight))
            longest = min(max(guess, 1), len(rest) - 1)
            part = next(n for n in range(longest, 0, -1) if n == 1 or fits(rest[:n]))
            lines[-1:] = [rest[:part], ""]
            rest = rest[part:]
        lines[-1] = f"{lines[-1]} {rest}".strip()
    return "\n".join(lines)


class _MseLocator(mpl.ticker.Locator):
    """1, 2 and 5 of each decade; more where few of them are in view, tens where many are."""

    def __call__(self) -> Sequence[float]:
        assert self.axis is not None
        low, high = self.axis.get_view_interval()
        return self.tick_values(low, high)

    def tick_values(self, vmin: float, vmax: float) -> Sequence[float]:
        low, high = max(vmin, 1e-300), max(vmax, 1e-299)
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        if len(powers) > 6:
            return [10.0**power for power in powers[:: -(-len(powers) // 8)]]
        ticks = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
        if sum(low <= tick <= high for tick in ticks) >= 3:
            return ticks
        ticks = [digit * 10.0**power for power in powers for digit in range(1, 10)]
        if sum(low <= tick <= high for tick in ticks) >= 3:
            return ticks
        even = mpl.ticker.MaxNLocator(5).tick_values(low, high)
        return [float(tick) for tick in even if tick > 0]


def log_mse_axis(axes: Axes) -> None:
    """A log y axis with plain numbers, at least some of them in view whatever its range."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(_MseLocator())
    axes.yaxis.set_minor_locator(mpl.ticker.NullLocator())
    axes.yaxis.set_major_formatter(mpl.ticker.FormatStrFormatter("%.4g"))


def code_dim_axis(axes: Axes, code_dims: Sequence[int], lowest: int) -> None:
    """A log x axis from `lowest` on with a tick at each code dimension, named where there is room.

    code_dims: ascending.
    """
    low, high = math.log(lowest / 1.3), math.log(code_dims[-1] * 1.3)
    figure = axes.get_figure(root=True)
    assert figure is not None
    inches = (figure.get_figwidth() - 1) / (high - low)

    def reach(code_dim: int) -> tuple[float, float]:
        half = text_width(str(code_dim), float(mpl.rcParams["font.size"])) / 2 + 0.04
        middle = math.log(code_dim) * inches
        return middle - half, middle + half

    named = {code_dims[-1]}
    end = -math.inf
    last = reach(code_dims[-1])[0]
    for code_dim in code_dims[:-1]:
        left, right = reach(code_dim)
        if left >= end and right <= last:
            named.add(code_dim)
            end = right
    axes.set_xscale("log")
    axes.set_xticks(code_dims, [str(k) if k in named else "" for k in code_dims])
    axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    axes.set_xlim(math.exp(low), math.exp(high))
    axes.set_xlabel("code dimension")


def unit_axis(axes: Axes, units: int) -> None:
    """An x axis of a code's units, which count from 0; no tick where there is no unit."""
    axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlim(-0.7, units - 0.3)
    axes.set_xlabel("code unit")
    axes.grid(axis="x", visible=False)


def unit_matrix_axes(axes: Axes) -> None:
    """The axes of a picture with a row and a column for each unit."""
    axes.grid(visible=False)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(mpl.ticker.MaxNLocator(integer=True, min_n_ticks=1))


def epoch_axis(axes: Axes, epochs: int) -> None:
    """An x axis of epochs, counted from 1."""
    axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True, min_n_ticks=1))
    side = max(0.04 * (epochs - 1), 0.3)
    axes.set_xlim(1 - side, epochs + side)


def bare(axes: Axes) -> None:
    """Leave nothing but what is drawn in the axes: no ticks, no grid, no frame."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def in_digits(mse: float, decimals: int) -> str:
    """An mse with so many decimals; with two digits where those would all be zeros."""
    return f"{mse:.{decimals}f}" if mse >= 10**-decimals or mse == 0 else f"{mse:.1e}"
