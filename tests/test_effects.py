"""Settings without effect, settings that were given, and what decides a run's numbers."""

import pytest

from aecli.config import (
    EXPERIMENTS,
    AdamConfig,
    Layer,
    MlpConfig,
    MuonConfig,
    PcaConfig,
    ReproduceConfig,
    SampleConfig,
    SweepConfig,
    ToVaeConfig,
    TrainConfig,
    as_recorded,
    flag_layer,
    idle_settings,
    is_given,
    json_schema,
    numbers_of,
    other_numbers,
    resolve,
    set_layer,
    settings_of,
    to_yaml,
    with_values,
    yaml12,
    yaml_layer,
)
from aecli.errors import UsageError
from tests.conftest import FEW_IMAGES, SMALL

# Experiment, the settings given, the key without effect, the reason.
IDLE = [
    ("train", ["train.elastic_fraction=0.1"], "train.elastic_fraction", "train.elastic=0"),
    ("train", ["codec.name=pca", "train.epochs=3"], "train.epochs", "solved for"),
    ("train", ["codec.name=dct", "train.recipe=muon"], "train.recipe", "solved for"),
    ("train", ["codec.name=pca", "checkpoint_seconds=3"], "checkpoint_seconds", "solved for"),
    ("sample", ["codec.name=pca", "train.warmup=0"], "train.warmup", "solved for"),
    ("sample", ["run=x", "checkpoint_seconds=1"], "checkpoint_seconds", "nothing is trained"),
    ("sample", ["run=x", "device=cuda"], "device", "on the CPU"),
    ("train", ["codec.name=pca", "device=cuda"], "device", "solved for, on the CPU"),
    ("sweep-codedim", ["codec.code_dim=8"], "codec.code_dim", "code_dims says"),
    ("sweep-codedim", ["codec.name=dct", "variants=[sparse]"], "variants", "solved for"),
    ("sweep-codedim", ["variants=[masking]", "train.noise=gaussian"], "train.noise", "variants="),
    ("sweep-codedim", ["variants=[sparse]", "train.loss=sparse"], "train.loss", "variants="),
    ("sweep-codedim", ["codec.name=pca", "ordered=true"], "ordered", "solved for"),
    ("sweep-codedim", ["ordered=true", "train.ordered=true"], "train.ordered", "sets it itself"),
    ("train", ["codec.code_dim=1", "train.ordered=true"], "train.ordered", "has no order"),
    ("pca-compare", ["codec.code_dim=8"], "codec.code_dim", "code_dims says"),
    (
        "evaluate",
        ["run=x", "parts=retrieval", "checkpoint_seconds=1"],
        "checkpoint_seconds",
        "nothing is trained",
    ),
    ("evaluate", ["parts=retrieval", "anomaly.code_dim=8"], "anomaly.code_dim", "not among"),
    ("evaluate", ["run=x", "parts=retrieval", "seeds=2"], "seeds", "trained or drawn"),
    ("evaluate", ["parts=anomaly", "train.epochs=3"], "train.epochs", "has its own"),
    ("evaluate", ["codec.name=pca", "anomaly.batch_size=8"], "anomaly.batch_size", "solved for"),
    ("reproduce", ["codec.code_dim=8"], "codec.code_dim", "the claims say"),
]


@pytest.mark.parametrize(("experiment", "given", "key", "reason"), IDLE)
def test_a_setting_without_effect_is_refused_with_its_place_and_the_reason(
    experiment, given, key, reason
):
    with pytest.raises(UsageError) as error:
        resolve(EXPERIMENTS[experiment], [set_layer(given)])
    [line] = str(error.value).splitlines()
    assert line.startswith(f"--set {given[-1]}: {key}=")
    assert "has no effect: " in line
    assert reason in line


