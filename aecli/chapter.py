"""What the chapter claims, and how a measurement is judged against it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """Whether a claim holds, and a sentence that says why."""

    holds: bool
    reason: str


def judge_sanity_check(mse: float, pca_mse: float) -> Verdict:
    """Section 3's check: a trained network beats PCA at the same code dimension."""
    if mse < pca_mse:
        return Verdict(True, f"beats PCA: its error is {100 * (1 - mse / pca_mse):.1f}% lower")
    return Verdict(
        False, f"does not beat PCA: its error is {100 * (mse / pca_mse - 1):.1f}% higher"
    )
