"""Settings of every codec; nothing here imports torch.

To add a codec: its class in a file, which its settings name in `made_by`; the settings, here or in
a file beside it; and a line in CODECS.
"""

import itertools
import math
from typing import Annotated, ClassVar, Literal

from pydantic import Field, Strict

from aecli.codecs.grid_settings import DcConfig, KlConfig
from aecli.fields import CodecSection, ImageShape, NetworkSection, Widths


class MlpConfig(NetworkSection):
    """Multilayer perceptron from the pixels to the code, and its mirror image back."""

    made_by: ClassVar[str] = "aecli.codecs.mlp:Mlp"

    name: Literal["mlp"] = "mlp"
    hidden: Widths = (256, 64)
    """Widths of the encoder's hidden layers; the decoder has the same in reverse."""

    def size(self, shape: ImageShape) -> tuple[int, int]:
        pixels = math.prod(shape)
        down = (pixels, *self.hidden, self.encoded)
        up = (self.code_dim, *reversed(self.hidden), pixels)
        layers = (*itertools.pairwise(down), *itertools.pairwise(up))
        return sum(a * b + b for a, b in layers), sum(down) + sum(up[1:])


class ConvConfig(NetworkSection):
    """Convolutional network: stages of residual blocks down to a coarse grid, a linear code, and
    the mirror image back; for images of any size."""

    made_by: ClassVar[str] = "aecli.codecs.conv:Conv"

    name: Literal["conv"] = "conv"
    width: Annotated[int, Field(ge=1, le=4096)] = 48
    """Channels of every layer."""
    depth: Annotated[int, Field(ge=0, le=64)] = 1
    """Residual blocks of two convolutions in each stage."""
    downsampling: (
        Annotated[
            tuple[Annotated[int, Field(ge=1, le=256)], ...],
            Strict(False),
            Field(min_length=1, max_length=8),
        ]
        | None
    ) = None
    """Factor by which each stage shrinks height and width, from the image on; sizes that do not
    divide are padded (null: by 4, or by 8 where images are large, then by 2 down to a grid of about
    8x8)."""
    path: Literal["none", "pca", "rotated-dct"] = "none"
    """Linear codec beside the network, solved for before it is trained: the network adds to its
    code and to its picture, and begins at adding nothing."""

    @property
    def begins_with(self) -> str | None:
        return None if self.path == "none" else self.path

    @property
    def ends_in_sigmoid(self) -> bool:
        return self.path == "none"

    def factors(self, shape: ImageShape) -> tuple[int, ...]:
        """The factor of each stage for images of a shape."""
        if self.downsampling is not None:
            return self.downsampling
        side = math.sqrt(shape[1] * shape[2])
        total = 2 ** max(0, math.ceil(math.log2(side / 8)))
        first = min(total, 4 if total <= 16 else 8)
        return (first, *[2] * round(math.log2(total / first)))

    def grids(self, shape: ImageShape) -> list[tuple[int, int]]:
        """Height and width of each stage's grid, the coarsest last."""
        factors = self.factors(shape)
        total = math.prod(factors)
        height, width = (-(-side // total) * total for side in shape[1:])
        shrunk = itertools.accumulate(factors, lambda a, b: a * b)
        return [(height // factor, width // factor) for factor in shrunk]

    def size(self, shape: ImageShape) -> tuple[int, int]:
        grids, factors, width = self.grids(shape), self.factors(shape), self.width
        places = [height * width for height, width in grids]
        edges = [shape[0] * factors[0] ** 2, *[width * factor**2 for factor in factors[1:]]]
        blocks = 4 * self.depth * (9 * width * width + width)
        parameters = sum(18 * edge * width + width + edge + blocks for edge in edges)
        features = width * places[-1]
        parameters += (self.code_dim + self.encoded + 1) * features + self.encoded
        kept = sum(
            2 * n * ((4 * self.depth + 3) * width + edge)
            for n, edge in zip(places, edges, strict=True)
        )
        path = 0 if self.path == "none" else math.prod(shape)
        return parameters + (self.code_dim * path if self.path == "pca" else 0), kept + 3 * path


class LinearConfig(NetworkSection):
    """Linear map from the pixels to the code and one back; the best one spans PCA's subspace."""

    made_by: ClassVar[str] = "aecli.codecs.linear:Linear"
    linear: ClassVar[bool] = True

    name: Literal["linear"] = "linear"

    @property
    def ends_in_sigmoid(self) -> bool:
        return False

    def size(self, shape: ImageShape) -> tuple[int, int]:
        pixels = math.prod(shape)
        parameters = (pixels + 1) * self.encoded + (self.code_dim + 1) * pixels
        return parameters, 2 * pixels + self.encoded + self.code_dim


class PcaConfig(CodecSection):
    """Principal component analysis, solved exactly."""

    made_by: ClassVar[str] = "aecli.codecs.pca:Pca"
    solved_for: ClassVar[bool] = True
    linear: ClassVar[bool] = True

    name: Literal["pca"] = "pca"

    def size(self, shape: ImageShape) -> tuple[int, int]:
        pixels = math.prod(shape)
        return min(self.code_dim, pixels) * pixels, pixels + self.code_dim


class DctConfig(CodecSection):
    """Lowest-frequency coefficients of the discrete cosine transform; nothing is learned."""

    made_by: ClassVar[str] = "aecli.codecs.dct:Dct"
    solved_for: ClassVar[bool] = True
    linear: ClassVar[bool] = True
    fixed: ClassVar[bool] = True

    name: Literal["dct"] = "dct"

    def size(self, shape: ImageShape) -> tuple[int, int]:
        pixels = math.prod(shape)
        return 2 * min(self.code_dim, pixels), 3 * pixels + self.code_dim


class RotatedDctConfig(CodecSection):
    """Discrete cosine transform of rotated colours: channels along their principal axes, and the
    coefficients of all axes that hold most in the training images."""

    made_by: ClassVar[str] = "aecli.codecs.rotated_dct:RotatedDct"
    solved_for: ClassVar[bool] = True
    linear: ClassVar[bool] = True

    name: Literal["rotated-dct"] = "rotated-dct"

    def size(self, shape: ImageShape) -> tuple[int, int]:
        pixels = math.prod(shape)
        return 2 * min(self.code_dim, pixels) + 4 * pixels, 4 * pixels + self.code_dim


class ThumbnailConfig(CodecSection):
    """Smaller picture, of at most code_dim numbers, enlarged again; nothing is learned."""

    made_by: ClassVar[str] = "aecli.codecs.thumbnail:Thumbnail"
    solved_for: ClassVar[bool] = True
    linear: ClassVar[bool] = True
    fixed: ClassVar[bool] = True

    name: Literal["thumbnail"] = "thumbnail"

    def size(self, shape: ImageShape) -> tuple[int, int]:
        pixels = math.prod(shape)
        return 2 * pixels, 3 * pixels + self.code_dim


CODECS: dict[str, type[CodecSection]] = {
    "mlp": MlpConfig,
    "conv": ConvConfig,
    "kl": KlConfig,
    "dc": DcConfig,
    "linear": LinearConfig,
    "pca": PcaConfig,
    "dct": DctConfig,
    "rotated-dct": RotatedDctConfig,
    "thumbnail": ThumbnailConfig,
}
