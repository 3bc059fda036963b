"""`aecli compare`: what is asked for is compared, told, written and held against a baseline."""

import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from aecli import terminal
from tests.made_runs import make_run, write_history

DAY = "202601{:02d}T000000Z-train-x"


@pytest.fixture
def runs(tmp_path):
    """Two kinds of runs, three seeds of each: code dimension 8 is worse than 32."""
    folder = tmp_path / "runs"
    for i in range(3):
        noise = (i - 1) * 1e-4
        good = {"test_mse": 0.016 + noise, "psnr_db": 18 - noise, "pca_test_mse": 0.0168}
        bad = {"test_mse": 0.030 + noise, "psnr_db": 15 - noise, "pca_test_mse": 0.0375}
        make_run(folder, DAY.format(i + 1), i, good)
        write_history(
            make_run(folder, DAY.format(i + 11), i, bad, {"codec.code_dim": 8}), [0.1, 0.05]
        )
    return folder


def compared(inside, *arguments, code=0):
    done = inside("compare", *arguments, "--json")
    assert done.code == code, done.stderr
    return json.loads(done.stdout)


def test_the_table_has_what_differs_the_spread_and_the_best(inside, runs):
    done = inside("compare")
    assert (done.code, done.stderr) == (0, "")
    title, header, first, second, *said = done.stdout.splitlines()
    assert title == "train on mnist-5k, 1,000 test images"
    shown = ["#", "run", "seeds", "codec.code_dim", "test_mse", "psnr_db", "pca_test_mse"]
    assert header.split() == shown
    assert re.search(r"^1 .* 0, 1, 2 +32 +0\.01600 ± 0\.00010 \* +18\.0", first)
    assert re.search(r"^2 .* 0, 1, 2 +8 +0\.03000 ± 0\.00010 +15\.0", second)
    assert said[0].startswith("test_mse: 1 is better than the other, by 0.014, 95% interval 0.0136")
    assert "Welch" in said[-1]


def test_json_has_every_metric_and_is_strict(inside, runs):
    found = compared(inside)
    [section] = found["sections"]
    assert section["settings_that_differ"] == ["codec.code_dim"]
    best, other = section["groups"]
    assert best["metrics"]["test_mse"]["mean"] == pytest.approx(0.016)
    assert best["metrics"]["test_mse"]["sd"] == pytest.approx(1e-4)
    assert best["metrics"]["parameters"]["n"] == 3
    assert section["verdicts"]["test_mse"]["is_best"]
    assert [Path(run).name for run in other["runs"]] == [DAY.format(d) for d in (11, 12, 13)]


def test_csv_and_markdown_say_the_same(inside, runs):
    rows = list(csv.DictReader(io.StringIO(inside("compare", "--csv").stdout)))
    assert [row["codec.code_dim"] for row in rows] == ["32", "8"]
    assert [row["test_mse_is_best"] for row in rows] == ["true", "false"]
    assert float(rows[1]["test_mse_sd"]) == pytest.approx(1e-4)
    lines = inside("compare", "--md").stdout.splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 4
    assert {line.replace("\\|", "").count("|") for line in table} == {8}


def test_equal_numbers_have_no_spread_and_counts_are_whole(inside, runs):
    rows = list(csv.DictReader(io.StringIO(inside("compare", "--csv").stdout)))
    assert {row["parameters_sd"] for row in rows} == {"0.0"}
    assert all(row["parameters"].isdecimal() for row in rows)
    assert {row["pca_test_mse_sd"] for row in rows} == {"0.0"}


def test_a_narrow_terminal_has_a_column_for_each_group(inside, runs, monkeypatch):
    monkeypatch.setattr(terminal, "_is_terminal", lambda stream: stream is sys.stdout)
    monkeypatch.setenv("COLUMNS", "80")
    done = inside("compare")
    assert done.code == 0
    lines = [re.sub(r"[│ ]+", " ", line).strip() for line in done.stdout.splitlines()]
    assert "codec.code_dim 32 8" in lines
    assert "test_mse 0.01600 ± 0.00010 * 0.03000 ± 0.00010" in lines
    assert max(map(len, done.stdout.splitlines())) <= 80
    monkeypatch.setenv("COLUMNS", "40")
    assert "test_mse: 0.01600" in inside("compare").stdout


