"""Encode a whole dataset into an archive: batch by batch, in bounded memory, resumable after a
kill.

Until all is done everything lies in a folder beside the archive, `codes.npy.part`: codes and scores
as far as they are written, and `progress.json`, which says how far that is and of which model and
images. The codes themselves come last under their name, so that an archive is whole or not there.

Codes that are to be stored in bits are quantised as they come: `codes.npy` has what is left of
them, `steps.npy` the steps, of which `codes.bits` is made at the end. The quantiser is kept with
them, so that a job that goes on quantises as it began.
"""

import contextlib
import csv
import json
import math
import shutil
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aecli import locks, strictjson
from aecli.codecs.base import Codec
from aecli.codespace import bits as bitfile
from aecli.codespace.archive import FORMAT, begin, beside, require_finite
from aecli.codespace.oddness import SCORES, Oddness
from aecli.codespace.quantiser import Quantiser
from aecli.data.downloads import Working
from aecli.data.images import Batch, batch_size, squared_errors
from aecli.data.whole import COLUMNS, Whole
from aecli.errors import DataError, StorageError, UsageError
from aecli.runs import storage

LOSSES = ("mse_of_float_codes", "mse", "weight", "clamped")
"""Columns of losses.npy: of each image the error of what decodes from its code as it was and as it
is stored, the weight of both in a mean, and how many numbers of its code were clamped."""
STORED = (
    "bytes",
    "header_bytes",
    "bits_per_image",
    "bits_per_image_without_header",
    "bits_per_pixel",
    "bits_per_pixel_without_header",
    "mse",
    "mse_of_float_codes",
    "clamped",
    "numbers",
)
"""Numbers that codes.json has of codes stored in bits, under `stored`."""
SECONDS_BETWEEN_SAVES = 5.0
"""Seconds of work that a kill may cost."""
BATCH_BYTES = 2**22
"""Bytes of float32 pixels that are encoded at once."""
_ROWS = 2**16  # of codes.csv, written at once; of losses.npy, summed at once


@dataclass(frozen=True)
class Job:
    """An archive to be made."""

    codec: Codec
    whole: Whole
    model_sha256: str
    with_scores: bool
    about: Mapping[str, Any]
    """Further content of codes.json, on their origin."""
    bits: int | None = None
    """Bits that each number of a code is quantised to; None for codes as they are."""

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that decides the numbers of the archive."""
        return {
            "format": FORMAT,
            "model_sha256": self.model_sha256,
            "data_sha256": self.whole.sha256,
            "images": len(self.whole),
            "code_shape": list(self.codec.code_shape),
            "scores": self.with_scores,
            "bits": self.bits,
        }

    @property
    def files(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Files that have a row for each image: dtype and shape of a row."""
        found: dict[str, tuple[str, tuple[int, ...]]] = {
            "codes.npy": ("f4", tuple(self.codec.code_shape))
        }
        if self.with_scores:
            found["scores.npy"] = "f4", (len(SCORES),)
        if self.bits is not None:
            found["steps.npy"] = "u2", (self.codec.code_dim,)
            found["losses.npy"] = "f4", (len(LOSSES),)
        return found


