"""Every row of the fault matrix by name."""

from collections.abc import Callable
from pathlib import Path

from tests.faults import (
    caches,
    codes,
    configs,
    datasets,
    evaluations,
    filesystems,
    gates,
    images,
    kills,
    links,
    listing,
    models,
    pages,
    runs,
    shelves,
    signals,
    streams,
    sweeps,
    training,
)
from tests.faults.outcome import Outcome

Row = Callable[[Path, bool], Outcome]
"""Takes an empty folder, and whether to inject all there are (the report) or a few (the tests)."""

ROWS: dict[str, Row] = {
    "kill -9 at every write": kills.at_every_write,
    "kill -9 at random": kills.at_random,
    "SIGINT while writing": kills.interrupted_while_writing,
    "disk errors": kills.refused_by_the_disk,
    "full disk": kills.two_megabytes,
    "dataset files": datasets.files,
    "downloads": datasets.downloads,
    "archives": datasets.archives,
    "caches": caches.caches,
    "files under other names": caches.names,
    "archives of codes": codes.killed,
    "odd codes": codes.odd,
    "archives of bits": codes.killed_in_bits,
    "damaged bits": codes.damaged_bits,
    "evaluations": evaluations.gone_on_with,
    "odd classes": evaluations.odd_classes,
    "model folders": models.folders,
    "YAML": configs.table,
    "fuzz": configs.fuzz,
    "divergence": training.divergence,
    "clock": training.clock,
    "sweep's workers": sweeps.fallen_workers,
    "changed runs": sweeps.changed_runs,
    "inherited signals": signals.inherited,
    "orphans": signals.orphans,
    "first moments": signals.first_moments,
    "links at every depth": links.everywhere,
    "poor file systems": filesystems.poor,
    "foreign runs": listing.foreign,
    "hostile runs side by side": shelves.compared,
    "hostile runs removed": shelves.removed,
    "hostile pages": pages.hostile,
    "same second": runs.same_second,
    "paths": runs.paths,
    "storage": runs.storage,
    "streams": streams.streams,
    "gates": gates.gates,
    "odd images": images.odd,
    "damaged images": images.damaged,
}
