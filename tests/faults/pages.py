"""Row on pages: whatever is in a run folder, the page shows it as text, or says what is wrong."""

import json
import shutil
import struct
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

from aecli.config import EXPERIMENTS, TrainConfig
from aecli.runs.folder import new_run
from tests.conftest import ONE_PIXEL
from tests.faults.outcome import Outcome, bounded_memory, within
from tests.faults.program import inside

_EVIL = "</script></style><script>alert(1)</script><img src=x onerror=alert(1)>"
_EVIL += "\"'{{7*7}}\x00\x1b[2J\u202e"
_SECRET = "not to be shown"


class _Read(HTMLParser):
    """Tags of a page, and what they load or run."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.scripts, self.handlers, self.addresses = 0, [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.scripts += tag == "script"
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        self.addresses += [value for name, value in attrs if name in ("src", "href")]


def hostile(scratch: Path, thorough: bool) -> Outcome:
    """Scripts in every text, links, files too large or of another kind, JSON of other shapes."""
    outcome = Outcome()
    whole = _run(scratch / "runs")
    (scratch / "secret").write_text(_SECRET)
    for command in EXPERIMENTS if thorough else ("train", "reproduce", "sweep-codedim"):
        with outcome.fault(f"{command}: a script in every text"):
            _scripts_everywhere(_copy(whole, scratch / "scripts" / command), command)
            _require_harmless(scratch / "scripts" / command)
    for name, change in _FAULTS.items():
        with outcome.fault(name):
            folder = scratch / name.replace(" ", "-")
            change(_copy(whole, folder), scratch / "secret")
            _require_harmless(folder)
    with outcome.fault("all of them on one page"):
        runs = [str(path) for path in scratch.glob("*/*Z-train-x") if path.parent.name != "runs"]
        done = inside(scratch, "report", *runs, "-o", "all.html", "-q")
        assert done.code == 0, done
        _require_no_script(scratch / "all.html")
    with outcome.fault("a page that is none of ours is not replaced"):
        (scratch / "mine.html").write_text("mine")
        assert inside(scratch, "report", str(whole), "-o", "mine.html").code == 2
        assert (scratch / "mine.html").read_text() == "mine"
    return outcome


def _run(runs: Path) -> Path:
    with new_run(runs, TrainConfig(), "x", ["aecli", "train"]) as run:
        run.write_metrics({"dataset": "mnist", "test_mse": 0.01, "pca_test_mse": 0.02})
        run._write("reconstructions.png", ONE_PIXEL)
    return run.path


def _copy(run: Path, folder: Path) -> Path:
    return Path(shutil.copytree(run, folder / run.name, symlinks=True))


def _require_harmless(folder: Path) -> None:
    [run] = folder.iterdir()
    with within(), bounded_memory():
        done = inside(folder, "report", str(run), "-o", "page.html", "-q")
    assert done.code == 0, done
    _require_no_script(folder / "page.html")


def _require_no_script(page: Path) -> None:
    html = page.read_text()
    assert _SECRET not in html, "a link was followed"
    assert not any(ord(c) < 32 and c != "\n" for c in html), "control characters"
    assert "\u202e" not in html
    read = _Read(html)
    assert (read.scripts, read.handlers) == (1, []), read.handlers
    assert all(each.startswith(("#", "data:")) for each in read.addresses), read.addresses
    assert len(html) < 2_000_000


def _scripts_everywhere(run: Path, command: str) -> None:
    record = json.loads((run / "run.json").read_text())
    record |= {"command": command, "error": _EVIL, "warnings": [_EVIL, 7], "argv": [_EVIL, _EVIL]}
    record |= {"versions": {_EVIL: _EVIL}, "platform": _EVIL, "subject": _EVIL, "resumed": [_EVIL]}
    record |= {"dataset": {"name": _EVIL, "source": _EVIL, "sha256": _EVIL, "n_train": _EVIL}}
    record["config"] |= {"name": _EVIL, _EVIL: {_EVIL: [_EVIL]}}
    (run / "run.json").write_text(json.dumps(record))
    numbers = {"test_mse": 0.1, "pca_test_mse": 0.2, "pca_" + _EVIL: 1, _EVIL: 2}
    numbers |= {"frechet_" + _EVIL: 1.0, "frechet_floor": 0.5, "evil": _EVIL}
    (run / "metrics.json").write_text(json.dumps(numbers))
    rows = f'code_dim,test_mse,pca_test_mse,"{_EVIL.replace(chr(34), "")}"\n2,0.1,0.2,"<script>"\n'
    for table in ("table", "curve", "samplers", "conversion", "evaluate", "history", "path"):
        (run / f"{table}.csv").write_text(rows)
    (run / "explanation.md").write_text(f"{_EVIL}\n\n{_EVIL}")
    claim = dict.fromkeys(("says", "chapter", "measured", "verdict", "reason", "figure"), _EVIL)
    (run / "claims.json").write_text(json.dumps([claim, 7, {"section": _EVIL}]))
    (run / "<img src=x onerror=alert(1)>.png").write_bytes(ONE_PIXEL)
    section = run / "<script>alert(1)<"
    section.mkdir()
    (section / "x.png").write_bytes(ONE_PIXEL)


def _png(width: int, height: int) -> bytes:
    """A PNG that says it is so large."""
    return ONE_PIXEL[:16] + struct.pack(">II", width, height) + ONE_PIXEL[24:]


def _link(name: str) -> Callable[[Path, Path], None]:
    def change(run: Path, secret: Path) -> None:
        (run / name).unlink(missing_ok=True)
        (run / name).symlink_to(secret)

    return change


def _text(name: str, content: str | bytes) -> Callable[[Path, Path], None]:
    def change(run: Path, secret: Path) -> None:
        data = content if isinstance(content, bytes) else content.encode()
        (run / name).write_bytes(data)

    return change


def _huge(name: str) -> Callable[[Path, Path], None]:
    def change(run: Path, secret: Path) -> None:
        with (run / name).open("wb") as file:
            file.write(ONE_PIXEL)
            file.truncate(2**34)

    return change


def _record(**facts: object) -> Callable[[Path, Path], None]:
    def change(run: Path, secret: Path) -> None:
        record = json.loads((run / "run.json").read_text())
        (run / "run.json").write_text(json.dumps(record | facts))

    return change


def _many_pictures(run: Path, secret: Path) -> None:
    for i in range(300):
        (run / f"{i}.png").write_bytes(ONE_PIXEL)


def _section_is_a_link(run: Path, secret: Path) -> None:
    (secret.parent / "outside").mkdir(exist_ok=True)
    (secret.parent / "outside" / "x.png").write_bytes(ONE_PIXEL)
    (run / "sweep").symlink_to(secret.parent / "outside")


_FAULTS: dict[str, Callable[[Path, Path], None]] = {
    **{
        f"a link at {name}": _link(name)
        for name in ("run.json", "metrics.json", "history.csv", "reconstructions.png", "x.png")
    },
    **{
        f"a huge {name}": _huge(name)
        for name in ("run.json", "metrics.json", "history.csv", "x.png")
    },
    "a section that is a link": _section_is_a_link,
    "a PNG that is no PNG": _text("x.png", b"GIF89a" + b"x" * 100),
    "a PNG that is cut": _text("x.png", ONE_PIXEL[:40]),
    "an SVG called PNG": _text("x.png", "<svg onload=alert(1)>"),
    "a PNG of too many pixels": _text("x.png", _png(60_000, 60_000)),
    "a PNG of a wrong size": _text("x.png", _png(5_000, 5_000)),
    "an empty PNG": _text("x.png", b""),
    "300 pictures": _many_pictures,
    "run.json of a list": _text("run.json", "[]"),
    "run.json cut": _text("run.json", '{"status": "comp'),
    "run.json nested": _text("run.json", "[" * 100_000),
    "metrics.json cut": _text("metrics.json", "{"),
    "metrics.json of other kinds": _text(
        "metrics.json",
        '{"test_mse": [1], "pca_test_mse": {"a": 1}, "x": 1e999, "y": 1' + "0" * 400 + "}",
    ),
    "history.csv of bytes": _text("history.csv", b"\xff\xfe\x00"),
    "history.csv of one long cell": _text("history.csv", "a\n" + "x" * 1_000_000),
    "history.csv of 100,000 rows": _text("history.csv", "epoch,train_mse\n" + "1,2\n" * 100_000),
    "model/config.json odd": lambda run, secret: (
        (run / "model").mkdir(),
        (run / "model" / "config.json").write_text('{"image_shape": [1e9, -1, "x"]}'),
    )[0],
    "a config of other kinds": _record(config={"codec": [], "train": 7}),
    "a deep config": _record(config={"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": 1}}}}}}}}),
    "facts of other kinds": _record(
        argv=7,
        error=[1],
        seconds="long",
        git_commit=[],
        started={},
        dataset={"name": [], "n_test": "x"},
    ),
    "an unknown status": _record(status="fine"),
    "an unknown command": _record(command="format-disk"),
    "a command of another kind": _record(command=["train"]),
    "a code of 10^9": _record(
        config={"codec": {"name": "mlp", "code_dim": 10**9, "hidden": [1] * 64}}
    ),
}
