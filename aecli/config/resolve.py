"""Turn flags, `--set`, a YAML file and defaults into one validated config, or into every error."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from aecli.config import yaml12
from aecli.config.models import EXPERIMENTS, ExperimentConfig
from aecli.config.yaml12 import KeyPath
from aecli.errors import UsageError

Config = TypeVar("Config", bound=ExperimentConfig)

# Naming another one of these starts the section over; the keys kept mean the same for each.
_STARTS_OVER = {("codec", "name"): {"code_dim"}, ("train", "recipe"): set[str]()}


@dataclass(frozen=True)
class Layer:
    """Settings from one place, and where each of them stands."""

    values: dict[str, Any]
    places: dict[KeyPath, str]


def resolve(model: type[Config], layers: Sequence[Layer]) -> Config:
    """The validated config of `layers`, later ones over earlier ones, over the model's defaults.

    Raises UsageError, a line per mistake with its place: file, line and column, or flag.
    """
    values = _section_defaults(model)
    places: dict[KeyPath, str] = {}
    for layer in layers:
        _start_over(values, layer.values)
        _merge(values, layer.values)
        places |= layer.places
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise UsageError("\n".join(_explain(error, model, values, places))) from None


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


def to_yaml(config: BaseModel) -> str:
    """A config as YAML that `resolve` reads back to the same config."""
    data = config.model_dump(mode="json")
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, default_flow_style=False)


def json_schema(experiment: str) -> dict[str, Any]:
    """The JSON Schema of an experiment's config. Raises UsageError for an unknown experiment."""
    if experiment not in EXPERIMENTS:
        raise UsageError(
            f"no experiment is called {experiment!r}; there are {', '.join(EXPERIMENTS)}"
        )
    schema = EXPERIMENTS[experiment].model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


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
    section[str(path[-1])] = value
    places[path] = place


def _section_defaults(model: type[BaseModel]) -> dict[str, Any]:
    """What an experiment's own defaults say of its sections, so that setting one key of a section
    leaves the others as they were."""
    defaults = {name: field.default for name, field in model.model_fields.items()}
    return {
        name: default.model_dump(exclude_unset=True)
        for name, default in defaults.items()
        if isinstance(default, BaseModel)
    }


def _start_over(below: dict[str, Any], above: dict[str, Any]) -> None:
    """Forget the settings of a codec or recipe when the layer above names another one."""
    for (section, key), kept in _STARTS_OVER.items():
        old, new = below.get(section), above.get(section)
        if not isinstance(old, dict) or not isinstance(new, dict):
            continue  # a section missing, or not a section: nothing to forget
        if key in new and new[key] != old.get(key):
            below[section] = {name: old[name] for name in kept & old.keys()}


def _merge(below: dict[str, Any], above: dict[str, Any]) -> None:
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(below.get(key), dict):
            _merge(below[key], value)
        else:
            below[key] = _copy(value)


def _copy(value: Any) -> Any:
    return {key: _copy(item) for key, item in value.items()} if isinstance(value, dict) else value


def _explain(
    error: ValidationError,
    model: type[BaseModel],
    values: dict[str, Any],
    places: dict[KeyPath, str],
) -> Iterable[str]:
    for detail in error.errors():
        path = _path_in(values, detail["loc"])
        if detail["type"] == "union_tag_invalid":
            path = (*path, "name")
        place = next(
            (places[path[:n]] for n in range(len(path), 0, -1) if path[:n] in places), None
        )
        yield (
            f"{place}: {_message(detail, path, model)}" if place else _message(detail, path, model)
        )


def _path_in(values: Any, loc: tuple[str | int, ...]) -> KeyPath:
    """Where a pydantic location stands in the data: without the tags that unions put between.

    The last element stays in any case: it may name a key that is missing.
    """
    path: list[str | int] = []
    for key in loc[:-1]:
        try:
            values = values[key]
        except (KeyError, IndexError, TypeError):
            continue
        path.append(key)
    return (*path, *loc[-1:])


def _message(detail: Any, path: KeyPath, model: type[BaseModel]) -> str:
    dotted = ".".join(map(str, path))
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    if not path:  # of settings that do not go together: the message names them
        return detail["msg"]
    if kind == "extra_forbidden":
        keys = _keys_beside(model, detail["loc"])
        near = difflib.get_close_matches(str(path[-1]), keys, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"the keys here are {', '.join(keys)}"
        return f"unknown key {dotted!r}; {hint}"
    if kind == "union_tag_invalid":
        return f"{dotted}={_show(value['name'])} must be one of {context['expected_tags']}"
    expected = {
        "greater_than_equal": "at least {ge}",
        "greater_than": "greater than {gt}",
        "less_than_equal": "at most {le}",
        "less_than": "less than {lt}",
        "literal_error": "one of {expected}",
        "int_type": "a whole number",
        "float_type": "a number",
        "string_type": "text",
        "bool_type": "true or false",
        "tuple_type": "a list",
        "too_long": "a list of at most {max_length}",
        "too_short": "a list of at least {min_length}",
        "finite_number": "a finite number",
        "model_type": "a section of keys and values",
        "model_attributes_type": "a section of keys and values",
        "string_pattern_mismatch": "1 to 40 letters, digits, '.', '_' or '-', no dot or dash first",
    }.get(kind)
    if expected is None:
        return f"{dotted}={_show(value)}: {detail['msg']}"
    return f"{dotted}={_show(value)} must be {expected.format(**context)}"


def _show(value: Any) -> str:
    text = (
        "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    )
    return text if len(text) <= 60 else text[:57] + "..."


def _keys_beside(model: type[BaseModel], loc: tuple[str | int, ...]) -> list[str]:
    """The keys that the section at `loc[:-1]` has; loc names union members by their tag."""
    for key in loc[:-1]:
        field = model.model_fields.get(str(key))
        if field is None:  # the tag of a union: the member was found with the field before it
            continue
        members = get_args(field.annotation) or (field.annotation,)
        sections = [m for m in members if isinstance(m, type) and issubclass(m, BaseModel)]
        tagged = [
            m
            for m in sections
            if "name" in m.model_fields and m.model_fields["name"].default in loc
        ]
        if sections:
            model = (tagged or sections)[0]
    return list(model.model_fields)
