"""The experiments' settings as frozen, typed models; unknown keys and wrong types are errors."""

from collections import Counter
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    model_validator,
)
from pydantic_core import PydanticCustomError

CODE_DIM_OF_THE_CHAPTER = 32

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
    },
}

PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
# A matrix of the two widest layers still has a size that torch can count.
Width = Annotated[int, Field(ge=1, le=10**9)]
Widths = Annotated[  # a YAML list becomes a tuple
    tuple[Width, ...], Strict(False), Field(max_length=64)
]
Workers = Annotated[int, Field(ge=1, le=1024)]


class Section(BaseModel):
    """The rules every part of a config keeps."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True
    )


class DataConfig(Section):
    """Which images, and how they are split."""

    dataset: Literal["auto", "mnist", "fashion-mnist", "mnist-5k"] = "auto"
    """`auto` is mnist where it can be had, else mnist-5k."""
    dir: str | None = None
    """A folder in torchvision's layout, looked into first (default: $AECLI_DATA_DIR)."""
    val: Annotated[int, Field(ge=0)] | None = None
    """Images held out of the training set for validation (null: a twelfth of it; mnist 5,000)."""
    limit_train: PositiveInt | None = None
    """Train on the first so many images only (null: all)."""


class MlpConfig(Section):
    """A multilayer perceptron that funnels the pixels into the code, and its mirror image."""

    name: Literal["mlp"] = "mlp"
    code_dim: Width = CODE_DIM_OF_THE_CHAPTER
    hidden: Widths = (256, 64)
    """Widths of the encoder's hidden layers; the decoder mirrors them."""


class LinearConfig(Section):
    """One linear map down and one up: its optimum spans PCA's subspace."""

    name: Literal["linear"] = "linear"
    code_dim: Width = CODE_DIM_OF_THE_CHAPTER


class PcaConfig(Section):
    """Principal component analysis, solved exactly."""

    name: Literal["pca"] = "pca"
    code_dim: Width = CODE_DIM_OF_THE_CHAPTER


class DctConfig(Section):
    """The lowest-frequency coefficients of the discrete cosine transform; nothing is learned."""

    name: Literal["dct"] = "dct"
    code_dim: Width = CODE_DIM_OF_THE_CHAPTER


def _name_the_default_codec(values: Any) -> Any:
    return {"name": "mlp"} | values if isinstance(values, dict) else values


CodecConfig = Annotated[
    Annotated[MlpConfig | LinearConfig | PcaConfig | DctConfig, Field(discriminator="name")],
    BeforeValidator(_name_the_default_codec),
]


class FitConfig(Section):
    """How a network is trained. A recipe fills in whatever is not set beside it."""

    recipe: Literal["muon", "chapter"] = "muon"
    """`muon`: the chapter's net made the most of; `chapter`: exactly as the chapter trains it."""
    epochs: Annotated[int, Field(ge=1, le=100_000)] = 5
    batch_size: PositiveInt = 256
    optimizer: Literal["muon", "adam"] = "muon"
    """`muon` steps the weight matrices by Muon and the rest by Adam."""
    lr: PositiveFloat = 0.03
    """Peak learning rate (of the matrices, under muon)."""
    adam_lr: PositiveFloat = 0.01
    """Peak learning rate of what Muon does not step; unused under adam."""
    momentum: Fraction = 0.9
    """Muon's momentum; unused under adam."""
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    """How the learning rate falls after the warm-up; linear and cosine end at zero."""
    warmup: Fraction = 0.05
    """The fraction of all steps over which the learning rate rises to its peak."""
    noise: Literal["none", "gaussian", "masking"] = "none"
    """What is done to the input, not to the target: a denoising autoencoder."""
    noise_level: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 0.3
    """Of gaussian noise the standard deviation; of masking the fraction of pixels set to zero."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of the matrix products in training, never of a measurement; `auto` is bf16 where the hardware
    is faster at it."""
    l1: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """The weight of the codes' mean absolute value in the loss: a sparse autoencoder."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in_recipe(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        recipe = values.get("recipe", "muon")
        return RECIPES.get(recipe, {}) | values if isinstance(recipe, str) else values


class ExperimentConfig(Section):
    """What every experiment is told."""

    experiment: str
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$")] | None = None
    """A word for the run folder's name (null: codec and code dimension)."""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """`auto` is cuda where there is one, else cpu."""
    threads: Workers | None = None
    """CPU threads (null: one per core this process may use)."""
    checkpoint_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 30.0
    """Between two saves of a training's exact state (0: after every step)."""
    data: DataConfig = DataConfig()


class NetworkConfig(ExperimentConfig):
    """What an experiment is told that trains a codec."""

    codec: CodecConfig = MlpConfig()
    train: FitConfig = FitConfig()


