"""The README's pictures: the script that draws them knows each, and takes it from the right run."""

import re
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import SMALL

# The pictures are not installed. Appended, so that aecli stays the installed one.
sys.path.append(str(Path(__file__).parents[1]))

from docs import pictures
from docs.pictures import Picture

ROOT = Path(__file__).parents[1]
CURVE = Picture("curve", ("train", *SMALL, "--code-dim", "2"), "training_curve.png")


def test_every_picture_of_the_readme_is_drawn_by_the_script():
    shown = re.findall(r"\(docs/(\w+)\.png\)", (ROOT / "README.md").read_text())
    assert sorted(shown) == sorted(picture.name for picture in pictures.PICTURES)
    assert sorted(path.stem for path in (ROOT / "docs").glob("*.png")) == sorted(shown)


@pytest.mark.parametrize("named", [True, False])
def test_a_picture_is_taken_from_a_run_that_is_named_or_made(
    small_run, monkeypatch, tmp_path, named, capsys
):
    monkeypatch.setattr(pictures, "PICTURES", [CURVE])
    made = []

    def make(command, runs_dir):
        made.append((command, runs_dir))
        return small_run.run

    monkeypatch.setattr(pictures, "_make", make)
    run = [str(small_run.run)] if named else []
    pictures.main([*run, "--out", str(tmp_path / "out"), "--runs-dir", str(tmp_path)])
    assert made == ([] if named else [(CURVE.command, tmp_path)])
    written = tmp_path / "out/curve.png"
    with Image.open(written) as image, Image.open(small_run.run / CURVE.file) as drawn:
        assert image.size == drawn.size
        assert image.text["Source"].startswith("aecli train, commit ")
    assert written.stat().st_size <= pictures.MOST_BYTES
    assert "curve.png: " in capsys.readouterr().out


def test_a_run_is_made_by_the_command(tmp_path, monkeypatch):
    program = tmp_path / "python"
    lines = ("#!/bin/sh", 'echo "$@" > told', "echo a table", "echo runs/made", "exit $ENDS_WITH")
    program.write_text("\n".join(lines))
    program.chmod(0o755)
    monkeypatch.setattr(pictures.sys, "executable", str(program))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ENDS_WITH", "0")
    assert pictures._make(("train", "--codec", "dct"), tmp_path / "runs") == Path("runs/made")
    told = Path("told").read_text().split()
    assert told == ["-m", "aecli", "train", "--codec", "dct", "--runs-dir", str(tmp_path / "runs")]
    monkeypatch.setenv("ENDS_WITH", "2")
    with pytest.raises(SystemExit, match="train --code-dim 0 ended with 2"):
        pictures._make(("train", "--code-dim", "0"), tmp_path / "runs")


def test_what_is_no_finished_run_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="is no run folder"):
        pictures.main([str(tmp_path)])
    (tmp_path / "run.json").write_text('{"status": "failed"}')
    with pytest.raises(SystemExit, match="is failed, not completed"):
        pictures.main([str(tmp_path)])


def test_a_picture_is_small_or_refused(small_run, monkeypatch, tmp_path):
    monkeypatch.setattr(pictures, "PICTURES", [CURVE])
    monkeypatch.setattr(pictures, "MOST_BYTES", 1000)
    with pytest.raises(SystemExit, match="more than 1,000"):
        pictures.main([str(small_run.run), "--out", str(tmp_path)])
