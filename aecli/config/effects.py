"""Settings that have no effect beside others, and those that decide a run's numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from aecli.config.experiments import (
    EvaluateConfig,
    ExperimentConfig,
    ManyConfig,
    NetworkConfig,
    ReproduceConfig,
    SweepConfig,
    SweepDownsamplingConfig,
    TrainConfig,
    TrainedConfig,
)
from aecli.config.sections import DataConfig, ElboLoss
from aecli.fields import Section
from aecli.strictjson import flat

Config = TypeVar("Config", bound=ExperimentConfig)
AnySection = TypeVar("AnySection", bound=Section)

# Keys that no number depends on: how quickly, how safely, under which name, from which folder.
_NO_NUMBER = frozenset(
    {"jobs", "engine", "scheduler", "checkpoint_seconds", "name", "data.dir", "data.shown"}
)
# Values that leave the decision to the run.
_UNDECIDED = {
    "device": "auto",
    "threads": None,
    "train.precision": "auto",
    "train.optimizer.precision": "auto",
    "data.dataset": "auto",
}
# Values that a quick look takes where none are given; fewer images where there are fewer.
_QUICK_IMAGES = {"reproduce": 6_000, "sweep-downsampling": 300}
_QUICK_VALUES: dict[str, dict[str, Any]] = {
    "reproduce": {"train.epochs": 3},
    "sweep-downsampling": {"train.epochs": 1, "fewer": ()},
}


@dataclass(frozen=True)
class Idle:
    """The reason why a setting has no effect, and the keys that make it so (none: always)."""

    reason: str
    causes: tuple[str, ...] = ()


def idle_settings(config: ExperimentConfig) -> dict[str, Idle]:
    """The settings that change nothing in a run of `config`: {"train.epochs": Idle(...)}."""
    idle: dict[str, Idle] = {}
    if not config.data.is_own:
        known = Idle(
            f"{config.data.dataset} is a known dataset; this is for images at a path",
            ("data.dataset",),
        )
        idle |= {f"data.{key}": known for key in DataConfig.OF_OWN}
    else:
        idle["data.binarise"] = Idle(
            "the images are at a path; this is for a known dataset", ("data.dataset",)
        )
    if config.data.is_own and config.data.tile is None:
        whole = Idle("data.tile is null: images are not cut", ("data.tile",))
        idle |= {"data.edges": whole, "data.gap": whole}
    if isinstance(config, ManyConfig):
        idle |= {key: Idle(reason) for key, reason in config.NO_EFFECT.items()}
        if config.engine != "dask":
            idle["scheduler"] = Idle(f"engine is {config.engine}; this is for dask", ("engine",))
        elif config.scheduler is not None:
            as_many = "the workers of the scheduler are as many as they are"
            idle["jobs"] = Idle(as_many, ("scheduler",))
    if isinstance(config, NetworkConfig):
        idle |= _idle_in_training(config)
    if isinstance(config, EvaluateConfig):
        idle |= _idle_in_evaluate(config)
    if isinstance(config, TrainConfig) and not config.codec.is_variational:
        plain = Idle("the codec is not variational", ("codec.variational", "codec.name"))
        idle |= {"nll_samples": plain, "nll_images": plain}
    if isinstance(config, TrainedConfig) and config.run is not None:
        given = Idle("the model of a run is looked into, nothing is trained", ("run",))
        if not isinstance(config, EvaluateConfig):  # which trains others beside it
            idle["checkpoint_seconds"] = given
        if config.device not in ("auto", "cpu"):
            idle["device"] = Idle("the model of a run is looked into on the CPU", ("run",))
    return idle


def settings_of(config: ExperimentConfig) -> dict[str, Any]:
    """The settings of `config` that have an effect, nested as in YAML, as JSON's types."""
    settings = config.model_dump(mode="json")
    for key in idle_settings(config):
        *above, name = key.split(".")
        section = settings
        for each in above:
            section = section.get(each, {})
        section.pop(name, None)
    return {key: value for key, value in settings.items() if value != {}}


def flat_settings(config: ExperimentConfig) -> dict[str, Any]:
    """All settings of `config`, those without effect too: {"seed": 0, "codec.code_dim": 32}."""
    return dict(flat(config.model_dump(mode="json")))


def numbers_of(config: ExperimentConfig) -> dict[str, Any]:
    """The settings that decide the numbers of a run: {"seed": 0, "codec.code_dim": 32, ...}.

    Two runs of the same experiment whose dicts are equal end with the same numbers. Not in it are
    `jobs`, `checkpoint_seconds`, `name`, `data.dir`, and what has no effect beside other settings.
    """
    values = dict(flat(settings_of(config)))
    if isinstance(config, ManyConfig):
        values["threads"] = config.threads or 1
    return {key: value for key, value in values.items() if key not in _NO_NUMBER}


def undecided(config: ExperimentConfig) -> frozenset[str]:
    """The keys whose value `config` leaves to the run: device=auto, threads=null, ..."""
    images = set() if quick_images(config) is None else {"data.limit_train"}
    return _left_open(config) | images | _quick_look(config).keys()


def _left_open(config: ExperimentConfig) -> frozenset[str]:
    values = flat_settings(config)
    keys = {key for key, value in _UNDECIDED.items() if key in values and values[key] == value}
    if isinstance(config, ManyConfig):
        keys -= {"threads"}  # null means 1 on every machine
    return frozenset(keys)


