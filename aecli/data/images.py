"""The one form in which images travel through the program."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aecli.errors import UsageError
from aecli.fields import ImageShape as ImageShape

if TYPE_CHECKING:
    from aecli.data.own.opened import Opened
    from aecli.data.own.scaling import Scale

Part = TypeVar("Part")
Changed = TypeVar("Changed")

BATCH_BYTES = 4096 * 28 * 28 * 4
"""Bytes of float32 pixels that are measured at once: 4,096 of MNIST's images. It bounds memory, and
changes no result beyond rounding."""


def batch_size(pixels: int, max_bytes: int = BATCH_BYTES) -> int:
    """The number of images of so many pixels that have at most `max_bytes`; at least 1."""
    return max(1, max_bytes // (4 * pixels))


@dataclass(frozen=True)
class Batch:
    """Images that are looked at together."""

    images: Tensor
    """(n, C, H, W) float32 in [0, 1]; 0 where a pixel is not valid."""
    mask: Tensor | None = None
    """(n, 1, H, W) bool, True where a pixel is valid; None if all are."""
    labels: Tensor | None = None
    """(n,) int64; None without labels."""
    noise: Tensor | None = None
    """(n, k) drawn from N(0, I), for a codec that encodes to Gaussians; None elsewhere."""

    def __len__(self) -> int:
        return len(self.images)

    @property
    def valid(self) -> NDArray[np.bool_] | None:
        """(n, H, W), True where a pixel is valid, for figures; None if all are."""
        return None if self.mask is None else self.mask[:, 0].cpu().numpy()

    def to(self, device: torch.device) -> "Batch":
        """The same batch on a device."""
        return self.each(lambda tensor: tensor.to(device))

    def each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        """The batch with all its tensors changed."""
        rest = (_if_there(part, change) for part in (self.mask, self.labels, self.noise))
        return Batch(change(self.images), *rest)


class Source(ABC):
    """Images of one shape that can be read by their indices, wherever they lie."""

    shape: ImageShape
    labels: Tensor | None = None
    """(N,) int64, from 0; None without labels."""
    masked: bool = False
    """True if some pixels are not valid."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def read(self, indices: Tensor, out: Tensor | None = None) -> Batch:
        """The images at `indices` (n,) int64, on any device.

        out: buffer (at least n, C, H, W) float32 that the images may be read into.
        """

    def part(self, indices: Tensor) -> "Source":
        """The images at `indices`, as a source."""
        return _Part(self, indices)

    def to(self, device: torch.device) -> "Source":
        """The same images, held on a device if they lie in memory anyway."""
        return self

    @property
    def device(self) -> torch.device:
        """The device that holds the images, and that indices are best on."""
        return torch.device("cpu")

    @property
    def nbytes(self) -> int:
        """Bytes that the images take where they are held; 0 if they are read from files."""
        return 0

    @property
    def pixels(self) -> int:
        """Numbers in one image."""
        channels, height, width = self.shape
        return channels * height * width

    @property
    def classes(self) -> int:
        """The number of different labels; 0 without labels."""
        return 0 if self.labels is None else len(self.labels.unique())

    def require_labels(self, why: str) -> Tensor:
        """The labels. Raises UsageError where there are none; why: what needs them, in words."""
        if self.labels is None:
            raise UsageError(f"these images have no labels, which {why} needs")
        return self.labels

    def of_class(self, label: int | None) -> "Source":
        """The images of a class; all for None. Raises UsageError where there are no labels."""
        if label is None:
            return self
        labels = self.require_labels(f"class {label}")
        return self.part((labels == label).nonzero().squeeze(1))

    def batches(self, max_bytes: int = BATCH_BYTES) -> Iterator[Batch]:
        """All images in order, in batches of at most so many bytes of float32 pixels."""
        for indices in torch.arange(len(self)).split(batch_size(self.pixels, max_bytes)):
            yield self.read(indices)

    def all(self) -> Batch:
        """All images at once, for what needs them so; the caller bounds how many that are."""
        return self.read(torch.arange(len(self)))

    def first(self, count: int) -> "Source":
        """The first `count` images; all if there are fewer."""
        return self if count >= len(self) else self.part(torch.arange(count))


