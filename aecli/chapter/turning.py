"""Thresholds at which verdicts would be others, from the same evidence: how safe each one is."""

from collections.abc import Callable, Sequence
from statistics import fmean

from aecli.chapter import digits, latent, region
from aecli.chapter.digits import SWEET, TRIED
from aecli.chapter.evidence import DIMS, Evidence, LatentDiffusion
from aecli.chapter.flat import FORTY
from aecli.chapter.table import PCA_32_MSE, TABLE_MSE, TRAINING_MSE
from aecli.codecs.grid_settings import BETA_OF_LATENT_DIFFUSION as PUBLISHED

Turns = Callable[[Evidence], str]


def of_latent(turns: Callable[[LatentDiffusion], str]) -> Turns:
    """The turning of a claim about evidence that may be missing: never asked for where it is."""

    def turns_if_there(e: Evidence) -> str:
        assert not isinstance(e.latent_diffusion, str)
        return turns(e.latent_diffusion)

    return turns_if_there


def training(e: Evidence) -> str:
    by_epoch = [
        _off(printed, [seed[epoch] for seed in e.chapter_train_mse[32]])
        for epoch, printed in TRAINING_MSE.items()
    ]
    return f"at {', '.join(by_epoch)} of the printed numbers"


def row(code_dim: int) -> Turns:
    """The turning of the table's row."""

    def turns(e: Evidence) -> str:
        off = _off(TABLE_MSE[code_dim], e.printed_by_the_loop(code_dim))
        return f"at {off} of the printed number"

    return turns


def pca(e: Evidence) -> str:
    return f"at {_off(PCA_32_MSE, [e.pca_test_mse[32]])} of the printed number"


def identity(e: Evidence) -> str:
    share = 100 * fmean(e.wide_test_mse) / e.mean_image_test_mse
    printed = fmean(e.printed_by_the_loop(784))
    return f"at {share:.1f}% without hidden layers, at an error of {printed:.4f} with them"


def meaningless(e: Evidence) -> str:
    gains = (
        e.wide_probe_accuracy - e.raw_probe_accuracy,
        e.wide_knn_accuracy - e.raw_knn_accuracy,
    )
    return f"at {100 * max(gains):.1f} points"


def noise(e: Evidence) -> str:
    restored = max(s.restored / s.plain_restored for s in e.noise_trainings)
    shuffled = min(s.shuffled / s.plain_shuffled for s in e.noise_trainings)
    return f"at {restored:.2f} of the error on masked digits, or {shuffled:.1f} times the other one"


def diminishing(e: Evidence) -> str:
    own = [fmean(e.printed_by_the_loop(k)) for k in (32, 64)]
    ours = [fmean(e.test_mse[k]) for k in (32, 64)]
    gains = [100 * (1 - wide / narrow) for narrow, wide in (own, ours)]
    return f"at {gains[0]:.0f}% by the chapter's loop, at {gains[1]:.0f}% by a better training"


def clusters(e: Evidence) -> str:
    return f"at {100 * e.code2_knn_accuracy:.0f}%, either way"


def one_piece(e: Evidence) -> str:
    assert e.one_piece is not None
    gaps = (
        f"{100 * max(e.one_piece.real - share for share in shares):.1f} points at a code of {k}"
        for k, shares in ((k, e.one_piece.decoded[k]) for k in DIMS)
    )
    return f"at {', '.join(gaps)}"


def sweet_spot(e: Evidence) -> str:
    sharpness = {k: 100 * e.readings[k].sharpness for k in TRIED}
    smaller = max(value for k, value in sharpness.items() if k < SWEET)
    return f"at {smaller:.1f}% a smaller code is sharp; at {sharpness[SWEET]:.1f}% 32 is not"


def learns(code_dim: int) -> Turns:
    """The turning of the table's last column: of what its row is judged by."""

    def turns(e: Evidence) -> str:
        reading = e.readings[code_dim]
        read = {
            "labels": digits.labels_read(reading),
            "slant": reading.slant_r2,
            "thickness": reading.thickness_r2,
            **({} if code_dim == 8 else {"sharpness": reading.sharpness}),
        }
        return "at " + ", ".join(f"{100 * (v or 0.0):.0f}% of {name}" for name, v in read.items())

    return turns


def eckart_young(e: Evidence) -> str:
    excess = [c.excess_percent for c in e.linear_checks if c.excess_percent is not None]
    angle = max(c.angle_degrees for c in e.linear_checks)
    return f"at {max(excess):.2f}%, or at {angle:.1f} degrees"


def adds_up(e: Evidence) -> str:
    return f"at {max(e.variance_gaps.values()):.0e} of the variance"


def closed_form(e: Evidence) -> str:
    times = e.listings.gradient_seconds / e.listings.closed_seconds
    return f"at {times:.2g} times as fast"


