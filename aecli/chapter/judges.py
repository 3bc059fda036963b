"""One judge per claim: evidence -> verdict, our number in words, and a reason that follows."""

from collections.abc import Callable
from itertools import pairwise
from statistics import fmean

from aecli.chapter.evidence import ALMOST_SURELY, SELDOM, Evidence, agrees, over_seeds
from aecli.chapter.linear import judge_advantage, judge_eckart_young
from aecli.chapter.sampling import judge_grey_smear
from aecli.chapter.table import PCA_32_MSE, TABLE_MSE, TABLE_RATIO, TRAINING_MSE
from aecli.chapter.verdict import (
    BY_CONSTRUCTION,
    FAILS,
    HOLDS,
    NOT_JUDGED,
    ONLY_IF,
    Judgement,
)

TABLE_ROUNDING = 0.0005  # the table prints three digits


def shapes(e: Evidence) -> Judgement:
    holds = e.code_shape == (8, 32) and e.reconstruction_shape == (8, 784)
    measured = f"{e.code_shape} and {e.reconstruction_shape}"
    if holds:
        return Judgement(BY_CONSTRUCTION, measured, "the network's layers have these widths")
    return Judgement(FAILS, measured, "the trained network has other widths")


def training(e: Evidence) -> Judgement:
    seeds = e.chapter_train_mse[32]
    by_epoch = {epoch: [seed[epoch] for seed in seeds] for epoch in TRAINING_MSE}
    measured = ", ".join(over_seeds(values) for values in by_epoch.values())
    if len(seeds) == 1:
        return _one_seed(measured)
    right = [epoch for epoch, printed in TRAINING_MSE.items() if agrees(printed, by_epoch[epoch])]
    if len(right) == len(TRAINING_MSE):
        return Judgement(HOLDS, measured, "all three are what the printed loop gives")
    if right:
        reason = "the printed loop gives the others differently"
        return Judgement(f"{ONLY_IF} the epoch is {' or '.join(map(str, right))}", measured, reason)
    return Judgement(FAILS, measured, "the printed loop gives other numbers")


def falling(e: Evidence) -> Judgement:
    seeds = e.chapter_train_mse[32]
    falls = all(b < a for seed in seeds for a, b in pairwise(seed))
    first, last = ([seed[i] for seed in seeds] for i in (0, -1))
    measured = f"{over_seeds(first)} to {over_seeds(last)}"
    if falls:
        return Judgement(HOLDS, measured, "from each epoch to the next, in every seed")
    return Judgement(FAILS, measured, "in one seed at least, an epoch ends above the one before")


def row(code_dim: int) -> Callable[[Evidence], Judgement]:
    """The judge of a row of the table: by the number that the chapter's loop prints at the end."""

    def judge(e: Evidence) -> Judgement:
        printed = e.printed_by_the_loop(code_dim)
        measured = (
            f"{over_seeds(printed)} in the last epoch of training,"
            f" {over_seeds(e.chapter_test_mse[code_dim])} on test images"
        )
        if len(printed) == 1:
            return _one_seed(measured)
        reason = (
            f"by the chapter's own training, {e.chapter_recipe};"
            f" {e.recipe} gives {over_seeds(e.test_mse[code_dim])} on test images"
        )
        holds = agrees(TABLE_MSE[code_dim], printed, TABLE_ROUNDING)
        return Judgement(_plain(holds), measured, reason)

    return judge


