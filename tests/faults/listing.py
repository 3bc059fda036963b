"""Row on the list of runs: whatever lies in the runs folder, `aecli ls` has a line for each run."""

import json
import os
from pathlib import Path

from aecli.runs import registry
from tests.faults.outcome import Outcome, bounded_memory, within
from tests.faults.program import inside

_NESTED = "[" * 100_000 + "]" * 100_000
_RECORDS: dict[str, str | bytes] = {
    "empty": "",
    "not JSON": "{",
    "not UTF-8": b'{"status": "\xff"}',
    "a list": "[]",
    "null": "null",
    "nested": _NESTED,
    "no config": '{"status": "completed"}',
    "config is a list": '{"status": "completed", "config": []}',
    "status is a list": '{"status": [], "config": {}}',
    "another status": '{"status": "\\u001b[2J", "config": {}}',
    "resumed is a number": '{"status": "failed", "config": {}, "resumed": 3}',
    "started is a list": '{"status": "failed", "config": {}, "started": [1], "error": {"a": 1}}',
    "seconds are infinite": '{"status": "completed", "config": {}, "seconds": Infinity}',
    "an endless number": '{"status": "completed", "config": {}, "seconds": ' + "9" * 9999 + "}",
    "controls": '{"status": "failed", "config": {}, "error": "\\u001b]0;x\\u0007\\u202e"}',
    "lines": '{"status": "failed", "config": {}, "error": "first\\nsecond\\r\\nthird\\ttab"}',
    "a pid that is none": '{"status": "running", "config": {}, "pid": "x"}',
}


def foreign(scratch: Path, thorough: bool) -> Outcome:
    """Damaged, foreign, huge, hostile and very many run folders."""
    outcome = Outcome()
    for name, content in _RECORDS.items():
        with outcome.fault(f"run.json: {name}"), within(), bounded_memory():
            run = _run(scratch / name, "20260101T000000Z-train-x")
            content = content.encode() if isinstance(content, str) else content
            (run / "run.json").write_bytes(content)
            _list(scratch / name, 1)
    with outcome.fault("run.json: 100 MB"), within(), bounded_memory():
        run = _run(scratch / "huge", "20260101T000000Z-train-x")
        with (run / "run.json").open("wb") as file:
            file.truncate(100 * 2**20)
        _list(scratch / "huge", 1)
    places = {"a pipe": os.mkfifo, "a folder": os.mkdir, "a link": _link_to_zeros}
    for name, make in places.items():
        with outcome.fault(f"run.json is {name}"), within():
            run = _run(scratch / name, "20260101T000000Z-train-x")
            make(run / "run.json")
            _list(scratch / name, 1)
    names = ("a\x1b[2Jb", "a\nb", "a\tb", os.fsdecode(b"\xff"), "\u202eb", " ", "[red]x", "ü")
    for name in names:
        with outcome.fault(f"a run called {name!r}"):
            _run(scratch / "names", f"20260101T000000Z-train-{name}")
    with outcome.fault("all these names in one list"):
        _list(scratch / "names", len(names))
    many = 5000 if thorough else 300
    with outcome.fault(f"{many} runs"), within(10.0):
        record = json.dumps({"status": "completed", "config": {}})
        for n in range(many):
            run = _run(scratch / "many", f"20260101T{n:06d}Z-train-x")
            (run / "run.json").write_text(record)
        assert len(registry.list_runs(scratch / "many" / "runs")) == many
    return outcome


def _run(folder: Path, name: str) -> Path:
    run = folder / "runs" / name
    run.mkdir(parents=True)
    return run


def _link_to_zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _list(folder: Path, runs: int) -> None:
    before = sorted(folder.rglob("*"))
    done = inside(folder, "ls")
    assert (done.code, done.stderr) == (0, ""), done
    assert len(done.stdout.splitlines()) == runs + 1, done.stdout
    assert all(c.isprintable() or c == "\n" for c in done.stdout if not 0xDC80 <= ord(c) <= 0xDCFF)
    rows = json.loads(inside(folder, "ls", "--json").stdout)["runs"]
    assert len(rows) == runs
    assert sorted(folder.rglob("*")) == before, "looking has left something behind"
