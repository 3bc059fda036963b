"""`aecli interpolate`: straight lines between codes, and where they leave the occupied region.

The rule: a code is in a hole if its distance, the mean one to its 5 nearest training codes after
whitening, is above the 99% quantile of the distances of the validation images' codes. It is set
before any path is seen, and no decoded image changes it; its rate over the test images is
measured too and should be near one in a hundred. A path leaves the region if a code strictly
between its ends is in a hole. The threshold is that of the sparse outskirts: a gap between classes
that is denser than those is no hole by this rule.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from aecli.codecs.base import Codec
from aecli.codespace.lines import CodeSpace, Paths, walk
from aecli.codespace.region import NEIGHBOURS, require_narrow
from aecli.config import InterpolateConfig
from aecli.data import facts
from aecli.data.images import Images
from aecli.data.known import DATASETS
from aecli.errors import UsageError
from aecli.experiments.ends import ends_of, pairs_of
from aecli.experiments.interpolate_figures import draw
from aecli.experiments.possible import (
    require_class,
    require_held_out,
    require_held_out_images,
    require_images,
)
from aecli.experiments.result import Result
from aecli.experiments.subject import (
    Subject,
    load_subject,
    noted_classifier,
    plain_ancestor,
    require_trainable,
    training_in_words,
)
from aecli.experiments.wording import one_of
from aecli.measure.baselines import pca_beside
from aecli.measure.classifier import Classifier
from aecli.runs.context import Context
from aecli.runs.folder import RunDir, new_run
from aecli.runs.subject import settled

PAIR_STEPS = 21  # t of the statistics, every 0.05: whatever `steps` is, t = 1/2 is among them


def check(config: InterpolateConfig, images: int | None) -> None:
    """Raises UsageError for what would fail only after training; images: the number, if known."""
    if config.data.val == 0:
        whose = f", with which --run {config.run} was trained," if config.run else ""
        raise UsageError(f"data.val=0{whose} leaves no held-out images to calibrate holes on")
    require_held_out(config.data.val)
    require_narrow(config.codec.code_dim)
    known = DATASETS.get("mnist" if config.data.dataset == "auto" else config.data.dataset)
    if known is not None and known.classes:
        _require_classes(config, known.classes)
    require_trainable(config)
    held_out = facts.n_held_out(config.data)
    if held_out is not None:
        _require_held_out_images(config, held_out[0])
    why = f"distances are to the {NEIGHBOURS} nearest training codes"
    require_images(images, NEIGHBOURS, why)


def run(config: InterpolateConfig, context: Context) -> Result:
    """Walk between two test images and between many pairs. Raises every AecliError."""
    config = settled(config, context.runs_dir)
    check(config, config.data.limit_train)
    slug = config.name or f"{config.codec.name}{config.codec.code_dim}"
    with new_run(context.runs_dir, config, slug, context.argv, context.resumed) as run_dir:
        subject = load_subject(
            config, context, run_dir, lambda images: _check_images(config, images)
        )
        classifier = noted_classifier(subject.images, context, run_dir)
        before = plain_ancestor(config, context)
        outcome = measure_paths(config, subject, classifier, run_dir, context, before)
        numbers = outcome.numbers()
        run_dir.write_metrics(numbers)
    title = f"{subject.images.name}: {config.codec.name} with a code of {subject.codec.code_dim}"
    trained = ("trained", training_in_words(config, subject.images))
    return Result(run_dir.path, numbers, title, [*_summary(outcome, numbers), trained])


def measure_paths(
    config: InterpolateConfig,
    subject: Subject,
    classifier: Classifier | None,
    run_dir: RunDir,
    context: Context,
    before: Codec | None = None,
) -> "Outcome":
    """The path and the many that `config` asks for; tables and figures go to `run_dir`.

    classifier: None where labels tell nothing apart. before: the plain codec that a variational one
    was converted from, to walk the same paths by.
    """
    images = subject.images
    pairs = pairs_of(config, images)
    with context.terminal.working("calibrating holes on held-out codes, beside PCA's"):
        own = CodeSpace.of(subject.codec, images)
        pca = _pca_space(own, images)
        former = None if before is None else CodeSpace.of(before, images)

    def read_decoded(index: int) -> int:
        assert classifier is not None  # asked for where there are labels to compare with
        decoded = own.decode(own.test_codes[index : index + 1])
        return int(classifier.probabilities(decoded).argmax())

    ends = ends_of(config, images, read_decoded)
    journey = walk(own, ends.unsqueeze(0), config.steps, classifier)
    beside = [space for space in (pca, former) if space is not None and space is not own]
    walks = len(pairs) * (1 + len(beside))
    with context.terminal.working("walking between pairs of images", walks, "paths") as advance:
        many, *others = (
            walk(space, pairs, PAIR_STEPS, classifier, advance) for space in (own, *beside)
        )
    former_many = None if former is None else others.pop()
    pca_many = many if pca is own else others.pop() if others else None
    outcome = Outcome(
        images, classifier, ends, own, pca, journey, many, pca_many, former, former_many
    )
    named = {"dataset": images.name}
    run_dir.write_csv("path.csv", [row | named for row in _path_rows(outcome)])
    run_dir.write_csv("rates.csv", [row | named for row in _rate_rows(outcome)])
    with context.terminal.working("drawing the figures"):
        draw(outcome, subject.title, run_dir)
    return outcome


@dataclass(frozen=True)
class Outcome:
    """The one path that is drawn, and the many that are counted."""

    images: Images
    classifier: Classifier | None
    """None where labels tell nothing apart."""
    ends: Tensor
    """(2,) indices of test images."""
    own: CodeSpace
    pca: CodeSpace | None
    """PCA's space at the same code dimension; `own` if that is PCA; None where there is none."""
    journey: Paths
    many: Paths
    pca_many: Paths | None
    before: CodeSpace | None = None
    """Space of the plain codec that a variational one was converted from."""
    before_many: Paths | None = None

    @property
    def end_labels(self) -> tuple[int, int] | tuple[None, None]:
        """The labels of the path's ends."""
        if not self.images.labelled:
            return None, None
        start, end = self.images.test.require_labels("a path's end")[self.ends].tolist()
        return start, end

    @property
    def end_names(self) -> tuple[str, str]:
        """The ends as captions and sentences name them: what they show, or which image it is."""
        start, end = (
            f"test image {index}" if label is None else one_of(self.images, label)
            for index, label in zip(self.ends.tolist(), self.end_labels, strict=True)
        )
        return start, end

    def numbers(self) -> dict[str, Any]:
        """The content of metrics.json. Rates and confidences are in [0, 1]."""
        region, many = self.own.region, self.many
        in_holes, outside = _confidence_by_hole(many)
        from_label, to_label = self.end_labels
        own = _at_ends_and_middle(many)
        others = {"pca": self.pca_many, "before": self.before_many}
        return {
            "dataset": self.images.name,
            "code_dim": self.own.codec.code_dim,
            "from_index": int(self.ends[0]),
            "to_index": int(self.ends[1]),
            "from_digit": from_label,
            "to_digit": to_label,
            "steps_in_hole": int(self.journey.in_hole.sum()),
            "hole_threshold": region.threshold,
            "typical_distance": region.typical,
            "held_out_in_hole": self.own.test_in_hole,
            "pairs": len(many.distances),
            "pairs_leaving": own["pairs_leaving"],
            "in_hole_rate_ends": own["in_hole_rate_ends"],
            "in_hole_rate_middle": own["in_hole_rate_middle"],
            "worst_t": _worst_t(many),
            "confidence_in_hole": in_holes,
            "confidence_outside": outside,
            "confidence_ends": own["confidence_ends"],
            "confidence_middle": own["confidence_middle"],
            "cycle_error_ends": own["cycle_error_ends"],
            "cycle_error_middle": own["cycle_error_middle"],
            **{
                f"{which}_{name}": value
                for which, paths in others.items()
                for name, value in (
                    dict.fromkeys(own) if paths is None else _at_ends_and_middle(paths)
                ).items()
            },
            "classifier_accuracy": None
            if self.classifier is None
            else self.classifier.test_accuracy,
        }


