"""Tiles and the split: nothing of an image stands on both sides."""

import itertools
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aecli.config import DataConfig
from aecli.data import datasets
from aecli.data.own import opened as opening
from aecli.data.own.cutting import (
    Rectangle,
    around,
    blocks,
    choose_groups,
    count_tiles,
    inset,
    starts,
    tiles,
)
from aecli.data.sources import Places
from aecli.errors import DataError, UsageError
from tests.own import blobs, drawn, files_of, look, put, put_scene

SIDES = st.integers(1, 90)
PART = st.builds(
    lambda top, left, height, width: Rectangle(top, left, top + height, left + width),
    st.integers(0, 20),
    st.integers(0, 20),
    SIDES,
    SIDES,
)


def distance(one, other, tile):
    """Pixels between two tiles: those of the larger gap, along rows or columns; -1 if they
    overlap."""
    apart = [max(a - b, b - a) - tile for a, b in zip(one, other, strict=True)]
    return max(max(apart), -1)


def covered(parts, whole):
    """How often each pixel of a rectangle is in one of the parts."""
    count = np.zeros((whole.bottom, whole.right), int)
    for part in parts:
        count[part.top : part.bottom, part.left : part.right] += 1
    return count[whole.top :, whole.left :]


@given(SIDES, st.integers(1, 20), st.integers(1, 20), st.booleans())
def test_starts_of_tiles(length, tile, stride, pad):
    found = starts(length, tile, stride, pad)
    assert all(b - a == stride for a, b in itertools.pairwise(found))
    inside = [at for at in found if at + tile <= length]
    assert inside == list(range(0, max(length - tile + 1, 0), stride))
    over = len(found) - len(inside)
    assert over <= int(pad)
    assert all(at < length for at in found)  # a tile has a pixel of the side at least
    if pad and length and (not inside or inside[-1] + max(tile, stride) < length):
        assert over == 1
        assert found[0] == 0


@given(PART, st.integers(1, 20), st.integers(1, 20))
def test_tiles_lie_wholly_in_their_part(part, tile, stride):
    for y, x in tiles(part, tile, stride):
        assert part.top <= y
        assert part.left <= x
        assert y + tile <= part.bottom
        assert x + tile <= part.right
    assert count_tiles(part, tile, stride) == len(tiles(part, tile, stride))


