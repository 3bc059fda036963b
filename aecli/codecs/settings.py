"""Settings of every codec; nothing here imports torch.

To add a codec: its class in a file, which its settings name in `made_by`; the settings, here or in
a file beside it; and a line in CODECS.
"""

import itertools
from typing import ClassVar, Literal

from aecli.fields import CodecSection, Widths


class MlpConfig(CodecSection):
    """Multilayer perceptron from the pixels to the code, and its mirror image back."""

    made_by: ClassVar[str] = "aecli.codecs.mlp:Mlp"

    name: Literal["mlp"] = "mlp"
    hidden: Widths = (256, 64)
    """Widths of the encoder's hidden layers; the decoder has the same in reverse."""

    def size(self, pixels: int) -> tuple[int, int]:
        widths = (pixels, *self.hidden, self.code_dim, *reversed(self.hidden), pixels)
        return sum(a * b + b for a, b in itertools.pairwise(widths)), sum(widths)


class LinearConfig(CodecSection):
    """Linear map from the pixels to the code and one back; the best one spans PCA's subspace."""

    made_by: ClassVar[str] = "aecli.codecs.linear:Linear"
    linear: ClassVar[bool] = True

    name: Literal["linear"] = "linear"

    def size(self, pixels: int) -> tuple[int, int]:
        return 2 * pixels * self.code_dim + self.code_dim + pixels, 2 * pixels + self.code_dim


class PcaConfig(CodecSection):
    """Principal component analysis, solved exactly."""

    made_by: ClassVar[str] = "aecli.codecs.pca:Pca"
    solved: ClassVar[bool] = True
    linear: ClassVar[bool] = True

    name: Literal["pca"] = "pca"

    def size(self, pixels: int) -> tuple[int, int]:
        return min(self.code_dim, pixels) * pixels, pixels + self.code_dim


class DctConfig(CodecSection):
    """Lowest-frequency coefficients of the discrete cosine transform; nothing is learned."""

    made_by: ClassVar[str] = "aecli.codecs.dct:Dct"
    solved: ClassVar[bool] = True
    linear: ClassVar[bool] = True
    fixed: ClassVar[bool] = True

    name: Literal["dct"] = "dct"

    def size(self, pixels: int) -> tuple[int, int]:
        return 2 * min(self.code_dim, pixels), 3 * pixels + self.code_dim


class RotatedDctConfig(CodecSection):
    """Discrete cosine transform of rotated colours: channels along their principal axes, and the
    coefficients of all axes that hold most in the training images."""

    made_by: ClassVar[str] = "aecli.codecs.rotated_dct:RotatedDct"
    solved: ClassVar[bool] = True
    linear: ClassVar[bool] = True

    name: Literal["rotated-dct"] = "rotated-dct"

    def size(self, pixels: int) -> tuple[int, int]:
        return 2 * min(self.code_dim, pixels) + 4 * pixels, 4 * pixels + self.code_dim


class ThumbnailConfig(CodecSection):
    """Smaller picture, of at most code_dim numbers, enlarged again; nothing is learned."""

    made_by: ClassVar[str] = "aecli.codecs.thumbnail:Thumbnail"
    solved: ClassVar[bool] = True
    linear: ClassVar[bool] = True
    fixed: ClassVar[bool] = True

    name: Literal["thumbnail"] = "thumbnail"

    def size(self, pixels: int) -> tuple[int, int]:
        return 2 * pixels, 3 * pixels + self.code_dim


CODECS: dict[str, type[CodecSection]] = {
    "mlp": MlpConfig,
    "linear": LinearConfig,
    "pca": PcaConfig,
    "dct": DctConfig,
    "rotated-dct": RotatedDctConfig,
    "thumbnail": ThumbnailConfig,
}
