"""Runs side by side: those that differ by seed alone, the settings that differ, which is better.

Functions of values; nothing here reads a file. One is called *better* than another by a test:
Welch's t interval of the difference between their means over seeds must leave out 0, at 95%. Its
degrees of freedom are those of the group with fewer seeds, which holds the level for any numbers
of seeds and any two spreads (Mickey and Brown, Bounds on the distribution functions of the
Behrens-Fisher statistic, 1966); Welch's own estimate of them errs in up to 11% of comparisons where
one side has two seeds. Seeds that are too few, or that show no spread, decide nothing.
"""

import fnmatch
import functools
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

LEVEL = 0.95
"""Share of comparisons between equals that are rightly left undecided, at the least."""
_ROUNDING = 1e-6  # share of a mean that float32 and the order of sums may change

HEADLINES: dict[str, tuple[str, ...]] = {
    "train": ("test_mse", "psnr_db", "nll_nats", "pca_test_mse", "train_seconds"),
    "sweep-codedim": ("test_mse_*",),
    "pca-compare": ("ae_test_mse_*", "pca_test_mse_*"),
    "sweep-downsampling": ("test_mse_*",),
    "tune": ("val_loss", "begun_val_loss", "settings_tried", "epochs"),
    "reproduce": ("claims_*",),
    "interpolate": ("in_hole_rate_middle", "in_hole_rate_ends", "confidence_middle"),
    "sample": ("frechet_*",),
    "to-vae": ("test_mse", "error_ratio", "kl_nats", "in_holes_standard_normal"),
    "evaluate": (
        *("probe_accuracy", "knn_accuracy", "kmeans_accuracy", "retrieval_map", "anomaly_auroc"),
        *("pca_probe_accuracy", "pixels_probe_accuracy"),
    ),
}
"""Command -> patterns of the metrics that a table shows unless others are asked for."""
_LOWER = (
    *("test_mse", "test_mse_*", "val_mse", "ae_test_mse_*", "denoising_mse_*", "error_ratio"),
    *("val_loss", "begun_val_loss"),
    *("nll_nats", "in_hole_rate_*", "in_holes_standard_normal", "frechet_decoded"),
    *("frechet_standard_normal", "frechet_*gaussian", "frechet_mixture", "frechet_jittered"),
    *("frechet_flow",),
)
_HIGHER = (
    *("psnr_db", "elbo_nats", "probe_accuracy*", "knn_accuracy", "kmeans_*", "mixture_accuracy"),
    *("mixture_nmi", "mixture_ari", "retrieval_map", "precision_at_10", "anomaly_auroc*"),
    *("other_auroc*", "found_*", "confidence_middle", "class_accuracy_*", "claims_that_hold"),
    *("ssim_*", "coherence_*"),
)
_EXACT = ("test_mse*", "val_mse", "psnr_db")  # of a codec that is solved for, at any seed


@dataclass(frozen=True)
class Entry:
    """A completed run as it is compared."""

    name: str
    command: str
    seed: Any
    settings: Mapping[str, Any]
    """Flat, as {"codec.code_dim": 32}: all that decides the numbers, but for the seed."""
    images: str
    """Identity of the images that it was measured on; others are not compared with it."""
    metrics: Mapping[str, Any]
    begun: str = ""
    """Time when it began, as text that sorts by time."""
    is_solved: bool = False
    """True if its codec was solved for, so that no seed has a part in its errors."""


@dataclass(frozen=True)
class Estimate:
    """A metric over seeds."""

    mean: float
    sd: float
    """Standard deviation over seeds (n - 1); nan of a single one."""
    n: int
    is_exact: bool = False
    """True if another seed would give the same number."""


