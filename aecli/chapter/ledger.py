"""The ledger: every claim with its verdict, as a table, as data, and counted."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from aecli.chapter.claim import Claim
from aecli.chapter.table import MNIST
from aecli.chapter.verdict import BY_CONSTRUCTION, FAILS, HOLDS, NOT_JUDGED, ONLY_IF, Judgement

Judged = Sequence[tuple[Claim, Judgement]]


_SECTIONS = {
    1: "The bottleneck",
    2: "Why the code must be small",
    3: "The linear case is PCA",
    4: "A code space full of holes",
}


def table(judged: Judged) -> str:
    """A markdown table with a row per claim, short; the README has it as it is."""
    rows = [(str(c.section), c.says, c.printed, f"**{j.verdict}**") for c, j in judged]
    header = ("§", "claim", "chapter", "verdict")
    cells = (header, ("---",) * len(header), *rows)
    return "\n".join("| " + " | ".join(map(_escaped, row)) + " |" for row in cells)


def told(claim: Claim, judgement: Judgement) -> str:
    """A claim as Markdown: its verdict and what to conclude, then measure, threshold and figure."""
    rule = claim.rule
    items = {
        "The chapter": claim.printed,
        "Measured": judgement.measured,
        "Why": judgement.reason,
        "Judged by": rule.measure,
        "Threshold": f"{rule.threshold} ({rule.because})",
        "The verdict would turn": judgement.turns,
    }
    lines = "\n".join(f"- {name}: {text.rstrip('.')}." for name, text in items.items() if text)
    figure = f"\n\n![{claim.says}]({claim.figure})" if claim.figure else ""
    head = f"### {claim.says[0].upper()}{claim.says[1:]}"
    verdict = f"**{judgement.verdict[0].upper()}{judgement.verdict[1:]}.**"
    return f"{head}\n\n{f'{verdict} {judgement.conclusion}'.rstrip()}\n\n{lines}{figure}"


def entries(judged: Judged, dataset: str) -> list[dict[str, Any]]:
    """A dict per claim, for claims.json."""
    return [
        {
            "dataset": dataset,
            "claim": claim.name,
            "section": claim.section,
            "says": claim.says,
            "chapter": claim.printed,
            **asdict(judgement),
            **asdict(claim.rule),
            "figure": claim.figure or None,
        }
        for claim, judgement in judged
    ]


def counts(judged: Judged) -> dict[str, int]:
    """The number of claims, and the number with each verdict."""
    verdicts = [judgement.verdict for _, judgement in judged]
    return {
        "claims": len(judged),
        "claims_that_hold": verdicts.count(HOLDS),
        "claims_that_hold_only_if": sum(verdict.startswith(ONLY_IF) for verdict in verdicts),
        "claims_that_do_not_hold": verdicts.count(FAILS),
        "claims_by_construction": verdicts.count(BY_CONSTRUCTION),
        "claims_not_judged": sum(verdict.startswith(NOT_JUDGED) for verdict in verdicts),
    }


def counts_in_words(judged: Judged) -> str:
    """A sentence, such as `Of 21 claims 10 hold, 5 hold only if ..., 4 do not.`"""
    n = counts(judged)
    left_out = "".join(
        f" {number} {what}."
        for number, what in (
            (n["claims_by_construction"], "more hold by construction, whatever is measured"),
            (n["claims_not_judged"], "are not judged: this run cannot decide them"),
        )
        if number
    )
    decided = n["claims"] - n["claims_by_construction"] - n["claims_not_judged"]
    return (
        f"Of {decided} claims that were judged {n['claims_that_hold']} hold,"
        f" {n['claims_that_hold_only_if']} hold only if ..., {n['claims_that_do_not_hold']} do not."
        f"{left_out}"
    )


def markdown(judged: Judged, dataset: str, about: str) -> str:
    """claims.md: a short table, then every claim by section; about: sentences on the data and the
    training."""
    elsewhere = "" if dataset == MNIST else " The numbers under `chapter` are MNIST's."
    parts = [
        f"# The chapter's claims, measured\n\n{about}{elsewhere}\n\n{counts_in_words(judged)}",
        table(judged),
        "Answers to the exercises: [1](exercise-1.md), [2](exercise-2.md), [3](exercise-3.md).",
    ]
    for section, title in _SECTIONS.items():
        parts.append(f"## {section}. {title}")
        parts += [told(claim, j) for claim, j in judged if claim.section == section]
    return "\n\n".join(parts) + "\n"


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|")
