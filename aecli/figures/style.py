"""The look that all figures share."""

from typing import Any

import matplotlib as mpl
import matplotlib.ticker
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

NETWORK, BASELINE, HELD_OUT, ACCENT = "#0b6e99", "#c8553d", "#5a5a5a", "#e0a100"
ERROR_MAP = "inferno"
_PIXELS_PER_INCH = 160

STYLE: dict[Any, Any] = {
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
    return Figure(figsize=(width, height), dpi=_PIXELS_PER_INCH, layout="constrained")


def log_mse_axis(axes: Axes) -> None:
    """A log y axis with plain numbers at 1, 2 and 5 of each decade."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(mpl.ticker.NullLocator())
    axes.yaxis.set_major_formatter(mpl.ticker.FormatStrFormatter("%.4g"))


def draw_picture(axes: Axes, image: Array) -> None:
    if len(image) == 3:
        axes.imshow(image.transpose(1, 2, 0).clip(0, 1))
    else:
        axes.imshow(image[0], cmap="gray", vmin=0, vmax=1)
    bare(axes)


def bare(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
