"""Things that dicts name as `module:name`, imported where they are used."""

import importlib
from typing import Any


def named(place: str) -> Any:
    """The object at `place`, such as `aecli.codecs.mlp:Mlp`."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)
