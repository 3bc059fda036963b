"""Codecs by name: all that can encode and decode images.

To add one: a file here with a class, a line in CODECS, and its settings in `config.models`.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file

from aecli.codecs.base import ClosedFormCodec, Codec, NetworkCodec
from aecli.codecs.dct import Dct
from aecli.codecs.linear import Linear
from aecli.codecs.mlp import Mlp
from aecli.codecs.pca import Pca
from aecli.config import CodecConfig
from aecli.data.images import ImageShape
from aecli.errors import DataError

__all__ = [
    "CODECS",
    "ClosedFormCodec",
    "Codec",
    "Dct",
    "Linear",
    "Mlp",
    "NetworkCodec",
    "Pca",
    "build",
    "load",
]

CODECS: dict[str, Callable[[ImageShape, Any], Codec]] = {
    "mlp": Mlp,
    "linear": Linear,
    "pca": Pca,
    "dct": Dct,
}

_CODEC_CONFIG: TypeAdapter[Any] = TypeAdapter(CodecConfig)


def build(config: CodecConfig, image_shape: ImageShape) -> Codec:
    """A codec as its config describes it, untrained; a network's weights come from torch's global
    random state, so set the seed before. Raises UsageError if the code does not fit the images."""
    return CODECS[config.name](image_shape, config)


def load(folder: Path) -> Codec:
    """The codec saved in a run's `model/` folder. Raises DataError if it is missing or damaged."""
    try:
        description = json.loads((folder / "config.json").read_text("utf-8"))
        codec = build(
            _CODEC_CONFIG.validate_python(description["codec"]), tuple(description["image_shape"])
        )
        codec.load_state_dict(load_file(folder / "model.safetensors"))
    except (OSError, SafetensorError) as error:
        raise DataError(f"{folder}: no model to read: {error}") from None
    except (ValueError, KeyError, TypeError, ValidationError, RuntimeError) as error:
        raise DataError(f"{folder}: not a model of aecli: {error}") from None
    return codec.eval()
