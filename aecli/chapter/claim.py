"""A claim of the chapter: its place, its words, the rule that it is judged by, what follows."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from aecli.chapter.evidence import Evidence, LostEvidenceError
from aecli.chapter.table import MNIST
from aecli.chapter.verdict import BY_CONSTRUCTION, FAILS, HOLDS, NOT_JUDGED, Judgement

# Reasons why a claim needs networks that are trained in full, on all images.
NUMBER = "the chapter's number is of five epochs over MNIST's 60,000 images"
ERROR = "how low an error gets depends on how long and on how much was trained"
CODES = "where codes lie, and how they cluster, depends on how long was trained"
DECODED = "what a code decodes to depends on how long was trained"
LEARNED = "what a change of the training does depends on how long and on how much was trained"


@dataclass(frozen=True)
class Rule:
    """The rule by which a claim is judged, in words; each starts small and ends without a stop."""

    measure: str
    threshold: str
    because: str
    """Reason for this threshold, and no other."""


@dataclass(frozen=True)
class Claim:
    """One claim: where it stands, what it says in our words, and what judges it."""

    name: str
    section: int
    says: str
    printed: str
    judge: Callable[[Evidence], Judgement]
    rule: Rule
    so: str
    """A sentence on what to conclude if it holds."""
    otherwise: str
    """The same if it does not."""
    turns: Callable[[Evidence], str] | None = None
    """Words on the threshold at which the verdict would be another; None if it hangs on none."""
    figure: str = ""
    """File in the run folder that shows the evidence; empty if there is nothing to see."""
    needs_full_training: str = ""
    """Reason why a quick look, or a training on few images, cannot judge it; empty if it can."""
    of_mnist: bool = False
    """True if it is about a number of MNIST's, which other images cannot confirm or refute."""
    of_digits: bool = False
    """True if it is about digits, and not about other images."""


def judge(claim: Claim, evidence: Evidence) -> Judgement:
    """The judgement on one claim; the measured number stands in it, judged or not."""
    if claim.of_digits and not evidence.digits:
        verdict = f"{NOT_JUDGED} (not about {evidence.dataset})"
        return Judgement(verdict, "nothing", "it is about digits")
    try:
        judgement = claim.judge(evidence)
    except LostEvidenceError as lost:
        return Judgement(f"{NOT_JUDGED} (failed)", "nothing", f"trainings failed: {lost}")
    if claim.of_mnist and evidence.dataset != MNIST:
        reason = "the chapter's number is MNIST's"
        return Judgement(f"{NOT_JUDGED} ({evidence.dataset})", judgement.measured, reason)
    if claim.needs_full_training and evidence.short:
        verdict = f"{NOT_JUDGED} ({evidence.short})"
        return Judgement(verdict, judgement.measured, claim.needs_full_training)
    if judgement.verdict.startswith(NOT_JUDGED):
        return judgement
    conclusion = _conclusion(claim, judgement.verdict)
    return replace(judgement, turns=_turns(claim, evidence), conclusion=conclusion)


def _turns(claim: Claim, evidence: Evidence) -> str:
    """Words on the threshold; none if what they are made of, beyond the judge's, was lost."""
    try:
        return "" if claim.turns is None else claim.turns(evidence)
    except LostEvidenceError:
        return ""


def _conclusion(claim: Claim, verdict: str) -> str:
    """A sentence; where a claim holds under a condition, both that follow."""
    if verdict in (HOLDS, BY_CONSTRUCTION):
        return claim.so
    if verdict == FAILS:
        return claim.otherwise
    condition = verdict.removeprefix("holds only ")
    both = f"{_within(claim.so)} Else: {_within(claim.otherwise)}"
    return f"{condition[0].upper()}{condition[1:]}: {both}"


def _within(sentence: str) -> str:
    """A sentence as it goes on after a colon: its first letter small, but for names."""
    is_word = sentence[1].islower() or sentence[1] == " "
    return sentence[0].lower() + sentence[1:] if is_word else sentence
