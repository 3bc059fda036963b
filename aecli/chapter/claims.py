"""Every claim of the chapter that can be measured, as data: its place, its words, its judge."""

from aecli.chapter import section_1, section_2, section_3, section_4
from aecli.chapter.claim import Claim, judge
from aecli.chapter.evidence import Evidence
from aecli.chapter.verdict import Judgement

CLAIMS: tuple[Claim, ...] = (
    *section_1.CLAIMS,
    *section_2.CLAIMS,
    *section_3.CLAIMS,
    *section_4.CLAIMS,
)


def judge_all(evidence: Evidence) -> list[tuple[Claim, Judgement]]:
    """Every claim with its judgement: a verdict, or why there is none."""
    return [(claim, judge(claim, evidence)) for claim in CLAIMS]
