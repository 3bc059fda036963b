"""Rows on `compare`, `ls` and `rm`: hostile run folders are shown as text, and never obeyed."""

import html.parser
import json
import os
from collections.abc import Callable
from pathlib import Path

from tests.faults.listing import _RECORDS
from tests.faults.outcome import Outcome, bounded_memory, within
from tests.faults.program import inside
from tests.made_runs import make_run

_SCRIPTS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{ 7*7 }}{% include '/etc/passwd' %}",
    "](javascript:alert(1))|`|",
    "=cmd|'/c calc'!A1",
    "\x1b]0;x\x07\u202e\x9b2J",
    "$\\frac{$ _x",
    "a\nb\r\nc",
    "x" * 100_000,
)
_BROKEN = ("", "{", "[]", "null", "[" * 100_000, '{"test_mse": {}}', '{"test_mse": 1e999}')
_GOOD = "20260101T000000Z-train-good"
_BAD = "20260102T000000Z-train-bad"


class _Page(html.parser.HTMLParser):
    """The elements of a page and their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def compared(scratch: Path, thorough: bool) -> Outcome:
    """Damaged, hostile, huge and linked files of a run beside a good one: `compare` and `ls` name
    it or show its text, and go on."""
    outcome = Outcome()
    inside(scratch, "compare")  # what is imported once is not counted below
    for n, text in enumerate(_SCRIPTS if thorough else _SCRIPTS[:3]):
        for where in ("setting", "metric", "fact", "error", "dataset"):
            with outcome.fault(f"{where}: {text[:30]!r}"), within(4.0), bounded_memory():
                folder = scratch / f"{where}{n}"
                make_run(folder / "runs", _GOOD)
                _hostile(folder / "runs", where, text)
                _show(folder)
    for name in ("a\x1b[2Jb", "a\nb", os.fsdecode(b"\xff"), "\u202eb", "<b>x", "$x$", "=1+1", "|"):
        with outcome.fault(f"a run called {name!r}"), within(4.0):
            folder = scratch / f"name {len(list(scratch.iterdir()))}"
            make_run(folder / "runs", _GOOD)
            make_run(folder / "runs", f"{_BAD}{name}", 1)
            _show(folder, runs=2)
    files: dict[str, Callable[[Path], object]] = {
        "100 MB": _huge,
        "a pipe": os.mkfifo,
        "a folder": os.mkdir,
        "a link": lambda path: path.symlink_to("/dev/zero"),
        "not UTF-8": lambda path: path.write_bytes(b'{"\xff"'),
    }
    broken = {text[:12]: text for text in _BROKEN}
    for name in ("run.json", "metrics.json", "history.csv"):
        for fault, make in files.items():
            with outcome.fault(f"{name} is {fault}"), within(4.0), bounded_memory():
                folder = scratch / f"{name} {fault}"
                make_run(folder / "runs", _GOOD)
                bad = make_run(folder / "runs", _BAD, 1)
                (bad / name).unlink(missing_ok=True)
                make(bad / name)
                _show(folder, runs=2 if name == "history.csv" else 1)
    for fault, text in {**broken, **(_RECORDS if thorough else {})}.items():
        name = "run.json" if fault in _RECORDS else "metrics.json"
        with outcome.fault(f"{name}: {fault}"), within(4.0), bounded_memory():
            folder = scratch / f"{name} of {fault}".replace("/", " ")
            make_run(folder / "runs", _GOOD)
            bad = make_run(folder / "runs", _BAD, 1) / name
            bad.write_bytes(text if isinstance(text, bytes) else text.encode())
            _show(folder, runs=None)
    return outcome


def removed(scratch: Path, thorough: bool) -> Outcome:
    """Links and odd names in and beside runs: `rm` removes runs, and nothing outside of them."""
    outcome = Outcome()
    for n, name in enumerate(
        ("a b", "a\nb", os.fsdecode(b"\xff"), "-rf", "*", "[x]", "\x1b[2J", "x" * 229)
    ):
        with outcome.fault(f"a run called {name!r}"), within(4.0):
            runs = scratch / f"name {n}" / "runs"
            make_run(runs, _GOOD)
            bad = make_run(runs, f"{_BAD}{name}")
            assert inside(runs.parent, "rm", bad.name, "--yes").code == 0
            assert (runs / _GOOD).is_dir()
            assert not bad.exists()
    own = scratch / "own"
    own.mkdir()
    (own / "photo.jpg").write_text("a photo")
    for place in ("model", "checkpoint", "run.json", "metrics.json", ".lock", "deep/er"):
        with outcome.fault(f"a link at {place}"), within(4.0):
            runs = scratch / place.replace("/", " ") / "runs"
            bad = make_run(runs, _BAD)
            (bad / place).unlink(missing_ok=True)
            (bad / place).parent.mkdir(exist_ok=True)
            (bad / place).symlink_to(own)
            done = inside(runs.parent, "rm", bad.name, "--yes")
            assert done.code == 0 or bad.is_dir()
            assert "Traceback" not in done.stderr
            assert (own / "photo.jpg").read_text() == "a photo"
    for fault, link in (("a run that is a link", _BAD), ("latest leads outside", "latest")):
        with outcome.fault(fault), within(4.0):
            runs = scratch / fault / "runs"
            make_run(runs, _GOOD)
            (runs / link).symlink_to(own)
            assert inside(runs.parent, "rm", "*", "--yes").code == 0
            assert inside(runs.parent, "rm", f"runs/{link}", "--yes").code in (2, 3)
            assert (own / "photo.jpg").read_text() == "a photo"
    for fault, text in _RECORDS.items() if thorough else ():
        with outcome.fault(f"run.json: {fault}"), within(4.0):
            runs = scratch / f"of {fault}" / "runs"
            bad = make_run(runs, _BAD)
            content = text if isinstance(text, bytes) else text.encode()
            (bad / "run.json").write_bytes(content)
            foreign = runs.parent / "foreign"
            foreign.mkdir()
            (foreign / "photo.jpg").write_text("a photo")
            done = inside(runs.parent, "rm", "foreign", "--yes")
            assert done.code == 2, done
            assert (foreign / "photo.jpg").exists()
            assert inside(runs.parent, "rm", _BAD, "--yes").code == 0
            assert not bad.exists()
    return outcome


def _huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(100 * 2**20)


def _hostile(runs: Path, where: str, text: str) -> None:
    """A run with a text where it may be shown."""
    bad = make_run(runs, _BAD, 1, metrics={"test_mse": 0.01, "psnr_db": 3.0})
    record = json.loads((bad / "run.json").read_text())
    if where == "setting":
        record["config"]["codec"][text] = text
    elif where == "fact":
        record |= {"versions": {"aecli": text, "torch": text}, "seed": text, "started": text}
    elif where == "error":
        record |= {"status": text, "error": text}
    elif where == "dataset":
        record["dataset"] = {"name": text, "sha256": text, "n_test": text}
    (bad / "run.json").write_text(json.dumps(record))
    if where == "metric":
        metrics = {"test_mse": 0.01, text: 0.5, "psnr_db": text}
        (bad / "metrics.json").write_text(json.dumps(metrics))


def _show(folder: Path, runs: int | None = None) -> None:
    """Every form of `compare`, and `ls`; runs: how many are compared (None: any number)."""
    before = sorted((folder / "runs").rglob("*"))
    for form in ((), ("--md",), ("--csv",), ("--metric", "*")):
        done = inside(folder, "compare", *form)
        assert done.code == 0, done
        assert "Traceback" not in done.stderr
        for text in (done.stdout, done.stderr):
            shown = (c.isprintable() or c == "\n" for c in text if not 0xDC80 <= ord(c) <= 0xDCFF)
            assert all(shown), text[:300]
        assert max(map(len, done.stdout.splitlines())) < 5000, "a text is shown at any length"
    found = json.loads(inside(folder, "compare", "--json", "--html", "page.html").stdout)
    if runs is not None:
        compared = [run for s in found["sections"] for g in s["groups"] for run in g["runs"]]
        assert len(compared) == runs, found
    page = _Page()
    page.feed((folder / "page.html").read_text("utf-8", "surrogateescape"))
    tags = {tag for tag, _ in page.found}
    assert not tags & {"script", "iframe", "object", "embed", "b", "form", "base", "link"}, tags
    for tag, attributes in page.found:
        assert not any(name.startswith("on") for name in attributes), attributes
        source = attributes.get("src") or attributes.get("href") or "data:image/png;base64,"
        assert source.startswith("data:image/png;base64,"), (tag, source[:60])
    listed = inside(folder, "ls", "--sort", "test_mse", "--columns", "run,state,started,test_mse")
    assert listed.code == 0, listed
    assert len(listed.stdout.splitlines()) == 3
    assert sorted((folder / "runs").rglob("*")) == before, "looking has left something behind"
