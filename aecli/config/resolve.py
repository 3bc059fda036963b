"""Turn flags, `--set`, a YAML file and defaults into one validated config, or into every error."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from aecli.config import yaml12
from aecli.config.effects import idle_settings, settings_of
from aecli.config.experiments import ExperimentConfig, ManyConfig
from aecli.config.explain import explain, place_of, show
from aecli.config.former import in_new_terms
from aecli.config.registry import EXPERIMENTS
from aecli.config.sections import NAMED, RECIPES
from aecli.config.yaml12 import KeyPath
from aecli.errors import UsageError
from aecli.fields import Section

Config = TypeVar("Config", bound=ExperimentConfig)
AnySection = TypeVar("AnySection", bound=Section)

# Keys whose new value starts their section over, but for keys that mean the same for every value.
_STARTS_OVER: dict[KeyPath, set[str]] = {("train", "recipe"): set()}
_STARTS_OVER |= {(*path, "name"): set() for path in NAMED}
_STARTS_OVER["codec", "name"] = {"code_dim"}

Given = dict[KeyPath, int]
"""Keys that were given, and the number of the uppermost layer that gave each."""


@dataclass(frozen=True)
class Layer:
    """Settings from one place, and where each of them stands."""

    values: dict[str, Any]
    places: dict[KeyPath, str]


def resolve(model: type[Config], layers: Sequence[Layer], recorded: bool = False) -> Config:
    """The validated config of `layers`, later ones over earlier ones, over the model's defaults.

    Its `model_fields_set`, and those of its sections, name the keys that a layer gave. A key that
    has no effect because of a layer above is left out.
    recorded: the layers are what a run wrote, perhaps an older aecli's: any key without effect is
    ignored.
    Raises UsageError, a line per mistake with its place: file, line and column, or flag.
    """
    values = _section_defaults(model)
    places: dict[KeyPath, str] = {}
    given: Given = {}
    for height, layer in enumerate(map(_in_new_terms, layers)):
        _start_over(values, given, layer.values, model)
        _merge(values, layer.values)
        given |= dict.fromkeys(_keys_of(layer.values), height)
        places |= layer.places
    try:
        config = model.model_validate(values)
        passed_over = _without_effect(config, values, given, places, recorded)
        if passed_over:
            config = model.model_validate(_without(values, passed_over))
    except ValidationError as error:
        raise UsageError("\n".join(explain(error, model, values, places))) from None
    return _mark(config, given.keys() - passed_over)


def yaml_layer(path: Path) -> Layer:
    """The settings of a YAML file. Raises UsageError if it cannot be read or is not a mapping."""
    try:
        with path.open("rb") as file:
            text = file.read(yaml12.MAX_BYTES + 1)  # no more, whatever it is
    except OSError as error:
        raise UsageError(f"--config {path}: {error.strerror}") from None
    document = yaml12.read(text, str(path))
    if document.data is None:
        return Layer({}, {})
    if not isinstance(document.data, dict):
        raise UsageError(f"{path}: a config is a mapping of keys to values")
    return Layer(document.data, document.places)


def set_layer(assignments: Iterable[str]) -> Layer:
    """The settings of `--set a.b=c`, the value read as YAML.

    Raises UsageError for a malformed one.
    """
    values: dict[str, Any] = {}
    places: dict[KeyPath, str] = {}
    for assignment in assignments:
        dotted, equals, text = assignment.partition("=")
        path = tuple(dotted.strip().split("."))
        if not equals or not all(path):
            raise UsageError(f"--set {assignment}: not of the form key.key=value")
        if len(path) > yaml12.MAX_DEPTH:
            raise UsageError(f"--set {dotted[:40]}...: more than {yaml12.MAX_DEPTH} keys deep")
        value = yaml12.read(text.encode(errors="surrogateescape"), f"--set {assignment}").data
        _assign(values, places, path, value, f"--set {assignment}")
    return Layer(values, places)


def flag_layer(flags: Mapping[str, tuple[str, Any]]) -> Layer:
    """The settings of flags: {"--code-dim": ("codec.code_dim", 32)}; a None was not given."""
    values: dict[str, Any] = {}
    places: dict[KeyPath, str] = {}
    for flag, (dotted, value) in flags.items():
        if value is not None:
            _assign(values, places, tuple(dotted.split(".")), value, flag)
    return Layer(values, places)


def one_layer(layers: Iterable[Layer]) -> Layer:
    """Several layers as one, later ones over earlier ones: what stands in one of them is not
    forgotten because another names a recipe or a codec."""
    values: dict[str, Any] = {}
    places: dict[KeyPath, str] = {}
    for layer in map(_in_new_terms, layers):
        _merge(values, layer.values)
        places |= layer.places
    return Layer(values, places)


def to_yaml(config: ExperimentConfig) -> str:
    """A config as YAML that `resolve` reads back to the same config; only what has an effect."""
    return yaml.dump(settings_of(config), Dumper=_Dumper, sort_keys=False, default_flow_style=False)


def json_schema(experiment: str) -> dict[str, Any]:
    """The JSON Schema of an experiment's config. Raises UsageError for an unknown experiment."""
    if experiment not in EXPERIMENTS:
        raise UsageError(
            f"no experiment is called {experiment!r}; there are {', '.join(EXPERIMENTS)}"
        )
    model = EXPERIMENTS[experiment]
    schema = model.model_json_schema()
    if issubclass(model, ManyConfig):
        for key in model.NO_EFFECT:
            _leave_out(schema, key)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _leave_out(schema: dict[str, Any], key: str) -> None:
    """Take a key, as "codec.code_dim", out of a JSON Schema."""
    section, _, name = key.rpartition(".")
    holders = [schema]
    if section:
        choices = schema["properties"][section].get("discriminator", {}).get("mapping", {})
        holders = [schema["$defs"][reference.rpartition("/")[2]] for reference in choices.values()]
    for holder in holders:
        del holder["properties"][name]