class InMemory(Source):
    """Images in one tensor.

    images: (N, C, H, W) uint8, or float32 in [0, 1]. mask: (N, 1, H, W) bool.
    """

    def __init__(
        self, images: Tensor, labels: Tensor | None = None, mask: Tensor | None = None
    ) -> None:
        channels, height, width = images.shape[1:]
        self.shape = (channels, height, width)
        self.images, self.labels, self.mask = images, labels, mask
        self.masked = mask is not None
        self._gathered: Tensor | None = None
        """Memory for images before they are scaled, where `read` gets memory for those after."""

    def __len__(self) -> int:
        return len(self.images)

    def __reduce__(self) -> tuple[Any, ...]:
        # Arrays, since torch's tensors would travel to worker processes through shared memory.
        labels, mask = (_if_there(part, Tensor.numpy) for part in (self.labels, self.mask))
        return _in_memory, (self.images.numpy(), labels, mask)

    def read(self, indices: Tensor, out: Tensor | None = None) -> Batch:
        indices = indices.to(self.images.device)
        images = self._gather(indices, reused=out is not None)
        if images.dtype == torch.uint8:  # by a tensor: a GPU takes a number's reciprocal
            into = None if out is None else out[: len(indices)]
            images = torch.div(images, images.new_full((), 255, dtype=torch.float32), out=into)
        mask, labels = (
            _if_there(part, lambda tensor: tensor.index_select(0, indices))
            for part in (self.mask, self.labels)
        )
        return Batch(images if mask is None else torch.where(mask, images, 0), mask, labels)

    def _gather(self, indices: Tensor, reused: bool) -> Tensor:
        if not reused or self.images.dtype != torch.uint8:
            return self.images.index_select(0, indices)
        n = len(indices)
        if self._gathered is None or len(self._gathered) < n:
            self._gathered = self.images.new_empty((n, *self.shape))
        return torch.index_select(self.images, 0, indices, out=self._gathered[:n])

    def part(self, indices: Tensor) -> Source:
        return self._each(lambda tensor: tensor[indices])

    def to(self, device: torch.device) -> Source:
        return self._each(lambda tensor: tensor.to(device))

    @property
    def device(self) -> torch.device:
        return self.images.device

    @property
    def nbytes(self) -> int:
        return self.images.nbytes + (0 if self.mask is None else self.mask.nbytes)

    def _each(self, change: Callable[[Tensor], Tensor]) -> "InMemory":
        labels, mask = (_if_there(part, change) for part in (self.labels, self.mask))
        return InMemory(change(self.images), labels, mask)


class _Part(Source):
    """Some images of another source."""

    def __init__(self, whole: Source, indices: Tensor) -> None:
        self.shape, self.masked = whole.shape, whole.masked
        self.labels = None if whole.labels is None else whole.labels[indices]
        self._whole, self._indices = whole, indices

    def __len__(self) -> int:
        return len(self._indices)

    def read(self, indices: Tensor, out: Tensor | None = None) -> Batch:
        return self._whole.read(self._indices[indices.to(self._indices.device)], out)


class Joined(Source):
    """The images of one source, then those of another."""

    def __init__(self, first: Source, second: Source) -> None:
        self._first, self._second = first, second
        self.shape, self.masked = first.shape, first.masked or second.masked
        if first.labels is not None and second.labels is not None:
            self.labels = torch.cat([first.labels, second.labels])

    def __len__(self) -> int:
        return len(self._first) + len(self._second)

    def read(self, indices: Tensor, out: Tensor | None = None) -> Batch:
        n = len(self._first)
        of_first = indices < n
        if bool(of_first.all()):
            return self._first.read(indices, out)
        if not bool(of_first.any()):
            return self._second.read(indices - n, out)
        parts = self._first.read(indices[of_first]), self._second.read(indices[~of_first] - n)
        order = torch.cat([of_first.nonzero(), (~of_first).nonzero()])[:, 0].argsort()
        mask = None
        if self.masked:
            all_valid = (torch.ones(len(part), 1, *self.shape[1:]).bool() for part in parts)
            both = zip(parts, all_valid, strict=True)
            masks = [ones if part.mask is None else part.mask for part, ones in both]
            mask = torch.cat(masks)[order]
        return Batch(
            torch.cat([part.images for part in parts])[order],
            mask,
            None if self.labels is None else self.labels[indices],
        )


