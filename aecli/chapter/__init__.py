"""The chapter's claims, and how a measurement is judged against each."""

from aecli.chapter import ledger
from aecli.chapter.claims import CLAIMS, Claim, judge_all
from aecli.chapter.codes import CodeReading, describe_code
from aecli.chapter.evidence import (
    AtFactor,
    Conversion,
    Drawn,
    Evidence,
    LatentDiffusion,
    Midpoints,
    NoiseTraining,
    ScarceClass,
    Search,
    Storage,
    Work,
)
from aecli.chapter.linear import (
    Advantage,
    LinearCheck,
    Trend,
    compare_linear,
    explain_trend,
    judge_advantage,
    judge_eckart_young,
    judge_sanity_check,
)
from aecli.chapter.sampling import judge_grey_smear
from aecli.chapter.table import (
    TABLE_MSE,
    TABLE_RATIO,
    TRAINING_MSE,
    table_mse_of,
    training_mse_of,
)
from aecli.chapter.verdict import (
    BY_CONSTRUCTION,
    FAILS,
    HOLDS,
    NOT_JUDGED,
    ONLY_IF,
    Judgement,
    Verdict,
)

__all__ = [
    "BY_CONSTRUCTION",
    "CLAIMS",
    "FAILS",
    "HOLDS",
    "NOT_JUDGED",
    "ONLY_IF",
    "TABLE_MSE",
    "TABLE_RATIO",
    "TRAINING_MSE",
    "Advantage",
    "AtFactor",
    "Claim",
    "CodeReading",
    "Conversion",
    "Drawn",
    "Evidence",
    "Judgement",
    "LatentDiffusion",
    "LinearCheck",
    "Midpoints",
    "NoiseTraining",
    "ScarceClass",
    "Search",
    "Storage",
    "Trend",
    "Verdict",
    "Work",
    "compare_linear",
    "describe_code",
    "explain_trend",
    "judge_advantage",
    "judge_all",
    "judge_eckart_young",
    "judge_grey_smear",
    "judge_sanity_check",
    "ledger",
    "table_mse_of",
    "training_mse_of",
]
