"""Folders that from_pretrained of diffusers reads (`aecli export --format diffusers`)."""

import copy
from pathlib import Path
from typing import Any

from aecli.cli.export import Exported
from aecli.codecs.grid_settings import DcConfig, GridConfig
from aecli.codecs.pretrained import WEIGHTS
from aecli.errors import UsageError


def export(exported: Exported, folder: Path) -> dict[str, Any]:
    """Write config.json and the weights as safetensors, read them back by diffusers, and return
    what was written and checked by what.

    What diffusers reads is the model alone: it takes pixels in [-1, 1], on sides that are multiples
    of its factor. Raises UsageError for a codec that is none of diffusers'; DataError for a folder
    that gives other numbers.
    """
    codec = exported.codec
    settings = codec.settings
    if not isinstance(settings, GridConfig):
        raise UsageError(
            f"{exported.asked}: codec {settings.name!r} is none of diffusers', which are kl and dc"
        )
    if isinstance(settings, DcConfig) and not settings.shortcuts:
        raise UsageError(f"{exported.asked}: diffusers has no AutoencoderDC without its shortcuts")
    import diffusers

    model: Any = codec.model
    model.save_pretrained(folder)
    again: Any = copy.deepcopy(codec)
    again.model = type(model).from_pretrained(folder, local_files_only=True)
    again.eval().requires_grad_(False)
    path = folder / WEIGHTS
    calls = {"encoder": again.encode, "decoder": again.decode}
    largest = max(part.difference(calls[part.name], path) for part in exported.parts)
    file = {"file": path.name, "bytes": path.stat().st_size, "largest_difference": largest}
    return {"files": {"model": file}, "checked_by": f"diffusers {diffusers.__version__}"}
