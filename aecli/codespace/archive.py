"""An archive of codes: `codes.npy`, `codes.csv` with a row for each, `codes.json` on its origin.

The codes are read by memory map, never as a whole. Nothing in the files is trusted: no code in them
can run. Codes without a `codes.json` beside them, as numpy.save leaves them, are an archive too, of
which nothing is known but the codes.
"""

import csv
import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aecli.data.whole import Scene
from aecli.errors import DataError, UsageError
from aecli.runs import storage
from aecli.runs.run import Run

FORMAT = 1
_MAX_ABOUT = 64 * 2**20  # bytes of codes.json; it names every scene
_MAGIC = b"\x93NUMPY"
_KINDS = "fiu"  # real numbers, as numpy's dtype.kind has them


def beside(codes: Path, ending: str) -> Path:
    """The file of an archive that ends otherwise: codes.csv beside codes.npy."""
    return codes.with_name(f"{codes.stem}{ending}")


def is_archive(path: Path) -> bool:
    """True for a .npy of codes, by the codes.json beside it or by its two axes; images have more.
    False also where nothing can be read."""
    if path.suffix.lower() != ".npy" or not path.is_file():
        return False
    if beside(path, ".json").is_file():
        return True
    try:
        return mapped(path).ndim <= 2
    except DataError:
        return True  # whose error is told where it is opened


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

    @classmethod
    def opened(cls, path: Path, run: Run) -> "Archive":
        """The archive at `path`, if its codes are of the model of `run`.

        Raises DataError for files that cannot be read or have no codes in them, UsageError for
        codes of another length or another model.
        """
        array = mapped(path)
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
        about = _about(path)
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
        return cls(path, array.reshape(len(array), dim), about)

    def __len__(self) -> int:
        return len(self.codes)

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

    def rows(self) -> Iterator[dict[str, str]]:
        """The rows of codes.csv in order; none where there is no such file. Raises DataError for
        another number of rows than there are codes."""
        path = beside(self.path, ".csv")
        if not path.is_file():
            return
        count = 0
        try:
            with path.open(newline="", encoding="utf-8") as file:
                for row in csv.DictReader(file):
                    count += 1
                    yield row
        except (OSError, ValueError, csv.Error) as error:
            raise DataError(f"{path}: cannot be read: {error}") from None
        if count != len(self):
            raise DataError(f"{path}: {count:,} rows for {len(self):,} codes")

    def rows_at(self, indices: Collection[int]) -> dict[int, dict[str, str]]:
        """The rows of some codes, by their indices; those that codes.csv does not have are not
        there. Raises DataError."""
        last, wanted = max(indices, default=-1), set(indices)
        found: dict[int, dict[str, str]] = {}
        for i, row in enumerate(self.rows()):
            if i in wanted:
                found[i] = row
            if i >= last:
                break
        return found


def _about(codes: Path) -> dict[str, Any]:
    """The content of the codes.json beside codes; empty if there is none. Raises DataError."""
    path = beside(codes, ".json")
    if not path.is_file():
        return {}
    try:
        if path.stat().st_size > _MAX_ABOUT:
            raise ValueError(f"more than {_MAX_ABOUT:,} bytes")
        about = json.loads(path.read_bytes())
        if about["format"] != FORMAT:
            raise ValueError(
                f"its format is {str(about['format'])[:20]}; this aecli reads {FORMAT}"
            )
        return dict(about)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except storage.MALFORMED as error:
        raise DataError(f"{path}: not a description of codes: {error}") from None


def require_finite(codes: NDArray[Any], path: Path | str, first: int = 0) -> None:
    """Raises DataError, naming the first, for codes with numbers that are not finite."""
    finite = np.isfinite(codes).all(axis=1)
    if not finite.all():
        at = first + int(np.flatnonzero(~finite)[0])
        raise DataError(f"{path}: code {at} has numbers that are not finite (NaN, infinity)")
