"""Sections of a config: the images, the codec, its training."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Union

from pydantic import BeforeValidator, Field, model_validator

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

Precision = Literal["auto", "fp32", "bf16"]

if TYPE_CHECKING:
    DatasetName = str
else:
    DatasetName = Literal[("auto", *DATASETS)]


class DataConfig(Section):
    """The images, and how they are split."""

    dataset: DatasetName = "auto"
    """Name of the dataset; `auto` is mnist where it can be had, else mnist-5k."""
    dir: UserPath | None = None
    """Folder with the dataset's files in torchvision's layout, MNIST/raw/... (null: the folder in
    $AECLI_DATA_DIR if that is set, then the user's cache, then a download)."""
    val: Annotated[int, Field(ge=0)] | None = None
    """Number of images held out of the training set for validation (null: a twelfth of it, which
    is 5,000 of mnist's)."""
    limit_train: PositiveInt | None = None
    """Number of images to train on, the first ones (null: all)."""


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
    lr: PositiveFloat = 0.03
    """Highest learning rate of the matrices."""
    adam_lr: PositiveFloat = 0.01
    """Highest learning rate of the biases."""
    momentum: Fraction = 0.9
    """Muon's momentum."""
    precision: Precision = "auto"
    """Number format of the matrix products inside a step. `auto` is bf16, unless the training's
    `precision` is fp32 and the hardware slow at bf16."""


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


OptimizerConfig = Annotated[
    Annotated[MuonConfig | AdamConfig, Field(discriminator="name")], _named("muon")
]
NoiseConfig = Annotated[
    Annotated[NoNoise | GaussianNoise | MaskingNoise, Field(discriminator="name")], _named("none")
]

LOSSES: dict[str, type[LossSection]] = {"mse": MseLoss, "sparse": SparseLoss}

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
    "chapter": {
        "epochs": 5,
        "batch_size": 256,
        "optimizer": {"name": "adam", "lr": 1e-3},
        "schedule": "constant",
        "warmup": 0.0,
        "precision": "fp32",
    },
}


if TYPE_CHECKING:
    RecipeName = str
else:
    RecipeName = Literal[tuple(RECIPES)]


class FitConfig(Section):
    """Training of a network. A recipe sets every key that is not set beside it."""

    recipe: RecipeName = "muon"
    """Set of values for all keys of `train`: `muon`, the defaults, reaches a low error in few
    epochs; `chapter` has the chapter's own values (Adam at a constant 0.001, in fp32). Which images
    train is another setting: the chapter holds none out, which is `data.val: 0`."""
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
    """Noise on the input but not on the target, as in a denoising autoencoder."""
    loss: LossConfig = MseLoss()
    """Loss that training minimises."""
    elastic: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] = 0.0
    """Distance in pixels by which training images are bent, input and target alike (0: none)."""
    elastic_fraction: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.5
    """Fraction of each batch that is bent."""
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
