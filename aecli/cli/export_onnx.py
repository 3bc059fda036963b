"""ONNX files of a codec (`aecli export --format onnx`), checked by ONNX Runtime."""

import importlib
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aecli import strictjson
from aecli.cli.export import Exported, Part, refused_where_untraceable
from aecli.errors import UsageError


def export(exported: Exported, folder: Path) -> dict[str, Any]:
    """Write encoder.onnx and decoder.onnx, and return what was written and checked by what.

    Raises UsageError without the extra, or for a codec that ONNX cannot express; DataError for a
    file that gives other numbers.
    """
    onnx, runtime = _packages(exported.asked)
    files = {}
    for part in exported.parts:
        path = folder / f"{part.name}.onnx"
        with refused_where_untraceable(exported, "ONNX"), _in_silence():
            _write(part, exported, path, onnx)
        session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

        def run(given: Tensor, part: Part = part, session: Any = session) -> Tensor:
            (found,) = session.run([part.output], {part.input: given.numpy()})
            return torch.from_numpy(found)

        files[part.name] = {
            "file": path.name,
            "bytes": sum(each.stat().st_size for each in folder.glob(f"{path.name}*")),
            "largest_difference": part.difference(run, path),
        }
    return {"files": files, "checked_by": f"onnxruntime {runtime.__version__}"}


def _packages(asked: str) -> tuple[Any, Any]:
    """The packages onnx and onnxruntime. Raises UsageError where one of the extra is missing."""
    try:
        onnx, onnxruntime, _ = map(  # torch's exporter asks for the third
            importlib.import_module, ("onnx", "onnxruntime", "onnxscript")
        )
    except ImportError as error:
        raise UsageError(
            f"{asked}: {error.name} is not installed; pip install 'aecli[onnx]'"
        ) from None
    return onnx, onnxruntime


def _write(part: Part, exported: Exported, path: Path, onnx: Any) -> None:
    batch = {part.input: {0: torch.export.Dim("batch", min=1)}}
    program = torch.onnx.export(
        part.module,
        (part.samples[:2],),
        input_names=[part.input],
        output_names=[part.output],
        dynamic_shapes=batch,
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    program.model.metadata_props.update(
        {key: _words(value) for key, value in exported.described().items()}
    )
    program.save(path)  # numbers of more than 2 GB, which no such file holds, go beside it
    onnx.checker.check_model(str(path))


def _words(value: Any) -> str:
    """A value of the metadata, which ONNX has as text."""
    return value if isinstance(value, str) else strictjson.dump(value, indent=None)


@contextmanager
def _in_silence() -> Iterator[None]:
    """The exporter without its remarks, which are for those who write operators."""
    logger = logging.getLogger("onnxscript")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
