"""Codes in bits: steps, frequencies, the coder and its file, `encode --bits` and its errors."""

import io
import json
import shutil
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

import aecli as library
from aecli.cli import encode as encoding_command
from aecli.codespace import bits, encoding, quantiser
from aecli.codespace.quantiser import Quantiser, fitted_frequencies, fitted_range
from aecli.data.own import opened as opening
from tests.own import drawn, interrupted_at_a_batch, put_scene, spots

RNG = np.random.default_rng(0)
CODES = np.column_stack(
    [
        RNG.standard_normal(3000),
        1000 + 0.01 * RNG.standard_normal(3000),  # far from 0
        RNG.exponential(5, 3000),
        (RNG.random(3000) < 0.001) * 7.0,  # hardly ever anything but 0
        np.full(3000, -3.3),  # one value alone
    ]
).astype(np.float32)
EVERY = (1, 2, 5, 8, 12, 16)


@pytest.fixture
def coder():
    """Tests of coded bits need the coder, which is an extra."""
    return pytest.importorskip("constriction")


def header_of(fitted, n, sha256="ab" * 32):
    return bits.Header.of(fitted, sha256, n, (fitted.lows.size,))


@pytest.mark.parametrize("number", EVERY)
def test_inside_the_range_the_error_is_half_a_step_at_most(number):
    fitted = Quantiser.fitted(number, CODES, 3000)
    steps = fitted.steps(CODES)
    assert steps.max() < 2**number
    kept = fitted.codes(steps)
    inside = (fitted.lows <= CODES) & (fitted.highs >= CODES)
    error = np.abs(kept.astype(np.float64) - CODES)
    bound = fitted.widths / 2 * (1 + 1e-9) + np.spacing(np.abs(kept))
    assert (error <= bound)[inside].all()
    assert fitted.outside(CODES).tolist() == (~inside).sum(axis=1).tolist()
    ends = np.where(fitted.lows > CODES, fitted.lows, fitted.highs)
    clamped = np.abs(kept.astype(np.float64) - ends)
    assert (clamped <= bound)[~inside].all()
    assert (kept[:, 4] == CODES[:, 4]).all()


def test_few_bits_have_a_narrow_range_and_many_a_wide_one():
    values = np.random.default_rng(1).standard_normal(20_000)
    widths = [np.subtract(*fitted_range(values, number)[::-1]) for number in (1, 2, 3, 4, 8, 16)]
    assert widths == sorted(widths)
    # The best uniform steps of a normal distribution (Max 1960, table II), times their number.
    for width, expected in zip(widths, (3.192, 3.983, 4.688, 5.363), strict=False):
        assert width == pytest.approx(expected, rel=0.1)
    assert widths[-1] == pytest.approx(values.max() - values.min())


@pytest.mark.parametrize("number", [4, 16])
def test_one_outlier_does_not_widen_the_steps_of_all(number):
    values = np.random.default_rng(1).standard_normal(20_000)
    plain = np.subtract(*fitted_range(values, number)[::-1])
    values[7] = 1e6
    assert np.subtract(*fitted_range(values, number)[::-1]) < 5 * plain


def test_a_unit_that_hardly_varies_keeps_what_varies_where_bits_suffice():
    rare = CODES[:, 3]
    assert fitted_range(rare, 8) == (0, 7)
    assert fitted_range(rare, 1) == (0, 0)


def test_frequencies_leave_no_step_impossible_and_have_as_many_bins_as_pay():
    steps = Quantiser.fitted(16, CODES, 3000).steps(CODES)[:, 0]
    sizes = []
    for training, images in ((3000, 10**6), (100, 10**6), (3000, 10)):
        found = fitted_frequencies(steps[:training], 16, images)
        assert found.min() >= 1
        sizes.append(len(found))
    many, few_to_learn_from, few_to_store = sizes
    assert 16 <= many <= 256
    assert few_to_learn_from < many
    assert few_to_store == 1
    assert fitted_frequencies(np.zeros(9, np.uint16), 1, 9).tolist() in ([19, 1], [19])
    common = fitted_frequencies(np.array([3] * 100_000 + [1], np.uint16), 2, 10**9)
    assert common.tolist() == [1, 1, 1, quantiser.MOST_FREQUENCY]


def test_a_quantiser_is_no_worse_for_one_training_image():
    fitted = Quantiser.fitted(8, CODES[:1], 5)
    assert (fitted.codes(fitted.steps(CODES)) == CODES[0]).all()


