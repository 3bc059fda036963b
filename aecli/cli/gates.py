"""Gates of `aecli compare`: expectations whose bounds a baseline gives, such as `baseline*1.02`."""

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aecli.cli.expect import FORM, Expectation, bound_of, parse
from aecli.cli.metric_names import METRICS, WORDS
from aecli.errors import UsageError

_RELATIVE = re.compile(r"\s*(\w+)\s*(<=|>=|==|!=|<|>)\s*baseline\s*(?:([*+-])\s*([^\s]+))?\s*")


@dataclass(frozen=True)
class Gate:
    """An expectation of `compare`, whose bound may be relative to a baseline: `baseline*1.02`."""

    text: str
    metric: str
    comparison: str
    operation: str | None
    """*, + or -; empty for the baseline's own value; None where the bound is no baseline's."""
    number: float | str

    def beside(self, baseline: Mapping[str, Any]) -> Expectation:
        """The expectation with its bound from a baseline's metrics; nan, which nothing meets, where
        those have none."""
        if self.operation is None:
            return Expectation(self.text, self.metric, self.comparison, self.number)
        value = baseline.get(self.metric)
        if isinstance(value, str):
            return Expectation(f"{self.text} ({value})", self.metric, self.comparison, value)
        found = float(value) if isinstance(value, int | float) else math.nan
        assert isinstance(self.number, float)
        bound = {
            "": found,
            "*": found * self.number,
            "+": found + self.number,
            "-": found - self.number,
        }[self.operation]
        # Nothing differs from nan by `!=` alone: a missing baseline meets nothing.
        comparison = "<" if math.isnan(bound) else self.comparison
        return Expectation(f"{self.text} ({bound:.6g})", self.metric, comparison, bound)


def gates(texts: Sequence[str]) -> list[Gate]:
    """Every `--expect` of `compare`: as of any command that has such a metric, with bounds such as
    `baseline`, `baseline*1.02` and `baseline+0.5` too. Raises UsageError, a line for each mistake.
    """
    found: list[Gate] = []
    mistakes: list[str] = []
    for text in texts:
        try:
            found.append(_gate(text))
        except UsageError as error:
            mistakes.append(str(error))
    if mistakes:
        raise UsageError("\n".join(mistakes))
    return found


def _gate(text: str) -> Gate:
    relative = _RELATIVE.fullmatch(text)
    plain = text if relative is None else f"{relative[1]}{relative[2]}0"
    errors = []
    for experiment in METRICS:
        try:
            parsed = parse(plain, experiment)
        except UsageError as error:
            errors.append(str(error))
            continue
        if relative is None:
            return Gate(text, parsed.metric, parsed.comparison, None, parsed.bound)
        operation = relative[3] or ""
        if operation and parsed.metric in WORDS:
            raise UsageError(f"--expect {text!r}: {parsed.metric} is a word, not a number")
        number = bound_of(relative[4] or "1", text)
        return Gate(text, parsed.metric, parsed.comparison, operation, number)
    match = FORM.fullmatch(plain)
    if match is None:
        hint = "'metric<=number' or 'metric<=baseline*1.02' (<, <=, ==, !=, >=, >; *, +, -)"
        raise UsageError(f"--expect {text!r}: not of the form {hint}")
    if all("no metric is called" in error for error in errors):
        metric = match[1]
        every = list(dict.fromkeys(name for names in METRICS.values() for name in names))
        near = difflib.get_close_matches(metric, every, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "see aecli help expect"
        raise UsageError(f"--expect {text!r}: no metric is called {metric!r}; {hint}")
    other = next(each for each in errors if "no metric is called" not in each)
    raise UsageError(other.replace(repr(plain), repr(text)))
