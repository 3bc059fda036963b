"""Settings of somebody's own images: which are refused and how, and that a config repeats."""

import json

import pytest
import yaml

from aecli.config import (
    EXPERIMENTS,
    DataConfig,
    json_schema,
    resolve,
    set_layer,
    to_yaml,
    yaml_layer,
)
from aecli.config.resolve import Layer
from aecli.errors import UsageError
from tests.own import drawn, put

SET = {  # each key that is for a path only, with a value that is not its default
    "size": "8",
    "tile": "8",
    "stride": "4",
    "edges": "pad",
    "gap": "2",
    "bands": "[3, 1]",
    "channels": "3",
    "scale": "percentiles",
    "nodata": "-9999",
    "min_valid": "0.9",
    "background": "black",
    "shown": "[2]",
    "test": "0.3",
    "skip_bad": "true",
}


def config(*assignments, dataset="./x", experiment="train"):
    layers = [set_layer([f"data.dataset={dataset}", *assignments])]
    return resolve(EXPERIMENTS[experiment], layers)


def test_each_key_of_a_path_is_listed():
    assert set(SET) == set(DataConfig.OF_OWN)


@pytest.mark.parametrize("key", SET)
@pytest.mark.parametrize("dataset", ["mnist", "auto"])
def test_a_key_of_a_path_is_refused_over_a_known_dataset(key, dataset):
    beside = ["data.tile=8"] if key in ("stride", "edges", "gap") else []
    with pytest.raises(UsageError) as caught:
        config(f"data.{key}={SET[key]}", *beside, dataset=dataset)
    lines = [line for line in str(caught.value).splitlines() if f"data.{key}=" in line]
    assert lines == [line for line in lines if line.startswith(f"--set data.{key}={SET[key]}: ")]
    assert len(lines) == 1
    reason = f"has no effect: {dataset} is a known dataset; this is for images at a path"
    assert lines[0].endswith(reason)


@pytest.mark.parametrize("key", SET)
def test_a_key_of_a_path_is_taken_for_a_path(key):
    beside = ["data.tile=8"] if key in ("stride", "edges", "gap") else []
    taken = config(f"data.{key}={SET[key]}", *beside)
    assert getattr(taken.data, key) != getattr(DataConfig(), key)
    assert resolve(EXPERIMENTS["train"], [layer_of(taken)]) == taken


def layer_of(config):
    """What a run's config.yaml says."""
    return Layer(yaml.safe_load(to_yaml(config)), {})


