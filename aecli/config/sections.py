"""Sections of a config: the images, the codec, its training."""

import difflib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Union

from pydantic import AfterValidator, BeforeValidator, Field, Strict, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from aecli.codecs.settings import CODECS
from aecli.data.known import DATASETS
from aecli.fields import (
    CodecSection,
    Fraction,
    LossSection,
    PositiveFloat,
    PositiveInt,
    Section,
    UserPath,
)
from aecli.pathnames import looks_like_a_path, user_path

Precision = Literal["auto", "fp32", "bf16"]

Share = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]
PixelCount = Annotated[int, Field(ge=1, le=65_536)]


def _named_or_path(text: str) -> str:
    """A known dataset's name as it is; a path made absolute, so that a run's config means the same
    from everywhere; an error for anything else."""
    if not text:
        raise PydanticCustomError("dataset", "must be a dataset's name or a path")
    if "://" in text:
        raise PydanticCustomError("dataset", "is an address; download it, and name its folder")
    if text != "auto" and text not in DATASETS and not looks_like_a_path(text):
        near = difflib.get_close_matches(text, ["auto", *DATASETS], n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise PydanticCustomError(
            "dataset",
            f"no dataset is called {text!r}; {hint}there are {', '.join(['auto', *DATASETS])}; a"
            f" path has a slash, as ./{text}",
        )
    return text if text == "auto" or text in DATASETS else str(user_path(text).absolute())


def _number_or_share(value: Any) -> Any:
    """A number of images or a share of them, as it is; an error for anything else."""
    is_number = type(value) is int and value >= 0
    if value is None or is_number or (isinstance(value, float) and 0 < value < 1):
        return value
    raise PydanticCustomError("val", "must be a number of images, or a share of them below 1")


def _held_out(value: Any, info: ValidationInfo) -> Any:
    """The value of `data.test`, a path as a list of one, made absolute if it lies elsewhere than in
    the dataset; an error for anything else."""
    if isinstance(value, str) and value:
        value = (value,)
    if isinstance(value, list | tuple):
        value = tuple(value)
        whole = all(type(each) is int for each in value)
        if whole and len(value) == 4 and min(value[:2]) >= 0 and min(value[2:]) >= 1:
            return value
        if value and all(isinstance(each, str) and each for each in value):
            dataset = Path(info.data.get("dataset", ""))
            return tuple(_in_or_absolute(each, dataset) for each in value)
    elif value is None or (isinstance(value, float) and 0 < value < 1):
        return value
    raise PydanticCustomError(
        "test",
        "must be a share below 1, as 0.2; a path or a list of them; or a window of a scene as"
        " [column, row, width, height] in pixels",
    )


_Index = Annotated[int, Field(ge=0)]
_HeldOut = (  # as a YAML may have it
    Share
    | Annotated[str, Field(min_length=1)]
    | Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]
    | tuple[_Index, _Index, PositiveInt, PositiveInt]
    | None
)


def _in_or_absolute(name: str, dataset: Path) -> str:
    """A name below the dataset's folder as listings have it; of a path elsewhere the absolute
    one."""
    path = Path(name)
    is_inside = ".." not in path.parts and os.path.lexists(dataset / path)
    return str(path) if is_inside else str(user_path(name).absolute())


