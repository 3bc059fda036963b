"""The network drawn as the hourglass it is: a bar for each layer, parameters between them.

Widths follow from the settings and the shape of an image; no codec is built, and no torch needed.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from aecli.codecs.grid_settings import GridConfig
from aecli.codecs.settings import ConvConfig, LinearConfig, MlpConfig
from aecli.fields import CodecSection, ImageShape

_MOST_LAYERS = 24  # that are drawn far enough apart for parameters between them
_WIDTH, _STEP, _FLAT_STEP, _BAR = 340, 46, 20, 16  # of the drawing, in its own units
_NARROWEST, _WIDEST = 6.0, 150.0  # of bars; beside them is room for some 25 letters


@dataclass(frozen=True)
class Layer:
    """A bar of the drawing."""

    label: str
    numbers: float
    """Numbers whose square root is the bar's width: of a grid its places."""
    is_code: bool = False


@dataclass(frozen=True)
class Hourglass:
    """Layers from the image to the code and back, and the parameters between neighbours."""

    layers: Sequence[Layer]
    between: Sequence[int | None]
    """Parameters from each layer to the next; None where nothing is learned there, or not said."""
    total: int | None
    """Numbers in all its parameters; None where settings do not say."""
    in_words: str


def hourglass(codec: CodecSection, shape: ImageShape) -> Hourglass:
    """The layers of a codec for images of a shape (channels, height, width)."""
    if isinstance(codec, MlpConfig | LinearConfig):
        return _chain(codec, shape)
    if isinstance(codec, ConvConfig):
        return _stages(codec, shape)
    if isinstance(codec, GridConfig):
        return _levels(codec, shape)
    size = min(codec.code_dim, math.prod(shape)) if codec.solved else codec.code_dim
    image = Layer(f"{_picture(shape)}", math.prod(shape))
    layers = [image, Layer(f"code of {size:,}", size, True), image]
    words = f"{codec.name}: {_picture(shape)} to a code of {size:,} numbers and back"
    return Hourglass(layers, [None, None], codec.size(shape)[0], words)


def _chain(codec: MlpConfig | LinearConfig, shape: ImageShape) -> Hourglass:
    """A chain of matrices, each with a bias."""
    hidden = tuple(getattr(codec, "hidden", ()))
    pixels = math.prod(shape)
    down = [*itertools.pairwise((pixels, *hidden, codec.encoded))]
    up = [*itertools.pairwise((codec.code_dim, *reversed(hidden), pixels))]
    between = [a * b + b for a, b in (*down, *up)]
    widths = [Layer(f"{width:,}", width) for width in hidden]
    image = Layer(f"{pixels:,} ({_picture(shape)})", pixels)
    layers = [image, *widths, _code(codec), *reversed(widths), image]
    numbers = "-".join(map(str, (pixels, *hidden, codec.code_dim, *reversed(hidden), pixels)))
    return Hourglass(layers, between, sum(between), f"{codec.name}: layers of {numbers} numbers")


def _stages(codec: ConvConfig, shape: ImageShape) -> Hourglass:
    """Grids that shrink, a linear code, and the same grids back."""
    grids, factors, width = codec.grids(shape), codec.factors(shape), codec.width
    edges = [shape[0] * factors[0] ** 2, *[width * factor**2 for factor in factors[1:]]]
    blocks = 2 * codec.depth * (9 * width * width + width)
    down = [9 * edge * width + width + blocks for edge in edges]
    up = [9 * edge * width + edge + blocks for edge in reversed(edges)]
    features = width * grids[-1][0] * grids[-1][1]
    code = [(features + 1) * codec.encoded, (codec.code_dim + 1) * features]
    stages = [Layer(f"{width:,} x {h}x{w}", h * w) for h, w in grids]
    image = Layer(_picture(shape), shape[1] * shape[2])
    layers = [image, *stages, _code(codec), *reversed(stages), image]
    sizes = " to ".join(f"{h}x{w}" for h, w in [shape[1:], *grids])
    beside = f"; beside it {codec.path}, solved for" if codec.begins_with else ""
    words = (
        f"{codec.name}: grids of {sizes}, a code of {codec.code_dim:,} numbers, and back{beside}"
    )
    return Hourglass(layers, [*down, *code, *up], codec.size(shape)[0], words)


