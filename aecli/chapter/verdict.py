"""A verdict: whether a claim holds, and why."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """Whether a claim holds, and a sentence that says why."""

    holds: bool
    reason: str
