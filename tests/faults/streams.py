"""Row on streams: where the output goes, and in what surroundings, never stops a run."""

import json
import os
import pty
from functools import partial
from pathlib import Path

from tests.conftest import SMALL, Finished, environment
from tests.faults.outcome import Outcome
from tests.faults.program import QUICK, shell
from tests.forked import Forked, program

_TRAIN = f'"$AECLI" train {" ".join(QUICK)}'
_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "NO_COLOR": "1"}

# Name -> shell line, exit code, lines of stdout (None: a whole table), what stderr says.
_LINES: dict[str, tuple[str, int, int | None, str]] = {
    "reader leaves": (f"{_TRAIN} | head -1; exit ${{PIPESTATUS[0]}}", 0, 1, ""),
    "both closed": (f"{_TRAIN} >&- 2>&-", 0, 0, ""),
    "stdout full": (f"{_TRAIN} > /dev/full", 6, 0, "standard output: No space left on device"),
    "stdout closed": (f"{_TRAIN} >&-", 0, 0, ""),
    "stderr closed": (f"{_TRAIN} 2>&-", 0, None, ""),
    "stderr full": (f"{_TRAIN} 2> /dev/full", 0, None, ""),
    "reader of stderr leaves": (f"{_TRAIN} 2> >(true)", 0, None, ""),
    "stdin closed": (f"{_TRAIN} <&-", 0, None, ""),
    "json to a full disk": (f"{_TRAIN} --json > /dev/full", 6, 0, "No space left"),
    "json to a reader that leaves": (f"{_TRAIN} --json | true; exit ${{PIPESTATUS[0]}}", 0, 0, ""),
}
_QUICK_LINES = ("stdout full",)

_TERMINALS = {
    "20 columns, dumb": ({"TERM": "dumb", "COLUMNS": "20"}, False),
    "40 columns, colour": ({"TERM": "xterm-256color", "COLUMNS": "40"}, True),
    "no TERM": ({"TERM": "", "COLUMNS": "80"}, None),
    "1 column": ({"TERM": "xterm", "COLUMNS": "1"}, None),
    "NO_COLOR": ({"TERM": "xterm-256color", "NO_COLOR": "1", "COLUMNS": "80"}, None),
    "C locale": ({"TERM": "xterm", "COLUMNS": "20", **_LOCALE}, None),
}
_QUICK_TERMINALS = ("20 columns, dumb",)


def streams(scratch: Path, thorough: bool) -> Outcome:
    """The run goes on and completes; what reaches stdout still parses."""
    outcome = Outcome()
    for i, name in enumerate(_LINES if thorough else _QUICK_LINES):
        line, code, lines, told = _LINES[name]
        folder = scratch / f"läufe {i}"  # a name that some locales cannot encode
        folder.mkdir()
        with outcome.fault(name):
            done = shell(folder, line, **_LOCALE)
            assert done.code == code, done
            assert told in done.stderr
            for text in ("Traceback", "BrokenPipe", "Exception ignored"):
                assert text not in done.stderr, done.stderr
            if lines is None:
                assert done.run.parent == folder / "runs"
                assert done.metrics()["code_dim"] == 32
            else:
                assert len(done.stdout.splitlines()) == lines
            _require_completed(folder)
    for i, name in enumerate(_TERMINALS if thorough else _QUICK_TERMINALS):
        env, coloured = _TERMINALS[name]
        folder = scratch / f"terminal {i}"
        folder.mkdir()
        with outcome.fault(f"a terminal: {name}"):
            done = _on_a_terminal(folder, SMALL if coloured else QUICK, env)
            assert done.code == 0, done
            if coloured is not None:
                assert ("\x1b[" in done.stdout) == coloured
            assert Path(done.stdout.splitlines()[-1]).is_dir(), done.stdout[-500:]
            _require_completed(folder)
    return outcome


def _require_completed(folder: Path) -> None:
    record = json.loads((folder / "runs/latest/run.json").read_text())
    assert record["status"] == "completed"
    assert (folder / "runs/latest/metrics.json").exists()


def _on_a_terminal(folder: Path, arguments: tuple[str, ...], env: dict[str, str]) -> Finished:
    """The program with a pseudo-terminal for all its streams; all it wrote, as stdout."""
    ours, theirs = pty.openpty()
    told = ("train", *arguments, "--threads", "1")
    work = partial(program, folder, environment(folder, **env), *told)
    child = Forked(work, (theirs, theirs, theirs))
    os.close(theirs)
    written = b""
    try:
        while part := os.read(ours, 65536):
            written += part
    except OSError:  # the other side has closed it
        pass
    finally:
        os.close(ours)
    return Finished(child.wait(), written.decode("utf-8", "surrogateescape"), "")
