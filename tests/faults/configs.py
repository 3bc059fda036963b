"""Rows on configs: a table of hostile YAML through the program, and a fuzz run of everything read.

Every fuzzed input comes from a generator seeded by its number, so a failure names all that is
needed to repeat it.
"""

import contextlib
import json
import os
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from aecli.cli.shipped import shipped_configs
from aecli.codecs import CODECS
from aecli.config import EXPERIMENTS, resolve, set_layer, to_yaml, yaml_layer
from aecli.errors import DataError, UsageError
from aecli.runs import checkpoint, storage
from tests.faults import models
from tests.faults.config_table import GOLDEN, OTHERS
from tests.faults.outcome import Outcome, bounded_memory, within
from tests.faults.program import inside


def table(scratch: Path, _thorough: bool) -> Outcome:
    """Exit 2 with every mistake and its place; no traceback; nothing runs; nothing is written."""
    outcome = Outcome()
    config = scratch / "c.yaml"
    cases = {name: ("train", text, words) for name, (text, words) in GOLDEN.items()}
    cases |= {name: (command, text, (word,)) for name, (command, text, word) in OTHERS.items()}
    for name, (command, text, words) in cases.items():
        config.write_bytes(text.encode() if isinstance(text, str) else text)
        with outcome.fault(name), within(), bounded_memory():
            done = inside(scratch, command, "--config", "c.yaml", "--dry-run")
            _expect_refusal(done.code, done.stdout, done.stderr, words)
            assert [path.name for path in scratch.iterdir()] == ["c.yaml"]
    for setting, word in {
        "seed=&a 1": "anchor &a",
        "seed=" + "9" * 5000: "an integer of 5,000 digits",
        "seed=[" * 100: "not YAML",
        "seed=!!python/name:os.system": "only plain data",
        "a" + ".a" * 50_000 + "=1": "more than 16 keys deep",
        "name=../../x": "must be 1 to 40 letters",
        "seed": "not of the form key.key=value",
        "=1": "not of the form",
    }.items():
        with outcome.fault(f"--set {setting[:40]}"), within(), bounded_memory():
            done = inside(scratch, "train", "--set", setting, "--dry-run")
            _expect_refusal(done.code, done.stdout, done.stderr, (word,))
    return outcome


def _expect_refusal(code: int, stdout: str, stderr: str, words: tuple[str, ...]) -> None:
    assert (code, stdout) == (2, ""), (code, stdout[:200], stderr[-500:])
    lines = stderr.splitlines()
    assert lines
    assert all(line.startswith("aecli: ") for line in lines), stderr[:500]
    assert all(len(line) < 10_000 for line in lines), "a line without end"
    missing = [word for word in words if word not in stderr]
    assert not missing, f"{missing} not in: {stderr[:1000]}"
    assert stderr.isascii() or stderr.isprintable()
    assert not any(c < " " and c != "\n" for c in stderr), "control characters on a terminal"


