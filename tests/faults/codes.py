"""Row on archives of codes: encoding killed at each fsync and rename, and gone on with."""

import functools
import itertools
from pathlib import Path
from typing import Any
from unittest import mock

from tests.faults.kills import was_killed
from tests.faults.outcome import Outcome
from tests.faults.program import QUICK, inside

_ENDINGS = (".npy", ".csv")


def killed(scratch: Path, thorough: bool) -> Outcome:
    """kill -9 before each nth fsync, and each nth rename: the same command then leaves the bytes
    that an undisturbed one leaves, and the folder it worked in is gone."""
    outcome = Outcome()
    run = str(inside(scratch, "train", *QUICK, "--code-dim", "4").run)
    twin = scratch / "twin"
    twin.mkdir()
    assert _encode(twin, run).code == 0
    for call in ("fsync", "rename"):
        for number in itertools.count() if thorough else (2,):
            folder = scratch / f"{call}-{number}"
            folder.mkdir()
            if not was_killed(functools.partial(_encode, folder, run), call, number):
                break  # it makes no so many calls
            with outcome.fault(f"kill -9 before {call} {number}"):
                done = _encode(folder, run)
                assert done.code == 0, done.stderr
                for ending in _ENDINGS:
                    name = f"codes{ending}"
                    assert (folder / name).read_bytes() == (twin / name).read_bytes(), name
                assert not (folder / "codes.npy.part").exists()
    return outcome


def _encode(folder: Path, run: str) -> Any:
    with (
        mock.patch("aecli.codespace.encoding.BATCH_BYTES", 4 * 784 * 1500),
        mock.patch("aecli.codespace.encoding.SECONDS_BETWEEN_SAVES", -1.0),
        mock.patch("aecli.machine.usable_cores", return_value=1),  # more do not outlive a fork
    ):
        return inside(folder, "encode", run, "mnist-5k", "-o", "codes.npy", "-q")
