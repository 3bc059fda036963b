"""`aecli sample`: what decodes from codes that no image was encoded to, and how real it is."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aecli import chapter, figures
from aecli.codespace.region import codes_of, require_narrow
from aecli.codespace.samplers import SAMPLERS, Drawn, Sampler, class_samplers
from aecli.config import SampleConfig
from aecli.data import facts
from aecli.data.images import Images, Source, with_held_out
from aecli.experiments.possible import (
    require_calibration,
    require_held_out,
    require_images,
)
from aecli.experiments.result import Result
from aecli.experiments.sample_classes import classes_to_draw, draw_classes, require_labels
from aecli.experiments.sample_sets import Judged, References, Row, SampleSet, judge_set
from aecli.experiments.subject import (
    Subject,
    load_subject,
    noted_classifier,
    require_trainable,
    training_in_words,
)
from aecli.measure.judge import Judge
from aecli.runs.context import Context
from aecli.runs.folder import RunDir, new_run
from aecli.runs.subject import settled

_HELD_OUT = {
    "val": "validation images",
    "half-of-test": "test images, and measured on the other half: there are no validation images",
}
REAL, DECODED, UNTRAINED = "real test images", "test images, decoded", "untrained decoder"
_MOVED = "jittered"
_FEWEST = 50  # training images, from which a sampler and the references can be made


def check(config: SampleConfig, images: int | None) -> None:
    """Raises UsageError for what would fail only after training; images: the number, if known."""
    require_held_out(config.data.val)
    require_narrow(config.codec.code_dim)
    require_trainable(config)
    require_labels(config)
    held_out = facts.n_held_out(config.data)
    if held_out is not None:
        require_calibration(*held_out, settable=config.run is None)
    require_images(images, _FEWEST, "samplers and references are made from the training images")


def run(config: SampleConfig, context: Context) -> Result:
    """Draw from every sampler, decode, judge, and leave a run folder. Raises every AecliError."""
    config = settled(config, context.runs_dir)
    check(config, config.data.limit_train)
    slug = config.name or f"{config.codec.name}{config.codec.code_dim}"
    with new_run(context.runs_dir, config, slug, context.argv, context.resumed) as run_dir:
        subject = load_subject(
            config, context, run_dir, lambda images: _check_images(config, images)
        )
        trained = ("trained", training_in_words(config, subject.images))
        calibrated_on = "val"
        if not len(subject.images.val):  # the chapter's split: all training images train
            subject = replace(subject, images=with_held_out(subject.images))
            calibrated_on = "half-of-test"
        classifier = noted_classifier(subject.images, context, run_dir)
        judge = Judge.of(subject.images, classifier)
        rows, numbers = measure_samples(config, subject, judge, run_dir, context)
        numbers["holes_calibrated_on"] = calibrated_on
        run_dir.write_metrics(numbers)
    title = (
        f"{subject.title}: {config.samples:,} samples each,"
        f" Frechet distance in {judge.features_in_words}"
    )
    held_out = f"{len(subject.images.val):,} {_HELD_OUT[calibrated_on]}"
    summary = [*_summary(rows, numbers), ("holes calibrated on", held_out), trained]
    return Result(run_dir.path, numbers, title, summary)


def measure_samples(
    config: SampleConfig,
    subject: Subject,
    judge: Judge,
    run_dir: RunDir,
    context: Context,
    samplers: Mapping[str, Sampler] = SAMPLERS,
) -> tuple[list[Row], dict[str, Any]]:
    """A row per sampler and what metrics.json holds; tables and figures are left in `run_dir`."""
    with context.terminal.working("calibrating holes on held-out codes"):
        references = References.of(subject, judge)
    found: dict[str, float] = {}
    sets = _sets(subject, references, config, samplers, found, run_dir, context)
    if config.per_class:
        sets += _sets_by_class(subject, references, config, run_dir, context)
    judged = []
    with context.terminal.working("judging the samples", len(sets), "sets") as advance:
        for each in sets:
            judged.append(judge_set(each, references, judge))
            advance()
    rows = [each.row for each in judged]
    named = {"dataset": subject.images.name}
    run_dir.write_csv("samplers.csv", [asdict(row) | named for row in rows])
    ranges = _code_ranges(references.codes)
    with context.terminal.working("drawing the figures"):
        _draw(judged, judge, ranges, subject, run_dir)
        _draw_best_by_class(judged, subject, run_dir)
    numbers = _numbers(subject, judge, rows, samplers, found, ranges)
    return rows, numbers | {"nearest_images_among": len(references.images)}


def _sets(
    subject: Subject,
    references: References,
    config: SampleConfig,
    samplers: Mapping[str, Sampler],
    found: dict[str, float],
    run_dir: RunDir,
    context: Context,
) -> list[SampleSet]:
    """The sets to judge, real images first; what the samplers found out goes into `found`, and what
    they trained into `run_dir`."""
    codec, n = subject.codec, config.samples
    test = _some_test_images(subject.images, config)
    (codes,), (occupying,) = codes_of(codec, [test])
    labels = test.labels if subject.images.labelled else None
    sets = [
        SampleSet(REAL, test, codec, occupying, labels=labels),
        SampleSet(DECODED, None, codec, codes, labels=labels),
    ]
    for name, sampler in samplers.items():
        # A stream of its own for each, so that one more sampler changes no other's samples.
        generator = torch.Generator().manual_seed(config.seed)
        draw = partial(sampler, references.codes, n, generator)
        drawn = _drawn(name, n, draw, run_dir, context)
        found |= drawn.found
        sets.append(SampleSet(name, None, codec, drawn.codes))
        if name == "standard-normal" and not codec.settings.solved:
            sets.append(SampleSet(UNTRAINED, None, subject.untrained, drawn.codes, placed=False))
    return sets


def _sets_by_class(
    subject: Subject,
    references: References,
    config: SampleConfig,
    run_dir: RunDir,
    context: Context,
) -> list[SampleSet]:
    """A set of images of all classes by each sampler that can draw one of a class."""
    labels = subject.images.train.require_labels("drawing by class")
    wanted = classes_to_draw(labels, config.samples)
    sets = []
    for name, sampler in class_samplers().items():
        name = _by_class(name)
        generator = torch.Generator().manual_seed(config.seed)
        draw = partial(sampler, references.codes, labels, wanted, generator)
        drawn = _drawn(name, len(wanted), draw, run_dir, context)
        sets.append(SampleSet(name, None, subject.codec, drawn.codes, labels=wanted, by_class=True))
    return sets


def _drawn(
    name: str, n: int, draw: Callable[[], Drawn], run_dir: RunDir, context: Context
) -> Drawn:
    """n codes by `draw`; what it trained for them, if anything, is left as NAME.safetensors."""
    began = time.monotonic()
    with context.terminal.working(f"drawing {n:,} codes: {name}"):
        drawn = draw()
    if drawn.kept:
        context.terminal.say(f"{name}: trained and drawn in {time.monotonic() - began:.0f} s")
        file = name.replace(", ", "-").replace(" ", "-")
        run_dir.save_tensors(file, drawn.kept, {"sampler": name, **drawn.found})
    return drawn


def _some_test_images(images: Images, config: SampleConfig) -> Source:
    """Test images, as many as there are samples, or all: a Frechet distance falls with their
    number, so that a floor from more images than samples could not be reached."""
    generator = torch.Generator().manual_seed(config.seed)
    order = torch.randperm(len(images.test), generator=generator)
    return images.test.part(order[: config.samples])


_QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.99)


def _code_ranges(codes: Tensor) -> Tensor:
    """The _QUANTILES of each unit, (5, k) float64."""
    quantiles = torch.tensor(_QUANTILES, dtype=torch.float64)
    return torch.quantile(codes.double(), quantiles, dim=0)


def _numbers(
    subject: Subject,
    judge: Judge,
    rows: list[Row],
    samplers: Iterable[str],
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
        "classifier_accuracy": None if judge.classifier is None else judge.classifier.test_accuracy,
        "frechet_features": judge.features_name,
        "frechet_floor": by_name[REAL].frechet_distance,
        "frechet_decoded": by_name[DECODED].frechet_distance,
        **{f"frechet_{_key(name)}": by_name[name].frechet_distance for name in samplers},
        "frechet_untrained": None if untrained is None else untrained.frechet_distance,
        **{
            name: found[name]
            for name in ("mixture_components", "jitter_length", "flow_parts", "flow_steps")
            if name in found
        },
        "in_holes_standard_normal": normal.in_holes,
        "in_holes_real": by_name[REAL].in_holes,
        "smear_low_trained": normal.pixel_low,
        "smear_high_trained": normal.pixel_high,
        "smear_low_untrained": None if untrained is None else untrained.pixel_low,
        "smear_high_untrained": None if untrained is None else untrained.pixel_high,
        "code_range_smallest": widths.min().item(),
        "code_range_largest": widths.max().item(),
        **{
            f"{column}_{_key(name)}": getattr(by_name[row], column)
            for column in ("nearest_image_rms", "channel_distance", "spectrum_db")
            for name, row in {"real": REAL, **{name: name for name in samplers}}.items()
        },
        **_numbers_by_class(by_name),
    }


def _numbers_by_class(by_name: dict[str, Row]) -> dict[str, float | None]:
    """Numbers of what was drawn class by class; None where nothing was."""
    numbers: dict[str, float | None] = {"class_accuracy_decoded": by_name[DECODED].class_accuracy}
    for name in class_samplers():
        row = by_name.get(_by_class(name))
        numbers[f"class_accuracy_{_key(name)}"] = None if row is None else row.class_accuracy
        numbers[f"frechet_by_class_{_key(name)}"] = None if row is None else row.frechet_distance
    return numbers


def _by_class(sampler: str) -> str:
    """The name of the set that a sampler draws class by class."""
    return f"{sampler}, by class"


def _key(name: str) -> str:
    """A sampler's name in a metric's."""
    return name.replace("-", "_")


def _check_images(config: SampleConfig, images: Images) -> None:
    """Raises UsageError for settings that these images cannot fulfil."""
    check(config, len(images.train))
    require_labels(config, images)
    require_calibration(len(images.val), len(images.test), settable=config.run is None)


def _draw(
    judged: list[Judged], judge: Judge, ranges: Tensor, subject: Subject, run_dir: RunDir
) -> None:
    judged = [each for each in judged if not each.each.by_class]
    rows, title = [each.row for each in judged], subject.title
    head = "Frechet\ndistance"
    if judge.pca is not None:
        head = f"Frechet distance,\nPCA-{judge.pca.code_dim} codes"
    scores = {head: [_frechet(row) for row in rows]}
    note = (
        "The first samples drawn of each, none picked. Frechet distance to the training images, in"
        f" {judge.features_in_words}: 0 is best."
    )
    if judge.classifier is not None:
        scores["classifier's\nconfidence"] = [f"{row.confidence:.2f}" for row in rows]
        note += (
            "\nConfidence says nothing of likeness: the classifier has learned real images only,"
            " and names one of its labels, often surely, whatever it is shown, flat grey too."
        )
    else:
        scores["spectrum,\ndB off"] = [f"{row.spectrum_db:.1f}" for row in rows]
        note += (
            "\nThe power spectrum by radius is off by so many decibels (rms) from that of the"
            " training images."
        )
    run_dir.save_figure(
        "sample_grids",
        figures.sample_grids(
            [each.first.images.numpy() for each in judged],
            [row.sampler for row in rows],
            scores,
            note,
            f"What decodes from each sampler's codes ({title})",
            subject.images.shown,
            _masks(judged),
        ),
    )
    run_dir.save_figure(
        "code_ranges",
        figures.code_ranges(
            ranges.numpy(), f"Where the training codes lie, and where N(0, I) looks ({title})"
        ),
    )


def _draw_best_by_class(judged: list[Judged], subject: Subject, run_dir: RunDir) -> None:
    """Draw images of each class by the sampler of the lowest Frechet distance, if there are any;
    jittered codes are not in it, which are those of real images."""
    drawn = [each for each in judged if each.each.by_class and each.each.name != _by_class(_MOVED)]
    if not drawn:
        return
    best = min(drawn, key=lambda each: each.row.frechet_distance)
    assert best.right is not None  # there are labels, and so a classifier
    assert best.each.labels is not None
    name = best.each.name.removesuffix(_by_class(""))
    draw_classes(name, best.each.codes, best.each.labels, best.right, subject, run_dir)


def _masks(judged: list[Judged]) -> list[NDArray[np.bool_] | None]:
    """The masks of each set's first images; decoded test images have those of the real ones."""
    real = next(each.first.valid for each in judged if each.row.sampler == REAL)
    return [real if each.row.sampler in (REAL, DECODED) else None for each in judged]


