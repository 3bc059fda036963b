"""Rows on configs: a table of hostile YAML through the program, and a fuzz run of everything read.

Every fuzzed input comes from a generator seeded by its number, so a failure names all that is
needed to repeat it.
"""

import contextlib
import itertools
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
from aecli.config import EXPERIMENTS, resolve, set_layer, to_yaml, yaml_layer
from aecli.errors import DataError, UsageError
from aecli.runs import checkpoint, storage
from tests.faults import models
from tests.faults.outcome import Outcome, bounded_memory, within
from tests.faults.program import inside

_MANY = ", ".join(str(n) for n in range(1, 10_000))

# Name -> the YAML, and everything that the message must have in it.
GOLDEN: dict[str, tuple[str | bytes, tuple[str, ...]]] = {
    "python tag": (
        "seed: !!python/object/apply:os.system [touch canary]",
        ("c.yaml:1:7: tag 'tag:yaml.org,2002:python/object/apply:os.system': only plain data",),
    ),
    "python name": (
        "seed: !!python/name:os.system",
        ("c.yaml:1:7: tag 'tag:yaml.org,2002:python/name:os.system'",),
    ),
    "own tag": ("seed: !x 1", ("c.yaml:1:7: tag '!x': only plain data is read",)),
    "tag with an escape": ("seed: !x%1B[2J 1", ("c.yaml:1:",)),
    "tag directive": ("%TAG ! tag:x,2000:\n---\nseed: !x 1", ("c.yaml:3:7: tag 'tag:x,2000:x'",)),
    "anchor bomb": (
        "a: &a [x, x]\n"
        + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in itertools.pairwise("abcdefghi")),
        ("c.yaml:1:4: anchor &a", "c.yaml:2:8: alias *a", "c.yaml:9:12: alias *h"),
    ),
    "recursion": (
        "a: &a\n  b: *a",
        ("c.yaml:1:4: anchor &a: anchors and aliases are not read", "c.yaml:2:6: alias *a"),
    ),
    "merge key": ("a: &a {x: 1}\ntrain:\n  <<: *a", ("c.yaml:3:7: alias *a",)),
    "5,000 digits": ("seed: " + "9" * 5000, ("c.yaml:1:7: an integer of 5,000 digits",)),
    "5,000 hexadecimal digits": ("seed: 0x" + "f" * 5000, ("c.yaml:1:7: an integer of 5,002",)),
    "5,000 digits, then a point": (
        "train: {lr: " + "9" * 5000 + ".0}",
        ("c.yaml:1:9: train.optimizer.lr=inf must be a finite number",),
    ),
    "2,000 deep in brackets": ("[" * 2000 + "]" * 2000, ("c.yaml:1:17: nested more than 16",)),
    "2,000 deep in braces": ("{a: " * 2000 + "}" * 2000, ("nested more than 16 deep",)),
    "2,000 deep in dashes": ("- " * 2000 + "a", ("nested more than 16 deep",)),
    "2,000 deep in lines": (
        "".join(" " * i + "a:\n" for i in range(300)),
        ("nested more than 16 deep",),
    ),
    "20,000 question marks": ("? " * 20_000, ("nested more than 16 deep",)),
    "duplicate keys": (
        "seed: 1\ntrain: {lr: 1.0, lr: 2.0}\nseed: 2",
        ("c.yaml:2:18: key 'lr' stands twice", "c.yaml:3:1: key 'seed' stands twice"),
    ),
    "unknown keys": (
        "sede: 1\ntrain:\n  epoch: 3\ncodec: {wdith: 1}",
        (
            "c.yaml:1:1: unknown key 'sede'; did you mean 'seed'?",
            "c.yaml:3:3: unknown key 'train.epoch'; did you mean 'train.epochs'?",
            "c.yaml:4:9: unknown key 'codec.wdith'; the keys here are name, code_dim, hidden",
        ),
    ),
    "an unknown key with control characters": (
        '"a\\e[2J\\r": 1',
        ("c.yaml:1:1: unknown key 'a\\x1b[2J\\r'",),
    ),
    "unknown section": ("training: {lr: 0.1}", ("c.yaml:1:1: unknown key 'training'",)),
    "keys that are no text": (
        "1: a\nnull: b\n[c]: d\n{e: f}: g",
        ("c.yaml:1:1: a key must be a string, not 1", "c.yaml:2:1", "c.yaml:3:1", "c.yaml:4:1"),
    ),
    "nan and infinity": (
        "train: {lr: .nan, momentum: .inf, l1: -.inf, noise: {name: masking, level: .NaN},"
        " warmup: .nan}",
        tuple(
            f"train.{key}={value} must be a finite number"
            for key, value in (
                ("optimizer.lr", "nan"),
                ("optimizer.momentum", "inf"),
                ("loss.l1", "-inf"),
                ("noise.level", "nan"),
                ("warmup", "nan"),
            )
        ),
    ),
    "overflow to infinity": (
        "train: {lr: 1e999}",
        ("train.optimizer.lr=inf must be a finite number",),
    ),
    "wrong types": (
        "seed: 1.0\nname: [a]\nthreads: yes\ndevice: 3\ndata: mnist\n"
        "codec: {code_dim: '8', hidden: 256}\ntrain: {epochs: true, lr: fast, recipe: {a: b}}",
        (
            "c.yaml:1:1: seed=1.0 must be a whole number",
            "c.yaml:2:1: name=['a'] must be text",
            "c.yaml:3:1: threads='yes' must be a whole number",
            "c.yaml:4:1: device=3 must be one of 'auto', 'cpu', 'cuda' or 'mps'",
            "c.yaml:5:1: data='mnist' must be a section of keys and values",
            "c.yaml:6:9: codec.code_dim='8' must be a whole number",
            "c.yaml:6:24: codec.hidden=256 must be a list",
            "c.yaml:7:9: train.epochs=true must be a whole number",
            "c.yaml:7:23: train.optimizer.lr='fast' must be a number",
            "c.yaml:7:33: train.recipe={'a': 'b'} must be one of 'muon' or 'chapter'",
        ),
    ),
    "out of range": (
        "seed: -1\nthreads: 99999999999\ncodec: {code_dim: 99999999999999999999}\n"
        "train: {epochs: 0, batch_size: -5, momentum: 1, noise: {name: masking, level: 2}}",
        (
            "c.yaml:1:1: seed=-1 must be at least 0",
            "c.yaml:2:1: threads=99999999999 must be at most 1024",
            "c.yaml:3:9: codec.code_dim=99999999999999999999 must be at most 1000000000",
            "c.yaml:4:9: train.epochs=0 must be at least 1",
            "c.yaml:4:20: train.batch_size=-5 must be at least 1",
            "c.yaml:4:36: train.optimizer.momentum=1 must be less than 1",
            "c.yaml:4:72: train.noise.level=2 must be at most 1",
        ),
    ),
    "keys that what is named beside them has not": (
        "train: {optimizer: adam, momentum: 0.5, noise_level: 0.1}",
        (
            "c.yaml:1:26: unknown key 'train.optimizer.momentum'; the keys here are name, lr",
            "c.yaml:1:41: unknown key 'train.noise.level'; the keys here are name",
        ),
    ),
    "keys without effect": (
        "train: {elastic_fraction: 0.1}",
        ("c.yaml:1:9: train.elastic_fraction=0.1 has no effect: train.elastic=0",),
    ),
    "a training of what is solved for": (
        "codec: {name: pca}\ntrain: {epochs: 3}",
        ("c.yaml:2:9: train.epochs=3 has no effect: pca is solved for, not trained",),
    ),
    "an empty path": ("data: {dir: ''}", ("c.yaml:1:8: data.dir='': must be a path",)),
    "paths as a name": ("name: ../../x", ("c.yaml:1:1: name='../../x' must be 1 to 40 letters",)),
    "a line's end in a name": ('name: "x\\n"', ("name='x\\n' must be 1 to 40 letters",)),
    "9,999 layers": (f"codec: {{hidden: [{_MANY}]}}", ("must be a list of at most 64",)),
    "no codec of that name": ("codec: {name: os.system}", ("codec.name='os.system' must be one",)),
    "10 MB": (b"# " + b"x" * 10_000_000, ("c.yaml: too long: a config has at most 65,536 bytes",)),
    "10 MB of keys": (b"a: 1\n" * 2_000_000, ("at most 65,536 bytes",)),
    "invalid UTF-8": (b"seed: 1\nname: \xff", ("c.yaml: not UTF-8: byte 14 is 0xff",)),
    "cut UTF-8": ("name: ü".encode()[:-1], ("c.yaml: not UTF-8",)),
    "UTF-16": ("seed: 1".encode("utf-16"), ("c.yaml: not UTF-8: byte 0 is 0xff",)),
    "a surrogate": (b"name: \xed\xa0\x80", ("c.yaml: not UTF-8",)),
    "null bytes": (b"seed: \0", ("c.yaml: not YAML",)),
    "control characters": (b"seed: \x1b[2J", ("c.yaml: not YAML",)),
    "tabs": ("train:\n\tlr: 0.1", ("c.yaml:2:1: not YAML",)),
    "an open bracket": ("train: {lr: [1", ("not YAML",)),
    "two colons": ("seed: a: b", ("c.yaml:1:8: not YAML",)),
    "two documents": ("seed: 1\n---\nseed: 2", ("c.yaml:2:1: a second document",)),
    "a list": ("- seed", ("c.yaml: a config is a mapping of keys to values",)),
    "a word": ("seed", ("c.yaml: a config is a mapping of keys to values",)),
    "another YAML version": ("%YAML 9.9\n---\nseed: 1", ("not YAML",)),
    "a pickle": (b"\x80\x04\x95\x1d\0\0\0\0\0\0\0\x8c\x05posix", ("c.yaml: not UTF-8",)),
}  # fmt: skip

