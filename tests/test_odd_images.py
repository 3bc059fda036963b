"""Odd inputs among images: each is used, refused with its reason, or passed over; nothing is lost
without a word, and no library speaks on stderr."""

import os

import pytest

from aecli.config import DataConfig
from aecli.data import facts
from aecli.errors import DataError, UsageError
from tests import odd_images
from tests.odd_images import FAULT, FILES, GOOD, MASKED, OVER, PLACES


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


def _write(odd, path):
    if os.geteuid() == 0 and odd.name.startswith("sealed"):
        pytest.skip("root may read everything")
    odd.write(path)


def _look(folder, **settings):
    return facts.look(DataConfig(dataset=str(folder), **settings))


@pytest.mark.parametrize("odd", FILES, ids=lambda odd: ascii(odd.name)[:60])
def test_an_odd_file_among_good_ones(odd, folder, capfd):
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
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("odd", FILES, ids=lambda odd: ascii(odd.name)[:60])
def test_an_odd_file_alone(odd, folder, capfd):
    _write(odd, folder / odd.name)
    kind, words = UsageError, "one image alone cannot be split"
    if odd.outcome == OVER:
        kind, words = DataError, "files is an image|an empty folder"
    elif odd.outcome == FAULT and not odd.unlike:
        kind, words = DataError, "1 file of 1 cannot be used"
    with pytest.raises(kind, match=words):
        _look(folder, size=8)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.name)
def test_an_odd_dataset(place, folder, capfd):
    if os.geteuid() == 0 and "sealed" in place.name:
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