@pytest.mark.parametrize("number", EVERY)
def test_steps_come_back_from_their_bits(coder, number, monkeypatch):
    monkeypatch.setattr(bits, "BLOCK_NUMBERS", 5 * 1000)
    fitted = Quantiser.fitted(number, CODES[:2000], 3000)
    anywhere = RNG.integers(0, 2**number, CODES.shape).astype(np.uint16)
    for steps in (fitted.steps(CODES), anywhere):
        header = header_of(fitted, len(steps))
        for (frame, words), (first, end) in zip(
            [*bits.packed(header, steps)][1:], header.blocks(), strict=True
        ):
            assert frame == struct.pack("<II", len(words), zlib.crc32(words.tobytes()))
            assert (bits.decoded(words, end - first, fitted) == steps[first:end]).all()


@pytest.mark.parametrize("number", [3, 6])
def test_bits_are_near_the_entropy(coder, number):
    """A code by (count + 1/2) / (n + K/2) takes, for the very n symbols that were counted, at least
    n times their entropy H and at most K/2 log2(e) more."""
    values = RNG.standard_normal((20_000, 1)).astype(np.float32)
    fitted = Quantiser.fitted(number, values, 10**9)
    steps = fitted.steps(values)
    assert len(fitted.frequencies[0]) == 2**number
    shares = np.bincount(steps[:, 0]) / len(steps)
    entropy = -(shares[shares > 0] * np.log2(shares[shares > 0])).sum()
    taken = 32 * len(bits.coded(steps, fitted))
    most = len(steps) * entropy + 2**number / 2 * np.log2(np.e)
    assert len(steps) * entropy - 1 <= taken
    assert taken <= most * 1.0005 + 64  # fixed point; the last words
    assert fitted.lengths(steps).sum() == pytest.approx(taken, abs=64 + 0.001 * taken)


def test_lengths_are_those_of_the_steps_shares():
    bins = tuple(np.array(each, np.uint16) for each in ([1, 3], [2]))
    fitted = Quantiser(2, np.zeros(2, np.float32), np.ones(2, np.float32), bins)
    steps = np.array([[0, 0], [3, 2]], np.uint16)
    # Of the first unit two steps share a quarter, two the rest; of the second four share all.
    assert fitted.lengths(steps).tolist() == pytest.approx([3 + 2, 1 - np.log2(0.75) + 2])


def test_fine_steps_take_as_many_bits_as_their_density_says(coder):
    """h(x) - log2(step), h of a normal distribution being log2(2 pi e) / 2: no fewer, and few
    more."""
    training, values = RNG.standard_normal((2, 20_000, 1)).astype(np.float32)
    fitted = Quantiser.fitted(16, training, len(values))
    expected = np.log2(2 * np.pi * np.e) / 2 - np.log2(fitted.widths[0])
    taken = 32 * len(bits.coded(fitted.steps(values), fitted)) / len(values)
    assert taken == pytest.approx(expected, abs=0.03)


def test_a_head_is_read_as_it_was_written():
    fitted = Quantiser.fitted(9, CODES, 3000)
    header = bits.Header(fitted, "0f" * 32, 77, (5, 1, 1), 10)
    content = header.packed()
    found = bits.read_header(io.BytesIO(content), Path("x.bits"))
    assert found.packed() == content
    assert (found.images, found.code_shape, found.block) == (77, (5, 1, 1), 10)
    assert (found.quantiser.lows == fitted.lows).all()


# --- the program ---


@pytest.fixture
def call(inside, monkeypatch, coder):
    opening._opened.clear()
    return inside


@pytest.fixture
def spots_run(call, tmp_path):
    """A run of a transform of 216 images, which is made in no time."""
    spots(tmp_path / "spots.npz")
    return trained(call, "./spots.npz")


def trained(call, data, code_dim=9, *more):
    codec = ("--codec", "dct", "--code-dim", str(code_dim))
    done = call("train", "--dataset", data, *codec, *more)
    assert done.code == 0, done.stderr
    return str(done.run)


