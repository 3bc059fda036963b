"""`aecli decode`: codes into images: PNGs, an array, or GeoTIFFs where tiles of a scene lie."""

import contextlib
import itertools
import os
import shutil
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from aecli import machine
from aecli.cli.pictures import require_apart
from aecli.codespace import bits
from aecli.codespace.archive import Archive, begin, require_finite
from aecli.codespace.mosaic import write_mosaic
from aecli.data.images import batch_size
from aecli.data.own.pictures import Pixels, in_type
from aecli.errors import DataError, StorageError, UsageError
from aecli.pathnames import user_path
from aecli.runs.registry import open_trained
from aecli.runs.run import Run
from aecli.terminal import Advance, Terminal
from aecli.training import device


def decode(
    named: str, codes: str, output: str, as_npy: bool, terminal: Terminal, runs_dir: Path
) -> None:
    """Decode the file `codes` into the folder `output`, and print its path. Raises every
    AecliError."""
    target = user_path(output)
    if not target.name:
        raise UsageError(f"-o {output}: the folder needs a name of its own")
    run = open_trained(named, runs_dir)
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise UsageError(f"{target} exists and is not an empty folder; nothing in it is replaced")
    with _opened(user_path(codes), run, terminal) as archive:
        if not archive.about:
            warning = f"{archive.path}: nothing beside it says which model these codes are of"
            terminal.warn([warning])
        if archive.images_at is not None:
            require_apart(target, archive.images_at, "the decoded images")
        device.seed_and_limit(0, machine.usable_cores())
        written = _decode_all(target, run, archive, as_npy, terminal)
        if terminal.as_json:
            terminal.json({"folder": str(target), "run": str(run.path), "files": written})
        else:
            names = ", ".join(written[:3]) + (", ..." if len(written) > 3 else "")
            terminal.say(f"{len(archive):,} codes: {names}")
            terminal.path(target)


@contextlib.contextmanager
def _opened(path: Path, run: Run, terminal: Terminal) -> Iterator[Archive]:
    """The codes, from a .npy or from bits. Raises DataError, UsageError, StorageError."""
    if not bits.is_bits(path):
        yield Archive.opened(path, run)
        return
    with bits.opened(path, run, terminal.working) as archive:
        yield archive


def _decode_all(
    target: Path, run: Run, archive: Archive, as_npy: bool, terminal: Terminal
) -> list[str]:
    """Decode all codes into a folder. The names of its files. Raises DataError, UsageError,
    StorageError."""
    with (
        new_folder(target) as folder,
        terminal.working("decoding", len(archive), "codes") as advance,
    ):
        decoder = _Decoder(run, archive, advance)
        scenes, plain = _placed(archive, as_npy)
        written = []
        for name, places in scenes.items():
            path = _free(folder, name)
            dtype, channels = decoder.dtype, run.codec.image_shape[0]
            write_mosaic(path, archive.scenes[name], places, decoder.images, channels, dtype)
            written.append(path.name)
        if len(plain):
            written += _write_plain(folder, plain, decoder, as_npy, len(archive))
    return written


def _free(folder: Path, name: str) -> Path:
    """A .tif in a folder for the file of that name; files in two folders may have the same."""
    whole = name.replace("/", "-").rpartition(".")[0]
    stems = itertools.chain([Path(name).stem, whole], (f"{whole}-{i}" for i in itertools.count(2)))
    return next(path for stem in stems if not (path := folder / f"{stem}.tif").exists())


class _Decoder:
    """Decoded images in the units of the files that the run learned from."""

    def __init__(self, run: Run, archive: Archive, advance: Advance) -> None:
        self._run, self._archive, self._advance = run, archive, advance
        self._scale = run.scale
        self.dtype = "uint8" if self._scale is None else self._scale.dtype
        self.shape = run.codec.image_shape
        self.at_once = batch_size(run.codec.pixels)

    @torch.no_grad()
    def images(self, indices: NDArray[np.int64]) -> Pixels:
        """Images (n, C, H, W) of `dtype`: whole numbers are rounded and clipped to their range.
        Raises DataError for codes that are not finite."""
        codec = self._run.codec
        rows = np.array(self._archive.codes[indices], np.float32)
        for i, row in zip(indices.tolist(), rows, strict=True):
            require_finite(row[None], self._archive.path, i)
        shaped = torch.from_numpy(rows).unflatten(1, codec.code_shape)
        found: Pixels = codec.decode(shaped).numpy()
        self._advance(len(rows))
        if self._scale is None:
            return in_type(255 * found, "uint8")
        return in_type(self._scale.from_unit(found), self.dtype)

    @property
    def fits_png(self) -> bool:
        """True if PNG, as it is commonly written, holds such images."""
        if self.dtype == "uint16":
            return self.shape[0] == 1
        return self.dtype == "uint8" and self.shape[0] in (1, 3)


def _placed(
    archive: Archive, as_npy: bool
) -> tuple[dict[str, NDArray[np.int64]], NDArray[np.int64]]:
    """The codes of each scene, (n, 3): index, column and row; the indices of all others. Raises
    DataError."""
    if as_npy or not archive.scenes:
        return {}, np.arange(len(archive))
    places = {name: array("q") for name in archive.scenes}
    plain = array("q")
    try:
        for i, row in enumerate(archive.rows()):
            if row["file"] not in places:
                plain.append(i)
                continue
            scene, column, top = archive.scenes[row["file"]], int(row["column"]), int(row["row"])
            if not (0 <= column < scene.width and 0 <= top < scene.height):
                raise ValueError(f"row {i} lies outside of {row['file']}")
            places[row["file"]].extend((i, column, top))
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(f"{archive.path.stem}.csv: damaged: {error}") from None
    if not plain and not any(places.values()):  # no codes.csv
        return {}, np.arange(len(archive))
    found = {name: np.array(each).reshape(-1, 3) for name, each in places.items() if each}
    return found, np.array(plain, np.int64)


def _write_plain(
    folder: Path, indices: NDArray[np.int64], decoder: _Decoder, as_npy: bool, total: int
) -> list[str]:
    """Write images that lie nowhere: a PNG each, or one array. Their names. Raises StorageError."""
    from PIL import Image

    names: list[str] = []
    chunks = [indices[i : i + decoder.at_once] for i in range(0, len(indices), decoder.at_once)]
    try:
        if as_npy or not decoder.fits_png:
            path = folder / "images.npy"
            with path.open("wb") as file:
                begin(file, decoder.dtype, (len(indices), *decoder.shape))
                for chunk in chunks:
                    file.write(np.ascontiguousarray(decoder.images(chunk)).data)
            return [path.name]
        digits = len(str(total - 1))
        for chunk in chunks:
            for i, image in zip(chunk.tolist(), decoder.images(chunk), strict=True):
                names.append(f"{i:0{digits}}.png")
                pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
                Image.fromarray(np.ascontiguousarray(pixels)).save(folder / names[-1])
    except OSError as error:
        raise StorageError(f"cannot write {folder}: {error.strerror or error}") from None
    return names


@contextlib.contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A folder to write into that gets its name once all is in it. Raises StorageError."""
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        part.mkdir(parents=True)
    except OSError as error:
        raise StorageError(f"cannot write {target}: {error.strerror}") from None
    try:
        yield part
        try:
            if target.is_dir():
                target.rmdir()
            part.replace(target)
        except OSError as error:
            raise StorageError(f"cannot write {target}: {error.strerror}") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
