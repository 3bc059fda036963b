"""The first look and what it leaves in the cache: looked at once, believed only if whole."""

import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from aecli.data.own import store
from aecli.data.own import survey as surveys
from aecli.data.own.pools import Files, Kept
from aecli.errors import DataError
from tests.own import drawn, look, put, put_scene


@pytest.fixture
def decoded(monkeypatch):
    """Names of the files that are decoded, as they are."""
    names = []
    whole = surveys._look

    def noted(file, stat, how):
        names.append(file.name)
        return whole(file, stat, how)

    monkeypatch.setattr(surveys, "_look", noted)
    return names


def pixels(opened):
    """All images of a dataset, split after split."""
    height, width = opened.shape[1:]
    every = np.concatenate([opened.windows[split] for split in ("train", "val", "test")])
    return opened.pool.read(every, height, width).pixels


def kept(tmp_path):
    """The files that a look left, but for the lock."""
    found = (tmp_path / "images").rglob("*")
    return sorted(path for path in found if path.is_file() and path.name != ".lock")


def test_a_second_look_decodes_nothing(tmp_path, decoded):
    put(tmp_path / "photos", drawn(12, 8, 8))
    first = look(tmp_path / "photos", tmp_path)
    assert len(decoded) == 12
    second = look(tmp_path / "photos", tmp_path)
    assert len(decoded) == 12
    assert second.sha256 == first.sha256
    np.testing.assert_array_equal(pixels(first), pixels(second))
    look(tmp_path / "photos", tmp_path, val=0.3, tile=4, limit_train=3)
    assert len(decoded) == 12


def test_another_way_of_decoding_looks_anew(tmp_path, decoded):
    put(tmp_path / "photos", drawn(4, 8, 8))
    for keys in ({}, {"size": 4}, {"nodata": 0.0}, {"background": "black"}):
        look(tmp_path / "photos", tmp_path, **keys)
    assert len(decoded) == 16


def test_a_changed_file_is_decoded_anew_alone(tmp_path, decoded):
    paths = put(tmp_path / "photos", drawn(12, 8, 8))
    first = look(tmp_path / "photos", tmp_path)
    decoded.clear()
    put(tmp_path / "photos", np.concatenate([255 - drawn(12, 8, 8)[:1]]))  # 000.png
    paths[3].unlink()
    shutil.copy(paths[1], tmp_path / "photos/new.png")
    second = look(tmp_path / "photos", tmp_path)
    assert sorted(decoded) == ["000.png", "new.png"]
    assert second.sha256 != first.sha256
    plain = look(tmp_path / "photos", tmp_path / "fresh")
    assert plain.sha256 == second.sha256
    np.testing.assert_array_equal(pixels(second), pixels(plain))


def test_a_file_that_was_touched_keeps_the_identity(tmp_path, decoded):
    paths = put(tmp_path / "photos", drawn(6, 8, 8))
    first = look(tmp_path / "photos", tmp_path)
    os.utime(paths[2], (1, 1))
    decoded.clear()
    assert look(tmp_path / "photos", tmp_path).sha256 == first.sha256
    assert decoded == ["002.png"]


def test_a_moved_folder_keeps_the_identity(tmp_path):
    put(tmp_path / "photos", drawn(6, 8, 8))
    first = look(tmp_path / "photos", tmp_path)
    (tmp_path / "photos").rename(tmp_path / "moved")
    second = look(tmp_path / "moved", tmp_path)
    assert (first.sha256, first.name, second.name) == (second.sha256, "photos", "moved")


@pytest.mark.parametrize("kind", ["facts", "pixels", "masks"])
@pytest.mark.parametrize("keep", [0.0, 0.5, 0.999])
def test_what_is_cut_short_is_not_believed(tmp_path, decoded, kind, keep):
    put(tmp_path / "photos", drawn(6, 8, 8))
    first = look(tmp_path / "photos", tmp_path, nodata=7.0, min_valid=0.1)
    before = pixels(first)
    [path] = (path for path in kept(tmp_path) if path.name.startswith(kind))
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    decoded.clear()
    second = look(tmp_path / "photos", tmp_path, nodata=7.0, min_valid=0.1)
    assert len(decoded) == 6
    assert second.sha256 == first.sha256
    np.testing.assert_array_equal(before, pixels(second))