def test_bits_alone_give_the_codes_again(call, spots_run, tmp_path):
    asked = ("encode", spots_run, "./spots.npz", "-o", "codes.npy", "--bits", "5")
    done = call(*asked)
    assert done.code == 0, done.stderr
    assert call("encode", spots_run, "./spots.npz", "-o", "plain.npy").code == 0
    plain, codes = np.load("plain.npy"), np.load("codes.npy")
    about = json.loads(Path("codes.json").read_text())
    told = about["stored"]
    assert about["bits"] == 5
    assert json.loads(Path("plain.json").read_text())["bits"] is None

    header = bits.read_header(io.BytesIO(Path("codes.bits").read_bytes()), Path("codes.bits"))
    expected = header.quantiser.codes(header.quantiser.steps(plain))
    assert (codes == expected).all()
    assert told["clamped"] == header.quantiser.outside(plain).sum()
    run = library.open(spots_run)
    images = np.load("spots.npz")
    pixels = np.concatenate([images["x_train"], images["x_test"]])[:, None] / 255
    for key, some in (("mse", codes), ("mse_of_float_codes", plain)):
        assert told[key] == pytest.approx(np.square(run.decode(some) - pixels).mean(), rel=1e-4)
    assert told["mse"] > told["mse_of_float_codes"]

    size = Path("codes.bits").stat().st_size
    assert (told["bytes"], told["numbers"]) == (size, 216 * 9)
    words = size - len(header.packed()) - 8
    assert told["header_bytes"] == size - words
    assert told["bits_per_image"] == pytest.approx(8 * size / 216)
    assert told["bits_per_pixel_without_header"] == pytest.approx(8 * words / 216 / 64)
    lines = done.stdout.splitlines()
    assert lines[0] == "codes.bits: 216 codes of 9 numbers in 5 bits each before entropy coding"
    assert lines[1] == f"bytes           {size:,}, the header's {size - words:,} among them"
    assert lines[-2] == f"clamped         {told['clamped']} of 1,944 numbers"
    assert lines[-1] == "codes.npy"

    Path("elsewhere").mkdir()
    shutil.copy2("codes.bits", "elsewhere/alone.bits")
    for name in ("codes.npy", "elsewhere/alone.bits", "codes.bits"):
        folder = f"from-{Path(name).name}"
        done = call("decode", spots_run, name, "-o", folder, "--npy")
        assert (done.code, done.stdout) == (0, f"{folder}\n"), done.stderr
        assert "WARNING" not in done.stderr
        assert (np.load(f"{folder}/images.npy") == np.load("from-codes.npy/images.npy")).all()
    with bits.opened(tmp_path / "elsewhere/alone.bits", run, not_shown()) as archive:
        assert (archive.codes == codes).all()
        assert archive.about["images"] == 216

    again = call(*asked, "--json")
    assert "nothing is left to do" in again.stderr
    answer = json.loads(again.stdout)
    assert {key: answer[key] for key in told} == told
    assert answer["bits_file"] == "codes.bits"
    for other in (asked[:5], (*asked[:6], "6")):
        done = call(*other)
        assert done.errors == ["aecli: codes.npy exists; it is not replaced"]
    with Path("codes.bits").open("ab") as file:
        file.write(b"x")
    assert call(*asked).code == 2


def not_shown():
    from aecli.terminal import not_shown

    return not_shown


def test_a_tile_is_decoded_where_it_lies(call, tmp_path):
    pytest.importorskip("rasterio")
    put_scene(tmp_path / "scene.tif", drawn(2, 24, 32))
    run = trained(call, "./scene.tif", 128, "--set", "data.tile=8", "--set", "data.scale=range")
    done = call("encode", run, "./scene.tif", "-o", "codes.npy", "--bits", "16")
    assert done.code == 0, done.stderr
    for name in ("codes.npy", "codes.bits"):
        assert call("decode", run, name, "-o", name.replace(".", "-")).code == 0
    one, other = (Path(f"codes-{end}/scene.tif").read_bytes() for end in ("npy", "bits"))
    assert one == other


