"""Row on gates: no `--expect` that is not met, or cannot be judged, ends in exit code 0."""

import json
from pathlib import Path

from tests.faults.outcome import Outcome
from tests.faults.program import QUICK, inside

_UNMET = ("--expect", "test_mse<=0")
_VALUES = ("null", "NaN", "Infinity", '"0"', "[]", "{}", "1e999", "true")
_QUICK = ("missing", "empty", "test_mse null", "test_mse NaN", "first half")


def gates(scratch: Path, thorough: bool) -> Outcome:
    """A completed run resumed, as a retried CI step does, with its metrics whole and damaged."""
    outcome = Outcome()
    run = inside(scratch, "train", *QUICK).run
    path = run / "metrics.json"
    whole = path.read_bytes()
    measured = json.loads(whole)["test_mse"]
    damaged = _damaged(whole, measured)
    for name in damaged if thorough else _QUICK:
        content = damaged[name]
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
        for options in ((), ("--json",)):
            with outcome.fault(f"{name} {' '.join(options)}".rstrip()):
                done = inside(scratch, "resume", str(run), *options, *_UNMET)
                assert done.code in (3, 7), done
                assert "Traceback" not in done.stderr
                if options and done.stdout:
                    printed = json.loads(done.stdout, parse_constant=_refuse)
                    assert printed["exit_code"] == done.code
        path.write_bytes(whole)
    for options in ((), ("--json",), ("-q",)):
        for expectation, code in (("tset_mse<1", 2), ("test_mse<=0", 7), ("test_mse>0", 0)):
            with outcome.fault(f"whole: {expectation} {' '.join(options)}".rstrip()):
                done = inside(scratch, "resume", str(run), *options, "--expect", expectation)
                assert done.code == code, done
                assert json.loads(whole) == json.loads(path.read_bytes())
    return outcome


def _damaged(whole: bytes, measured: float) -> dict[str, bytes | None]:
    """Name -> content of metrics.json; None means no file."""
    damaged: dict[str, bytes | None] = {"missing": None, "empty": b"", "a list": b"[]"}
    damaged["first half"] = whole[: len(whole) // 2]
    for value in _VALUES:
        content = whole.replace(f'"test_mse": {measured}'.encode(), f'"test_mse": {value}'.encode())
        assert content != whole
        damaged[f"test_mse {value}"] = content
    for n in range(0, len(whole) - 2, 7):
        damaged[f"the first {n} bytes"] = whole[:n]
    return damaged


def _refuse(name: str) -> float:
    raise AssertionError(f"{name} in JSON")
