"""Odd inputs among images: each is used, refused with its reason, or passed over; nothing is lost
without a word, and no library speaks on stderr."""

import os

import numpy as np
import pytest

from aecli.config import DataConfig
from aecli.data import facts
from aecli.data.own import decoding, tiff
from aecli.data.own.decoding import decode
from aecli.data.own.pictures import Decoding, Picture, UnreadableError, reasons
from aecli.data.own.raster import by_pillow
from aecli.errors import DataError, UsageError
from tests import odd_images
from tests.faults import images
from tests.faults.outcome import bounded_memory
from tests.odd_images import FAULT, FILES, GOOD, MASKED, OVER, PLACES
from tests.own import drawn, put


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


def _write(odd, path):
    if "sealed" in odd.name and odd_images.reads_everything(path.parent):
        pytest.skip("root may read everything")
    odd.write(path)


def _look(folder, **settings):
    return facts.look(DataConfig(dataset=str(folder), **settings))


@pytest.mark.parametrize("odd", FILES, ids=lambda odd: ascii(odd.name)[:60])
def test_an_odd_file_among_good_ones_and_alone(odd, folder, capfd):
    odd_images.put_good(folder, odd.bits, odd.channels)
    _write(odd, folder / odd.name)
    opened = _look(folder, size=8, skip_bad=True, min_valid=0.1)
    used = [name for name in opened.items.names if not name.startswith("good")]
    over = list(opened.items.passed_over)
    assert len(opened.items) == GOOD + len(used)
    if odd.outcome == FAULT:
        (fault,) = opened.items.faults
        assert fault[0] == odd.name
        assert odd.words in fault[1]
        with pytest.raises(DataError) as raised:
            _look(folder, size=8, min_valid=0.1)
        lines = str(raised.value).splitlines()
        assert len(lines) == 2, lines
        assert f": {fault[1]}" in lines[1]
    else:
        assert opened.items.faults == []
        assert bool(used) == (odd.outcome != OVER)
        assert bool(over) == (odd.outcome == OVER)
        assert opened.masked == (odd.outcome == MASKED)
        assert any(odd.words in note for note in opened.notes)
    _look_at_it_alone(odd, folder.parent / "alone")
    assert capfd.readouterr() == ("", "")


def _look_at_it_alone(odd, folder):
    folder.mkdir()
    odd.write(folder / odd.name)
    kind, words = UsageError, "one image alone cannot be split"
    if odd.outcome == OVER:
        kind, words = DataError, "files is an image|an empty folder"
    elif odd.outcome == FAULT and not odd.unlike:
        kind, words = DataError, "1 file of 1 cannot be used"
    with pytest.raises(kind, match=words):
        _look(folder, size=8)


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.name)
def test_an_odd_dataset(place, folder, capfd):
    if "sealed" in place.name and odd_images.reads_everything(folder):
        pytest.skip("root may read everything")
    path = folder / (place.write(folder) or "")
    if place.error:
        kind = UsageError if place.exit_code == 2 else DataError
        with pytest.raises(kind) as raised:
            _look(path, **place.settings)
        assert place.error in str(raised.value)
    else:
        opened = _look(path, **place.settings)
        known = {
            "n": sum(map(len, opened.windows.values())),
            "test": len(opened.windows["test"]),
            "shape": opened.shape,
            "classes": opened.classes,
            "masked": opened.masked,
            "warning": " ".join(opened.warnings),
        }
        warning = place.facts.get("warning", "")
        assert warning in known["warning"]
        assert bool(known["warning"]) == bool(warning)
        assert {key: known[key] for key in place.facts if key != "warning"} == {
            key: value for key, value in place.facts.items() if key != "warning"
        }
    assert capfd.readouterr() == ("", "")


def _decoded(folder, content, name="x.png", **how):
    path = folder / name
    path.write_bytes(content)
    return decode(path, Decoding(**how))


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_are_kept_exactly(channels, interlaced, tmp_path):
    array = odd_images.noise(12, 10, channels, dtype=np.uint16)
    found = _decoded(tmp_path, odd_images.deep_png(array, interlaced=interlaced)).pixels
    assert found.dtype == np.uint16
    assert np.array_equal(found.transpose(1, 2, 0), array)


