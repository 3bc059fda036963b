"""Settings of the codecs of latent diffusion, whose code is a grid; nothing here imports torch."""

import math
from abc import ABC, abstractmethod
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, Strict, field_validator, model_validator
from pydantic_core import PydanticCustomError

from aecli.errors import UsageError
from aecli.fields import ImageShape, NetworkSection, PositiveInt, Section, UserPath

BETA_OF_LATENT_DIFFUSION = 1e-6
"""Weight of the divergence from N(0, I) in the published autoencoders (Rombach et al. 2022)."""

Channels = Annotated[int, Field(ge=1, le=16384)]
Blocks = Annotated[int, Field(ge=0, le=64)]
_NORMED_TOGETHER, _MOST_GROUPS = 4, 32
"""Channels, at least, of each group that `kl` normalises, and groups, at most: as published. A
group of one channel would lose its mean: the image's colour, and all on a grid of one place."""
_PER_LEVEL: Any = (Strict(False), Field(min_length=1, max_length=12))
Scaling = Annotated[float, Field(ge=1e-6, le=1e6, allow_inf_nan=False), Strict(False)]
Shift = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False), Strict(False)]
Factor = Literal[2, 4, 8, 16, 32, 64, 128]
Activation = Literal["silu", "swish", "mish", "gelu", "relu"]


def _described(schema: dict[str, Any]) -> None:
    """Give every key of a schema a sentence."""
    for field in schema["properties"].values():
        field.setdefault("description", "Argument of diffusers' class, by its name there.")


class Architecture(Section, ABC):
    """Arguments of a class of diffusers, by its names for them."""

    model_config = ConfigDict(json_schema_extra=_described)

    IGNORED: ClassVar[tuple[str, ...]] = ()
    """Keys of a folder's config.json that change nothing here."""

    @property
    @abstractmethod
    def channels(self) -> tuple[int, int]:
        """Channels of an image and of its code."""

    @property
    @abstractmethod
    def factor(self) -> int:
        """Pixels of each side of the image to one place of the code."""

    @property
    @abstractmethod
    def levels(self) -> list[tuple[int, int]]:
        """Channels and blocks of each level, the image's first: of the larger side."""

    @property
    def numbers(self) -> int:
        """Numbers in all layers, about."""
        before, of_code = self.channels
        found = 5 * of_code**2
        for channels, blocks in self.levels:
            if blocks:
                found += 18 * channels * ((2 * blocks + 1) * channels + before)
                before = channels
        return found + 36 * before * of_code


class KlArchitecture(Architecture):
    """Arguments of diffusers' AutoencoderKL."""

    IGNORED = ("sample_size", "force_upcast")

    in_channels: Channels = 3
    out_channels: Channels = 3
    down_block_types: Annotated[
        tuple[Literal["DownEncoderBlock2D", "AttnDownEncoderBlock2D"], ...], *_PER_LEVEL
    ] = ("DownEncoderBlock2D",)
    up_block_types: Annotated[
        tuple[Literal["UpDecoderBlock2D", "AttnUpDecoderBlock2D"], ...], *_PER_LEVEL
    ] = ("UpDecoderBlock2D",)
    block_out_channels: Annotated[tuple[Channels, ...], *_PER_LEVEL] = (64,)
    layers_per_block: Annotated[int, Field(ge=1, le=64)] = 1
    act_fn: Activation = "silu"
    latent_channels: Channels = 4
    norm_num_groups: PositiveInt = 32
    scaling_factor: Scaling = 0.18215
    shift_factor: Shift | None = None
    latents_mean: None = None
    latents_std: None = None
    use_quant_conv: bool = True
    use_post_quant_conv: bool = True
    mid_block_add_attention: bool = True

    @property
    def channels(self) -> tuple[int, int]:
        return self.in_channels, self.latent_channels

    @property
    def factor(self) -> int:
        return int(2 ** (len(self.block_out_channels) - 1))

    @property
    def levels(self) -> list[tuple[int, int]]:
        return [(width, self.layers_per_block) for width in self.block_out_channels]


_Kinds = Annotated[tuple[Literal["ResBlock", "EfficientViTBlock"], ...], *_PER_LEVEL]
_Words = Annotated[tuple[Literal["rms_norm", "batch_norm"], ...], *_PER_LEVEL]
_Scales = Annotated[
    tuple[
        Annotated[
            tuple[Annotated[int, Field(ge=1, le=31)], ...], Strict(False), Field(max_length=4)
        ],
        ...,
    ],
    *_PER_LEVEL,
]


