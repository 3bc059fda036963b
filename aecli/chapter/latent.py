"""Judges of what the text says of latent diffusion's autoencoders. Claims about trainings are about
every seed."""

import math
from collections.abc import Callable, Sequence

from aecli.chapter.changes import FEW_IN_HOLES
from aecli.chapter.evidence import Evidence, LatentDiffusion, in_all, over_seeds
from aecli.chapter.verdict import BY_CONSTRUCTION, FAILS, HOLDS, NOT_JUDGED, Judgement
from aecli.codecs.grid_settings import BETA_OF_LATENT_DIFFUSION as PUBLISHED

FARTHEST = 128
"""Factor up to which Chen et al. 2024 report usable reconstructions."""
USABLE_DB = 1.0
"""Loss of PSNR from the finest factor up to which a coarser one counts as usable: a measure of
ours, a quarter more error; neither the text nor the paper says what usable means."""
MUCH = 10
"""Times by which something much cheaper is cheaper: an order of magnitude."""
NAMED = 32
"""Factor that the text names for the cheaper diffusion."""

Judge = Callable[[LatentDiffusion], Judgement]


def measured(judge: Judge) -> Callable[[Evidence], Judgement]:
    """The judge of evidence that may be missing."""

    def judge_if_there(e: Evidence) -> Judgement:
        found = e.latent_diffusion
        if isinstance(found, str):
            return Judgement(f"{NOT_JUDGED} ({found})", "nothing", "nothing was trained for it")
        return judge(found)

    return judge_if_there


def same_compression(found: LatentDiffusion) -> Judgement:
    ratios = found.pixels_to_a_number
    words = ", ".join(f"{name} {ratio:g}:1" for name, ratio in ratios.items())
    if len(set(ratios.values())) == 1:
        reason = "a larger factor moves numbers from places to channels, and drops none"
        return Judgement(BY_CONSTRUCTION, words, reason)
    return Judgement(FAILS, words, "the codes differ in their numbers")


def shortcuts_help(found: LatentDiffusion) -> Judgement:
    near, far = min(found.factors), max(found.factors)
    with_them = _ratios(found.coarsest.test_mse, found.finest.test_mse)
    bare = _ratios(found.coarsest.bare_test_mse, found.finest.bare_test_mse)
    words = (
        f"from f{near} to f{far} at {found.numbers} numbers, errors grow"
        f" {over_seeds(bare, 2)} times without shortcuts, {over_seeds(with_them, 2)} times with"
        " them"
    )
    seeds = len(bare)
    if min(bare) <= 1:
        return Judgement(FAILS, words, "in one seed at least, they do not grow without shortcuts")
    if any(a >= b for a, b in zip(with_them, bare, strict=True)):
        return Judgement(FAILS, words, "in one seed at least, they grow no less with shortcuts")
    reason = f"less with shortcuts, {in_all(seeds)}"
    pairs = zip(found.coarsest.test_mse, found.coarsest.bare_test_mse, strict=True)
    if all(mse > bare_mse for mse, bare_mse in pairs):
        reason += f"; even so the error at f{far} is higher with them"
    return Judgement(HOLDS, words, reason)


def usable_far(found: LatentDiffusion) -> Judgement:
    lost = lost_db(found)
    near, far = min(lost), max(lost)
    words = f"PSNR falls by {over_seeds(lost[far], 2)} dB from f{near} to f{far}"
    if max(lost[far]) > USABLE_DB:
        usable = max(factor for factor, values in lost.items() if max(values) <= USABLE_DB)
        reason = f"by more than {USABLE_DB:g} dB in one seed at least; up to f{usable} it does not"
        return Judgement(FAILS, words, reason)
    if far < FARTHEST:
        reason = f"f{far} leaves one place for the whole of such an image; more cannot be tried"
        return Judgement(f"{NOT_JUDGED} (images too small for f{FARTHEST})", words, reason)
    return Judgement(HOLDS, words, f"by at most {USABLE_DB:g} dB {in_all(len(lost[far]))}")


def lost_db(found: LatentDiffusion) -> dict[int, list[float]]:
    """Factor -> the PSNR in dB that is lost to the finest factor, by seed."""
    return {
        factor: [10 * math.log10(r) for r in _ratios(each.test_mse, found.finest.test_mse)]
        for factor, each in found.factors.items()
    }