@pytest.mark.parametrize("place", [10, 200, -20])
def test_damaged_facts_are_not_believed(tmp_path, decoded, place):
    put(tmp_path / "photos", drawn(4, 8, 8))
    first = look(tmp_path / "photos", tmp_path)
    [path] = (path for path in kept(tmp_path) if path.name == "facts.json")
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    decoded.clear()
    assert look(tmp_path / "photos", tmp_path).sha256 == first.sha256
    assert len(decoded) == 4


@pytest.mark.parametrize("content", [b"", b"null", b"[" * 100_000, b'{"version": 2}', b"\xff"])
def test_other_facts_are_not_believed(tmp_path, content):
    put(tmp_path / "photos", drawn(4, 8, 8))
    first = look(tmp_path / "photos", tmp_path)
    [path] = (path for path in kept(tmp_path) if path.name == "facts.json")
    path.write_bytes(content)
    assert look(tmp_path / "photos", tmp_path).sha256 == first.sha256


def test_only_the_newest_look_is_kept(tmp_path):
    paths = put(tmp_path / "photos", drawn(4, 8, 8))
    for i in range(3):
        os.utime(paths[0], (i, i))
        look(tmp_path / "photos", tmp_path)
    assert [path.name.partition("-")[0] for path in kept(tmp_path)] == ["facts.json", "pixels"]


def test_a_faulty_file_is_looked_at_once(tmp_path, decoded):
    put(tmp_path / "photos", drawn(4, 8, 8))
    (tmp_path / "photos/bad.png").write_bytes(b"no image")
    for _ in range(2):
        opened = look(tmp_path / "photos", tmp_path, skip_bad=True)
    assert [name for name, _ in opened.items.faults] == ["bad.png"]
    assert len(decoded) == 5


def test_other_decoders_look_anew(tmp_path, decoded, monkeypatch):
    put(tmp_path / "photos", drawn(4, 8, 8))
    look(tmp_path / "photos", tmp_path)
    monkeypatch.setattr(surveys, "_decoders", lambda: {"pillow": "99"})
    look(tmp_path / "photos", tmp_path)
    assert len(decoded) == 8


@pytest.mark.parametrize("masked", [False, True])
def test_more_than_the_cache_may_have_is_decoded_each_time(tmp_path, monkeypatch, masked):
    keys = {"nodata": 7.0, "min_valid": 0.1} if masked else {}
    put(tmp_path / "photos", drawn(9, 8, 8))
    first = look(tmp_path / "photos", tmp_path, **keys)
    assert isinstance(first.pool, Kept)
    monkeypatch.setattr(store, "STORE_LIMIT", 200)
    for _ in range(2):
        second = look(tmp_path / "photos", tmp_path / "small", **keys)
        assert isinstance(second.pool, Files)
        assert second.sha256 == first.sha256
        np.testing.assert_array_equal(pixels(first), pixels(second))
        assert any("decoded anew each time" in each for each in second.warnings)
    assert sum(path.stat().st_size for path in kept(tmp_path / "small")) < 10_000


def test_what_was_least_used_makes_room(tmp_path, monkeypatch):
    for name in "abc":
        put(tmp_path / name, drawn(9, 8, 8))
        opened = look(tmp_path / name, tmp_path)
    del opened
    monkeypatch.setattr(store, "STORE_LIMIT", 9_000)
    put(tmp_path / "d", drawn(9, 8, 8))
    look(tmp_path / "d", tmp_path)
    assert len([path for path in kept(tmp_path) if path.name == "facts.json"]) < 4
    assert sum(path.stat().st_size for path in kept(tmp_path)) < 9_000


def test_what_is_read_from_is_not_taken_away(tmp_path, monkeypatch):
    paths = put(tmp_path / "a", drawn(9, 8, 8))
    first = look(tmp_path / "a", tmp_path)
    before = pixels(first)
    os.utime(paths[0], (1, 1))
    look(tmp_path / "a", tmp_path)
    put(tmp_path / "b", drawn(9, 8, 8))
    monkeypatch.setattr(store, "STORE_LIMIT", 10)
    look(tmp_path / "b", tmp_path)
    again, arguments = first.pool.__reduce__()  # as a worker process maps it anew
    window = first.windows["train"]
    np.testing.assert_array_equal(
        again(*arguments).read(window, 8, 8).pixels, before[: len(window)]
    )