def _at_ends_and_middle(paths: Paths) -> dict[str, Any]:
    middle = (paths.t - 0.5).abs().argmin()
    cycle_error = paths.cycle_errors.double().mean(dim=0)
    confidence = None if paths.confidence is None else paths.confidence.double().mean(dim=0)
    return {
        "pairs_leaving": int(paths.leaving.sum()),
        "in_hole_rate_ends": paths.hole_rates[~paths.inner].mean().item(),
        "in_hole_rate_middle": paths.hole_rates[middle].item(),
        "confidence_ends": None if confidence is None else confidence[~paths.inner].mean().item(),
        "confidence_middle": None if confidence is None else confidence[middle].item(),
        "cycle_error_ends": cycle_error[~paths.inner].mean().item(),
        "cycle_error_middle": cycle_error[middle].item(),
    }


def _confidence_by_hole(paths: Paths) -> tuple[float | None, float | None]:
    """The mean confidence strictly between the ends, in holes and outside; None of none."""
    if paths.confidence is None:
        return None, None
    in_hole, confidence = paths.in_hole[:, paths.inner], paths.confidence[:, paths.inner]
    return _mean(confidence[in_hole]), _mean(confidence[~in_hole])


def _worst_t(paths: Paths) -> float | None:
    """The t between the ends at which most paths are in a hole; None if none is anywhere."""
    rates = paths.hole_rates.where(paths.inner, 0)
    return _t(paths)[int(rates.argmax())] if rates.max() > 0 else None


