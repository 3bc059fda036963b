"""`encode`, `decode` and `search`: what they leave, that they go on, and what they refuse."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from PIL import Image

import aecli as library
from aecli.cli import encode as encoding_command
from aecli.cli import search as search_command
from aecli.codecs import store
from aecli.codespace import encoding, indexes, region
from aecli.codespace.archive import Archive
from aecli.codespace.oddness import oddness
from aecli.config import DataConfig
from aecli.data.datasets import load
from aecli.data.own import opened as opening
from aecli.data.sources import default_places
from aecli.data.whole import load_whole
from aecli.errors import DataError, UsageError
from aecli.terminal import not_shown
from tests.conftest import ONE_PIXEL
from tests.own import blobs, drawn, interrupted_at_a_batch, put, put_scene, spots

pytestmark = pytest.mark.program


@pytest.fixture
def call(inside, monkeypatch, tmp_path):
    """The program in this process; pictures are not drawn, and no path is known from before."""
    opening._opened.clear()
    monkeypatch.setattr(encoding_command, "_draw", lambda *_: ONE_PIXEL)
    monkeypatch.setattr(search_command, "_draw", lambda *_: None)
    return inside


@pytest.fixture
def digits_run(small_run):
    return str(small_run.run)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A folder for what is encoded once for all tests here."""
    return tmp_path_factory.mktemp("codes")


@pytest.fixture
def encoded(call, digits_run, kept, tmp_path):
    """codes.npy of all digits, its codes.csv and codes.json, in tmp_path."""
    names = [f"codes{ending}" for ending in (".npy", ".csv", ".json")]
    if not (kept / "codes.npy").is_file():
        done = call("encode", digits_run, "mnist-5k", "-o", "codes.npy")
        assert (done.code, done.stdout) == (0, "codes.npy\n"), done.stderr
        for name in names:
            shutil.copy2(name, kept)
    for name in names:
        shutil.copy2(kept / name, tmp_path)


def rows(path):
    return list(csv.DictReader(Path(path).read_text().splitlines()))


def trained(call, dataset, code_dim, *more):
    """A run of a transform, which is made in no time."""
    codec = ("--codec", "dct", "--code-dim", str(code_dim))
    done = call("train", "--dataset", dataset, *codec, *more)
    assert done.code == 0, done.stderr
    return str(done.run)


def test_a_known_dataset_is_encoded_whole(call, digits_run, encoded):
    codes = np.load("codes.npy")
    assert (codes.shape, codes.dtype) == ((5000, 2), np.float32)
    found = rows("codes.csv")
    assert [int(row["index"]) for row in found] == list(range(5000))
    assert found[0]["file"] == "train[0]"
    assert found[4999]["file"] == "test[999]"
    parts = [row["part"] for row in found]
    run = library.open(digits_run)
    numbers = run.record["dataset"]
    for part in ("train", "val", "test"):
        assert parts.count(part) == numbers[f"n_{part}"]
    assert {row["label"] for row in found} == {str(digit) for digit in range(10)}
    assert json.loads(Path("codes.json").read_text())["model_sha256"] == run.model_sha256
    assert not Path("codes.npy.part").exists()
    again = call("encode", digits_run, "mnist-5k", "-o", "codes.npy", "--json")
    assert json.loads(again.stdout)["images"] == 5000
    assert "nothing is left to do" in again.stderr
    other = call("encode", digits_run, "mnist-5k", "-o", "codes.npy", "--part", "test")
    assert (other.code, other.errors) == (2, ["aecli: codes.npy exists; it is not replaced"])
    test = call("encode", digits_run, "mnist-5k", "-o", "test.npy", "--part", "test")
    assert test.code == 0, test.stderr
    is_test = np.array(parts) == "test"
    np.testing.assert_allclose(np.load("test.npy"), codes[is_test], rtol=1e-5, atol=1e-5)
    assert [row["file"] for row in rows("test.csv")] == [f"test[{i}]" for i in range(1000)]