def other_numbers(asked: Config, recorded: Config) -> dict[str, tuple[Any, Any]]:
    """The settings that decide numbers and differ: {"seed": (1, 0)}, asked for and recorded; None
    where one config has no such setting.

    Empty if a run recorded as `recorded` is one that `asked` may mean: a key that either leaves
    undecided (`threads: null`, `device: auto`) may have any value in the other.
    """
    left = undecided(asked) | _left_open(recorded)
    wanted, there = numbers_of(asked), numbers_of(recorded)
    return {
        key: (wanted.get(key), there.get(key))
        for key in {**wanted, **there}
        if key not in left and (key in wanted, wanted.get(key)) != (key in there, there.get(key))
    }


def as_recorded(asked: Config, recorded: Config) -> Config:
    """`asked`, with what it leaves undecided as a recorded run decided it."""
    values = flat_settings(recorded)
    return with_values(asked, {key: values[key] for key in undecided(asked)})


def with_quick_values(config: Config) -> Config:
    """`config` with what a quick look takes, if it is one and that is not given."""
    return with_values(config, _quick_look(config))


def quick_images(config: ExperimentConfig) -> int | None:
    """The number of training images of a quick look, at most; None where it is none, or where
    `config` limits them."""
    if not _is_quick(config) or config.data.limit_train is not None:
        return None
    return _QUICK_IMAGES[config.experiment]


def _quick_look(config: ExperimentConfig) -> dict[str, Any]:
    """Values of a quick look that are not given; none of another run."""
    look = _QUICK_VALUES[config.experiment] if _is_quick(config) else {}
    return {key: value for key, value in look.items() if not is_given(config, key)}


def _is_quick(config: ExperimentConfig) -> bool:
    return isinstance(config, ReproduceConfig | SweepDownsamplingConfig) and config.quick


def is_given(config: ExperimentConfig, key: str) -> bool:
    """True if a key, as "train.epochs", was given: by a flag, `--set` or YAML, not by default."""
    *above, name = key.split(".")
    section: Any = config
    for each in above:
        section = getattr(section, each)
    return name in section.model_fields_set


def with_values(config: AnySection, values: Mapping[str, Any]) -> AnySection:
    """`config` with other values, as {"train.precision": "bf16"}; none of them counts as given."""
    for key, value in values.items():
        config = _with_value(config, key.split("."), value)
    return config


def _with_value(section: AnySection, path: Sequence[str], value: Any) -> AnySection:
    name, *below = path
    if below:
        value = _with_value(getattr(section, name), below, value)
    values = {**dict(section), name: value}
    return type(section).model_construct(set(section.model_fields_set), **values)


def _idle_in_training(config: NetworkConfig) -> dict[str, Idle]:
    train, codec = config.train, config.codec
    if codec.solved:
        solved = Idle(f"{codec.name} is {codec.how_solved}, not trained", ("codec.name",))
        keys = [f"train.{key}" for key in type(train).model_fields]
        idle = dict.fromkeys([*keys, "checkpoint_seconds"], solved)
        if config.device not in ("auto", "cpu"):
            idle["device"] = Idle(
                f"{codec.name} is {codec.how_solved}, on the CPU", ("codec.name",)
            )
        if isinstance(config, SweepConfig) and set(config.variants) != {"plain"}:
            idle["variants"] = solved
        if isinstance(config, SweepConfig) and config.ordered:
            idle["ordered"] = solved
        return idle
    idle = {}
    if train.elastic == 0:
        bent = Idle("train.elastic=0 bends no image", ("train.elastic", "train.recipe"))
        idle["train.elastic_fraction"] = bent
    if isinstance(train.loss, ElboLoss) and train.loss.beta == 0:
        without = Idle("train.loss.beta=0: the divergence costs nothing", ("train.loss.beta",))
        idle |= {"train.loss.kl_warmup": without, "train.loss.free_bits": without}
    if train.ordered and codec.code_dim == 1 and not isinstance(config, ManyConfig):
        alone = Idle("codec.code_dim=1: a single unit has no order", ("codec.code_dim",))
        idle["train.ordered"] = alone
    if isinstance(config, SweepConfig):
        if config.ordered:
            idle["train.ordered"] = Idle("ordered=true sets it itself", ("ordered",))
        variants = set(config.variants)
        own = Idle(f"variants={sorted(variants)} set it themselves", ("variants",))
        if variants <= {"gaussian", "masking"}:
            idle["train.noise"] = own
        if variants == {"sparse"}:
            idle["train.loss"] = own
    return idle


def _idle_in_evaluate(config: EvaluateConfig) -> dict[str, Idle]:
    idle: dict[str, Idle] = {}
    if "anomaly" not in config.parts:
        without = Idle("the part anomaly is not among the parts", ("parts",))
        idle |= {f"anomaly.{key}": without for key in type(config.anomaly).model_fields}
        if config.run is not None:
            none = Idle("the model of a run is looked into, nothing is trained", ("run", "parts"))
            idle["checkpoint_seconds"] = none
            if config.parts == ("retrieval",):
                idle["seeds"] = Idle("nothing is trained or drawn", ("run", "parts"))
    elif config.codec.solved:
        solved = Idle(
            f"{config.codec.name} is {config.codec.how_solved}, not trained", ("codec.name",)
        )
        idle |= dict.fromkeys(("anomaly.epochs", "anomaly.batch_size"), solved)
    elif not config.trains_codecs_of_all and config.run is None:
        own = Idle("the part anomaly has its own, anomaly.epochs and batch_size", ("parts",))
        idle |= dict.fromkeys(("train.epochs", "train.batch_size"), own)
    return idle
