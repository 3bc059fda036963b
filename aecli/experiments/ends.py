"""Test images that straight lines lead between: the two of the path, and many pairs."""

from collections.abc import Callable

import torch
from torch import Tensor

from aecli.config import InterpolateConfig
from aecli.data.images import Images
from aecli.errors import UsageError
from aecli.experiments.wording import in_words

_DRAWS = 50  # of an end, until one decodes as the class it is of


def ends_of(
    config: InterpolateConfig, images: Images, read_decoded: Callable[[int], int] | None = None
) -> Tensor:
    """The indices (2,) of the path's two test images, by their labels where they have any."""
    if not images.labelled:
        return choose_any_ends(config, len(images.test))
    labels = images.test.require_labels("a choice by class")
    return choose_ends(config, labels, read_decoded, lambda label: in_words(images, label))


def pairs_of(config: InterpolateConfig, images: Images) -> Tensor:
    """The indices (pairs, 2) of the test images between which the many paths lead."""
    if not images.labelled:
        return draw_any_pairs(len(images.test), config.pairs, config.seed)
    return draw_pairs(images.test.require_labels("a pair"), config.pairs, config.seed)


def choose_any_ends(config: InterpolateConfig, count: int) -> Tensor:
    """The indices (2,) of two different ones of `count` test images without labels.

    Raises UsageError for an index that is not there, and for an end that is chosen by its label.
    """
    _require_indices(config, count)
    for end, label in (("from", config.from_digit), ("to", config.to_digit)):
        if label is not None:
            raise UsageError(
                f"{end}_digit={label}: these images have no labels of two classes or more;"
                f" choose the end by {end}_index"
            )
    if count < 2:
        raise UsageError(f"a path needs two test images, and there are {count}")
    generator = torch.Generator().manual_seed(config.seed)
    drawn = torch.randperm(count, generator=generator).tolist()
    ends = [config.from_index, config.to_index]
    free = (index for index in drawn if index not in ends)
    return torch.tensor([next(free) if index is None else index for index in ends])


def choose_ends(
    config: InterpolateConfig,
    labels: Tensor,
    read_decoded: Callable[[int], int] | None = None,
    named: Callable[[int], str] = lambda label: f"digit {label}",
) -> Tensor:
    """The indices (2,) of the two test images; what `config` leaves open is drawn from its seed.

    labels: (n_test,). A drawn image is of another class than the other end; two images named by
    index may be of the same. read_decoded: the label that is read in the decoded test image of an
    index; an image that is drawn is drawn again, a few times, until that is its own. named: a class
    in words. Raises UsageError for an index or a class that is not there.
    """
    _require_indices(config, len(labels))
    generator = torch.Generator().manual_seed(config.seed)
    digits = [
        digit if index is None else int(labels[index])
        for digit, index in (
            (config.from_digit, config.from_index),
            (config.to_digit, config.to_index),
        )
    ]
    one_is_named = (config.from_index is None) != (config.to_index is None)
    if one_is_named and digits[0] is not None and digits[0] == digits[1]:
        raise UsageError(f"both ends are of {named(digits[0])}; they must be of different ones")
    ends: list[int] = []
    for i, index in enumerate((config.from_index, config.to_index)):
        if index is None:
            mine, others = digits[i], digits[1 - i]
            fits = (
                labels == mine if mine is not None else labels != (-1 if others is None else others)
            )
            what = f"of {named(mine)}" if mine is not None else "of another class"
            for _ in range(_DRAWS):
                index = _draw_one(fits, what, generator)
                if read_decoded is None or read_decoded(index) == labels[index]:
                    break
            assert index is not None
            digits[i] = int(labels[index])
        ends.append(index)
    return torch.tensor(ends)


def draw_pairs(labels: Tensor, count: int, seed: int) -> Tensor:
    """Indices (count, 2) of random images of different labels (n,), the same for the same seed."""
    if len(labels.unique()) < 2:
        raise UsageError(
            "the test images are all of one class; there are no pairs of different ones"
        )
    generator = torch.Generator().manual_seed(seed)
    pairs = torch.randint(len(labels), (count, 2), generator=generator)
    while len(same := (labels[pairs[:, 0]] == labels[pairs[:, 1]]).nonzero().flatten()):
        pairs[same, 1] = torch.randint(len(labels), (len(same),), generator=generator)
    return pairs


def draw_any_pairs(images: int, count: int, seed: int) -> Tensor:
    """Indices (count, 2) of pairs of different ones of so many images, the same for the same
    seed."""
    if images < 2:
        raise UsageError(f"pairs are of two different test images, and there are {images}")
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(images, (count,), generator=generator)
    further = torch.randint(1, images, (count,), generator=generator)
    return torch.stack([first, (first + further) % images], dim=1)


def _require_indices(config: InterpolateConfig, count: int) -> None:
    """Raises UsageError for an end by an index that is not among so many test images."""
    for name, index in (("from_index", config.from_index), ("to_index", config.to_index)):
        if index is not None and index >= count:
            raise UsageError(f"{name}={index} must be at most {count - 1} ({count:,} test images)")


def _draw_one(fits: Tensor, what: str, generator: torch.Generator) -> int:
    candidates = fits.nonzero().flatten()
    if not len(candidates):
        raise UsageError(f"there is no test image {what}")
    return int(candidates[torch.randint(len(candidates), (1,), generator=generator)])
