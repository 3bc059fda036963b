"""`aecli evaluate`: codes at work, beside PCA's of the same size and pixels."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aecli.codecs.base import Codec
from aecli.codecs.principal import most_components
from aecli.codespace.region import WIDEST
from aecli.config import EvaluateConfig
from aecli.counts import count
from aecli.data import datasets, facts
from aecli.data.images import Images, Source, with_held_out
from aecli.errors import UsageError
from aecli.experiments.evaluate_anomaly import (
    FEWEST,
    Normal,
    anomaly,
    classes_alone,
    codec_alone,
    fit_alone,
    mean_over_classes,
    others,
    pooling_alone,
)
from aecli.experiments.evaluate_contestants import (
    asks_for_others,
    fit_as_pixels,
    labels_of,
    measure_contestants,
    pooling_of,
)
from aecli.experiments.evaluate_figures import draw
from aecli.experiments.evaluate_parts import (
    CODES,
    FEW,
    MEASURED_BY,
    MEASURES,
    PCA,
    PIXELS,
    Values,
    looked_at,
    most_side_by_side,
    thinned,
)
from aecli.experiments.possible import require_codecs, require_images
from aecli.experiments.result import Result
from aecli.experiments.subject import other_images, require_shape
from aecli.experiments.wording import settings_in_words
from aecli.measure import probes
from aecli.measure.clustering import WIDEST_MIXTURE
from aecli.measure.seeds import mean, spread
from aecli.runs import preflight
from aecli.runs.context import Context, load_images
from aecli.runs.folder import RunDir, new_run
from aecli.runs.run import Run
from aecli.runs.subject import places_of_own, settled
from aecli.training import device
from aecli.training.jobs import facts_of_jobs

_NAMED = 5  # classes named in a sentence, at most


def check(config: EvaluateConfig, images: int | None) -> None:
    """Raises UsageError for what would fail only after training; images: the number, if known."""
    require_images(images, probes.NEIGHBOURS, "the nearest training images are looked for")
    shape = facts.image_shape(config.data)
    if config.run is not None:
        run = Run(Path(config.run))
        require_shape(run, shape, config.data.dataset)
        datasets.require_pixels(config.data, run.scale)
    else:
        require_codecs([config.codec], shape, images)
    if "anomaly" in config.parts:
        require_codecs([codec_alone(config)], shape, None)


def run(config: EvaluateConfig, context: Context) -> Result:
    """Measure every part, and leave tables and figures. Raises every AecliError."""
    config = settled(config, context.runs_dir)
    check(config, config.data.limit_train)
    device.prepare(config)
    run = None if config.run is None else Run(Path(config.run))
    slug = config.name or f"{config.codec.name}{config.codec.code_dim}"
    with new_run(context.runs_dir, config, slug, context.argv, context.resumed) as run_dir:
        context.tell_machine(run_dir.path, facts_of_jobs(config), " for each training")
        if run is not None:
            context.terminal.say(f"looking into the run {run.path.name}")
            run_dir.note(subject=config.run)
        images, config = load_images(config, context, run_dir, model=run)
        context.terminal.warn(run_dir.note(**facts_of_jobs(config)))
        check(config, len(images.train))
        home = _home(config, run, context)
        if run is not None and not asks_for_others(config, run):
            context.terminal.warn(other_images(run, images))
        left_out = _left_out(config, images, home)
        parts = [part for part in config.parts if part not in left_out]
        found, by_class = measure(config, parts, images, run, run_dir, context)
        if run is not None and home is not None:
            with context.terminal.working("another dataset among the run's own"):
                for prefix, values in _others(run.codec, home, images).items():
                    found[prefix] |= values
        labels = labels_of(config, images)
        run_dir.write_csv("evaluate.csv", _rows(found, labels, images.name))
        if by_class:
            run_dir.write_csv("anomaly.csv", _class_rows(by_class, labels, images))
        numbers = _numbers(found, config, images)
        run_dir.write_metrics(numbers)
        steps = {
            prefix: int(v["probe_steps"][0]) for prefix, v in found.items() if "probe_steps" in v
        }
        run_dir.note(
            parts_left_out=left_out,
            probe_steps={labels[prefix]: most for prefix, most in steps.items()},
        )
        with context.terminal.working("drawing the figures"):
            draw(found, by_class, labels, images, run_dir)
    head = f"{images.title}: codes of {labels[CODES]} at work, on test images"
    notes = [
        *(f"{part} is left out: {why}." for part, why in left_out.items()),
        *_notes(config, parts, images, run, found),
    ]
    return Result(run_dir.path, numbers, head, _printed(found), ("", *labels.values()), notes)


def measure(
    config: EvaluateConfig,
    parts: Sequence[str],
    images: Images,
    run: Run | None,
    run_dir: RunDir,
    context: Context,
) -> tuple[dict[str, Values], dict[str, dict[int, Values]]]:
    """Measures of each contestant, by its prefix, and those of `anomaly` by class too. Raises
    JobsFailedError if a training failed."""
    found: dict[str, Values] = {prefix: {} for prefix in (CODES, PCA, PIXELS)}
    of_all = [part for part in parts if part in MEASURED_BY]
    if of_all:
        found |= measure_contestants(config, of_all, images, run, run_dir, context)
    if "anomaly" not in parts:
        return found, {}
    _, test = looked_at(images, pooling_of(config, images).numbers)
    prefixes = [CODES, PCA, *([PIXELS] if fit_as_pixels(test) else [])]
    by_class = anomaly(config, images, test, prefixes, run_dir, context)
    for prefix, classes in by_class.items():
        found[prefix] |= mean_over_classes(classes)
    return found, by_class


def _home(config: EvaluateConfig, run: Run | None, context: Context) -> Images | None:
    """The images that a run learned from, where others are looked at among them; None elsewhere.
    Raises UsageError if none of them is held out, and what `datasets.load` raises."""
    if run is None or "anomaly" not in config.parts or not asks_for_others(config, run):
        return None
    if run.codec.pooling.numbers > WIDEST:
        words = f"images are looked for among others in codes of {WIDEST:,} numbers or fewer"
        context.terminal.warn([words])
        return None
    preflight.require_room_beside(config, run.config.data)
    places = places_of_own(run, context.places)
    say = context.terminal.say
    images = datasets.load(run.config.data, places, say, run.scale, for_model=True)
    context.terminal.warn(other_images(run, images))
    images = images if len(images.val) else with_held_out(images)
    if not len(images.val):
        raise UsageError(
            f"parts=anomaly: {images.name}, which {run.path.name} learned from, has one test image"
            " and none for validation; others cannot be ranked among so few"
        )
    return images


def _others(codec: Codec, home: Images, images: Images) -> dict[str, Values]:
    """Images of another dataset among those that the codec learned from."""
    k = codec.pooling.numbers
    (fit, test), (_, odd) = looked_at(home, k), looked_at(images, k)
    normal = Normal(fit, thinned(home.val, len(fit)), test, odd)
    as_pixels = fit_as_pixels(test) and fit_as_pixels(odd)
    return others(codec, normal, [CODES, PCA, *([PIXELS] if as_pixels else [])])


def _left_out(config: EvaluateConfig, images: Images, home: Images | None) -> dict[str, str]:
    """The parts that these images do not allow, with the reason. Raises UsageError if those are
    all that were asked for."""
    found = {}
    train = images.train
    looked_train, test = looked_at(images, pooling_of(config, images).numbers)
    for part in config.parts:
        if part == "robustness":
            continue
        if train.labels is None or test.labels is None:
            found[part] = "these images have no labels"
        elif not images.labelled or train.classes < 2 or looked_train.classes < 2:
            found[part] = "all these images, or all that are learned from, have one label"
        elif part == "anomaly" and pooling_alone(config, images).numbers > WIDEST:
            found[part] = f"distances are taken in codes of {WIDEST:,} numbers or fewer"
        elif part == "anomaly" and not classes_alone(config, train, test):
            found[part] = f"no class has {FEWEST} training images and a test image"
        elif part == "retrieval" and test.classes == len(test):
            found[part] = "no two test images have the same label"
    if len(found) == len(config.parts) and home is None:
        reasons = "; ".join(f"{part}: {why}" for part, why in found.items())
        raise UsageError(
            f"parts={','.join(config.parts)}: none can be measured ({reasons}); robustness needs no"
            " labels"
        )
    return found


def _rows(
    found: Mapping[str, Values], labels: Mapping[str, str], dataset: str
) -> list[dict[str, Any]]:
    """evaluate.csv: a row for each measure and contestant."""
    return [
        {
            "part": part,
            "measure": name,
            "codes": label,
            "mean": mean(found[prefix][name]),
            "sd": spread(found[prefix][name]),
            "values": " ".join(map(str, found[prefix][name])),
            "dataset": dataset,
        }
        for part, names in MEASURES.items()
        for name in names
        for prefix, label in labels.items()
        if name in found[prefix]
    ]


def _class_rows(
    by_class: Mapping[str, Mapping[int, Values]], labels: Mapping[str, str], images: Images
) -> list[dict[str, Any]]:
    """anomaly.csv: a row for each normal class and contestant."""
    return [
        {
            "normal_class": images.class_name(label),
            "codes": labels[prefix],
            **{
                name: mean(values[name]) if name in values else math.nan
                for name in MEASURES["anomaly"]
                if name.startswith("anomaly")
            },
            "anomaly_auroc_sd": spread(values["anomaly_auroc"]),
            "dataset": images.name,
        }
        for prefix, classes in by_class.items()
        for label, values in classes.items()
    ]


def _numbers(found: Mapping[str, Values], config: EvaluateConfig, images: Images) -> dict[str, Any]:
    """The content of metrics.json; what was not measured is null."""
    flat: dict[str, Any] = {
        "dataset": images.name,
        "code_dim": config.codec.code_dim,
        "seeds": config.seeds,
    }
    for name in (name for names in MEASURES.values() for name in names):
        flat[name] = mean_of(found[CODES], name)
        own = found[CODES].get(name, [])
        flat[f"{name}_sd"] = spread(own) if len(own) > 1 else None
        for prefix in (PCA, PIXELS):
            flat[f"{prefix}{name}"] = mean_of(found[prefix], name)
    return flat


def mean_of(values: Values, name: str) -> float | None:
    """The mean over seeds of a measure; None if it was not measured."""
    return mean(values[name]) if name in values else None


def _printed(found: Mapping[str, Values]) -> list[tuple[str, ...]]:
    """The table as a person reads it; a row for each measure that there is."""
    return [
        (words, *(_cell(values.get(name, [])) for values in found.values()))
        for names in MEASURES.values()
        for name, words in names.items()
        if any(name in values for values in found.values())
    ]


def _cell(values: Sequence[float]) -> str:
    if not values:
        return ""
    sd = f" ± {100 * spread(values):.1f}" if len(values) > 1 else ""
    return f"{100 * mean(values):.1f}%{sd}"


def _notes(
    config: EvaluateConfig,
    parts: Sequence[str],
    images: Images,
    run: Run | None,
    found: Mapping[str, Values],
) -> list[str]:
    """Sentences on what the numbers are of."""
    pooling = pooling_of(config, images)
    train, test = looked_at(images, pooling.numbers)
    notes = [
        f"Read from {len(train):,} training images, measured on {len(test):,} test images; ± is the"
        " deviation over seeds of what is trained or drawn."
    ]
    if pooling.in_words:
        notes.append(f"Codes of {labels_of(config, images)[CODES]} are {pooling.in_words}.")
    if run is None:
        own = config.train
        if not config.trains_codecs_of_all:
            own = fit_alone(config, config.anomaly.batch_size)
        trained = config.model_copy(update={"train": own})
        notes.append(settings_in_words(trained, images))
    else:
        learned_from = (run.record.get("dataset") or {}).get("name", "")
        notes.append(f"The codec is that of {run.path.name}, which learned from {learned_from}.")
        if asks_for_others(config, run) and any(part in MEASURED_BY for part in parts):
            notes.append("PCA was solved on these images, the codec was not.")
    most, limit = most_components(len(images.train), images.train.pixels)
    if pooling.numbers > most and any(part in MEASURED_BY for part in parts):
        label = labels_of(config, images)[PCA]
        notes.append(f"{label} is left out: PCA has at most {most:,} components ({limit}).")
    if not fit_as_pixels(test):
        notes.append("Pixels are left out: the test images are too large to be held side by side.")
    elif len(train) > (most := most_side_by_side(train.pixels)):
        notes.append(f"Pixels are read from {most:,} of the training images.")
    if "clustering" in parts:
        notes.append(f"Mixtures are fitted to codes of {WIDEST_MIXTURE} numbers or fewer.")
    if "classification" in parts:
        notes += _few_in_words(train, images)
        notes += _probes_in_words(labels_of(config, images), found)
        if fit_as_pixels(test) and "probe_accuracy" not in found[PIXELS]:
            notes.append("Pixels are not classified: those that can be held lack a class.")
    if "anomaly" in parts:
        notes += _alone_in_words(config, images)
    return notes


def _probes_in_words(labels: Mapping[str, str], found: Mapping[str, Values]) -> list[str]:
    """A sentence on linear probes that are not solved to their tolerance."""
    cut = [
        labels[prefix]
        for prefix, values in found.items()
        if values.get("probe_steps", [0])[0] >= probes.PROBE_STEPS
    ]
    if not cut:
        return []
    return [
        f"The linear probe of {', '.join(cut)} ended at its {probes.PROBE_STEPS} steps, before"
        " its tolerance."
    ]


def _few_in_words(train: Source, images: Images) -> list[str]:
    """A sentence on classes that have fewer labels than are asked for."""
    counts = train.require_labels("a probe").bincount()
    if counts.max() <= min(FEW):
        return []
    few = [label for label, n in enumerate(counts.tolist()) if 0 < n < max(FEW)]
    return [f"Fewer than {max(FEW)} training images have {_named(few, images)}."] if few else []


def _alone_in_words(config: EvaluateConfig, images: Images) -> list[str]:
    """Sentences on the codecs of one class, and on classes that have none."""
    own = config.anomaly
    _, test = looked_at(images, pooling_of(config, images).numbers)
    normal = classes_alone(config, images.train, test)
    code_dim = codec_alone(config).code_dim
    how = "" if config.codec.solved else f", {count(own.epochs, 'epoch')} each"
    there = test.require_labels("anomaly").unique().tolist()
    left_out = [label for label in there if label not in normal]
    trained = count(len(config.seeds_of_trainings) * len(normal), "codec")
    averaged = pooling_alone(config, images).in_words
    if averaged and codec_alone(config) != config.codec:
        how = f", {averaged}{how}"
    notes = [f"Odd images are told by {trained} of one class each, with codes of {code_dim}{how}."]
    if left_out:
        notes.append(f"Too few images to be the normal ones have {_named(left_out, images)}.")
    return notes


def _named(labels: Sequence[int], images: Images) -> str:
    """Classes as a sentence names them, the first ones where they are many."""
    names = ", ".join(images.class_name(label) for label in labels[:_NAMED])
    more = f" and {len(labels) - _NAMED} more" if len(labels) > _NAMED else ""
    return f"{'class' if len(labels) == 1 else 'classes'} {names}{more}"