class DataConfig(Section):
    """The images, and how they are split."""

    OF_OWN: ClassVar[tuple[str, ...]] = (
        *("size", "tile", "stride", "edges", "gap", "bands", "channels", "scale", "nodata"),
        *("min_valid", "background", "shown", "test", "skip_bad"),
    )
    """Keys that are for a path only: a known dataset is cut, scaled and split as it is known."""

    dataset: Annotated[str, AfterValidator(_named_or_path)] = "auto"
    """Name of a dataset, or a path: a folder of images, an array, a scene. `auto` is mnist where it
    can be had, else mnist-5k."""
    dir: UserPath | None = None
    """Folder with the dataset's files in torchvision's layout, MNIST/raw/... (null: the folder in
    $AECLI_DATA_DIR if that is set, then the user's cache, then a download)."""
    val: Annotated[
        Annotated[int, Field(ge=0)] | Share | None, BeforeValidator(_number_or_share)
    ] = None
    """Number of images held out of the training set for validation, or, below 1, their share: of a
    path's images, of a known dataset's training set (null: a twelfth of the training set, which is
    5,000 of mnist's)."""
    limit_train: PositiveInt | None = None
    """Number of images to train on, the first ones (null: all)."""
    binarise: Literal["none", "stochastic"] = "none"
    """Black and white pixels of a known dataset: `stochastic` draws each, its grey value the chance
    of white, anew whenever it is trained on and once for what is measured."""
    size: PixelCount | None = None
    """Height and width that images are brought to: the shorter side scaled, then the centre of the
    longer one (null: as they are, all alike)."""
    tile: PixelCount | None = None
    """Height and width of the tiles that images and scenes are cut into (null: not cut)."""
    stride: PixelCount | None = None
    """Pixels from one tile to the next (null: `tile`, so that none overlap)."""
    edges: Literal["drop", "pad"] = "drop"
    """Tiles that reach over an edge: dropped, or padded with pixels that are not valid."""
    gap: Annotated[int, Field(ge=0, le=65_536)] = 0
    """Least distance in pixels between tiles of one scene on two sides of the split."""
    bands: Annotated[
        tuple[Annotated[int, Field(ge=1, le=4096)], ...], Strict(False), Field(max_length=64)
    ] = ()
    """Bands that are kept, from 1, in this order (empty: all)."""
    channels: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Number of channels that images have or are brought to, 1 to 3 and 3 to 1 (null: the number
    they have; 3 where grey images are among coloured ones)."""
    scale: Literal["auto", "range", "percentiles"] = "auto"
    """Way to bring pixels to [0, 1]: `range` is the type's, 0 to 255 or 65,535, of other numbers
    the training part's; `percentiles` are the 1st and 99th of each channel there. `auto`: the range
    of 8 bits, of floats in [0, 1], and of 16 bits that use half of it; else percentiles."""
    nodata: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """Value of pixels that are not valid (null: the one that a scene names itself)."""
    min_valid: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.5
    """Share of an image's or tile's pixels that must be valid, or it is left out."""
    background: Literal["white", "black"] = "white"
    """Colour that transparent pixels are laid over."""
    shown: Annotated[
        tuple[Annotated[int, Field(ge=1, le=4096)], ...], Strict(False), Field(max_length=3)
    ] = ()
    """Channels that figures show, from 1: three as red, green and blue, or one (empty: the first
    ones)."""
    test: Annotated[
        Share | tuple[str, ...] | tuple[int, int, int, int] | None,
        BeforeValidator(_held_out, json_schema_input_type=_HeldOut),
    ] = None
    """Images held out for the test: a share; files or folders, in the dataset or elsewhere; or a
    window of a scene, [column, row, width, height] (null: 0.15, or what a folder `test` has)."""
    skip_bad: bool = False
    """Leave out files that cannot be used, and list them in data.csv, instead of ending the run."""

    @model_validator(mode="after")
    def _cut_as_can_be(self) -> "DataConfig":
        mistakes = []
        if self.stride is not None and self.tile is None:
            mistakes.append(f"stride={self.stride} is from one tile to the next: give data.tile")
        if self.tile is not None and self.size is not None:
            mistakes.append(f"size={self.size} and tile={self.tile}: an image is resized or cut")
        if len(set(self.bands)) < len(self.bands):
            mistakes.append(f"bands={list(self.bands)}: one stands twice")
        if mistakes:
            raise PydanticCustomError("together", "\n".join(f"data.{each}" for each in mistakes))
        return self

    @property
    def is_own(self) -> bool:
        """True if the dataset is a path."""
        return self.dataset != "auto" and self.dataset not in DATASETS


def _named(default: str) -> BeforeValidator:
    """`masking` for `{name: masking}`, and the default's name where none is given."""

    def spell_out(value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        return {"name": default} | value if isinstance(value, dict) else value

    return BeforeValidator(spell_out)


def _one_of(kinds: Iterable[type[Section]], default: str) -> Any:
    """The type of a section that is one of several, by its name."""
    union: Any = Union[tuple(kinds)]  # noqa: UP007  (of a dict: `|` cannot be written out)
    return Annotated[Annotated[union, Field(discriminator="name")], _named(default)]


if TYPE_CHECKING:
    CodecConfig = CodecSection
else:
    CodecConfig = _one_of(CODECS.values(), "mlp")


class MuonConfig(Section):
    """Muon for the weight matrices, Adam for the biases."""

    name: Literal["muon"] = "muon"
    lr: PositiveFloat = 0.025
    """Highest learning rate of the matrices."""
    adam_lr: PositiveFloat = 0.01
    """Highest learning rate of the biases."""
    momentum: Fraction = 0.95
    """Muon's momentum."""
    block_rows: PositiveInt = 64
    """Most rows that are made orthogonal to each other: a matrix whose shorter side has more is cut
    into equal blocks of rows, where a number over a quarter of this divides it. At most 64 is
    cheap."""
    precision: Precision = "auto"
    """Number format of the matrix products inside a step; blocks of at most 64 rows that a matrix
    was cut into are always fp32. `auto` is bf16, unless the training's `precision` is fp32 and the
    hardware slow at bf16."""


class AdamConfig(Section):
    """Adam for all weights."""

    name: Literal["adam"] = "adam"
    lr: PositiveFloat = 1e-3
    """Highest learning rate."""


class NoNoise(Section):
    """No noise: input and target are the same image."""

    name: Literal["none"] = "none"


class GaussianNoise(Section):
    """Gaussian noise added to the input."""

    name: Literal["gaussian"] = "gaussian"
    level: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 0.3
    """Standard deviation."""


class MaskingNoise(Section):
    """Pixels of the input set to zero."""

    name: Literal["masking"] = "masking"
    level: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 0.3
    """Fraction of the pixels."""


class DeformationNoise(Section):
    """Input bent, turned, scaled, sheared and moved at random, each by an amount of normal
    distribution about none: the code learns what these leave as it is."""

    name: Literal["deformation"] = "deformation"
    elastic: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] = 1.5
    """Standard deviation of a smooth random displacement, in pixels."""
    rotation: Annotated[float, Field(ge=0, le=180, allow_inf_nan=False)] = 10.0
    """Standard deviation of the angle, in degrees."""
    scale: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.1
    """Standard deviation of the logarithm of the scale."""
    shear: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.1
    """Standard deviation of the columns' displacement by a row."""
    shift: Annotated[float, Field(ge=0, le=65_536, allow_inf_nan=False)] = 1.0
    """Standard deviation of the displacement of the whole in each direction, in pixels."""

    @model_validator(mode="after")
    def _deforms(self) -> "DeformationNoise":
        if not any((self.elastic, self.rotation, self.scale, self.shear, self.shift)):
            raise PydanticCustomError("together", "deforms nothing: every amount is 0")
        return self