def _t(paths: Paths) -> list[float]:
    return [round(t, 6) for t in paths.t.tolist()]  # float32's last digits are left out


def _mean(values: Tensor) -> float | None:
    return values.double().mean().item() if len(values) else None


def _check_images(config: InterpolateConfig, images: Images) -> None:
    """Raises UsageError for settings that these images cannot fulfil."""
    if images.labelled:
        _require_classes(config, images.classes)
    ends_of(config, images)
    pairs_of(config, images)
    _require_held_out_images(config, len(images.val))
    check(config, len(images.train))


def _require_held_out_images(config: InterpolateConfig, n_val: int) -> None:
    """Raises UsageError for too few validation images."""
    require_held_out_images(n_val, "validation images", settable=config.run is None)


def _require_classes(config: InterpolateConfig, classes: int) -> None:
    """Raises UsageError for an end of a class that is not among so many."""
    require_class("from_digit", config.from_digit, classes)
    require_class("to_digit", config.to_digit, classes)


def _pca_space(own: CodeSpace, images: Images) -> CodeSpace | None:
    """PCA's code space, at the code dimension of `own`; None if PCA has fewer components."""
    pca = pca_beside(own.codec, images)
    if pca is None:
        return None
    return own if pca is own.codec else CodeSpace.of(pca, images)


def _path_rows(outcome: Outcome) -> list[dict[str, Any]]:
    space, journey = outcome.own, outcome.journey
    nothing: list[None] = [None] * len(journey.t)
    confidences = nothing if journey.confidence is None else journey.confidence[0].tolist()
    labels = nothing if journey.read_as is None else journey.read_as[0].tolist()
    return [
        {
            "t": t,
            "nearest_code_distance": distance,
            "confidence": confidence,
            "cycle_error": cycle_error,
            "in_hole": int(in_hole),
            "digit": label,
            "typical_distance": space.region.typical,
            "threshold": space.region.threshold,
            "read_as": None if label is None else outcome.images.class_name(label),
        }
        for t, distance, confidence, cycle_error, in_hole, label in zip(
            _t(journey),
            journey.distances[0].tolist(),
            confidences,
            journey.cycle_errors[0].tolist(),
            journey.in_hole[0].tolist(),
            labels,
            strict=True,
        )
    ]


