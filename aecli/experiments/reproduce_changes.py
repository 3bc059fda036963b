"""Evidence on what a change of the training does, for `aecli reproduce`: codecs made variational, a
scarce class filled up, noise against copying, and order."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from aecli import figures
from aecli.chapter import Conversion, NoiseTraining, ScarceClass
from aecli.codecs.base import Codec
from aecli.codespace.region import codes_of
from aecli.codespace.samplers import SAMPLERS, class_samplers
from aecli.config import (
    FitConfig,
    MaskingNoise,
    MuonConfig,
    ReproduceConfig,
    ToVaeConfig,
    with_values,
)
from aecli.data.images import Batch, Images, InMemory, Source, mean_image
from aecli.experiments.conversion import Scales
from aecli.experiments.sweep_reading import denoising_mse
from aecli.experiments.wording import in_words, mse_in_words
from aecli.measure import metrics
from aecli.measure.classifier import recall
from aecli.runs.context import Context
from aecli.runs.folder import RunDir
from aecli.training.augmentation import elastic
from aecli.training.jobs import Job, Trained, train_all
from aecli.training.loop import corrupt
from aecli.training.measuring import measure_all

NOISE = MaskingNoise(level=0.5)
"""Noise that a code is trained with not to copy: half of the pixels are 0, and no copy brings them
back."""
FITTED = "mixture"
"""Sampler that is fitted to codes: not the flow, whose numbers depend on this machine's threads."""
SCARCE, FEW = 8, 50
"""Class that is cut, by its index, and the number of its training images that are left."""
OTHERS, _QUICK_OTHERS = 500, 100  # training images of each other class, at most
_EPOCHS_OF_FEW = 30, 20  # of the plain codec of these images, and of its conversion
_BENT = 1.0  # pixels by which images of the scarce class are distorted, as configs/best32 does
_SQUARE, _WITH_INK = 4, 0.1  # pixels along its side; ink, as a share of the brightest one's
_SHOWN = 12  # images in a row of a picture

Rows = Sequence[tuple[str, Tensor, str]]
"""Rows of a picture: the name, the images (n, C, H, W), the score."""


def conversion_fit(config: ReproduceConfig) -> FitConfig:
    """Training of the codecs that are made variational: that of `to-vae`, in the precision that
    the config has decided for the others, so that the run repeats on another CPU; in a quick look
    for as few epochs as the others."""
    fit, of_others = ToVaeConfig().train, config.train
    if config.quick:
        fit = with_values(fit, {"epochs": of_others.epochs})
    decided: dict[str, object] = {"precision": of_others.precision}
    if isinstance(of_others.optimizer, MuonConfig):
        decided["optimizer.precision"] = of_others.optimizer.precision
    return with_values(fit, decided)


def measure_conversions(
    plain: Sequence[Trained],
    scales: Scales,
    config: ReproduceConfig,
    run_dir: RunDir,
    context: Context,
) -> list[Conversion]:
    """Each plain codec before and after it is made variational; a picture of the first."""
    jobs = conversion_jobs(plain, config)
    variational = _trained(jobs, scales.images, config, run_dir, context)
    found = []
    with context.terminal.working("measuring both codecs", len(jobs), "seeds") as advance:
        for before, after in zip(plain, variational, strict=True):
            codes = metrics.encode(before.codec, scales.images.train)
            generator = torch.Generator().manual_seed(config.seed)
            fitted = SAMPLERS[FITTED](codes, len(scales.noise), generator).codes
            found.append(_conversion(before.codec, after.codec, fitted, scales))
            if len(found) == 1:
                rows = _rows_of_both(before.codec, after.codec, fitted, found[0], scales)
                title = f"Codec {before.job.codec.name} made variational ({scales.images.title})"
                note = (
                    "The first test images, and the first codes drawn. Frechet distance in"
                    f" {scales.judge.features_in_words}: 0 is best."
                )
                draw_rows("conversion", rows, title, note, scales.images, run_dir)
            advance()
    return found


