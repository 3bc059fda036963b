"""Row on saved models: what is in a model/ folder is data, whoever wrote it."""

import contextlib
import json
import pickle
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save

from aecli import codecs
from aecli.codecs import store
from aecli.codecs.base import Codec
from aecli.codecs.grid_settings import DcConfig, KlConfig
from aecli.config import (
    ConvConfig,
    DctConfig,
    LinearConfig,
    MlpConfig,
    PcaConfig,
    RotatedDctConfig,
    ThumbnailConfig,
)
from aecli.errors import DataError
from tests.conftest import digits, source
from tests.faults.outcome import Outcome, bounded_memory, refused, within

_CONFIGS = {
    "mlp": MlpConfig(code_dim=3, hidden=(8,)),
    "linear": LinearConfig(code_dim=3),
    "pca": PcaConfig(code_dim=3),
    "dct": DctConfig(code_dim=3),
    "conv": ConvConfig(code_dim=3, width=2, path="rotated-dct"),
    "kl": KlConfig(code_dim=9, downsampling=4, width=2, widest=2),
    "dc": DcConfig(code_dim=9, downsampling=4, width=2, widest=2),
    "rotated-dct": RotatedDctConfig(code_dim=3),
    "thumbnail": ThumbnailConfig(code_dim=4),
}
_SHAPE = (1, 12, 12)

Files = dict[str, bytes]


def folders(scratch: Path, thorough: bool) -> Outcome:
    """Every damaged or hostile folder is refused, or decodes to what it did; no code in it runs."""
    outcome = Outcome()
    rng = np.random.default_rng(0)
    canary = scratch / "canary"
    images = digits(5, shape=_SHAPE) / 255
    for name in _CONFIGS:
        whole = saved(name)
        codec = load_files(scratch / "model", whole)
        expected = codec(images)
        for fault, files in _damages(whole, rng, thorough):
            with outcome.fault(f"{name}: {fault}"), within(), bounded_memory():
                found: Codec | None = None
                with contextlib.suppress(DataError):
                    found = load_files(scratch / "model", files)
                if found is not None:  # a changed blank, say
                    assert torch.equal(found(images), expected), "another model was loaded"
        for fault, files in _hostile(whole, codec, canary):
            if files == whole:
                continue  # a fixed codec's swap with itself: it has nothing that is learned
            with outcome.fault(f"{name}: {fault}"), within(), bounded_memory(), refused(DataError):
                load_files(scratch / "model", files)
    _no_plain_files(outcome, scratch)
    with outcome.fault("the canary of every pickle"):
        assert not canary.exists()
    return outcome


def saved(name: str, seed: int = 0, code_dim: int | None = None, width: int = 8) -> Files:
    """The two files of a small model."""
    torch.manual_seed(seed)
    config = _CONFIGS[name]
    config = config.model_copy(update={"code_dim": code_dim or config.code_dim})
    if isinstance(config, MlpConfig):
        config = config.model_copy(update={"hidden": (width,)})
    codec = codecs.build(config, _SHAPE)
    if config.solved:
        codec.solve(source(20, seed=seed, shape=_SHAPE))
    codec.begin(source(20, seed=seed, shape=_SHAPE))
    description, weights = store.pack(codec, config)
    return {"config.json": json.dumps(description, indent=2).encode(), "model.safetensors": weights}


def load_files(folder: Path, files: Files) -> Codec:
    """The codec of a folder with these files."""
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).unlink(missing_ok=True)  # some file systems wait where one is overwritten
        (folder / name).write_bytes(content)
    return store.load(folder)


