"""The runs and the cache that are there: `ls` with columns, `rm` and `clean`."""

import io
import json
import os
import sys
from pathlib import Path

import pytest

import aecli
from aecli import locks
from aecli.config import TrainConfig
from aecli.runs import removal
from aecli.runs.folder import new_run
from aecli.runs.run import Run
from tests.made_runs import make_run

DAY = "202601{:02d}T000000Z-train-x"


@pytest.fixture
def runs(tmp_path):
    """Five runs, the later the better, of two code dimensions; one has failed."""
    folder = tmp_path / "runs"
    for day in range(1, 6):
        config = {"codec.code_dim": 8 if day % 2 else 32}
        make_run(folder, DAY.format(day), day, {"test_mse": 0.1 / day}, config)
    failed = folder / DAY.format(6)
    make_run(folder, failed.name, 6, status="failed", error="DivergedError: no")
    (failed / "metrics.json").unlink()
    return folder


def left(runs):
    return [int(path.name[6:8]) for path in sorted(runs.glob("2*"))]


class Answering(io.StringIO):
    """A terminal at which somebody types."""

    def isatty(self) -> bool:
        return True


def test_columns_are_chosen_and_ordered(inside, runs):
    done = inside("ls", "--columns", "run, codec.code_dim,test_mse", "--sort", "test_mse")
    header, *rows = [line.split() for line in done.stdout.splitlines()]
    assert header == ["run", "codec.code_dim", "test_mse"]
    assert [row[0][6:8] for row in rows] == ["05", "04", "03", "02", "01", "06"]
    assert rows[0][1:] == ["8", "0.02"]
    assert rows[-1][1:] == ["8" if 6 % 2 else "32"], "no metric, not in the way"


def test_the_order_is_turned_round_but_what_has_no_value_stays_last(inside, runs):
    done = inside("ls", "--sort", "test_mse", "--reverse", "--json")
    found = json.loads(done.stdout)["runs"]
    assert [row["run"][6:8] for row in found] == ["01", "02", "03", "04", "05", "06"]
    assert found[0].keys() == {"run", "state", "started", "seconds", "error", "test_mse"}
    plain = inside("ls", "--reverse").stdout.splitlines()[1:]
    assert [line[6:8] for line in plain] == ["06", "05", "04", "03", "02", "01"]


@pytest.mark.parametrize(
    ("arguments", "days"),
    [
        (["--where", "codec.code_dim==8"], [1, 3, 5]),
        (["--where", "state==failed"], [6]),
        (["--where", "test_mse<0.03"], [4, 5]),
        (["--since", "2026-01-04"], [4, 5, 6]),
        (["*T*-x", "--where", "state!=failed", "--since", "2026-01-05"], [5]),
        ([DAY.format(2)], [2]),
    ],
    ids=str,
)
def test_runs_are_listed_by_condition(inside, runs, arguments, days):
    found = json.loads(inside("ls", *arguments, "--json").stdout)["runs"]
    assert [int(row["run"][6:8]) for row in found] == days


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ls", "--columns", "run,test_msee"], "no run here has 'test_msee'; did you mean"),
        (["ls", "--sort", "codec.cod_dim"], "--sort codec.cod_dim: no run here has"),
        (["ls", "--where", "seed=3"], "not of the form 'KEY==VALUE'"),
        (["rm"], "rm: which runs?"),
        (["rm", "*", "--keep-best", "2"], "one needs the other"),
        (["rm", "*", "--keep-best", "2", "--by", "code_dim"], "not known which way it is better"),
        (["rm", DAY.format(1)], "Nobody is there to ask; --yes says so"),
        (["clean", "everything"], "expected images, classifiers, datasets"),
    ],
    ids=str,
)
def test_a_mistake_is_one_sentence_and_nothing_is_removed(inside, runs, arguments, message):
    done = inside(*arguments)
    assert done.code == 2
    [line] = done.errors
    assert message in line
    assert left(runs) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(("answer", "days"), [("y\n", [2, 4, 6]), ("n\n", None), ("", None)])