@dataclass(frozen=True)
class Group:
    """Runs that differ by seed alone, one for each seed."""

    entries: tuple[Entry, ...]
    repeats: tuple[Entry, ...] = ()
    """Older runs of a seed that is there already; they are no further evidence."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings that all its runs have."""
        return self.entries[0].settings

    @property
    def seeds(self) -> list[Any]:
        """The seed of each run."""
        return [entry.seed for entry in self.entries]

    @property
    def name(self) -> str:
        """The name of its first run, and how many more there are."""
        more = len(self.entries) - 1
        return self.entries[0].name + (f" +{more}" if more else "")

    def values(self, metric: str) -> list[Any]:
        """Values that its runs have for a metric; None if a run has nothing."""
        return [entry.metrics.get(metric) for entry in self.entries]

    def estimate(self, metric: str) -> Estimate | None:
        """A metric over its seeds; None unless each of its runs has a finite number for it."""
        values = self.values(metric)
        numbers = [float(value) for value in values if is_number(value)]
        if len(numbers) < len(values):
            return None
        first = self.entries[0]
        is_exact = first.is_solved and any(fnmatch.fnmatchcase(metric, each) for each in _EXACT)
        if len(numbers) == 1 and (own := _own_spread(first.metrics, metric)) is not None:
            return Estimate(numbers[0], *own, is_exact)
        return Estimate(_mean(numbers), _sd(numbers), len(numbers), is_exact)


@dataclass(frozen=True)
class Difference:
    """The difference between two means, and the interval that holds the true one."""

    value: float
    low: float
    high: float

    @property
    def is_decided(self) -> bool:
        """True if the interval leaves out 0."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Verdict:
    """Answer to the question which of several groups is best by a metric."""

    metric: str
    leading: int | None
    """Index of the group with the best mean; None if fewer than two have one."""
    is_best: bool = False
    """True if that group is better than every other, beyond the spread over seeds."""
    undecided: tuple[int, ...] = ()
    """The others that it cannot be told from."""
    reason: str = ""
    """Reason why nothing can be said, where that is so; empty otherwise."""
    nearest: tuple[int, Difference] | None = None
    """The other whose interval is nearest to 0 or farthest beyond it, and that difference, leading
    minus other; None where nothing can be said."""


@dataclass(frozen=True)
class Section:
    """Groups that can be compared: of one command, measured on the same images."""

    command: str
    images: str
    groups: tuple[Group, ...]
    differing: Mapping[str, tuple[Any, ...]]
    """Setting -> its value in each group, for the settings that are not the same in all; None where
    a group has no such setting."""
    metrics: tuple[str, ...]
    """Names of all metrics that are numbers in at least one group."""
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    """Metric -> verdict, for the metrics of which it is known which way is better."""

    def chosen(self, patterns: Sequence[str] = ()) -> list[str]:
        """The metrics that match patterns, in their order; by default the command's headlines."""
        wanted = patterns or HEADLINES.get(self.command, ("*",))
        return [m for p in wanted for m in self.metrics if fnmatch.fnmatchcase(m, p)]


def sections(
    entries: Sequence[Entry], apart: Collection[str] = (), by: str | None = None
) -> list[Section]:
    """Entries in groups, and groups in sections that can be compared; the best group first.

    apart: names of runs that are grouped by themselves, since others are held against them. by: the
    metric that decides the order (default: the first of the command's headlines that is there).
    """
    found: dict[tuple[str, str], list[Group]] = {}
    for group in grouped(entries, apart):
        first = group.entries[0]
        found.setdefault((first.command, first.images), []).append(group)
    return [_section(*which, groups, by) for which, groups in sorted(found.items())]


def grouped(entries: Sequence[Entry], apart: Collection[str] = ()) -> list[Group]:
    """Entries that differ by seed alone, together; where a seed is there twice, the newest counts.

    A run that is a mean over seeds of its own stays by itself: its seeds overlap with others'.
    """
    found: dict[tuple[Any, ...], list[Entry]] = {}
    for entry in sorted(entries, key=lambda entry: (entry.begun, entry.name)):
        own_seeds = entry.metrics.get("seeds")
        is_mean = is_number(own_seeds) and own_seeds > 1
        settings = repr(sorted(entry.settings.items()))
        by_itself = entry.name if is_mean else ""
        key = (entry.command, entry.images, settings, entry.name in apart, by_itself)
        found.setdefault(key, []).append(entry)
    return [_one_for_each_seed(group) for group in found.values()]


def differing(groups: Sequence[Group]) -> dict[str, tuple[Any, ...]]:
    """Setting -> its value in each group, for those that are not the same in all; None where a
    group has no such setting."""
    keys = dict.fromkeys(key for group in groups for key in group.settings)
    rows = {key: tuple(group.settings.get(key) for group in groups) for key in keys}
    return {key: values for key, values in rows.items() if len(set(map(_text, values))) > 1}