def not_samplable(found: LatentDiffusion) -> Judgement:
    words = "; ".join(
        f"weight {weight:g}: {over_seeds([100 * share for share in each.in_holes], 1)}% of N(0, I)"
        f" codes in holes, Frechet distance {over_seeds(each.frechet, 0)}"
        for weight, each in found.drawn.items()
    )
    can = [w for w, each in found.drawn.items() if max(each.in_holes) <= FEW_IN_HOLES]
    most = f"{100 * FEW_IN_HOLES:g}%"
    if PUBLISHED in can:
        return Judgement(FAILS, words, f"at the published weight at most {most} are in holes")
    enough = (
        f"from {min(can):g} on at most {most} are" if can else "at no weight tried they are not"
    )
    seeds = len(found.drawn[PUBLISHED].in_holes)
    where = "in the only seed" if seeds == 1 else "in one seed at least"
    reason = f"at {PUBLISHED:g} more than {most} are in holes {where}; {enough}"
    return Judgement(HOLDS, words, reason)


def cheap_to_decode(found: LatentDiffusion) -> Judgement:
    times = found.block_operations / found.decoder_operations
    words = (
        f"{found.decoder_operations / 1e6:,.0f} million operations decode {found.numbers} numbers;"
        f" one transformer block over the pixels takes {times:.1f} times as many"
    )
    if times > 1:
        return Judgement(
            HOLDS, words, "fewer than a single block, of the many that diffusion takes"
        )
    return Judgement(FAILS, words, "no fewer than a block over the pixels")


def cheaper_diffusion(found: LatentDiffusion) -> Judgement:
    seconds = found.block_seconds
    near = min(seconds)
    times = {factor: seconds[near] / value for factor, value in seconds.items()}
    words = f"one block for {found.block_side}x{found.block_side} pixels: " + ", ".join(
        f"{1000 * value:.3g} ms at f{factor}" for factor, value in seconds.items()
    )
    reason = f"at f{NAMED} {times[NAMED]:.0f} times cheaper than at f{near}"
    if times[NAMED] >= MUCH:
        return Judgement(HOLDS, words, reason)
    return Judgement(FAILS, words, f"{reason}, and not {MUCH}")


def harder_to_train(found: LatentDiffusion) -> Judgement:
    near, far = min(found.factors), max(found.factors)
    took = [
        _epochs_to(curve[-1], other)
        for curve, other in zip(found.coarsest.train_mse, found.finest.train_mse, strict=True)
    ]
    whole = len(found.coarsest.train_mse[0])
    there = [epochs for epochs in took if epochs is not None]
    if len(there) < len(took):
        words = f"f{near} does not arrive in {whole} epochs at the error that f{far} ends at"
        return Judgement(FAILS, words, "in one seed at least, the larger factor learns faster")
    at_far = [whole * s for s in found.coarsest.seconds]
    at_near = [n * s for n, s in zip(there, found.finest.seconds, strict=True)]
    words = (
        f"f{near} is after {over_seeds(there, 1)} of {whole} epochs at the training error that"
        f" f{far} ends at: {over_seeds(at_near, 0)} s and {over_seeds(at_far, 0)} s"
    )
    if max(there) < whole:
        return Judgement(HOLDS, words, f"in fewer steps {in_all(len(there))}")
    return Judgement(FAILS, words, "in one seed at least, in as many steps")


def smoother(found: LatentDiffusion) -> Judgement:
    middle = found.midpoints
    words = (
        f"an image turned by {middle.degrees:g} degrees to either side: the mean of both is"
        f" {middle.pixels:.4f} off the image between them; what the mean of their codes decodes to"
        f" {over_seeds(middle.codes)}, where the image itself is decoded with"
        f" {over_seeds(middle.decoded)}"
    )
    if max(middle.codes) < middle.pixels:
        return Judgement(HOLDS, words, f"nearer {in_all(len(middle.codes))}")
    return Judgement(FAILS, words, "in one seed at least, no nearer than the mean of the pixels")


def _ratios(errors: Sequence[float], others: Sequence[float]) -> list[float]:
    return [a / b for a, b in zip(errors, others, strict=True)]


def _epochs_to(error: float, curve: Sequence[float]) -> int | None:
    """Epochs until a curve is at an error or below; None if it never is."""
    return next((n for n, value in enumerate(curve, start=1) if value <= error), None)
