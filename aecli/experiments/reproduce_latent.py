"""Evidence on the autoencoders of latent diffusion, for `aecli reproduce`."""

import hashlib
import importlib.util
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from aecli import figures
from aecli.chapter import AtFactor, Drawn, LatentDiffusion, Midpoints
from aecli.codecs.base import Codec
from aecli.codecs.grid_settings import BETA_OF_LATENT_DIFFUSION as PUBLISHED
from aecli.codecs.grid_settings import DcConfig, Factor, KlConfig
from aecli.codespace.region import OccupiedRegion, codes_of
from aecli.config import ElboLoss, FitConfig, ReproduceConfig
from aecli.data.images import Images, ImageShape, Source
from aecli.errors import UsageError
from aecli.experiments.conversion import Scales
from aecli.experiments.evaluate_parts import thinned
from aecli.experiments.reproduce_changes import Rows, conversion_fit, draw_rows
from aecli.experiments.wording import mse_in_words
from aecli.measure import metrics
from aecli.measure.robustness import turned
from aecli.measure.seeds import mean, spread
from aecli.runs.context import Context
from aecli.runs.folder import RunDir
from aecli.training.jobs import Job, Trained, train_all

FACTORS: tuple[Factor, ...] = (8, 16, 32, 64, 128)
CHANNELS = 4
"""Channels of a code at the finest factor, as in Rombach et al. 2022."""
WEIGHTS = PUBLISHED, 1.0, 3.0
"""Weights of the divergence that are tried."""
_IMAGES, _EPOCHS, _BATCH = 1000, 5, 32  # of each training
_TESTED = 500  # test images, and codes drawn, at most
_TURNED = 15.0  # degrees to either side of the image between
_TURNED_IMAGES = 500  # test images, at most
_WIDTH, _HEADS = 384, 6  # of a transformer block: DiT-S of Peebles and Xie, ICCV 2023, table 1
_SIDE = 512  # pixels of an image whose places a block is timed on
_TIMED = 5  # times that a block is timed
# Published codes (Chen et al. 2024): the factor and the channels.
_SHAPES: Mapping[str, tuple[Factor, int]] = {
    "f32c32": (32, 32),
    "f64c128": (64, 128),
    "f128c512": (128, 512),
}
_SHOWN = 12  # images in a row of a picture