def identity(e: Evidence) -> Judgement:
    printed, wide = e.printed_by_the_loop(784), fmean(e.wide_test_mse)
    share = 100 * wide / e.mean_image_test_mse
    measured = (
        f"{over_seeds(printed)} in the last epoch of the chapter's training,"
        f" {over_seeds(e.chapter_test_mse[784])} on test images; there aecli's training gives"
        f" {over_seeds(e.test_mse[784])}, and {over_seeds(e.wide_test_mse, 5)} without hidden"
        " layers"
    )
    if fmean(printed) < TABLE_ROUNDING:
        return Judgement(HOLDS, measured, "the network as drawn copies its input")
    if share < 5:
        reason = (
            f"as drawn, {e.narrowest_784}-wide hidden layers are still the bottleneck; without"
            f" them the error is {share:.1f}% of the mean image's, nearly a copy"
        )
        return Judgement(f"{ONLY_IF} no layer is narrower than the code", measured, reason)
    reason = f"even without hidden layers the error is {share:.0f}% of the mean image's"
    return Judgement(FAILS, measured, reason)


def meaningless(e: Evidence) -> Judgement:
    readers = (
        ("a linear probe", e.wide_probe_accuracy, e.raw_probe_accuracy),
        ("a vote of the 5 nearest", e.wide_knn_accuracy, e.raw_knn_accuracy),
    )
    measured = ", ".join(
        f"{reader} reads {100 * code:.1f}% of labels from it, {100 * raw:.1f}% from the pixels"
        for reader, code, raw in readers
    )
    better = [reader for reader, code, raw in readers if 100 * (code - raw) > 1]
    if not better:
        reason = "neither reader gets a point more from the code than from the image"
        return Judgement(HOLDS, measured, reason)
    read = "reads" if len(better) == 1 else "read"
    return Judgement(FAILS, measured, f"{' and '.join(better)} {read} the code better")


def ratios(e: Evidence) -> Judgement:
    measured = ", ".join(f"{e.compression_ratios[k]:g}:1" for k in TABLE_RATIO)
    if all(e.compression_ratios[k] == ratio for k, ratio in TABLE_RATIO.items()):
        return Judgement(BY_CONSTRUCTION, measured, "784 pixels over the code dimension")
    return Judgement(FAILS, measured, "the trained networks' pixels over their code dimensions")


def pca(e: Evidence) -> Judgement:
    mse = e.pca_test_mse[32]
    reason = "the exact solution, by eigenvalues of the covariance, on the same images"
    return Judgement(_plain(agrees(PCA_32_MSE, [mse])), f"{mse:.5f}", reason)


def beats_pca(e: Evidence) -> Judgement:
    printed, own, better = e.printed_by_the_loop(32), e.chapter_test_mse[32], e.test_mse[32]
    pca_mse = e.pca_test_mse[32]
    measured = (
        f"{over_seeds(printed)} in the last epoch of the chapter's training, {over_seeds(own)} on"
        f" test images; {over_seeds(better)} by aecli's; PCA {pca_mse:.4f}"
    )
    if max(printed) < pca_mse and max(own) < pca_mse:
        return Judgement(HOLDS, measured, f"the chapter's training is enough: {e.chapter_recipe}")
    if max(own) < pca_mse:
        which = "" if min(printed) >= pca_mse else ", in one seed at least"
        reason = f"over the last epoch the mean is above PCA's error{which}, on test images below"
        return Judgement(f"{ONLY_IF} both are measured on test images", measured, reason)
    if max(better) < pca_mse:
        loses = "loses to PCA" if min(own) >= pca_mse else "does not beat PCA in every seed"
        reason = f"the chapter's training ({e.chapter_recipe}) {loses}; {e.recipe} beats it"
        return Judgement(f"{ONLY_IF} it is trained better", measured, reason)
    every = " in every seed" if len(better) > 1 else ""
    reason = f"neither the chapter's training ({e.chapter_recipe}) nor {e.recipe} beats PCA{every}"
    return Judgement(FAILS, measured, reason)