class Unfinished:
    """The folder of an archive that is being made; one process at a time is in it."""

    def __init__(self, path: Path, job: Job) -> None:
        """path: that of the archive's codes."""
        self._path, self._job = path, job
        self.folder = path.with_name(f"{path.name}.part")
        self.done = 0
        """Number of images whose codes are on disk."""

    def noted(self) -> int:
        """The number of images that an unfinished archive of this job has, by what it noted itself.
        Raises UsageError for another archive's, DataError."""
        progress = self.folder / "progress.json"
        return self._read(progress) if progress.is_file() else 0

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """The block runs while no other process makes this archive. A block that fails before any
        image is done leaves nothing. Raises UsageError if another process is in it, or if another
        archive was begun here; StorageError."""
        with contextlib.ExitStack() as stack:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(locks.hold(self.folder / "lock"))
            except TimeoutError:
                raise UsageError(f"{self._path}: another process is writing it") from None
            except OSError as error:
                raise _cannot_write(self._path, error) from None
            self.done = self.noted()
            try:
                self._begin()
                yield
            except BaseException:
                if not self.done:  # the room for all of it is taken already
                    shutil.rmtree(self.folder, ignore_errors=True)
                raise

    def _begin(self) -> None:
        if self.done:
            return
        try:
            for name, (dtype, shape) in self._job.files.items():
                self._create(name, dtype, shape)
        except OSError as error:
            raise _cannot_write(self._path, error) from None
        self._note(0)

    def _read(self, progress: Path) -> int:
        """The number of images done. Raises UsageError if they are another archive's."""
        try:
            found = json.loads(progress.read_bytes())
            done, identity = int(found["done"]), dict(found["job"])
            if done < 0:
                raise ValueError(f"{done} images")
        except (OSError, *storage.MALFORMED) as error:
            raise DataError(f"{progress}: damaged: {error}; remove {self.folder}") from None
        if not done:  # whatever it was to be
            return 0
        mine = json.loads(strictjson.dump(self._job.identity))
        if other := sorted(key for key in mine if mine[key] != identity.get(key)):
            raise UsageError(
                f"{self.folder}: an archive was begun there with another {', '.join(other)}; remove"
                " it to begin anew"
            )
        try:
            for name in self._job.files:
                if (self.folder / name).stat().st_size < self._offset(name, done):
                    raise ValueError(f"{name} is cut short")
        except (OSError, ValueError) as error:
            raise DataError(f"{self.folder}: damaged: {error}; remove it to begin anew") from None
        return done

    def _create(self, name: str, dtype: str, shape: Sequence[int]) -> None:
        """A .npy with as many rows as there are images, none of them written yet; where the system
        can, their room is taken now."""
        with (self.folder / name).open("w+b") as file:
            begin(file, dtype, (len(self._job.whole), *shape))
            storage.reserve(file.fileno(), file.tell(), self._row(name) * len(self._job.whole))

    def _row(self, name: str) -> int:
        """Bytes of one row."""
        dtype, shape = self._job.files[name]
        return np.dtype(dtype).itemsize * math.prod(shape)

    def _offset(self, name: str, row: int) -> int:
        with (self.folder / name).open("rb") as file:
            np.lib.format.read_magic(file)
            np.lib.format.read_array_header_1_0(file)
            return file.tell() + row * self._row(name)

    @contextlib.contextmanager
    def writing(self) -> Iterator[Callable[[Sequence[NDArray[Any]]], None]]:
        """The function that appends the next rows of every file. At the end of the block, however
        it ends, it is noted how far they are. Raises StorageError."""
        files: list[IO[bytes]] = []
        try:
            for name in self._job.files:
                files.append((self.folder / name).open("r+b"))
                files[-1].seek(self._offset(name, self.done))
        except OSError as error:
            raise _cannot_write(self._path, error) from None
        saved, written = time.monotonic(), self.done

        def append(rows: Sequence[NDArray[Any]]) -> None:
            nonlocal saved, written
            try:
                for file, array in zip(files, rows, strict=True):
                    file.write(np.ascontiguousarray(array).data)
            except OSError as error:
                raise _cannot_write(self._path, error) from None
            written += len(rows[0])
            if time.monotonic() - saved > SECONDS_BETWEEN_SAVES:
                self._save(files, written)
                saved = time.monotonic()

        try:
            yield append
        except BaseException:
            with contextlib.suppress(StorageError, OSError):  # the first error is the one to tell
                self._save(files, written)
            raise
        else:
            self._save(files, written)
        finally:
            for file in files:
                with contextlib.suppress(OSError):
                    file.close()

    def _save(self, files: Sequence[IO[bytes]], done: int) -> None:
        try:
            for file in files:
                file.flush()
                storage.sync(file.fileno())
        except OSError as error:
            raise _cannot_write(self._path, error) from None
        self._note(done)

    def _note(self, done: int) -> None:
        content = strictjson.dump({"done": done, "job": self._job.identity})
        storage.write_whole(self.folder / "progress.json", content.encode())
        self.done = done

    def tidy(self) -> None:
        """Remove what a kill after the last rename left."""
        if not (self.folder / "codes.npy").exists():
            shutil.rmtree(self.folder, ignore_errors=True)

    def scores(self) -> NDArray[np.float32] | None:
        """(N, 2), by memory map; None without scores."""
        return self._rows("scores.npy") if self._job.with_scores else None

    def _rows(self, name: str) -> NDArray[Any]:
        """A file of rows, by memory map."""
        found: NDArray[Any] = np.load(self.folder / name, mmap_mode="c")
        return found

    def quantiser(self, fitted: Callable[[], Quantiser]) -> Quantiser:
        """The quantiser that the archive was begun with, or else one that is fitted now and kept.
        Raises DataError, StorageError."""
        path = self.folder / "quantiser"
        if self.done:
            try:
                with path.open("rb") as file:
                    return bitfile.read_header(file, path).quantiser
            except (OSError, DataError) as error:
                raise DataError(f"{error}; remove {self.folder} to begin anew") from None
        found = fitted()
        storage.write_whole(path, self._header(found).packed())
        return found

    def _header(self, quantiser: Quantiser) -> bitfile.Header:
        job = self._job
        shape = job.codec.code_shape
        return bitfile.Header.of(quantiser, job.model_sha256, len(job.whole), shape)

    def pack(self, quantiser: Quantiser) -> dict[str, Any]:
        """Make codes.bits of the steps. What codes.json tells of it. Raises StorageError."""
        try:
            with (self.folder / "codes.bits").open("w+b") as file:
                size = bitfile.write(file, self._header(quantiser), self._rows("steps.npy"))
                file.flush()
                storage.sync(file.fileno())
        except OSError as error:
            raise _cannot_write(self._path, error) from None
        return stored(size, self._rows("losses.npy"), self._job)

    def finish(self, about: Mapping[str, Any], picture: bytes | None) -> None:
        """Give all files of the archive their names, the codes last. Raises StorageError."""
        described = strictjson.dump({**self._job.identity, **self._job.about, **about})
        try:
            self._write_rows(self.folder / "codes.csv")
            (self.folder / "codes.csv").replace(beside(self._path, ".csv"))
            storage.write_whole(beside(self._path, ".json"), f"{described}\n".encode())
            if picture is not None:
                storage.write_whole(beside(self._path, "-oddest.png"), picture)
            if self._job.bits is not None:
                (self.folder / "codes.bits").replace(beside(self._path, ".bits"))
            (self.folder / "codes.npy").replace(self._path)
            shutil.rmtree(self.folder)
        except OSError as error:
            raise _cannot_write(self._path, error) from None

    def _write_rows(self, path: Path) -> None:
        """codes.csv: a row for each image."""
        whole, scores = self._job.whole, self.scores()
        # a name of a file may be any bytes, which Python has as lone surrogates
        with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["index", *COLUMNS, *(() if scores is None else SCORES)])
            for first in range(0, len(whole), _ROWS):
                rows = whole.rows(first, first + _ROWS)
                if scores is None:
                    writer.writerows((i, *row) for i, row in enumerate(rows, first))
                else:
                    both = zip(rows, scores[first : first + _ROWS].tolist(), strict=True)
                    writer.writerows((i, *a, *b) for i, (a, b) in enumerate(both, first))
            file.flush()
            storage.sync(file.fileno())


