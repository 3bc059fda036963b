"""Pictures of `aecli sweep-codedim`: the trade-off, the decoded images, the codes of a plane."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aecli import chapter, figures
from aecli.codecs.pca import Pca
from aecli.counts import count
from aecli.data.images import Images
from aecli.measure import metrics
from aecli.measure.seeds import mean, spread
from aecli.runs.folder import RunDir

if TYPE_CHECKING:
    from aecli.experiments.sweep_codedim import Row, RowSpec, Sweep

_SHOWN = 12  # images decoded by each row in the figure


def draw(sweep: "Sweep", images: Images, pca: Pca, run_dir: RunDir) -> None:
    """Leave every picture in the run. pca: of all components."""
    plain = [row for row in sweep.rows if row.spec.is_of_the_table]
    seeds = len(sweep.rows[0].trained)
    if plain:
        own = [row.spec.codec.code_dim for row in plain]
        dims = _line_dims(own, pca.code_dim)
        line = np.array([metrics.mse(pca.truncated(int(k)), images.test) for k in dims])
        run_dir.save_figure(
            "tradeoff",
            figures.tradeoff(
                [_point(row) for row in plain],
                (dims, line),
                chapter.table_mse_of(images.name),
                f"Test error over the {_dimension(plain)} ({images.title},"
                f" {plain[0].spec.codec.name}, {count(seeds, 'seed')})",
            ),
        )
    batch = images.test.read(_shown(images))
    originals = batch.images
    decoded = []
    with torch.no_grad():
        for row in sweep.rows:
            decoded.append(
                (
                    _row_name(row.spec),
                    row.trained[0].codec.reconstruct(batch).numpy(),
                    mean(row.test_mse),
                )
            )
    run_dir.save_figure(
        "decoded",
        figures.decoded_grid(
            originals.numpy(),
            decoded,
            "test mse" if seeds == 1 else f"mean test mse\nof {seeds} seeds",
            f"The same test images at every code dimension ({images.title})",
            images.shown,
            batch.valid,
        ),
    )
    for row in plain:
        if row.trained[0].codec.code_dim == 2:
            codes = metrics.encode(row.trained[0].codec, images.test)
            labels = None if images.test.labels is None else images.test.labels.numpy()
            code = "first 2 units" if row.spec.is_ordered else "code 2"
            title = f"Codes of the test images ({images.title}, {row.spec.codec.name}, {code})"
            run_dir.save_figure(
                "code_scatter",
                figures.code_scatter(codes.numpy(), labels, title, images.class_names),
            )


def _line_dims(own: Sequence[int], most: int) -> NDArray[np.integer[Any]]:
    """Code dimensions at which PCA's line is measured: some evenly spaced on a log axis, and the
    sweep's `own`, up to the `most` components that PCA has."""
    evenly = np.geomspace(1, min(max(own), most), 24).round().astype(int)
    return np.unique([*evenly.tolist(), *(k for k in own if k <= most)])


def _shown(images: Images) -> Tensor:
    """Indices of the test images that are drawn: one of each label, or, without labels, some that
    lie evenly among all."""
    if not images.labelled:
        count = min(_SHOWN, len(images.test))
        return torch.linspace(0, len(images.test) - 1, count).round().long()
    labels = images.test.require_labels("a table's figure")
    return torch.stack([(labels == label).nonzero()[0, 0] for label in labels.unique()[:_SHOWN]])


def _dimension(rows: Sequence["Row"]) -> str:
    """The quantity in which rows differ, for a title."""
    if rows[0].spec.is_ordered:
        return f"first units of one code of {rows[0].trained[0].job.codec.code_dim}"
    return "code dimension"


def _row_name(spec: "RowSpec") -> str:
    k = spec.codec.code_dim
    lines = [f"first {count(k, 'unit')}" if spec.is_ordered else f"code {k}"]
    lines += ["no hidden layers"] if spec.wide else []
    lines += [] if spec.is_of_the_table else [spec.variant]
    return "\n".join(lines)


def _point(row: "Row") -> figures.TradeoffPoint:
    return figures.TradeoffPoint(
        row.spec.codec.code_dim, mean(row.test_mse), spread(row.test_mse), row.spec.wide
    )
