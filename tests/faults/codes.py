"""Rows on archives of codes: encoding killed at each fsync and rename, and gone on with; archives
that are damaged or another model's."""

import functools
import itertools
import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

import aecli
from tests.faults.kills import was_killed
from tests.faults.outcome import Outcome, within
from tests.faults.program import QUICK, inside

_HAS_CODER = find_spec("constriction") is not None
_ENDINGS = (".npy", ".csv")
_ODD = {
    "nan": (3, "codes.npy: code 4 has numbers that are not finite"),
    "length": (2, "codes.npy: codes of 1 numbers; the model of"),
    "empty": (3, "an array of shape (0, 2): no codes in it"),
    "flat": (3, "an array of shape (18,): not a row for each code"),
    "objects": (3, "it holds Python objects, which are not read"),
    "text": (3, "values of type <U1, expected real numbers"),
    "no array": (3, "codes.npy: not an array of NumPy's, by its content"),
    "cut short": (3, "codes.npy: not an array of numbers: "),
    "other run": (2, "codes of another model, that of the run runs/other"),
    "other number": (3, "9 codes, where codes.json tells of 8"),
    "other format": (3, "its format is 9; this aecli reads 1"),
    "no json": (3, "codes.json: not a description of codes"),
    "odd data": (3, "not a description of codes: data and scenes are objects"),
}
_COMMANDS = {
    "decode": ("codes.npy", "-o", "left"),
    "search": ("0", "--in", "codes.npy", "-k", "2", "-o", "left.png"),
}


def killed(scratch: Path, thorough: bool) -> Outcome:
    """kill -9 before each nth fsync, and each nth rename: the same command then leaves the bytes
    that an undisturbed one leaves, and the folder it worked in is gone."""
    return _killed(scratch, thorough, _ENDINGS)


def killed_in_bits(scratch: Path, thorough: bool) -> Outcome:
    """The same of codes that are stored in bits."""
    if not _HAS_CODER:
        return Outcome(skipped="constriction is not installed")
    return _killed(scratch, thorough, (*_ENDINGS, ".bits"), "--bits", "5")


def _killed(scratch: Path, thorough: bool, endings: Sequence[str], *more: str) -> Outcome:
    outcome = Outcome()
    run = str(inside(scratch, "train", *QUICK, "--code-dim", "4").run)
    twin = scratch / "twin"
    twin.mkdir()
    assert _encode(twin, run, *more).code == 0
    for call in ("fsync", "rename"):
        for number in itertools.count() if thorough else (2,):
            folder = scratch / f"{call}-{number}"
            folder.mkdir()
            if not was_killed(functools.partial(_encode, folder, run, *more), call, number):
                break  # it makes no so many calls
            with outcome.fault(f"kill -9 before {call} {number}"):
                done = _encode(folder, run, *more)
                assert done.code == 0, done.stderr
                for ending in endings:
                    name = f"codes{ending}"
                    assert (folder / name).read_bytes() == (twin / name).read_bytes(), name
                assert not (folder / "codes.npy.part").exists()
    return outcome


def _encode(folder: Path, run: str, *more: str) -> Any:
    with (
        mock.patch("aecli.codespace.encoding.BATCH_BYTES", 4 * 784 * 300),
        mock.patch("aecli.codespace.encoding.SECONDS_BETWEEN_SAVES", -1.0),
        mock.patch("aecli.machine.usable_cores", return_value=1),  # more do not outlive a fork
    ):
        told = ("encode", run, "mnist-5k", "--part", "test", "-o", "codes.npy", "-q")
        return inside(folder, *told, *more)


def damaged_bits(scratch: Path, thorough: bool) -> Outcome:
    """Bytes of codes.bits changed, each by one bit, and the file cut behind each: exit 3 with
    words, no traceback, and nothing is left."""
    if not _HAS_CODER:
        return Outcome(skipped="constriction is not installed")
    outcome = Outcome()
    run = str(inside(scratch, "train", *QUICK, "--code-dim", "2").run)
    told = ("encode", run, "mnist-5k", "--part", "val", "-o", "codes.npy", "-q")
    with mock.patch("aecli.codespace.bits.BLOCK_NUMBERS", 200):
        assert inside(scratch, *told, "--bits", "3").code == 0
    for ending in (".npy", ".json", ".csv"):
        (scratch / f"codes{ending}").unlink()
    path = scratch / "codes.bits"
    whole = path.read_bytes()
    places = np.linspace(0, len(whole) - 1, len(whole) if thorough else 4).astype(int)
    for place, way in itertools.product(places.tolist(), ("changed", "cut")):
        changed = bytearray(whole)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed if way == "changed" else whole[:place])
        with outcome.fault(f"{way} at byte {place}"), within(10):
            done = inside(scratch, "decode", run, "codes.bits", "-o", "left")
            assert (done.code, done.stdout) == (3, ""), done
            assert "aecli: codes.bits: " in done.stderr, done.stderr
            assert "Traceback" not in done.stderr
            assert not list(scratch.glob("*left*"))
    return outcome


def odd(scratch: Path, thorough: bool) -> Outcome:
    """Exit 2 or 3 with words that say what is wrong, no traceback, and nothing is left."""
    outcome = Outcome()
    run = inside(scratch, "train", *QUICK, "--code-dim", "2").run
    sha256 = aecli.open(run).model_sha256
    for number, (kind, (code, words)) in enumerate(_ODD.items()):
        for command in _COMMANDS if thorough else [*_COMMANDS][number % 4 : number % 4 + 1]:
            folder = scratch / f"{kind}, {command}"
            folder.mkdir()
            _spoil(folder, kind, sha256)
            with outcome.fault(folder.name), within(10):
                done = inside(folder, command, str(run), *_COMMANDS[command])
                assert (done.code, done.stdout) == (code, ""), done
                assert words in done.stderr, done.stderr
                assert "Traceback" not in done.stderr
                assert not list(folder.glob("left*"))
    return outcome


def _spoil(folder: Path, kind: str, model_sha256: str) -> None:
    """Nine codes of two numbers with something wrong in codes.npy or codes.json."""
    codes = np.random.default_rng(0).standard_normal((9, 2)).astype(np.float32)
    codes[4, 1] = np.nan if kind == "nan" else 0
    arrays = {
        "length": codes[:, :1],
        "empty": codes[:0],
        "flat": codes.ravel(),
        "objects": np.array([[object(), 1]], dtype=object),
        "text": np.array([["a", "b"]]),
    }
    path = folder / "codes.npy"
    np.save(path, arrays.get(kind, codes), allow_pickle=True)
    if kind == "no array":
        path.write_text("codes")
    elif kind == "cut short":
        path.write_bytes(path.read_bytes()[:-5])
    about = {"format": 1, "model_sha256": model_sha256, "images": 9, "run": "runs/other"}
    texts = {
        "other run": json.dumps({**about, "model_sha256": "0" * 64}),
        "other number": json.dumps({**about, "images": 8}),
        "other format": json.dumps({**about, "format": 9}),
        "no json": "{",
        "odd data": json.dumps({**about, "data": "x"}),
    }
    if kind in texts:
        (folder / "codes.json").write_text(texts[kind])