def _in_memory(
    images: NDArray[Any], labels: NDArray[np.int64] | None, mask: NDArray[np.bool_] | None
) -> InMemory:
    tensors = (_if_there(part, torch.from_numpy) for part in (labels, mask))
    return InMemory(torch.from_numpy(images), *tensors)


def _if_there(part: Part | None, change: Callable[[Part], Changed]) -> Changed | None:
    return None if part is None else change(part)


class Raw(NamedTuple):
    """A dataset as its files have it."""

    train: Source
    """Training images, the validation images among them."""
    test: Source
    source: str
    """Source, in words."""
    sha256: str
    """SHA-256 of all its images and labels."""
    folder: Path | None
    """Folder of its files; None if they were downloaded and could not be kept."""


@dataclass(frozen=True)
class Images:
    """A dataset, split: train to fit on, val to choose by, test to report."""

    name: str
    source: str
    """Source, in words."""
    sha256: str
    """SHA-256 of all its images and labels, before any split or limit."""
    train: Source
    val: Source
    test: Source
    aside: str = ""
    """Ending of the name in titles, such as `, quick look`."""
    class_names: tuple[str, ...] = ()
    """Names of the classes, by label; empty where they are called by their numbers."""
    digits: bool = False
    """True for handwritten digits: a label is the digit, and strokes have slant and thickness."""
    shown: tuple[int, ...] = ()
    """Channels that figures show, one or three, from 0; empty for the rule of the figures."""
    opened: "Opened | None" = None
    """The path that they came from, as it was looked at; None for a known dataset."""
    scale: "Scale | None" = None
    """Scale that brought a path's pixels to [0, 1]; None for a known dataset."""

    @property
    def title(self) -> str:
        """The name as titles and sentences have it; tables and records have `name`."""
        return self.name + self.aside

    @property
    def shape(self) -> ImageShape:
        return self.train.shape

    @property
    def labelled(self) -> bool:
        """True if both training and test images have labels, of at least two classes in all: a
        single one tells nothing apart."""
        splits = self.train.labels, self.test.labels
        there = [labels for labels in splits if labels is not None]
        return len(there) == len(splits) and len(torch.cat(there).unique()) > 1

    @property
    def classes(self) -> int:
        """The number of classes that labels can mean; 0 without labels."""
        if self.train.labels is None:
            return 0
        return max(len(self.class_names), int(self.train.labels.max()) + 1)

    def class_name(self, label: int) -> str:
        """The name of the class that a label means; its number where it has none."""
        return self.class_names[label] if label < len(self.class_names) else str(label)

    def require_batch(self, size: int) -> None:
        """Raises UsageError if there are fewer training images than `size`."""
        require_batch(size, len(self.train), self.name)

    def mean_image_mse(self) -> float:
        """The test mse per pixel of answering every image with the training images' mean.

        A codec with a larger error has learned nothing that a constant picture does not say.
        """
        mean = mean_image(self.train)
        errors, weights = zip(
            *(squared_errors(mean, batch) for batch in self.test.batches(2 * BATCH_BYTES)),
            strict=True,
        )
        return weighted_mean(torch.cat(errors), torch.cat(weights))

    def provenance(self) -> dict[str, Any]:
        """Facts of the data for run.json."""
        facts: dict[str, Any] = {
            "name": self.name,
            "source": self.source,
            "sha256": self.sha256,
            "n_train": len(self.train),
            "n_val": len(self.val),
            "n_test": len(self.test),
        }
        if self.scale is not None:
            facts["image_shape"], facts["scale"] = list(self.shape), self.scale.described()
        return facts


