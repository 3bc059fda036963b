"""Row on `--from-pretrained`: what is in a folder in the hub's layout is data, whoever wrote it."""

import contextlib
import functools
import json
import os
import pickle
import random
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save
from torch import Tensor

from aecli import codecs
from aecli.codecs.grid_settings import DcConfig, KlConfig
from aecli.codecs.pretrained import CONFIG, WEIGHTS
from tests.conftest import Finished, digits
from tests.faults.models import Canary
from tests.faults.outcome import Outcome, bounded_memory, within
from tests.faults.program import inside

_SHAPE = (1, 8, 8)
_CONFIGS = {
    "kl": KlConfig(code_dim=8, downsampling=4, width=4, widest=4),
    "dc": DcConfig(code_dim=8, downsampling=4, width=4, widest=4),
}
_QUICK = (
    *("only a pickle, pytorch_model.bin", "a header of 2**60 bytes", "int8", "float16"),
    *("weights are a link to /dev/zero", "10**9 channels", "_class_name is a list"),
)

Files = dict[str, bytes]
Change = Callable[[Path], object]
Case = tuple[str, Change, tuple[int, ...]]
"""Name, what is done to a whole folder, and the exit codes that are right after it."""


def hostile(scratch: Path, thorough: bool) -> Outcome:
    """Every folder is refused in one message, or loaded for what it says; no code in it runs."""
    outcome = Outcome()
    np.save(scratch / "tiny.npy", digits(40, shape=_SHAPE).numpy()[:, 0])
    folder, canary = scratch / "folder", scratch / "canary"
    for name in _CONFIGS if thorough else ("dc",):
        whole = _written(name)
        expected: dict[str, Any] | None = None
        for case, change, codes in _cases(name, whole, canary):
            if not thorough and case not in _QUICK:
                continue
            if 0 in codes and expected is None:
                with _removed(folder, scratch / "runs"):
                    _write(folder, whole)
                    expected = _train(scratch, folder).metrics()
            with outcome.fault(f"{name}: {case}"), _removed(folder, scratch / "runs"):
                _write(folder, whole)
                change(folder)
                with within(10), bounded_memory():
                    done = _train(scratch, folder, *_flags(case))
                assert done.code in codes, done
                if done.code == 0:
                    _require_as_whole(case, done.metrics(), expected)
                else:
                    _require_one_message(done)
                _require_a_run_that_says(done, scratch / "runs")
    with outcome.fault("the canary of every pickle"):
        assert not canary.exists()
    return outcome


def _train(scratch: Path, folder: Path, *flags: str) -> Finished:
    images = ("--dataset", str(scratch / "tiny.npy"))
    frozen = () if "--codec" in flags else ("--set", "codec.frozen=true")
    told = ("--from-pretrained", str(folder), *frozen, "--threads", "1", "-q")
    return inside(scratch, "train", *images, *told, *flags)


def _flags(case: str) -> tuple[str, ...]:
    if case == "of another codec":
        return ("--codec", "conv")
    return ()


def _require_as_whole(case: str, found: dict[str, Any], expected: dict[str, Any] | None) -> None:
    assert expected is not None
    if f"{CONFIG} flipped" in case:  # in a number that a model may have
        return
    close = 0.05 if "float" in case else 0
    difference = abs(found["test_mse"] - expected["test_mse"])
    assert difference <= close * expected["test_mse"], "another model was loaded"


def _require_one_message(done: Finished) -> None:
    assert "Traceback" not in done.stderr, done.stderr[-300:]
    assert len(done.errors) == 1, done.stderr[:500]
    assert all(len(line) < 10_000 for line in done.stderr.splitlines()), "a line without end"
    assert not any(c < " " and c != "\n" for c in done.stderr), "control characters on a terminal"


def _require_a_run_that_says(done: Finished, runs: Path) -> None:
    """A run folder that was made says how it ended, and `latest` names none that failed."""
    made = [path for path in runs.glob("*") if not path.is_symlink()]
    found = [json.loads((path / "run.json").read_text())["status"] for path in made]
    status = "failed" if done.code else "completed"
    assert found == ([status] if done.stdout else []), found
    assert (runs / "latest").exists() == (status == "completed")


