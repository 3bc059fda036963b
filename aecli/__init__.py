"""A command-line laboratory for autoencoders."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aecli.estimator import Autoencoder as Autoencoder
    from aecli.runs.run import Run

__version__ = "0.1.0"


def open(run: str | Path = "latest", runs_dir: str | Path | None = None) -> "Run":
    """A run as a value: `aecli.open("latest").encode(images)`.

    run: its folder, its name as `aecli ls` prints it, or `latest`, the run with a model that was
    completed last. runs_dir: the folder of the runs (None: $AECLI_RUNS_DIR, else runs). Raises
    DataError if it is not there.
    """
    from aecli.runs.registry import open_run

    return open_run(str(run), Path(runs_dir or os.environ.get("AECLI_RUNS_DIR") or "runs"))


def __getattr__(name: str) -> Any:
    """`aecli.Autoencoder`, which takes scikit-learn and torch, imported when it is asked for."""
    if name == "Autoencoder":
        from aecli.estimator import Autoencoder

        return Autoencoder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
