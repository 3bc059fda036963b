"""People's own images: without labels, of any classes and channels, masked, few or very large."""

import csv
import dataclasses
import json

import pytest
import torch

from aecli.chapter import CodeReading, describe_code
from aecli.config import DataConfig, InterpolateConfig
from aecli.data import datasets, sources
from aecli.data.images import Images, InMemory, Raw, Source, pixel_variance
from aecli.data.known import DATASETS, Dataset
from aecli.errors import UsageError
from aecli.experiments.ends import choose_any_ends, draw_any_pairs
from aecli.experiments.wording import in_words, one_of
from aecli.measure import classifier
from aecli.measure.distances import nearest_distances
from aecli.terminal import Terminal
from tests.conftest import digits

pytestmark = pytest.mark.usefixtures("jobs_here")

NAMES = tuple(f"kind {label} of tree" for label in range(37))
PCA = ("--codec", "pca", "--dataset", "mnist-5k", "--offline", "-q", "--set", "data.val=120")
COMMANDS = {
    "interpolate": ("interpolate", "--code-dim", "2", "--pairs", "20", "--steps", "3"),
    "sample": ("sample", "--code-dim", "4", "--samples", "60"),
    "sweep-codedim": ("sweep-codedim", "2", "4", "--seeds", "1"),
}


def toy(n, seed, shape, classes, masked):
    images = digits(n, seed, shape)
    labels = torch.arange(n) % classes if classes else None
    mask = None
    if masked:
        mask = torch.rand((n, 1, *shape[1:]), generator=torch.Generator().manual_seed(seed)) > 0.2
    return InMemory(images, labels, mask)


@pytest.fixture
def put(monkeypatch):
    """Put a small dataset in the place of mnist-5k: a known name with other images."""

    def put(shape=(1, 12, 10), classes=0, names=(), masked=False, n_train=420, n_test=240):
        def read(places, say):
            train, test = (
                toy(n, seed, shape, classes, masked) for n, seed in ((n_train, 0), (n_test, 1))
            )
            return Raw(train, test, "drawn", f"{hash((shape, classes, masked)):064x}", None)

        known = Dataset("toy", shape, n_train, n_test, read, class_names=names)
        monkeypatch.setitem(DATASETS, "mnist-5k", known)

    return put


def rows_of(path):
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("classes", "names"),
    [(0, ()), (1, ("all of them",)), (2, ("cat", "dog")), (37, NAMES), (12, ())],
)
def test_every_command_takes_any_number_of_classes(put, inside, command, classes, names):
    put(classes=classes, names=names)
    done = inside(*COMMANDS[command], *PCA)
    assert done.code == 0, done.stderr
    metrics = done.metrics()
    said = done.stdout.replace(metrics["dataset"], "")
    assert "digit" not in said
    labelled = classes > 1
    if command == "interpolate":
        path = rows_of(done.run / "path.csv")
        for name in ("confidence_ends", "confidence_outside", "classifier_accuracy", "from_digit"):
            if name != "confidence_outside":  # all codes may be in holes
                assert (metrics[name] is not None) == labelled, name
        assert all((row["confidence"] != "") == labelled for row in path)
        if labelled:
            known = names or [str(label) for label in range(classes)]
            assert all(row["read_as"] == known[int(row["digit"])] for row in path)
            name = known[metrics["from_digit"]]
            assert f"({name if names else f'class {name}'})" in done.stdout
        else:
            assert "there is no classifier" in done.stdout
            assert f"test image {metrics['from_index']} to" in done.stdout
    if command == "sample":
        rows = rows_of(done.run / "samplers.csv")
        assert metrics["frechet_features"] == ("classifier" if labelled else "pca-64")
        assert {row["frechet_features"] for row in rows} == {metrics["frechet_features"]}
        for column in ("confidence", "entropy_bits", "classes_covered", "class_entropy_bits"):
            assert all((row[column] != "") == labelled for row in rows)
        assert ("  spectrum " in done.stdout) != labelled
        assert all(float(row["spectrum_db"]) >= 0 for row in rows)
        features = "the classifier's features" if labelled else "the codes of PCA-64"
        assert f"Frechet distance in {features}" in done.stdout
        assert metrics["frechet_floor"] < metrics["frechet_standard_normal"]
    if command == "sweep-codedim":
        rows = rows_of(done.run / "table.csv")
        assert all((row["probe_accuracy"] != "") == labelled for row in rows)
        assert all(row["slant_r2"] == row["thickness_r2"] == "" for row in rows)
        assert (metrics["raw_pixels_probe_accuracy"] is not None) == labelled
        assert all(("variance" in row["what_it_learns"]) != labelled for row in rows)
        assert ("probe" in done.stdout.splitlines()[1].split()) == labelled


