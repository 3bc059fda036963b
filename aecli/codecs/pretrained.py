"""Models in folders as diffusers saves them: config.json and safetensors; no pickle, no download.

Nothing in a folder is trusted: its config.json is checked value by value, and no memory is taken
for the weights before their size is known to fit it.
"""

import itertools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from aecli.codecs.grid_settings import Architecture, DcArchitecture, GridConfig, KlArchitecture
from aecli.errors import DataError, UsageError
from aecli.fields import ImageShape

if TYPE_CHECKING:
    from torch import Tensor

CLASSES: dict[str, tuple[str, type[Architecture]]] = {
    "AutoencoderKL": ("kl", KlArchitecture),
    "AutoencoderDC": ("dc", DcArchitecture),
}
"""Codec and arguments of each class of diffusers."""
CONFIG, WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"
MAX_CONFIG = 64 * 1024  # bytes
_MAX_HEADER = 1024 * 1024  # bytes of a file of weights besides its numbers
_MAX_NUMBERS = 4 * 10**9  # of a model's layers, as they are estimated

# Names of the layers of attention in folders written before 2023, as the Stable Diffusion ones are.
_FORMER = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_FORMER_NAME = re.compile(rf"(?<=\.)({'|'.join(_FORMER)})(?=\.(?:weight|bias)$)")


def settled(codec: GridConfig, shape: ImageShape) -> dict[str, Any]:
    """Values of a codec's settings that follow from its `from_pretrained`, for images of a shape.

    Raises DataError for a folder that is not one of such a model, UsageError for settings that
    contradict it.
    """
    assert codec.from_pretrained is not None
    name, layers = read(codec.from_pretrained)
    if name != codec.name:
        raise UsageError(
            f"codec.name={codec.name}: codec.from_pretrained={codec.from_pretrained} is a"
            f" model of codec {name}"
        )
    idle = {"width", "widest", "depth", "downsampling", "attention"} & codec.model_fields_set
    if idle:
        raise UsageError(
            f"codec.{min(idle)}: the layers are those of codec.from_pretrained; leave it out"
        )
    height, width = codec.grid(shape, layers.factor)
    code_dim = layers.channels[1] * height * width
    if "code_dim" in codec.model_fields_set and codec.code_dim != code_dim:
        raise UsageError(
            f"code_dim={codec.code_dim}: the code of codec.from_pretrained for"
            f" {shape[1]}x{shape[2]} pixels has {code_dim} numbers; leave it out"
        )
    path = str(Path(codec.from_pretrained).resolve())
    return {"architecture": layers, "code_dim": code_dim, "from_pretrained": path}


