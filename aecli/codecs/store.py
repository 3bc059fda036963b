"""Codecs on disk: a description in JSON and the numbers as safetensors; no pickle."""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save
from torch import Tensor

from aecli import codecs, strictjson
from aecli.codecs.base import Codec
from aecli.codecs.pretrained import read_at_most
from aecli.config import CodecConfig
from aecli.data.images import ImageShape
from aecli.data.own.scaling import Scale
from aecli.errors import DataError, UsageError

_MAX_CONFIG = 512 * 1024  # bytes of config.json; a scale has two numbers for each channel
_MAX_HEADER = 64 * 1024  # bytes of model.safetensors besides its numbers
_MAX_PIXELS = 2**24

_CODEC_CONFIG: TypeAdapter[Any] = TypeAdapter(CodecConfig)


def pack(
    codec: Codec, config: CodecConfig, scale: Scale | None = None
) -> tuple[dict[str, Any], bytes]:
    """The content of config.json and the bytes of model.safetensors, as `load` reads them.

    scale: the one that brought the pixels it learned from to [0, 1] (None: uint8 by 255).
    """
    tensors = {name: tensor.cpu().clone() for name, tensor in codec.state_dict().items()}
    weights = save(tensors)
    description = {
        "format": 2,
        "codec": config.model_dump(mode="json"),
        "image_shape": list(codec.image_shape),
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    if scale is not None:
        description["scale"] = scale.described()
    description["sha256"] = _digest(description)
    return description, weights


def load_scale(folder: str | os.PathLike[str]) -> Scale | None:
    """The scale that a model's images are brought to [0, 1] by; None if it names none. Raises
    DataError."""
    path = Path(folder) / "config.json"
    try:
        description = json.loads(read_at_most(path, _MAX_CONFIG))
        described, channels = description.get("scale"), description["image_shape"][0]
        scale = None if described is None else Scale.of_description(described)
        if scale is not None and len(scale.low) != channels:
            raise ValueError(f"scale is of {len(scale.low)} channels, the images have {channels}")
        return scale
    except OSError as error:
        raise DataError(f"{folder}: no model to read: {error}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: not a model's description: {error}") from None


def load(folder: str | os.PathLike[str]) -> Codec:
    """The codec saved in a run's `model/` folder, on the CPU, ready to encode and decode.

    Nothing in the folder is trusted: no memory is taken before the sizes of both files are known
    to fit each other, and no code in them can run. Raises DataError if it is missing or damaged.
    """
    folder = Path(folder)
    try:
        description = json.loads(read_at_most(folder / "config.json", _MAX_CONFIG))
        config = _CODEC_CONFIG.validate_python(description["codec"])
        shape = _image_shape(description["image_shape"])
        with torch.device("meta"):  # shapes only
            codec = codecs.build(config, shape)
        weights = read_at_most(
            folder / "model.safetensors",
            max(map(_nbytes, (codec.state_dict(), codec.former_state()))) + _MAX_HEADER,
        )
        _check_hash(description, weights)
        tensors = load_tensors(weights)
    except (OSError, SafetensorError) as error:
        hint = f"; a run's model is in {folder / 'model'}" if (folder / "model").is_dir() else ""
        raise DataError(f"{folder}: no model to read: {error}{hint}") from None
    except (ValueError, KeyError, TypeError, ArithmeticError, RuntimeError, UsageError) as error:
        raise DataError(f"{folder}: not a model of aecli: {error}") from None
    former = codec.former_state()
    as_former = bool(former) and former.keys() == tensors.keys()
    _check_tensors(tensors, former if as_former else codec.state_dict(), folder)
    with torch.random.fork_rng(devices=[]):  # with whatever it makes besides those tensors
        codec = codecs.build(config, shape)
    if as_former:
        return codec.eval()
    codec.load_state_dict(tensors)
    try:
        codec.require_sound()
    except ValueError as error:
        raise DataError(f"{folder}: not a model of aecli: {error}") from None
    return codec.eval()


def _nbytes(tensors: Mapping[str, Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors.values())


def _image_shape(numbers: Any) -> ImageShape:
    """Channels, height and width, if that is what they are; ValueError otherwise."""
    whole = isinstance(numbers, list) and all(type(n) is int and n > 0 for n in numbers)
    if not whole or len(numbers) != 3 or math.prod(numbers) > _MAX_PIXELS:
        raise ValueError(f"image_shape is {str(numbers)[:60]}")
    channels, height, width = numbers
    return channels, height, width


def _digest(description: Mapping[str, Any]) -> str:
    """The hash of a description without its own."""
    rest = {key: description[key] for key in sorted(description) if key != "sha256"}
    return hashlib.sha256(strictjson.dump(rest).encode()).hexdigest()


def _check_hash(description: dict[str, Any], weights: bytes) -> None:
    """ValueError unless the weights are those that the description was written for."""
    if description.get("sha256") not in (None, _digest(description)):  # former ones have none
        raise ValueError("config.json was changed: its sha256 is another")
    version = description.get("format")
    if version not in (1, 2):
        raise ValueError(f"its format is {str(version)[:20]}; this aecli reads 1 and 2")
    expected = description.get("weights_sha256")
    if version == 1 and expected is None:
        return  # written before there were hashes
    found = hashlib.sha256(weights).hexdigest()
    if found != expected:
        raise ValueError(f"model.safetensors has SHA-256 {found}, expected {str(expected)[:64]}")


def _check_tensors(
    tensors: Mapping[str, Tensor], model: Mapping[str, Tensor], folder: Path
) -> None:
    """DataError unless `tensors` are finite and have the names, shapes and types of the model's."""
    expected = {name: (t.shape, t.dtype) for name, t in model.items()}
    for name in sorted({*expected, *tensors}):
        found = (tensors[name].shape, tensors[name].dtype) if name in tensors else None
        if found != expected.get(name):
            raise DataError(
                f"{folder}: not a model of aecli: {name!r} is {_describe(found)},"
                f" expected {_describe(expected.get(name))}"
            )
    infinite = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if infinite:
        raise DataError(f"{folder}: numbers that are not finite in {', '.join(infinite)}")


def _describe(tensor: tuple[torch.Size, torch.dtype] | None) -> str:
    if tensor is None:
        return "not there"
    return f"{'x'.join(map(str, tensor[0]))} {str(tensor[1]).removeprefix('torch.')}"