def diminishing(e: Evidence) -> Judgement:
    own = {k: fmean(e.printed_by_the_loop(k)) for k in (8, 32, 64)}
    ours = {k: fmean(e.test_mse[k]) for k in (32, 64)}
    gain, our_gain = (100 * (1 - mse[64] / mse[32]) for mse in (own, ours))
    pca_gain = 100 * (1 - e.pca_test_mse[64] / e.pca_test_mse[32])
    measured = (
        f"{own[8]:.4f} at 8, {own[32]:.4f} at 32, {own[64]:.4f} at 64 by the chapter's loop;"
        f" {ours[32]:.4f} at 32, {ours[64]:.4f} at 64 on test images by aecli's training"
    )
    if own[32] - own[64] >= own[8] - own[32]:
        return Judgement(FAILS, measured, "the drop does not shrink past 32")
    if gain >= 10:
        reason = f"the drop shrinks, but from 32 to 64 the error still falls by {gain:.0f}%"
        return Judgement(f"{ONLY_IF} the drop is meant in absolute terms", measured, reason)
    if our_gain >= 10:
        reason = (
            f"from 32 to 64 the chapter's loop gains {gain:.0f}%, a better training"
            f" {our_gain:.0f}%, and PCA {pca_gain:.0f}%: the capacity is there"
        )
        return Judgement(f"{ONLY_IF} it is trained as the chapter does", measured, reason)
    reason = f"from 32 to 64 the loop gains {gain:.0f}%, a better training {our_gain:.0f}%"
    return Judgement(HOLDS, measured, reason)


def clusters(e: Evidence) -> Judgement:
    accuracy, chance = e.code2_knn_accuracy, 1 / e.classes
    measured = f"{100 * accuracy:.0f}% of test images lie among codes of their own class"
    if accuracy > 0.95:
        return Judgement(FAILS, measured, "they are separated cleanly, not loosely")
    by_chance = f"the {100 * chance:.0f}% of chance"
    if accuracy >= (1 + chance) / 2:
        return Judgement(HOLDS, measured, f"nearer to a clean separation than to {by_chance}")
    return Judgement(FAILS, measured, f"nearer to {by_chance} than to a clean separation")


def eckart_young(e: Evidence) -> Judgement:
    verdict = judge_eckart_young(e.linear_checks)
    if verdict.holds is None:
        return Judgement(f"{NOT_JUDGED} (PCA leaves no error)", "no tail", verdict.reason)
    there = [(check.excess_percent, check) for check in e.linear_checks]
    _, worst = max((pair for pair in there if pair[0] is not None), key=lambda pair: pair[0] or 0.0)
    measured = f"at most {worst.excess_in_words} tail"
    return Judgement(_plain(verdict.holds), measured, verdict.reason)


def unordered(e: Evidence) -> Judgement:
    order = fmean(abs(value) for value in e.unit_order)
    measured = (
        f"rank correlation of unit and variance {over_seeds(e.unit_order, 2)}, PCA's -1;"
        f" mean |correlation| of two units {over_seeds(e.unit_correlation, 2)},"
        f" PCA's {e.pca_unit_correlation:.2f}"
    )
    wrong = [
        what
        for what, is_so in (
            ("ordered", order >= 0.5),
            ("uncorrelated", fmean(e.unit_correlation) <= 2 * e.pca_unit_correlation),
        )
        if is_so
    ]
    if wrong:
        return Judgement(FAILS, measured, f"the units are {' and '.join(wrong)} after all")
    return Judgement(HOLDS, measured, "neither ordered by variance nor uncorrelated")


def smear(e: Evidence) -> Judgement:
    ranges = (
        ("as the chapter trains", e.chapter_smear),
        ("as aecli trains", e.smear_trained),
        ("untrained", e.smear_untrained),
    )
    measured = ", ".join(f"{low:.2f} to {high:.2f} {how}" for how, (low, high) in ranges)
    own, trained, untrained = (bool(judge_grey_smear(*span).holds) for _, span in ranges)
    if own:
        return Judgement(HOLDS, measured, "the chapter's trained decoder gives a flat grey band")
    if untrained:
        reason = (
            "trained as the chapter trains, it leaves the grey band that an untrained one gives"
            + (", though trained as aecli does it stays there" if trained else "")
        )
        return Judgement(f"{ONLY_IF} the decoder was never trained", measured, reason)
    reason = "neither the chapter's trained decoder nor an untrained one gives a flat grey band"
    return Judgement(FAILS, measured, reason)


