"""Configs: precedence, recipes, every mistake at once, and resolved configs that repeat."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aecli.cli.shipped import find_config, shipped_configs
from aecli.codecs import CODECS
from aecli.config import (
    EXPERIMENTS,
    FitConfig,
    TrainConfig,
    flag_layer,
    json_schema,
    resolve,
    set_layer,
    to_yaml,
    yaml_layer,
)
from aecli.errors import UsageError


def errors_of(*layers):
    with pytest.raises(UsageError) as error:
        resolve(TrainConfig, layers)
    return str(error.value).splitlines()


@pytest.fixture
def from_yaml(tmp_path):
    def layer(text):
        path = tmp_path / "c.yaml"
        path.write_text(text)
        return yaml_layer(path)

    return layer


def test_flag_over_set_over_yaml_over_default(from_yaml):
    yaml = from_yaml("seed: 1\ntrain: {epochs: 10, batch_size: 10, lr: 0.1}")
    sets = set_layer(["train.epochs=20", "train.batch_size=20"])
    flags = flag_layer({"--epochs": ("train.epochs", 30), "--lr": ("train.optimizer.lr", None)})
    config = resolve(TrainConfig, [yaml, sets, flags])
    fit = config.train
    assert (fit.epochs, fit.batch_size, fit.optimizer.lr, config.seed) == (30, 20, 0.1, 1)
    assert fit.optimizer.momentum == FitConfig().optimizer.momentum


def test_the_chapter_recipe_is_the_chapters():
    fit = FitConfig(recipe="chapter")
    assert (fit.optimizer.name, fit.optimizer.lr, fit.batch_size, fit.epochs) == (
        "adam",
        1e-3,
        256,
        5,
    )
    assert (fit.schedule, fit.warmup, fit.precision) == ("constant", 0, "fp32")


def test_a_precision_beside_the_chapter_recipe_wins():
    flags = {"--recipe": ("train.recipe", "chapter"), "--precision": ("train.precision", "bf16")}
    assert resolve(TrainConfig, [flag_layer(flags)]).train.precision == "bf16"


def test_the_recipe_is_the_training_and_the_config_the_images_too():
    """FINDINGS 37: the recipe leaves the split alone, and its help says so."""
    recipe = resolve(TrainConfig, [flag_layer({"--recipe": ("train.recipe", "chapter")})])
    config = resolve(TrainConfig, [yaml_layer(find_config("chapter"))])
    assert recipe.train == config.train
    assert (recipe.data.val, config.data.val) == (None, 0)
    told = json_schema("train")["$defs"]["FitConfig"]["properties"]["recipe"]["description"]
    assert "data.val: 0" in told


def test_another_recipe_starts_the_section_over(from_yaml):
    yaml = from_yaml("train: {recipe: muon, lr: 0.5, epochs: 99}")
    same = resolve(TrainConfig, [yaml, flag_layer({"--recipe": ("train.recipe", "muon")})])
    other = resolve(TrainConfig, [yaml, flag_layer({"--recipe": ("train.recipe", "chapter")})])
    assert (same.train.optimizer.lr, same.train.epochs) == (0.5, 99)
    assert other.train == FitConfig(recipe="chapter")


@pytest.mark.parametrize("through", ["yaml", "set", "flag"])
def test_naming_the_default_keeps_what_is_set_below(from_yaml, through):
    """FINDINGS 1: `--recipe muon --codec mlp` over a YAML that names neither."""
    settings = "train: {epochs: 50, lr: 0.01}\ncodec: {code_dim: 16, hidden: [512]}"
    names = ("codec.name", "mlp"), ("train.recipe", "muon")
    match through:
        case "yaml":
            named = from_yaml("codec: {name: mlp}\ntrain: {recipe: muon}")
        case "set":
            named = set_layer([f"{key}={name}" for key, name in names])
        case _:
            named = flag_layer({f"--{name}": (key, name) for key, name in names})
    config = resolve(TrainConfig, [from_yaml(settings), named])
    assert (config.train.epochs, config.train.optimizer.lr) == (50, 0.01)
    assert (config.codec.code_dim, config.codec.hidden) == (16, (512,))


@pytest.mark.parametrize("experiment", ["sweep-codedim", "pca-compare", "reproduce"])
def test_naming_the_default_recipe_keeps_the_experiments_own_defaults(from_yaml, experiment):
    """Its batch of 128 too when the recipe comes back from another one."""
    model = EXPERIMENTS[experiment]
    own = model().train
    named = flag_layer({"--recipe": ("train.recipe", "muon")})
    assert resolve(model, [named]).train == own
    assert resolve(model, [from_yaml("train: {recipe: muon}")]).train == own
    chapter = from_yaml("train: {recipe: chapter, epochs: 9}")
    assert resolve(model, [chapter]).train.batch_size == 256
    assert resolve(model, [chapter, named]).train == own


def test_naming_the_default_codec_keeps_interpolates_code_of_2(from_yaml):
    model = EXPERIMENTS["interpolate"]
    named = flag_layer({"--codec": ("codec.name", "mlp")})
    assert resolve(model, [named]).codec.code_dim == 2
    config = resolve(model, [from_yaml("codec: {hidden: [9]}"), named])
    assert (config.codec.code_dim, config.codec.hidden) == (2, (9,))


def test_values_beside_a_recipe_win_over_it(from_yaml):
    assert (
        resolve(TrainConfig, [from_yaml("train: {recipe: chapter, lr: 0.5}")]).train.optimizer.lr
        == 0.5
    )


def test_another_codec_keeps_only_the_code_dimension(from_yaml):
    yaml = from_yaml("codec: {name: mlp, code_dim: 7, hidden: [9]}")
    config = resolve(TrainConfig, [yaml, flag_layer({"--codec": ("codec.name", "pca")})])
    assert config.codec.model_dump() == {"name": "pca", "code_dim": 7}


def test_setting_one_key_of_a_section_leaves_the_experiments_other_defaults():
    sweep = resolve(EXPERIMENTS["sweep-codedim"], [set_layer(["data.dataset=mnist"])])
    assert (sweep.data.dataset, sweep.data.val) == ("mnist", 0)
    path = resolve(EXPERIMENTS["interpolate"], [set_layer(["codec.name=pca"])])
    assert path.codec.model_dump() == {"name": "pca", "code_dim": 2}


def test_every_mistake_at_once_with_its_place(from_yaml):
    lines = errors_of(
        from_yaml(
            "seed: no\ncodec:\n  code_dm: 3\n  hidden: [256, -4]\ntrain:\n  epochs: 0\nfoo: 1"
        ),
        set_layer(["data.dataset=mnits"]),
        flag_layer({"--lr": ("train.optimizer.lr", -1.0)}),
    )
    found = "\n".join(lines)
    for place, message in [
        ("c.yaml:1:1", "seed='no' must be a whole number"),
        ("c.yaml:3:3", "unknown key 'codec.code_dm'; did you mean 'codec.code_dim'?"),
        ("c.yaml:4:17", "codec.hidden.1=-4 must be at least 1"),
        ("c.yaml:6:3", "train.epochs=0 must be at least 1"),
        ("c.yaml:7:1", "unknown key 'foo'; the keys here are experiment, name"),
        (
            "--set data.dataset=mnits",
            "data.dataset='mnits': no dataset is called 'mnits'; did you mean 'mnist'?",
        ),
        ("--lr", "train.optimizer.lr=-1.0 must be greater than 0"),
    ]:
        assert f"{place}: {message}" in found
    assert len(lines) == 7


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("codec.code_dim=abc", "codec.code_dim='abc' must be a whole number"),
        ("codec.code_dim=true", "codec.code_dim=true must be a whole number"),
        ("codec.code_dim=2.0", "codec.code_dim=2.0 must be a whole number"),
        ("codec=3", "codec=3 must be a section of keys and values"),
        ("codec.name=foo", "codec.name='foo' must be one of 'mlp'"),
        ("codec.name=[1]", "codec.name=[1] must be one of 'mlp'"),
        ("train.lr=.inf", "train.optimizer.lr=inf must be a finite number"),
        ("train.warmup=.nan", "train.warmup=nan must be a finite number"),
        ("train.recipe=[1]", "train.recipe=[1] must be one of"),
        ("train=1", "train=1 must be a section of keys and values"),
        ("name=../../x", "name='../../x' must be 1 to 40 letters, digits"),
        ("data.dir=3", "data.dir=3 must be text"),
        ("experiment=sweep", "experiment='sweep' must be one of 'train'"),
    ],
)
def test_a_bad_value_gets_one_clear_line(assignment, message):
    [line] = errors_of(set_layer([assignment]))
    assert line.startswith(f"--set {assignment}: {message}")


@pytest.mark.parametrize("assignment", ["x", "=3", "a..b=3", "codec.code_dim=1: 2: 3"])
def test_a_malformed_set_is_named(assignment):
    with pytest.raises(UsageError, match="--set"):
        set_layer([assignment])


def test_a_config_must_be_a_readable_mapping(from_yaml, tmp_path):
    with pytest.raises(UsageError, match="a config is a mapping"):
        from_yaml("- 1")
    with pytest.raises(UsageError, match=r"no-such\.yaml: no such file"):
        find_config("no-such.yaml")
    with pytest.raises(UsageError, match="is a folder"):
        find_config(f"{tmp_path}/")
    with pytest.raises(UsageError, match="did you mean 'chapter'"):
        find_config("chaptr")
    assert resolve(TrainConfig, [from_yaml("")]) == TrainConfig()


@pytest.mark.parametrize("shipped", shipped_configs(), ids=lambda shipped: shipped.name)
def test_shipped_configs_are_valid_and_say_what_they_do(shipped):
    layer = yaml_layer(shipped.path)
    config = resolve(EXPERIMENTS[layer.values["experiment"]], [layer])
    head = shipped.path.read_text().split("\nexperiment:")[0]
    assert head.startswith(f"# aecli {config.experiment} --config {shipped.name}")
    assert len(shipped.summary) > 20
    scored = "test_mse"
    if config.experiment == "evaluate":
        scored = "anomaly_auroc" if config.parts == ("anomaly",) else "probe_accuracy"
    assert scored in head


def test_the_config_called_train_is_the_defaults():
    assert resolve(TrainConfig, [yaml_layer(find_config("train"))]) == TrainConfig()


@given(
    st.integers(0, 2**32 - 1),
    st.floats(min_value=1e-300, max_value=1e300),
    st.sampled_from(
        ["no", "1e5", "0x1", "null", "a b", "12:30", "ü", "'", "#", "- a", "{", "true"]
    ),
    st.lists(st.integers(1, 10**6), max_size=4),
)
def test_a_resolved_config_reads_back_to_itself(seed, lr, folder, hidden):
    config = TrainConfig.model_validate(
        {
            "seed": seed,
            "data": {"dir": folder},
            "codec": {"name": "mlp", "hidden": hidden},
            "train": {"optimizer": {"lr": lr}},
        }
    )
    from aecli.config import yaml12
    from aecli.config.resolve import Layer

    document = yaml12.read(to_yaml(config).encode(), "f")
    assert resolve(TrainConfig, [Layer(document.data, document.places)]) == config


def test_names_in_the_config_are_the_names_in_the_program():
    schema = json_schema("train")
    assert set(schema["properties"]["codec"]["discriminator"]["mapping"]) == set(CODECS)


def test_the_schema_is_json_with_a_line_for_each_setting():
    schema = json.loads(json.dumps(json_schema("train")))
    assert schema["additionalProperties"] is False
    assert schema["$defs"]["FitConfig"]["properties"]["warmup"]["description"].startswith(
        "Fraction"
    )
    with pytest.raises(UsageError, match="no experiment is called 'trian'"):
        json_schema("trian")
