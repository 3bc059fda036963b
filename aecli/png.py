"""Figures of matplotlib as PNGs."""

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def png(figure: "Figure") -> bytes:
    """The bytes of a PNG, the same as from `figure.savefig` but sooner: that draws the whole figure
    once more, only to lay it out."""
    import matplotlib as mpl

    layout = figure.get_layout_engine()
    if layout is not None:
        layout.execute(figure)
        # None is the engine of the user's own settings, perhaps one that does not go with this one.
        with mpl.rc_context({"figure.autolayout": False, "figure.constrained_layout.use": False}):
            figure.set_layout_engine(None)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()
