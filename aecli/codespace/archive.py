"""An archive of codes: `codes.npy`, `codes.csv` with a row for each, `codes.json` on its origin.

The codes are read by memory map, never as a whole. Nothing in the files is trusted: no code in them
can run. Codes without a `codes.json` beside them, as numpy.save leaves them, are an archive too, of
which nothing is known but the codes.
"""

import csv
import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray

from aecli.codecs.pooling import Pooling
from aecli.codespace.nearest import Codes
from aecli.data.images import batch_size
from aecli.data.known import DATASETS
from aecli.data.whole import Scene
from aecli.errors import DataError, UsageError
from aecli.runs import storage
from aecli.runs.run import Run

FORMAT = 1
_MAX_ABOUT = 64 * 2**20  # bytes of codes.json; it names every scene
_MAGIC = b"\x93NUMPY"
_KINDS = "fiu"  # real numbers, as numpy's dtype.kind has them
# Columns of codes.csv whose values are numbers, where there are any; those that come in pairs.
_WHOLE = ("index", "column", "row", "width", "height")
_REAL = ("x", "y", "mse", "code_distance")
_BESIDE = {"column": "row", "row": "column", "x": "y", "y": "x"}


def beside(codes: Path, ending: str) -> Path:
    """The file of an archive that ends otherwise: codes.csv beside codes.npy."""
    return codes.with_name(f"{codes.stem}{ending}")


def is_archive(path: Path, run: Run) -> bool:
    """True for a .npy of codes: by the codes.json beside it, by its two axes, where images have
    more, or by the shape of the run's codes, unless its images have that too. False also where
    nothing can be read."""
    if path.suffix.lower() != ".npy" or not path.is_file():
        return False
    if _is_description(beside(path, ".json")):
        return True
    try:
        shape = mapped(path).shape
    except DataError:
        return True  # whose error is told where it is opened
    own, images = run.codec.code_shape, run.codec.image_shape
    return len(shape) <= 2 or (shape[1:] == own != images)


def _is_description(path: Path) -> bool:
    """True for a file that is meant as a codes.json, whether or not it is sound."""
    try:
        return {"format", "model_sha256"} <= _read_json(path).keys()
    except (OSError, *storage.MALFORMED):
        return False


def begin(file: IO[bytes], dtype: str, shape: Sequence[int]) -> None:
    """Write the head of a .npy, whose rows follow by file.write.

    Not a memory map: on a full disk that ends in a signal, not in an error.
    """
    described = np.lib.format.dtype_to_descr(np.dtype(dtype))
    header = {"descr": described, "fortran_order": False, "shape": tuple(shape)}
    np.lib.format.write_array_header_1_0(file, header)


def mapped(path: Path) -> NDArray[Any]:
    """The array in a .npy, by memory map. Raises DataError for what is no array of numbers."""
    try:
        if not path.is_file():
            raise DataError(f"{path}: no such file")
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                raise DataError(f"{path}: not an array of NumPy's, by its content")
        # "c" writes into memory of its own: torch warns of memory that is only to be read.
        array = np.load(path, mmap_mode="c", allow_pickle=False)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, EOFError, MemoryError, OverflowError, SyntaxError) as error:
        reason = str(error)
        if "Python objects" in reason or "pickle" in reason:
            reason = "it holds Python objects, which are not read"
        raise DataError(f"{path}: not an array of numbers: {reason}") from None
    if array.dtype.kind not in _KINDS:
        raise DataError(f"{path}: values of type {array.dtype}, expected real numbers")
    found: NDArray[Any] = array
    return found


