"""The linear case (section 3): network against PCA, linear autoencoder against the theorem."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from aecli.chapter.verdict import Verdict

NOTHING = 1e-9
"""An mse per pixel, in [0, 1], below which an error is float32's rounding, and no error."""

MOST_PERCENT = 1000
"""Percent above PCA's error or a bound that are said in percent; more are said as a factor."""


def judge_sanity_check(mse: float, pca_mse: float) -> Verdict:
    """Section 3's check: a trained nonlinear network beats PCA at the same code dimension."""
    apart = _apart(mse, pca_mse)
    if mse < pca_mse:
        return Verdict(True, f"beats PCA: {apart}")
    return Verdict(False, f"does not beat PCA: {apart}")


def compare_linear(mse: float, pca_mse: float) -> str:
    """A sentence on a linear codec other than PCA, to which section 3's check does not apply."""
    return f"{_apart(mse, pca_mse)}; on training images no linear codec is below PCA (Eckart-Young)"


def _apart(mse: float, pca_mse: float) -> str:
    if pca_mse < NOTHING:
        return f"its error is {mse:.5f}, where PCA has none"
    if mse == pca_mse:
        return "its error is the same"
    lower = 100 * (1 - mse / pca_mse)
    if -lower > MOST_PERCENT:
        return f"its error is {mse / pca_mse:,.0f} times PCA's"
    return f"its error is {abs(lower):.1f}% {'lower' if lower > 0 else 'higher'}"


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
        """The difference by which the network's mse is lower."""
        return self.pca_mse - self.network_mse

    @property
    def percent(self) -> float | None:
        """The same, in percent of PCA's mse; None where PCA has no error."""
        return None if self.pca_mse < NOTHING else 100 * self.absolute / self.pca_mse

    def relative_in_words(self, decimals: int = 0) -> str:
        """`+20%` of PCA's error by which the network's is lower, `error 191 times PCA's` where it
        is so much higher, `-` where PCA has no error."""
        if self.percent is None:
            return "-"
        if -self.percent > MOST_PERCENT:
            return f"error {self.network_mse / self.pca_mse:,.0f} times PCA's"
        return f"{self.percent:+.{decimals}f}%"


@dataclass(frozen=True)
class Trend:
    """The code dimensions at which the advantage is largest and smallest."""

    largest_at: int
    smallest_at: int
    largest_relative_at: int | None
    """The same for the advantage in percent of PCA's mse; None if PCA has no error anywhere."""
    smallest_relative_at: int | None


def judge_advantage(advantages: Sequence[Advantage]) -> Trend:
    """The trend of the network's advantage over PCA (third exercise)."""
    absolute = sorted(advantages, key=lambda a: a.absolute)
    relative = sorted((a.percent, a.code_dim) for a in advantages if a.percent is not None)
    return Trend(
        absolute[-1].code_dim,
        absolute[0].code_dim,
        relative[-1][1] if relative else None,
        relative[0][1] if relative else None,
    )


def explain_trend(advantages: Sequence[Advantage]) -> str:
    """A paragraph that explains the trend by PCA's spectrum, from measured numbers only."""
    kept = ", ".join(f"{a.pca_kept_percent:.0f}% at {a.code_dim}" for a in advantages)
    sentences = [
        _where_largest(advantages),
        f"PCA's components keep {kept} of the variance: what they keep is linear, and the rest is"
        " all that a curved surface can win.",
    ]
    losing = [a.code_dim for a in advantages if a.absolute <= 0]
    if losing:
        dims = ", ".join(map(str, losing))
        sentences.append(f"At {dims} the network, as it was trained here, does not beat PCA.")
    else:
        sentences.append(_how_it_grows([a.percent for a in advantages if a.percent is not None]))
    return " ".join(sentences).rstrip()


def _where_largest(advantages: Sequence[Advantage]) -> str:
    if len(advantages) == 1:
        [only] = advantages
        percent = "" if only.percent is None else f", {only.relative_in_words()}"
        percent += " of PCA's own error" if percent.endswith("%") else ""
        return (
            f"The network's advantage over PCA at code dimension {only.code_dim} is"
            f" {only.absolute:+.5f} mse per pixel{percent}."
        )
    trend = judge_advantage(advantages)
    by_dim = {a.code_dim: a for a in advantages}
    large, small = by_dim[trend.largest_at], by_dim[trend.smallest_at]
    sentence = (
        f"The network's advantage over PCA is largest at code dimension {large.code_dim}"
        f" ({large.absolute:+.5f} mse per pixel) and smallest at {small.code_dim}"
        f" ({small.absolute:+.5f})"
    )
    if trend.largest_relative_at is None or trend.smallest_relative_at is None:
        return f"{sentence}."
    best, least = by_dim[trend.largest_relative_at], by_dim[trend.smallest_relative_at]
    return (
        f"{sentence}; relative to PCA's own error it is largest at {best.code_dim}"
        f" ({best.relative_in_words()}) and smallest at {least.code_dim}"
        f" ({least.relative_in_words()})."
    )