@pytest.mark.parametrize(
    ("command", "shape"), [("interpolate", (6, 8, 20)), ("sample", (2, 8, 8)), ("train", (2, 8, 8))]
)
def test_masked_images_of_other_channels_are_drawn(put, inside_drawn, monkeypatch, command, shape):
    monkeypatch.setattr("aecli.codespace.flow.PRODUCTS", 1)
    put(shape=shape, masked=True)
    arguments = {**COMMANDS, "train": ("train", "--code-dim", "2")}[command]
    done = inside_drawn(*arguments, *PCA)
    assert done.code == 0, done.stderr
    drawn = {path.stem for path in done.run.glob("*.png")}
    assert (
        drawn
        >= {
            "interpolate": {"interpolation", "latent_map", "decoder_grid", "hole_rates"},
            "sample": {"sample_grids", "code_ranges"},
            "train": {"reconstructions", "code_scatter"},
        }[command]
    )


@pytest.mark.parametrize(
    ("arguments", "sizes", "message"),
    [
        (
            COMMANDS["interpolate"],
            {"n_train": 200},
            "there are 16 validation images, and at least 100 are needed",
        ),
        (
            (*COMMANDS["sample"], "--set", "data.val=0"),
            {"n_test": 150},
            "there are 75 images in half of the 150 test images",
        ),
        (
            (*COMMANDS["interpolate"], "--from-digit", "3", "--set", "data.val=100"),
            {},
            "from_digit=3: these images have no labels of two classes or more",
        ),
        (
            (*COMMANDS["interpolate"], "--to-digit", "5", "--set", "data.val=100"),
            {"classes": 5},
            "to_digit=5 must be at most 4 (5 classes)",
        ),
        (
            (*COMMANDS["interpolate"], "--from-digit", "40"),
            {"classes": 37, "names": NAMES},
            "from_digit=40 must be at most 36 (37 classes)",
        ),
        (COMMANDS["interpolate"], {"n_test": 1, "n_train": 2000}, "needs two test images"),
    ],
)
def test_images_that_are_too_few_are_refused_before_training(
    put, inside, tmp_path, arguments, sizes, message
):
    put(**sizes)
    done = inside(*arguments, *PCA[:-2])
    assert done.code == 2, done.stderr
    assert message in done.stderr
    assert not list(tmp_path.glob("runs/*/model"))


def test_pairs_without_labels_are_of_two_images():
    pairs = draw_any_pairs(7, 500, 3)
    assert torch.equal(pairs, draw_any_pairs(7, 500, 3))
    assert (pairs[:, 0] != pairs[:, 1]).all()
    assert pairs.min() == 0
    assert pairs.max() == 6
    for seed in range(20):
        config = InterpolateConfig(seed=seed, to_index=1)
        start, end = choose_any_ends(config, 3).tolist()
        assert end == 1
        assert start in (0, 2)
    with pytest.raises(UsageError, match=r"to_index=9 must be at most 2 \(3 test images\)"):
        choose_any_ends(InterpolateConfig(to_index=9), 3)


def of_classes(**kind):
    source = InMemory(digits(10), torch.arange(10))
    return Images("x", "drawn", "0" * 64, source, source, source, **kind)


def test_a_class_is_called_by_its_name():
    digit, numbered, named = of_classes(digits=True), of_classes(), of_classes(class_names=NAMES)
    assert [each.class_name(8) for each in (digit, named)] == ["8", "kind 8 of tree"]
    assert [one_of(digit, 3), one_of(digit, 8)] == ["a 3", "an 8"]
    assert (one_of(numbered, 3), one_of(named, 3)) == ("class 3", "kind 3 of tree")
    assert [in_words(each, 3) for each in (digit, numbered)] == ["digit 3", "class 3"]
    assert (named.classes, numbered.classes) == (37, 10)


def test_only_digits_have_strokes():
    assert {name for name, known in DATASETS.items() if known.digits} == {"mnist", "mnist-5k"}
    config, places = DataConfig(dataset="mnist-5k"), sources.default_places(offline=True)
    assert datasets.load(config, places, print).digits


@pytest.mark.parametrize(("labelled", "of_train", "of_test"), [(True, 2, 1), (False, 1, 1)])
def test_one_label_tells_nothing_apart(labelled, of_train, of_test):
    train, test = (InMemory(digits(9), torch.arange(9) % n) for n in (of_train, of_test))
    images = Images("x", "drawn", "0" * 64, train, train, test)
    assert images.labelled == labelled
    assert not dataclasses.replace(images, test=InMemory(digits(9))).labelled


