"""The exact state of a training, to disk and back: two generations, each sealed by a manifest.

Tensors are safetensors and everything else is JSON, so that reading one runs no code. A link in
place of the folder, or in it, is never followed.
"""

import contextlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aecli import strictjson
from aecli.errors import DataError
from aecli.runs import storage

if TYPE_CHECKING:
    from torch import Tensor

_KEPT = 2
OF_A_JOB = "checkpoint-"
"""Beginning of the name of a folder in a run's with the checkpoints of one of its jobs."""
FORMAT = 2
"""Number of the form in which a checkpoint is written; what had no number is of form 1."""


@dataclass(frozen=True)
class Checkpoint:
    """State and history of a training."""

    state: "dict[str, Tensor]"
    """The state of a `Training`."""
    history: list[dict[str, Any]]
    """The rows of history.csv so far; a missing value is nan."""


def save(
    folder: Path, run_id: str, state: "Mapping[str, Tensor]", history: Sequence[Mapping[str, Any]]
) -> None:
    """Add a generation to `folder` and remove all but the newest two. Raises StorageError."""
    root = folder.parent
    from safetensors.torch import save as to_bytes

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    content = {"format": FORMAT, "run": run_id, "history": history}
    progress = strictjson.dump(content, indent=None).encode()
    there = _generations(folder)
    new = folder / f"{(int(there[-1].name) + 1 if there else 1):06d}"
    storage.seal(new, {"state.safetensors": to_bytes(tensors), "progress.json": progress}, root)
    for old in there[: 1 - _KEPT]:
        storage.remove_sealed(old, root)


def load(folder: Path, run_id: str) -> tuple[Checkpoint | None, list[str]]:
    """The newest whole generation, or None without any; and what is wrong with newer ones.

    Raises DataError if there are generations and none of them can be read, or `folder` is a link.
    """
    if folder.is_symlink():
        raise DataError(f"{folder}: a link, where a folder of the run belongs")
    from safetensors import SafetensorError
    from safetensors.torch import load as from_bytes

    there = _generations(folder)
    faults: list[str] = []
    for generation in reversed(there):
        try:
            files = storage.unseal(generation, folder.parent)
            progress = json.loads(files["progress.json"])
            if progress.get("format", 1) not in (1, FORMAT):
                raise DataError(
                    f"{generation}: of format {progress['format']}; this aecli reads 1 and 2"
                )
            if progress["run"] != run_id:
                raise DataError(f"{generation}: of another run ({progress['run']})")
            history = strictjson.rows(progress["history"])
            return Checkpoint(from_bytes(files["state.safetensors"]), history), faults
        except DataError as error:
            faults.append(str(error))
        except (*storage.MALFORMED, SafetensorError) as error:
            faults.append(f"{generation}: not a checkpoint: {error}")
    unfinished = all(not (generation / storage.MANIFEST).exists() for generation in there)
    if there and not unfinished:
        raise DataError("no checkpoint of this run can be read:\n" + "\n".join(faults))
    return None, faults


def remove(folder: Path) -> None:
    """Remove every generation, and `folder` if nothing else is in it; one that cannot be removed
    costs room only."""
    with contextlib.suppress(OSError):
        for generation in _generations(folder):
            storage.remove_sealed(generation, folder.parent)
        folder.rmdir()


def remove_all(run: Path) -> None:
    """Remove every checkpoint in a run's folder, its own and those of its jobs."""
    remove(run / "checkpoint")
    for folder in run.glob(f"{OF_A_JOB}*"):
        remove(folder)


def _generations(folder: Path) -> list[Path]:
    """The generations, oldest first, whole or not."""
    if folder.is_symlink() or not folder.is_dir():
        return []
    numbered = (path for path in folder.iterdir() if re.fullmatch("[0-9]{6,}", path.name))
    there = (path for path in numbered if path.is_dir() and not path.is_symlink())
    return sorted(there, key=lambda path: int(path.name))