def read(folder: str) -> tuple[str, Architecture]:
    """The codec, by its name, and the layers of the model in a folder. Raises DataError."""
    path = Path(folder) / CONFIG
    try:
        description = json.loads(read_at_most(path, MAX_CONFIG))
        if not isinstance(description, dict):
            raise ValueError("no object of JSON")
        kind = description.get("_class_name")
        if not isinstance(kind, str) or kind not in CLASSES:
            raise ValueError(f"_class_name is {str(kind)[:40]!r}, expected {' or '.join(CLASSES)}")
        name, arguments = CLASSES[kind]
        given = {
            key: value
            for key, value in description.items()
            if not key.startswith("_") and key not in arguments.IGNORED
        }
        layers = arguments.model_validate(given)
        _require_whole(layers)
        return name, layers
    except OSError as error:
        raise DataError(f"{folder}: no model of diffusers: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise DataError(f"{path}: {key[:60]!r}: {first['msg']}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not a model's description: {error}") from None


def require_weights(folder: str, layers: Architecture) -> None:
    """Raises DataError unless a folder has as many bytes of weights as layers need at least, about:
    else memory would be taken for what is not there."""
    path = Path(folder) / WEIGHTS
    if not path.is_file():
        raise _no_weights(folder, _missing(path))
    size, least = path.stat().st_size, layers.numbers // 16
    if size < least:
        raise _no_weights(
            folder, f"{WEIGHTS} has {size:,} bytes, too few for the layers of {CONFIG}"
        )


def weights(folder: str, model: Mapping[str, "Tensor"]) -> dict[str, "Tensor"]:
    """The tensors of the model in a folder, float32, with the names and shapes of `model`'s.

    Raises DataError unless they are there, finite, and just these.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    path = Path(folder) / WEIGHTS
    limit = sum(tensor.nbytes for tensor in model.values()) + _MAX_HEADER
    try:
        found = load(read_at_most(path, limit))
    except KeyError as error:  # a type of numbers that torch has not
        raise _no_weights(folder, f"{WEIGHTS} has numbers of type {error}") from None
    except (AssertionError, OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise _no_weights(folder, error) from None
    tensors = {}
    for name, tensor in found.items():
        now = _FORMER_NAME.sub(lambda match: _FORMER[match[0]], name)
        expected = model.get(now)
        if expected is None or tensor.shape.numel() != expected.shape.numel():
            wanted = "no such one" if expected is None else _by(expected.shape)
            raise DataError(
                f"{path}: {name[:100]!r} is {_by(tensor.shape)}, config.json makes it {wanted}"
            )
        is_former = now != name and tensor.shape[:2] == expected.shape  # a convolution of one place
        if tensor.shape != expected.shape and not is_former:
            raise DataError(
                f"{path}: {name[:100]!r} is {_by(tensor.shape)}, config.json makes it"
                f" {_by(expected.shape)}"
            )
        if tensor.is_floating_point() != expected.is_floating_point():
            kinds = (str(kind).removeprefix("torch.") for kind in (tensor.dtype, expected.dtype))
            raise DataError(f"{path}: {name[:100]!r} is {', expected '.join(kinds)}")
        if now in tensors:
            raise DataError(f"{path}: {now!r} is there twice, by a former name too")
        tensors[now] = tensor.reshape(expected.shape).to(expected.dtype, copy=True)
        if not tensors[now].isfinite().all():
            raise DataError(f"{path}: numbers that are not finite in {name[:100]!r}")
    if lacking := model.keys() - tensors.keys():
        raise DataError(f"{path}: it lacks {min(lacking)!r} and {len(lacking) - 1} more")
    assert all(tensor.dtype in (torch.float32, torch.int64) for tensor in tensors.values())
    return tensors


def _require_whole(layers: Architecture) -> None:
    """ValueError for arguments that do not fit each other, or make a model of absurd size."""
    for key, value in layers:
        if not isinstance(value, tuple):
            continue
        side = key.split("_")[0] + "_block_out_channels"
        whole: Any = getattr(layers, side, None) or getattr(layers, "block_out_channels", value)
        if len(value) != len(whole):
            raise ValueError(f"{key} has {len(value)} entries for {len(whole)} levels")
    numbers = sum(18 * width * width * (blocks + 1) for width, blocks in layers.levels)
    if numbers > _MAX_NUMBERS:
        raise ValueError(f"its layers would have over {numbers:,} numbers")
    if isinstance(layers, KlArchitecture):
        odd = [n for n in layers.block_out_channels if n % layers.norm_num_groups]
        if odd:
            raise ValueError(f"norm_num_groups={layers.norm_num_groups} does not divide {odd[0]}")
        if layers.in_channels != layers.out_channels:
            raise ValueError(f"out_channels={layers.out_channels} is not in_channels")
    if isinstance(layers, DcArchitecture):
        _require_shortcuts(layers)


def _require_shortcuts(layers: DcArchitecture) -> None:
    """ValueError unless each side's channels can be averaged and repeated as its shortcuts do."""
    encoder, decoder = layers.encoder_block_out_channels, layers.decoder_block_out_channels
    if len(encoder) != len(decoder):
        raise ValueError(f"{len(encoder)} levels of the encoder, {len(decoder)} of the decoder")
    if 0 in (*layers.encoder_layers_per_block[1:], *layers.decoder_layers_per_block[1:]):
        raise ValueError("a level below the first has no layer")
    for side in (encoder, decoder):
        for fine, coarse in itertools.pairwise(side):
            if 4 * fine % coarse:
                raise ValueError(f"{fine} and {coarse} channels have no shortcut between them")
    for used, side in (
        (layers.encoder_out_shortcut, encoder),
        (layers.decoder_in_shortcut, decoder),
    ):
        if used and side[-1] % layers.latent_channels:
            raise ValueError(
                f"latent_channels={layers.latent_channels} does not divide {side[-1]} channels"
            )


def _no_weights(folder: str, why: object) -> DataError:
    pickled = any(Path(folder).glob("*.bin"))
    hint = "; files .bin are pickles, which are never read" if pickled else ""
    return DataError(f"{folder}: no weights to read: {why}{hint}")


def _missing(path: Path) -> str:
    return f"{path.name} is missing or not a file"


def _by(shape: Any) -> str:
    return "x".join(map(str, shape)) or "a single number"


def read_at_most(path: Path, limit: int) -> bytes:
    """The bytes of a file that has no more than `limit`; ValueError naming both sizes if it has."""
    if not path.is_file():
        raise FileNotFoundError(_missing(path))
    size = path.stat().st_size
    if size > limit:
        raise ValueError(f"{path.name} has {size:,} bytes, more than the {limit:,} it can have")
    with path.open("rb") as file:  # some of the system's are longer than they say, without end
        content = file.read(size + 1)
    if len(content) > size:
        raise ValueError(f"{path.name} has more than the {size:,} bytes that it says")
    return content