def test_nothing_of_others_is_replaced(inside_drawn, runs, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "compare.md").write_text("# Notes on how they compare\n")
    done = inside_drawn("compare", "-o", str(folder))
    assert done.code == 2
    assert "compare.md is there and is not aecli's; not replaced" in done.stderr
    (folder / "compare.md").unlink()
    for _ in range(2):
        assert inside_drawn("compare", "-o", str(folder)).code == 0
    assert (folder / "compare.md").read_text().startswith("### train on")


def test_one_seed_says_nothing(inside, runs):
    done = inside("compare", DAY.format(1), DAY.format(11))
    assert "Nothing can be said about which is better: one seed only." in done.stdout
    assert "*" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "days"),
    [
        (["*Z-train-*"], [1, 2, 3, 11, 12, 13]),
        (["runs/2026011*"], [11, 12, 13]),
        (["latest"], [13]),
        ([DAY.format(2), f"runs/{DAY.format(2)}", "20260102*"], [2]),
        (["--where", "codec.code_dim==32"], [1, 2, 3]),
        (["--where", "test_mse<0.02", "--where", "seed!=1"], [1, 3]),
        (
            ["--where", "codec.hidden==[256, 64]", "--where", "beats_pca==true"],
            [1, 2, 3, 11, 12, 13],
        ),
        (["--where", "started>=2026-01-12"], [12, 13]),
        (["--where", "dataset.name==mnist-5k", "--since", "2026-01-03"], [3, 11, 12, 13]),
        (["--since", "2026-01-12T23:00+23:00"], [12, 13]),
    ],
    ids=str,
)
def test_runs_are_chosen(inside, runs, arguments, days):
    for run in runs.iterdir():
        (run / "model").mkdir()
        (run / "model" / "config.json").touch()
    found = compared(inside, *arguments)
    names = {Path(r).name for s in found["sections"] for g in s["groups"] for r in g["runs"]}
    assert names == {DAY.format(day) for day in days}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nothere"], 3, "nothere: no such run folder"),
        (["nothere*"], 3, "nothere*: no run folder matches it"),
        (["--where", "codec.code_dmi==3"], 2, "did you mean 'codec.code_dim'?"),
        (["--where", "seed"], 2, "not of the form 'KEY==VALUE'"),
        (["--where", "seed==77"], 3, "nothing to compare"),
        (["--since", "yesterday"], 2, "--since 'yesterday': expected a date"),
        (["--since", "999999w"], 2, "expected a date"),
        (["--metric", "tset_mse"], 2, "--metric tset_mse: no run here has it; there are"),
        (["--md", "--csv"], 2, "--md and --csv: one or the other"),
        (["--pictures"], 2, "--pictures: give a place for them"),
        (["--html", "page.txt"], 2, "--html page.txt: a page is written as .html; give FILE.html"),
        (["-o", f"runs/{DAY.format(1)}/x"], 2, "lies in a run folder"),
        (["--expect", "test_mse<=baseline"], 2, "--baseline RUN says which run that is"),
        (["--expect", "tset_mse<=1"], 2, "did you mean 'test_mse'?"),
        (["--expect", "test_mse<=baseline*x"], 2, "'x' is not a number"),
        (["--expect", "test_mse"], 2, "not of the form"),
        (["--expect", "dataset<=baseline"], 2, "dataset is a word"),
        (
            ["--expect", "dataset==baseline*2", "--baseline", DAY.format(1)],
            2,
            "a word, not a number",
        ),
        (["--baseline", "*"], 2, "2 kinds of runs, expected runs that differ by seed alone"),
        (["--baseline", "nothere"], 3, "no such run folder"),
    ],
    ids=str,
)
def test_a_mistake_is_one_sentence(inside, runs, arguments, code, message):
    done = inside("compare", *arguments)
    assert (done.code, done.stdout) == (code, "")
    [line] = done.errors
    assert message in line