# Rows of other experiments: name -> command, YAML, message.
_OTHERS = {
    "9,999 code dimensions": (
        "sweep-codedim",
        f"code_dims: [{_MANY}]",
        "code_dims",
    ),
    "a device for many trainings": (
        "sweep-codedim",
        "device: cuda",
        "c.yaml:1:1: device='cuda': many trainings run on the CPU",
    ),
    "checkpoints of many trainings": (
        "pca-compare",
        "checkpoint_seconds: 1",
        "c.yaml:1:1: checkpoint_seconds=1 has no effect",
    ),
    "a codec that no claim is about": (
        "reproduce",
        "codec: {name: linear}",
        "codec.name=linear: the claims are about a network with hidden layers",
    ),
    "an empty run": ("sample", "run: ''", "c.yaml:1:1: run='': must be a path"),
    "ends that contradict": (
        "interpolate",
        "from_digit: 1\nto_digit: 1\nfrom_index: 3",
        "from_digit=1 and from_index=3 both choose the same end",
    ),
}


def table(scratch: Path, _thorough: bool) -> Outcome:
    """Exit 2 with every mistake and its place; no traceback; nothing runs; nothing is written."""
    outcome = Outcome()
    config = scratch / "c.yaml"
    cases = {name: ("train", text, words) for name, (text, words) in GOLDEN.items()}
    cases |= {name: (command, text, (word,)) for name, (command, text, word) in _OTHERS.items()}
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
    "true", "null", "~", "no", "mlp", "pca", "linear", "dct", "muon", "chapter", "mnist", "auto",
    "cpu", "'1'", '"\\e[2J"', "../x", "ü", "&a 1", "*a", "!t 1", "!!str 1", "", "x" * 300,
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


_SAVED = {name: models.saved(name) for name in ("mlp", "linear", "pca", "dct")}


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
