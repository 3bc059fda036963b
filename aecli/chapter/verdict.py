"""A verdict: whether a claim holds, and why."""

from dataclasses import dataclass

HOLDS, FAILS, ONLY_IF = "holds", "does not hold", "holds only if"
BY_CONSTRUCTION = "holds by construction"
"""The verdict on a claim that no measurement could refute; it is counted apart."""
NOT_JUDGED = "not judged"
"""The verdict's beginning where the evidence cannot decide; the reason follows in brackets."""


@dataclass(frozen=True)
class Verdict:
    """A decision on a claim, and a sentence that says why."""

    holds: bool | None
    """True if the claim holds; None if there was nothing to judge it by."""
    reason: str


@dataclass(frozen=True)
class Judgement:
    """A verdict in words, our number in words, and why."""

    verdict: str
    measured: str
    reason: str
    turns: str = ""
    """The threshold at which the verdict would be another; empty if it hangs on none."""
    conclusion: str = ""
    """A sentence on what follows; empty if nothing was judged."""
