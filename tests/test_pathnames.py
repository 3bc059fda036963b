"""Paths as users write them: `~` wherever a path can come from, and no path that is empty."""

import json

import pytest

from aecli.config import TrainConfig, resolve, set_layer
from aecli.data.sources import default_places
from aecli.errors import UsageError
from aecli.pathnames import user_path
from tests.conftest import FEW_IMAGES

DCT = (*FEW_IMAGES, "--codec", "dct", "-q")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Another home folder than the user's; the current folder is beside it."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    return folder


def no_tilde(folder):
    return not any(path.name.startswith("~") for path in folder.rglob("*"))


def test_home_is_expanded_as_a_shell_would(home):
    assert user_path("~") == home
    assert user_path("~/a b/") == home / "a b"
    assert str(user_path("a/~")) == "a/~"
    assert str(user_path("~no-such-user/x")) == "~no-such-user/x"
    with pytest.raises(UsageError, match="'' is not a path"):
        user_path("")


def test_runs_dir_by_flag_and_environment(inside, home, tmp_path, monkeypatch):
    by_flag = inside("train", *DCT, "--runs-dir=~/by flag/")
    assert by_flag.run.parent == home / "by flag"
    monkeypatch.setenv("AECLI_RUNS_DIR", "~/by environment")
    by_environment = inside("train", *DCT)
    assert by_environment.run.parent == home / "by environment"
    assert by_environment.run.name in inside("ls").stdout
    assert by_flag.run.name in inside("ls", "--runs-dir=~/by flag").stdout
    assert no_tilde(tmp_path)


def test_config_copy_and_run(inside, home, tmp_path):
    copied = inside("configs", "copy", "train", "~/mine.yaml")
    assert copied.stdout == f"{home / 'mine.yaml'}\n"
    assert inside("train", "--config=~/mine.yaml", "--dry-run", "--offline").code == 0
    run = inside("train", *DCT, "--runs-dir=~/runs").run
    for named in (f"--run=~/runs/{run.name}/", f"--set=run=~/runs/{run.name}"):
        done = inside("sample", named, "--offline", "--dry-run", "--json")
        assert done.code == 0, done.stderr
        assert json.loads(done.stdout)["config"]["run"] == str(run)
    (tmp_path / "c.yaml").write_text(f"experiment: sample\nrun: ~/runs/{run.name}\n")
    assert inside("sample", "--config", "c.yaml", "--offline", "--dry-run").code == 0
    assert no_tilde(tmp_path)


def test_data_dir_by_flag_yaml_and_environment(inside, home, tmp_path, monkeypatch):
    (home / "d").mkdir()
    (tmp_path / "c.yaml").write_text("experiment: train\ndata: {dir: ~/d, dataset: mnist}\n")
    for given in (("--data-dir=~/d", "--dataset=mnist"), ("--config=c.yaml",)):
        done = inside("train", *given, "--offline", "--dry-run")
        assert done.code == 3
        assert f"data folder {home / 'd'}" in done.stderr
    monkeypatch.setenv("AECLI_DATA_DIR", "~/d")
    assert default_places().data_dir == home / "d"


@pytest.mark.parametrize("variable", ["AECLI_RUNS_DIR", "AECLI_DATA_DIR"])
def test_an_empty_variable_is_as_one_that_is_not_set(inside, tmp_path, monkeypatch, variable):
    monkeypatch.setenv(variable, "")
    assert inside("train", *DCT).run.parent == tmp_path / "runs"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", *DCT, "--runs-dir="], "'' is not a path"),
        (["ls", "--runs-dir="], "'' is not a path"),
        (["train", *DCT, "--data-dir="], "--data-dir: data.dir='': must be a path"),
        (["train", *DCT, "--set", "data.dir=''"], "data.dir='': must be a path"),
        (["train", *DCT, "--config="], "'' is not a path"),
        (["sample", "--run="], "--run: run='': must be a path"),
        (["configs", "copy", "train", ""], "'' is not a path"),
        (["configs", "copy", "train", "new/"], "cannot write new/train.yaml: there is no such f"),
    ],
)
def test_an_empty_path_is_refused_and_nothing_written(inside, tmp_path, arguments, message):
    done = inside(*arguments)
    assert (done.code, done.stdout) == (2, "")
    assert message in done.stderr
    assert not list(tmp_path.iterdir())


def test_paths_in_a_config_are_written_as_they_are_used(home):
    config = resolve(TrainConfig, [set_layer(["data.dir=~/d/"])])
    assert config.data.dir == str(home / "d")
