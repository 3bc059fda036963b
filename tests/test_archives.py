"""Archives of codes, their indexes and mosaics, by calls of the functions: what they hold at once,
what they find, and what is damaged."""

import errno
import json
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from aecli.cli import encode as encoding_command
from aecli.cli import search as search_command
from aecli.cli.pictures import require_apart, require_picture
from aecli.codecs.pca import Pca
from aecli.codecs.pooling import Pooling
from aecli.codespace import indexes, mosaic, oddness
from aecli.codespace.archive import Archive, begin, is_archive, mapped
from aecli.codespace.encoding import Unfinished
from aecli.codespace.oddness import Oddness
from aecli.config import DataConfig, PcaConfig
from aecli.data import whole as wholes
from aecli.data.images import Images
from aecli.data.own.tiff import Georeference
from aecli.data.sources import Places
from aecli.data.whole import Scene
from aecli.errors import DataError, UsageError
from aecli.runs import storage
from aecli.runs.subject import places_of_own
from aecli.terminal import Terminal, not_shown
from tests.conftest import source

NOWHERE = Georeference("", (1.0, 0.0, 0.0, 0.0, -1.0, 0.0))


def archive(folder, codes, about=None, rows=None):
    """An archive in a folder. rows: the lines of codes.csv."""
    path = folder / "codes.npy"
    np.save(path, codes)
    if rows is not None:
        (folder / "codes.csv").write_text("\n".join(rows) + "\n")
    return Archive(path, np.load(path, mmap_mode="c"), about or {}, Pooling(codes.shape[1:]))


def noise(n, dim=8, seed=0):
    return np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)


# Pictures.


def test_a_picture_is_written_over_no_other_file_and_not_among_the_images(tmp_path):
    require_picture(tmp_path / "a.PNG")
    for name in ("codes.npy", "left", "a.jpg"):
        with pytest.raises(UsageError, match=r"pictures are written as \.png"):
            require_picture(tmp_path / name)
    (tmp_path / "b.png").mkdir()
    with pytest.raises(UsageError, match="a folder"):
        require_picture(tmp_path / "b.png")
    photos = tmp_path / "photos"
    require_apart(tmp_path / "search.png", photos)
    for target in (photos / "search.png", photos / "cat/search.png", photos):
        with pytest.raises(UsageError, match="among the images"):
            require_apart(target, photos)


# Rows.

HEAD = "index,file,part,label,column,row,width,height,x,y,crs"
ROW = "{0},a.png,train,cat,8,16,8,8,1.5,2.5,EPSG:32601"


def test_rows_are_those_of_their_codes(tmp_path):
    found = archive(tmp_path, noise(3), rows=[HEAD, *map(ROW.format, range(3))])
    assert [row["index"] for row in found.rows()] == ["0", "1", "2"]
    assert found.rows_at([2])[2]["column"] == "8"
    (tmp_path / "codes.csv").unlink()
    assert found.rows_at([2]) == {}


@pytest.mark.parametrize(
    "bad",
    [
        "1,a.png,train,cat",  # cut
        ROW.format(1) + ",more",
        ROW.format(1).replace(",8,16,", ",x,16,"),
        ROW.format(1).replace(",8,16,", ",8,,"),
        ROW.format(1).replace("1.5", "east"),
        ROW.format(1).replace("2.5", ""),
        ROW.format(2),  # another code's
    ],
)
def test_a_damaged_row_is_said(tmp_path, bad):
    found = archive(tmp_path, noise(3), rows=[HEAD, ROW.format(0), bad, ROW.format(2)])
    for read in (lambda: list(found.rows()), lambda: found.rows_at([1])):
        with pytest.raises(DataError, match="the row of code 1"):
            read()
    assert found.rows_at([0])[0]["x"] == "1.5"


@pytest.mark.parametrize("rows", [[], [HEAD], [HEAD, ROW.format(0)], [HEAD] + 4 * [ROW.format(0)]])
def test_another_number_of_rows_is_another_archives(tmp_path, rows):
    found = archive(tmp_path, noise(3), rows=rows)
    with pytest.raises(DataError, match="rows for 3 codes"):
        found.rows_at([0])


