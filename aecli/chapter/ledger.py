"""The ledger: every claim with its verdict, as a table, as data, and counted."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from aecli.chapter.claims import Claim
from aecli.chapter.table import MNIST
from aecli.chapter.verdict import BY_CONSTRUCTION, FAILS, HOLDS, NOT_JUDGED, ONLY_IF, Judgement

Judged = Sequence[tuple[Claim, Judgement]]


def table(judged: Judged) -> str:
    """A markdown table with a row per claim; the README has it as it is."""
    rows = [(str(c.section), c.says, c.printed, j.measured, f"**{j.verdict}**") for c, j in judged]
    header = ("§", "claim", "chapter", "measured", "verdict")
    cells = (header, ("---",) * len(header), *rows)
    return "\n".join("| " + " | ".join(map(_escaped, row)) + " |" for row in cells)


def reasons(judged: Judged) -> str:
    """A markdown list: why each verdict is what it is, and where it can be seen."""
    lines = []
    for claim, judgement in judged:
        figure = f" [{claim.figure}]({claim.figure})" if claim.figure else ""
        lines.append(
            f"- {claim.says}: **{judgement.verdict}**: {judgement.reason.rstrip('.')}.{figure}"
        )
    return "\n".join(lines)


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
    """claims.md; about: sentences on the data and the training."""
    elsewhere = "" if dataset == MNIST else " The numbers under `chapter` are MNIST's."
    return (
        f"# The chapter's claims, measured\n\n{about}{elsewhere}\n{counts_in_words(judged)}\n\n"
        f"{table(judged)}\n\n## Why\n\n{reasons(judged)}\n"
    )


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|")