def test_black_and_white_images_are_those_that_a_run_was_measured_on():
    config = DataConfig(dataset="mnist-5k", binarise="stochastic", val=50, limit_train=100)
    places = default_places(None, True)
    whole = load_whole(config, places, print, None, config)
    images = load(config, places, print)
    assert whole.sha256 == images.sha256
    for part in ("train", "val", "test"):
        found, expected = (
            each.all().images.sum(dim=0)
            for each in (whole.only(part).source, getattr(images, part))
        )
        assert torch.equal(found, expected), part
    mixed = [4999, 0, 4000, 3999]
    together = whole.source.read(torch.tensor(mixed))
    for i, number in enumerate(mixed):
        alone = whole.source.read(torch.tensor([number]))
        assert torch.equal(together.images[i : i + 1], alone.images)
        assert torch.equal(together.labels[i : i + 1], alone.labels)


def test_an_interrupted_archive_is_gone_on_with_to_the_same_bytes(call, tmp_path, monkeypatch):
    spots(tmp_path / "spots.npz")  # 216 images
    run = trained(call, "./spots.npz", 9)
    monkeypatch.setattr(encoding, "BATCH_BYTES", 4 * 64 * 40)
    told = ("encode", run, "./spots.npz", "-o")
    call(*told, "twin.npy", "--scores")
    interrupted_at_a_batch(monkeypatch)
    done = call(*told, "codes.npy", "--scores")
    assert done.code == 130
    assert "120 of 216 images are encoded" in done.stderr
    other = call(*told, "codes.npy")
    assert other.code == 2
    assert "an archive was begun there with another scores" in other.stderr
    shutil.copytree("codes.npy.part", "killed.npy.part")  # a kill before the last save
    progress = Path("killed.npy.part/progress.json")
    progress.write_text(progress.read_text().replace('"done": 120', '"done": 80'))
    for name, there in (("codes", 120), ("killed", 80)):
        done = call(*told, f"{name}.npy", "--scores")
        assert done.code == 0, done.stderr
        assert f"going on after {there} of 216 images" in done.stderr
        for ending in (".npy", ".csv"):
            assert Path(f"{name}{ending}").read_bytes() == Path(f"twin{ending}").read_bytes()


def test_scores_of_long_codes_are_refused(call, digits_run, monkeypatch):
    monkeypatch.setattr(region, "WIDEST", 1)
    done = call("encode", digits_run, "mnist-5k", "-o", "codes.npy", "--scores")
    assert (done.code, done.stdout) == (2, "")
    assert re.search(r"--scores: code_dim=\d+ must be at most 1: distances between", done.stderr)
    assert not Path("codes.npy").exists()


def test_scores_are_those_of_their_definitions(call, digits_run):
    done = call("encode", digits_run, "mnist-5k", "-o", "codes.npy", "--scores", "--json")
    assert done.code == 0, done.stderr
    told = json.loads(done.stdout)
    found = rows("codes.csv")
    scores = np.array([[float(row["mse"]), float(row["code_distance"])] for row in found])
    run = library.open(digits_run)
    is_test = np.array([row["part"] == "test" for row in found])
    assert scores[is_test, 0].mean() == pytest.approx(run.metrics["test_mse"], rel=1e-4)
    odd = oddness(scores.astype(np.float32), told)
    expected = np.lexsort((np.arange(len(odd)), -odd))[:20].tolist()
    assert [row["index"] for row in told["oddest"]] == expected
    is_val = np.array([row["part"] == "val" for row in found])
    in_hole = scores[is_val, 1] > told["hole_above"]
    assert in_hole.mean() == pytest.approx(0.01, abs=0.01)
    assert Path("codes-oddest.png").is_file()