# Descriptions.


def scene(**other):
    return {"height": 9, "width": 9, "crs": "", "transform": [1, 0, 0, 0, -1, 0], **other}


@pytest.mark.parametrize(
    "other",
    [
        {"height": float("inf")},
        {"height": 0},
        {"width": 10**9},
        {"width": "9"},
        {"width": 9.5},
        {"height": 2**21, "width": 2**21},
        {"transform": [1, 0, 0]},
        {"transform": [1, 0, 0, 0, -1, float("nan")]},
        {"transform": [10**400, 0, 0, 0, -1, 0]},
    ],
)
def test_a_scene_that_is_none(tmp_path, other):
    assert Scene.of_description(scene()).described() == scene()
    found = archive(tmp_path, noise(3), {"scenes": {"a.tif": scene(**other)}})
    with pytest.raises(DataError, match=r"codes\.json: damaged"):
        len(found.scenes)


def test_a_reference_system_that_is_none(tmp_path):
    pytest.importorskip("rasterio")
    where = Scene(9, 9, Georeference("EPSG:nonsense", NOWHERE.transform))
    with pytest.raises(DataError, match="no reference system: 'EPSG:nonsense'"):
        mosaic.write_mosaic(tmp_path / "a.tif", where, np.zeros((1, 3), int), None, 1, "uint8")


def run_of(code_shape=(2,), image_shape=(1, 4, 4)):
    """As much of a run as an archive asks for."""
    dim = int(np.prod(code_shape))
    codec = SimpleNamespace(code_shape=code_shape, code_dim=dim, image_shape=image_shape)
    return SimpleNamespace(codec=codec, model_sha256="m", path=Path("runs/a"))


def test_codes_are_told_from_images_by_their_shape(tmp_path):
    path, run = tmp_path / "x.npy", run_of((4, 6, 6), (3, 48, 48))
    for shape, expected in (
        ((5, 4, 6, 6), True),  # as numpy.save leaves them
        ((5, 144), True),
        ((5, 3, 48, 48), False),
        ((5, 48, 48), False),
    ):
        np.save(path, np.zeros(shape, np.float32))
        assert is_archive(path, run) == expected
    np.save(path, np.zeros((5, 1, 48, 48), np.float32))
    assert is_archive(path, run_of((1, 48, 48), (3, 96, 96)))
    assert not is_archive(path, run_of((1, 48, 48), (1, 48, 48)))
    path.with_suffix(".json").write_text('{"made": "by another program"}')
    assert not is_archive(path, run)
    path.with_suffix(".json").write_text('{"format": 1, "model_sha256": "m"}')
    assert is_archive(path, run)


@pytest.mark.parametrize("other", [{"data": "x"}, {"scenes": [1]}, {"data": {"dataset": 5}}])
def test_a_description_of_other_types(tmp_path, other):
    archive(tmp_path, noise(3, 2))
    about = {"format": 1, "model_sha256": "m", "images": 3}
    (tmp_path / "codes.json").write_text(json.dumps(about))
    assert Archive.opened(tmp_path / "codes.npy", run_of()).about == about
    (tmp_path / "codes.json").write_text(json.dumps(about | other))
    with pytest.raises(DataError, match="not a description of codes"):
        Archive.opened(tmp_path / "codes.npy", run_of())


# Binary codes and FAISS.


@pytest.mark.parametrize(
    "other",
    [
        {"medians": None},
        {"medians": [0.0]},
        {"medians": [float("nan")] * 8},
        {"recall": None},
        {"recall": 2},
        {"k": "many"},
        {"codes": "x"},
    ],
)
def test_a_damaged_description_of_an_index(tmp_path, other):
    found = archive(tmp_path, noise(20))
    indexes.opened("binary", found, None, 3, not_shown)
    path = tmp_path / "codes.binary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | other))
    with pytest.raises(DataError, match=r"codes\.binary\.json: (damaged|cannot be read)"):
        indexes.opened("binary", found, None, 3, not_shown)