def require_batch(size: int, n_train: int, dataset: str) -> None:
    """Raises UsageError if a batch is larger than the training set."""
    if size > n_train:
        smaller = f"{n_train} or less" if n_train > 1 else "1"
        raise UsageError(
            f"batch_size={size} must be at most {n_train} (training images of {dataset}); take"
            f" more images, or --batch-size {smaller}"
        )


def with_held_out(images: Images) -> Images:
    """The same images with the first half of the test set as validation split.

    For codecs that all training images train, as in the chapter: holes are calibrated on this half,
    and paths and samples measured on the other.
    """
    first, second = torch.arange(len(images.test)).split(
        [len(images.test) // 2, len(images.test) - len(images.test) // 2]
    )
    return replace(images, val=images.test.part(first), test=images.test.part(second))


def mean_image(source: Source) -> Tensor:
    """The mean (C, H, W) float64 of each pixel, where it is valid; 0 where it never is."""
    total = torch.zeros(source.shape, dtype=torch.float64)
    count = torch.zeros(1, *source.shape[1:], dtype=torch.float64)
    for batch in source.batches(2 * BATCH_BYTES):
        total += batch.images.sum(dim=0, dtype=torch.float64)
        count += len(batch) if batch.mask is None else batch.mask.sum(dim=0)
    return total / count.clamp_min(1)


def pixel_variance(source: Source) -> float:
    """The mean over all valid pixels of their squared distance to the mean image of `source`."""
    mean = mean_image(source)
    parts = [squared_errors(mean, batch) for batch in source.batches(2 * BATCH_BYTES)]
    errors, weights = zip(*parts, strict=True)
    return weighted_mean(torch.cat(errors), torch.cat(weights))


def filled(batch: Batch, values: Tensor | None = None) -> Tensor:
    """The images (n, C, H, W) of a batch with no hole where a pixel is not valid.

    A hole of 0 beside valid pixels is an edge that a linear map would spend its code on.
    values: (C, H, W), what to fill with; without them, each image's own mean of its valid pixels,
    channel by channel (0 where none is valid).
    """
    if batch.mask is None:
        return batch.images
    if values is None:
        count = batch.mask.sum(dim=(2, 3), keepdim=True).clamp_min(1)
        values = batch.images.sum(dim=(2, 3), keepdim=True) / count
    return torch.where(batch.mask, batch.images, values)


def squared_errors(reconstructions: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """The mean squared error of each image (n,) over its valid pixels, and its weight (n,) in a
    mean over images: the share of its pixels that is valid."""
    squared = (reconstructions - batch.images).square()
    if batch.mask is None:
        return squared.flatten(start_dim=1).mean(dim=1), squared.new_ones(len(batch))
    shares = batch.mask.flatten(start_dim=1).to(squared.dtype).mean(dim=1)
    errors = (squared * batch.mask).flatten(start_dim=1).mean(dim=1) / shares.clamp_min(1e-12)
    return errors, shares


def weighted_mean(values: Tensor, weights: Tensor) -> float:
    """The mean of values (N,), each counting as its weight says; nan without any."""
    if bool((weights == 1).all()):
        return values.mean().item()
    return ((values * weights).sum() / weights.sum().clamp_min(1e-12)).item()


def sent(tensor: Tensor, where: torch.device) -> Tensor:
    """A tensor of the CPU on a device; on its way to a GPU nothing waits for it."""
    if where.type != "cuda":
        return tensor.to(where)
    return tensor.pin_memory().to(where, non_blocking=True)


def to_unit(images: Tensor) -> Tensor:
    """`images` as float32 in [0, 1]: uint8 is divided by 255, float32 returned as it is."""
    return images.to(torch.float32).div_(255) if images.dtype == torch.uint8 else images