def _summary(rows: list[Row], numbers: dict[str, Any]) -> list[tuple[str, str]]:
    table = [(row.sampler, f"Frechet {_frechet(row):>6}{_seen_in_words(row)}") for row in rows]
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
        (
            "classifier's test accuracy",
            "none: without labels of two classes or more there is no classifier"
            if numbers["classifier_accuracy"] is None
            else f"{100 * numbers['classifier_accuracy']:.2f}%",
        ),
    ]


def _frechet(row: Row) -> str:
    """A Frechet distance in features of deviations near 1, or, in PCA's codes, far from it."""
    value = row.frechet_distance
    return (
        f"{value:.1f}" if row.frechet_features == "classifier" or value >= 100 else f"{value:.3g}"
    )


def _seen_in_words(row: Row) -> str:
    """Words on a set by the classifier; without one, by what needs no labels."""
    if row.confidence is None:
        return (
            f"  spectrum {row.spectrum_db:.1f} dB  channels {row.channel_distance:.3f}"
            f"  nearest image {row.nearest_image_rms:.3f}"
        )
    words = f"  confidence {row.confidence:.2f}  classes covered {row.classes_covered:2d}"
    if row.class_accuracy is None:
        return words
    return f"{words}  of its class {100 * row.class_accuracy:.0f}%"