def stored(size: bitfile.Size, losses: NDArray[np.float32], job: Job) -> dict[str, Any]:
    """Numbers on codes stored in bits, as codes.json has them: sizes with the header and without,
    where pixels are places in an image, whatever its channels; errors; numbers that were clamped.

    losses: (N, 4), the columns of LOSSES.
    """
    n, (_, height, width) = len(losses), job.whole.source.shape
    errors, weight, clamped = np.zeros(2), 0.0, 0
    for first in range(0, n, _ROWS):
        some = losses[first : first + _ROWS].astype(np.float64)
        errors += some[:, 2] @ some[:, :2]
        weight += float(some[:, 2].sum())
        clamped += int(some[:, 3].sum())
    means = (errors / max(weight, 1e-12)).tolist()
    per_image, coded_alone = 8 * size.bytes / n, 8 * size.coded / n
    return {
        "bytes": size.bytes,
        "header_bytes": size.bytes - size.coded,
        "bits_per_image": per_image,
        "bits_per_image_without_header": coded_alone,
        "bits_per_pixel": per_image / (height * width),
        "bits_per_pixel_without_header": coded_alone / (height * width),
        **dict(zip(LOSSES[:2], means, strict=True)),
        "clamped": clamped,
        "numbers": n * job.codec.code_dim,
    }


@torch.no_grad()
def encode_all(
    unfinished: Unfinished,
    job: Job,
    measure: Oddness | None,
    working: Working,
    quantiser: Quantiser | None = None,
) -> None:
    """Encode all images that are not yet. Raises DataError for a code that is not finite,
    StorageError."""
    left = len(job.whole) - unfinished.done
    with (
        unfinished.writing() as append,
        working("encoding", left, "images") as advance,
        contextlib.closing(_batches(job.whole, unfinished.done)) as batches,
    ):
        first = unfinished.done
        for batch in batches:
            codes = job.codec.encode(job.codec.seen(batch))
            flat = codes.flatten(start_dim=1).numpy()
            require_finite(flat, job.whole.name, first)
            append(_rows_of(job.codec, batch, codes, measure, quantiser))
            first += len(batch)
            advance(len(batch))


def _rows_of(
    codec: Codec,
    batch: Batch,
    codes: Tensor,
    measure: Oddness | None,
    quantiser: Quantiser | None,
) -> list[NDArray[Any]]:
    """The rows of a batch for each of a job's files, in their order."""
    flat = codes.flatten(start_dim=1).numpy()
    if measure is None and quantiser is None:
        return [flat]
    errors, weights = squared_errors(codec.decode(codes), batch)
    rows = [] if measure is None else [measure.scores(errors, codes)]
    if quantiser is None:
        return [flat, *rows]
    steps = quantiser.steps(flat)
    kept = quantiser.codes(steps)
    decoded = codec.decode(torch.from_numpy(kept).unflatten(1, codec.code_shape))
    left, _ = squared_errors(decoded, batch)
    clamped = torch.from_numpy(quantiser.outside(flat))
    losses = torch.stack([errors, left, weights, clamped.float()], dim=1).numpy()
    return [kept, *rows, steps, losses]


def _batches(whole: Whole, first: int) -> Generator[Batch, None, None]:
    """The images from `first` on, the next batch being read while one is encoded. The batches are
    those of a job that was never interrupted, so that its bits are the same."""
    size = batch_size(whole.source.pixels, BATCH_BYTES)
    with ThreadPoolExecutor(1) as reader:
        coming: Future[Batch] | None = None
        for start in range(first, len(whole), size):
            chunk = torch.arange(start, min(start + size, len(whole)))
            ready, coming = coming, reader.submit(whole.source.read, chunk)
            if ready is not None:
                yield ready.result()
        if coming is not None:
            yield coming.result()


def _cannot_write(path: Path, error: OSError) -> StorageError:
    return StorageError(f"cannot write {path}: {error.strerror or error}")
