"""A run as a value: what it was asked for, how it stands, what it measured, and its codec."""

import csv
import hashlib
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aecli import locks
from aecli.errors import DataError, UsageError
from aecli.runs import storage
from aecli.runs.record import LOCK, finished_at, read_metrics, read_record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from aecli.codecs.base import Codec
    from aecli.config import NetworkConfig
    from aecli.data.own.scaling import Scale

_ENDS = ("completed", "failed", "interrupted")
_MAX_HISTORY = 64 * 2**20  # bytes of a history.csv


@dataclass(frozen=True)
class Run:
    """A run's folder, read only; what is asked of it is read when it is asked for."""

    path: Path

    @cached_property
    def record(self) -> Mapping[str, Any]:
        """run.json. Raises DataError."""
        return read_record(self.path)

    @cached_property
    def state(self) -> str:
        """running, completed, failed, interrupted; dead: killed before it could say how it ended;
        empty: killed before it wrote anything; unreadable."""
        try:
            record = self.record
        except DataError:
            if os.path.lexists(self.path / "run.json"):
                return "unreadable"
            return "running" if self._is_held({}) else "empty"
        status = record["status"]
        if status != "running":
            return status if status in _ENDS else "unreadable"
        return "running" if self._is_held(record) else "dead"

    @property
    def is_readable(self) -> bool:
        """True if its run.json can be read."""
        try:
            return bool(self.record)
        except DataError:
            return False

    @property
    def has_model(self) -> bool:
        """True if a model was saved."""
        return (self.path / "model" / "config.json").is_file()

    @property
    def finished(self) -> str:
        """The time when it ended, UTC, as text that sorts by time; empty if it has not."""
        return finished_at(self.record)

    @property
    def last_begun(self) -> str:
        """The time when it was last begun or gone on with, UTC, as text that sorts by time."""
        record = self.record
        return max(map(str, [record.get("started", ""), *record.get("resumed", [])]))

    @cached_property
    def config(self) -> "NetworkConfig":
        """The config as it ran. Raises DataError."""
        from aecli.config import EXPERIMENTS, NetworkConfig, resolve, yaml_layer

        try:
            layer = yaml_layer(self.path / "config.yaml")
            model = EXPERIMENTS.get(str(layer.values.get("experiment")))
            if model is None or not issubclass(model, NetworkConfig):
                raise DataError(f"{self.path}: its config.yaml names no experiment with a codec")
            return resolve(model, [layer], recorded=True)
        except UsageError as error:  # the run is damaged; nothing the user typed is wrong
            raise DataError(f"{self.path}: its config cannot be read: {error}") from None

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """The content of metrics.json. Raises DataError."""
        return read_metrics(self.path)

    @cached_property
    def history(self) -> list[dict[str, float]]:
        """The rows of history.csv; empty for a codec that was solved for. Raises DataError."""
        try:
            content = storage.read_regular(self.path / "history.csv", _MAX_HISTORY, root=self.path)
            rows = csv.DictReader(io.StringIO(content.decode()))
            return [
                {
                    key: int(value) if key == "epoch" else float(value or "nan")
                    for key, value in row.items()
                }
                for row in rows
            ]
        except (OSError, ValueError, TypeError, csv.Error) as error:
            raise DataError(f"{self.path / 'history.csv'}: cannot be read: {error}") from None

    @cached_property
    def codec(self) -> "Codec":
        """The trained codec, on the CPU. Raises DataError."""
        from aecli.codecs.store import load

        return load(self.path / "model")

    @cached_property
    def model_sha256(self) -> str:
        """SHA-256 of the model's two files, which codes name as their origin. Raises DataError."""
        digest = hashlib.sha256()
        for name in ("config.json", "model.safetensors"):
            try:
                with (self.path / "model" / name).open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
            except OSError as error:
                raise DataError(f"{self.path / 'model'}: no model to read: {error}") from None
        return digest.hexdigest()

    @cached_property
    def scale(self) -> "Scale | None":
        """The scale that brings pixels as its files have them to [0, 1]; None for a known dataset.
        Raises DataError."""
        from aecli.codecs.store import load_scale

        return load_scale(self.path / "model")

    def encode(self, images: "NDArray[Any]") -> "NDArray[np.float32]":
        """The codes (N, code_dim) of images (N, C, H, W), or (N, H, W) of one channel, or of rows
        (N, features).

        (N, H, W, C) is taken as well, where the shape fits only so: files of arrays may have it.
        Pixels as the files have them that it learned from, uint16 or other numbers, are brought to
        [0, 1] as there, by `scale`; else uint8 is divided by 255, and float has to be in [0, 1].
        Raises UsageError for images of another shape, and for other numbers.
        """
        import numpy as np
        import torch

        from aecli.data.images import InMemory

        shape = self.codec.image_shape
        array = _array(images, "images")
        if array.ndim == 3 and shape[0] == 1:
            array = array[:, None]
        if array.ndim == 2 and shape[1:] == (1, 1):  # rows of features, of aecli.Autoencoder
            array = array[:, :, None, None]
        if (
            array.ndim == 4
            and array.shape[1:] != shape
            and array.shape[1:] == (*shape[1:], shape[0])
        ):
            array = np.ascontiguousarray(np.moveaxis(array, 3, 1))
        if array.shape[1:] != shape:
            wanted = f"(N, {', '.join(map(str, shape))})"
            wanted += f" or (N, {shape[1]}, {shape[2]})" if shape[0] == 1 else ""
            raise UsageError(f"images: an array of shape {images.shape}, expected {wanted}")
        unit = torch.from_numpy(self._in_unit(array))
        with torch.no_grad():
            codes = [self.codec.encode(batch.images) for batch in InMemory(unit).batches()]
        none = torch.empty((0, self.codec.code_dim))
        return torch.cat([none, *(some.flatten(start_dim=1) for some in codes)]).numpy()

    def _in_unit(self, array: "NDArray[Any]") -> "NDArray[np.float32]":
        """Pixels as float32 in [0, 1]. Raises UsageError for other numbers than `encode` takes."""
        import numpy as np

        numbers = array.dtype.kind in "iuf"
        if numbers and not np.isfinite(array).all():
            raise UsageError(
                f"images: {array.dtype} with pixels that are not finite (NaN, infinity)"
            )
        scale, dtype = self.scale, str(array.dtype)
        if scale is not None and numbers:
            # Other numbers than uint8 and uint16 were brought to float32 as they were read.
            others = scale.dtype == "float32" and dtype != "uint8"
            if dtype == scale.dtype or others:
                return scale.to_unit(array)
        in_unit = array.dtype.kind == "f" and bool(((array >= 0) & (array <= 1)).all())
        if dtype != "uint8" and not in_unit:
            own = f", {scale.dtype} as its files had" if scale and scale.dtype != "uint8" else ""
            raise UsageError(
                f"images: {dtype} {_range(array)}, expected uint8, or float in [0, 1]{own}"
            )
        return array.astype(np.float32) / np.float32(255 if dtype == "uint8" else 1)

    def decode(self, codes: "NDArray[Any]") -> "NDArray[np.float32]":
        """Images (N, C, H, W) of codes (N, code_dim), or (N, *code_shape); a linear codec's may
        leave [0, 1]. Raises UsageError for codes of another shape."""
        import torch

        from aecli.data.images import batch_size

        array = _array(codes, "codes")
        shape, flat = self.codec.code_shape, (self.codec.code_dim,)
        if array.shape[1:] not in (shape, flat):
            wanted = f"(N, {self.codec.code_dim})"
            wanted += f" or (N, {', '.join(map(str, shape))})" if shape != flat else ""
            raise UsageError(f"codes: an array of shape {array.shape}, expected {wanted}")
        if array.dtype.kind not in "fiu" or not bool((abs(array) < float("inf")).all()):
            raise UsageError(f"codes: {array.dtype} {_range(array)}, expected finite numbers")
        shaped = torch.from_numpy(array.copy()).float().reshape(len(array), *shape)
        with torch.no_grad():
            size = batch_size(self.codec.pixels)
            none = torch.empty((0, *self.codec.image_shape))
            images = [self.codec.decode(some) for some in shaped.split(size)]
            return torch.cat([none, *images]).numpy()

    def _is_held(self, record: Mapping[str, Any]) -> bool:
        """True if a process is working in the folder."""
        lock = self.path / LOCK
        if not lock.is_file() or lock.is_symlink():
            return False
        try:
            with locks.hold(lock) as sure:
                return not sure and _is_alive(record.get("pid"))
        except OSError:  # a TimeoutError if it is held; others if it is another user's
            return True


def _array(given: Any, what: str) -> "NDArray[Any]":
    """An array that was given. Raises UsageError for anything else."""
    import numpy as np

    if not isinstance(given, np.ndarray):
        raise UsageError(f"{what}: a {type(given).__name__}, expected a numpy array")
    return given


def _range(array: "NDArray[Any]") -> str:
    """Words on the values of an array."""
    if array.dtype.kind not in "fiu" or not array.size:
        return "values"
    return f"from {array.min():g} to {array.max():g}"


def _is_alive(pid: Any) -> bool:
    if not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True