@pytest.mark.parametrize(("background", "value"), [("white", 65535), ("black", 0)])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_clear_colour_of_sixteen_bits_is_background(channels, background, value, tmp_path):
    array = odd_images.noise(12, 10, channels, dtype=np.uint16)
    clear = odd_images.chunk(b"tRNS", array[3, 4].astype(">u2").tobytes())
    found = _decoded(tmp_path, odd_images.deep_png(array, clear), background=background)
    expected = array.copy()
    expected[3, 4] = value
    assert np.array_equal(found.pixels.transpose(1, 2, 0), expected)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_the_clear_grey_of_few_bits_is_background(bits, tmp_path):
    top = 2**bits - 1  # a row of two pixels, of which the value `top` is clear, and black
    row = bytes([0, top << (8 - bits)])
    clear = odd_images.chunk(b"tRNS", bytes([0, top]))
    content = odd_images.small_png(bits, 0, row, (2, 1), clear)
    assert _decoded(tmp_path, content, background="white").pixels.tolist() == [[[255, 0]]]
    assert _decoded(tmp_path, content, background="black").pixels.tolist() == [[[0, 0]]]


def test_alpha_mixes_with_the_background(tmp_path):
    rgba, white = odd_images.RGBA.astype(float), 255.0
    alpha = rgba[..., 3:] / 255
    expected = np.rint(rgba[..., :3] * alpha + white * (1 - alpha))
    found = _decoded(tmp_path, odd_images.saved(odd_images.RGBA)).pixels.transpose(1, 2, 0)
    assert np.abs(found - expected).max() <= 1  # float32 at a half


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_orientation_gives_the_upright_image(orientation, kind, tmp_path):
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100}}.get(kind, {})
    content = odd_images.with_orientation(orientation, format=kind, **options)
    found = _decoded(tmp_path, content, "x.jpg").pixels
    assert found.shape[1:] == odd_images.UPRIGHT.shape
    off = np.abs(found.astype(int) - odd_images.UPRIGHT).max()
    assert off <= (3 if kind == "JPEG" else 0)


@pytest.mark.parametrize("kind", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_a_tiff_keeps_its_pixels(kind, tmp_path):
    content = odd_images.saved(odd_images.RGB, format="TIFF", compression=kind)
    found = _decoded(tmp_path, content, "x.tif").pixels
    assert np.array_equal(found.transpose(1, 2, 0), odd_images.RGB)


_CLEAR = np.dstack([odd_images.RGB, np.where(odd_images.GREY < 99, 0, 255).astype(np.uint8)])


@pytest.fixture(params=["rasterio", "tifffile"])
def reader(request, monkeypatch):
    """Each of the two readers of TIFF."""
    monkeypatch.setattr(tiff, "has_rasterio", lambda: request.param == "rasterio")
    return request.param


def test_alpha_of_a_tiff_says_what_is_valid(reader, tmp_path):
    content = odd_images.tiff(_CLEAR, photometric="rgb", extrasamples=[2])
    found = _decoded(tmp_path, content, "x.tif")
    valid = _CLEAR[..., 3] > 0
    assert np.array_equal(found.valid, valid)
    assert np.array_equal(found.pixels.transpose(1, 2, 0), odd_images.RGB * valid[..., None])
    asked = _decoded(tmp_path, content, "x.tif", bands=(4, 1))
    assert np.array_equal(asked.pixels[0], _CLEAR[..., 3])


def test_a_palette_gives_its_colours(reader, tmp_path):
    image = odd_images.saved(odd_images.RGB, "P", format="TIFF")
    found = _decoded(tmp_path, image, "x.tif").pixels
    same = _decoded(tmp_path, odd_images.saved(odd_images.RGB, "P"), "x.png").pixels
    assert np.array_equal(found, same)


def test_nodata_of_a_palette_is_an_index(tmp_path):
    colours = np.zeros((3, 256), np.uint16)
    colours[:, 1], colours[:, 2] = 7 << 8, [5 << 8, 1 << 8, 9 << 8]
    indices = np.array([[1, 2], [2, 7]], np.uint8)
    options = {"photometric": "palette", "colormap": colours}
    content = odd_images.tiff(indices, extratags=[(42113, "s", 0, "1", True)], **options)
    found = _decoded(tmp_path, content, "x.tif")
    assert found.valid.tolist() == [[False, True], [True, True]]
    assert found.pixels[:, 0, 1].tolist() == [5, 1, 9]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (odd_images.tiff(odd_images.GREY, photometric="miniswhite"), "its colours are MINISWHITE"),
        (odd_images.saved(odd_images.RGBA, "CMYK", format="TIFF"), "its colours are SEPARATED"),
        (odd_images.saved(odd_images.RGB, format="TIFF", compression="tiff_lzw"), "by LZW"),
    ],
)
def test_what_needs_rasterio_says_so(content, words, tmp_path, monkeypatch):
    monkeypatch.setattr(tiff, "has_rasterio", lambda: False)
    with pytest.raises(UnreadableError, match=words) as raised:
        _decoded(tmp_path, content, "x.tif")
    assert "pip install 'aecli[geo]'" in str(raised.value)