@pytest.mark.parametrize(("experiment", "given", "key", "reason"), IDLE)
def test_it_is_not_in_the_config_that_is_written_and_that_config_reads_back(
    experiment, given, key, reason
):
    layers = [set_layer(given)]
    config = resolve(EXPERIMENTS[experiment], layers, recorded=True)  # an older aecli took it
    assert not is_given(config, key)
    text = to_yaml(config)
    document = yaml12.read(text.encode(), "config.yaml")
    again = resolve(type(config), [Layer(document.data, document.places)])
    assert settings_of(again) == settings_of(config)
    assert numbers_of(config).get(key) in (None, numbers_of(type(config)()).get(key))


@pytest.mark.parametrize("experiment", EXPERIMENTS)
@pytest.mark.parametrize("given", [[], ["train.recipe=chapter"], ["train.noise=masking"]])
def test_every_config_that_is_written_reads_back(experiment, given):
    config = resolve(EXPERIMENTS[experiment], [set_layer(given)])
    document = yaml12.read(to_yaml(config).encode(), "config.yaml")
    assert resolve(type(config), [Layer(document.data, document.places)]) == config


def test_what_is_named_above_lets_settings_below_give_way(tmp_path):
    (tmp_path / "c.yaml").write_text("train: {recipe: muon, momentum: 0.5, lr: 0.1}")
    yaml = yaml_layer(tmp_path / "c.yaml")
    adam = resolve(TrainConfig, [yaml, set_layer(["train.optimizer=adam"])])
    assert adam.train.optimizer == AdamConfig()
    assert not is_given(adam, "train.optimizer.lr")
    pca = resolve(TrainConfig, [yaml, flag_layer({"--codec": ("codec.name", "pca")})])
    assert "train" not in settings_of(pca)
    flags = flag_layer({"--codec": ("codec.name", "pca"), "--lr": ("train.optimizer.lr", 0.5)})
    with pytest.raises(UsageError, match=r"--lr: train\.optimizer\.lr=0\.5 has no effect: pca"):
        resolve(TrainConfig, [yaml, flags])


def test_a_setting_in_braces_is_refused_with_its_place_too():
    with pytest.raises(UsageError, match=r"--set train={.*}: train\.elastic_fraction=0\.5 has no"):
        resolve(TrainConfig, [set_layer(["train={elastic_fraction: 0.5}"])])


@pytest.mark.parametrize(
    ("former", "now"),
    [
        ("train: {lr: 0.5, momentum: 0.8}", "train: {optimizer: {lr: 0.5, momentum: 0.8}}"),
        ("train: {adam_lr: 0.5}", "train: {optimizer: {name: muon, adam_lr: 0.5}}"),
        ("train: {optimizer: adam, lr: 0.5}", "train: {optimizer: {name: adam, lr: 0.5}}"),
        ("train: {optimizer: adam, muon_precision: fp32}", "train: {optimizer: {name: adam}}"),
        ("train: {muon_precision: fp32}", "train: {optimizer: {precision: fp32}}"),
        ("train: {recipe: chapter, lr: 0.5}", "train: {recipe: chapter, optimizer: {lr: 0.5}}"),
        (
            "train: {noise: masking, noise_level: 0.7}",
            "train: {noise: {name: masking, level: 0.7}}",
        ),
        ("train: {l1: 0.2}", "train: {loss: {name: sparse, l1: 0.2}}"),
        ("train: {l1: 0.0}", "{}"),
        ("train: {recipe: chapter, muon_precision: bf16}", "train: {recipe: chapter}"),
    ],
)
def test_keys_of_former_versions_mean_what_they_meant(former, now):
    configs = []
    for text in (former, now):
        document = yaml12.read(text.encode(), "c.yaml")
        configs.append(resolve(TrainConfig, [Layer(document.data, document.places)]))
    assert configs[0] == configs[1]


@pytest.mark.parametrize("order", [1, -1])
def test_a_name_and_a_key_of_its_section_are_both_set(order):
    settings = ["train.optimizer=adam", "train.optimizer.lr=0.5"][::order]
    config = resolve(TrainConfig, [set_layer(settings)])
    assert config.train.optimizer == AdamConfig(lr=0.5)