BLIND = CodeReading(None, None, None, None, 0.8, copies=False, variance_kept=0.623)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({}, "62% of the pixels' variance; decoded slightly soft"),
        ({"variance_kept": -0.5}, "0% of the pixels' variance; decoded slightly soft"),
        ({"copies": True}, "a near copy"),
        (
            {"copies": True, "probe_accuracy": 0.9, "knn_accuracy": 0.8},
            "a near copy (90% of labels read right)",
        ),
        ({"probe_accuracy": 0.9, "knn_accuracy": 0.8}, "most labels (90% read right); decoded"),
    ],
)
def test_what_can_be_said_without_labels_strokes_or_raw_probes(change, sentence):
    said = describe_code(dataclasses.replace(BLIND, **change), raw_probe_accuracy=None)
    assert said.startswith(sentence)


@pytest.mark.parametrize("shape", [(3, 200, 90), (6, 30, 300), (1, 5, 7)])
def test_the_classifier_takes_images_of_any_size(monkeypatch, tmp_path, shape):
    monkeypatch.setattr(classifier, "EPOCHS", 1)
    split = InMemory(digits(20, 0, shape), torch.arange(20) % 3)
    images = Images("x", "drawn", "0" * 64, split, split, split)
    judge = classifier.trained_classifier(images, tmp_path, Terminal())
    assert judge.network.hidden.in_features <= 48 * 16 * 16
    assert judge.probabilities(split.images).shape == (20, 3)
    assert judge.features(split.images).shape == (20, 64)


def test_mnists_classifier_has_the_network_it_had():
    network = classifier._Network(1, 28, 28, 10)
    assert network.hidden.in_features == 48 * 7 * 7
    images = torch.rand((2, 1, 28, 28))
    assert classifier._reduced(images) is images


def test_distances_do_not_depend_on_the_memory_they_may_take(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    points, others = (torch.rand((n, 5), generator=generator) for n in (70, 40))
    whole = nearest_distances(points, others, 3)
    monkeypatch.setattr("aecli.measure.distances._NUMBERS", 150)
    torch.testing.assert_close(nearest_distances(points, others, 3), whole)


def test_the_variance_is_of_valid_pixels():
    pixels = torch.tensor([0.0, 0.4, 0.2, 0.9]).view(4, 1, 1, 1)
    assert pixel_variance(InMemory(pixels)) == pytest.approx(pixels.var(correction=0).item())
    mask = torch.tensor([True, True, True, False]).view(4, 1, 1, 1)
    kept = pixels[:3].var(correction=0).item()
    assert pixel_variance(InMemory(pixels, mask=mask)) == pytest.approx(kept)


class Bounded(Source):
    """Images of which only so many may be read at once."""

    def __init__(self, source, most):
        self.shape, self.labels, self.masked = source.shape, source.labels, source.masked
        self._source, self._most = source, most

    def __len__(self):
        return len(self._source)

    def read(self, indices, out=None):
        assert len(indices) <= self._most, f"{len(indices)} images are read at once"
        return self._source.read(indices, out)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("classes", [0, 3])
def test_no_command_reads_all_images_at_once(put, inside, monkeypatch, command, classes):
    put(classes=classes, n_train=300, n_test=220)
    pixels = 12 * 10
    monkeypatch.setattr(classifier, "BATCH_SIZE", 50)
    monkeypatch.setattr("aecli.experiments.sample_sets._REFERENCE_BYTES", 50 * pixels * 4)
    monkeypatch.setattr("aecli.experiments.sweep_reading._PROBED_PIXELS", 1)
    monkeypatch.setattr("aecli.experiments.sweep_reading._DECODED_BYTES", 50 * pixels * 4)
    batches = Source.batches
    monkeypatch.setattr(Source, "batches", lambda source, most=0: batches(source, 50 * pixels * 4))
    known = DATASETS["mnist-5k"]

    def read(places, say):
        raw = known.read(places, say)
        return raw._replace(train=Bounded(raw.train, 60), test=Bounded(raw.test, 60))

    monkeypatch.setitem(DATASETS, "mnist-5k", dataclasses.replace(known, read=read))
    done = inside(*COMMANDS[command], *PCA)
    assert done.code == 0, done.stderr
    if command == "sample":
        metrics = json.loads((done.run / "metrics.json").read_text())
        assert metrics["nearest_images_among"] == 50