@contextlib.contextmanager
def _removed(*paths: Path) -> Iterator[None]:
    try:
        yield
    finally:
        for path in paths:
            if path.is_symlink() or path.is_file():
                path.unlink()
            elif path.exists():
                shutil.rmtree(path)


@functools.cache
def _written(name: str) -> Files:
    """The two files of a small model."""
    torch.manual_seed(0)
    codec: Any = codecs.build(_CONFIGS[name], _SHAPE)
    kind = type(codec.model).__name__
    described = {"_class_name": kind, "_diffusers_version": "0.42.1", **codec.model.config}
    described = {key: value for key, value in described.items() if key != "_use_default_values"}
    weights = save({key: tensor.clone() for key, tensor in codec.model.state_dict().items()})
    return {CONFIG: json.dumps(described).encode(), WEIGHTS: weights}


def _write(folder: Path, files: Files) -> None:
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)


def _cases(name: str, whole: Files, canary: Path) -> Iterator[Case]:
    yield "of another codec", lambda folder: None, (2,)
    yield from _pickles(canary)
    yield from _weights(whole)
    yield from _headers(whole)
    yield from _tensors(whole)
    yield from _descriptions(name, whole)
    yield from _links(whole, canary)
    yield from _flips(whole)


def _put(file: str, content: bytes) -> Change:
    def put(folder: Path) -> None:
        (folder / file).write_bytes(content)

    return put


def _pickles(canary: Path) -> Iterator[Case]:
    buffer = canary.with_name("pickle.pt")
    torch.save({"x": Canary(canary)}, buffer)
    pickled = {"pickle": pickle.dumps(Canary(canary)), "torch.save's": buffer.read_bytes()}
    for file in ("pytorch_model.bin", "diffusion_pytorch_model.bin"):

        def instead(folder: Path, file: str = file) -> None:
            (folder / WEIGHTS).unlink()
            (folder / file).write_bytes(pickled["torch.save's"])

        yield f"only a pickle, {file}", instead, (3,)
        yield f"a pickle beside, {file}", _put(file, pickled["torch.save's"]), (0,)
    for kind, content in pickled.items():
        yield f"{kind} as weights", _put(WEIGHTS, content), (3,)
        yield f"{kind} as config.json", _put(CONFIG, content), (3,)


