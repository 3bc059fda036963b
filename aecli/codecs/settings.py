"""Settings of every codec; nothing here imports torch.

To add a codec: its settings, a line in CODECS, and its class in a file of its own, which
`CodecSection.made_by` names.
"""

from typing import ClassVar, Literal

from aecli.fields import Section, Width, Widths

CODE_DIM_OF_THE_CHAPTER = 32


class CodecSection(Section):
    """Settings of one kind of codec, and what can be known of that kind without building one."""

    made_by: ClassVar[str]
    """Module and class of the codec, `aecli.codecs.mlp:Mlp`, imported where one is built."""
    solved: ClassVar[bool] = False
    """True if it is solved for, so that nothing of `train` is used."""
    linear: ClassVar[bool] = False
    """True if code and reconstruction are linear in the image, up to a constant."""
    fixed: ClassVar[bool] = False
    """True if it is the same for all images: nothing is learned of them."""

    name: str
    code_dim: Width = CODE_DIM_OF_THE_CHAPTER
    """Size of the code, in numbers."""


class MlpConfig(CodecSection):
    """Multilayer perceptron from the pixels to the code, and its mirror image back."""

    made_by: ClassVar[str] = "aecli.codecs.mlp:Mlp"

    name: Literal["mlp"] = "mlp"
    hidden: Widths = (256, 64)
    """Widths of the encoder's hidden layers; the decoder has the same in reverse."""


class LinearConfig(CodecSection):
    """Linear map from the pixels to the code and one back; the best one spans PCA's subspace."""

    made_by: ClassVar[str] = "aecli.codecs.linear:Linear"
    linear: ClassVar[bool] = True

    name: Literal["linear"] = "linear"


class PcaConfig(CodecSection):
    """Principal component analysis, solved exactly."""

    made_by: ClassVar[str] = "aecli.codecs.pca:Pca"
    solved: ClassVar[bool] = True
    linear: ClassVar[bool] = True

    name: Literal["pca"] = "pca"


class DctConfig(CodecSection):
    """Lowest-frequency coefficients of the discrete cosine transform; nothing is learned."""

    made_by: ClassVar[str] = "aecli.codecs.dct:Dct"
    solved: ClassVar[bool] = True
    linear: ClassVar[bool] = True
    fixed: ClassVar[bool] = True

    name: Literal["dct"] = "dct"


CODECS: dict[str, type[CodecSection]] = {
    "mlp": MlpConfig,
    "linear": LinearConfig,
    "pca": PcaConfig,
    "dct": DctConfig,
}
