"""Read one YAML file strictly: YAML 1.2 scalars, plain data only, every value with its place.

PyYAML implements YAML 1.1, where `no` is False and `1e-3` is a string. Here its parser is used for
the syntax alone; scalars follow the core schema of YAML 1.2.2 (section 10.3.2), and everything a
config has no use for (tags, anchors, aliases, duplicate keys, several documents) is refused.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from aecli.errors import UsageError

MAX_BYTES = 64 * 1024
MAX_DEPTH = 16
MAX_DIGITS = 20  # more digits than any 64-bit number has

KeyPath = tuple[str | int, ...]

# The core schema's scalars, in the order in which they are tried; all else is a string.
SCALARS = {
    "null": re.compile(r"(?:null|Null|NULL|~|)\Z"),
    "bool": re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"),
    "int": re.compile(r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z"),
    "float": re.compile(
        r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
    ),
}


@dataclass(frozen=True)
class Document:
    """Plain data and, for every key path in it, the `file:line:column` it was read from."""

    data: Any
    places: dict[KeyPath, str]


@dataclass
class _Open:
    """A mapping or sequence whose end has not been read yet."""

    path: KeyPath
    value: dict[str, Any] | list[Any]
    key: str | None = None  # a mapping's key whose value comes next


@dataclass
class _Reader:
    name: str
    places: dict[KeyPath, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def place(self, mark: Any) -> str:
        return f"{self.name}:{mark.line + 1}:{mark.column + 1}"

    def problem(self, mark: Any, text: str) -> None:
        self.problems.append(f"{self.place(mark)}: {text}")


def read(text: bytes, name: str) -> Document:
    """The plain data of one YAML document.

    text: the file's bytes, UTF-8, at most 64 KiB; nesting at most 16 deep.
    name: how errors call the file.
    Raises UsageError, with every problem found and its line and column.
    """
    if len(text) > MAX_BYTES:
        raise UsageError(f"{name}: too long: a config has at most {MAX_BYTES:,} bytes")
    try:
        characters = text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{name}: not UTF-8: byte {error.start} is {text[error.start]:#04x}"
        ) from None
    reader = _Reader(name)
    try:
        data = _build(yaml.parse(characters, yaml.SafeLoader), reader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reader.problem(mark, f"not YAML: {error.problem or error.context}")
    except yaml.YAMLError as error:  # a ReaderError: a character that YAML does not allow
        detail = str(error).split("\n", maxsplit=1)[0]
        reader.problems.append(f"{name}: not YAML: {detail}")
    if reader.problems:
        raise UsageError("\n".join(reader.problems))
    return Document(data, reader.places)


def scalar(text: str) -> Any:
    """The value of a plain scalar in YAML 1.2's core schema; ValueError for a huge integer."""
    kind = next((kind for kind, pattern in SCALARS.items() if pattern.match(text)), "str")
    match kind:
        case "null":
            return None
        case "bool":
            return text[0] in "tT"
        case "int":
            if len(text) > MAX_DIGITS:
                raise ValueError(
                    f"an integer of {len(text):,} digits; at most {MAX_DIGITS} are read"
                )
            return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
        case "float":
            return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


def _build(events: Iterator[Any], reader: _Reader) -> Any:
    """Fold parser events into data with an explicit stack, so that deep nesting cannot recurse."""
    root: list[Any] = []
    stack: list[_Open] = []
    documents = 0
    for event in events:
        mark = event.start_mark
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                reader.problem(mark, "a second document; a config is one")
                break
            continue
        if isinstance(event, yaml.AliasEvent):
            reader.problem(mark, f"alias *{event.anchor}: anchors and aliases are not read")
            _put(None, root, stack, reader, mark)
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            stack.pop()
            continue
        if not isinstance(event, yaml.NodeEvent):
            continue  # the stream's and document's own ends
        if event.anchor is not None:
            reader.problem(mark, f"anchor &{event.anchor}: anchors and aliases are not read")
        if (tag := getattr(event, "tag", None)) is not None:
            reader.problem(mark, f"tag {tag!r}: only plain data is read")
        if isinstance(event, yaml.ScalarEvent):
            _put(_scalar_of(event, reader), root, stack, reader, mark)
            continue
        if len(stack) >= MAX_DEPTH:
            reader.problem(mark, f"nested more than {MAX_DEPTH} deep")
            break
        value: dict[str, Any] | list[Any]
        value = {} if isinstance(event, yaml.MappingStartEvent) else []
        path = _put(value, root, stack, reader, mark)
        stack.append(_Open(path, value))
    return root[0] if root else None


def _scalar_of(event: Any, reader: _Reader) -> Any:
    if not event.implicit[0]:  # quoted, or a block: always a string
        return event.value
    try:
        return scalar(event.value)
    except ValueError as error:
        reader.problem(event.start_mark, str(error))
        return None


def _put(value: Any, root: list[Any], stack: list[_Open], reader: _Reader, mark: Any) -> KeyPath:
    """Place a value where the parser stands; returns its key path."""
    if not stack:
        root.append(value)
        return ()
    top = stack[-1]
    if isinstance(top.value, list):
        path = (*top.path, len(top.value))
        top.value.append(value)
    elif top.key is None:
        if not isinstance(value, str):
            reader.problem(mark, f"a key must be a string, not {value!r}")
            value = str(value)
        if value in top.value:
            reader.problem(mark, f"key {value!r} stands twice")
        top.key = value
        reader.places[(*top.path, value)] = reader.place(mark)
        return (*top.path, value)
    else:
        path = (*top.path, top.key)  # a value has the place of its key
        top.value[top.key] = value
        top.key = None
        return path
    reader.places[path] = reader.place(mark)
    return path