def _rate_rows(outcome: Outcome) -> list[dict[str, Any]]:
    """A row per t: rates and means over all pairs."""
    columns: dict[str, Sequence[float | None]] = {"t": _t(outcome.many)}
    by_prefix = {"": outcome.many, "pca_": outcome.pca_many, "before_": outcome.before_many}
    for prefix, paths in by_prefix.items():
        if paths is not None:
            columns[f"{prefix}in_hole_rate"] = paths.hole_rates.tolist()
            columns[f"{prefix}nearest_code_distance"] = (
                paths.distances.double().mean(dim=0).tolist()
            )
            columns[f"{prefix}confidence"] = (
                [None] * len(paths.t)
                if paths.confidence is None
                else paths.confidence.double().mean(dim=0).tolist()
            )
            columns[f"{prefix}cycle_error"] = paths.cycle_errors.double().mean(dim=0).tolist()
    return [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]


def _summary(outcome: Outcome, numbers: dict[str, Any]) -> list[tuple[str, str]]:
    journey, region, pairs = outcome.journey, outcome.own.region, numbers["pairs"]
    holes = [f"{t:.2f}" for t in journey.t[journey.in_hole[0]].tolist()]
    start, end = (
        f"test image {index} ({name})" if outcome.images.labelled else name
        for index, name in zip(outcome.ends.tolist(), outcome.end_names, strict=True)
    )
    worst = numbers["worst_t"]
    rates = outcome.many.hole_rates[outcome.many.inner]
    return [
        ("path", f"{start} to {end}"),
        ("in holes", f"t = {', '.join(holes)}" if holes else f"none of its {len(journey.t)} codes"),
        (
            "paths that leave the region",
            f"{numbers['pairs_leaving']} of {pairs:,} pairs"
            + _beside(outcome, str(numbers["pca_pairs_leaving"]), numbers["before_pairs_leaving"]),
        ),
        (
            "in a hole at t = 0.5",
            _percent(numbers["in_hole_rate_middle"])
            + _beside(
                outcome,
                _percent(numbers["pca_in_hole_rate_middle"]),
                _percent(numbers["before_in_hole_rate_middle"]),
            ),
        ),
        (
            "most often in holes between the ends",
            "nowhere" if worst is None else f"at t = {worst:.2f}: {_percent(rates.max().item())}",
        ),
        ("confidence in decoded images", _confidence_in_words(outcome, numbers)),
        (
            "the rule",
            f"a code is in a hole if the mean distance to its {NEIGHBOURS} nearest training codes"
            f" is above {region.threshold:.3g}, the 99% quantile of {len(outcome.images.val):,}"
            f" held-out codes (typical: {region.typical:.3g})",
        ),
        (
            "cycle error",
            f"{numbers['cycle_error_ends']:.3g} at the ends,"
            f" {numbers['cycle_error_middle']:.3g} at t = 0.5 (deviations of the codes)",
        ),
        ("test images in holes by it", _percent(numbers["held_out_in_hole"])),
        *(
            [("classifier", f"{_percent(numbers['classifier_accuracy'])} right on the test images")]
            if outcome.classifier is not None
            else []
        ),
    ]


def _confidence_in_words(outcome: Outcome, numbers: dict[str, Any]) -> str:
    if outcome.classifier is None:
        return "none: without labels of two classes or more there is no classifier"
    return (
        f"{_percent(numbers['confidence_ends'])} at the ends,"
        f" {_percent(numbers['confidence_middle'])} at t = 0.5;"
        f" between the ends {_percent(numbers['confidence_in_hole'])} in holes,"
        f" {_percent(numbers['confidence_outside'])} outside"
    )


def _beside(outcome: Outcome, pca: str, before: object) -> str:
    """Words on what other codecs' paths have in the same place; on PCA also where there is none."""
    code_dim = outcome.own.codec.code_dim
    if outcome.pca_many is None:
        pca = "none, more components than pixels or images"
    former = "" if outcome.before is None else f"; before the conversion: {before}"
    return f" (PCA-{code_dim}: {pca}{former})"


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{100 * fraction:.1f}%"
