"""`python -m benchmarks.storage RUN DATA`: what codes take in bits beside JPEG, WebP and JPEG 2000,
at equal error, on the held-out images of DATA.

All are judged as images of 8 bits: what a run decodes is clipped and rounded, as `aecli decode`
does it, and the error is against the images so rounded. Bits are per pixel, a place in an image
whatever its channels. The formats have a file for each image, whose header weighs much on small
ones; codes have one header for all. Where headers are not counted, the smallest file that the
format has for any image of that shape is taken off (of black, grey and white ones and the images
themselves, at all qualities); of codes the coded words alone count.
"""

import argparse
import itertools
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.ticker
import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from aecli import strictjson
from aecli.cli.encode import own_images, places_of, whole_for
from aecli.codespace import bits
from aecli.codespace.oddness import training_codes
from aecli.codespace.quantiser import MOST_BITS, Quantiser
from aecli.data.images import Batch, batch_size
from aecli.errors import AecliError, UsageError
from aecli.figures import style
from aecli.measure.eight_bits import Pixels, in_bytes, mse, read, written
from aecli.runs.registry import open_trained
from aecli.runs.run import Run
from aecli.runs.subject import data_of
from aecli.terminal import Terminal
from aecli.training import device

OURS = "codes"
QUALITIES = (1, 3, 5, 8, 12, 17, 25, 35, 50, 65, 75, 85, 92, 95)
DECIBELS = (8, 9, 10, 11, 12, 14, 16, 18, 20, 22, 24, 27, 30, 34, 38, 42)
_COLOURS = (style.NETWORK, style.BASELINE, style.THIRD, style.FOURTH)
_CONSTANTS = (0, 128, 255)
_FEW_DECADES = 2000  # ratio of the ends of an axis up to which there is room for 1, 2 and 5
_LEAST = 1e-12  # error whose logarithm stands for that of none
_MOST_BYTES = 2**30  # of held-out images as float32


@dataclass(frozen=True)
class Point:
    """One way to store the images: its error and the bits per pixel that it takes."""

    name: str
    setting: str
    mse: float
    """Per pixel and channel, pixels in [0, 1]."""
    with_headers: float
    without_headers: float


def main() -> None:
    """Read the command line, measure, write the table, the figure and the numbers."""
    options = _options()
    terminal = Terminal()
    device.seed_and_limit(0, options.threads)
    try:
        found = measure(options, terminal)
    except AecliError as error:
        terminal.error(str(error))
        sys.exit(error.exit_code)
    text = report(found)
    print(text)
    options.out.mkdir(parents=True, exist_ok=True)
    told = {**found, "points": [asdict(point) for point in found["points"]]}
    (options.out / "storage.json").write_text(f"{strictjson.dump(told)}\n")
    (options.out / "storage.md").write_text(f"{text}\n")
    figure(found["points"], found["float_mse"], found["title"]).savefig(options.out / "storage.png")


def measure(options: argparse.Namespace, terminal: Terminal) -> dict[str, Any]:
    """The points of codes and of every format, and what they are of."""
    run = open_trained(options.run, options.runs_dir)
    config = data_of(run, options.data, (), options.data_dir)
    places = places_of(run, options.data_dir, options.offline, terminal)
    whole = whole_for(run, config, places, terminal)
    if options.part != "all":
        whole = whole.only(options.part)
    if whole.source.shape[0] not in (1, 3):
        raise UsageError("the formats hold images of 1 or 3 channels alone")
    most = min(options.images, batch_size(whole.source.pixels, _MOST_BYTES))
    held_out = _whole(whole.source.first(most).all())
    training = own_images(run, places, terminal).train
    points, float_mse = ours(run, training_codes(run.codec, training), held_out)
    pixels = in_bytes(held_out.images)
    for name in FORMATS:
        terminal.say(f"measuring {name}")
        points += of_format(name, pixels)
    return {
        "run": run.path.name,
        "data": whole.name,
        "images": len(pixels),
        "shape": list(whole.source.shape),
        "code_dim": run.codec.code_dim,
        "float_mse": float_mse,
        "title": f"{whole.name}: what storing {len(pixels):,} held-out images takes, and loses",
        "points": points,
    }