def test_recall_is_kept_for_the_k_it_was_measured_at(tmp_path):
    found = archive(tmp_path, noise(200))
    first = indexes.opened("binary", found, None, 3, not_shown)
    indexes.opened("binary", found, None, 5, not_shown)
    about = json.loads((tmp_path / "codes.binary.json").read_text())
    assert about["k"] == 5
    assert indexes.opened("binary", found, None, 3, not_shown).measured == first.measured


def test_binary_codes_are_the_same_in_any_blocks(tmp_path, monkeypatch):
    codes = noise(100, 70)
    codes[50] = codes[3]
    whole = indexes.Binary(archive(tmp_path, codes))
    whole.build(5)
    bits, answer = mapped(tmp_path / "codes.binary.npy").copy(), whole.search(codes[:9], 5)
    monkeypatch.setattr(indexes, "_BLOCK_BYTES", 4 * 70 * 7)
    again = indexes.Binary(archive(tmp_path, codes))
    again.build(5)
    assert np.array_equal(mapped(tmp_path / "codes.binary.npy"), bits)
    found = again.search(codes[:9], 5)
    assert [each.tolist() for each in found.indices] == [each.tolist() for each in answer.indices]
    assert found.copies[3].tolist() == [3, 50]


def test_a_copy_that_rounding_puts_a_bit_away_is_a_copy(tmp_path):
    codes = noise(40)
    codes[:, 7] = 0.5  # a unit that never varies: its median is its value
    codes[5:12] = codes[3]
    index = indexes.Binary(archive(tmp_path, codes))
    index.build(5)
    query = codes[3:4].copy()
    query[0, 7] = np.nextafter(np.float32(0.5), np.float32(1))
    found = index.search(query, 5)
    assert found.copies[0].tolist() == [3, *range(5, 12)]
    assert len(found.indices[0]) == 5
    assert not set(found.indices[0].tolist()) & set(found.copies[0].tolist())
    assert index.search(query, 40).indices[0].size == 32  # there are no more
    assert index.search(query, 5, with_copies=True).indices[0].tolist() == [3, 5, 6, 7, 8]


def test_samples_are_bounded_in_bytes_and_name_the_code_that_is_not_finite(tmp_path, monkeypatch):
    codes = noise(100)
    codes[99, 1] = np.nan
    found = archive(tmp_path, codes)
    with pytest.raises(DataError, match="code 99 has numbers that are not finite"):
        indexes._spaced(found, 3)
    codes[99] = 0
    monkeypatch.setattr(indexes, "_SAMPLE_BYTES", 4 * 8 * 20)
    assert indexes._spaced(archive(tmp_path, codes), 50).shape == (20, 8)


def test_faiss_finds_as_many_as_are_asked_for_whatever_it_was_built_for(tmp_path):
    pytest.importorskip("faiss")
    codes = noise(1500)
    found = archive(tmp_path, codes)
    narrow = indexes.opened("faiss", found, None, 1, not_shown)
    assert len(narrow.search(codes[7:8], 1000).indices[0]) == 1000
    wide = indexes.opened("faiss", found, None, 50, not_shown)
    assert wide.measured[0] >= indexes.RECALL
    kept = indexes.opened("faiss", found, None, 50, not_shown)
    assert (kept.measured, kept.about["probes"]) == (wide.measured, wide.about["probes"])
    assert kept.about["probes"] >= narrow.about["probes"]


def test_a_query_of_faiss_takes_nothing_from_the_one_before(tmp_path):
    pytest.importorskip("faiss")
    codes = noise(250)
    codes[:200] = codes[0]
    index = indexes.Inverted(archive(tmp_path, codes), "euclidean")
    index.build(10)
    found = index.search(codes[[0, 220, 0, 230, 1]], 10)
    assert [len(each) for each in found.indices] == [10] * 5
    assert [len(each) for each in found.copies] == [200, 1, 200, 1, 200]


# What is held, written and left.


