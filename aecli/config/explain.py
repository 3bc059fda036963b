"""Mistakes in a config in words: which key, where it stands, what it may be."""

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from aecli.config.yaml12 import KeyPath


def explain(
    error: ValidationError,
    model: type[BaseModel],
    values: dict[str, Any],
    places: dict[KeyPath, str],
) -> Iterable[str]:
    for detail in error.errors():
        path = _path_in(values, detail["loc"])
        if detail["type"] == "union_tag_invalid":
            path = (*path, "name")
        yield f"{place_of(path, places)}{_message(detail, path, model)}"


def _path_in(values: Any, loc: tuple[str | int, ...]) -> KeyPath:
    """The key path of a pydantic location: without the tags that unions put between.

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
    if not path or kind == "together":  # settings that do not go together: the message names them
        return detail["msg"]
    if kind == "extra_forbidden":
        keys = _keys_beside(model, detail["loc"])
        near = difflib.get_close_matches(str(path[-1]), keys, n=1)
        beside = ".".join([*map(str, path[:-1]), *near])
        hint = f"did you mean {beside!r}?" if near else f"the keys here are {', '.join(keys)}"
        return f"unknown key {dotted!r}; {hint}"
    if kind == "union_tag_invalid":
        tags = re.findall(r"'([^']*)'", context["expected_tags"])
        near = difflib.get_close_matches(str(value["name"]), tags, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"{dotted}={show(value['name'])} must be one of {context['expected_tags']}{hint}"
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
        return f"{dotted}={show(value)}: {detail['msg']}"
    names = re.findall(r"'([^']*)'", context["expected"]) if kind == "literal_error" else []
    near = difflib.get_close_matches(str(value), names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"{dotted}={show(value)} must be {expected.format(**context)}{hint}"


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


def place_of(path: KeyPath, places: Mapping[KeyPath, str]) -> str:
    """The place of a key, or of the nearest one above it, as errors begin; "" if it has none."""
    found = (places[path[:n]] for n in range(len(path), 0, -1) if path[:n] in places)
    return next((f"{place}: " for place in found), "")


def show(value: Any) -> str:
    text = (
        "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    )
    return text if len(text) <= 60 else text[:57] + "..."