def measure_scarce_class(
    images: Images, config: ReproduceConfig, run_dir: RunDir, context: Context
) -> list[ScarceClass]:
    """Recall of a class with FEW training images, filled up in three ways, by a classifier of each
    seed, of the first one in a quick look; nothing where there are too few images for it. A picture
    of the first."""
    asked: dict[tuple[int, str], _Filled] = {}
    shown: dict[str, Tensor] = {}  # of the first seed
    seeds = range(config.seed, config.seed + (1 if config.quick else config.seeds))
    for seed in seeds:
        few = _with_few(images, seed, _QUICK_OTHERS if config.quick else OTHERS)
        if few is None or len(few.images.train) < config.train.batch_size:
            return []
        fillings = _fillings(few, _codec_of_few(few, seed, config, run_dir, context), seed)
        asked |= {
            (seed, way): _Filled(few.filled(filling), few.label, seed)
            for way, filling in fillings.items()
        }
        shown = shown or {f"the {FEW}": few.own, **fillings}
    text = "training classifiers on a scarce class filled up"
    every = list(asked.values())
    recalls = measure_all(_recalled, every, images, config, run_dir, context, text)
    scores = dict(zip(asked, recalls, strict=True))
    found = [
        ScarceClass(scores[seed, "repeated"], scores[seed, "distorted"], scores[seed, "drawn"])
        for seed in seeds
    ]
    shares = asdict(found[0])
    rows = [
        (way, some[:_SHOWN], f"{100 * shares[way]:.1f}%" if way in shares else "")
        for way, some in shown.items()
    ]
    cut = scarce_in_words(images)
    title = f"{cut[0].upper()}{cut[1:]} ({images.title})"
    note = (
        "The first images of each set, none picked. Recognised: the share of the class's"
        " test images that a classifier calls so which has learned from the set."
    )
    draw_rows("scarce_class", rows, title, note, images, run_dir, "recognised")
    return found


def scarce_in_words(images: Images) -> str:
    """The class that is cut, and to how many training images."""
    return f"{in_words(images, _scarce(images))} cut to {FEW} training images"


def measure_noise(
    plain: Sequence[Trained],
    images: Images,
    config: ReproduceConfig,
    run_dir: RunDir,
    context: Context,
) -> list[NoiseTraining]:
    """Errors of the same overcomplete codecs trained without noise, as they are, and with it;
    nothing where `config` has noise in every training. A picture of the first."""
    jobs = noise_jobs(plain, config)
    if not jobs:
        return []
    noisy = _trained(jobs, images, config, run_dir, context)
    others = shuffled(images)
    found = [
        NoiseTraining(
            plain_restored=denoising_mse(without.codec, images.test, NOISE),
            restored=denoising_mse(with_it.codec, images.test, NOISE),
            plain_shuffled=metrics.mse(without.codec, others),
            shuffled=metrics.mse(with_it.codec, others),
        )
        for without, with_it in zip(plain, noisy, strict=True)
    ]
    rows = _rows_of_noise(plain[0].codec, noisy[0].codec, found[0], images, others)
    code = f"A code of {plain[0].codec.code_dim}"
    title = f"{code}, trained with noise and without ({images.title})"
    note = (
        "The first test images with half of their pixels at 0, and with squares of 4x4 pixels in"
        " another order; what is decoded from them, and its mse over all test images."
    )
    draw_rows("noise", rows, title, note, images, run_dir)
    return found


def train_ordered(
    plain: Sequence[Trained],
    images: Images,
    config: ReproduceConfig,
    run_dir: RunDir,
    context: Context,
) -> list[Trained]:
    """The same codecs with codes that are ordered in training."""
    return _trained(ordered_jobs(plain), images, config, run_dir, context)


def conversion_jobs(plain: Sequence[Trained], config: ReproduceConfig) -> list[Job]:
    """The trainings that make plain codecs variational."""
    return [_conversion_of(trained.job, conversion_fit(config)) for trained in plain]


def noise_jobs(plain: Sequence[Trained], config: ReproduceConfig) -> list[Job]:
    """The same trainings with noise that a copy does not bring back; none where `config` has noise
    in every training."""
    if config.train.noise.name != "none":
        return []
    return [replace(t.job, fit=t.job.fit.model_copy(update={"noise": NOISE})) for t in plain]


def ordered_jobs(plain: Sequence[Trained]) -> list[Job]:
    """The same trainings with codes that are cut at random."""
    return [replace(t.job, fit=t.job.fit.model_copy(update={"ordered": True})) for t in plain]


