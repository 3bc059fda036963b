"""`aecli sample`: what decodes from codes that no image was encoded to, and how real it is."""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from aecli import chapter, figures
from aecli.codespace.region import OccupiedRegion
from aecli.codespace.samplers import SAMPLERS
from aecli.config import SampleConfig
from aecli.data.images import Images, InMemory, with_held_out
from aecli.experiments.possible import require_held_out, require_images
from aecli.experiments.result import Result
from aecli.experiments.subject import (
    Subject,
    load_subject,
    noted_classifier,
    require_trainable,
    training_in_words,
)
from aecli.measure import metrics, sample_metrics
from aecli.measure.classifier import Classifier
from aecli.measure.distances import nearest_distances
from aecli.measure.sample_metrics import Moments, frechet_distance
from aecli.runs.context import Context
from aecli.runs.folder import RunDir, new_run
from aecli.runs.subject import settled

_HELD_OUT = {
    "val": "validation images",
    "half-of-test": "test images, and measured on the other half: there are no validation images",
}
REAL, DECODED, UNTRAINED = "real test images", "test images, decoded", "untrained decoder"
_SHOWN = 12  # samples drawn per row of the figure
_FEWEST = 50  # training images, from which a sampler and the references can be made


def check(config: SampleConfig, images: int | None) -> None:
    """Raises UsageError for what would fail only after training; images: the number, if known."""
    require_held_out(config.data.val)
    require_trainable(config)
    require_images(images, _FEWEST, "samplers and references are made from the training images")


def run(config: SampleConfig, context: Context) -> Result:
    """Draw from every sampler, decode, judge, and leave a run folder. Raises every AecliError."""
    config = settled(config, context.runs_dir)
    check(config, config.data.limit_train)
    slug = config.name or f"{config.codec.name}{config.codec.code_dim}"
    with new_run(context.runs_dir, config, slug, context.argv, context.resumed) as run_dir:
        subject = load_subject(
            config, context, run_dir, lambda images: check(config, len(images.train))
        )
        trained = ("trained", training_in_words(config, subject.images))
        calibrated_on = "val"
        if not len(subject.images.val):  # the chapter's split: all training images train
            subject = replace(subject, images=with_held_out(subject.images))
            calibrated_on = "half-of-test"
        classifier = noted_classifier(subject.images, context, run_dir)
        rows, numbers = measure_samples(config, subject, classifier, run_dir, context)
        numbers["holes_calibrated_on"] = calibrated_on
        run_dir.write_metrics(numbers)
    title = (
        f"{subject.title}: {config.samples:,} samples each, Frechet distance in classifier features"
    )
    held_out = f"{len(subject.images.val):,} {_HELD_OUT[calibrated_on]}"
    summary = [*_summary(rows, numbers), ("holes calibrated on", held_out), trained]
    return Result(run_dir.path, numbers, title, summary)


def measure_samples(
    config: SampleConfig,
    subject: Subject,
    classifier: Classifier,
    run_dir: RunDir,
    context: Context,
) -> tuple[list["_Row"], dict[str, Any]]:
    """A row per sampler and what metrics.json holds; tables and figures are left in `run_dir`."""
    with context.terminal.working("calibrating holes on held-out codes"):
        references = _References.of(subject, classifier)
    found: dict[str, float] = {}
    sets = _sets(subject, references, config, found, context)
    rows = []
    with context.terminal.working("judging the samples", len(sets), "sets") as advance:
        for each in sets:
            rows.append(_row(each, references, classifier))
            advance()
    named = {"dataset": subject.images.name}
    run_dir.write_csv("samplers.csv", [asdict(row) | named for row in rows])
    ranges = _code_ranges(references.codes)
    with context.terminal.working("drawing the figures"):
        _draw(sets, rows, ranges, subject.title, run_dir)
    return rows, _numbers(subject, classifier, rows, found, ranges)