def test_white_as_0_is_read_as_white(tmp_path):
    found = _decoded(tmp_path, odd_images.tiff(odd_images.GREY, photometric="miniswhite"), "x.tif")
    assert np.array_equal(found.pixels[0], 255 - odd_images.GREY)


def test_a_big_tiff_that_points_beyond_its_end(tmp_path):
    content = odd_images.tiff(odd_images.RGB, bigtiff=True)
    far = content[:8] + (2**50).to_bytes(8, "little") + content[16:]
    with pytest.raises(UnreadableError, match=r"points to byte 1,125,899,906,842,624"):
        _decoded(tmp_path, far, "x.tif")


def test_a_long_line_of_pixels_takes_no_memory_to_resize():
    with bounded_memory(100 * 2**20):
        found = decoding._resized(Picture(np.ones((1, 1, 65_000), np.uint8)), 512)
    assert found.pixels.shape == (1, 512, 512)
    assert (found.pixels == 1).all()


def test_resizing_keeps_the_middle():
    array = np.zeros((1, 8, 24), np.uint8)
    array[:, :, 8:16] = 200
    found = decoding._resized(Picture(array), 4)
    assert (found.pixels == 200).all()


@pytest.mark.parametrize("kind", images.KINDS)
def test_damaged_files_are_refused_by_their_own_error(kind, tmp_path, capfd):
    outcome = images.decode_damaged(tmp_path, kind, 20)
    assert outcome.failures == []
    assert outcome.injected == 20
    assert capfd.readouterr() == ("", "")


def test_a_run_on_names_that_are_no_text(tmp_path, inside):
    folder = tmp_path / os.fsdecode(b"line\nbreak-\xff")
    odd_images.put_good(folder, count=9)
    for name in (b"x\n\xff.png", b"y\n\xff.txt"):
        (folder / os.fsdecode(name)).write_bytes(odd_images.saved(odd_images.RGB))
    (folder / os.fsdecode(b"z\xff.png")).write_bytes(b"")
    skip = ("--set", "data.skip_bad=true")
    done = inside("train", "--dataset", str(folder), "--codec", "dct", "--code-dim", "2", *skip)
    assert done.code == 0, done
    assert done.metrics()["dataset"] == "line\\nbreak-\\udcff"
    listed = (done.run / "data.csv").read_text()
    assert "\\udcff.png" in listed
    assert "an empty file" in listed


@pytest.mark.parametrize("kept", [60, 200, 300])
def test_a_png_cut_anywhere_is_cut_short(tmp_path, kept):
    [path] = put(tmp_path, drawn(1, 16, 16))
    whole = path.read_bytes()
    with pytest.raises(UnreadableError, match=r"^damaged: cut short$"), reasons():
        by_pillow(whole[:kept], Decoding())