def test_an_empty_part_of_a_scene_is_made_in_strips(monkeypatch):
    monkeypatch.setattr(mosaic, "_STRIP_BYTES", 4 * 2 * 100 * 10)
    places = np.array([[0, 40, 300]])
    where = Scene(1000, 100, NOWHERE)
    strips = list(mosaic._strips(places, where, lambda _: np.ones((1, 2, 8, 8), np.float32), 2))
    heights = [len(weights) for _, _, weights in strips]
    assert max(heights) <= 10
    assert [top for top, *_ in strips] == np.cumsum([0, *heights[:-1]]).tolist()
    assert sum(heights) == 1000
    assert sum(weights.sum() for *_, weights in strips) == 64


def test_an_array_that_is_begun_is_as_numpy_has_it(tmp_path):
    array = noise(3).reshape(3, 2, 4)
    with (tmp_path / "a.npy").open("wb") as file:
        begin(file, "f4", array.shape)
        file.write(array.data)
    assert np.array_equal(np.load(tmp_path / "a.npy"), array)


def test_the_region_of_scores_is_bounded(monkeypatch):
    images = Images("a", "drawn", "0", *(source(60, seed, (1, 6, 6)) for seed in range(3)))
    pca = Pca(images.shape, PcaConfig(code_dim=4))
    pca.solve(images.train)
    monkeypatch.setattr(oddness, "_REFERENCE_BYTES", 4 * 4 * 50)
    assert len(Oddness.of(pca, images).region.references) == 50


def job(n=5):
    """As much of a job as its folder asks for."""
    codec = SimpleNamespace(code_shape=(2,), code_dim=2)
    files = {"codes.npy": ("f4", (2,))}
    asked = {"with_scores": False, "bits": None, "files": files, "about": {}}
    return SimpleNamespace(whole=range(n), codec=codec, identity={"images": n}, **asked)


def test_nothing_is_left_of_a_job_that_fails_before_its_first_image(tmp_path):
    unfinished = Unfinished(tmp_path / "codes.npy", job())

    def fail_after(*rows):
        with unfinished.alone(), unfinished.writing() as append:
            for some in rows:
                append([some])
            assert unfinished.folder.is_dir()
            raise DataError("the next one")

    with pytest.raises(DataError, match="the next one"):
        fail_after()
    assert not list(tmp_path.iterdir())
    with pytest.raises(DataError, match="the next one"):
        fail_after(noise(2, 2))
    assert unfinished.noted() == 2


def test_files_of_others_are_kept_also_beside_a_begun_archive(tmp_path, monkeypatch):
    monkeypatch.setattr(encoding_command, "_calibrated", lambda *_: pytest.fail("too early"))
    begun, target = job(), tmp_path / "codes.npy"
    begun.with_scores = True
    (tmp_path / "codes.npy.part").mkdir()
    (tmp_path / "codes.csv").write_text("mine")
    with pytest.raises(UsageError, match=r"codes\.csv exists; it is not replaced"):
        encoding_command.make_archive(None, begun, target, None, Terminal(quiet=True))
    assert (tmp_path / "codes.csv").read_text() == "mine"


