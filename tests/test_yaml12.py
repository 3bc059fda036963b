"""The YAML reader: 1.2's scalars, plain data only, every mistake with its line and column."""

import contextlib
import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from aecli.config import yaml12
from aecli.config.yaml12 import MAX_BYTES, read
from aecli.errors import UsageError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        (".5", 0.5),
        ("-2", -2),
        ("+7", 7),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("no", "no"),
        ("on", "on"),
        ("y", "y"),
        ("12:30", "12:30"),
        ("1_000", "1_000"),
        ("2026-11-22", "2026-11-22"),
        ("'1e-3'", "1e-3"),
        ('"true"', "true"),
        ("[1, no, 1e3]", [1, "no", 1000.0]),
        ("{a: {b: [1]}}", {"a": {"b": [1]}}),
    ],
)
def test_scalars_follow_yaml_1_2(text, value):
    assert read(text.encode(), "f").data == value


def test_nan_is_read():
    assert math.isnan(read(b".nan", "f").data)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\na: 2", "f:2:1: key 'a' stands twice"),
        ("a: &x 1", "f:1:4: anchor &x: anchors and aliases are not read"),
        ("a: *x", "f:1:4: alias *x: anchors and aliases are not read"),
        ("a: !!python/object/apply:os.system [ls]", "only plain data is read"),
        ("a: !int 3", "f:1:4: tag '!int': only plain data is read"),
        ("a: !!str 3", "only plain data is read"),
        ("1: a", "f:1:1: a key must be a string, not 1"),
        ("[a, b]: c", "a key must be a string"),
        ("a: 1\n---\nb: 2", "f:2:1: a second document"),
        ("a:\n\tb: 1", "f:2:1: not YAML"),
        ("a: [1", "not YAML"),
        ("a: b: c", "f:1:5: not YAML"),
        ("a: " + "9" * 5000, "an integer of 5,000 digits"),
        ("[" * 2000 + "]" * 2000, "nested more than 16 deep"),
        ("a: \x07", "not YAML"),
    ],
)
def test_what_a_config_has_no_use_for_is_refused(text, problem):
    with pytest.raises(UsageError) as error:
        read(text.encode(), "f")
    assert problem in str(error.value)


def test_every_problem_is_reported_at_once():
    with pytest.raises(UsageError) as error:
        read(b"a: &x 1\nb: !t 2\nb: 3", "f")
    assert [line[:5] for line in str(error.value).splitlines()] == ["f:1:4", "f:2:4", "f:3:1"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"\xff\xfe\x00", "not UTF-8: byte 0 is 0xff"),
        (b"a: 1\n" * MAX_BYTES, "a config has at most 65,536"),
    ],
)
def test_bytes_that_are_no_config(content, problem):
    with pytest.raises(UsageError, match=problem):
        read(content, "f")


def test_places_name_line_and_column():
    places = read(b"a:\n  b: 1\n  c: [x, y]\n", "f").places
    assert places[("a", "b")] == "f:2:3"
    assert places[("a", "c", 1)] == "f:3:10"


def is_text(text):
    """True if it is a string when it is not quoted; 0E0 is one to a 1.1 emitter, a number here."""
    return not any(pattern.match(text) for pattern in yaml12.SCALARS.values())


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=8).filter(is_text),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5).filter(is_text), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(plain)
def test_what_pyyaml_quotes_reads_back(data):
    # Everything a 1.1 emitter must quote, a 1.2 reader takes as the string it was.
    assert read(
        yaml.safe_dump(data, default_style='"' if isinstance(data, str) else None).encode(), "f"
    )


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(content):
    with contextlib.suppress(UsageError):
        read(content, "f")