def cannot_sample(e: Evidence) -> Judgement:
    normal, floor = e.frechet["standard-normal"], e.frechet["floor"]
    # Jittered codes are those of real images; of what is drawn blindly, the best beside N(0, I):
    others = ("floor", "standard-normal", "jittered")
    best = min((v, k) for k, v in e.frechet.items() if k not in others)
    measured = (
        f"Frechet distance of N(0, I) {normal:.0f}, of {best[1]} {best[0]:.0f},"
        f" of real test images {floor:.1f}"
    )
    times = f"{normal / max(floor, 1e-12):.0f} times as far from real images as test images do"
    if normal > 10 * floor:
        return Judgement(HOLDS, measured, f"what N(0, I) decodes to lies {times}")
    return Judgement(FAILS, measured, f"what N(0, I) decodes to lies only {times}")


def normal_in_hole(e: Evidence) -> Judgement:
    measured = f"{100 * e.normal_in_hole:.0f}% of N(0, I) codes lie in a hole"
    reason = "by the rule under which 1% of held-out images do"
    return Judgement(_plain(e.normal_in_hole > ALMOST_SURELY), measured, reason)


def no_scale(e: Evidence) -> Judgement:
    deviations = [value for pair in e.code_deviations for value in pair]
    centres = [value for pair in e.code_centres for value in pair]
    low, high, far = min(deviations), max(deviations), max(abs(centre) for centre in centres)
    measured = (
        f"units centred from {min(centres):.1f} to {max(centres):.1f},"
        f" standard deviations {low:.1f} to {high:.1f}"
    )
    found = [
        what
        for what, is_so in (
            ("some units are centred where N(0, 1) hardly ever draws", far > 2),
            ("the scale of some is not near 1", low < 0.5 or high > 2),
        )
        if is_so
    ]
    if found:
        return Judgement(HOLDS, measured, " and ".join(found))
    return Judgement(FAILS, measured, "close to N(0, 1), as if it had been asked for")


def holes(e: Evidence) -> Judgement:
    measured = (
        f"{100 * e.leaving_2:.0f}% of straight paths at code 2 and {100 * e.leaving_32:.0f}% at"
        f" code 32 pass a hole; {100 * e.leaving_pca_2:.0f}% of PCA's at 2"
    )
    where = [k for k, share in ((2, e.leaving_2), (32, e.leaving_32)) if share > SELDOM]
    if len(where) == 2:
        reason = "more than one path in five leaves the region, at both code dimensions"
        return Judgement(HOLDS, measured, reason)
    if where:
        reason = "at the other one, no more than one path in five leaves the region"
        return Judgement(f"{ONLY_IF} the code dimension is {where[0]}", measured, reason)
    return Judgement(FAILS, measured, "no more than one path in five leaves the region")


def nonlinear_everywhere(e: Evidence) -> Judgement:
    trend = judge_advantage(e.advantages)
    losing = [str(a.code_dim) for a in e.advantages if a.network_mse >= a.pca_mse]
    measured = ", ".join(
        f"{a.absolute:+.4f} at {a.code_dim}"
        if a.percent is None
        else f"{a.relative_in_words()} at {a.code_dim}"
        for a in e.advantages
    )
    if losing:
        return Judgement(FAILS, measured, f"{e.recipe} does not beat PCA at {', '.join(losing)}")
    reason = f"by {e.recipe}; in mse largest at {trend.largest_at}, smallest at {trend.smallest_at}"
    return Judgement(HOLDS, measured, reason)


def _plain(holds: bool) -> str:
    return HOLDS if holds else FAILS


def _one_seed(measured: str) -> Judgement:
    reason = "how far seeds differ takes two of them at least"
    return Judgement(f"{NOT_JUDGED} (1 seed)", measured, reason)