def _weights(whole: Files) -> Iterator[Case]:
    weights = whole[WEIGHTS]
    header = 8 + struct.unpack("<Q", weights[:8])[0]
    ends = {0, 1, 7, 8, 9, header // 2, header - 1, header, header + 1, len(weights) - 1}
    for end in sorted(ends | {len(weights) * n // 8 for n in range(1, 8)}):
        yield f"weights cut to {end}", _put(WEIGHTS, weights[:end]), (3,)
    for end in (0, 1, len(whole[CONFIG]) // 2, len(whole[CONFIG]) - 1):
        yield f"config.json cut to {end}", _put(CONFIG, whole[CONFIG][:end]), (3,)
    yield "weights and a byte more", _put(WEIGHTS, weights + b"x"), (3,)

    def sparse(folder: Path) -> None:
        with (folder / WEIGHTS).open("ab") as file:
            file.truncate(8 * 2**30)

    yield "weights of 8 GiB", sparse, (3,)


def _headers(whole: Files) -> Iterator[Case]:
    weights = whole[WEIGHTS]
    size = struct.unpack("<Q", weights[:8])[0]
    for told, length in {
        "2**60": 2**60,
        "2**63": 2**63,
        "2**64 - 1": 2**64 - 1,
        "10**8": 10**8,
        "the file's and one more": len(weights) - 7,
        "all": len(weights) - 8,
        "no": 0,
    }.items():
        content = struct.pack("<Q", length) + weights[8:]
        yield f"a header of {told} bytes", _put(WEIGHTS, content), (3,)
    bombs = {
        "deep lists": b"[" * 100_000,
        "deep objects": b'{"a":' * 100_000,
        "a million tensors": b"{" + b'"":{},' * 150_000 + b"}",
        "a long number": b'{"a":' + b"1" * 500_000 + b"}",
        "null": b"null",
        "no tensors": b"{}",
        "no text": b"\xff" * 100,
    }
    for bomb, text in bombs.items():
        content = struct.pack("<Q", len(text)) + text + weights[8 + size :]
        yield f"a header that is {bomb}", _put(WEIGHTS, content), (3,)
    header: dict[str, Any] = json.loads(weights[8 : 8 + size])
    first, second = sorted(
        (key for key in header if key != "__metadata__"),
        key=lambda key: header[key]["data_offsets"],
    )[:2]
    start, end = header[first]["data_offsets"]
    for what, changed in {
        "offsets past the end": {first: {"data_offsets": [start + 2**40, end + 2**40]}},
        "offsets past 2**64": {first: {"data_offsets": [start, 2**64]}},
        "offsets below 0": {first: {"data_offsets": [start - 4, end - 4]}},
        "offsets reversed": {first: {"data_offsets": [end, start]}},
        "offsets of another": {first: {"data_offsets": header[second]["data_offsets"]}},
        "overlapping offsets": {second: {"data_offsets": [start, end]}},
        "a hole": {first: {"data_offsets": [start + 4, end]}},
        "a shape of 2**62": {first: {"shape": [2**62]}},
        "shapes that overflow": {first: {"shape": [2**32, 2**32]}},
        "a shape below 0": {first: {"shape": [-1]}},
        "a shape of fractions": {first: {"shape": [1.5]}},
        "numbers of 4 bits": {first: {"dtype": "F4"}},
        "numbers of no type": {first: {"dtype": "__import__('os')"}},
        "exponents alone": {first: {"dtype": "F8_E8M0"}},
        "script as metadata": {"__metadata__": {"format": "<script>__import__('os')</script>"}},
    }.items():
        text = json.dumps(header | {key: header.get(key, {}) | v for key, v in changed.items()})
        content = struct.pack("<Q", len(text)) + text.encode() + weights[8 + size :]
        yield what, _put(WEIGHTS, content), (0,) if "metadata" in what else (3,)
    numbers = weights[8 + size :]
    for dtype, more in _BYTES.items():
        offsets = [len(numbers), len(numbers) + more]
        added = {"dtype": dtype, "shape": [64], "data_offsets": offsets}
        text = json.dumps({**header, "more": added})
        content = struct.pack("<Q", len(text)) + text.encode() + numbers + bytes(more)
        yield f"a tensor more, of {dtype}", _put(WEIGHTS, content), (3,)


_BYTES = {"F4": 32, "F6_E2M3": 48, "F8_E8M0": 64, "U16": 128, "U64": 512, "C64": 512, "BOOL": 64}


def _tensors(whole: Files) -> Iterator[Case]:
    tensors = load_tensors(whole[WEIGHTS])
    first = min(tensors)
    wide = max(tensors, key=lambda key: tensors[key].numel())

    def put(changed: dict[str, Tensor]) -> Change:
        return _put(WEIGHTS, save({key: each.contiguous() for key, each in changed.items()}))

    def poisoned(key: str, value: float) -> dict[str, Tensor]:
        changed = {name: tensor.clone() for name, tensor in tensors.items()}
        changed[key].view(-1)[-1] = value
        return changed

    for value in (float("nan"), float("inf"), -float("inf")):
        for key in (first, wide):
            yield f"{key} with {value}", put(poisoned(key, value)), (3,)
    huge = {key: torch.full_like(tensor, 3e38) for key, tensor in tensors.items()}
    yield "all numbers huge", put(huge), (3,)
    overflow = tensors[first].double()
    overflow.view(-1)[0] = 1e300
    yield "doubles beyond float32", put({**tensors, first: overflow}), (3,)
    for kind in (torch.float16, torch.bfloat16, torch.float64):
        as_kind = {key: tensor.to(kind) for key, tensor in tensors.items()}
        yield str(kind).removeprefix("torch."), put(as_kind), (0,)
    for kind in (torch.int8, torch.uint8, torch.int64, torch.bool, torch.complex64):
        as_kind = {key: tensor.to(kind) for key, tensor in tensors.items()}
        yield str(kind).removeprefix("torch."), put(as_kind), (3,)
        one = {**tensors, first: as_kind[first]}
        yield f"one of {str(kind).removeprefix('torch.')}", put(one), (3,)
    yield "a tensor missing", put({k: t for k, t in tensors.items() if k != first}), (3,)
    yield "a tensor more", put({**tensors, "more": torch.zeros(3)}), (3,)
    yield "an empty tensor more", put({**tensors, "more": torch.zeros(0, 2**40)}), (3,)
    yield "a name with escapes", put({**tensors, "\x1b[2J\naecli: done": torch.zeros(3)}), (3,)
    yield "a name of 10,000 letters", put({**tensors, "x" * 10_000: torch.zeros(3)}), (3,)
    yield "a tensor flat", put({**tensors, wide: tensors[wide].flatten()}), (3,)
    yield "a tensor turned", put({**tensors, wide: tensors[wide].transpose(0, -1)}), (3,)
    yield "a tensor shorter", put({**tensors, first: tensors[first][:-1]}), (3,)
    yield "a single number", put({**tensors, first: torch.tensor(1.0)}), (3,)
    former = [key for key in tensors if ".to_q." in key]
    if former:
        double = {**tensors, former[0].replace("to_q", "query"): tensors[former[0]].clone()}
        yield "a name twice", put(double), (3,)


def _descriptions(name: str, whole: Files) -> Iterator[Case]:
    described = json.loads(whole[CONFIG])
    widths = "block_out_channels" if name == "kl" else "decoder_block_out_channels"
    depth = "layers_per_block" if name == "kl" else "decoder_layers_per_block"
    one = depth == "layers_per_block"
    script = "__import__('os').system('touch x')"

    def put(**changes: Any) -> Change:
        return _put(CONFIG, json.dumps({**described, **changes}).encode())

    yield "10**9 channels", put(**{widths: [10**9] * 3}), (3,)
    yield "16384 channels", put(**{widths: [16384] * 3}), (3,)
    yield "1024 channels", put(**{widths: [1024] * 3}), (3,)
    yield "10**6 blocks", put(**{depth: 10**6 if one else [10**6] * 3}), (3,)
    yield "64 blocks", put(**{depth: 64 if one else [64] * 3}), (2, 3)
    yield "10,000 levels", put(**{widths: [4] * 10_000}), (3,)
    yield "a huge code", put(latent_channels=16384), (3,)
    yield "10**400 channels", put(latent_channels=10**400), (3,)
    for key in ("latent_channels", "in_channels", widths, depth):
        for value in (0, -1, 1.5, True, None, "4", script, {}, [[]], [-4, -4, -4], float("nan")):
            yield f"{key}: {value}", put(**{key: value}), (3,)
    for value in (0, -1, float("nan"), float("inf"), 1e-320, 1e300, 10**400, None, script, []):
        yield f"scaling_factor: {str(value)[:20]}", put(scaling_factor=value), (3,)
    for value in (None, "", "AutoencoderTiny", script, 1, {}, "\x1b[2J", "x" * 50_000):
        yield f"_class_name: {str(value)[:40]!r}", put(_class_name=value), (3,)
    yield "_class_name is a list", put(_class_name=["AutoencoderKL"]), (3,)
    other = "AutoencoderDC" if name == "kl" else "AutoencoderKL"
    yield "_class_name of the other", put(_class_name=other), (3,)
    yield "three channels", put(in_channels=3, out_channels=3), (2 if name == "kl" else 3,)
    yield "auto_map", put(auto_map={"AutoModel": "evil.Evil"}), (3,)
    yield "_auto_map", put(_auto_map={"AutoModel": "evil.Evil"}, _x=script), (0,)
    yield "a key with escapes", put(**{"\x1b[2J\naecli: done": 1}), (3,)
    yield "a key of half a letter", put(**{"\ud800": 1}), (3,)
    if name == "kl":
        yield "no groups", put(norm_num_groups=0), (3,)
        yield "10**400 groups", put(norm_num_groups=10**400), (3,)
        yield "activation", put(act_fn=script), (3,)
        yield "shift of 1e300", put(shift_factor=1e300), (3,)
        yield "12 levels", put(
            block_out_channels=[4] * 12,
            down_block_types=["DownEncoderBlock2D"] * 12,
            up_block_types=["UpDecoderBlock2D"] * 12,
        ), (2, 3)  # fmt: skip
    else:
        vit = {"encoder_block_types": "EfficientViTBlock"}
        yield "no heads", put(**vit, attention_head_dim=16384), (3,)
        scales = {"attention_head_dim": 4, "encoder_qkv_multiscales": [[2]] * 3}
        yield "even scales", put(**vit, **scales), (3,)
        yield "even scales, and weights of them", _built({**described, **vit, **scales}), (3,)
        yield "10,000 scales", put(**vit, encoder_qkv_multiscales=[[5] * 10_000] * 3), (3,)
    for text in (b"", b"{", b"[]", b"null", b"1" * 5000, b"[" * 60_000, b'{"a":' * 10_000,
                 b"\xff\xfe", b"\0" * 100, b" " * 70_000, b"NaN", b"{}", b"<script>"):  # fmt: skip
        yield f"config.json is {text[:8]!r}", _put(CONFIG, text), (3,)


def _built(described: dict[str, Any]) -> Change:
    """A whole folder of diffusers' AutoencoderDC with these layers."""

    def build(folder: Path) -> None:
        from diffusers import AutoencoderDC

        layers = {key: value for key, value in described.items() if not key.startswith("_")}
        AutoencoderDC(**layers).save_pretrained(folder)

    return build


def _links(whole: Files, canary: Path) -> Iterator[Case]:
    outside = canary.with_name("outside")

    def of_folder(folder: Path) -> None:
        shutil.rmtree(outside, ignore_errors=True)
        folder.rename(outside)
        folder.symlink_to(outside)

    yield "the folder is a link", of_folder, (0,)
    index = json.dumps({"weight_map": {"x": "../../outside/evil.safetensors"}}).encode()

    def sharded(folder: Path) -> None:
        (folder / WEIGHTS).unlink()
        (folder / f"{WEIGHTS}.index.json").write_bytes(index)

    yield "an index of shards outside", sharded, (3,)
    yield "an index beside", _put(f"{WEIGHTS}.index.json", index), (0,)

    def empty(folder: Path) -> None:
        for path in folder.iterdir():
            path.unlink()

    yield "an empty folder", empty, (3,)
    yield "no folder", shutil.rmtree, (3,)

    def a_file(folder: Path) -> None:
        shutil.rmtree(folder)
        folder.write_bytes(whole[WEIGHTS])

    yield "a file in place of the folder", a_file, (3,)
    for file in whole:
        word = "weights" if file == WEIGHTS else file
        own = canary.with_name(f"own-{file}")
        own.write_bytes(whole[file])
        yield f"{word} are a link outside", _linked(file, own), (0,)
        for target in ("/dev/zero", "/dev/urandom", "/proc/self/pagemap", "/", "nowhere", file):
            if Path(target).exists() or not target.startswith("/"):
                yield f"{word} are a link to {target}", _linked(file, Path(target)), (3,)

        def fifo(folder: Path, file: str = file) -> None:
            (folder / file).unlink()
            os.mkfifo(folder / file)

        def a_folder(folder: Path, file: str = file) -> None:
            (folder / file).unlink()
            (folder / file).mkdir()

        yield f"{word} are a pipe", fifo, (3,)
        yield f"{word} are a folder", a_folder, (3,)
        if os.geteuid():
            yield f"{word} cannot be read", lambda folder, f=file: (folder / f).chmod(0), (3,)


def _linked(file: str, target: Path) -> Change:
    def link(folder: Path) -> None:
        (folder / file).unlink()
        (folder / file).symlink_to(target)

    return link


def _flips(whole: Files) -> Iterator[Case]:
    rng = random.Random(0)
    header = 8 + struct.unpack("<Q", whole[WEIGHTS][:8])[0]
    for file, region, codes, count in (
        (WEIGHTS, (0, 8), (3,), 64),
        (WEIGHTS, (8, header), (0, 3), 60),
        (CONFIG, (0, len(whole[CONFIG])), (0, 2, 3), 60),
    ):
        for bit in sorted(rng.sample(range(8 * region[0], 8 * region[1]), count)):
            flipped = bytearray(whole[file])
            flipped[bit // 8] ^= 1 << bit % 8
            yield f"bit {bit} of {file} flipped", _put(file, bytes(flipped)), codes
