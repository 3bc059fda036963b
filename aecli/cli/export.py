"""`aecli export`: a trained codec as files that other programs run, each checked against it.

To add a format: a function in a file of its own, and a line in FORMATS. It gets an `Exported`,
refuses what it cannot do (UsageError, the extra that it lacks among them) before anything is
written, writes into a folder, and returns what `export.json` tells of it.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from aecli import __version__, machine, strictjson
from aecli.cli.decode import new_folder
from aecli.codecs.base import Codec
from aecli.errors import DataError, UsageError
from aecli.fields import NetworkSection
from aecli.lazily import named
from aecli.pathnames import user_path
from aecli.runs.registry import open_trained
from aecli.runs.run import Run
from aecli.runs.storage import write_whole
from aecli.terminal import Terminal
from aecli.training import device

FORMATS = {
    "onnx": "aecli.cli.export_onnx:export",
    "torch": "aecli.cli.export_torch:export",
    "diffusers": "aecli.cli.export_diffusers:export",
}
"""Format -> the function that writes it: (exported, folder) -> description."""
TOLERANCE = 1e-5
"""Largest difference from the codec that a file may have, of numbers up to 1; of larger ones, such
as the coefficients of a transform, as a share of the largest."""
BATCHES = (1, 2, 7)
"""Images in each batch of the check; files that fix the number of images fail it."""


class Encoder(nn.Module):
    """The encoder of a codec alone."""

    def __init__(self, codec: Codec) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, images: Tensor) -> Tensor:
        return self.codec.encode(images)


class Decoder(nn.Module):
    """The decoder of a codec alone."""

    def __init__(self, codec: Codec) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, codes: Tensor) -> Tensor:
        return self.codec.decode(codes)


@dataclass(frozen=True)
class Part:
    """The encoder or the decoder, as it is exported and checked."""

    name: str
    module: nn.Module
    input: str
    output: str
    samples: Tensor
    """Inputs that it is checked on, sum(BATCHES) of them."""

    def difference(self, run: Callable[[Tensor], Tensor], path: Path) -> float:
        """The largest difference of what `run`, which runs the file at `path`, gives, by the
        measure of TOLERANCE. Raises DataError if that is above TOLERANCE, or if shapes differ."""
        largest = 0.0
        for some in self.samples.split(BATCHES):
            with torch.no_grad():
                expected = self.module(some)
            found = run(some)
            if found.shape != expected.shape:
                shapes = f"{tuple(found.shape)}, expected {tuple(expected.shape)}"
                raise DataError(f"{path.name} gives numbers of shape {shapes}; nothing is kept")
            size = max(1.0, float(expected.abs().max()))
            differences = (found - expected).abs().nan_to_num(torch.inf)  # NaN is no small one
            largest = max(largest, float(differences.max()) / size)
        if largest > TOLERANCE:
            raise DataError(
                f"{path.name} differs from the codec by {largest:.2g}, more than {TOLERANCE:g};"
                " nothing is kept"
            )
        return largest


@dataclass(frozen=True)
class Exported:
    """The run whose codec is exported."""

    run: Run
    asked: str
    """The flag, as typed, for errors."""

    @cached_property
    def codec(self) -> Codec:
        """The codec, on the CPU, as a trace needs it. Raises DataError."""
        codec = self.run.codec
        codec.hold_constants()
        return codec.requires_grad_(False)

    @cached_property
    def parts(self) -> tuple[Part, Part]:
        """Encoder and decoder, to be checked on noise, on even images and on what is decoded of
        their codes."""
        codec, n = self.codec, sum(BATCHES)
        generator = torch.Generator().manual_seed(0)
        images = torch.rand((n, *codec.image_shape), generator=generator)
        for i, even in enumerate((0.0, 1.0, 0.5)):
            images[-1 - i] = even
        with torch.no_grad():
            codes = codec.encode(images)
            images[3:5] = codec.decode(codes[3:5]).clamp(0, 1)
        return (
            Part("encoder", Encoder(codec).eval(), "images", "codes", images),
            Part("decoder", Decoder(codec).eval(), "codes", "reconstructions", codes.contiguous()),
        )

    def described(self) -> dict[str, Any]:
        """The names, shapes and ranges of what goes in and comes out, and the model that it is."""
        codec, scale, settings = self.codec, self.run.scale, self.run.codec.settings
        sigmoid = isinstance(settings, NetworkSection) and settings.ends_in_sigmoid
        bounded = sigmoid or settings.begins_with is not None
        reconstructions = "in [0, 1]" if bounded else "about [0, 1], which they may leave a little"
        pixels = "(pixels - scale.low) / (scale.high - scale.low), clipped to [0, 1]"
        if scale is None or scale.is_bytes:
            pixels = "pixels / 255"
        return {
            "run": self.run.path.name,
            "model_sha256": self.run.model_sha256,
            "aecli": __version__,
            "torch": torch.__version__,
            "codec": settings.model_dump(mode="json"),
            "images": {
                "shape": ["batch", *codec.image_shape],
                "axes": "batch, channel, row, column",
                "type": "float32",
                "range": "in [0, 1]",
                "made_by": pixels,
            },
            "codes": {
                "shape": ["batch", *codec.code_shape],
                "type": "float32",
                "range": "any finite numbers",
            },
            "reconstructions": {
                "shape": ["batch", *codec.image_shape],
                "type": "float32",
                "range": reconstructions,
            },
            **({} if scale is None else {"scale": scale.described()}),
        }


def export(named_run: str, format_: str, output: str, terminal: Terminal, runs_dir: Path) -> None:
    """Export the codec of a run into the folder `output`, and print its path. Raises every
    AecliError."""
    asked = f"--format {format_}"
    if format_ not in FORMATS:
        raise UsageError(f"{asked}: expected {' or '.join(FORMATS)}")
    target = user_path(output)
    if not target.name:
        raise UsageError(f"-o {output}: the folder needs a name of its own")
    write = named(FORMATS[format_])
    exported = Exported(open_trained(named_run, runs_dir), asked)
    if exported.codec.settings.name == "kl" and format_ != "diffusers":
        raise UsageError(
            f"{asked}: codec 'kl' is exported for diffusers alone, whose AutoencoderKL goes another"
            " way from 64 images at once on, which no file of one program has"
        )
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise UsageError(f"{target} exists and is not an empty folder; nothing in it is replaced")
    device.seed_and_limit(0, machine.usable_cores())
    with new_folder(target) as folder, terminal.working(f"exporting as {format_}"):
        found: Mapping[str, Any] = write(exported, folder)
        about = {"format": format_, **exported.described(), **found}
        write_whole(folder / "export.json", (strictjson.dump(about) + "\n").encode())
    if terminal.as_json:
        terminal.json({"folder": str(target), **about})
        return
    for name, file in about["files"].items():
        terminal.say(
            f"{name}: {file['file']}, {file['bytes']:,} bytes; checked on {sum(BATCHES)} inputs by"
            f" {about['checked_by']}, largest difference {file['largest_difference']:.1e}"
        )
    terminal.path(target)


@contextmanager
def refused_where_untraceable(exported: Exported, what: str) -> Iterator[None]:
    """Raise UsageError, in one sentence, where an exporter cannot follow the codec."""
    try:
        yield
    except (DataError, UsageError, OSError, MemoryError):
        raise
    except Exception as error:  # exporters' errors have no class in common
        reason = (str(error).strip().splitlines() or [""])[0][:160]
        raise UsageError(
            f"{exported.asked}: codec {exported.codec.settings.name!r} cannot be had as {what}:"
            f" {type(error).__name__}: {reason}"
        ) from None
