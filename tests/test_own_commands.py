"""Every command on somebody's own images: folders, an array, a scene with holes."""

import csv
import json
import re

import numpy as np
import pytest

import aecli as library
from aecli.cli import look
from aecli.data.own import opened as opening
from aecli.experiments import train
from tests.own import blobs, drawn, put, put_scene
from tests.own import look as looked_at

pytestmark = pytest.mark.usefixtures("jobs_here")

SHORT = ("--epochs", "1", "--batch-size", "16", "--threads", "1")
KINDS = {
    "classes": ("photos", ()),
    "plain": ("plain", ()),
    "scene": ("scene.tif", ("--set", "data.tile=8", "--set", "data.gap=1")),
    "array": ("x.npy", ()),
}
SHAPES = {"classes": "1x8x8", "plain": "3x8x8", "scene": "2x8x8", "array": "1x8x8"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A dataset of each kind."""
    folder = tmp_path_factory.mktemp("own")
    put(folder / "photos", blobs(60), ("cat", "dog", "owl"))
    put(folder / "plain", np.stack([blobs(60, seed=i) for i in range(3)], axis=3))
    image = drawn(2, 96, 96, top=3000) + np.arange(96, dtype=np.uint16) * 9 + 1
    image[:, :20, :30] = 0
    put_scene(folder / "scene.tif", image, nodata=0)
    np.save(folder / "x.npy", blobs(60).astype(np.float32) / 255)
    return folder


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def own(made, kind, tmp_path):
    """The arguments that name a dataset of a kind, by a relative path; nothing looked at yet."""
    opening._opened.clear()
    name, settings = KINDS[kind]
    for each in made.iterdir():
        (tmp_path / each.name).symlink_to(each)
    return ("--dataset", f"./{name}", *settings)


def record(run):
    return json.loads((run / "run.json").read_text())


def rows(run, name="data.csv"):
    return list(csv.DictReader((run / name).read_text().splitlines()))


def test_train(inside, own, kind, made, tmp_path):
    done = inside("train", *own, "--code-dim", "2", *SHORT)
    assert done.code == 0, done.stderr
    assert sorted(path.name for path in made.iterdir()) == sorted(n for n, _ in KINDS.values())
    metrics = done.metrics()
    name = KINDS[kind][0].partition(".")[0]
    assert metrics["dataset"] == name
    assert ("valid_share" in metrics) == (kind == "scene")
    assert 0 < metrics["test_mse"] < 1

    dataset = record(done.run)["dataset"]
    assert dataset["name"] == name
    assert dataset["source"] == str(tmp_path / KINDS[kind][0])
    assert "x".join(map(str, dataset["image_shape"])) == SHAPES[kind]
    assert dataset["scale"]["dtype"] == {"scene": "uint16", "array": "float32"}.get(kind, "uint8")
    assert len(dataset["sha256"]) == 64
    run = library.open(done.run)
    assert run.scale.described() == dataset["scale"]
    assert run.codec.image_shape == tuple(dataset["image_shape"])

    numbers = {f"n_{split}": 0 for split in ("train", "val", "test")}
    for row in rows(done.run):
        assert row["left_out"] == ""
        assert row["label"] in (("cat", "dog", "owl") if kind == "classes" else ("",))
        if kind != "scene":
            numbers[f"n_{row['split']}"] += int(row["images"])
    if kind == "scene":
        [row] = rows(done.run)
        assert row["split"] == "train val test"
        numbers = {key: dataset[key] for key in numbers}
        assert sum(numbers.values()) == int(row["images"])
    assert numbers == {key: dataset[key] for key in numbers}
    for word in ("data: found: ", "data: split: ", "data: scale: "):
        assert word in done.stderr


def test_json_and_quiet(inside, own):
    done = inside("train", *own, "--codec", "pca", "--code-dim", "2", "--json", "-q")
    assert done.code == 0, done.stderr
    assert json.loads(done.stdout)["code_dim"] == 2
    assert done.stderr == ""


def test_dry_run_says_what_would_be_and_writes_nothing(inside, own, kind, tmp_path):
    done = inside("train", *own, "--code-dim", "2", "--dry-run", "--json", *SHORT)
    assert done.code == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["config"]["data"]["dataset"] == str(tmp_path / KINDS[kind][0])
    assert not (tmp_path / "runs").exists()
    opening._opened.clear()
    dataset = record(inside("train", *own, "--code-dim", "2", *SHORT).run)["dataset"]
    assert (told["training_images"], told["validation_images"]) == (
        dataset["n_train"],
        dataset["n_val"],
    )


def test_sweep(inside, own):
    done = inside("sweep-codedim", "2", "3", *own, "--codec", "pca", "--seeds", "1", "--jobs", "1")
    assert done.code == 0, done.stderr
    assert [row["code_dim"] for row in rows(done.run, "table.csv")] == ["2", "3"]
    assert record(done.run)["dataset"]["n_val"] == 0
    assert rows(done.run)


def test_pca_compare(inside, own):
    done = inside("pca-compare", "2", "3", *own, "--seeds", "1", *SHORT[:4])
    assert done.code == 0, done.stderr
    assert [row["code_dim"] for row in rows(done.run, "curve.csv")] == ["2", "3"]


def test_a_run_is_repeated_from_elsewhere_by_its_config(inside, own, tmp_path, monkeypatch):
    first = inside("train", *own, "--code-dim", "2", *SHORT)
    config = first.run.resolve() / "config.yaml"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    opening._opened.clear()
    second = inside("train", "--config", str(config), "--runs-dir", "runs")
    assert second.code == 0, second.stderr
    one, other = json.loads((config.parent / "metrics.json").read_text()), second.metrics()
    for metrics in (one, other):
        del metrics["train_seconds"]
    assert one == other
    assert (config.parent / "data.csv").read_text() == (second.run / "data.csv").read_text()


def test_resume_goes_on_from_elsewhere(inside, own, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr("aecli.experiments.train._measure", None)  # ends with a bug
        first = inside("train", *own, "--code-dim", "2", *SHORT)
    assert first.code == 1
    [run] = [path for path in (tmp_path / "runs").iterdir() if not path.is_symlink()]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    opening._opened.clear()
    second = inside("resume", str(run))
    assert second.code == 0, second.stderr
    assert record(run)["status"] == "completed"


@pytest.mark.parametrize("kind", ["array"], indirect=True)
def test_a_sweep_is_continued_under_the_same_relative_path(inside, own, tmp_path, monkeypatch):
    command = ("sweep-codedim", "2", *own, "--codec", "pca", "--seeds", "1", "--jobs", "1")
    with monkeypatch.context() as patched:
        patched.setattr("aecli.runs.folder.RunDir.write_metrics", None)  # ends with a bug
        first = inside(*command)
    assert first.code == 1
    runs = [path.resolve() for path in (tmp_path / "runs").iterdir() if not path.is_symlink()]
    opening._opened.clear()
    second = inside(*command, "--continue")
    assert second.code == 0, second.stderr
    assert [second.run.resolve()] == runs


@pytest.fixture
def classes(tmp_path):
    """An array with classes and enough images for holes to be calibrated on."""
    opening._opened.clear()
    np.savez(tmp_path / "many.npz", images=blobs(1000), labels=np.arange(1000) % 3)
    return ("--dataset", "many.npz", "--set", "data.val=110")


@pytest.mark.parametrize("command", ["interpolate", "sample"])
def test_a_run_is_looked_into_with_its_scale(inside, classes, command):
    scaled = ("--set", "data.scale=percentiles")
    trained = inside("train", *classes, *scaled, "--codec", "pca", "--code-dim", "2")
    assert trained.code == 0, trained.stderr
    opening._opened.clear()
    fewer = {"interpolate": ("--pairs", "10"), "sample": ("--samples", "200")}
    done = inside(command, "--run", "latest", *fewer[command])
    assert done.code == 0, done.stderr
    assert record(done.run)["dataset"] == record(trained.run)["dataset"]
    assert record(done.run)["dataset"]["scale"]["rule"].startswith("1st to 99th percentile")
    assert "not those that" not in done.stderr


def test_other_images_than_those_of_the_run_are_told(inside, classes, tmp_path):
    scaled = ("--set", "data.scale=percentiles")
    trained = inside("train", *classes, *scaled, "--codec", "pca", "--code-dim", "2")
    images = blobs(1000, seed=3) // 2
    np.savez(tmp_path / "many.npz", images=images, labels=np.arange(1000) % 3)
    opening._opened.clear()
    done = inside("interpolate", "--run", str(trained.run), "--pairs", "10")
    assert done.code == 0, done.stderr
    assert f"are not those that {trained.run.name} learned from" in done.stderr
    assert record(done.run)["dataset"]["sha256"] != record(trained.run)["dataset"]["sha256"]
    scales = [record(run)["dataset"]["scale"] for run in (done.run, trained.run)]
    assert scales[0] == scales[1]


def test_a_codec_that_is_solved_for_has_no_batch_to_tell_of(inside, made):
    opening._opened.clear()
    command = ("train", "--dataset", str(made / "x.npy"), "--code-dim", "2", "--epochs", "1")
    assert "batch_size=8 instead of" in inside(*command).stderr
    assert "batch_size" not in inside(*command[:-2], "--codec", "pca").stderr


def test_a_code_larger_than_the_number_of_images_has_all_of_pcas_components_beside_it(
    inside_drawn, tmp_path
):
    opening._opened.clear()
    put(tmp_path / "few", blobs(9))
    done = inside_drawn("train", "--dataset", "./few", "--code-dim", "32", "--epochs", "1")
    assert done.code == 0, done.stderr
    assert "(all its components: 7 training images, of rank 6)" in done.stdout
    assert "PCA-7 test mse" in done.stdout
    assert (done.run / "code_units.png").is_file()


@pytest.mark.parametrize("command", ["interpolate", "sample"])
def test_too_few_held_out_images_of_a_path_are_refused_before_there_is_a_run(
    inside, made, tmp_path, command
):
    opening._opened.clear()
    images, codec = ("--dataset", str(made / "x.npy")), ("--codec", "pca", "--code-dim", "2")
    run = str(inside("train", *images, *codec).run)
    there = sorted(tmp_path.glob("runs/*"))
    for dry in ([], ["--dry-run"]):
        done = inside(command, *images, *codec, *dry)
        assert (done.code, done.stdout) == (2, "")
        assert "validation images, and at least 100 are needed" in done.stderr
        assert done.stderr.rstrip().endswith("; take more images, or set data.val")
        done = inside(command, "--run", run, *dry)
        assert (done.code, done.stdout) == (2, "")
        assert done.stderr.rstrip().endswith("99% quantile of their distances")
    assert sorted(tmp_path.glob("runs/*")) == there


def test_one_test_image_has_no_rank():
    assert train._rank_labels(1) == [""]
    assert train._rank_labels(3) == ["best", "median", "worst"]


def test_a_tile_is_called_by_its_place_as_the_note_says(tmp_path):
    put_scene(tmp_path / "scene.tif", drawn(1, 96, 96))
    found = looked_at(tmp_path / "scene.tif", tmp_path, tile=8, gap=1)
    assert re.fullmatch(r"\d+, \d+", look._caption(found, "train", 0))
    assert look._note(found).endswith(". Under each image: row, column.")
    put(tmp_path / "photos", blobs(20))
    found = looked_at(tmp_path / "photos", tmp_path)
    assert look._caption(found, "train", 0).endswith(".png")
    assert look._note(found) == f"Scale: {found.scale.rule}."


def test_what_is_left_out_is_in_data_csv(inside, tmp_path):
    opening._opened.clear()
    put(tmp_path / "photos", blobs(40))
    (tmp_path / "photos/bad.png").write_bytes(b"nothing")
    (tmp_path / "photos/notes.txt").write_bytes(b"nothing")
    (tmp_path / "photos/=formula.png").write_bytes((tmp_path / "photos/000.png").read_bytes())
    command = ("train", "--dataset", "./photos", "--codec", "pca", "--code-dim", "2")
    done = inside(*command)
    assert done.code == 3
    assert "1 file of 42 cannot be used (data.skip_bad=true leaves them out):" in done.stderr
    assert "bad.png: " in done.stderr
    assert not (tmp_path / "runs").exists()
    opening._opened.clear()
    done = inside(*command, "--set", "data.skip_bad=true")
    assert done.code == 0, done.stderr
    left = {row["file"]: row["left_out"] for row in rows(done.run) if row["left_out"]}
    assert set(left) == {"bad.png", "notes.txt"}
    assert left["notes.txt"] == "passed over"
    assert "left out: 1 file (bad.png); see data.csv" in done.stderr


def test_limits_and_expectations(inside, made, tmp_path):
    opening._opened.clear()
    command = ("train", "--dataset", str(made / "x.npy"), "--codec", "pca", "--code-dim", "2")
    done = inside(*command, "--limit-train", "20", "--expect", "dataset==x")
    assert done.code == 0, done.stderr
    assert record(done.run)["dataset"]["n_train"] == 20
    assert inside(*command, "--expect", "dataset==mnist").code == 7
    done = inside(*command, "--expect", "dataset==y")
    assert done.code == 2
    assert "no dataset is called 'y'; there are mnist, fashion-mnist, mnist-5k, x" in done.stderr
    done = inside(*command, "--limit-train", "999")
    assert done.code == 2
    assert "data.limit_train=999 must be at most 4" in done.stderr


def test_a_folder_of_data_files_is_idle_beside_a_path(inside, made):
    opening._opened.clear()
    done = inside("train", "--dataset", str(made / "x.npy"), "--data-dir", str(made), *SHORT)
    assert done.code == 2
    assert "leave --data-dir out" in done.stderr


@pytest.mark.parametrize("sheet", [None, "photos/cat/sheet.png"])
def test_the_picture_of_a_look_is_none_of_the_images(inside, made, tmp_path, monkeypatch, sheet):
    put(tmp_path / "photos", blobs(20), ("cat", "dog"))
    if sheet is None:
        monkeypatch.chdir(tmp_path / "photos")
        done = inside("data", "look", ".")
    else:
        done = inside("data", "look", str(tmp_path / "photos"), "-o", str(tmp_path / sheet))
    assert done.code == 2
    assert "would lie in" in done.stderr
    assert len(list((tmp_path / "photos").rglob("*.png"))) == 20