def test_no_penalty_takes_away_the_one_below():
    layers = [set_layer(["train.l1=0.05"]), set_layer(["train.l1=0"])]
    assert resolve(TrainConfig, layers).train.loss.name == "mse"


def test_naming_the_optimizer_that_the_recipe_has_keeps_what_is_set_below():
    below = set_layer(["train.recipe=chapter", "train.optimizer.lr=0.5"])
    config = resolve(TrainConfig, [below, set_layer(["train.optimizer=adam"])])
    assert config.train.optimizer == AdamConfig(lr=0.5)
    other = resolve(SweepConfig, [below, set_layer(["train.optimizer=muon"])])
    assert other.train.optimizer == MuonConfig()
    back = resolve(
        ToVaeConfig, [set_layer(["train.optimizer=adam"]), set_layer(["train.optimizer=muon"])]
    )
    assert back.train.optimizer == MuonConfig(lr=0.02, momentum=0.9)


def test_fields_set_are_the_keys_that_were_given():
    config = resolve(SweepConfig, [set_layer(["train.recipe=chapter", "data.dataset=mnist"])])
    assert config.model_fields_set == {"train", "data"}
    assert config.train.model_fields_set == {"recipe"}
    assert config.data.model_fields_set == {"dataset"}  # not val, which is the sweep's own default
    assert is_given(config, "train.recipe")
    assert not is_given(config, "train.epochs")
    changed = with_values(config, {"threads": 3, "train.precision": "bf16"})
    assert (changed.threads, changed.train.precision) == (3, "bf16")
    assert not is_given(changed, "threads")
    assert not is_given(changed, "train.precision")


def test_numbers_do_not_depend_on_what_cannot_change_them():
    config = SweepConfig()
    same = ("jobs", 2), ("checkpoint_seconds", 0.0), ("name", "x"), ("data.dir", "/elsewhere")
    for key, value in (*same, ("train.optimizer.momentum", 0.5), ("codec.code_dim", 5)):
        idle = key in idle_settings(config)
        assert (numbers_of(with_values(config, {key: value})) == numbers_of(config)) == (
            idle or (key, value) in same
        )
    for key, value in (("seed", 1), ("seeds", 2), ("threads", 2), ("train.optimizer.lr", 0.5)):
        there = with_values(config, {key: value})
        assert other_numbers(there, config) == {key: (value, numbers_of(config)[key])}


def test_a_run_asked_for_with_auto_is_the_one_recorded_as_decided():
    decided = {
        "device": "cpu",
        "threads": 1,
        "train.precision": "bf16",
        "train.optimizer.precision": "bf16",
        "data.dataset": "mnist-5k",
    }
    asked, recorded = SweepConfig(jobs=1), with_values(SweepConfig(jobs=2), decided)
    assert not other_numbers(asked, recorded)
    there = as_recorded(asked, recorded)
    assert numbers_of(there) == numbers_of(recorded)
    assert there.jobs == 1
    assert other_numbers(with_values(asked, {"threads": 2}), recorded) == {"threads": (2, 1)}
    assert other_numbers(with_values(asked, {"train.precision": "fp32"}), recorded)


def test_a_quick_look_finds_its_own_run():
    asked = resolve(ReproduceConfig, [set_layer(["quick=true"])])
    recorded = with_values(asked, {"data.limit_train": 6000, "train.epochs": 3})
    assert not other_numbers(asked, recorded)
    assert as_recorded(asked, recorded).data.limit_train == 6000
    own = resolve(ReproduceConfig, [set_layer(["quick=true", "train.epochs=1"])])
    assert other_numbers(own, recorded) == {"train.epochs": (1, 3)}


