"""The same pixels from wherever they lie: the cache, an array, the files themselves, memory."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from aecli.data.images import InMemory
from aecli.data.own.pools import Array, Files, Kept
from aecli.data.own.source import Read, source_of
from aecli.errors import DataError
from tests.own import drawn, look, put, put_scene

CHANNELS = {"grey": (20, 18), "colour": (20, 18, 3)}


@pytest.fixture(scope="module", params=["grey", "colour", "masked", "scene", "mixed", "sizes"])
def pools(request, tmp_path_factory):
    """The same images as pools of each kind, and as numpy has them: pixels and masks of each."""
    folder = tmp_path_factory.mktemp(request.param)
    kind = request.param
    keys, made = {"tile": 8, "val": 0.2}, []
    if kind == "scene":
        for i in range(2):
            image = drawn(3, 40, 36, seed=i, top=4000)
            image[:, 5:9, 3:20] = 0
            put_scene(folder / f"photos/{i}.tif", image, nodata=0)
            made.append(image)
        keys["min_valid"] = 0.2
    else:
        for i in range(9):
            shape = CHANNELS[
                "colour" if kind == "colour" or (kind == "mixed" and i % 3) else "grey"
            ]
            shape = (shape[0] + i, *shape[1:]) if kind == "sizes" else shape
            image = drawn(1, *shape, seed=i)[0]
            put(folder / f"photos/{i}", [image])
            made.append(image[None] if image.ndim == 2 else image.transpose(2, 0, 1))
        if kind == "masked":
            keys |= {"nodata": 7.0, "min_valid": 0.2}
    opened = {}
    with pytest.MonkeyPatch.context() as patched:
        opened["kept"] = look(folder / "photos", folder, **keys)
        patched.setattr("aecli.data.own.store.STORE_LIMIT", 10)
        opened["files"] = look(folder / "photos", folder / "none", **keys)
    if kind in ("grey", "colour", "masked"):
        for name, axes in (("first", (0, 1, 2, 3)), ("last", (0, 2, 3, 1))):
            np.save(folder / f"{name}.npy", np.stack(made).transpose(axes))
            opened[name] = look(folder / f"{name}.npy", folder, **keys)
    return opened, made


def test_they_are_of_the_kinds_that_are_meant(pools):
    kinds = {"kept": Kept, "files": Files, "first": Array, "last": Array}
    for name, opened in pools[0].items():
        assert isinstance(opened.pool, kinds[name])


def test_all_give_the_pixels_that_were_written(pools):
    opened, made = pools
    first = opened["kept"]
    for each in opened.values():
        assert (each.shape, each.scale, each.masked) == (first.shape, first.scale, first.masked)
        for split, windows in each.windows.items():
            np.testing.assert_array_equal(windows, first.windows[split])
            picture = each.pool.read(windows, *each.shape[1:])
            for i, (item, y, x) in enumerate(windows.tolist()):
                part = made[item][:, y : y + 8, x : x + 8]
                invalid = (part == 7).any(0) if part.dtype == np.uint8 else (part == 0).any(0)
                if first.masked:
                    valid = np.ones((8, 8), bool) if picture.valid is None else picture.valid[i]
                    np.testing.assert_array_equal(valid, ~invalid)
                    part = np.where(invalid, 0, part)
                part = np.repeat(part, 3, 0) if len(part) < each.shape[0] else part
                np.testing.assert_array_equal(picture.pixels[i], part)


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_any_window_is_the_same_everywhere(pools, data):
    opened, made = pools
    item = data.draw(st.integers(0, len(made) - 1))
    _, rows, columns = made[item].shape
    y, x = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, columns - 1))
    height, width = data.draw(st.integers(1, 30)), data.draw(st.integers(1, 30))
    pictures = [each.pool.window(item, y, x, height, width) for each in opened.values()]
    beyond = y + height > rows or x + width > columns
    for picture in pictures:
        np.testing.assert_array_equal(picture.pixels, pictures[0].pixels)
        assert picture.pixels.shape[1:] == (height, width)
        full = np.ones((height, width), bool)
        masks = [full if each.valid is None else each.valid for each in (picture, pictures[0])]
        np.testing.assert_array_equal(*masks)
        assert not beyond or not masks[0][rows - y :].any()


def test_a_pickled_pool_gives_the_same(pools):
    for opened in pools[0].values():
        again = pickle.loads(pickle.dumps(opened.pool))
        windows = opened.windows["train"]
        for pixels in ("pixels", "valid"):
            one, other = (getattr(p.read(windows, 8, 8), pixels) for p in (opened.pool, again))
            np.testing.assert_array_equal(one, other)


def test_what_is_read_by_the_batch_is_what_is_in_memory(pools):
    for opened in pools[0].values():
        whole = source_of(opened, "train", opened.scale)
        assert isinstance(whole, InMemory)
        labels = None if opened.labels is None else torch.from_numpy(opened.labels["train"])
        read = Read(
            opened.pool,
            opened.windows["train"],
            opened.shape,
            opened.scale,
            labels,
            opened.masked,
        )
        indices = torch.tensor([5, 0, 2, 5])
        out = torch.full((6, *opened.shape), 9.0)
        for one in (read, pickle.loads(pickle.dumps(read)), read.part(torch.arange(7))):
            for there in (None, out):
                batch, same = one.read(indices, there), whole.read(indices)
                assert batch.images.equal(same.images)
                assert batch.images.dtype == torch.float32
                assert (batch.mask is None) == (same.mask is None)
                assert batch.mask is None or batch.mask.equal(same.mask)
                assert (batch.labels is None) == (same.labels is None)
                assert batch.labels is None or batch.labels.equal(same.labels)
        assert len(read.first(3)) == 3
        assert len(list(read.batches(4 * read.pixels * 2))) == -(-len(read) // 2)


def test_more_than_memory_takes_is_read_by_the_batch(pools, monkeypatch):
    opened = pools[0]["kept"]
    monkeypatch.setattr("aecli.data.own.source.IN_MEMORY", 100)
    assert isinstance(source_of(opened, "train", opened.scale), Read)
    monkeypatch.setattr("aecli.data.own.pools.RESIDENT", 100)
    for each in pools[0].values():  # pages are given back after each batch
        before = each.pool.read(each.windows["train"], 8, 8).pixels
        np.testing.assert_array_equal(each.pool.read(each.windows["train"], 8, 8).pixels, before)


def test_another_process_reads_the_same(tmp_path):
    put(tmp_path / "photos", drawn(9, 8, 8))
    opened = look(tmp_path / "photos", tmp_path)
    windows = opened.windows["train"]
    (tmp_path / "pool").write_bytes(pickle.dumps((opened.pool, windows)))
    code = (
        "import pickle, sys; pool, windows = pickle.load(open(sys.argv[1], 'rb'));"
        "print(pool.read(windows, 8, 8).pixels.sum())"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, str(tmp_path / "pool")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.strip() == str(opened.pool.read(windows, 8, 8).pixels.sum()), done.stderr


def test_grey_among_colour(tmp_path):
    grey, colour = drawn(6, 8, 8), drawn(6, 8, 8, 3)
    put(tmp_path / "photos/grey", grey)
    put(tmp_path / "photos/colour", colour)
    opened = look(tmp_path / "photos", tmp_path)
    assert opened.shape == (3, 8, 8)
    opened = look(tmp_path / "photos", tmp_path, channels=1)
    assert opened.shape == (1, 8, 8)
    every = np.array([[i, 0, 0] for i in range(12)], np.int32)
    found = opened.pool.read(every, 8, 8).pixels
    luma = [np.asarray(Image.fromarray(image).convert("L")) for image in colour]
    np.testing.assert_allclose(found[:6, 0], luma, atol=1)
    np.testing.assert_array_equal(found[6:, 0], grey)


def test_bands_are_chosen_in_their_order(tmp_path):
    image = drawn(4, 40, 40, top=4000)
    path = put_scene(tmp_path / "scene.tif", image)
    opened = look(path, tmp_path, tile=8, bands=[3, 1])
    picture = opened.pool.window(0, 0, 0, 40, 40)
    np.testing.assert_array_equal(picture.pixels, image[[2, 0]])
    np.save(tmp_path / "x.npy", drawn(9, 8, 8, 3))
    opened = look(tmp_path / "x.npy", tmp_path, bands=[3, 1])
    picture = opened.pool.read(np.array([[4, 0, 0]], np.int32), 8, 8)
    np.testing.assert_array_equal(
        picture.pixels[0], drawn(9, 8, 8, 3)[4].transpose(2, 0, 1)[[2, 0]]
    )


def test_the_order_of_bytes_changes_nothing(tmp_path):
    images = drawn(20, 8, 8, top=60_000)
    found = []
    for name, order in (("little.npy", "<u2"), ("big.npy", ">u2")):
        np.save(tmp_path / name, images.astype(order))
        opened = look(tmp_path / name, tmp_path)
        found.append((opened.pool.read(opened.windows["train"], 8, 8).pixels, opened.scale))
    assert found[0][1] == found[1][1]
    assert found[0][0].dtype == found[1][0].dtype == np.uint16
    np.testing.assert_array_equal(found[0][0], found[1][0])


def test_labels_of_an_array_are_texts_and_none_is_empty(tmp_path):
    labels = np.array([b"cat", b"dog"] * 10)
    np.savez(tmp_path / "x.npz", images=drawn(20, 8, 8), labels=labels)
    assert look(tmp_path / "x.npz", tmp_path).classes == ("cat", "dog")
    np.savez(tmp_path / "x.npz", images=drawn(20, 8, 8), labels=np.where(labels == b"cat", "", "a"))
    with pytest.raises(DataError, match="an image in it has an empty label"):
        look(tmp_path / "x.npz", tmp_path)


def test_an_archive_without_a_name_for_its_images_says_what_it_took(tmp_path):
    images = drawn(20, 8, 8)
    path = tmp_path / "two.npz"
    np.savez(path, bar=np.arange(20), foo=images)
    for _ in range(2):  # the second from the cache
        opened = look(path, tmp_path)
        assert opened.notes[1] == "array foo of two.npz; bar passed over"
        assert opened.shape == (1, 8, 8)
    np.savez(path, foo=images, bar=images)
    with pytest.raises(DataError, match=r"two\.npz: it holds foo, bar: call the images `images`$"):
        look(path, tmp_path)
    np.savez(path, foo=images)
    assert not any("array" in note for note in look(path, tmp_path).notes)


def test_python_objects_in_an_array_are_named(tmp_path):
    objects = np.array([[[None]]] * 4)
    np.save(tmp_path / "x.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "x.npz", allow_pickle=True, images=drawn(4, 8, 8), labels=objects)
    for name in ("x.npy", "x.npz"):
        with pytest.raises(DataError, match=r": it holds Python objects, which are not read$"):
            look(tmp_path / name, tmp_path)