def fuzz(scratch: Path, thorough: bool) -> Outcome:
    """Mutated and made-up inputs: taken, or refused by the right error, within 2 s and 500 MB."""
    outcome = Outcome()
    kinds: tuple[tuple[str, Callable[[Path, random.Random], None], int], ...] = (
        ("mutated config", _mutated_config, 8000),
        ("made-up config", _made_up_config, 8000),
        ("assignment", _assignment, 3000),
        ("model folder", _model_folder, 5000),
        ("checkpoint", _checkpoint, 3000),
    )
    with outcome.fault("memory over the whole run"), bounded_memory():
        for kind, try_one, count in kinds:
            for n in range(count if thorough else count // 100):
                with outcome.fault(f"{kind} {n}"), within():
                    try_one(scratch, random.Random(f"{kind} {n}"))
    return outcome


def _mutated_config(scratch: Path, rng: random.Random) -> None:
    text = rng.choice(shipped_configs()).path.read_bytes()
    for _ in range(rng.randint(1, 8)):
        text = _mutate(text, rng)
    path = scratch / "c.yaml"
    path.write_bytes(text)
    model = EXPERIMENTS[rng.choice(list(EXPERIMENTS))]
    with contextlib.suppress(UsageError):
        config = resolve(model, [yaml_layer(path)])
        path.write_text(to_yaml(config))
        assert resolve(model, [yaml_layer(path)]) == config, "does not read back"


_TOKENS = [
    b"- ", b": ", b"\n", b"  ", b"\t", b"{", b"}", b"[", b"]", b",", b"&a ", b"*a", b"!!int ",
    b"!x ",
    b"|\n", b">-\n", b"'", b'"', b"#", b"? ", b"---\n", b"...\n", b"%YAML 1.2\n", b"<<: ",
    b"\0",
    b"\xff", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"1e999", b".nan", b"-.inf", b"0x", b"0o9",
    b"9" * 50,
    b"null", b"true", b"no", b"name: ", b"codec:\n  name: pca\n", b"recipe: chapter\n", b"~",
]  # fmt: skip


def _mutate(text: bytes, rng: random.Random) -> bytes:
    """One change: bytes flipped, dropped, doubled, swapped, or a token put in."""
    i, j = sorted(rng.choices(range(len(text) + 1), k=2))
    match rng.randrange(6):
        case 0 if text:
            at = min(i, len(text) - 1)
            return text[:at] + bytes([text[at] ^ (1 << rng.randrange(8))]) + text[at + 1 :]
        case 1:
            return text[:i] + text[min(j, i + rng.randrange(20)) :]
        case 2:
            return text[:j] + text[i:j] * rng.choice((1, 2, 50)) + text[j:]
        case 3:
            lines = text.split(b"\n")
            rng.shuffle(lines)
            return b"\n".join(lines)
        case _:
            return text[:i] + rng.choice(_TOKENS) * rng.choice((1, 1, 1, 30)) + text[i:]


def _keys() -> list[str]:
    found = ["x", "a.b", "", "ü", "<<", "__class__"]
    for model in EXPERIMENTS.values():
        found += model.model_fields
        for field in model.model_fields.values():
            found += getattr(type(field.default), "model_fields", {})
    return sorted(set(found))


_KEYS = _keys()
_SCALARS = [
    "0", "1", "-1", "32", "784", "1e-3", "0.5", "1e999", ".nan", ".inf", "1" * 21, "0x10", "0o7",
    "true", "null", "~", "no", *CODECS, "muon", "chapter", "mnist", "auto", "cpu",
    "'1'", '"\\e[2J"', "../x", "ü", "&a 1", "*a", "!t 1", "!!str 1", "", "x" * 300,
    "2026-11-22",
]  # fmt: skip


def _made_up_config(scratch: Path, rng: random.Random) -> None:
    """Text from YAML's grammar, with the keys and values that configs have."""
    path = scratch / "c.yaml"
    text = _section(rng, depth=0)
    path.write_bytes(text.encode() if rng.random() < 0.8 else _mutate(text.encode(), rng))
    model = EXPERIMENTS[rng.choice(list(EXPERIMENTS))]
    with contextlib.suppress(UsageError):
        resolve(model, [yaml_layer(path), set_layer([_setting(rng)])])


def _section(rng: random.Random, depth: int) -> str:
    indent = "  " * depth
    lines = []
    for _ in range(rng.randint(0, 6)):
        key = rng.choice(_KEYS)
        if rng.random() < 0.25 and depth < 20:
            lines.append(f"{indent}{key}:\n{_section(rng, depth + 1)}")
        else:
            lines.append(f"{indent}{key}: {_flow(rng, depth)}")
    return "\n".join(lines)


def _flow(rng: random.Random, depth: int) -> str:
    kind = rng.random()
    if kind < 0.7 or depth > 4:
        return rng.choice(_SCALARS)
    items = [_flow(rng, depth + 1) for _ in range(rng.choice((0, 1, 2, 3, 30)))]
    if kind > 0.98:
        return "[" * 20 + ", ".join(items) + "]" * 20
    if kind < 0.85:
        return f"[{', '.join(items)}]"
    return "{" + ", ".join(f"{rng.choice(_KEYS)}: {item}" for item in items) + "}"


def _setting(rng: random.Random) -> str:
    return f"{'.'.join(rng.choices(_KEYS, k=rng.randint(1, 3)))}={rng.choice(_SCALARS)}"


def _assignment(_scratch: Path, rng: random.Random) -> None:
    settings = [_setting(rng) for _ in range(rng.randint(1, 4))]
    if rng.random() < 0.3:
        settings[0] = _mutate(settings[0].encode(), rng).decode("utf-8", "surrogateescape")
    with contextlib.suppress(UsageError):
        resolve(EXPERIMENTS[rng.choice(list(EXPERIMENTS))], [set_layer(settings)])


_SAVED = {name: models.saved(name) for name in CODECS}


def _model_folder(scratch: Path, rng: random.Random) -> None:
    files = dict(_SAVED[rng.choice(list(_SAVED))])
    match rng.randrange(4):
        case 0:
            file = rng.choice(list(files))
            for _ in range(rng.randint(1, 8)):
                files[file] = _mutate(files[file], rng)
        case 1:
            files["config.json"] = json.dumps(
                _twisted(json.loads(files["config.json"]), rng)
            ).encode()
        case 2:
            files["model.safetensors"] = _new_header(files["model.safetensors"], rng)
        case _:
            files[rng.choice(list(files))] = rng.randbytes(rng.choice((0, 8, 100, 10_000)))
    with contextlib.suppress(DataError):
        models.load_files(scratch / "model", files)


_JSON: list[Any] = [
    None,
    True,
    0,
    -1,
    1,
    3,
    10**9,
    10**400,
    1.5,
    "",
    "mlp",
    "pca",
    "x" * 99,
    [],
    {},
]


def _twisted(value: Any, rng: random.Random) -> Any:
    """JSON with some of its values replaced."""
    if rng.random() < 0.15:
        return rng.choice(_JSON)
    if isinstance(value, dict):
        return {k: _twisted(v, rng) for k, v in value.items() if rng.random() < 0.95}
    if isinstance(value, list):
        return [_twisted(v, rng) for v in value] * rng.choice((1, 1, 1, 1, 2, 1000))
    return value


def _new_header(weights: bytes, rng: random.Random) -> bytes:
    length = struct.unpack("<Q", weights[:8])[0]
    header = json.dumps(_twisted(json.loads(weights[8 : 8 + length]), rng)).encode()
    told = rng.choice((len(header), len(header), len(header), 0, 2**40, len(header) + 1))
    return struct.pack("<Q", told) + header + weights[8 + length :]


_STATE = {
    "parameters": torch.arange(20.0),
    "step": torch.tensor(3),
    "generator": torch.Generator().get_state(),
}
_HISTORY = [{"epoch": 0, "train_mse": 0.1, "val_mse": 0.2, "lr": 0.03, "seconds": 1.0}]


def _checkpoint(scratch: Path, rng: random.Random) -> None:
    """One file of the newer of two generations is changed, its manifest made to fit or not."""
    folder = scratch / "checkpoint"
    shutil.rmtree(folder, ignore_errors=True)
    with mock.patch.object(os, "fsync"):  # nothing here is to outlast a power cut
        for _ in range(2):
            checkpoint.save(folder, "id", _STATE, _HISTORY)
    newest = max(folder.iterdir())
    path = newest / rng.choice(("state.safetensors", "progress.json", storage.MANIFEST))
    content = path.read_bytes()
    if rng.random() < 0.5:
        content = _mutate(content, rng)
    elif path.suffix == ".json":
        content = json.dumps(_twisted(json.loads(content), rng)).encode()
    else:
        content = _new_header(content, rng)
    content = rng.choice((content, content, content, b"[" * 50_000, b"1" * 5000))
    path.write_bytes(content)
    fits = path.name != storage.MANIFEST and rng.random() < 0.5
    if fits:  # whoever wrote the folder wrote the manifest too
        names = ("state.safetensors", "progress.json")
        with mock.patch.object(os, "fsync"):
            storage.seal(newest, {name: (newest / name).read_bytes() for name in names})
    found, _faults = checkpoint.load(folder, "id")
    assert found is not None, "the older generation is whole"
    if not fits:
        assert found.history == _HISTORY
        assert all(torch.equal(found.state[name], _STATE[name]) for name in _STATE)