def test_a_path_below_is_passed_over_under_a_known_dataset_above():
    below = set_layer(["data.dataset=./photos", "data.tile=8", "data.test=0.3"])
    above = set_layer(["data.dataset=mnist-5k"])
    assert resolve(EXPERIMENTS["train"], [below, above]).data == DataConfig(dataset="mnist-5k")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("data.test=0", "data.test=0: must be a share below 1, as 0.2; a path or a list of them;"),
        ("data.test=1.0", "data.test=1.0: must be a share below 1"),
        ("data.test=''", "data.test='': must be a share"),
        ("data.test=[1, 2, 3]", "data.test=[1, 2, 3]: must be a share"),
        ("data.test=[0, 0, 0, 5]", "or a window of a scene as [column, row, width, height] in p"),
        ("data.test=[-1, 0, 5, 5]", "data.test=[-1, 0, 5, 5]: must be"),
        ("data.test=[a, 3]", "data.test=['a', 3]: must be"),
        ("data.test=[]", "data.test=[]: must be"),
        ("data.test={a: 1}", "data.test={'a': 1}: must be"),
        ("data.test=true", "data.test=true: must be"),
        ("data.val=-1", "data.val=-1: must be a number of images, or a share of them below 1"),
        ("data.val=1.5", "data.val=1.5: must be a number of images"),
        ("data.val=x", "data.val='x': must be a number of images"),
        ("data.val=true", "data.val=true: must be a number of images"),
        ("data.bands=0", "data.bands=0 must be a list"),
        ("data.bands=[0]", "data.bands.0=0 must be at least 1"),
        ("data.bands=[a]", "data.bands.0='a' must be a whole number"),
        ("data.bands=[1, 1]", "data.bands=[1, 1]: one stands twice"),
        ("data.dataset=mnits", "data.dataset='mnits': no dataset is called 'mnits'; did you mean"),
        ("data.dataset=''", "data.dataset='': must be a dataset's name or a path"),
        ("data.dataset=https://a.b/c.zip", "'https://a.b/c.zip': is an address; download it"),
        ("data.dataset=photos", "there are auto, mnist, fashion-mnist, mnist-5k; a path has a"),
        ("data.dataset=3", "data.dataset=3 must be text"),
        ("data.size=0", "data.size=0 must be at least 1"),
        ("data.size=70000", "data.size=70000 must be at most 65536"),
        ("data.tile=2.5", "data.tile=2.5 must be a whole number"),
        ("data.stride=3", "data.stride=3 is from one tile to the next: give data.tile"),
        ("data.gap=3", "data.gap=3 has no effect: data.tile is null: images are not cut"),
        ("data.edges=pad", "data.edges='pad' has no effect: data.tile is null"),
        ("data.edges=cut", "data.edges='cut' must be one of 'drop' or 'pad'"),
        ("data.scale=rnge", "data.scale='rnge' must be one of 'auto', 'range' or 'percentiles'; d"),
        ("data.nodata=x", "data.nodata='x' must be a number"),
        ("data.nodata=.nan", "data.nodata=nan must be a finite number"),
        ("data.min_valid=2", "data.min_valid=2 must be at most 1"),
        ("data.shown=[1, 2, 3, 4]", "data.shown=[1, 2, 3, 4] must be a list of at most 3"),
        ("data.skip_bad=1", "data.skip_bad=1 must be true or false"),
        ("data.nodta=3", "unknown key 'data.nodta'; did you mean 'data.nodata'?"),
    ],
)
def test_wrong_values_are_refused_in_one_line_that_says_what_may_be(setting, message):
    path = [] if "dataset" in setting else ["data.dataset=./x"]
    with pytest.raises(UsageError) as caught:
        resolve(EXPERIMENTS["train"], [set_layer([*path, setting])])
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_size_and_tile_do_not_go_together():
    with pytest.raises(UsageError, match=r"data.size=8 and tile=4: an image is resized or cut"):
        config("data.size=8", "data.tile=4")


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ("0.25", 0.25),
        ("held.png", ("held.png",)),
        ("[held.png, sub]", ("held.png", "sub")),
        ("[0, 10, 64, 32]", (0, 10, 64, 32)),
        ("null", None),
        ("../else", None),
    ],
)
def test_each_kind_of_test_comes_back_from_a_runs_config(tmp_path, given, value):
    put(tmp_path / "photos", drawn(2, 8, 8), ("sub",))
    (tmp_path / "photos/held.png").write_bytes(b"")
    there = config(f"data.test={given}", dataset=tmp_path / "photos")
    if given != "../else":
        assert there.data.test == value
    (tmp_path / "config.yaml").write_text(to_yaml(there))
    assert resolve(EXPERIMENTS["train"], [yaml_layer(tmp_path / "config.yaml")]) == there


def test_paths_are_absolute_and_know_the_users_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "photos/held", drawn(2, 8, 8))
    for given, expected in (
        ("./photos/", tmp_path / "photos"),
        ("~/photos", tmp_path / "home/photos"),
        ("x.npy", tmp_path / "x.npy"),
        (tmp_path / "x", tmp_path / "x"),
    ):
        assert config(dataset=given).data.dataset == str(expected)
    (tmp_path / "held").mkdir()  # which photos/../held is, and ../held is not
    held = config("data.test=[./held/, else, ~/more, ../held]", dataset="./photos").data.test
    assert held == ("held", *(str(tmp_path / each) for each in ("else", "home/more", "../held")))
    assert config(dataset="mnist").data.dataset == "mnist"


def test_the_schema_says_what_data_may_be():
    schema = json_schema("train")
    data = schema["$defs"]["DataConfig"]["properties"]
    assert set(data) == set(DataConfig.model_fields)
    assert all(data[key]["description"] for key in data)
    json.dumps(schema, allow_nan=False)
    share, path, paths, window, nothing = data["test"]["anyOf"]
    assert (share["exclusiveMinimum"], share["exclusiveMaximum"]) == (0, 1)
    assert path == {"type": "string", "minLength": 1}
    assert (paths["items"], paths["minItems"]) == (path, 1)
    assert [each["minimum"] for each in window["prefixItems"]] == [0, 0, 1, 1]
    assert nothing == {"type": "null"}
