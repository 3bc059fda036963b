"""The judge of decoded images: the same wherever it comes from; its cache costs time only."""

import json

import pytest
import torch

from aecli.measure import classifier
from aecli.terminal import Terminal


@pytest.fixture(autouse=True)
def one_epoch(monkeypatch):
    monkeypatch.setattr(classifier, "EPOCHS", 1)


@pytest.fixture
def judge(images, tmp_path):
    """Make the judge of some blobs, with a cache in tmp_path."""
    return lambda cache=tmp_path / "cache": classifier.trained_classifier(images, cache, Terminal())


@pytest.fixture
def kept(judge, tmp_path):
    """The file that a judge leaves in the cache."""
    judge()
    [path] = (tmp_path / "cache").iterdir()
    return path


def test_it_says_what_it_is_and_where_it_came_from(judge, images):
    first, second = judge(), judge()
    assert first.provenance() == second.provenance() | {"source": "trained"}
    assert second.provenance() == {
        "name": f"{images.sha256[:12]}-400-v3-torch-{torch.__version__}",
        "weights_sha256": first.weights_sha256,
        "test_accuracy": first.test_accuracy,
        "source": "cache",
    }
    for a, b in zip(first.network.parameters(), second.network.parameters(), strict=True):
        assert torch.equal(a, b)


def test_its_weights_do_not_depend_on_the_threads(judge, tmp_path):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = judge(tmp_path / "one")
        torch.set_num_threads(2)
        two = judge(tmp_path / "two")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert one.weights_sha256 == two.weights_sha256


def test_it_leaves_the_global_random_state_alone(judge):
    torch.manual_seed(5)
    expected = torch.rand(3)
    for _ in ("trained", "from the cache"):
        torch.manual_seed(5)
        judge()
        assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("damage", ["a bit", "cut", "empty", "another", "a folder"])
def test_a_damaged_one_is_told_and_trained_anew(judge, kept, capsys, damage):
    whole = kept.read_bytes()
    kept.unlink()
    if damage == "a folder":
        kept.mkdir()
    else:
        flipped = whole[:-1] + bytes([whole[-1] ^ 1])
        other = {"a bit": flipped, "cut": whole[:-9], "empty": b"", "another": b"0" * len(whole)}
        kept.write_bytes(other[damage])
    capsys.readouterr()
    again = judge()
    assert f"WARNING: {kept} is damaged" in capsys.readouterr().err
    assert again.source == "trained"
    if damage != "a folder":
        assert kept.read_bytes() == whole
        assert judge().source == "cache"


def test_a_cache_that_cannot_be_written_costs_time_only(judge, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    first, second = (judge(tmp_path / "file") for _ in range(2))
    assert first.provenance() == second.provenance()
    assert second.source == "trained"
    assert capsys.readouterr().err.count("WARNING: cannot write") == 2


def assert_named(run):
    """A run that depends on the judge says in run.json which one it was."""
    record = json.loads((run / "run.json").read_text())["classifier"]
    assert set(record) == {"name", "weights_sha256", "test_accuracy", "source"}
    metrics = json.loads((run / "metrics.json").read_text())
    assert record["test_accuracy"] == metrics["classifier_accuracy"]
