"""Numbers in words, and that nobody guesses at a plural."""

import ast
from pathlib import Path

import aecli
from aecli.counts import count


def test_counts_are_words():
    assert [count(n, "seed") for n in (0, 1, 3, 1200)] == [
        "0 seeds",
        "1 seed",
        "3 seeds",
        "1,200 seeds",
    ]


def test_no_text_guesses_at_a_plural():
    guesses = [
        (path.name, node.value)
        for path in Path(aecli.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and "(s)" in str(node.value)
    ]
    assert not guesses