class DcArchitecture(Architecture):
    """Arguments of diffusers' AutoencoderDC."""

    in_channels: Channels = 3
    latent_channels: Channels = 32
    attention_head_dim: Channels = 32
    encoder_block_types: Literal["ResBlock", "EfficientViTBlock"] | _Kinds = "ResBlock"
    decoder_block_types: Literal["ResBlock", "EfficientViTBlock"] | _Kinds = "ResBlock"
    encoder_block_out_channels: Annotated[tuple[Channels, ...], *_PER_LEVEL] = (
        *(128, 256, 512, 512, 1024, 1024),
    )
    decoder_block_out_channels: Annotated[tuple[Channels, ...], *_PER_LEVEL] = (
        *(128, 256, 512, 512, 1024, 1024),
    )
    encoder_layers_per_block: Annotated[tuple[Blocks, ...], *_PER_LEVEL] = (2, 2, 2, 3, 3, 3)
    decoder_layers_per_block: Annotated[tuple[Blocks, ...], *_PER_LEVEL] = (3, 3, 3, 3, 3, 3)
    encoder_qkv_multiscales: _Scales = ((), (), (), (5,), (5,), (5,))
    decoder_qkv_multiscales: _Scales = ((), (), (), (5,), (5,), (5,))
    upsample_block_type: Literal["pixel_shuffle", "interpolate"] = "pixel_shuffle"
    downsample_block_type: Literal["pixel_unshuffle", "Conv"] = "pixel_unshuffle"
    decoder_norm_types: Literal["rms_norm"] | _Words = "rms_norm"
    decoder_act_fns: Activation | Annotated[tuple[Activation, ...], *_PER_LEVEL] = "silu"
    encoder_out_shortcut: bool = True
    decoder_in_shortcut: bool = True
    decoder_conv_act_fn: Activation = "relu"
    scaling_factor: Scaling = 1.0

    @property
    def channels(self) -> tuple[int, int]:
        return self.in_channels, self.latent_channels

    @property
    def factor(self) -> int:
        return int(2 ** (len(self.encoder_block_out_channels) - 1))

    @property
    def levels(self) -> list[tuple[int, int]]:
        widths = zip(self.encoder_block_out_channels, self.decoder_block_out_channels, strict=False)
        blocks = zip(self.encoder_layers_per_block, self.decoder_layers_per_block, strict=False)
        return list(zip(map(max, widths), map(max, blocks), strict=False))