def shuffled(images: Images) -> Source:
    """The test images with their squares of 4x4 pixels in another order, the same for all, and only
    those that often have ink: strokes are cut, and yet any pixel could be copied as a digit's is.
    """
    height, width = images.shape[1:]
    means = F.avg_pool2d(mean_image(images.train).mean(dim=0, keepdim=True), _SQUARE)[0]
    with_ink = (means > _WITH_INK * means.max()).nonzero() * _SQUARE
    generator = torch.Generator().manual_seed(0)
    there = with_ink[torch.randperm(len(with_ink), generator=generator)]
    before = torch.arange(height * width).view(height, width)
    after = before.clone()
    for (row, column), (other_row, other_column) in zip(
        with_ink.tolist(), there.tolist(), strict=True
    ):
        square = before[other_row : other_row + _SQUARE, other_column : other_column + _SQUARE]
        after[row : row + _SQUARE, column : column + _SQUARE] = square
    pixels = images.test.all().images.flatten(start_dim=2)[:, :, after.flatten()]
    return InMemory(pixels.unflatten(2, (height, width)))


def _trained(
    jobs: Sequence[Job],
    images: Images,
    config: ReproduceConfig,
    run_dir: RunDir,
    context: Context,
) -> list[Trained]:
    trainings = train_all(jobs, images, config, run_dir, context)
    trainings.require_all()
    return [trainings.done[job] for job in jobs]


def _conversion_of(ancestor: Job, fit: FitConfig) -> Job:
    """The training that makes a plain codec variational."""
    codec = ancestor.codec.model_copy(update={"variational": True})
    return Job(codec, fit, ancestor.seed, ancestor)


def _conversion(plain: Codec, variational: Codec, fitted: Tensor, scales: Scales) -> Conversion:
    """fitted: codes (n, k) drawn from what was fitted to the plain codec's."""
    return Conversion(
        plain_test_mse=metrics.mse(plain, scales.images.test),
        test_mse=metrics.mse(variational, scales.images.test),
        plain_in_holes=scales.in_holes(*codes_of(plain, scales.parts)[1]),
        in_holes=scales.in_holes(*codes_of(variational, scales.parts)[1]),
        plain_frechet=scales.frechet(plain, scales.noise),
        frechet=scales.frechet(variational, scales.noise),
        fitted_frechet=scales.frechet(plain, fitted),
    )


def _rows_of_both(
    plain: Codec, variational: Codec, fitted: Tensor, found: Conversion, scales: Scales
) -> Rows:
    test, noise = scales.images.test.first(_SHOWN).all(), scales.noise[:_SHOWN]
    with torch.no_grad():
        decoded = [codec.reconstruct(test) for codec in (plain, variational)]
    drawn = [
        metrics.decode(codec, codes[:_SHOWN])
        for codec, codes in ((plain, noise), (variational, noise), (plain, fitted))
    ]
    return [
        ("test images", test.images, ""),
        ("plain, decoded", decoded[0], f"mse {mse_in_words(found.plain_test_mse)}"),
        ("variational, decoded", decoded[1], f"mse {mse_in_words(found.test_mse)}"),
        ("plain, N(0, I)", drawn[0], f"Frechet {found.plain_frechet:.1f}"),
        ("variational, N(0, I)", drawn[1], f"Frechet {found.frechet:.1f}"),
        (f"plain, {FITTED}", drawn[2], f"Frechet {found.fitted_frechet:.1f}"),
    ]


@dataclass(frozen=True)
class _Few:
    """Images with one scarce class in the training split."""

    images: Images
    label: int
    missing: int
    """Number of training images that the class has less than the largest one."""

    @property
    def own(self) -> Tensor:
        """The training images (n, C, H, W) of the scarce class."""
        labels = self.images.train.require_labels("a scarce class")
        return self.images.train.read((labels == self.label).nonzero().flatten()).images

    def filled(self, filling: Tensor) -> Source:
        """The training images with others (n, C, H, W) added to the scarce class."""
        train = self.images.train.all()
        assert train.labels is not None
        added = torch.full((len(filling),), self.label)
        return InMemory(torch.cat([train.images, filling]), torch.cat([train.labels, added]))


@dataclass(frozen=True)
class _Filled:
    """A training split that a classifier learns from, with a seed."""

    train: Source
    label: int
    seed: int