@pytest.mark.parametrize("kind", ["png", "npz"])
def test_a_cache_that_cannot_be_written(tmp_path, kind):
    images = drawn(9, 8, 8)
    put(tmp_path / "photos", images)
    np.savez(tmp_path / "x.npz", images=images, labels=np.arange(9) % 2)
    path = tmp_path / ("photos" if kind == "png" else "x.npz")
    first = look(path, tmp_path)
    (tmp_path / "file").write_bytes(b"")
    second = look(path, tmp_path / "file")
    np.testing.assert_array_equal(pixels(first), pixels(second))
    if kind == "png":
        assert any("nothing of the images is kept for the next" in w for w in second.warnings)
        assert any("Not a directory" in warning for warning in second.warnings)


def test_a_disk_that_fills_up(tmp_path, monkeypatch):
    put(tmp_path / "photos", drawn(9, 8, 8))
    first = look(tmp_path / "photos", tmp_path)
    writes = store.Store._write

    def full(store, kind, offset, array):
        if offset > 100:
            store._fail("No space left on device")
        writes(store, kind, offset, array)

    monkeypatch.setattr(store.Store, "_write", full)
    second = look(tmp_path / "photos", tmp_path / "full")
    assert any("No space left" in each for each in second.warnings)
    np.testing.assert_array_equal(pixels(first), pixels(second))


def test_an_interrupted_look_leaves_nothing(tmp_path, monkeypatch):
    put(tmp_path / "photos", drawn(9, 8, 8))
    whole = surveys._take
    done = []

    def stopped(*arguments):
        done.append(1)
        if len(done) == 5:
            raise KeyboardInterrupt
        return whole(*arguments)

    monkeypatch.setattr(surveys, "_take", stopped)
    with pytest.raises(KeyboardInterrupt):
        look(tmp_path / "photos", tmp_path)
    assert kept(tmp_path) == []


LOOK = """
import sys, time
from pathlib import Path
from aecli.data.own import survey
from tests.own import look
slow = float(sys.argv[3])
whole = survey._look
def slowly(*arguments):
    time.sleep(slow)
    print("decoded", flush=True)
    return whole(*arguments)
survey._look = slowly
print(look(Path(sys.argv[1]), Path(sys.argv[2]), workers=1).sha256)
"""