class _Dumper(yaml.SafeDumper):
    """Writes scalars so that YAML 1.2 reads them back: plain where it can, quoted where it must."""


_Dumper.yaml_implicit_resolvers = {}
for _kind, _pattern in yaml12.SCALARS.items():
    _Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", _pattern, None)
_Dumper.add_representer(  # 1e-05, which YAML 1.1 would need as 1.0e-05
    float, lambda dumper, x: dumper.represent_scalar("tag:yaml.org,2002:float", repr(x))
)


def _assign(
    values: dict[str, Any], places: dict[KeyPath, str], path: KeyPath, value: Any, place: str
) -> None:
    section = values
    for depth, key in enumerate(path[:-1], start=1):
        section = section.setdefault(str(key), {})
        if not isinstance(section, dict):
            raise UsageError(
                f"{place}: {'.'.join(map(str, path[:depth]))} is already set to a value"
            )
    key, there = str(path[-1]), section.get(str(path[-1]))
    if path in NAMED and isinstance(value, str):  # a name beside keys that are already set
        section[key] = {**(there if isinstance(there, dict) else {}), "name": value}
    else:
        section[key] = value
    places[path] = place


def _section_defaults(model: type[BaseModel]) -> dict[str, Any]:
    """An experiment's own defaults for its sections, so that setting one key of a section
    leaves the others as they were."""
    defaults = {name: field.default for name, field in model.model_fields.items()}
    return {
        name: default.model_dump(exclude_unset=True)
        for name, default in defaults.items()
        if isinstance(default, BaseModel)
    }


def _in_new_terms(layer: Layer) -> Layer:
    values, places = _copy(layer.values), dict(layer.places)
    in_new_terms(values, places)
    return Layer(values, places)