def test_many_trainings_run_on_the_cpu_or_on_cuda():
    for experiment in ("sweep-codedim", "pca-compare", "reproduce"):
        with pytest.raises(UsageError, match="--device: device='mps': many trainings run on the"):
            resolve(EXPERIMENTS[experiment], [flag_layer({"--device": ("device", "mps")})])
        for device in ("cpu", "cuda"):
            config = resolve(EXPERIMENTS[experiment], [set_layer([f"device={device}"])])
            assert config.device == device


def test_the_schema_leaves_out_what_has_no_effect():
    schema = json_schema("sweep-codedim")
    for codec in ("MlpConfig", "LinearConfig", "PcaConfig", "DctConfig"):
        assert "code_dim" not in schema["$defs"][codec]["properties"]
    assert "code_dim" in json_schema("train")["$defs"]["MlpConfig"]["properties"]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("codec.name=linear", "codec.name=linear: the claims are about a network"),
        ("codec.name=pca", "codec.name=pca: the claims are about a network"),
        ("codec.hidden=[]", "codec.hidden=[]: one of the claims is about hidden layers"),
        ("codec.hidden=[800]", "codec.hidden=[800]: one of the claims is about hidden layers"),
    ],
)
def test_reproduce_refuses_at_once_what_it_cannot_judge(setting, message):
    with pytest.raises(UsageError) as error:
        resolve(ReproduceConfig, [set_layer([setting])])
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("command", ["train", "interpolate", "sample"])
def test_flags_of_training_beside_a_codec_that_is_solved_for(inside, command):
    done = inside(command, *FEW_IMAGES, "--codec", "pca", "--epochs", "3", "--precision", "fp32")
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        "aecli: --epochs: train.epochs=3 has no effect: pca is solved for, not trained",
        "aecli: --precision: train.precision='fp32' has no effect: pca is solved for, not trained",
    ]


def test_a_run_is_looked_into_as_it_is(inside, tmp_path):
    """FINDINGS 26: a default that is asked for by name is told from one that is not."""
    network = str(inside("train", *SMALL, "--code-dim", "5").run)
    solved = str(inside("train", *FEW_IMAGES, "--codec", "pca", "--code-dim", "5").run)
    few = ("--steps", "2", "--pairs", "3", "--offline", "--dry-run")
    for given, message in (
        (("--code-dim", "2"), "codec.code_dim=2: --run"),
        (("--code-dim", "2"), "was trained with 5"),
        (("--codec", "pca"), "codec.name=pca: --run"),
        (("--epochs", "5"), "train.epochs=5: --run"),
        (("--dataset", "mnist"), "data.dataset=mnist: --run"),
        (("--recipe", "chapter"), "train.recipe=chapter: --run"),
        (("--set", "data.val=3"), "data.val=3: --run"),
        (("--set", "data.val=3"), "was trained without it"),
    ):
        done = inside("interpolate", "--run", network, *given, *few)
        assert (done.code, done.stdout) == (2, ""), given
        assert message in done.stderr
    for given in (
        ("--code-dim", "5", "--epochs", "2"),
        ("--codec", "mlp", "--recipe", "muon"),
        ("--dataset", "auto"),
        ("--dataset", "mnist-5k"),
        (),
    ):
        done = inside("interpolate", "--run", network, *given, *few)
        assert done.code == 0, done.stderr
        assert "code_dim: 5" in done.stdout
    for given, message in (
        (("--epochs", "5"), "was made without it: pca is solved for"),
        (("--set", "codec.hidden=[256, 64]"), "has a pca, which has no such setting"),
    ):
        done = inside("interpolate", "--run", solved, *given, *few)
        assert (done.code, done.stdout) == (2, ""), given
        assert message in done.stderr


def test_a_sample_of_a_run_in_python_counts_nothing_as_given():
    config = resolve(SampleConfig, [set_layer(["run=x"])])
    assert not config.codec.model_fields_set
    assert isinstance(config.codec, MlpConfig)
    assert PcaConfig().solved