def test_a_folder_is_encoded_in_the_order_of_its_names(call, tmp_path):
    paths = put(tmp_path / "photos", blobs(40), ("cat", "dog"))
    run = trained(call, "./photos", 9)
    done = call("encode", run, "./photos", "-o", "codes.npy")
    assert done.code == 0, done.stderr
    names = sorted(str(path.relative_to(tmp_path / "photos")) for path in paths)
    found = rows("codes.csv")
    assert [row["file"] for row in found] == names
    assert [row["label"] for row in found] == [name.partition("/")[0] for name in names]
    assert {row["part"] for row in found} == {"train", "val", "test"}
    pixels = np.stack([np.asarray(Image.open(tmp_path / "photos" / name)) for name in names])
    expected = library.open(run).encode(pixels)
    np.testing.assert_allclose(np.load("codes.npy"), expected, rtol=1e-5, atol=1e-5)
    # One of them by its file is itself, the first of all, and left out unless it is asked for.
    file = f"photos/{names[5]}"
    found = call("search", run, file, "--in", "codes.npy", "-k", "3", "--json")
    answer = json.loads(found.stdout)
    assert answer["copies_left_out"] == [5]
    assert answer["label"] == "cat"
    labels = [each["label"] for each in answer["nearest"]]
    assert answer["own_class_share"] == labels.count("cat") / 3
    found = call("search", run, file, "--in", "./photos", "-k", "3", "--json", "--with-copies")
    nearest = json.loads(found.stdout)["nearest"]
    assert [nearest[0]["index"], nearest[0]["file"]] == [5, names[5]]
    assert nearest[0]["distance"] <= 1e-5 * np.linalg.norm(expected[5])


def scene_run(call, tmp_path):
    """A scene of two bands, and a run whose codec loses nothing of its tiles."""
    pixels = drawn(2, 50, 70)
    put_scene(tmp_path / "scene.tif", pixels)
    settings = ("--set", "data.tile=8", "--set", "data.scale=range")
    return pixels, trained(call, "./scene.tif", 128, *settings)


@pytest.mark.parametrize("stride", [8, 5])
def test_a_scene_comes_back_where_it_lies(call, tmp_path, stride):
    pixels, run = scene_run(call, tmp_path)
    more = ("--set", f"data.stride={stride}")
    done = call("encode", run, "./scene.tif", "-o", "codes.npy", *more)
    assert done.code == 0, done.stderr
    found = rows("codes.csv")
    downs, acrosses = range(0, 43, stride), range(0, 63, stride)
    places = [(int(row["row"]), int(row["column"])) for row in found]
    assert places == [(y, x) for y in downs for x in acrosses]
    assert (found[1]["crs"], found[1]["width"]) == ("EPSG:32601", "8")
    assert (float(found[1]["x"]), float(found[1]["y"])) == (30 * (stride + 4), -30 * 4)
    done = call("decode", run, "codes.npy", "-o", "decoded")
    assert done.code == 0, done.stderr
    with rasterio.open("scene.tif") as scene, rasterio.open("decoded/scene.tif") as mosaic:
        assert (mosaic.crs, mosaic.transform) == (scene.crs, scene.transform)
        assert (mosaic.shape, mosaic.dtypes) == (scene.shape, scene.dtypes)
        height, width = downs[-1] + 8, acrosses[-1] + 8
        inside = np.zeros(mosaic.shape, bool)
        inside[:height, :width] = True
        assert np.array_equal(mosaic.dataset_mask() > 0, inside)
        assert np.array_equal(mosaic.read()[:, inside], pixels[:, inside])


