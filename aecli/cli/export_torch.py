"""Files of torch.export of a codec (`aecli export --format torch`), read back and checked."""

import warnings
from pathlib import Path
from typing import Any

import torch

from aecli import strictjson
from aecli.cli.export import Exported, refused_where_untraceable


def export(exported: Exported, folder: Path) -> dict[str, Any]:
    """Write encoder.pt2 and decoder.pt2, and return what was written and checked by what.

    Raises UsageError for a codec that torch.export cannot follow; DataError for a file that gives
    other numbers.
    """
    about = {"aecli.json": strictjson.dump(exported.described())}
    files = {}
    for part in exported.parts:
        path = folder / f"{part.name}.pt2"
        batch = {part.input: {0: torch.export.Dim("batch", min=1)}}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on torch's own parts, which are being replaced
            with refused_where_untraceable(exported, "a torch.export program"):
                program = torch.export.export(
                    part.module, (part.samples[:2],), dynamic_shapes=batch
                )
                torch.export.save(program, path, extra_files=about)
            run = torch.export.load(path).module()
        files[part.name] = {
            "file": path.name,
            "bytes": path.stat().st_size,
            "largest_difference": part.difference(run, path),
        }
    return {"files": files, "checked_by": f"torch {torch.__version__}"}