@pytest.mark.parametrize("more", [(), ("--scores",)])
def test_an_interrupted_job_goes_on_with_the_quantiser_it_began_with(
    call, spots_run, monkeypatch, more
):
    monkeypatch.setattr(encoding, "BATCH_BYTES", 4 * 64 * 40)
    monkeypatch.setattr(bits, "BLOCK_NUMBERS", 9 * 50)
    monkeypatch.setattr(encoding_command, "_draw", lambda *_: b"")
    told = ("encode", spots_run, "./spots.npz", "--bits", "6", *more, "-o")
    assert call(*told, "twin.npy").code == 0
    with monkeypatch.context() as patch:
        interrupted_at_a_batch(patch)
        assert call(*told, "codes.npy").code == 130
    other = call(*told[:4], "5", *more, "-o", "codes.npy")
    assert "an archive was begun there with another bits" in other.stderr
    shutil.copytree("codes.npy.part", "spoilt.npy.part")
    Path("spoilt.npy.part/quantiser").write_bytes(b"aeclibit")
    spoilt = call(*told, "spoilt.npy")
    assert spoilt.code == 3
    assert "cut short in its header; remove spoilt.npy.part to begin anew" in spoilt.stderr
    monkeypatch.setattr(encoding_command, "training_codes", lambda *_: pytest.fail("fitted anew"))
    done = call(*told, "codes.npy")
    assert done.code == 0, done.stderr
    assert "going on after 120 of 216 images" in done.stderr
    for ending in (".npy", ".csv", ".bits"):
        assert Path(f"codes{ending}").read_bytes() == Path(f"twin{ending}").read_bytes()
    ours, twins = (json.loads(Path(f"{name}.json").read_text()) for name in ("codes", "twin"))
    assert ours == twins
    assert not Path("codes.npy.part").exists()


@pytest.fixture
def packed(call, spots_run, tmp_path, monkeypatch):
    """codes.bits alone, in blocks of 50 images, and its parts."""
    monkeypatch.setattr(bits, "BLOCK_NUMBERS", 9 * 50)
    done = call("encode", spots_run, "./spots.npz", "-o", "codes.npy", "--bits", "4")
    assert done.code == 0, done.stderr
    for ending in (".npy", ".json", ".csv"):
        Path(f"codes{ending}").unlink()
    return bytearray(Path("codes.bits").read_bytes())


def with_crc(content, length):
    """The content with the checksum that its header, of so many bytes, ought to have."""
    content[length - 4 : length] = struct.pack("<I", zlib.crc32(bytes(content[: length - 4])))
    return content


DAMAGES = {
    "empty": (3, "not codes in bits, by its content"),
    "text": (3, "not codes in bits, by its content"),
    "magic alone": (3, "damaged: cut short in its header"),
    "half a header": (3, "damaged: cut short in its header"),
    "a byte of the header": (3, "damaged: its header has another checksum"),
    "another version": (3, "its format is 2; this aecli reads 1"),
    "no length": (3, "damaged: its header is none"),
    "17 bits": (3, "damaged: 17 bits"),
    "no images": (3, "damaged: 0 images in blocks of 50"),
    "endless blocks": (3, "damaged: 216 images in blocks of 4294967295"),
    "no range": (3, "damaged: a range that is none"),
    "no frequency": (3, "damaged: frequencies that are none"),
    "many bins": (3, "damaged: 2^200 bins of 2^4 steps"),
    "many numbers": (3, "damaged: codes of 4,294,967,295 numbers"),
    "another shape": (3, "damaged: codes of shape (9, 1, 1)"),
    "another model": (2, "codes of another model; a code means nothing to the model of"),
    "a byte of a block": (3, "damaged: block 1 has another checksum"),
    "words that are none": (3, "damaged: block 0 "),
    "endless words": (3, "damaged: block 0 has 4,294,967,295 words, more than its codes can take"),
    "the last byte missing": (3, "damaged: block 4 is cut short"),
    "the last block missing": (3, "damaged: block 4 is cut short"),
    "a byte more": (3, "damaged: it goes on behind its last block"),
}