def _recalled(images: Images, filled: _Filled) -> float:
    """The recall of a class among the test images."""
    return recall(replace(images, train=filled.train), filled.label, filled.seed)


def _scarce(images: Images) -> int:
    return min(SCARCE, images.classes - 1)


def _with_few(images: Images, seed: int, others: int) -> _Few | None:
    """FEW random training images of the scarce class, at most `others` of each other one; None if
    the class has less than twice as many, or no test image, or none of the others has more."""
    labels, scarce = images.train.require_labels("a scarce class"), _scarce(images)
    generator = torch.Generator().manual_seed(seed)
    chosen = []
    for label in labels.unique().tolist():
        of_class = (labels == label).nonzero().flatten()
        most = FEW if label == scarce else others
        chosen.append(of_class[torch.randperm(len(of_class), generator=generator)[:most]])
    missing = max(map(len, chosen)) - FEW
    there, tested = (
        int((part.require_labels("a scarce class") == scarce).sum())
        for part in (images.train, images.test)
    )
    if there < 2 * FEW or not tested or missing <= 0:
        return None
    indices = torch.cat(chosen).sort().values
    # A training is kept under a name made of what it learned from: these are other images.
    sha256 = hashlib.sha256(f"{images.sha256} {indices.tolist()}".encode()).hexdigest()
    few = replace(images, train=images.train.part(indices), sha256=sha256)
    return _Few(few, scarce, missing)


def _codec_of_few(
    few: _Few, seed: int, config: ReproduceConfig, run_dir: RunDir, context: Context
) -> Codec:
    """The variational codec that is trained on these images alone: plain, then converted."""
    plain, after = (config.train.epochs,) * 2 if config.quick else _EPOCHS_OF_FEW
    codec = config.codec.model_copy(update={"code_dim": 32})
    ancestor = Job(codec, config.train.model_copy(update={"epochs": plain}), seed)
    fit = conversion_fit(config).model_copy(update={"epochs": after})
    [trained] = _trained([_conversion_of(ancestor, fit)], few.images, config, run_dir, context)
    return trained.codec


def _fillings(few: _Few, codec: Codec, seed: int) -> Mapping[str, Tensor]:
    """Images (n, C, H, W) that fill the scarce class up, by the way that they are made."""
    generator = torch.Generator().manual_seed(seed)
    repeated = few.own[torch.arange(few.missing) % FEW]
    codes = metrics.encode(codec, few.images.train)
    labels = few.images.train.require_labels("a scarce class")
    wanted = torch.full((few.missing,), few.label)
    drawn = class_samplers()[FITTED](codes, labels, wanted, generator).codes
    return {
        "repeated": repeated,
        "distorted": elastic(Batch(repeated), _BENT, 1.0, generator).images,
        "drawn": metrics.decode(codec, drawn).clamp(0, 1),
    }


def _rows_of_noise(
    plain: Codec, noisy: Codec, found: NoiseTraining, images: Images, others: Source
) -> Rows:
    digits, rest = (part.first(_SHOWN).all().images for part in (images.test, others))
    seen = corrupt(digits, NOISE, torch.Generator().manual_seed(0))
    with torch.no_grad():
        decoded = {
            (codec, what): codec(pixels)
            for codec in (plain, noisy)
            for what, pixels in (("noisy", seen), ("shuffled", rest))
        }
    return [
        ("digits, half masked", seen, ""),
        ("without noise", decoded[plain, "noisy"], mse_in_words(found.plain_restored)),
        ("with noise", decoded[noisy, "noisy"], mse_in_words(found.restored)),
        ("shuffled squares", rest, ""),
        ("without noise", decoded[plain, "shuffled"], mse_in_words(found.plain_shuffled)),
        ("with noise", decoded[noisy, "shuffled"], mse_in_words(found.shuffled)),
    ]


def draw_rows(
    name: str,
    rows: Rows,
    title: str,
    note: str,
    images: Images,
    run_dir: RunDir,
    head: str = "",
) -> None:
    """NAME.png: rows of images with their scores; head: of the scores' column."""
    run_dir.save_figure(
        name,
        figures.sample_grids(
            [pictures.clamp(0, 1).numpy() for _, pictures, _ in rows],
            [way for way, _, _ in rows],
            {head: [score for _, _, score in rows]},
            note,
            title,
            images.shown,
        ),
    )