def test_scores_that_cannot_be_calibrated_leave_nothing(tmp_path, monkeypatch):
    def gone(*_):
        raise DataError("the training images are gone")

    monkeypatch.setattr(encoding_command, "_calibrated", gone)
    asked = job()
    asked.with_scores = True
    with pytest.raises(DataError, match="gone"):
        encoding_command.make_archive(
            None, asked, tmp_path / "codes.npy", None, Terminal(quiet=True)
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("call", ["fsync", "posix_fallocate"])
def test_a_file_system_may_lack_what_only_makes_sure(tmp_path, monkeypatch, call):
    if not hasattr(os, call):
        pytest.skip(f"no {call} here")

    def fail(number):
        def refuse(*_):
            raise OSError(number, "refused")

        monkeypatch.setattr(os, call, refuse)

    def write(file):
        storage.reserve(file.fileno(), 0, 10)
        storage.sync(file.fileno())

    with (tmp_path / "a").open("wb") as file:
        for number in (errno.EINVAL, errno.EOPNOTSUPP):
            fail(number)
            write(file)
        fail(errno.ENOSPC)
        with pytest.raises(OSError, match="refused"):
            write(file)


# Where images come from.


def test_data_of_a_run_are_looked_for_where_it_had_them(tmp_path, monkeypatch):
    monkeypatch.delenv("AECLI_DATA_DIR", raising=False)
    other = Places(tmp_path / "others", tmp_path, offline=True, named=True)
    own = tmp_path / "own"
    own.mkdir()

    def run(**data):
        return SimpleNamespace(config=SimpleNamespace(data=DataConfig(**data)))

    found = places_of_own(run(dataset="mnist", dir=str(own)), other)
    assert (found.data_dir, found.named, found.offline) == (own, False, True)
    gone = places_of_own(run(dataset="mnist", dir=str(tmp_path / "gone")), other)
    path = places_of_own(run(dataset=str(own)), other)
    assert gone.data_dir is path.data_dir is None
    quiet = Terminal(quiet=True)
    there = encoding_command.places_of(run(dataset="mnist", dir=str(own)), None, True, quiet)
    assert (there.data_dir, there.named) == (own, False)
    named = encoding_command.places_of(run(dataset="mnist"), str(own), True, quiet)
    assert (named.data_dir, named.named) == (own, True)
    config = DataConfig(dataset="mnist-5k")  # which is read from no folder, and nobody named one
    assert len(wholes.load_whole(config, there, print, None)) == 5000


def test_a_split_that_cannot_be_made_again_is_told_and_left_empty(monkeypatch):
    def gone(_):
        raise DataError("a folder is gone\nand more")

    monkeypatch.setattr(wholes.facts, "look", gone)
    opened = SimpleNamespace(items=SimpleNamespace(splits=["test", "train"]))
    config, said = DataConfig(dataset="./photos"), []
    assert wholes._parts_of_own(opened, config, config, said.append).tolist() == ["", ""]
    assert said == [
        "WARNING: which part of the run's split an image was in is not told: a folder is gone"
    ]
    assert wholes._parts_of_own(opened, config, None, said.append).tolist() == ["test", "train"]


@pytest.mark.parametrize(
    ("about", "expected"),
    [
        ({"data": {"dataset": "./photos"}}, {}),  # all of them the defaults
        ({"data": {"dataset": "./photos", "size": 9}}, {"size": 9}),
        ({"data": {"dataset": "mnist"}}, None),
        ({}, None),
    ],
)
def test_a_query_is_read_as_the_archive_was(tmp_path, monkeypatch, about, expected):
    read = []
    monkeypatch.setattr(
        search_command,
        "_image",
        lambda run, text, given, recorded, _: read.append(recorded) or 1 / 0,
    )
    asked = SimpleNamespace(query="a.png", assignments=())
    with pytest.raises(ZeroDivisionError):
        search_command._query(None, asked, archive(tmp_path, noise(3), about), None, None)
    assert read == [expected]


def test_the_picture_shows_the_first_of_many(tmp_path, monkeypatch):
    drawn = {}

    def sheet(images, captions, title, note, *_):
        drawn.update(images=images, captions=captions, title=title, note=note)
        return "a figure"

    monkeypatch.setattr(search_command.figures, "sheet", sheet)
    monkeypatch.setattr(search_command, "png", str.encode)
    rows = [HEAD, *map(ROW.format, range(90))]
    found = archive(tmp_path, noise(90), rows=rows)
    run = SimpleNamespace(decode=lambda codes: np.zeros((len(codes), 1, 4, 4), np.float32))
    answer = search_command.Answer(list(range(1, 61)), [0.5] * 60, [], "euclidean", "exact search")
    query = search_command.Query("code 0", found.codes[0], index=0)
    target = tmp_path / "search.png"
    args = (query, answer, found.rows_at(range(61)), target)
    search_command._draw(run, found, None, *args)
    assert len(drawn["images"]) == len(drawn["captions"]) == 21
    assert drawn["title"] == "The 20 nearest of 90 in codes.npy"
    assert "the first 20 of the 60 that were found" in drawn["note"]
    assert drawn["captions"][:2] == ["query\na.png\n8, 16", "a.png\n8, 16\ncat\n0.5"]
    assert target.read_bytes() == b"a figure"