@dataclass(frozen=True)
class _References:
    """The real images that samples are compared with; the region is calibrated on the validation
    split, which must not be empty."""

    images: Tensor
    """(N, C, H, W) float32: the training images."""
    codes: Tensor
    """(N, k): the codes of the training images."""
    moments: Moments
    """Moments of the classifier's features of the training images."""
    region: OccupiedRegion

    @classmethod
    def of(cls, subject: Subject, classifier: Classifier) -> "_References":
        splits = subject.images
        codes = metrics.encode(subject.codec, splits.train)
        training = splits.train.all().images
        return cls(
            training,
            codes,
            Moments.of(classifier.features(training)),
            OccupiedRegion.calibrated(codes, metrics.encode(subject.codec, splits.val)),
        )


@dataclass(frozen=True)
class _Set:
    """Images to judge. codes: in the trained code space; None if they have none there."""

    name: str
    images: Tensor
    codes: Tensor | None


@dataclass(frozen=True)
class _Row:
    """A line of samplers.csv."""

    sampler: str
    samples: int
    pixel_low: float
    """The median over the samples of the darkest pixel; `pixel_high` of the brightest."""
    pixel_high: float
    ink: float
    nearest_code_distance: float
    """The mean distance to the nearest training code, after whitening."""
    in_holes: float
    """The share of the codes outside the occupied region."""
    nearest_image_rms: float
    confidence: float
    entropy_bits: float
    classes_covered: int
    class_entropy_bits: float
    frechet_distance: float


def _sets(
    subject: Subject,
    references: _References,
    config: SampleConfig,
    found: dict[str, float],
    context: Context,
) -> list[_Set]:
    """The sets to judge, real images first; what the samplers found out goes into `found`."""
    codec, n = subject.codec, config.samples
    test = _some_test_images(subject.images, config)
    codes = metrics.encode(codec, InMemory(test))
    sets = [_Set(REAL, test, codes), _Set(DECODED, metrics.decode(codec, codes), codes)]
    for name, sampler in SAMPLERS.items():
        # A stream of its own for each, so that one more sampler changes no other's samples.
        generator = torch.Generator().manual_seed(config.seed)
        with context.terminal.working(f"drawing {n:,} codes: {name}"):
            drawn = sampler(references.codes, n, generator)
        found |= drawn.found
        sets.append(_Set(name, metrics.decode(codec, drawn.codes), drawn.codes))
        if name == "standard-normal" and not codec.settings.solved:
            sets.append(_Set(UNTRAINED, metrics.decode(subject.untrained, drawn.codes), None))
    return sets


def _some_test_images(images: Images, config: SampleConfig) -> Tensor:
    """Test images, as many as there are samples, or all: a Frechet distance falls with their
    number, so that a floor from more images than samples could not be reached."""
    generator = torch.Generator().manual_seed(config.seed)
    order = torch.randperm(len(images.test), generator=generator)
    return images.test.read(order[: config.samples]).images


def _row(each: _Set, references: _References, classifier: Classifier) -> _Row:
    low, high = sample_metrics.pixel_range(each.images)
    shown = each.images.clamp(0, 1)  # a linear codec's pixels may leave [0, 1]
    probabilities = classifier.probabilities(shown)
    code_distance = in_holes = math.nan
    if each.codes is not None:
        region = references.region
        whitened = region.whitening(each.codes)
        code_distance = nearest_distances(whitened, region.references).mean().item()
        in_holes = region.in_hole(each.codes).double().mean().item()
    return _Row(
        each.name,
        len(shown),
        low,
        high,
        sample_metrics.ink(shown),
        code_distance,
        in_holes,
        sample_metrics.nearest_image_rms(shown, references.images),
        sample_metrics.confidence(probabilities),
        sample_metrics.entropy_bits(probabilities),
        sample_metrics.classes_covered(probabilities),
        sample_metrics.class_entropy_bits(probabilities),
        frechet_distance(Moments.of(classifier.features(shown)), references.moments),
    )


_QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.99)


def _code_ranges(codes: Tensor) -> Tensor:
    """The _QUANTILES of each unit, (5, k) float64."""
    quantiles = torch.tensor(_QUANTILES, dtype=torch.float64)
    return torch.quantile(codes.double(), quantiles, dim=0)


def _numbers(
    subject: Subject,
    classifier: Classifier,
    rows: list[_Row],
    found: dict[str, float],
    ranges: Tensor,
) -> dict[str, Any]:
    """The content of metrics.json."""
    by_name = {row.sampler: row for row in rows}
    normal, untrained = by_name["standard-normal"], by_name.get(UNTRAINED)
    widths = ranges[-1] - ranges[0]
    return {
        "dataset": subject.images.name,
        "code_dim": subject.codec.code_dim,
        "samples": normal.samples,
        "classifier_accuracy": classifier.test_accuracy,
        "frechet_floor": by_name[REAL].frechet_distance,
        "frechet_decoded": by_name[DECODED].frechet_distance,
        **{
            f"frechet_{name.replace('-', '_')}": by_name[name].frechet_distance for name in SAMPLERS
        },
        "frechet_untrained": None if untrained is None else untrained.frechet_distance,
        "mixture_components": found["mixture_components"],
        "jitter_length": found["jitter_length"],
        "in_holes_standard_normal": normal.in_holes,
        "in_holes_real": by_name[REAL].in_holes,
        "smear_low_trained": normal.pixel_low,
        "smear_high_trained": normal.pixel_high,
        "smear_low_untrained": None if untrained is None else untrained.pixel_low,
        "smear_high_untrained": None if untrained is None else untrained.pixel_high,
        "code_range_smallest": widths.min().item(),
        "code_range_largest": widths.max().item(),
    }


def _draw(sets: list[_Set], rows: list[_Row], ranges: Tensor, title: str, run_dir: RunDir) -> None:
    run_dir.save_figure(
        "sample_grids",
        figures.sample_grids(
            [each.images[:_SHOWN].clamp(0, 1).numpy() for each in sets],
            [row.sampler for row in rows],
            {
                "Frechet\ndistance": [f"{row.frechet_distance:.1f}" for row in rows],
                "classifier's\nconfidence": [f"{row.confidence:.2f}" for row in rows],
            },
            "The first samples drawn of each, none picked. Frechet distance to the training images,"
            " in the classifier's features: 0 is best.\n"
            "Confidence says nothing of likeness: the classifier has learned real images only, and"
            " names one of its labels, often surely, whatever it is shown, flat grey too.",
            f"What decodes from each sampler's codes ({title})",
        ),
    )
    run_dir.save_figure(
        "code_ranges",
        figures.code_ranges(
            ranges.numpy(), f"Where the training codes lie, and where N(0, I) looks ({title})"
        ),
    )


def _summary(rows: list[_Row], numbers: dict[str, Any]) -> list[tuple[str, str]]:
    table = [
        (
            row.sampler,
            f"Frechet {row.frechet_distance:6.1f}  confidence {row.confidence:.2f}"
            f"  classes covered {row.classes_covered:2d}",
        )
        for row in rows
    ]
    for which in ("trained", "untrained"):
        low, high = numbers[f"smear_low_{which}"], numbers[f"smear_high_{which}"]
        if low is not None:
            verdict = chapter.judge_grey_smear(low, high)
            held = "holds: " if verdict.holds else "fails: "
            table.append((f"chapter's grey smear, {which}", held + verdict.reason))
    smallest, largest = numbers["code_range_smallest"], numbers["code_range_largest"]
    return [
        *table,
        ("mixture components, by BIC", str(numbers["mixture_components"])),
        ("range of a unit, 1% to 99%", f"{smallest:.3g} to {largest:.3g}; 4.65 of N(0, 1)"),
        ("classifier's test accuracy", f"{100 * numbers['classifier_accuracy']:.2f}%"),
    ]