def _start_over(
    below: dict[str, Any], given: Given, above: dict[str, Any], model: type[BaseModel]
) -> None:
    """Forget the settings of a codec or recipe when the layer above names another one.

    A layer that names the default comes back to the experiment's defaults.
    """
    defaults = _section_defaults(model)
    for (*section, key), kept in _STARTS_OVER.items():
        old, new = _at(below, section), _at(above, section)
        if not isinstance(old, dict) or not isinstance(new, dict):
            continue  # a section missing, or not a section: nothing to forget
        own = _default(model, (*section, key))
        default = _name_by_recipe(below, section) or own
        if key in new and new[key] != old.get(key, default):
            fresh = _at(defaults, section) if new[key] == default == own else {}
            left = _copy(fresh or {}) | {name: old[name] for name in kept & old.keys()}
            old.clear()
            old.update(left)
            for path in list(given):
                if path[: len(section)] == tuple(section) and path[-1] not in kept:
                    del given[path]


def _at(values: Any, path: Sequence[str | int]) -> Any:
    """The value at a path of nested mappings; None if there is none."""
    for key in path:
        values = values.get(key) if isinstance(values, dict) else None
    return values


def _name_by_recipe(below: dict[str, Any], section: Sequence[str | int]) -> str | None:
    """The name that the recipe of the layers below gives to a section of `train`, if it does."""
    recipe = RECIPES.get(str(_at(below, ("train", "recipe"))), {})
    name: str | None = _at(recipe, (*section[1:], "name")) if section[0] == "train" else None
    return name


def _default(model: type[BaseModel], path: Sequence[str | int]) -> Any:
    first, *others = path
    value = model.model_fields[str(first)].default
    for key in others:
        value = getattr(value, str(key))
    return value


def _keys_of(values: Mapping[str, Any], above: KeyPath = ()) -> Iterable[KeyPath]:
    """The keys of a layer, those of a section one by one."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _keys_of(value, (*above, key))
        else:
            yield (*above, key)


def _without_effect(
    config: ExperimentConfig,
    values: dict[str, Any],
    given: Given,
    places: dict[KeyPath, str],
    recorded: bool,
) -> set[KeyPath]:
    """The given keys that a layer above leaves without effect. Raises UsageError for others,
    each with its place and the reason."""
    passed_over: set[KeyPath] = set()
    mistakes = []
    for key, idle in idle_settings(config).items():
        path: KeyPath = tuple(key.split("."))
        causes = [given.get(tuple(cause.split(".")), -1) for cause in idle.causes]
        for each, height in given.items():
            if each[: len(path)] != path:
                continue
            if recorded or height < max(causes, default=-1):
                passed_over.add(each)
                continue
            shown = each[:-1] if each[-1] == "name" and each[:-1] in NAMED else each
            setting = f"{'.'.join(map(str, shown))}={show(_at(values, each))}"
            mistakes.append(f"{place_of(each, places)}{setting} has no effect: {idle.reason}")
    if mistakes:
        raise UsageError("\n".join(mistakes))
    return passed_over


def _without(values: dict[str, Any], paths: Iterable[KeyPath]) -> dict[str, Any]:
    """`values` without some of its keys."""
    left: dict[str, Any] = _copy(values)
    for *above, key in paths:
        _at(left, above).pop(key)
    return left


def _mark(section: AnySection, given: Iterable[KeyPath]) -> AnySection:
    """`section` with `model_fields_set` naming the keys in `given`, here and below."""
    given = set(given)
    values = {
        name: _mark(value, {path[1:] for path in given if path[0] == name and len(path) > 1})
        if isinstance(value, Section)
        else value
        for name, value in section
    }
    return type(section).model_construct({str(path[0]) for path in given}, **values)


def _merge(below: dict[str, Any], above: dict[str, Any]) -> None:
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(below.get(key), dict):
            _merge(below[key], value)
        else:
            below[key] = _copy(value)


def _copy(value: Any) -> Any:
    return {key: _copy(item) for key, item in value.items()} if isinstance(value, dict) else value