def test_a_window_of_a_scene_finds_its_tile(call, tmp_path):
    _, run = scene_run(call, tmp_path)
    call("encode", run, "./scene.tif", "-o", "codes.npy")
    for text in ("scene.tif[16,8]", "./scene.tif[16, 8, 8, 8]"):
        done = call("search", run, text, "--in", "codes.npy", "--with-copies", "-k", "1", "--json")
        [nearest] = json.loads(done.stdout)["nearest"]
        assert (nearest["column"], nearest["row"], nearest["crs"]) == (16, 8, "EPSG:32601")
    for text, words in (
        ("scene.tif", "holds 48 tiles; name one of them"),
        ("scene.tif[63,0]", "a window is of 8x8 pixels"),
        ("scene.tif[0,0,9,9]", "a window is of 8x8 pixels"),
        ("nosuch.tif[0,0]", "no such file"),
    ):
        done = call("search", run, text, "--in", "codes.npy")
        assert done.code == 2, done.stderr
        assert words in done.stderr


def test_codes_are_decoded_into_what_holds_them(call, tmp_path, digits_run):
    run = library.open(digits_run)
    codes = np.random.default_rng(0).standard_normal((12, 2)).astype(np.float32)
    np.save("mine.npy", codes)
    done = call("decode", digits_run, "mine.npy", "-o", "decoded")
    assert (done.code, done.stdout) == (0, "decoded\n")
    assert "WARNING: mine.npy: nothing beside it says which model" in done.stderr
    expected = np.rint(255 * run.decode(codes).clip(0, 1)).astype(np.uint8)
    assert sorted(path.name for path in Path("decoded").iterdir()) == [
        f"{i:02}.png" for i in range(12)
    ]
    for i, image in enumerate(expected):
        assert np.array_equal(np.asarray(Image.open(f"decoded/{i:02}.png")), image[0])
    assert call("decode", digits_run, "mine.npy", "-o", "array", "--npy").code == 0
    assert np.array_equal(np.load("array/images.npy"), expected)
    again = call("decode", digits_run, "mine.npy", "-o", "decoded")
    assert again.code == 2
    assert "exists and is not an empty folder" in again.stderr


def test_sixteen_bits_and_other_channels_become_an_array(call, tmp_path):
    np.save("x.npy", drawn(40, 8, 8, 2, top=60_000))
    run = trained(call, "./x.npy", 128, "--set", "data.channels=2", "--set", "data.scale=range")
    assert call("encode", run, "./x.npy", "-o", "codes.npy").code == 0
    assert call("decode", run, "codes.npy", "-o", "decoded").code == 0
    decoded = np.load("decoded/images.npy")
    assert decoded.dtype == np.uint16
    np.testing.assert_allclose(decoded, np.load("x.npy").transpose(0, 3, 1, 2), atol=1)


def test_search_by_index(call, digits_run, encoded):
    done = call("search", digits_run, "7", "--in", "codes.npy", "-k", "4", "--with-copies")
    assert done.code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "4 nearest of 5,000 to code 7, euclidean distance"
    assert lines[1].split()[:4] == ["rank", "distance", "(euclidean)", "index"]
    assert lines[2].split()[:3] == ["1", "0", "7"]
    assert "searched by exact search" in done.stdout
    assert "of the query's own class, " in done.stdout
    assert lines[-1] == "search.png"
    done = call("search", digits_run, "7", "--in", "codes.npy", "--metric", "cosine", "--json")
    answer = json.loads(done.stdout)
    assert answer["metric"] == "cosine"
    assert 7 not in [each["index"] for each in answer["nearest"]]
    codes = np.load("codes.npy").astype(float)
    cosines = codes @ codes[7] / np.linalg.norm(codes, axis=1) / np.linalg.norm(codes[7])
    distances = [each["distance"] for each in answer["nearest"]]
    chosen = [each["index"] for each in answer["nearest"]]
    np.testing.assert_allclose(distances, 1 - cosines[chosen], atol=1e-12)