@pytest.mark.parametrize(
    ("run", "expectation", "code"),
    [
        (11, "test_mse<=baseline*1.02", 7),
        (11, "test_mse<=baseline*2", 0),
        (11, "test_mse <= baseline + 0.02", 0),
        (11, "test_mse<=baseline-0.001", 7),
        (11, "test_mse>baseline", 0),
        (2, "test_mse<=baseline*1.02", 0),
        (2, "test_mse<=0.0161", 0),
        (2, "test_mse<=0.01", 7),
        (2, "val_mse<=baseline", 7),  # measured in neither
        (2, "val_mse!=baseline", 7),
        (2, "dataset==mnist-5k", 0),
        (2, "beats_pca==true", 0),
        (2, "dataset==baseline", 0),
        (2, "dataset!=baseline", 7),
        (2, "beats_pca==baseline", 0),
    ],
    ids=str,
)
def test_the_gate(inside, runs, run, expectation, code):
    asked = ("compare", DAY.format(run), "--baseline", DAY.format(1), "--expect", expectation)
    done = inside(*asked)
    assert done.code == code, done
    assert done.stdout
    if code:
        assert f"aecli: {DAY.format(run)}: expected {expectation}" in done.stderr
        printed = json.loads(inside(*asked, "--json").stdout)
        assert printed["exit_code"] == 7
        assert expectation in printed["error"]


def test_seeds_are_held_against_seeds(inside, runs):
    found = compared(
        inside, "*", "--baseline", "2026010*", "--expect", "test_mse<=baseline", code=7
    )
    [section] = found["sections"]
    assert [g["is_baseline"] for g in section["groups"]] == [True, False]
    table = inside("compare", "--baseline", "2026010*").stdout
    assert "test_mse vs baseline" in table
    assert "+88%, worse" in table
    make_run(runs, DAY.format(25), 0, {"test_mse": 1.6}, {"codec.code_dim": 1})
    assert "+9,900%, some have one seed only" in inside("compare", "--baseline", "2026010*").stdout


def test_a_gate_is_not_passed_by_what_could_not_be_compared(inside, runs):
    record = json.loads((runs / DAY.format(2) / "run.json").read_text())
    (runs / DAY.format(2) / "run.json").write_text(json.dumps(record | {"status": "failed"}))
    gate = ("--baseline", DAY.format(1), "--expect", "test_mse<1")
    named = inside("compare", DAY.format(2), DAY.format(3), *gate)
    assert named.code == 7
    assert f"{DAY.format(2)}: nothing could be held against test_mse<1: failed" in named.stderr
    assert inside("compare", DAY.format(2), *gate).code == 3
    assert inside("compare", "2026010*", *gate).code == 0
    other = make_run(runs, DAY.format(20), dataset={"name": "mnist", "sha256": "c", "n_test": 9})
    images = inside("compare", other.name, *gate)
    assert images.code == 7
    assert "the baseline was measured on other images" in images.stderr


def test_other_images_and_other_programs_are_not_mixed(inside, runs):
    make_run(runs, DAY.format(20), 9, dataset={"name": "mnist", "sha256": "c", "n_test": 10000})
    make_run(runs, DAY.format(21), 9, program_sha256="c" * 64)
    found = compared(inside)
    assert len(found["sections"]) == 2
    first = next(s for s in found["sections"] if s["images"].startswith("mnist-5k"))
    assert first["settings_that_differ"] == ["codec.code_dim", "program"]
    assert len(first["groups"]) == 3


