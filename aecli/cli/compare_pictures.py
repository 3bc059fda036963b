"""Pictures of `aecli compare`: the same test images as the codec of each run decodes them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from aecli import figures, machine
from aecli.data import datasets
from aecli.data.images import Batch, squared_errors
from aecli.data.sources import default_places
from aecli.errors import AecliError
from aecli.runs.run import Run
from aecli.runs.subject import places_of_own
from aecli.terminal import Terminal, one_line
from aecli.training import device

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHOWN = 10  # test images
_ROWS = 12  # codecs


def pictures(
    of_groups: Sequence[tuple[str, Run, float]], title: str, terminal: Terminal
) -> "Figure | None":
    """A row of decoded images for each run, under the originals; None if no run has a model whose
    test images are to be had. of_groups: name, run and its error over all test images."""
    device.seed_and_limit(0, machine.usable_cores())
    batch: Batch | None = None
    shown: tuple[int, ...] = ()
    decoded: list[figures.Decoded] = []
    indices: list[str] = []
    for name, run, mean_error in of_groups[:_ROWS]:
        if not run.has_model:
            continue
        try:
            if batch is None:
                config = run.config.data
                places = places_of_own(run, default_places(None, True))
                images = datasets.load(config, places, terminal.say, run.scale, True)
                n = len(images.test)
                chosen = torch.linspace(0, n - 1, min(_SHOWN, n)).round().long()
                batch, shown = images.test.read(chosen), images.shown
                indices = [str(i) for i in chosen.tolist()]
            with torch.no_grad():
                found = run.codec.reconstruct(batch)
            errors, _ = squared_errors(found, batch)
        except AecliError as error:
            terminal.warn([f"{one_line(name)}: not drawn: {one_line(str(error))}"])
            continue
        safe = name.replace("$", r"\$")  # between two of them matplotlib reads a formula
        decoded.append(figures.Decoded(safe, found.numpy(), errors.numpy(), mean_error))
    if batch is None or not decoded:
        return None
    if len(of_groups) > _ROWS:
        title += f", {_ROWS} of {len(of_groups)} drawn"
    return figures.reconstructions(
        batch.images.numpy(),
        decoded,
        indices,
        f"The same test images, decoded by each: {one_line(title)}",
        shown,
        batch.valid,
    )