def _levels(codec: GridConfig, shape: ImageShape) -> Hourglass:
    """Levels of half the height and width each, a grid of codes, and the same levels back."""
    made = codec.layers(shape)
    of_code, (height, width) = made.channels[1], codec.grid(shape, made.factor)
    sizes = [2 ** (len(made.levels) - 1 - i) for i in range(len(made.levels))]
    stages = [
        Layer(f"{channels:,} x {height * n}x{width * n}", height * width * n**2)
        for n, (channels, blocks) in zip(sizes, made.levels, strict=True)
        if blocks
    ]
    variances = " + variances" if codec.is_variational else ""
    code = Layer(f"code of {of_code:,} x {height}x{width}{variances}", height * width, True)
    image = Layer(_picture(shape), shape[1] * shape[2])
    layers = [image, *stages, code, *reversed(stages), image]
    words = (
        f"{codec.name}: levels of {' to '.join(stage.label for stage in stages)}, a code of"
        f" {of_code:,} x {height}x{width} numbers, and back"
    )
    return Hourglass(layers, [None] * (len(layers) - 1), None, words)


def _code(codec: CodecSection) -> Layer:
    k = codec.code_dim
    label = f"code of {k:,} + variances" if codec.is_variational else f"code of {k:,}"
    return Layer(label, k, True)


def _picture(shape: ImageShape) -> str:
    channels, height, width = shape
    return f"{height}x{width}" if channels == 1 else f"{channels} x {height}x{width}"


@dataclass(frozen=True)
class Bar:
    """A layer as it is drawn, in the drawing's own units."""

    x: float
    y: float
    width: float
    label: str
    is_code: bool
    down_to: str = ""
    """Corners of the band to the next bar; empty for the last."""
    parameters: str = ""


@dataclass(frozen=True)
class Drawing:
    """An hourglass as an SVG has it."""

    bars: Sequence[Bar]
    height: float
    text: str
    """The drawing in words."""
    width: int = _WIDTH
    bar_height: int = _BAR
    centre: float = _WIDEST / 2 + 4


def drawn(glass: Hourglass) -> Drawing:
    """The drawing: from top to bottom, bars as wide as the square roots of their numbers."""
    layers, between = glass.layers, glass.between
    step = _STEP if len(layers) <= _MOST_LAYERS else _FLAT_STEP
    widest = max(math.sqrt(layer.numbers) for layer in layers)
    widths = [max(_WIDEST * math.sqrt(each.numbers) / widest, _NARROWEST) for each in layers]
    centre = _WIDEST / 2 + 4
    bars = []
    for i, (layer, width) in enumerate(zip(layers, widths, strict=True)):
        y = 4.0 + i * step
        corners, parameters = "", ""
        if i + 1 < len(layers):
            a, b = width / 2, widths[i + 1] / 2
            top, bottom = y + _BAR, y + step
            points = ((-a, top), (a, top), (b, bottom), (-b, bottom))
            corners = " ".join(f"{centre + x:.1f},{y_:.1f}" for x, y_ in points)
            number = between[i]
            parameters = "" if number is None or step < _STEP else f"{number:,} parameters"
        bars.append(
            Bar(centre - width / 2, y, width, layer.label, layer.is_code, corners, parameters)
        )
    height = 8 + (len(layers) - 1) * step + _BAR
    counted = "" if glass.total is None else f"; {glass.total:,} parameters"
    return Drawing(bars, height, f"{glass.in_words}{counted}")