def direction(metric: str) -> int:
    """1 if more of a metric is better, -1 if less is, 0 if neither or unknown."""
    if any(fnmatch.fnmatchcase(metric, each) for each in _HIGHER):
        return 1
    return -1 if any(fnmatch.fnmatchcase(metric, each) for each in _LOWER) else 0


def judge(metric: str, groups: Sequence[Group]) -> Verdict:
    """The verdict on which group is better by a metric than each other; `direction` must know it.

    That the winner is better than every other is tested at LEVEL for each; at most 1 - LEVEL of
    comparisons of equals, however many they are, name a best (tests/test_comparison.py counts).
    """
    there = {i: found for i, group in enumerate(groups) if (found := group.estimate(metric))}
    if len(there) < 2:
        return Verdict(metric, None)
    sign = direction(metric)
    leading = max(there, key=lambda i: sign * there[i].mean)
    if reason := cannot_say(list(there.values())):
        return Verdict(metric, leading, reason=reason)
    differences = {i: difference(there[leading], there[i]) for i in there if i != leading}
    undecided = tuple(i for i, each in differences.items() if not each.is_decided)
    nearest = min(differences, key=lambda i: _clearance(differences[i]))
    return Verdict(
        metric, leading, not undecided, undecided, nearest=(nearest, differences[nearest])
    )


def against(baseline: Group, group: Group, metric: str, comparisons: int = 1) -> tuple[str, Any]:
    """A group beside a baseline, by one metric: "better", "worse", "undecided" with the Difference
    (group minus baseline), or "nothing" with the reason why.

    comparisons: how many groups are held against this baseline; the level is that of all together
    (Bonferroni).
    """
    pair = [group.estimate(metric), baseline.estimate(metric)]
    if not direction(metric) or pair[0] is None or pair[1] is None:
        return "nothing", "it is not measured in both"
    if reason := cannot_say([pair[0], pair[1]]):
        return "nothing", reason
    found = difference(pair[0], pair[1], 1 - (1 - LEVEL) / comparisons)
    if not found.is_decided:
        return "undecided", found
    return ("better" if found.value * direction(metric) > 0 else "worse"), found


def cannot_say(estimates: Sequence[Estimate]) -> str:
    """Reason why nothing can be said about which of these is better; empty if something can."""
    uncertain = [each for each in estimates if not each.is_exact]
    alone = sum(each.n < 2 for each in uncertain)
    if alone:
        return "one seed only" if alone == len(estimates) else "some have one seed only"
    if any(each.sd <= _ROUNDING * abs(each.mean) for each in uncertain):
        return "no spread over seeds"
    return ""


def difference(a: Estimate, b: Estimate, level: float = LEVEL) -> Difference:
    """a's mean minus b's, and its interval. Each must be exact or have two seeds or more."""
    value = a.mean - b.mean
    uncertain = [each for each in (a, b) if not each.is_exact]
    if not uncertain:
        margin = _ROUNDING * max(abs(a.mean), abs(b.mean))
    else:
        error = math.sqrt(sum(each.sd**2 / each.n for each in uncertain))
        margin = _quantile(min(each.n for each in uncertain) - 1, level) * error
    return Difference(value, value - margin, value + margin)


def statement(verdict: Verdict, names: Sequence[str]) -> str:
    """A verdict as a sentence; empty where there was nothing to compare. names: of the groups."""
    if verdict.leading is None:
        return ""
    leader, metric = names[verdict.leading], verdict.metric
    if verdict.reason:
        return f"{metric}: nothing can be said about which is better: {verdict.reason}"
    assert verdict.nearest is not None
    other, found = verdict.nearest
    interval = f"{abs(found.value):.3g}, {LEVEL:.0%} interval {_ends(found)}"
    if verdict.is_best:
        every = "the other" if len(names) == 2 else f"every other; next is {names[other]}"
        return f"{metric}: {leader} is better than {every}, by {interval}"
    others = ", ".join(names[i] for i in verdict.undecided)
    mean = "highest" if direction(metric) > 0 else "lowest"
    return (
        f"{metric}: {leader} has the {mean} mean, but seeds do not tell it from {others}"
        f" ({names[other]}: by {interval})"
    )


