"""Strict JSON, the one way in which the program writes it: no NaN, no Infinity."""

import json
import math
from collections.abc import Mapping
from typing import Any


def dump(data: Any, indent: int | None = 2) -> str:
    """`data` as JSON text; a number that is not finite, which JSON does not have, is null."""
    return json.dumps(_finite(data), indent=indent, allow_nan=False)


def _finite(data: Any) -> Any:
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, Mapping):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return data
