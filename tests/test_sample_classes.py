"""`aecli sample --per-class`: images of each class, where there are classes."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image

from aecli.codespace.flow import read_flow
from aecli.codespace.samplers import class_samplers
from aecli.experiments import sample_classes
from aecli.experiments.sample_classes import SHOWN, classes_to_draw
from tests.conftest import FEW_IMAGES, ONE_PIXEL, digits

SOLVED = (*FEW_IMAGES, "--codec", "pca", "--code-dim", "4", "--samples", "60", "--per-class")


def by_class(done):
    """The rows of samplers.csv, by sampler."""
    lines = (done.run / "samplers.csv").read_text().splitlines()
    return {row["sampler"]: row for row in csv.DictReader(lines)}


def test_as_many_of_each_class_as_its_share_but_a_row_of_the_picture_at_least():
    labels = torch.tensor([0] * 700 + [1] * 290 + [3] * 10)
    wanted = classes_to_draw(labels, 1000)
    assert wanted.bincount().tolist() == [700, 290, 0, SHOWN]
    assert torch.equal(wanted, wanted.sort().values)


def test_a_run_by_class_leaves_its_picture_and_numbers(inside):
    done = inside("sample", *SOLVED)
    assert done.code == 0, done.stderr
    rows, metrics = by_class(done), done.metrics()
    for name in class_samplers():
        row, key = rows[f"{name}, by class"], name.replace("-", "_")
        assert int(row["samples"]) >= 10 * SHOWN
        assert float(row["class_accuracy"]) == metrics[f"class_accuracy_{key}"]
        assert float(row["frechet_distance"]) == metrics[f"frechet_by_class_{key}"]
    assert (
        float(rows["test images, decoded"]["class_accuracy"]) == (metrics["class_accuracy_decoded"])
    )
    assert 0 < float(rows["real test images"]["class_accuracy"]) <= 1
    assert rows["flow"]["class_accuracy"] == ""
    assert "  of its class " in done.stdout
    assert (done.run / "per_class.png").read_bytes() == ONE_PIXEL
    kept = read_flow(done.run / "flow-by-class.safetensors")
    drawn = kept.draw(10, torch.Generator().manual_seed(0), torch.arange(10))
    assert drawn.shape == (10, 4)


def test_without_the_flag_no_class_is_drawn(inside):
    done = inside("sample", *SOLVED[:-1])
    assert done.code == 0, done.stderr
    metrics = done.metrics()
    assert not any("by class" in name for name in by_class(done))
    assert metrics["class_accuracy_flow"] is metrics["frechet_by_class_flow"] is None
    assert not (done.run / "per_class.png").exists()
    assert not (done.run / "flow-by-class.safetensors").exists()
    assert read_flow(done.run / "flow.safetensors").parts.classes.unique().tolist() == [0]


def test_the_flag_changes_no_other_number(inside):
    plain, classes = (inside("sample", *SOLVED[:n]) for n in (-1, None))
    before, after = plain.metrics(), classes.metrics()
    given = [name for name, value in before.items() if value is not None]
    assert {name: after[name] for name in given} == {name: before[name] for name in given}


def test_the_picture_has_a_row_for_each_class(inside_drawn, monkeypatch):
    seen = {}
    grids = sample_classes.figures.sample_grids

    def watch(samples, names, scores, note, title, shown):
        seen.update(sizes=[len(some) for some in samples], names=names, note=note, title=title)
        return grids(samples, names, scores, note, title, shown)

    monkeypatch.setattr(sample_classes.figures, "sample_grids", watch)
    monkeypatch.setattr(sample_classes, "_ROWS", 4)
    monkeypatch.setattr("aecli.measure.classifier.EPOCHS", 1)
    monkeypatch.setattr("aecli.codespace.flow.PRODUCTS", 1)
    monkeypatch.setattr("aecli.experiments.sample._draw", lambda *_: None)
    done = inside_drawn("sample", *SOLVED)
    assert done.code == 0, done.stderr
    assert (done.run / "per_class.png").read_bytes().startswith(b"\x89PNG")
    assert seen["names"] == ["0", "1", "2", "3"]
    assert seen["sizes"] == [SHOWN] * 4
    assert "The first 4 of 10 classes." in seen["note"]
    assert "jittered" not in seen["title"]


def photos(folder, classes, each=60):
    """A folder of small pictures, in a folder for each class where there are any."""
    pixels = digits(each * max(len(classes), 1), 0, (3, 8, 8)).numpy()
    for i, image in enumerate(pixels):
        place = folder / classes[i % len(classes)] if classes else folder
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.moveaxis(image, 0, 2)).save(place / f"{i}.png")


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_without_labels_it_is_refused_before_anything_is_made(inside, tmp_path, more):
    photos(tmp_path / "photos", (), each=300)
    done = inside("sample", "--dataset", "./photos", "--codec", "pca", "--per-class", *more)
    assert done.code == 2
    [line] = done.errors
    assert "per_class=true: " in line
    assert "has no labels of two classes or more" in line
    assert not list(tmp_path.glob("runs/*"))


def test_a_class_of_few_images_is_named(inside, tmp_path):
    photos(tmp_path / "photos", ("cat", "dog", "eel"), each=200)
    for path in list((tmp_path / "photos" / "dog").iterdir())[5:]:
        path.unlink()
    done = inside(
        *("sample", "--dataset", "./photos", "--codec", "pca", "--code-dim", "4", "--per-class"),
        *("--set", "data.val=0.3"),
    )
    assert done.code == 2, done.stderr
    assert "per_class=true: class dog has " in done.stderr
    assert "at least 10 are needed" in done.stderr
    assert "class cat" not in done.stderr