def spoil(content, kind):
    """The content of a file of bits with something wrong in it. Its fixed part has 60 bytes."""
    length = struct.unpack_from("<I", content, 12)[0]
    axes = content[11]
    ranges = 60 + 4 * axes
    at_block = length
    starts = []
    while at_block < len(content):
        starts.append(at_block)
        at_block += 8 + 4 * struct.unpack_from("<I", content, at_block)[0]
    fields = {
        "another version": (8, "<H", 2),
        "no length": (12, "<I", 3),
        "17 bits": (10, "<B", 17),
        "no images": (20, "<Q", 0),
        "endless blocks": (16, "<I", 2**32 - 1),
        "no range": (ranges, "<f", np.nan),
        "many bins": (ranges + 8 * 9, "<B", 200),
        "no frequency": (ranges + 9 * 9, "<H", 0),
        "many numbers": (60, "<I", 2**32 - 1),
        "another model": (28, "<Q", 0),
        "endless words": (starts[0], "<I", 2**32 - 1),
    }
    if kind in fields:
        place, kind_of, value = fields[kind]
        struct.pack_into(kind_of, content, place, value)
        return with_crc(content, length) if kind not in ("no length", "endless words") else content
    if kind == "another shape":
        content[60 : 60 + 4 * axes] = struct.pack("<III", 9, 1, 1)
        content[11] = 3
        struct.pack_into("<I", content, 12, length + 4 * (3 - axes))
        return with_crc(content, length + 4 * (3 - axes))
    if kind == "words that are none":
        count = struct.unpack_from("<I", content, starts[0])[0]
        words = b"\xff" * 4 * count
        content[starts[0] + 4 : starts[0] + 8 + 4 * count] = (
            struct.pack("<I", zlib.crc32(words)) + words
        )
        return content
    if kind in ("a byte of the header", "a byte of a block"):
        content[ranges if kind == "a byte of the header" else starts[1] + 9] ^= 1
        return content
    return {
        "empty": b"",
        "text": b"codes",
        "magic alone": content[:8],
        "half a header": content[: length // 2 + 30],
        "the last byte missing": content[:-1],
        "the last block missing": content[: starts[-1]],
        "a byte more": content + b"x",
    }[kind]


def test_damaged_bits_are_said(call, packed, spots_run):
    assert call("decode", spots_run, "codes.bits", "-o", "whole").code == 0
    for kind, (code, words) in DAMAGES.items():
        Path("codes.bits").write_bytes(spoil(bytearray(packed), kind))
        done = call("decode", spots_run, "codes.bits", "-o", "left")
        assert (done.code, done.stdout) == (code, ""), (kind, done)
        assert f"aecli: codes.bits: {words}" in done.stderr, (kind, done.stderr)
        assert not list(Path().glob("*left*")), kind


def test_bits_beside_another_archives_description_are_said(call, packed, spots_run):
    sha256 = library.open(spots_run).model_sha256
    about = {"format": 1, "model_sha256": sha256, "images": 8}
    Path("codes.json").write_text(json.dumps(about))
    done = call("decode", spots_run, "codes.bits", "-o", "left")
    assert done.code == 3
    assert "codes.bits: 216 codes, where codes.json tells of 8" in done.stderr
    assert call("decode", spots_run, "nosuch.bits", "-o", "left").code == 3


@pytest.mark.parametrize("number", ["0", "17", "x"])
def test_other_numbers_of_bits_are_refused(call, small_run, number):
    done = call("encode", str(small_run.run), "mnist-5k", "-o", "c.npy", "--bits", number)
    assert done.code == 2
    assert "--bits" in done.stderr
    assert not list(Path().glob("c*"))


def test_without_the_coder_its_name_is_said(inside, small_run, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "constriction", None)
    run = str(small_run.run)
    (tmp_path / "codes.bits").write_bytes(b"aeclibit")
    for asked, what in (
        (("encode", run, "mnist-5k", "-o", "c.npy", "--bits", "4"), "--bits 4"),
        (("decode", run, "codes.bits", "-o", "left"), "codes.bits"),
    ):
        done = inside(*asked)
        assert (done.code, done.stdout) == (2, "")
        expected = "constriction, which codes the bits, is not installed; pip install 'aecli[bits]'"
        assert done.errors == [f"aecli: {what}: {expected}"]
    assert not list(tmp_path.glob("c.*")) + list(tmp_path.glob("*left*"))


def test_without_training_images_nothing_is_left(call, spots_run):
    shutil.move("spots.npz", "moved.npz")
    opening._opened.clear()
    done = call("encode", spots_run, "./moved.npz", "-o", "codes.npy", "--bits", "4")
    assert done.code == 3
    assert "spots.npz: no such file" in done.stderr
    assert not list(Path().glob("codes*"))


def test_another_files_bits_are_not_replaced(call, spots_run):
    Path("codes.bits").touch()
    done = call("encode", spots_run, "./spots.npz", "-o", "codes.npy")
    assert done.errors == ["aecli: codes.bits exists; it is not replaced"]


def test_search_works_on_what_is_left(call, spots_run, monkeypatch):
    from aecli.cli import search

    monkeypatch.setattr(search, "_draw", lambda *_: None)
    call("encode", spots_run, "./spots.npz", "-o", "codes.npy", "--bits", "8")
    done = call("search", spots_run, "3", "--in", "codes.npy", "-k", "2", "--json", "--with-copies")
    assert json.loads(done.stdout)["nearest"][0]["distance"] == 0