def test_binary_codes_are_kept_and_their_recall_is_told(call, digits_run, encoded):
    asked = ("search", digits_run, "7", "--in", "codes.npy", "--codes", "binary", "--json")
    answer = json.loads(call(*asked).stdout)
    assert answer["metric"] == "hamming"
    assert 0 <= answer["recall"] <= 1
    codes = np.load("codes.npy")
    bits = codes > np.median(codes, axis=0)
    hamming = (bits != bits[7]).sum(axis=1)
    expected = [i for i in np.argsort(hamming, kind="stable") if i != 7][:10]
    assert [each["index"] for each in answer["nearest"]] == expected
    assert json.loads(call(*asked).stdout) == answer
    np.save("codes.npy", codes[::-1].copy())
    changed = call(*asked)
    assert changed.code == 3
    assert "codes.binary.npy: an index of other codes than codes.npy has now" in changed.stderr


def test_faiss_finds_nearly_all_and_its_absence_is_said(call, digits_run, encoded, monkeypatch):
    asked = ("search", digits_run, "7", "--in", "codes.npy", "--index", "faiss", "--json")
    with monkeypatch.context() as patch:
        patch.setitem(__import__("sys").modules, "faiss", None)
        absent = call(*asked)
    assert absent.code == 2
    assert "FAISS is not installed; pip install 'aecli[search]'" in absent.stderr
    pytest.importorskip("faiss")
    for metric in ("euclidean", "cosine"):
        done = call(*asked, "--metric", metric)
        assert done.code == 0, done.stderr
        answer = json.loads(done.stdout)
        assert answer["recall"] >= indexes.RECALL
        exact = json.loads(call(*asked[:5], "--json", "--metric", metric).stdout)
        same = {each["index"] for each in answer["nearest"]}
        assert len(same & {each["index"] for each in exact["nearest"]}) >= 8
    np.save("codes.npy", np.load("codes.npy")[::-1].copy())
    assert call(*asked).code == 3


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        (("9", "-k", "1"), 2, "QUERY 9: an index must be less than 9 (codes)"),
        (("0", "-k", "10"), 2, "-k 10: must be at most 9 (codes in codes.npy)"),
        (("0", "-k", "9"), 2, "-k 9: must be at most 8: of 9 codes 1 are the query's own"),
        (("0", "--metric", "manhattan"), 2, "--metric manhattan: expected euclidean or cosine"),
        (("0", "--codes", "binary", "--metric", "cosine"), 2, "compared by Hamming distance"),
        (("0", "--codes", "binary", "--index", "faiss"), 2, "one or the other"),
        (("nosuch.png",), 2, "QUERY nosuch.png: no such file; expected an index"),
        (("wide.png",), 2, "the model encodes 1x28x28 images, wide.png has 1x9x12"),
        (("text.png",), 3, "cannot be used"),
        (("0", "-o", "codes.npy"), 2, "-o codes.npy: pictures are written as .png"),
        (("wide.png", "-o", "wide.png"), 2, "the image to search by; it is not replaced"),
    ],
)
def test_odd_questions_are_answered_with_what_is_right(call, digits_run, more, code, words):
    np.save("codes.npy", np.random.default_rng(0).standard_normal((9, 2)).astype(np.float32))
    Image.fromarray(blobs(1, 9, 12)[0]).save("wide.png")
    Path("text.png").write_text("no image")
    done = call("search", digits_run, *more, "--in", "codes.npy")
    assert (done.code, done.stdout) == (code, ""), done.stderr
    assert words in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("mnist-5k", "-o", "codes.txt"), 2, "codes are written as .npy"),
        (("mnist-5k", "-o", "file/codes.npy"), 6, "cannot write file/codes.npy: "),
        (("mnist-5k", "-o", "c.npy", "--part", "tset"), 2, "--part tset: expected train, val"),
        (("mnist-5k", "-o", "c.npy", "--set", "seed=1"), 2, "only data.* settings"),
        (("mnist-5k", "-o", "c.npy", "--set", "data.val=9"), 2, "nothing is held out here"),
        (("nosuch", "-o", "c.npy"), 2, "nosuch"),
        (("./nosuch", "-o", "c.npy"), 3, "no such file or folder"),
        (("./wide.png", "-o", "c.npy"), 2, "the model encodes 1x28x28 images, wide has 1x9x12"),
    ],
)
def test_what_cannot_be_encoded_is_said_and_nothing_is_left(
    call, digits_run, arguments, code, words
):
    Image.fromarray(blobs(1, 9, 12)[0]).save("wide.png")
    Path("file").touch()
    done = call("encode", digits_run, *arguments)
    assert (done.code, done.stdout) == (code, ""), done.stderr
    assert words in done.stderr
    assert not list(Path().glob("c*.*"))