def _damages(whole: Files, rng: np.random.Generator, thorough: bool) -> Iterator[tuple[str, Files]]:
    """Bits flipped in each region, and cuts at each boundary."""
    weights = whole["model.safetensors"]
    header = 8 + struct.unpack("<Q", weights[:8])[0]
    regions = {
        "config.json": (0, len(whole["config.json"])),
        "the header's length": (0, 8),
        "the header": (8, header),
        "the numbers": (header, len(weights)),
    }
    for region, (start, end) in regions.items():
        file = "config.json" if region == "config.json" else "model.safetensors"
        every = np.arange(8 * start, 8 * end)
        count = 1000 if thorough else 10
        for bit in map(int, every if len(every) <= count else rng.choice(every, count, False)):
            flipped = bytearray(whole[file])
            flipped[bit // 8] ^= 1 << bit % 8
            yield f"bit {bit} of {region} flipped", {**whole, file: bytes(flipped)}
    for file, cuts in {
        "config.json": (0, 1, 20),
        "model.safetensors": (0, 1, 7, 8, 9, header - 1, header, header + 1, len(weights) - 1),
    }.items():
        for cut in cuts:
            yield f"{file} cut to {cut}", {**whole, file: whole[file][:cut]}
        yield f"{file} and a byte more", {**whole, file: whole[file] + b"x"}


class Canary:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


def _hostile(whole: Files, codec: Codec, canary: Path) -> Iterator[tuple[str, Files]]:
    weights = whole["model.safetensors"]
    tensors = load_tensors(weights)
    description = json.loads(whole["config.json"])
    name = description["codec"]["name"]

    for file in whole:
        for protocol in (0, 2, 5):
            pickled = pickle.dumps(Canary(canary), protocol)
            yield f"a pickle as {file}, protocol {protocol}", {**whole, file: pickled}
    buffer = canary.with_name("pickle.pt")
    torch.save({"x": Canary(canary)}, buffer)
    yield "torch.save's file", {**whole, "model.safetensors": buffer.read_bytes()}

    other_seed, other_size = saved(name, seed=1), saved(name, code_dim=9)
    for file in whole:
        yield f"{file} of another run", {**whole, file: other_seed[file]}
        yield f"{file} of another size", {**whole, file: other_size[file]}

    for length in (2**63, 2**64 - 1, 10**8, len(weights) + 1, len(weights) - 8, 0):
        head = struct.pack("<Q", length)
        yield f"a header of {length} bytes", {**whole, "model.safetensors": head + weights[8:]}
    for text in (b"[" * 60_000, b'{"a":' * 10_000, b"{}", b"null", b"\xff" * 100):
        content = struct.pack("<Q", len(text)) + text + weights
        yield f"a header of {text[:5]!r}...", {**whole, "model.safetensors": content}

    def tampered(changed: dict[str, torch.Tensor], **facts: Any) -> Files:
        """Files with a hash that fits: whoever wrote the folder wrote both files."""
        import hashlib

        content = save({k: t.contiguous() for k, t in changed.items()})
        facts = {"weights_sha256": hashlib.sha256(content).hexdigest(), **facts}
        text = json.dumps({**description, **facts}).encode()
        return {"config.json": text, "model.safetensors": content}

    first = next(iter(tensors))
    for poisoned_name, tensor in tensors.items():
        wrong: tuple[float, ...] = (-1, 2**62, int(tensor.flatten()[0]))  # a place twice
        if tensor.is_floating_point():
            wrong = (float("nan"), float("inf"), -float("inf"))
        for value in wrong:
            poisoned = {k: t.clone() for k, t in tensors.items()}
            poisoned[poisoned_name].view(-1)[-1] = value
            yield f"{poisoned_name} with {value}", tampered(poisoned)
    yield "a tensor missing", tampered({k: t for k, t in tensors.items() if k != first})
    yield "a tensor more", tampered({**tensors, "more": torch.zeros(3)})
    half = tensors[first].to(torch.float16)
    yield "a tensor of another type", tampered({**tensors, first: half})
    yield "a tensor of another shape", tampered({**tensors, first: tensors[first].flatten()[:-1]})

    huge = [10**9, 10**9]
    for key, values in {
        "image_shape": ([], [1, 12], [1, 12, 12, 1], [0, 12, 12], [-1, 12, 12], [1, 10**9, 10**9],
                        [1, 4000, 4000], [1.0, 12, 12], [True, 12, 12], "1x12x12", None, {}),
        "codec": (None, [], {}, "mlp", {"name": "os.system"}, {"name": name, "code_dim": 10**9},
                  {"name": name, "code_dim": -1}, {"name": name, "code_dim": 10**400},
                  {"name": "mlp", "hidden": huge}, {"name": "mlp", "hidden": [1] * 10_000},
                  {"name": "dct", "code_dim": 100}, {"name": name, "code_dim": 3, "x": 1}),
        "format": (None, 0, 3, "2", [], {}, 10**400),
        "weights_sha256": (None, "", "0" * 64, 0, []),
    }.items():  # fmt: skip
        for value in values:
            text = json.dumps({**description, key: value}).encode()
            yield f"{key}: {str(value)[:40]}", {**whole, "config.json": text}
    for text in (b"", b"{", b"[]", b"null", b"1" * 5000, b"[" * 50_000, b'{"a":' * 10_000,
                 b"\xff\xfe", b" " * 70_000, b"NaN"):  # fmt: skip
        yield f"config.json is {text[:6]!r}...", {**whole, "config.json": text}


def _no_plain_files(outcome: Outcome, scratch: Path) -> None:
    """A huge file, a device and what is no file at all are refused without being read."""
    whole = saved("mlp")
    for file in whole:
        for fault in ("missing", "a folder", "a device", "8 GiB"):
            folder = scratch / f"{file} {fault}"
            load_files(folder, whole)
            path = folder / file
            if fault != "8 GiB":
                path.unlink()
            if fault == "a folder":
                path.mkdir()
            elif fault == "a device":
                path.symlink_to("/dev/zero")
            elif fault == "8 GiB":
                with path.open("ab") as content:
                    content.truncate(8 * 2**30)
            with outcome.fault(f"{file}: {fault}"), within(), bounded_memory():  # noqa: SIM117
                with refused(DataError, file):
                    store.load(folder)
            shutil.rmtree(folder)
