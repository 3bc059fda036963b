"""The linear case (section 3): network against PCA, linear autoencoder against the theorem."""

from collections.abc import Sequence
from dataclasses import dataclass

from aecli.chapter.verdict import Verdict


def judge_sanity_check(mse: float, pca_mse: float) -> Verdict:
    """Section 3's check: a trained network beats PCA at the same code dimension."""
    if mse < pca_mse:
        return Verdict(True, f"beats PCA: its error is {100 * (1 - mse / pca_mse):.1f}% lower")
    if mse == pca_mse:
        return Verdict(False, "does not beat PCA: it is PCA")
    return Verdict(
        False, f"does not beat PCA: its error is {100 * (mse / pca_mse - 1):.1f}% higher"
    )


@dataclass(frozen=True)
class Advantage:
    """Network and PCA at one code dimension, test mse per pixel."""

    code_dim: int
    network_mse: float
    pca_mse: float
    pca_kept_percent: float
    """The share of the training variance that PCA's components keep."""

    @property
    def absolute(self) -> float:
        """How much lower the network's mse is."""
        return self.pca_mse - self.network_mse

    @property
    def percent(self) -> float:
        """The same, in percent of PCA's mse."""
        return 100 * self.absolute / self.pca_mse if self.pca_mse else 0.0


@dataclass(frozen=True)
class Trend:
    """At which code dimensions the advantage is largest and smallest."""

    largest_at: int
    smallest_at: int
    largest_relative_at: int
    smallest_relative_at: int


def judge_advantage(advantages: Sequence[Advantage]) -> Trend:
    """Where the network's advantage over PCA is largest and smallest (third exercise)."""
    absolute = sorted(advantages, key=lambda a: a.absolute)
    relative = sorted(advantages, key=lambda a: a.percent)
    return Trend(
        absolute[-1].code_dim, absolute[0].code_dim, relative[-1].code_dim, relative[0].code_dim
    )


def explain_trend(advantages: Sequence[Advantage]) -> str:
    """A paragraph that explains the trend by PCA's spectrum, from measured numbers only."""
    trend = judge_advantage(advantages)
    by_dim = {a.code_dim: a for a in advantages}
    large, small = by_dim[trend.largest_at], by_dim[trend.smallest_at]
    best, least = by_dim[trend.largest_relative_at], by_dim[trend.smallest_relative_at]
    losing = [a.code_dim for a in advantages if a.absolute <= 0]
    sentences = [
        f"The network's advantage over PCA is largest at code dimension {large.code_dim}"
        f" ({large.absolute:+.5f} mse per pixel) and smallest at {small.code_dim}"
        f" ({small.absolute:+.5f}); relative to PCA's own error it is largest at {best.code_dim}"
        f" ({best.percent:+.0f}%) and smallest at {least.code_dim} ({least.percent:+.0f}%).",
        "PCA's components keep "
        + ", ".join(f"{a.pca_kept_percent:.0f}% at {a.code_dim}" for a in advantages)
        + " of the variance: what they keep is linear,"
        " and the rest is all that a curved surface can win.",
    ]
    if losing:
        sentences.append(
            f"At {', '.join(map(str, losing))} the network does not beat PCA: it was not trained to"
            " the point where its surface is better than the best plane."
        )
    else:
        first, last = advantages[0], advantages[-1]
        shares = (
            f"{first.percent:.0f}% at {first.code_dim} and {last.percent:.0f}% at {last.code_dim}"
        )
        grows = "grows" if last.percent > first.percent else "falls"
        sentences.append(
            f"Of that rest the network takes {shares}: the share that needs curvature {grows} with"
            " the code, while the rest itself shrinks, so the absolute gap must close in the end."
        )
    return " ".join(sentences)


@dataclass(frozen=True)
class LinearCheck:
    """A trained linear autoencoder against the Eckart-Young-Mirsky theorem."""

    code_dim: int
    tail_mse: float
    """The discarded eigenvalues per pixel: the error that no rank-k linear map can go below."""
    train_mse: float
    pca_train_mse: float
    angle_degrees: float
    """The largest principal angle between the decoder's columns and PCA's components."""
    mix_condition: float
    """The condition number of the map from PCA's code to the autoencoder's."""
    own_axes: float
    """The mean share of a unit's direction on its nearest component; 1 would be PCA's own units."""

    @property
    def excess_percent(self) -> float:
        """How far the training error lies above the bound."""
        return 100 * (self.train_mse / self.tail_mse - 1)

    def row(self) -> dict[str, float]:
        """A row of eckart_young.csv."""
        return {
            "code_dim": self.code_dim,
            "discarded_tail_mse": self.tail_mse,
            "pca_train_mse": self.pca_train_mse,
            "linear_train_mse": self.train_mse,
            "excess_percent": self.excess_percent,
            "largest_principal_angle_degrees": self.angle_degrees,
            "mix_condition_number": self.mix_condition,
            "share_on_own_axes": self.own_axes,
        }


def judge_eckart_young(checks: Sequence[LinearCheck]) -> Verdict:
    """Section 3's theorem: the linear optimum spans PCA's subspace and misses exactly the tail.

    It holds if every linear autoencoder is within 1% of the bound and never below it (beyond
    float32's rounding), and within 10 degrees of PCA's subspace, by an invertible map.
    """
    worst = max(checks, key=lambda c: c.excess_percent)
    widest = max(checks, key=lambda c: c.angle_degrees)
    below = [c for c in checks if c.excess_percent < -0.01]
    evidence = (
        f"the linear autoencoder's training error is at most {worst.excess_percent:.2f}% above the"
        f" discarded tail (code {worst.code_dim}), its subspace within"
        f" {widest.angle_degrees:.1f} degrees of PCA's (code {widest.code_dim}), and a unit lies"
        f" on average {100 * checks[-1].own_axes:.0f}% on one component"
        f" (code {checks[-1].code_dim})"
    )
    if below:
        return Verdict(False, f"Eckart-Young fails: an error below the bound; {evidence}.")
    singular = any(c.mix_condition > 1e4 for c in checks)
    if worst.excess_percent > 1 or widest.angle_degrees > 10 or singular:
        return Verdict(False, f"Eckart-Young is not reached by this training: {evidence}.")
    return Verdict(True, f"Eckart-Young holds: {evidence}.")