def test_rm_asks(inside, runs, monkeypatch, answer, days):
    monkeypatch.setattr(sys, "stdin", Answering(answer))
    done = inside("rm", "--where", "codec.code_dim==8")
    assert done.code == 0
    assert "remove 3 runs" in done.stderr
    assert left(runs) == (days or [1, 2, 3, 4, 5, 6])
    assert len(done.stdout.splitlines()) == 4


def test_rm_keeps_the_best(inside, runs):
    done = inside("rm", "*", "--keep-best", "2", "--by", "test_mse", "--yes")
    assert done.code == 0, done.stderr
    assert left(runs) == [4, 5, 6]
    assert f"kept: {DAY.format(6)}: no test_mse" in done.stderr
    assert inside("rm", "*", "--keep-best", "9", "--by", "test_mse", "--yes").code == 0
    assert left(runs) == [4, 5, 6]


def test_rm_tells_which_runs_looked_into_what_goes(inside, runs):
    first = str(runs / DAY.format(1))
    make_run(runs, DAY.format(7), config={"train.init_from": first})
    make_run(runs, DAY.format(8), config={"train.init_from": str(runs / DAY.format(2))})
    (runs / DAY.format(9)).mkdir()
    (runs / DAY.format(9) / "run.json").write_text('{"config": {"run": 3, "train": []}}')
    told = f"gone on from, by runs that stay: {DAY.format(7)}\n"
    assert told in inside("rm", DAY.format(1), "--yes").stderr
    both = inside("rm", DAY.format(2), DAY.format(8), "--yes")
    assert both.code == 0
    assert "runs that stay" not in both.stderr


def test_rm_does_not_rank_what_cannot_be_compared(inside, runs):
    make_run(runs, DAY.format(7), dataset={"name": "mnist", "sha256": "c", "n_test": 10000})
    done = inside("rm", "*", "--keep-best", "2", "--by", "test_mse", "--yes")
    assert done.code == 2
    assert "of 2 kinds" in done.stderr
    assert len(left(runs)) == 7


def test_rm_never_removes_what_is_running(inside, runs):
    with new_run(runs, TrainConfig(), "x", []) as running:
        named = inside("rm", DAY.format(1), running.path.name, "--yes")
        assert named.code == 2
        assert "not removed: running; nothing was removed" in named.stderr
        by_pattern = inside("rm", "*", "--yes")
        assert by_pattern.code == 0
        assert "running" in by_pattern.stderr
        assert running.path.is_dir()
    assert left(runs) == [int(running.path.name[6:8])]


def test_a_run_that_begins_after_the_question_is_not_removed(runs):
    run = Run(runs / DAY.format(1))
    assert run.state == "completed"
    (run.path / ".lock").touch()
    with locks.hold(run.path / ".lock"), pytest.raises(removal.UsageError, match="running"):
        removal.remove_run(run)
    assert run.path.is_dir()


def test_rm_removes_runs_alone(inside, runs, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "one.jpg").touch()
    (runs / "link").symlink_to(DAY.format(1))
    (runs / f"{DAY.format(9)}.txt").touch()
    file = inside("rm", f"runs/{DAY.format(9)}.txt", "--yes")
    assert "no folder\nnothing to remove" in file.stderr
    for named in ("photos", "runs", "runs/link"):
        done = inside("rm", named, "--yes")
        assert done.code == 2, done
        assert "not removed" in done.stderr
    assert (photos / "one.jpg").exists()
    (runs / f"{DAY.format(9)}.txt").unlink()
    assert left(runs) == [1, 2, 3, 4, 5, 6]


