"""Strict JSON, the one way in which the program writes it: no NaN, no Infinity."""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any


def dump(data: Any, indent: int | None = 2) -> str:
    """`data` as JSON text; a number that is not finite, which JSON does not have, is null."""
    return json.dumps(_finite(data), indent=indent, allow_nan=False)


def rows(data: Any) -> list[dict[str, Any]]:
    """Rows of numbers as they were before `dump`: what is null is nan. Raises TypeError or
    AttributeError if `data` is no list of objects."""
    return [{key: math.nan if x is None else x for key, x in row.items()} for row in data]


def flat(settings: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings as ("codec.code_dim", 32)."""
    for key, value in settings.items():
        if isinstance(value, Mapping) and above.count(".") < 9:  # no config is as deep
            yield from flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _finite(data: Any) -> Any:
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, Mapping):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return data
