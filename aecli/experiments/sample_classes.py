"""Images drawn of each class: `aecli sample --per-class`."""

import torch
from torch import Tensor

from aecli import figures
from aecli.config import SampleConfig
from aecli.data import facts
from aecli.data.images import Images
from aecli.errors import UsageError
from aecli.experiments.subject import Subject
from aecli.measure import metrics
from aecli.runs.folder import RunDir

SHOWN = 12  # drawn of each class, at least, for the picture
_FEWEST = 10  # training images of a class, from which something can be drawn of it
_ROWS = 20  # classes in the picture, at most


def require_labels(config: SampleConfig, images: Images | None = None) -> None:
    """Raises UsageError if there is no class to draw images of, or too few images of one; without
    `images`, by what is known before they are loaded."""
    if not config.per_class:
        return
    if images is None:
        without = config.data.is_own and facts.look(config.data).labels is None
        name = config.data.dataset
    else:
        without, name = not images.labelled, images.name
    if without:
        raise UsageError(
            f"per_class=true: {name} has no labels of two classes or more; folders of images by"
            " class have them"
        )
    if images is not None:
        labels = images.train.require_labels("drawing by class")
        _require_enough(labels.bincount(), images)


def classes_to_draw(labels: Tensor, n: int) -> Tensor:
    """The class of each of about n images to draw, in order: as many of each class as its share of
    the training images' `labels` says, but at least SHOWN."""
    counts = labels.bincount()
    each = (n * counts / len(labels)).round().long().clamp_min(SHOWN) * (counts > 0)
    return torch.arange(len(counts)).repeat_interleave(each)


def draw_classes(
    name: str, codes: Tensor, labels: Tensor, seen: Tensor, subject: Subject, run_dir: RunDir
) -> None:
    """per_class.png: the first images of each class that a sampler drew.

    codes: (n, k), the sampler's; labels: (n,), the class that each was drawn of; seen: (n,) bool,
    True where the classifier reads the decoded image as this class.
    """
    images = subject.images
    classes = labels.unique().tolist()
    shown = classes[:_ROWS]
    pictures = [metrics.decode(subject.codec, codes[labels == c][:SHOWN]) for c in shown]
    right = [f"{100 * seen[labels == c].double().mean().item():.0f}%" for c in shown]
    note = (
        "The first images drawn of each class, none picked. Read so: the share of all images drawn"
        " of the class that the classifier reads as this class."
    )
    if len(shown) < len(classes):
        note += f" The first {len(shown)} of {len(classes)} classes."
    run_dir.save_figure(
        "per_class",
        figures.sample_grids(
            [some.clamp(0, 1).numpy() for some in pictures],
            [images.class_name(c) for c in shown],
            {"read so": right},
            note,
            f"Drawn by class, by the sampler {name} ({subject.title})",
            images.shown,
        ),
    )


def _require_enough(counts: Tensor, images: Images) -> None:
    """Raises UsageError naming each class that has some training images, but fewer than needed."""
    few = [
        f"per_class=true: class {images.class_name(label)} has {count} training images, and at"
        f" least {_FEWEST} are needed"
        for label, count in enumerate(counts.tolist())
        if 0 < count < _FEWEST
    ]
    if few:
        raise UsageError("\n".join(few))