@given(PART, st.integers(1, 20), st.integers(1, 30))
def test_blocks_cover_their_part_once_and_hold_tiles(part, tile, fewest):
    found = blocks(part, tile, fewest)
    assert (covered(found, part) == 1).all()
    if min(part.height, part.width) >= tile:
        assert all(min(each.height, each.width) >= tile for each in found)
    if (part.height // tile) * (part.width // tile) >= fewest:
        assert len(found) >= fewest


@given(PART, PART)
def test_what_is_around_a_hole_covers_all_but_the_hole_once(whole, hole):
    count = covered(around(whole, hole), whole)
    inside = np.zeros((whole.bottom, whole.right), bool)
    inside[hole.top : hole.bottom, hole.left : hole.right] = True
    np.testing.assert_array_equal(count, 1 - inside[whole.top :, whole.left :])


@given(st.integers(0, 9))
def test_an_inset_keeps_the_edges_of_the_whole(gap):
    whole = Rectangle(0, 0, 60, 60)
    corner, middle = Rectangle(0, 0, 30, 30), Rectangle(20, 20, 40, 40)
    half = (gap + 1) // 2
    assert inset(corner, whole, gap) == Rectangle(0, 0, 30 - half, 30 - half)
    assert inset(middle, whole, gap) == Rectangle(20 + half, 20 + half, 40 - half, 40 - half)


@given(st.lists(st.integers(1, 30), max_size=12), st.integers(0, 800), st.randoms())
def test_groups_come_near_what_is_asked_for(sizes, target, random):
    target /= 8
    order = list(range(len(sizes)))
    random.shuffle(order)
    chosen = choose_groups(sizes, target, order)
    assert len(set(chosen)) == len(chosen)
    if len(sizes) < 2 or target == 0:
        assert chosen == []
        return
    assert 1 <= len(chosen) < len(sizes)
    if sum(sizes) > target + max(sizes):
        assert abs(sum(sizes[group] for group in chosen) - target) <= max(sizes)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A scene of 60x80 pixels, no two alike, and the cache of its look."""
    folder = tmp_path_factory.mktemp("scene")
    pixels = np.arange(60 * 80, dtype=np.uint16).reshape(1, 60, 80)
    return put_scene(folder / "scene.tif", pixels), folder


@settings(max_examples=20, deadline=None)
@given(
    tile=st.integers(2, 14),
    stride=st.integers(1, 16),
    gap=st.integers(0, 6),
    val=st.sampled_from([None, 0, 0.2]),
    window=st.none() | st.tuples(*[st.integers(0, 40)] * 2, *[st.integers(20, 60)] * 2),
)
def test_no_two_tiles_of_a_scene_on_two_sides_are_near(scene, tile, stride, gap, val, window):
    path, folder = scene
    keys = {"tile": tile, "stride": stride, "gap": gap, "val": val, "test": window}
    try:
        opened = look(path, folder, **keys)
    except (UsageError, DataError):  # no tile is left on one side
        return
    at = {split: windows[:, 1:].tolist() for split, windows in opened.windows.items()}
    every = [tuple(each) for some in at.values() for each in some]
    assert len(set(every)) == len(every)
    assert all(0 <= y <= 60 - tile and 0 <= x <= 80 - tile for y, x in every)
    for one, other in itertools.combinations(at, 2):
        a, b = (np.array(at[side]).reshape(-1, 2) for side in (one, other))
        apart = np.abs(a[:, None] - b[None]).max(axis=2) - tile
        assert not apart.size or apart.min() >= gap
    if window is None:
        return
    x, y, width, height = window
    for top, left in at["test"]:
        assert y <= top
        assert x <= left
        assert top + tile <= y + height
        assert left + tile <= x + width
    for top, left in at["train"] + at["val"]:  # wholly outside
        assert top + tile <= y or left + tile <= x or top >= y + height or left >= x + width


@pytest.mark.parametrize("gap", range(7))
def test_a_gap_leaves_every_block_a_tile(tmp_path, gap):
    side = 5 * (8 + 2 * ((gap + 1) // 2))
    put_scene(tmp_path / "scene.tif", drawn(1, side, side))
    opened = look(tmp_path / "scene.tif", tmp_path, tile=8, gap=gap)
    assert sum(map(len, opened.windows.values())) == 25


def test_a_window_that_holds_no_tile_is_refused(scene):
    path, folder = scene
    with pytest.raises(UsageError, match=r"data.test=\[70, 0, 20, 20\].*no tile of 16.*60x80"):
        look(path, folder, tile=16, test=[70, 0, 20, 20])
    with pytest.raises(UsageError, match="is left to train on"):
        look(path, folder, tile=16, test=[0, 0, 80, 60])


def test_a_window_of_what_is_no_scene_is_refused(tmp_path):
    put(tmp_path / "photos", drawn(6, 16, 16))
    with pytest.raises(UsageError, match=r"data.test=\[0, 0, 8, 8\].*a window.*a scene"):
        look(tmp_path / "photos", tmp_path, tile=8, test=[0, 0, 8, 8])


def test_shares_of_a_scene_that_cannot_be_had_are_told(scene):
    path, folder = scene
    opened = look(path, folder, tile=25)  # 2 x 3 tiles, each a block
    sizes = {split: len(windows) for split, windows in opened.windows.items()}
    assert sizes == {"train": 4, "val": 1, "test": 1}
    assert any("split: 4 train (66.7%), 1 val (16.7%), 1 test" in note for note in opened.notes)
    opened = look(path, folder, tile=10, test=0.4, val=0.3)
    got = len(opened.windows["test"])
    total = sum(map(len, opened.windows.values()))
    assert abs(got - 0.4 * total) <= 3


def test_a_share_of_few_groups_is_told(tmp_path):
    photos = np.concatenate([drawn(1, 32, 32, seed=i) for i in range(3)])
    put(tmp_path / "photos", photos)
    opened = look(tmp_path / "photos", tmp_path, tile=8, val=0)
    assert [len(opened.windows[split]) for split in ("train", "val", "test")] == [32, 0, 16]
    assert any("test: 16 instead of 7" in note and "3 groups" in note for note in opened.notes)


def test_all_tiles_of_a_photograph_stand_on_one_side(tmp_path):
    put(tmp_path / "photos", drawn(10, 24, 24))
    opened = look(tmp_path / "photos", tmp_path, tile=8, stride=4, val=0.2)
    of = {split: files_of(opened, split) for split in opened.windows}
    assert sum(map(len, of.values())) == 10
    assert all(len(windows) == 25 * len(of[split]) for split, windows in opened.windows.items())


def test_files_of_equal_content_stand_on_one_side(tmp_path):
    images = drawn(12, 8, 8)
    put(tmp_path / "photos", np.concatenate([images, images, images]))
    opened = look(tmp_path / "photos", tmp_path, val=0.3, test=0.3)
    number = {split: {int(n[:3]) % 12 for n in files_of(opened, split)} for split in opened.windows}
    assert sum(map(len, number.values())) == 12
    assert all(len(opened.windows[split]) == 3 * len(of) for split, of in number.items())


def test_equal_scenes_stand_on_one_side_tile_by_tile(tmp_path):
    path = put_scene(tmp_path / "scenes/a.tif", drawn(1, 40, 40, top=4000))
    shutil.copy(path, path.with_name("b.tif"))
    opened = look(path.parent, tmp_path, tile=8, val=0.2)
    at = {split: set(map(tuple, w[:, 1:].tolist())) for split, w in opened.windows.items()}
    for one, other in itertools.combinations(at, 2):
        assert not at[one] & at[other]


def test_equal_images_of_an_array_stand_on_one_side(tmp_path):
    images = drawn(10, 8, 8)
    np.save(tmp_path / "x.npy", np.concatenate([images, images]))
    opened = look(tmp_path / "x.npy", tmp_path, val=0.3, test=0.3)
    of = {split: set((w[:, 0] % 10).tolist()) for split, w in opened.windows.items()}
    assert sum(map(len, of.values())) == 10


def test_a_copy_of_a_test_file_follows_it(tmp_path):
    images = drawn(8, 8, 8)
    put(tmp_path / "photos", np.concatenate([images, images[:1]]))
    opened = look(tmp_path / "photos", tmp_path, test="000.png", val=0)
    assert files_of(opened, "test") == {"000.png", "008.png"}
    assert not opened.warnings


def test_equal_files_in_two_folders_of_the_split_are_warned_of(tmp_path):
    images = drawn(8, 8, 8)
    put(tmp_path / "photos/train", images)
    put(tmp_path / "photos/test", images[:2])
    opened = look(tmp_path / "photos", tmp_path)
    assert any("2 images with equal content in two parts" in each for each in opened.warnings)


def test_folders_of_the_split(tmp_path):
    images = drawn(20, 8, 8)
    for name, some in (("Train", images[:10]), ("VAL", images[10:14]), ("test", images[14:])):
        put(tmp_path / "photos" / name, some, ("cat", "dog"))
    opened = look(tmp_path / "photos", tmp_path)
    assert {split: len(w) for split, w in opened.windows.items()} == {
        "train": 10,
        "val": 4,
        "test": 6,
    }
    assert opened.classes == ("cat", "dog")
    with pytest.raises(UsageError, match=r"data.test=0.2.*the folder .*for the test"):
        look(tmp_path / "photos", tmp_path, test=0.2)
    with pytest.raises(UsageError, match=r"data.val=3: the folder .*for validation"):
        look(tmp_path / "photos", tmp_path, val=3)
    assert look(tmp_path / "photos", tmp_path, val=0).sha256 == opened.sha256


@pytest.mark.parametrize("test", ["held", "held/", ["held/000.png", "held/001.png"], None])
def test_files_of_the_test_in_the_dataset_or_elsewhere(tmp_path, monkeypatch, test):
    monkeypatch.chdir(tmp_path)
    inside = test is not None
    put(tmp_path / "photos", drawn(8, 8, 8))
    put(tmp_path / ("photos/held" if inside else "elsewhere"), drawn(2, 8, 8, seed=1))
    opened = look("photos/", tmp_path, test=test or "elsewhere", val=0)
    assert len(opened.windows["train"]) == 8
    assert {name.rpartition("/")[2] for name in files_of(opened, "test")} == {"000.png", "001.png"}
    with pytest.raises(UsageError, match=r"data.test=.*nosuch: neither in .*photos nor a file"):
        look("photos/", tmp_path, test="nosuch")


def test_one_image_alone_cannot_be_split_but_its_tiles_can(tmp_path):
    put(tmp_path / "photos", drawn(1, 40, 40))
    with pytest.raises(UsageError, match=r"one image alone cannot be split .*; data\.tile"):
        look(tmp_path / "photos", tmp_path)
    opened = look(tmp_path / "photos", tmp_path, tile=8)
    assert sum(map(len, opened.windows.values())) == 25
    assert any("by blocks" in note for note in opened.notes)


def test_images_that_are_all_equal_cannot_be_split(tmp_path):
    np.save(tmp_path / "x.npy", np.full((9, 8, 8), 7, np.uint8))
    with pytest.raises(UsageError, match="no image is left for the test: all belong together"):
        look(tmp_path / "x.npy", tmp_path)


def test_the_split_is_the_same_every_time_and_limits_are_nested(tmp_path):
    put(tmp_path / "photos", blobs(30))
    first, second = (look(tmp_path / "photos", tmp_path / name) for name in "ab")
    assert first.sha256 == second.sha256
    for split in first.windows:
        np.testing.assert_array_equal(first.windows[split], second.windows[split])
    places = Places(None, tmp_path / "cache")
    some = []
    for limit in (5, 9, None):
        config = DataConfig(dataset=str(tmp_path / "photos"), limit_train=limit)
        some.append(datasets.load(config, places, lambda _: None).train.all().images)
    assert some[0].equal(some[1][:5])
    assert some[1].equal(some[2][:9])
    config = DataConfig(dataset=str(tmp_path / "photos"), limit_train=99)
    with pytest.raises(UsageError, match=r"data.limit_train=99 must be at most"):
        datasets.load(config, places, lambda _: None)


def test_more_tiles_than_can_be_are_refused(tmp_path, monkeypatch):
    put(tmp_path / "photos", drawn(3, 16, 16))
    monkeypatch.setattr("aecli.data.own.splitting.MOST_WINDOWS", 50)
    monkeypatch.setattr("aecli.data.own.splitting.tiles", None)  # none of them is made
    with pytest.raises(UsageError, match=r"more than 50 tiles; data\.stride"):
        look(tmp_path / "photos", tmp_path, tile=8, stride=1)


def test_classes_have_the_order_of_their_numbers_whatever_order_they_come_in():
    names = ["10", "2", "02", "a1", "a01", "b", "a10"]
    every = [sorted(some, key=opening._natural) for some in (names, names[::-1])]
    assert every[0] == every[1]
    assert every[0] == ["02", "2", "10", "a01", "a1", "a10", "b"]


def _split_of(opened):
    [note] = (note for note in opened.notes if note.startswith("split: "))
    return note


def test_the_split_says_what_it_went_by(tmp_path):
    images = drawn(40, 8, 8)
    np.save(tmp_path / "x.npy", images)
    assert _split_of(look(tmp_path / "x.npy", tmp_path)).endswith(
        ", by image; equal images stay together"
    )
    np.savez(tmp_path / "x.npz", x_train=images[:30], x_test=images[30:])
    said = _split_of(look(tmp_path / "x.npz", tmp_path))
    assert said.endswith(", by x_train and x_test; val out of train, by image")
    put(tmp_path / "photos" / "train", images[:30])
    put(tmp_path / "photos" / "test", images[30:36])
    said = _split_of(look(tmp_path / "photos", tmp_path))
    assert said.endswith(", by the folders; val out of train, by file")
    put(tmp_path / "photos" / "val", images[36:])
    assert _split_of(look(tmp_path / "photos", tmp_path)).endswith("), by the folders")


def test_a_share_that_leaves_none_to_train_on_says_how_many_there_are(tmp_path):
    np.save(tmp_path / "x.npy", drawn(120, 8, 8))
    message = r"data\.val=0\.5 of 120 images is 60, and data\.test=0\.9 leaves 12: none to train on"
    with pytest.raises(UsageError, match=message):
        look(tmp_path / "x.npy", tmp_path, val=0.5, test=0.9)


def test_a_tile_too_large_for_a_split_is_named(tmp_path):
    scene = put_scene(tmp_path / "scene.tif", drawn(1, 40, 40))
    with pytest.raises(UsageError, match=r"data\.tile=40 finds room for 1 tile, a smaller one"):
        look(scene, tmp_path, tile=40)


def test_one_channel_is_one(tmp_path):
    scene = put_scene(tmp_path / "scene.tif", drawn(1, 40, 40))
    assert "40x40, 1 band of uint8" in look(scene, tmp_path, tile=8).notes[0]
    np.save(tmp_path / "x.npy", drawn(20, 8, 8))
    assert "8x8, 1 channel of uint8" in look(tmp_path / "x.npy", tmp_path).notes[0]