class MseLoss(LossSection):
    """Mean squared error per pixel."""

    made_by: ClassVar[str] = "aecli.training.losses:mse"
    terms: ClassVar[tuple[str, ...]] = ("mse",)

    name: Literal["mse"] = "mse"


class SparseLoss(LossSection):
    """Mean squared error, and a penalty on the size of the codes, as in a sparse autoencoder."""

    made_by: ClassVar[str] = "aecli.training.losses:sparse"
    terms: ClassVar[tuple[str, ...]] = ("loss", "mse", "l1")

    name: Literal["sparse"] = "sparse"
    l1: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.01
    """Weight of the codes' mean absolute value."""


class ElboLoss(LossSection):
    """Evidence lower bound of a variational codec, negative and in nats: what an image's pixels
    cost, and beta times the distance of its Gaussian of codes from N(0, I)."""

    made_by: ClassVar[str] = "aecli.training.losses:elbo"
    terms: ClassVar[tuple[str, ...]] = ("loss", "mse", "pixels_nats", "kl_nats")
    by_image: ClassVar[frozenset[str]] = frozenset({"loss", "pixels_nats", "kl_nats"})

    name: Literal["elbo"] = "elbo"
    likelihood: Literal["gaussian", "bernoulli"] = "gaussian"
    """Distribution of a pixel about what is decoded: `gaussian`, with one deviation sigma that is
    learned, or `bernoulli`, for pixels that are black or white, or nearly so."""
    beta: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    """Weight of the distance from N(0, I)."""
    kl_warmup: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.2
    """Fraction of all steps in which that weight rises from 0 to `beta`."""
    free_bits: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Bits of each unit's distance from N(0, 1) that are free in each image: a unit that is nearer
    is drawn no nearer."""

    def at(self, position: float) -> "ElboLoss":
        if position >= self.kl_warmup:
            return self
        return self.model_copy(update={"beta": self.beta * position / self.kl_warmup})


OptimizerConfig = Annotated[
    Annotated[MuonConfig | AdamConfig, Field(discriminator="name")], _named("muon")
]
NoiseConfig = Annotated[
    Annotated[
        NoNoise | GaussianNoise | MaskingNoise | DeformationNoise, Field(discriminator="name")
    ],
    _named("none"),
]

LOSSES: dict[str, type[LossSection]] = {"mse": MseLoss, "sparse": SparseLoss, "elbo": ElboLoss}

if TYPE_CHECKING:
    LossConfig = LossSection
else:
    LossConfig = _one_of(LOSSES.values(), "mse")

NAMED: dict[tuple[str, ...], str] = {
    ("codec",): "mlp",
    ("train", "optimizer"): "muon",
    ("train", "noise"): "none",
    ("train", "loss"): "mse",
}
"""Keys whose value is one of several sections, each with the name of the default one."""

# Recipes by name: the values that each sets where they are not given; `muon` is the defaults.
RECIPES: dict[str, dict[str, Any]] = {
    "muon": {},
    "muon-256": {"optimizer": {"name": "muon", "lr": 0.03, "momentum": 0.9, "block_rows": 256}},
    "chapter": {
        "epochs": 5,
        "batch_size": 256,
        "optimizer": {"name": "adam", "lr": 1e-3},
        "schedule": "constant",
        "warmup": 0.0,
        "precision": "fp32",
    },
    "gentle": {"optimizer": {"name": "adam", "lr": 3e-4}},
}


if TYPE_CHECKING:
    RecipeName = str
else:
    RecipeName = Literal[tuple(RECIPES)]


class FitConfig(Section):
    """Training of a network. A recipe sets every key that is not set beside it."""

    recipe: RecipeName = "muon"
    """Set of values for all keys of `train`: `muon`, the defaults, reaches a low error in few
    epochs; `muon-256` is what `muon` was before, with larger blocks of rows and another rate and
    momentum, in twice the time; `chapter` has the chapter's own values (Adam at a constant 0.001,
    in fp32); `gentle` (Adam, at most 0.0003) is the default for a network beside a linear path,
    which Muon's steps would spoil. Which images train is another setting: the chapter holds none
    out, which is `data.val: 0`."""
    epochs: Annotated[int, Field(ge=1, le=100_000)] = 5
    """Number of passes over the training images."""
    batch_size: PositiveInt = 256
    """Number of images in a step."""
    optimizer: OptimizerConfig = MuonConfig()
    """Optimiser, and its learning rates."""
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    """Fall of the learning rate after the warm-up; `linear` and `cosine` end at zero."""
    warmup: Fraction = 0.05
    """Fraction of all steps in which the learning rate rises to its highest value."""
    noise: NoiseConfig = NoNoise()
    """Noise on the input but not on the target, as in a denoising autoencoder: `gaussian`,
    `masking`, or `deformation`, which bends and moves the image."""
    loss: LossConfig = MseLoss()
    """Loss that training minimises."""
    elastic: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] = 0.0
    """Distance in pixels by which training images are bent, input and target alike (0: none)."""
    elastic_fraction: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.5
    """Fraction of each batch that is bent."""
    shift: Annotated[int, Field(ge=0, le=65_536)] = 0
    """Pixels by which training images are moved at most, at random, as a crop of a larger picture
    would be; the edge is repeated (0: none)."""
    mirror: bool = False
    """Mirror half of the training images left to right, at random."""
    init_from: UserPath | None = None
    """Run whose weights training starts from: its folder, its name in the folder of the runs, or
    `latest` (null: new weights). A variational codec takes those of a plain one too, `kl` and `dc`
    those of smaller or larger images."""
    layers: Literal["all", "middle"] = "all"
    """Layers that training moves: `middle` are those round the code, its two coarsest levels, of a
    `dc` that goes on from `init_from` or a folder's weights, for images larger than these saw."""
    ordered: bool = False
    """Order the code's units by what they carry: in training each image's code is cut behind a
    random unit, so that its first units alone decode well (nested dropout). Measurements take the
    whole code."""
    precision: Precision = "auto"
    """Number format of the matrix products in training; measurements are always fp32. `auto` is
    bf16 where the hardware is faster at it, else fp32."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in_recipe(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        recipe = values.get("recipe", "muon")
        filled = dict(RECIPES.get(recipe, {}) if isinstance(recipe, str) else {})
        for key, value in values.items():
            below = filled.get(key)
            if isinstance(below, dict) and isinstance(value, dict):
                same = value.get("name", below["name"]) == below["name"]
                value = {**below, **value} if same else value
            filled[key] = value
        return filled