def another_process(path, tmp_path, slow):
    command = [sys.executable, "-c", LOOK, str(path), str(tmp_path), str(slow)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_killed_look_leaves_nothing_that_is_believed(tmp_path):
    put(tmp_path / "photos", drawn(30, 8, 8))
    process = another_process(tmp_path / "photos", tmp_path, 0.05)
    assert process.stdout.readline() == "decoded\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not any(path.name == "facts.json" for path in kept(tmp_path))
    opened = look(tmp_path / "photos", tmp_path)
    assert opened.sha256 == look(tmp_path / "photos", tmp_path / "fresh").sha256
    assert len(kept(tmp_path / "fresh")) == 2
    assert len([p for p in kept(tmp_path) if "fresh" not in str(p)]) == 2  # its rests are gone


def test_two_processes_look_once(tmp_path):
    put(tmp_path / "photos", drawn(12, 8, 8))
    both = [another_process(tmp_path / "photos", tmp_path, 0.05) for _ in range(2)]
    lines = [process.communicate()[0].splitlines() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert lines[0][-1] == lines[1][-1]
    assert sum(line == "decoded" for some in lines for line in some) == 12


def test_an_array_is_looked_at_once(tmp_path, monkeypatch):
    from aecli.data.own import arrays

    looked = []
    whole = arrays._rows
    monkeypatch.setattr(arrays, "_rows", lambda array: looked.append(1) or whole(array))
    np.save(tmp_path / "x.npy", drawn(9, 8, 8))
    first = look(tmp_path / "x.npy", tmp_path)
    assert look(tmp_path / "x.npy", tmp_path).sha256 == first.sha256
    assert len(looked) == 1
    os.utime(tmp_path / "x.npy", (1, 1))
    assert look(tmp_path / "x.npy", tmp_path).sha256 == first.sha256
    np.save(tmp_path / "x.npy", drawn(9, 8, 8, seed=1))
    assert look(tmp_path / "x.npy", tmp_path).sha256 != first.sha256
    assert len(looked) == 3
    for path in kept(tmp_path):
        for length in (0, 10, path.stat().st_size - 1):
            path.write_bytes(path.read_bytes()[:length])
            look(tmp_path / "x.npy", tmp_path)


def test_an_npz_is_unpacked_once_and_anew_when_it_is_damaged(tmp_path, monkeypatch):
    images = drawn(9, 8, 8)
    np.savez_compressed(tmp_path / "x.npz", images=images, labels=np.arange(9) % 3)
    first = look(tmp_path / "x.npz", tmp_path)
    assert first.classes == ("0", "1", "2")
    with monkeypatch.context() as patched:
        patched.setattr("aecli.data.own.arrays._kept", None)
        second = look(tmp_path / "x.npz", tmp_path)
    assert (second.sha256, second.classes) == (first.sha256, first.classes)
    before = pixels(first)
    for path in kept(tmp_path):
        path.write_bytes(path.read_bytes()[:-5])
        third = look(tmp_path / "x.npz", tmp_path)
        assert (third.sha256, third.classes) == (first.sha256, first.classes)
        np.testing.assert_array_equal(pixels(third), before)


def test_a_file_that_changes_while_it_is_used_is_told(tmp_path, monkeypatch):
    paths = put(tmp_path / "photos", drawn(9, 8, 8))
    monkeypatch.setattr(store, "STORE_LIMIT", 10)
    opened = look(tmp_path / "photos", tmp_path)
    for path in paths:
        path.unlink()
    with pytest.raises(DataError, match="changed since the first look"):
        pixels(opened)


def test_strips_of_a_large_scene_are_kept_as_it_is(tmp_path, monkeypatch):
    image = drawn(3, 40, 30, top=4000)
    image[:, 5:9, 3:8] = 0
    path = put_scene(tmp_path / "scene.tif", image, nodata=0)
    whole = look(path, tmp_path, tile=8, min_valid=0.01)
    for module in ("survey", "tiff"):
        monkeypatch.setattr(f"aecli.data.own.{module}.STRIP", 500)
    strips = look(path, tmp_path / "strips", tile=8, min_valid=0.01)
    assert strips.sha256 == whole.sha256
    for each in (whole, strips):
        picture = each.pool.window(0, 0, 0, 40, 30)
        np.testing.assert_array_equal(picture.valid, image.all(axis=0))
        np.testing.assert_array_equal(picture.pixels, np.where(image.all(axis=0), image, 0))
    np.testing.assert_array_equal(pixels(whole), pixels(strips))


def test_files_decoded_ahead_have_a_bound_in_bytes(tmp_path, monkeypatch):
    waiting, most = set(), []
    look_at, take = surveys._look, surveys._take

    def looked(file, *rest):
        waiting.add(file.name)
        most.append(len(waiting))
        return look_at(file, *rest)

    def taken(job, *rest):
        found = take(job, *rest)
        waiting.discard(job[0].name)
        return found

    monkeypatch.setattr(surveys, "_look", looked)
    monkeypatch.setattr(surveys, "_take", taken)
    monkeypatch.setattr(surveys, "_AHEAD_BYTES", 3 * 64 + 1)  # three images of 8x8
    put(tmp_path / "photos", drawn(40, 8, 8))
    look(tmp_path / "photos", tmp_path, workers=8)
    assert max(most[12:]) <= 4  # after the first ones, whose size was not known yet


@pytest.mark.parametrize("reason", [MemoryError(), OSError(24, "Too many open files")])
def test_what_may_pass_is_looked_at_again(tmp_path, monkeypatch, reason):
    put(tmp_path / "photos", drawn(8, 8, 8))

    def fails(*_):
        raise reason

    with monkeypatch.context() as patched:
        patched.setattr("aecli.data.own.decoding.by_pillow", fails)
        with pytest.raises(DataError, match=r"more memory than there is|Too many open files"):
            look(tmp_path / "photos", tmp_path)
    assert len(look(tmp_path / "photos", tmp_path).items) == 8


def test_an_npz_that_memory_does_not_hold_is_refused_before_it_is_read(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "x.npz", images=np.zeros((100, 64, 64), np.uint8))
    monkeypatch.setattr("aecli.machine.memory_limit", lambda: 100_000)
    monkeypatch.setattr("aecli.data.own.arrays._member", None)
    with pytest.raises(DataError, match=r"take 409,\d+ bytes unpacked, more than memory has.*npy"):
        look(tmp_path / "x.npz", tmp_path)
