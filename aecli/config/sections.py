"""Sections of a config: the images, the codec, its training."""

from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args

from pydantic import BeforeValidator, Field, model_validator

from aecli.codecs.settings import CODECS, CodecSection
from aecli.fields import Fraction, PositiveFloat, PositiveInt, Section, UserPath

# The chapter's recipe, value by value; the other recipe, `muon`, is the defaults of FitConfig.
RECIPES: dict[str, dict[str, Any]] = {
    "muon": {},
    "chapter": {
        "epochs": 5,
        "batch_size": 256,
        "optimizer": "adam",
        "lr": 1e-3,
        "schedule": "constant",
        "warmup": 0.0,
        "precision": "fp32",
    },
}


class DataConfig(Section):
    """The images, and how they are split."""

    dataset: Literal["auto", "mnist", "fashion-mnist", "mnist-5k"] = "auto"
    """Name of the dataset; `auto` is mnist where it can be had, else mnist-5k."""
    dir: UserPath | None = None
    """Folder with the dataset's files in torchvision's layout, MNIST/raw/... (null: the folder in
    $AECLI_DATA_DIR if that is set, then the user's cache, then a download)."""
    val: Annotated[int, Field(ge=0)] | None = None
    """Number of images held out of the training set for validation (null: a twelfth of it, which
    is 5,000 of mnist's)."""
    limit_train: PositiveInt | None = None
    """Number of images to train on, the first ones (null: all)."""


DATASET_NAMES: tuple[str, ...] = get_args(DataConfig.model_fields["dataset"].annotation)[1:]
"""Name of every dataset, without `auto`."""


def _name_the_default_codec(values: Any) -> Any:
    return {"name": "mlp"} | values if isinstance(values, dict) else values


if TYPE_CHECKING:
    CodecConfig = CodecSection
else:
    CodecConfig = Annotated[
        Annotated[Union[tuple(CODECS.values())], Field(discriminator="name")],  # noqa: UP007
        BeforeValidator(_name_the_default_codec),
    ]


class FitConfig(Section):
    """Training of a network. A recipe sets every key that is not set beside it."""

    recipe: Literal["muon", "chapter"] = "muon"
    """Set of values for all keys of `train`: `muon`, the defaults, reaches a low error in few
    epochs; `chapter` has the chapter's own values (Adam at a constant 0.001, in fp32). Which images
    train is another setting: the chapter holds none out, which is `data.val: 0`."""
    epochs: Annotated[int, Field(ge=1, le=100_000)] = 5
    """Number of passes over the training images."""
    batch_size: PositiveInt = 256
    """Number of images in a step."""
    optimizer: Literal["muon", "adam"] = "muon"
    """Optimiser; `muon` steps the weight matrices by Muon and the biases by Adam."""
    lr: PositiveFloat = 0.03
    """Highest learning rate; under the optimiser muon, the matrices' one."""
    adam_lr: PositiveFloat = 0.01
    """Highest learning rate of the biases under the optimiser muon; unused under adam."""
    momentum: Fraction = 0.9
    """Muon's momentum; unused under adam."""
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    """Fall of the learning rate after the warm-up; `linear` and `cosine` end at zero."""
    warmup: Fraction = 0.05
    """Fraction of all steps in which the learning rate rises to its highest value."""
    noise: Literal["none", "gaussian", "masking"] = "none"
    """Noise on the input but not on the target, as in a denoising autoencoder."""
    noise_level: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 0.3
    """Standard deviation of gaussian noise; for masking, the fraction of pixels set to zero."""
    elastic: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] = 0.0
    """Distance in pixels by which training images are bent, input and target alike (0: none)."""
    elastic_fraction: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.5
    """Fraction of each batch that is bent."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Number format of the matrix products in training; measurements are always fp32. `auto` is
    bf16 where the hardware is faster at it, else fp32."""
    muon_precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Number format of the matrix products inside Muon's step. `auto` is bf16, unless `precision`
    is fp32 and the hardware slow at bf16."""
    l1: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Weight of the codes' mean absolute value in the loss, as in a sparse autoencoder."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in_recipe(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        recipe = values.get("recipe", "muon")
        return RECIPES.get(recipe, {}) | values if isinstance(recipe, str) else values