def three_lines(e: Evidence) -> str:
    found = e.listings
    low, high = FORTY
    end = f"began above {found.gradient_lines}"
    if found.gradient_lines > sum(FORTY) / 2:
        end = f"ended below {found.gradient_lines}"
    return f"if roughly forty, {low} to {high} lines, {end}; or at {found.closed_lines} for three"


def turned(e: Evidence) -> str:
    turn = e.turn_of_pixels
    return f"at {turn.chord:.2f}, or at a dimension of {turn.dimension:.1f}"


def unordered(e: Evidence) -> str:
    order = fmean(abs(value) for value in e.unit_order)
    times = fmean(e.unit_correlation) / max(e.pca_unit_correlation, 1e-9)
    return f"at a rank correlation of {order:.2f}, or at {times:.0f} times PCA's correlation"


def correlated(e: Evidence) -> str:
    return f"at {max(e.largest_correlation):.2f}"


def ordered(e: Evidence) -> str:
    return f"at {max(e.ordered_unit_order):.2f}"


def no_scale(e: Evidence) -> str:
    values = [value for pair in e.code_deviations for value in pair]
    far = max(abs(centre) for pair in e.code_centres for centre in pair)
    low, high = min(values), max(values)
    return f"at a centre of {far:.1f} and deviations of {low:.1f} and {high:.1f}, all three"


def normal_in_hole(e: Evidence) -> str:
    return (
        f"at {100 * e.normal_in_hole:.1f}%, or if holes began at {e.normal_turning:.1f} times the"
        " distance"
    )


def smear(e: Evidence) -> str:
    low, high = e.chapter_smear
    return f"at {low:.2f} and {high:.2f}"


def cannot_sample(e: Evidence) -> str:
    times = e.frechet["standard-normal"] / max(e.frechet["floor"], 1e-12)
    return f"at {times:.0f} times"


def holes_on_the_path(e: Evidence) -> str:
    return f"at {100 * e.leaving_2:.0f}% (code 2) and {100 * e.leaving_32:.0f}% (code 32)"


def in_range(e: Evidence) -> str:
    return "; ".join(
        f"code {k}: at {100 * min(r.in_holes for r in found):.0f}%, or if holes began at"
        f" {min(r.turning for r in found):.2f} times the distance"
        for k, found in ((k, e.in_range[k]) for k in DIMS)
    )


def empty_between(e: Evidence) -> str:
    return f"at {100 * min(e.empty):.0f}% of the area"


def incoherent(e: Evidence) -> str:
    shares = {k: region.between(e.steps[k]) for k in region.WALKED}
    words = (
        f"{100 * both / incoherent:.0f}% (code {k}; of all codes {100 * in_hole:.1f}%)"
        for k, (incoherent, in_hole, both) in shares.items()
        if incoherent
    )
    return f"at {', '.join(words)}"


def softer(e: Evidence) -> str:
    ratios = [c.test_mse / c.plain_test_mse for c in e.conversions]
    return f"at {max(ratios):.2f} times for slightly, at {min(ratios):.2f} for softer"


def samplable(e: Evidence) -> str:
    seeds = e.conversions
    ratio = max(c.frechet / c.plain_frechet for c in seeds)
    return (
        f"at {100 * min(c.plain_in_holes for c in seeds):.0f}% before,"
        f" {100 * max(c.in_holes for c in seeds):.1f}% after, or {ratio:.2f} of the distance"
    )


def fast(e: Evidence) -> str:
    return f"at {e.search.codes_seconds:.1g} s"


def cheap_storage(e: Evidence) -> str:
    ratio = max(s.error_ratio for s in e.storage)
    share = max(s.bits / s.jpeg_bits for s in e.storage)
    return f"at {ratio:.2f} times the error, or at {share:.2f} of JPEG's bits"


def cheap_decoding(found: LatentDiffusion) -> str:
    times = found.block_operations / found.decoder_operations
    return f"at 1/{times:.0f} of a block" if times > 1 else f"at {1 / times:.1f} blocks"


def cheaper_diffusion(found: LatentDiffusion) -> str:
    seconds = found.block_seconds
    return f"at {seconds[min(seconds)] / seconds[latent.NAMED]:.0f} times"


def published_weight(found: LatentDiffusion) -> str:
    return f"at {100 * max(found.drawn[PUBLISHED].in_holes):.1f}%"


def usable(found: LatentDiffusion) -> str:
    return f"at {max(latent.lost_db(found)[max(found.factors)]):.2f} dB"


def _off(printed: float, values: Sequence[float]) -> str:
    """The distance of a mean from a printed number, as a share of it."""
    return f"{100 * abs(fmean(values) - printed) / printed:.1f}%"