def _whole(batch: Batch) -> Batch:
    """The images of a batch whose every pixel is valid. Raises UsageError if there are none."""
    if batch.mask is None:
        return batch
    kept = batch.mask.flatten(start_dim=1).all(dim=1)
    if not kept.any():
        raise UsageError("the formats hold whole images alone, and every one has invalid pixels")
    return Batch(batch.images[kept])


@torch.no_grad()
def ours(run: Run, training: NDArray[np.float32], held_out: Batch) -> tuple[list[Point], float]:
    """Points of codes in 1 to 16 bits, and the error of the codes as they are."""
    codec, pixels = run.codec, in_bytes(held_out.images)
    size = batch_size(codec.pixels)
    every = [codec.encode(some).flatten(start_dim=1) for some in held_out.images.split(size)]
    codes = torch.cat(every).numpy()

    def error(given: NDArray[np.float32]) -> float:
        decoded = in_bytes(torch.from_numpy(run.decode(given)))
        return mse(decoded, pixels)

    points, n = [], len(codes)
    places = n * pixels.shape[2] * pixels.shape[3]
    for number in range(1, MOST_BITS + 1):
        quantiser = Quantiser.fitted(number, training, n)
        steps = quantiser.steps(codes)
        header = bits.Header.of(quantiser, run.model_sha256, n, codec.code_shape)
        parts = [(len(frame), words.nbytes) for frame, words in bits.packed(header, steps)]
        frames, words = (8 * sum(each) / places for each in zip(*parts, strict=True))
        loss = error(quantiser.codes(steps))
        points.append(Point(OURS, f"{number} bits", loss, frames + words, words))
    return points, error(codes)


def _jpeg(side: int) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    # Tables of its own make a small image's file smaller, those of the standard its content.
    for quality in QUALITIES:
        yield f"quality {quality}", [{"quality": quality, "optimize": o} for o in (False, True)]


def _webp(side: int) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    for quality in (0, *QUALITIES, 100):
        yield f"quality {quality}", [{"quality": quality, "method": 6}]


def _jpeg_2000(side: int) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    # The bare codestream; halvings down to some four pixels, as OpenJPEG refuses more.
    resolutions = max(1, min(6, int(math.log2(side)) - 2))
    common = {"no_jp2": True, "irreversible": True, "num_resolutions": resolutions}
    for decibels in DECIBELS:
        layers = {"quality_mode": "dB", "quality_layers": [decibels]}
        yield f"{decibels} dB", [{**common, **layers}]


FORMATS = {"JPEG": ("JPEG", _jpeg), "WebP": ("WEBP", _webp), "JPEG 2000": ("JPEG2000", _jpeg_2000)}
"""Name -> Pillow's name, and settings: for each quality, the ways to write the same pixels, of
which the smallest counts."""


def of_format(name: str, pixels: Pixels) -> list[Point]:
    """Points of a format at its qualities, of images (N, C, H, W)."""
    pillow, settings = FORMATS[name]
    _, channels, height, width = pixels.shape
    constants = [np.full((channels, height, width), v, np.uint8) for v in _CONSTANTS]
    means: list[tuple[str, float, list[float]]] = []
    smallest: dict[int, int] = {}
    for setting, ways in settings(min(height, width)):
        errors, sizes = [], np.zeros((len(ways), len(pixels)), np.int64)
        for way, keywords in enumerate(ways):
            for i, image in enumerate(pixels):
                content = written(image, pillow, keywords)
                sizes[way, i] = len(content)
                if way == 0:
                    errors.append(mse(read(content, channels), image))
            others = [len(written(image, pillow, keywords)) for image in constants]
            least = min(*others, int(sizes[way].min()))
            smallest[way] = min(smallest.get(way, least), least)
        means.append((setting, float(np.mean(errors)), sizes.mean(axis=1).tolist()))
    points = []
    for setting, error, each in means:
        alone = (size - smallest[way] for way, size in enumerate(each))
        both = (8 * least / (height * width) for least in (min(each), min(alone)))
        points.append(Point(name, setting, error, *both))
    return points


