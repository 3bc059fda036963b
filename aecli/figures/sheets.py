"""A contact sheet: some images of a dataset, as they are."""

import math
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from aecli.figures.pictures import PictureRow, channel_note, picture_rows
from aecli.figures.style import BASELINE, HELD_OUT, NETWORK, STYLE, Array, shortened

SPLITS = {"train": NETWORK, "val": HELD_OUT, "test": BASELINE}
"""The colour of each split of a dataset."""
_LETTERS = 18  # of a caption's line


def sheet(
    images: Array,
    captions: Sequence[str],
    title: str,
    note: str = "",
    masks: NDArray[np.bool_] | None = None,
    splits: Sequence[str] = (),
    shown: Sequence[int] = (),
) -> Figure:
    """A contact sheet of images (n, C, H, W) in [0, 1], each over its caption of a line or more.

    masks: (n, H, W), True where a pixel is valid; None if all are. splits: `train`, `val` or `test`
    for each image, which its frame and its caption say; empty for neither. shown: channels, as for
    `in_colour`.
    """
    lines = ["\n".join(shortened(line, _LETTERS) for line in c.split("\n")) for c in captions]
    if splits:
        lines = ["\n".join(filter(None, both)) for both in zip(splits, lines, strict=True)]
    columns = _columns(len(images), *images.shape[2:])
    rows = []
    for first in range(0, len(images), columns):
        some = slice(first, first + columns)
        rows.append(
            PictureRow(
                "",
                images[some],
                captions=lines[some],
                framed=range(len(splits[some])),
                shown=shown,
                masks=None if masks is None else masks[some],
                colours=[SPLITS[split] for split in splits[some]],
            )
        )
    with mpl.rc_context(STYLE):
        return picture_rows(rows, title + channel_note(images.shape[1], shown), note)


def _columns(n: int, height: int, width: int) -> int:
    """The number of columns that makes the sheet a little wider than high."""
    return max(min(n, round(math.sqrt(1.4 * n * (height + 0.5 * width) / width)), 12), 1)
