"""What the chapter claims, and how a measurement is judged against it."""

from aecli.chapter.claims import (
    CLAIMS,
    FAILS,
    HOLDS,
    ONLY_IF,
    Claim,
    Evidence,
    Judgement,
    judge_all,
)
from aecli.chapter.codes import CodeReading, describe_code
from aecli.chapter.linear import (
    Advantage,
    LinearCheck,
    Trend,
    explain_trend,
    judge_advantage,
    judge_eckart_young,
    judge_sanity_check,
)
from aecli.chapter.sampling import judge_grey_smear
from aecli.chapter.table import TABLE_MSE, TABLE_RATIO, TRAINING_MSE
from aecli.chapter.verdict import Verdict

__all__ = [
    "CLAIMS",
    "FAILS",
    "HOLDS",
    "ONLY_IF",
    "TABLE_MSE",
    "TABLE_RATIO",
    "TRAINING_MSE",
    "Advantage",
    "Claim",
    "CodeReading",
    "Evidence",
    "Judgement",
    "LinearCheck",
    "Trend",
    "Verdict",
    "describe_code",
    "explain_trend",
    "judge_advantage",
    "judge_all",
    "judge_eckart_young",
    "judge_grey_smear",
    "judge_sanity_check",
]