def needed(points: Sequence[Point], error: float, headers: bool) -> tuple[float, bool]:
    """Bits per pixel that a contender needs for an error, between its points by the error's
    logarithm, infinite if it is never so good; True if its coarsest point is better already, so
    that this is a bound from above."""
    found = sorted((_bits(point, headers), point.mse) for point in points)
    better: list[tuple[float, float]] = []  # points that no other one is better than
    for size, loss in found:
        if not better or loss < better[-1][1]:
            better.append((size, loss))
    if better[0][1] <= error:
        return better[0][0], better[0][1] < error
    for (size, loss), (next_size, next_loss) in itertools.pairwise(better):
        if next_loss <= error:
            there, end = (math.log(loss / max(each, _LEAST)) for each in (error, next_loss))
            return size + there / end * (next_size - size), False
    return math.inf, False


def _bits(point: Point, headers: bool) -> float:
    return point.with_headers if headers else point.without_headers


def report(found: dict[str, Any]) -> str:
    """The tables: at the error of each number of bits, the bits per pixel that each needs."""
    points: list[Point] = found["points"]
    by_name = {name: [p for p in points if p.name == name] for name in (OURS, *FORMATS)}
    shape = "x".join(map(str, found["shape"]))
    lines = [
        f"{found['run']}: codes of {found['code_dim']} numbers for {found['images']:,} held-out"
        f" images of {found['data']}, {shape}; as float32 their error is {found['float_mse']:.3g}."
    ]
    for headers, words in ((True, "Heads counted"), (False, "Heads not counted")):
        lines += ["", f"{words}: bits per pixel at equal error", ""]
        lines.append(f"| bits | mse | {' | '.join(by_name)} | fewest |")
        lines.append("|" + "---|" * (len(by_name) + 3))
        for point in by_name[OURS]:
            each = {name: needed(some, point.mse, headers) for name, some in by_name.items()}
            # The point itself, and not what a better one of ours would take.
            each[OURS] = _bits(point, headers), False
            cells = " | ".join(_cell(*one) for one in each.values())
            best = min(each, key=lambda name: each[name][0])
            lines.append(f"| {point.setting} | {point.mse:.3g} | {cells} | {best} |")
    return "\n".join(lines)


def _cell(size: float, at_most: bool) -> str:
    if math.isinf(size):
        return "not reached"
    return f"{'≤ ' if at_most else ''}{size:.3g}"


def figure(points: Sequence[Point], float_mse: float, title: str) -> Figure:
    """Error over bits per pixel, both log; at the right headers are not counted."""
    with mpl.rc_context(style.STYLE):
        drawn = style.new_figure(10, 5)
        axes = drawn.subplots(1, 2, sharey=True)
        handles: list[Any] = []
        for headers, one in zip((True, False), axes, strict=True):
            handles.clear()
            for name, colour in zip((OURS, *FORMATS), _COLOURS, strict=True):
                some = [p for p in points if p.name == name and _bits(p, headers) > 0 and p.mse > 0]
                x, y = [_bits(p, headers) for p in some], [p.mse for p in some]
                handles += one.plot(x, y, "o-", color=colour, ms=5, label=name)
            floor = {"color": style.HELD_OUT, "ls": "--", "lw": 1.2, "label": "codes as float32"}
            handles.append(one.axhline(float_mse, **floor))
            one.set_xscale("log")
            style.log_mse_axis(one)
            low, high = one.get_xlim()
            subs = (1.0, 2.0, 5.0) if high < _FEW_DECADES * low else (1.0,)
            one.xaxis.set_major_locator(mpl.ticker.LogLocator(subs=subs))
            one.xaxis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
            one.xaxis.set_minor_locator(mpl.ticker.NullLocator())
            one.set_xlabel(f"bits per pixel, headers {'counted' if headers else 'not counted'}")
        axes[0].set_ylabel("mean squared error")
        style.heading(drawn, title)
        style.legend_below(drawn, handles)
        return drawn


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks.storage", description=__doc__)
    add = parser.add_argument
    add("run", metavar="RUN", help="run whose model is used, as for aecli encode")
    add("data", metavar="DATA", help="name or path of a dataset")
    add("--part", default="test", help="part that is held out, or all (default: test)")
    add("--images", type=int, default=10_000, help="images, the first (default: 10,000)")
    add("--threads", type=int, default=2, help="threads (default: 2)")
    add("--runs-dir", type=Path, default=Path("runs"), help="folder of the run folders")
    add("--data-dir", default=None, help="folder that has the dataset's files")
    add("--offline", action="store_true", help="download nothing")
    out = Path("benchmarks/results")
    add(
        "--out", type=Path, default=out, help=f"folder for storage.md, .json, .png (default: {out})"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
