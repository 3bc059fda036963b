"""The benchmark of storage: bits at equal error by known answers, and the formats themselves."""

import json
import math
import sys
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.text import Text

# The benchmarks are not installed. Appended, so that aecli stays the installed one.
sys.path.append(str(Path(__file__).parents[1]))

from aecli.codecs.pca import Pca
from aecli.config import PcaConfig
from aecli.data.images import Images, InMemory
from aecli.data.own import opened as opening
from aecli.experiments import reproduce_work
from benchmarks import storage
from benchmarks.storage import FORMATS, Point, needed
from tests.drawings import covers, laid_out, texts_of
from tests.own import blobs, spots


def points(*pairs):
    return [Point("x", "", mse, bits + 1, bits) for bits, mse in pairs]


SOME = points((1, 1e-1), (2, 1e-3), (3, 1e-2), (4, 1e-5))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (1e-1, (1, False)),
        (0.5, (1, True)),
        (1e-2, (1.5, False)),
        (1e-3, (2, False)),
        (1e-4, (3, False)),
        (1e-6, (np.inf, False)),
        (0, (np.inf, False)),
    ],
)
def test_bits_at_equal_error_lie_between_points_by_the_logarithm(error, expected):
    assert needed(SOME, error, headers=False) == pytest.approx(expected)
    assert needed(SOME, error, headers=True)[0] == pytest.approx(expected[0] + 1)


def test_no_error_at_all_can_be_reached():
    assert needed(points((1, 0.1), (2, 0.0)), 0, headers=False) == (2, False)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("channels", [1, 3])
def test_finer_qualities_lose_less_and_take_more(name, channels, monkeypatch):
    monkeypatch.setattr(storage, "QUALITIES", (5, 50, 95))
    monkeypatch.setattr(storage, "DECIBELS", (15, 25, 35))
    images = np.stack([blobs(4, 24, 32, seed) for seed in range(channels)], axis=1)
    found = storage.of_format(name, images)
    assert [p.mse for p in found] == sorted((p.mse for p in found), reverse=True)
    for sizes in ([p.with_headers for p in found], [p.without_headers for p in found]):
        assert sizes == sorted(sizes)
        assert min(sizes) >= 0
    assert all(p.without_headers < p.with_headers for p in found)
    assert found[-1].mse < 2e-3


def test_the_table_and_the_figure_are_of_what_was_measured(inside, tmp_path, monkeypatch, capsys):
    pytest.importorskip("constriction")
    opening._opened.clear()
    spots(tmp_path / "spots.npz")
    codec = ("--codec", "dct", "--code-dim", "9")
    assert inside("train", "--dataset", "./spots.npz", *codec).code == 0
    monkeypatch.setattr(storage, "QUALITIES", (10, 90))
    monkeypatch.setattr(storage, "DECIBELS", (20, 30))
    asked = ["latest", "./spots.npz", "--images", "9", "--threads", "1", "--out", "out"]
    monkeypatch.setattr(sys, "argv", ["storage", *asked])
    storage.main()
    text = capsys.readouterr().out
    assert "codes of 9 numbers for 9 held-out images" in text
    assert text.count("| 16 bits |") == 2
    found = json.loads(Path("out/storage.json").read_text())
    ours = [each for each in found["points"] if each["name"] == "codes"]
    assert len(ours) == 16
    assert ours[-1]["mse"] == pytest.approx(found["float_mse"], rel=1e-3)
    assert all(each["without_headers"] <= bits * 9 / 64 + 1 for bits, each in enumerate(ours, 1))
    assert Path("out/storage.png").is_file()
    every = [Point(**each) for each in found["points"]]
    texts = texts_of(laid_out(storage.figure(every, found["float_mse"], found["title"])))
    assert {"codes", *FORMATS} <= {text.get_text() for text in texts}
    boxes = [Text.get_window_extent(text) for text in texts]
    assert not any(covers(one, other) for one, other in combinations(boxes, 2))


def test_codes_better_than_any_jpeg_are_held_against_the_finest():
    noise = torch.rand((60, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    part = InMemory(noise.mul(255).to(torch.uint8))
    images = Images("noise", "drawn", "0" * 64, part, part, part)
    pca = Pca(images.shape, PcaConfig(code_dim=59))  # all that 60 images have: a copy, nearly
    pca.solve(images.train)
    (stored,) = reproduce_work.measure_storage([SimpleNamespace(codec=pca)], images)
    assert 0 < stored.bits < stored.jpeg_bits < math.inf
    assert math.isfinite(stored.error_ratio)