class TrainConfig(NetworkConfig):
    """`aecli train`: fit one codec and measure it against PCA."""

    experiment: Literal["train"] = "train"


def _not_twice(code_dims: tuple[int, ...]) -> tuple[int, ...]:
    repeated = {code_dim for code_dim, times in Counter(code_dims).items() if times > 1}
    if repeated or not code_dims:
        raise PydanticCustomError(
            "repeated", f"{sorted(repeated)} stand twice" if repeated else "is empty"
        )
    return tuple(sorted(code_dims))


CodeDims = Annotated[Widths, AfterValidator(_not_twice)]


class ManyConfig(NetworkConfig):
    """What an experiment is told that trains many codecs, several at a time.

    `threads` is of each job, 1 if it is null, so that numbers do not depend on `jobs`. By default
    all training images train, as in the chapter: a table selects nothing.
    """

    data: DataConfig = DataConfig(val=0)
    train: FitConfig = FitConfig(recipe="muon", batch_size=128, momentum=0.95)
    """Half the batch of `train` alone: twice the time, and a lower error at small codes."""

    seeds: Annotated[int, Field(ge=1, le=1000)] = 3
    """How many seeds: `seed`, `seed` + 1, ..."""
    jobs: Workers | None = None
    """Trainings side by side (null: one per core this process may use)."""


class SweepConfig(ManyConfig):
    """`aecli sweep-codedim`: the chapter's trade-off table, measured."""

    experiment: Literal["sweep-codedim"] = "sweep-codedim"
    code_dims: CodeDims = (2, 8, 32, 784)
    variants: Annotated[
        tuple[Literal["plain", "gaussian", "masking", "sparse"], ...],
        Strict(False),
        Field(min_length=1),
    ] = ("plain",)
    """How each is trained: as `train` says, with gaussian or masking noise, or an L1 penalty."""


class PcaCompareConfig(ManyConfig):
    """`aecli pca-compare`: network, linear autoencoder, PCA and DCT on the same axes."""

    experiment: Literal["pca-compare"] = "pca-compare"
    code_dims: CodeDims = (2, 8, 16, 32)


class TrainedConfig(NetworkConfig):
    """What an experiment is told that looks into one trained codec."""

    run: str | None = None
    """A run folder with a model, or `latest`; null: train `codec` on the spot."""


Digit = Annotated[int, Field(ge=0, le=9)]
Index = Annotated[int, Field(ge=0)]


class InterpolateConfig(TrainedConfig):
    """`aecli interpolate`: straight lines between the codes of two test images."""

    experiment: Literal["interpolate"] = "interpolate"
    codec: CodecConfig = MlpConfig(code_dim=2)
    from_digit: Digit | None = None
    to_digit: Digit | None = None
    from_index: Index | None = None
    to_index: Index | None = None
    steps: Annotated[int, Field(ge=2, le=100)] = 10
    """Codes on the line, its two ends included."""
    pairs: Annotated[int, Field(ge=1, le=100_000)] = 500
    """Random pairs of different digits for the statistics."""

    @model_validator(mode="after")
    def _name_two_ends(self) -> "InterpolateConfig":
        mistakes = [
            f"{end}_digit={digit} and {end}_index={index} both choose the same end: give one"
            for end, digit, index in (
                ("from", self.from_digit, self.from_index),
                ("to", self.to_digit, self.to_index),
            )
            if digit is not None and index is not None
        ]
        if self.from_digit is not None and self.from_digit == self.to_digit:
            mistakes.append(f"to_digit={self.to_digit} must be another than from_digit")
        if self.from_index is not None and self.from_index == self.to_index:
            mistakes.append(f"to_index={self.to_index} must be another than from_index")
        if mistakes:
            raise PydanticCustomError("ends", "\n".join(mistakes))
        return self


class SampleConfig(TrainedConfig):
    """`aecli sample`: what decodes from codes that no image was encoded to."""

    experiment: Literal["sample"] = "sample"
    samples: Annotated[int, Field(ge=10, le=100_000)] = 2000
    """Drawn by each sampler."""


class ReproduceConfig(ManyConfig):
    """`aecli reproduce`: every claim of the chapter, measured and judged."""

    experiment: Literal["reproduce"] = "reproduce"
    quick: bool = False
    """Fewer images, epochs and pairs: a look in under three minutes, marked as such."""


EXPERIMENTS: dict[str, type[ExperimentConfig]] = {
    "train": TrainConfig,
    "sweep-codedim": SweepConfig,
    "pca-compare": PcaCompareConfig,
    "interpolate": InterpolateConfig,
    "sample": SampleConfig,
    "reproduce": ReproduceConfig,
}