def _how_it_grows(percents: Sequence[float]) -> str:
    """A sentence on how the network's share grows or falls with the code; empty if it does both."""
    steps = [after - before for before, after in pairwise(percents)]
    if not steps or not (all(step > 0 for step in steps) or all(step < 0 for step in steps)):
        return ""
    grows = "grows" if steps[0] > 0 else "falls"
    return (
        f"The share of it that the network wins {grows} with the code, from {percents[0]:.0f}% to"
        f" {percents[-1]:.0f}%, while the rest itself shrinks; so the absolute gap must close in"
        " the end."
    )


@dataclass(frozen=True)
class LinearCheck:
    """A trained linear autoencoder against the Eckart-Young-Mirsky theorem."""

    code_dim: int
    tail_mse: float | None
    """The discarded eigenvalues per pixel: the error that no rank-k linear map can go below; None
    of images with pixels that are not valid, for which no such bound is known."""
    train_mse: float
    pca_train_mse: float
    angle_degrees: float
    """The largest principal angle between the decoder's columns and PCA's components."""
    mix_condition: float
    """The condition number of the map from PCA's code to the autoencoder's."""
    own_axes: float
    """The mean share of a unit's direction on its nearest component; 1 would be PCA's own units."""

    @property
    def excess_percent(self) -> float | None:
        """Excess of the training error over the bound, in percent; None if PCA discards nothing, or
        there is no bound."""
        if self.tail_mse is None or self.tail_mse < NOTHING:
            return None
        return 100 * (self.train_mse / self.tail_mse - 1)

    @property
    def excess_in_words(self) -> str:
        """Training error by the bound, which is there: `0.13% above the`, `191 times the`."""
        assert self.tail_mse is not None
        assert self.excess_percent is not None
        if self.excess_percent > MOST_PERCENT:
            return f"{self.train_mse / self.tail_mse:,.0f} times the"
        return f"{self.excess_percent:.2f}% above the"

    def row(self) -> dict[str, float | None]:
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
    float32's rounding), and within 10 degrees of PCA's subspace, by an invertible map. Where PCA
    discards nothing there is no bound; if that is so everywhere, nothing is judged. Nor is it where
    pixels are masked: the theorem is of whole matrices, and weighted ones have no such optimum
    (Srebro & Jaakkola, "Weighted low-rank approximations", 2003).
    """
    if any(c.tail_mse is None for c in checks):
        reason = "it is of whole images, and here some pixels are not valid"
        return Verdict(None, f"Eckart-Young is not judged: {reason}.")
    excess = [(c.excess_percent, c) for c in checks if c.excess_percent is not None]
    exact = ", ".join(str(c.code_dim) for c in checks if c.excess_percent is None)
    aside = f" At {exact} PCA leaves no error, and there is no tail to compare with."
    aside = aside if exact else ""
    if not excess:
        return Verdict(None, f"Eckart-Young is not judged:{aside}")
    highest, worst = max(excess, key=lambda pair: pair[0])
    widest = max((c for _, c in excess), key=lambda c: c.angle_degrees)
    last = excess[-1][1]
    evidence = (
        f"the linear autoencoder's training error is at most {worst.excess_in_words}"
        f" discarded tail (code {worst.code_dim}), its subspace within"
        f" {widest.angle_degrees:.1f} degrees of PCA's (code {widest.code_dim}), and a unit lies"
        f" on average {100 * last.own_axes:.0f}% on one component (code {last.code_dim})"
    )
    if any(percent < -0.01 for percent, _ in excess):
        return Verdict(False, f"Eckart-Young fails: an error below the bound; {evidence}.{aside}")
    singular = any(c.mix_condition > 1e4 for _, c in excess)
    if highest > 1 or widest.angle_degrees > 10 or singular:
        return Verdict(False, f"Eckart-Young is not reached by this training: {evidence}.{aside}")
    return Verdict(True, f"Eckart-Young holds: {evidence}.{aside}")