def measure_latent_diffusion(
    scales: Scales, config: ReproduceConfig, run_dir: RunDir, context: Context
) -> LatentDiffusion | str:
    """The evidence, and a figure and a picture of it; the reason in words where there is none."""
    if config.quick:
        return "quick"
    if importlib.util.find_spec("diffusers") is None:
        return "without aecli[diffusion]"
    images = _few(scales.images)
    if images is None:
        return f"fewer than {_IMAGES:,} training images"
    numbers, factors = _grids(images.shape)
    if len(factors) < 2:
        return "images too small for two factors"
    seeds = range(config.seed, config.seed + config.seeds)
    fit = conversion_fit(config).model_copy(
        update={"epochs": _EPOCHS, "batch_size": _BATCH, "loss": FitConfig().loss}
    )
    jobs = {
        (factor, shortcuts): [
            Job(DcConfig(code_dim=numbers, downsampling=factor, shortcuts=shortcuts), fit, seed)
            for seed in seeds
        ]
        for factor in factors
        for shortcuts in (True, False)
    }
    drawing = {
        weight: [
            Job(
                KlConfig(code_dim=numbers, downsampling=factors[0]),
                fit.model_copy(update={"loss": ElboLoss(beta=weight)}),
                seed,
            )
            for seed in seeds
        ]
        for weight in WEIGHTS
    }
    every = [job for of_one in (*jobs.values(), *drawing.values()) for job in of_one]
    own = config.model_copy(update={"train": fit})  # whose batches the few images are enough for
    trainings = train_all(every, images, own, run_dir, context)
    trainings.require_all()
    done = trainings.done
    with context.terminal.working("measuring grids of codes"):
        at_factor: dict[int, AtFactor] = {
            factor: _at_factor(
                [done[job] for job in jobs[factor, True]],
                [done[job] for job in jobs[factor, False]],
                images.test,
            )
            for factor in factors
        }
        codecs = {weight: [done[job].codec for job in of_one] for weight, of_one in drawing.items()}
        drawn = {weight: _drawn(those, images, scales) for weight, those in codecs.items()}
        published = codecs[PUBLISHED]
        midpoints, rows = _midpoints(published, images.test)
        found = LatentDiffusion(
            images=len(images.train),
            numbers=numbers,
            factors=at_factor,
            drawn=drawn,
            midpoints=midpoints,
            decoder_operations=_decoder_operations(published[0]),
            block_operations=_block_operations(math.prod(images.shape[1:])),
            block_side=_SIDE,
            block_seconds={factor: _block_seconds((_SIDE // factor) ** 2) for factor in FACTORS},
            pixels_to_a_number=_pixels_to_a_number(),
        )
    _draw(found, rows, images, run_dir)
    return found


def _few(images: Images) -> Images | None:
    """The same with _IMAGES training images, fewer test images, and no validation; None if there
    are too few."""
    if len(images.train) < _IMAGES:
        return None
    # A training is kept under a name made of what it learned from: these are other images.
    sha256 = hashlib.sha256(f"{images.sha256} {_IMAGES}".encode()).hexdigest()
    train, test = thinned(images.train, _IMAGES), thinned(images.test, _TESTED)
    return replace(images, train=train, val=images.val.first(0), test=test, sha256=sha256)


def _grids(shape: ImageShape) -> tuple[int, list[Factor]]:
    """Numbers of a code, and the factors that a code of so many fits: to the first one that leaves
    a single place."""
    numbers = CHANNELS * math.prod(-(-side // FACTORS[0]) for side in shape[1:])
    fitting: list[Factor] = []
    for factor in FACTORS:
        try:
            DcConfig(code_dim=numbers, downsampling=factor).layers(shape)
        except UsageError:
            continue
        fitting.append(factor)
        if factor >= max(shape[1:]):
            break
    return numbers, fitting


def _at_factor(trained: Sequence[Trained], bare: Sequence[Trained], test: Source) -> AtFactor:
    return AtFactor(
        test_mse=[metrics.mse(each.codec, test) for each in trained],
        bare_test_mse=[metrics.mse(each.codec, test) for each in bare],
        train_mse=[[record.train_mse for record in each.records] for each in trained],
        seconds=[mean([record.seconds for record in each.records]) for each in trained],
    )


def _drawn(codecs: Sequence[Codec], images: Images, scales: Scales) -> Drawn:
    """Codes from N(0, I) times one number, the deviation of all codes, by which latent diffusion
    scales a code (Rombach et al. 2022)."""
    in_holes, frechet = [], []
    held_out = thinned(scales.held_out, _TESTED)
    for codec in codecs:
        (codes, _), occupying = codes_of(codec, (images.train, held_out))
        generator = torch.Generator().manual_seed(0)
        drawn = min(len(scales.noise), _TESTED)
        noise = torch.randn((drawn, codec.code_dim), generator=generator)
        noise = noise * codes.std()
        region = OccupiedRegion.calibrated(*occupying)
        in_holes.append(region.in_hole(noise).double().mean().item())
        frechet.append(scales.frechet(codec, noise))
    return Drawn(in_holes, frechet)


def _midpoints(codecs: Sequence[Codec], test: Source) -> tuple[Midpoints, Rows]:
    """Errors of middles of turned images, and rows of a picture."""
    images = thinned(test, _TURNED_IMAGES).all().images
    left, middle, right = (turned(images, degrees) for degrees in (-_TURNED, 0.0, _TURNED))
    with torch.no_grad():
        means = (left + right) / 2
        between = [c.decode((c.encode(left) + c.encode(right)) / 2) for c in codecs]
        decoded = [c.decode(c.encode(middle)) for c in codecs]
    found = Midpoints(
        degrees=_TURNED,
        pixels=F.mse_loss(means, middle).item(),
        codes=[F.mse_loss(some, middle).item() for some in between],
        decoded=[F.mse_loss(some, middle).item() for some in decoded],
    )
    named = [
        (f"turned by -{_TURNED:g}\u00b0", left, ""),
        ("the image between", middle, ""),
        (f"turned by {_TURNED:g}\u00b0", right, ""),
        ("mean of pixels", means, f"mse {mse_in_words(found.pixels)}"),
        ("mean of codes, decoded", between[0], f"mse {mse_in_words(found.codes[0])}"),
        ("the image, decoded", decoded[0], f"mse {mse_in_words(found.decoded[0])}"),
    ]
    return found, [(name, some[:_SHOWN], score) for name, some, score in named]


@torch.no_grad()
def _decoder_operations(codec: Codec) -> int:
    """Those of its convolutions and linear layers."""
    with FlopCounterMode(display=False) as counter:
        codec.decode(torch.zeros(1, *codec.code_shape))
    return int(counter.get_total_flops())


def _block_operations(tokens: int) -> int:
    """Twice the products of four square matrices, of two four times as wide, and of attention."""
    return 2 * (12 * _WIDTH**2 * tokens + 2 * tokens**2 * _WIDTH)


@torch.no_grad()
def _block_seconds(tokens: int) -> float:
    """Median seconds of a block over so many tokens."""
    block, x = _block().eval(), torch.zeros(1, tokens, _WIDTH)
    block(x)
    found = []
    for _ in range(_TIMED):
        started = time.perf_counter()
        block(x)
        found.append(time.perf_counter() - started)
    return statistics.median(found)


def _block() -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(
        _WIDTH, _HEADS, 4 * _WIDTH, dropout=0.0, batch_first=True, norm_first=True
    )


def _pixels_to_a_number() -> Mapping[str, float]:
    """An image's numbers over its code's, by the layers of a codec for it."""
    found = {}
    for name, (factor, channels) in _SHAPES.items():
        shape = 3, _SIDE, _SIDE
        code_dim = channels * (_SIDE // factor) ** 2
        own = DcConfig(code_dim=code_dim, downsampling=factor).layers(shape)
        height, width = (side // own.factor for side in shape[1:])
        found[name] = math.prod(shape) / (own.channels[1] * height * width)
    return found


def _draw(found: LatentDiffusion, rows: Rows, images: Images, run_dir: RunDir) -> None:
    factors = list(found.factors)
    lines = [
        (name, factors, [mean(errors) for errors in each], [spread(errors) for errors in each])
        for name, each in {
            "dc": [at.test_mse for at in found.factors.values()],
            "dc without shortcuts": [at.bare_test_mse for at in found.factors.values()],
        }.items()
    ]
    title = f"{found.numbers} numbers on ever coarser grids ({images.title})"
    run_dir.save_figure("grids", figures.downsampling(lines, [], title))
    note = "The first test images. Codec kl, at the published weight of the divergence."
    title = f"Between two images ({images.title})"
    draw_rows("midpoints", rows, title, note, images, run_dir)