THE_TEST = (
    "Better: Welch's t interval of the difference between the means over seeds leaves out 0 at"
    f" {LEVEL:.0%}, with the degrees of freedom of the group that has fewer seeds; best: better"
    " than every other. Of one seed nothing can be said."
)
"""The test, in words for readers of a table."""


def is_number(value: Any) -> TypeGuard[int | float]:
    """True for a finite number; JSON's true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and _is_finite(value)


def _section(command: str, images: str, groups: list[Group], by: str | None) -> Section:
    metrics = tuple(
        dict.fromkeys(
            name
            for group in groups
            for entry in group.entries
            for name, value in entry.metrics.items()
            if is_number(value) and _is_name(name) and not _is_spread(name)
        )
    )
    plain = Section(command, images, tuple(groups), {}, metrics)
    leads = [by] if by in metrics else [name for name in plain.chosen() if direction(name)]
    if leads and leads[0] is not None:
        groups = sorted(groups, key=_best_first(leads[0]))
    judged = {name: judge(name, groups) for name in metrics if direction(name)}
    verdicts = {name: each for name, each in judged.items() if each.leading is not None}
    return Section(command, images, tuple(groups), differing(groups), metrics, verdicts)


def _best_first(metric: str) -> Callable[[Group], tuple[bool, float, str]]:
    sign = direction(metric) or 1

    def key(group: Group) -> tuple[bool, float, str]:
        found = group.estimate(metric)
        return (found is None, 0.0 if found is None else -sign * found.mean, group.name)

    return key


def _one_for_each_seed(entries: Sequence[Entry]) -> Group:
    newest = {_text(entry.seed): entry for entry in entries}  # they come by time
    kept = sorted(newest.values(), key=lambda entry: (_text(entry.seed).rjust(20), entry.name))
    return Group(
        tuple(kept),
        tuple(entry for entry in entries if entry.name not in {each.name for each in kept}),
    )


def _own_spread(metrics: Mapping[str, Any], metric: str) -> tuple[float, int] | None:
    """The spread and the number of seeds that a run of many trainings says itself."""
    row = metric.replace("test_mse_", "test_mse_sd_", 1) if metric.startswith("test_mse_") else ""
    sd, seeds = metrics.get(f"{metric}_sd", metrics.get(row)), metrics.get("seeds")
    if not is_number(sd) or not is_number(seeds) or seeds < 2 or sd < 0:
        return None
    return float(sd), int(seeds)


def _is_name(name: str) -> bool:
    """True for a name as metrics have it; a damaged run may have any text, of any length."""
    return name.isidentifier() and len(name) <= 80


def _is_spread(name: str) -> bool:
    return name.endswith("_sd") or "_sd_" in name


def _mean(numbers: Sequence[float]) -> float:
    if min(numbers) == max(numbers):
        return numbers[0]  # the division rounds
    return math.fsum(numbers) / len(numbers)


def _sd(numbers: Sequence[float]) -> float:
    if len(numbers) < 2:
        return math.nan
    mean = _mean(numbers)
    return math.sqrt(math.fsum((x - mean) ** 2 for x in numbers) / (len(numbers) - 1))


@functools.cache
def _quantile(freedom: int, level: float) -> float:
    """The number that Student's t of some degrees of freedom is below, in size, at `level`."""
    from scipy.special import stdtrit  # half a second, for those alone who have seeds to compare

    return float(stdtrit(freedom, (1 + level) / 2))


def _clearance(found: Difference) -> float:
    """Distance of an interval from 0, in its own half widths; negative if it holds 0."""
    width = (found.high - found.low) / 2
    return abs(found.value) / width - 1 if width else math.inf


def _ends(found: Difference) -> str:
    ends = [found.low, found.high] if found.value >= 0 else [-found.high, -found.low]
    return f"{ends[0]:.3g} to {ends[1]:.3g}"


def _text(value: Any) -> str:
    return repr(value)


def _is_finite(value: int | float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond all floats
        return False