class GridConfig(NetworkSection, ABC):
    """Settings of a codec whose code is a grid of channels, coarser than the image."""

    any_size: ClassVar[bool] = True

    downsampling: Factor = 8
    """Factor by which height and width of the code are smaller than the image's. Its channels
    follow from it and from `code_dim`, all numbers of the code."""
    width: Annotated[int, Field(ge=1, le=4096)] = 16
    """Channels of the finest layers; each level below has twice as many."""
    widest: Annotated[int, Field(ge=1, le=4096)] = 64
    """Most channels of a layer, unless the code has more."""
    depth: Annotated[int, Field(ge=1, le=64)] = 1
    """Residual blocks of each level."""
    from_pretrained: UserPath | None = None
    """Folder of a model as diffusers saves one, config.json and safetensors, whose layers and
    weights are taken (null: new ones). Its config.json stands for width, depth and
    downsampling."""
    architecture: Architecture | None = None
    """Layers of `from_pretrained`, by diffusers' names (null: those of width, widest and depth)."""
    frozen: bool = False
    """Leave the weights of `from_pretrained` as they are: nothing is trained."""

    @model_validator(mode="after")
    def _freeze_what_is_there(self) -> Self:
        if self.frozen and self.from_pretrained is None:
            raise PydanticCustomError(
                "together",
                "codec.frozen=true keeps the weights of codec.from_pretrained: name its folder",
            )
        return self

    @field_validator("variational", mode="before", check_fields=False)
    @classmethod
    def _leave_as_the_kind_is(cls, value: Any) -> Any:
        if value is not cls.model_fields["variational"].default:
            raise PydanticCustomError(
                "variational", "codec 'kl' is always variational, codec 'dc' never"
            )
        return value

    @property
    def solved(self) -> bool:
        return self.frozen

    @property
    def how_solved(self) -> str:
        return "frozen"

    @property
    def ends_in_sigmoid(self) -> bool:
        return False

    @abstractmethod
    def layers(self, shape: ImageShape) -> Architecture:
        """Layers of the codec for images of a shape. Raises UsageError if the code does not fit
        them."""

    def grid(self, shape: ImageShape, factor: int) -> tuple[int, int]:
        """Height and width of the code, for sides that are padded to multiples of `factor`."""
        _, height, width = shape
        return -(-height // factor), -(-width // factor)

    def channels(self, shape: ImageShape) -> int:
        """Channels of the code. Raises UsageError unless they are a whole number, and for a factor
        that pads images to more than a place needs."""
        sides = f"{shape[1]}x{shape[2]}"
        enough = max(2, 2 ** math.ceil(math.log2(max(shape[1:]))))
        if self.downsampling > enough:
            raise UsageError(
                f"codec.downsampling={self.downsampling} is too much for {sides} pixels: from"
                f" {enough} on, one place holds them all"
            )
        height, width = self.grid(shape, self.downsampling)
        channels, rest = divmod(self.code_dim, height * width)
        if rest or not channels:
            raise UsageError(
                f"code_dim={self.code_dim} must be a multiple of {height * width}: the code of"
                f" codec {self.name!r} for {sides} pixels at"
                f" codec.downsampling={self.downsampling} is a grid of {height}x{width}"
            )
        return channels

    def widths(self, channels: int) -> tuple[int, ...]:
        """Channels of each level's layers, the image's first, for a code of so many channels.

        The coarsest are a multiple of the code's, all of 4, and from level to level they grow by 1,
        2 or 4 times: what a square of pixels becomes, and what a shortcut averages and repeats, has
        to be whole.
        """
        levels = self.downsampling.bit_length()
        least = math.lcm(channels, 4)
        found = [least * 2 ** max(0, math.ceil(math.log2(self.widest / least)))]
        for level in reversed(range(levels - 1)):
            wanted = min(self.width * 2**level, self.widest)
            below = [found[0] // part for part in (1, 2, 4) if found[0] % (4 * part) == 0]
            found.insert(0, min(below, key=lambda width: abs(width - wanted)))
        return tuple(found)

    def size(self, shape: ImageShape) -> tuple[int, int]:
        layers = self.layers(shape)
        kept, places = 0, math.prod(self.grid(shape, layers.factor)) * layers.factor**2
        for level, (channels, blocks) in enumerate(layers.levels):
            if blocks:
                kept += 2 * (places // 4**level) * channels * (6 * blocks + 4)
        return layers.numbers, kept + 6 * shape[0] * places


class KlConfig(GridConfig):
    """Variational autoencoder of latent diffusion, diffusers' AutoencoderKL: residual blocks,
    attention at the coarsest level, and a Gaussian at each place of a grid."""

    made_by: ClassVar[str] = "aecli.codecs.diffusion:Kl"

    name: Literal["kl"] = "kl"
    variational: Literal[True] = True
    """True: this codec is variational, by the loss `elbo`."""
    attention: bool = True
    """Self-attention over the places of the coarsest grid."""
    architecture: KlArchitecture | None = None
    """Layers of `from_pretrained`, by diffusers' names (null: those of width, widest and depth)."""

    def layers(self, shape: ImageShape) -> KlArchitecture:
        if self.architecture is not None:
            return self.architecture
        channels = self.channels(shape)
        widths = self.widths(channels)
        return KlArchitecture(
            in_channels=shape[0],
            out_channels=shape[0],
            down_block_types=tuple("DownEncoderBlock2D" for _ in widths),
            up_block_types=tuple("UpDecoderBlock2D" for _ in widths),
            block_out_channels=widths,
            layers_per_block=self.depth,
            latent_channels=channels,
            norm_num_groups=min(_MOST_GROUPS, math.gcd(*widths) // _NORMED_TOGETHER),
            scaling_factor=1.0,
            mid_block_add_attention=self.attention,
        )


class DcConfig(GridConfig):
    """Deep-compression autoencoder, diffusers' AutoencoderDC: residual blocks, and shortcuts that
    move squares of pixels into channels and back, past every change of size."""

    made_by: ClassVar[str] = "aecli.codecs.diffusion:Dc"
    convertible: ClassVar[bool] = False
    has_middle: ClassVar[bool] = True

    name: Literal["dc"] = "dc"
    variational: Literal[False] = False
    """False: this codec is not variational."""
    shortcuts: bool = True
    """Shortcuts past every layer that changes the size, from space to channels and back (Chen et
    al. 2024, section 3.2)."""
    architecture: DcArchitecture | None = None
    """Layers of `from_pretrained`, by diffusers' names (null: those of width, widest and depth)."""

    def layers(self, shape: ImageShape) -> DcArchitecture:
        if self.architecture is not None:
            return self.architecture
        channels = self.channels(shape)
        widths = self.widths(channels)
        blocks = (
            0,
            *[self.depth] * (len(widths) - 1),
        )  # none at full size
        return DcArchitecture(
            in_channels=shape[0],
            latent_channels=channels,
            encoder_block_out_channels=widths,
            decoder_block_out_channels=widths,
            encoder_layers_per_block=blocks,
            decoder_layers_per_block=blocks,
            encoder_qkv_multiscales=((),) * len(widths),
            decoder_qkv_multiscales=((),) * len(widths),
            encoder_out_shortcut=self.shortcuts,
            decoder_in_shortcut=self.shortcuts,
        )