def test_links_in_a_run_lead_no_removal_outside(inside, runs, tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    (own / "photo.jpg").write_text("a photo")
    (runs / DAY.format(1) / "model").symlink_to(own)
    (runs / DAY.format(1) / "photo").symlink_to(own / "photo.jpg")
    assert inside("rm", DAY.format(1), "--yes").code == 0
    assert (own / "photo.jpg").read_text() == "a photo"
    assert not (runs / DAY.format(1)).exists()


def test_latest_moves_on(inside, runs):
    (runs / "latest").symlink_to(DAY.format(5))
    assert inside("rm", DAY.format(5), "--yes").code == 0
    assert (runs / "latest").readlink().name == DAY.format(4)
    inside("rm", "*", "--yes")
    assert not os.path.lexists(runs / "latest")


def test_a_killed_removal_leaves_no_half_run_and_the_next_one_ends_it(inside, runs, monkeypatch):
    monkeypatch.setattr(removal.shutil, "rmtree", lambda *_, **__: sys.exit(9))
    assert inside("rm", DAY.format(1), "--yes").code == 9
    monkeypatch.undo()
    monkeypatch.chdir(runs.parent)
    names = {path.name for path in runs.iterdir()}
    assert sum(name.startswith(".removing-") for name in names) == 1
    assert len(inside("ls").stdout.splitlines()) == 6
    assert inside("rm", DAY.format(2), "--yes").code == 0
    assert left(runs) == [3, 4, 5, 6]


def test_clean_says_sizes_and_asks(inside, tmp_path, monkeypatch):
    assert "nothing in the cache" in inside("clean").stderr
    cache = tmp_path / "cache" / "aecli"
    for part, size in (("images/abc", 3_000_000), ("classifiers", 500_000), ("other", 10)):
        (cache / part).mkdir(parents=True)
        (cache / part / "file").write_bytes(bytes(size))
    own = tmp_path / "own"
    own.mkdir()
    (own / "photo.jpg").touch()
    (cache / "images" / "link").symlink_to(own)
    listed = inside("clean")
    assert listed.code == 2
    assert [line.split()[:3] for line in listed.stdout.splitlines()[1:]] == [
        ["images", "3.0", "MB"],
        ["classifiers", "500", "kB"],
    ]
    assert inside("clean", "classifiers", "--yes").code == 0
    assert not (cache / "classifiers" / "file").exists()
    assert (cache / "images" / "abc" / "file").exists()
    monkeypatch.setattr(sys, "stdin", Answering("y\n"))
    assert inside("clean").code == 0
    assert list((cache / "images").iterdir()) == []
    assert (own / "photo.jpg").exists()
    assert (cache / "other" / "file").exists()


def test_what_is_read_from_stays_in_the_cache(inside, tmp_path):
    from aecli.data.own import in_use

    folder = tmp_path / "cache" / "aecli" / "images" / "abc"
    folder.mkdir(parents=True)
    (folder / "pixels").write_bytes(bytes(1000))
    with (folder / "pixels").open("rb") as file:
        in_use.mark(file.fileno())
        done = inside("clean", "--yes")
    assert done.code == 0
    assert "are in use and stay" in done.stderr
    assert (folder / "pixels").exists()


def test_ls_of_a_link_to_the_folder_of_runs(inside, runs, tmp_path):
    (tmp_path / "elsewhere").symlink_to(runs)
    assert len(inside("ls", "--runs-dir", "elsewhere").stdout.splitlines()) == 7
    assert inside("rm", DAY.format(1), "--yes", "--runs-dir", "elsewhere").code == 0
    assert Path(runs / DAY.format(2)).is_dir()


def test_nothing_since_is_not_no_runs(inside, runs):
    assert "no runs in runs that match" in inside("ls", "--since", "2099-01-01").stderr


def test_python_opens_runs_where_ls_finds_them(runs, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AECLI_RUNS_DIR", str(runs))
    assert aecli.open(DAY.format(1)).path == runs / DAY.format(1)
    monkeypatch.delenv("AECLI_RUNS_DIR")
    monkeypatch.chdir(runs.parent)
    assert aecli.open(DAY.format(1), runs_dir=runs).path.name == DAY.format(1)