@dataclass(frozen=True)
class Archive:
    """Codes of one model and what is known of them."""

    path: Path
    codes: NDArray[Any]
    """(N, code_dim), by memory map; other shapes of a code are flattened."""
    about: Mapping[str, Any]
    """Content of codes.json; empty without one."""
    pooling: Pooling
    """The map from codes to the vectors that are compared."""

    @classmethod
    def opened(cls, path: Path, run: Run) -> "Archive":
        """The archive at `path`, if its codes are of the model of `run`.

        Raises DataError for files that cannot be read or have no codes in them, UsageError for
        codes of another length or another model.
        """
        return cls.of(path, mapped(path), run)

    @classmethod
    def of(
        cls, path: Path, array: NDArray[Any], run: Run, known: Mapping[str, Any] | None = None
    ) -> "Archive":
        """The archive at `path` of codes that were read from it; raises as `opened`.

        known: content that codes.json would have, for want of one.
        """
        shape, dim = run.codec.code_shape, run.codec.code_dim
        sizes = "x".join(map(str, shape))
        if array.ndim < 2 or not len(array):
            empty = "no codes in it" if array.ndim >= 2 else "not a row for each code"
            raise DataError(f"{path}: an array of shape {array.shape}: {empty}")
        if array.shape[1:] not in (shape, (dim,)):
            found = "x".join(map(str, array.shape[1:]))
            raise UsageError(
                f"{path}: codes of {found} numbers; the model of {run.path.name} has codes of"
                f" {sizes}"
            )
        about = _about(path) or known or {}
        made_by = about.get("model_sha256")
        if about and made_by != run.model_sha256:
            raise UsageError(
                f"{path}: codes of another model, that of the run {about.get('run')}; a code means"
                f" nothing to the model of {run.path.name}"
            )
        if about and about.get("images") != len(array):
            raise DataError(
                f"{path}: {len(array):,} codes, where {beside(path, '.json').name} tells of"
                f" {about.get('images')}"
            )
        return cls(path, array.reshape(len(array), dim), about, Pooling(shape))

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def compared(self) -> Codes:
        """The vectors (N, d) that are searched; the codes where these are compared as they are."""
        return self.codes if self.pooling.side == 1 else Pooled(self.codes, self.pooling)

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Length and time of change of the file of codes, by which `is_same` knows it again, and
        its SHA-256. Reads all of it."""
        with self.path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {**self._head, "sha256": digest}

    def is_same(self, fingerprint: Mapping[str, Any]) -> bool:
        """True if these are the codes that a fingerprint was taken of. They are read only where
        length and time of change do not say it already."""
        head = {key: fingerprint.get(key) for key in self._head}
        if head == self._head:
            return True
        return head["bytes"] == self._head["bytes"] and (
            self.fingerprint["sha256"] == fingerprint.get("sha256")
        )

    @property
    def _head(self) -> dict[str, Any]:
        stat = self.path.stat()
        return {"bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}

    @cached_property
    def scenes(self) -> dict[str, Scene]:
        """Files that lie on the ground, by name. Raises DataError."""
        try:
            found = self.about.get("scenes") or {}
            return {str(name): Scene.of_description(each) for name, each in found.items()}
        except storage.MALFORMED as error:
            raise DataError(f"{beside(self.path, '.json')}: damaged: {error!r}") from None

    @property
    def images_at(self) -> Path | None:
        """The path of the images that the codes are of; None for a known dataset's, and where it is
        not said."""
        name = (self.about.get("data") or {}).get("dataset")
        return None if name is None or name == "auto" or name in DATASETS else Path(name)

    def rows(self) -> Iterator[dict[str, str]]:
        """The rows of codes.csv in order; none where there is no such file. Raises DataError for
        another number of rows than there are codes, and for numbers that are none."""
        lines = self._lines()
        names = next(lines, [])
        for i, values in enumerate(lines):
            yield self._row(i, names, values)

    def rows_at(self, indices: Collection[int]) -> dict[int, dict[str, str]]:
        """The rows of some codes, by their indices; none where there is no codes.csv. Raises
        DataError as `rows`, though for numbers in these rows alone."""
        wanted, lines = set(indices), self._lines()
        names = next(lines, [])
        return {i: self._row(i, names, values) for i, values in enumerate(lines) if i in wanted}

    def _lines(self) -> Iterator[list[str]]:
        """The lines of codes.csv, the names of the columns first. Raises DataError."""
        path = beside(self.path, ".csv")
        if not path.is_file():
            return
        count = -1
        try:
            with path.open(newline="", encoding="utf-8") as file:
                for line in filter(None, csv.reader(file)):
                    count += 1
                    yield line
        except (OSError, ValueError, csv.Error) as error:
            raise DataError(f"{path}: cannot be read: {error}") from None
        if count != len(self):
            raise DataError(f"{path}: {max(count, 0):,} rows for {len(self):,} codes")

    def _row(self, i: int, names: Sequence[str], values: Sequence[str]) -> dict[str, str]:
        """The row of a code. Raises DataError for one that is not."""
        try:
            if len(values) != len(names):
                raise ValueError(f"{len(values)} values in {len(names)} columns")
            row = dict(zip(names, values, strict=True))
            for name in _WHOLE + _REAL:
                value = row.get(name, "")
                if value or row.get(_BESIDE.get(name, name)):
                    typed(name, value)
            if int(row.get("index") or i) != i:
                raise ValueError(f"it is that of code {row['index']}")
        except ValueError as error:
            path = beside(self.path, ".csv")
            raise DataError(f"{path}: damaged: the row of code {i}: {error}") from None
        return row


@dataclass(frozen=True)
class Pooled:
    """Codes (N, code_dim) as vectors (N, d), each made when it is read."""

    codes: NDArray[Any]
    pooling: Pooling

    @property
    def shape(self) -> tuple[int, int]:
        """(N, d)."""
        return len(self.codes), self.pooling.numbers

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> NDArray[np.float32]:
        """Some vectors, by a slice or by their indices; of the codes a bounded number of bytes is
        in memory at once."""
        indices = np.arange(*rows.indices(len(self))) if isinstance(rows, slice) else rows
        found = np.empty((len(indices), self.pooling.numbers), np.float32)
        at_once = batch_size(self.codes.shape[1])
        for start in range(0, len(indices), at_once):
            some = np.asarray(self.codes[indices[start : start + at_once]], np.float32)
            found[start : start + at_once] = self.pooling(torch.from_numpy(some)).numpy()
        return found


def typed(name: str, value: str) -> int | float | str:
    """A value of codes.csv, as a number in a column of numbers. Raises ValueError."""
    try:
        return int(value) if name in _WHOLE else float(value) if name in _REAL else value
    except ValueError:
        raise ValueError(f"{name} is {value[:40]!r}, expected a number") from None


def _about(codes: Path) -> dict[str, Any]:
    """The content of the codes.json beside codes; empty if there is none. Raises DataError."""
    path = beside(codes, ".json")
    if not path.is_file():
        return {}
    try:
        about = _read_json(path)
        if about["format"] != FORMAT:
            raise ValueError(
                f"its format is {str(about['format'])[:20]}; this aecli reads {FORMAT}"
            )
        data, scenes = about.get("data"), about.get("scenes")
        if not all(each is None or isinstance(each, dict) for each in (data, scenes)):
            raise ValueError("data and scenes are objects")
        if data and not isinstance(data.get("dataset"), str | None):
            raise ValueError("the name of a dataset is text")
        return about
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except storage.MALFORMED as error:
        raise DataError(f"{path}: not a description of codes: {error}") from None


def _read_json(path: Path) -> dict[str, Any]:
    """An object in a file. Raises OSError, and those of storage.MALFORMED for what is none."""
    if path.stat().st_size > _MAX_ABOUT:
        raise ValueError(f"more than {_MAX_ABOUT:,} bytes")
    found = json.loads(path.read_bytes())
    if not isinstance(found, dict):
        raise TypeError("not an object")
    return found


def require_finite(codes: NDArray[Any], path: Path | str, first: int = 0) -> None:
    """Raises DataError, naming the first, for codes with numbers that are not finite."""
    finite = np.isfinite(codes).all(axis=1)
    if not finite.all():
        at = first + int(np.flatnonzero(~finite)[0])
        raise DataError(f"{path}: code {at} has numbers that are not finite (NaN, infinity)")