def test_pictures_are_kept_from_among_the_images(call, digits_run, encoded, tmp_path):
    put(tmp_path / "photos", blobs(3))
    about = json.loads(Path("codes.json").read_text())
    about["data"]["dataset"] = str(tmp_path / "photos")
    Path("codes.json").write_text(json.dumps(about))
    for arguments in (
        ("encode", digits_run, "./photos", "-o", "photos/codes.npy", "--scores"),
        ("search", digits_run, "0", "--in", "./photos", "-o", "photos/found.png"),
        ("search", digits_run, "0", "--in", "codes.npy", "-o", "photos/found.png"),
        ("decode", digits_run, "codes.npy", "-o", "photos/decoded"),
    ):
        done = call(*arguments)
        assert (done.code, done.stdout) == (2, ""), done.stderr
        assert "among the images" in done.stderr
    assert len(list((tmp_path / "photos").iterdir())) == 3


def test_a_run_without_a_model_is_refused(call, small_run, tmp_path):
    folder = tmp_path / "runs" / "20261101T000000Z-train-mlp2"
    folder.mkdir(parents=True)
    record = json.loads((small_run.run / "run.json").read_text()) | {"status": "interrupted"}
    (folder / "run.json").write_text(json.dumps(record))
    done = call("encode", folder.name, "mnist-5k", "-o", "c.npy")
    assert done.code == 3
    assert "a run folder without a model; it is interrupted: aecli resume" in done.stderr
    assert call("search", "nosuch", "0", "--in", "c.npy").code == 3


def test_one_process_writes_an_archive(call, digits_run, tmp_path):
    from aecli import locks

    part = tmp_path / "codes.npy.part"
    part.mkdir()
    with locks.hold(part / "lock"):
        done = call("encode", digits_run, "mnist-5k", "-o", "codes.npy")
    assert done.code == 2
    assert "codes.npy: another process is writing it" in done.stderr


def test_an_archive_says_when_it_has_changed(small_run, tmp_path):
    run = library.open(small_run.run)
    path = tmp_path / "codes.npy"
    codes = np.ones((5, 2), np.float32)
    np.save(path, codes)
    taken = Archive.opened(path, run).fingerprint
    np.save(path, codes)
    assert Archive.opened(path, run).is_same(taken)  # of the same content, at another time
    np.save(path, 2 * codes)
    assert not Archive.opened(path, run).is_same(taken)
    (tmp_path / "codes.binary.json").write_text(json.dumps({"codes": taken}))
    (tmp_path / "codes.binary.npy").touch()
    with pytest.raises(DataError, match="an index of other codes"):
        indexes.opened("binary", Archive.opened(path, run), None, 3, not_shown)
    with pytest.raises(UsageError, match="Hamming"):
        indexes.opened("binary", Archive.opened(path, run), "cosine", 3, not_shown)


def test_the_models_hash_is_of_both_of_its_files(small_run, tmp_path):
    run = library.open(small_run.run)
    codec = store.load(small_run.run / "model")
    description, weights = store.pack(codec, run.config.codec)
    assert description["weights_sha256"]
    assert len(run.model_sha256) == 64
    other = library.open(tmp_path)
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_bytes((small_run.run / "model/config.json").read_bytes())
    (tmp_path / "model/model.safetensors").write_bytes(weights + b" ")
    assert other.model_sha256 != run.model_sha256