def test_what_is_left_out_is_told_apart(inside, runs):
    for day, text in ((21, "{"), (22, None)):
        make_run(runs, DAY.format(day))
        path = runs / DAY.format(day) / "run.json"
        path.unlink()
        if text is not None:
            path.write_text(text)
    make_run(runs, DAY.format(23), status="running")
    make_run(runs, DAY.format(24), status="interrupted")
    (make_run(runs, DAY.format(25)) / "metrics.json").write_text('{"test_mse": ')
    (runs / "photos").mkdir()
    (runs / "notes.txt").touch()
    (runs / "lost").symlink_to("nowhere")
    by_shell = inside("compare", *map(str, sorted(runs.iterdir())))
    assert by_shell.code == 0
    assert "notes.txt: no run of aecli" in by_shell.stderr
    assert "lost: no run of aecli" in by_shell.stderr
    done = inside("compare", "runs/*")
    assert done.code == 0
    told = dict(re.findall(r"left out: (\S+): (\w+)", done.stderr))
    states = ("unreadable", "empty", "dead", "interrupted", "unreadable")
    assert told.pop("photos") == "no"  # run of aecli
    assert told == {DAY.format(21 + i): state for i, state in enumerate(states)}
    foreign = inside("compare", "runs/photos", DAY.format(1), "--json")
    assert json.loads(foreign.stdout)["left_out"] == [
        {"run": "photos", "state": "empty", "reason": "no run of aecli: it has no run.json"}
    ]


def test_a_folder_and_a_page(inside_drawn, runs, tmp_path):
    done = inside_drawn("compare", "-o", "out", "--html", "page.html")
    assert done.code == 0, done.stderr
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"compare.md", "compare.csv", "curves-train.png"}
    page = (tmp_path / "page.html").read_text()
    assert page.count("<img ") == 1
    assert "data:image/png;base64,iVBOR" in page
    assert "0.01600 ± 0.00010 *" in page
    assert "<h2>Trainings over one another</h2>" in page
    assert "by the number of the run" not in page, "few settings stand beside the results"
    assert "<script" not in page
    assert "http:" not in page
    assert "https:" not in page


def test_a_page_of_many_settings_has_the_results_in_sight(inside_drawn, tmp_path):
    changed = {"train.epochs": 9, "train.batch_size": 9, "codec.code_dim": 9, "train.shift": 1}
    changed |= {"train.elastic": 1.0, "train.mirror": True}
    make_run(tmp_path / "runs", DAY.format(1))
    make_run(tmp_path / "runs", DAY.format(2), config=changed)
    assert inside_drawn("compare", "--html", "page.html").code == 0
    results, _, rest = (tmp_path / "page.html").read_text().partition("by the number of the run")
    heads = re.findall("<th[^>]*>([^<]+)", results)
    assert heads[:4] == ["#", "run", "seeds", "test_mse"]
    settings = re.findall("<tr><td>([^<]+)", rest)
    assert set(changed) <= set(settings)


def test_pictures_are_of_the_same_test_images(inside_drawn, tmp_path):
    for code_dim in ("2", "8"):
        few = ("--dataset", "mnist-5k", "--offline", "--limit-train", "100", "--codec", "pca")
        assert inside_drawn("train", *few, "--code-dim", code_dim).code == 0
    done = inside_drawn("compare", "--pictures", "-o", "out")
    assert (done.code, "WARNING" in done.stderr) == (0, False), done.stderr
    assert (tmp_path / "out" / "pictures-train.png").stat().st_size > 5000
    assert "is better than the other" in done.stdout, "PCA is solved for; no seed has a part in it"


def test_no_torch_is_imported_but_for_pictures(runs):
    code = (
        "import sys; sys.argv = ['aecli', 'compare']\n"
        "from aecli.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([m for m in ('torch', 'matplotlib', 'jinja2', 'rich') if m in sys.modules])"
    )
    root = str(Path(__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {root!r})\n{code}"],
        cwd=runs.parent,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "Welch" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"
