"""The experiments' settings as frozen, typed models; unknown keys and wrong types are errors."""

from collections import Counter
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from aecli.pathnames import user_path

CODE_DIM_OF_THE_CHAPTER = 32
PIXELS_OF_THE_CHAPTER = 28 * 28

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

PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
# A matrix of the two widest layers still has a size that torch can count.
Width = Annotated[int, Field(ge=1, le=10**9)]
Widths = Annotated[  # a YAML list becomes a tuple
    tuple[Width, ...], Strict(False), Field(max_length=64)
]
Workers = Annotated[int, Field(ge=1, le=1024)]


def _with_home(path: str) -> str:
    if not path:
        raise PydanticCustomError("path", "must be a path")
    return str(user_path(path))


UserPath = Annotated[str, AfterValidator(_with_home)]


class Section(BaseModel):
    """The rules every part of a config keeps."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True
    )


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


class CodecSection(Section):
    """Settings of one kind of codec."""

    solved: ClassVar[bool] = False
    """True if it is solved for, so that nothing of `train` is used."""


class MlpConfig(CodecSection):
    """Multilayer perceptron from the pixels to the code, and its mirror image back."""

    name: Literal["mlp"] = "mlp"
    code_dim: Width = CODE_DIM_OF_THE_CHAPTER
    """Size of the code, in numbers."""
    hidden: Widths = (256, 64)
    """Widths of the encoder's hidden layers; the decoder has the same in reverse."""


class LinearConfig(CodecSection):
    """Linear map from the pixels to the code and one back; the best one spans PCA's subspace."""

    name: Literal["linear"] = "linear"
    code_dim: Width = CODE_DIM_OF_THE_CHAPTER
    """Size of the code, in numbers."""


class PcaConfig(CodecSection):
    """Principal component analysis, solved exactly."""

    solved: ClassVar[bool] = True
    name: Literal["pca"] = "pca"
    code_dim: Width = CODE_DIM_OF_THE_CHAPTER
    """Size of the code, in numbers."""


class DctConfig(CodecSection):
    """Lowest-frequency coefficients of the discrete cosine transform; nothing is learned."""

    solved: ClassVar[bool] = True
    name: Literal["dct"] = "dct"
    code_dim: Width = CODE_DIM_OF_THE_CHAPTER
    """Size of the code, in numbers."""


def _name_the_default_codec(values: Any) -> Any:
    return {"name": "mlp"} | values if isinstance(values, dict) else values


CodecConfig = Annotated[
    Annotated[MlpConfig | LinearConfig | PcaConfig | DctConfig, Field(discriminator="name")],
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


class ExperimentConfig(Section):
    """Settings that every experiment has."""

    experiment: str
    """Name of the command."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$")] | None = None
    """Word in the run folder's name (null: made of the settings, such as codec and code_dim)."""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    """Seed for the initial weights, the order of the images, and all else that is drawn."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Device to compute on; `auto` is cuda where there is one, else cpu."""
    threads: Workers | None = None
    """Number of CPU threads (null: one per core that this process may use)."""
    checkpoint_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 30.0
    """Seconds between two saves of a training's exact state (0: save after every step)."""
    data: DataConfig = DataConfig()
    """Images."""


class NetworkConfig(ExperimentConfig):
    """Settings of an experiment that trains a codec."""

    codec: CodecConfig = MlpConfig()
    """Codec: what encodes images to codes and decodes codes to images."""
    train: FitConfig = FitConfig()
    """Training of the codec."""


class TrainConfig(NetworkConfig):
    """Settings of `aecli train`, which trains one codec and measures it against PCA."""

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
    """Settings of an experiment that trains many codecs, several at a time.

    `threads` is the number for each training, 1 if it is null, so that the numbers do not depend on
    `jobs`. No image is held out for validation by default (`data.val: 0`), as in the chapter:
    nothing is chosen by a validation error here.
    """

    NO_EFFECT: ClassVar[dict[str, str]] = {
        "checkpoint_seconds": "each training is saved when it is done, not before",
        "codec.code_dim": "code_dims says which are trained",
    }
    """Keys of all experiments that change nothing here, with the reason."""

    device: Literal["auto", "cpu"] = "auto"
    """Device to compute on: many trainings run on the CPU, each on `threads` of its threads."""
    data: DataConfig = DataConfig(val=0)
    """Images."""
    train: FitConfig = FitConfig(recipe="muon", batch_size=128, momentum=0.95)
    """Training of each codec. Half the batch size of `aecli train` takes twice the time and
    reaches a lower error at small codes."""

    seeds: Annotated[int, Field(ge=1, le=1000)] = 3
    """Number of trainings of each codec, with the seeds `seed`, `seed` + 1, ..."""
    jobs: Workers | None = None
    """Number of trainings at the same time (null: one per core that this process may use)."""

    @field_validator("device", mode="before")
    @classmethod
    def _train_on_the_cpu(cls, device: Any) -> Any:
        if device in ("cuda", "mps"):
            raise PydanticCustomError("device", "many trainings run on the CPU, side by side")
        return device


def without_layers(codec: CodecSection, pixels: int) -> MlpConfig | None:
    """The codec of the row that a sweep adds to that of `codec`: one without hidden layers, where
    the code is as large as the image and the layers before it are narrower; None elsewhere."""
    if not isinstance(codec, MlpConfig) or codec.code_dim < pixels:
        return None
    narrow = min(codec.hidden, default=codec.code_dim) < codec.code_dim
    return codec.model_copy(update={"hidden": ()}) if narrow else None


class SweepConfig(ManyConfig):
    """Settings of `aecli sweep-codedim`, which measures the chapter's trade-off table."""

    experiment: Literal["sweep-codedim"] = "sweep-codedim"
    code_dims: CodeDims = (2, 8, 32, 784)
    """Code dimensions, a row of the table each."""
    variants: Annotated[
        tuple[Literal["plain", "gaussian", "masking", "sparse"], ...],
        Strict(False),
        Field(min_length=1),
    ] = ("plain",)
    """Ways to train each codec: `plain`, with `gaussian` or `masking` noise on the input, or
    `sparse`, with an L1 penalty on the code."""

    @property
    def wide_dims(self) -> tuple[int, ...]:
        """The code dimensions that have one more row, without hidden layers."""
        codecs = {k: self.codec.model_copy(update={"code_dim": k}) for k in self.code_dims}
        return tuple(k for k in codecs if without_layers(codecs[k], PIXELS_OF_THE_CHAPTER))


class PcaCompareConfig(ManyConfig):
    """Settings of `aecli pca-compare`: network, linear autoencoder, PCA and DCT compared."""

    experiment: Literal["pca-compare"] = "pca-compare"
    code_dims: CodeDims = (2, 8, 16, 32)
    """Code dimensions, a point of the curves each."""


class TrainedConfig(NetworkConfig):
    """Settings of an experiment that looks into one trained codec."""

    run: UserPath | None = None
    """Run whose model is used: its folder, its name in the folder of the runs, or `latest`
    (null: train `codec` first)."""


Digit = Annotated[int, Field(ge=0, le=9)]
Index = Annotated[int, Field(ge=0)]


class InterpolateConfig(TrainedConfig):
    """Settings of `aecli interpolate`: straight lines between the codes of test images."""

    experiment: Literal["interpolate"] = "interpolate"
    codec: CodecConfig = MlpConfig(code_dim=2)
    """Codec: what encodes images to codes and decodes codes to images."""
    from_digit: Digit | None = None
    """Digit of the test image to start at, which is then drawn (null: any)."""
    to_digit: Digit | None = None
    """Digit of the test image to end at, which is then drawn (null: another than the start's)."""
    from_index: Index | None = None
    """Index of the test image to start at, from 0 (null: drawn until one decodes as its
    digit, 50 times at most)."""
    to_index: Index | None = None
    """Index of the test image to end at, from 0 (null: drawn until one decodes as its
    digit, 50 times at most)."""
    steps: Annotated[int, Field(ge=2, le=100)] = 10
    """Number of codes on the line, its two ends included."""
    pairs: Annotated[int, Field(ge=1, le=100_000)] = 500
    """Number of random pairs of different digits that the rates are measured on."""

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
    """Settings of `aecli sample`: images decoded from codes that no image was encoded to."""

    experiment: Literal["sample"] = "sample"
    samples: Annotated[int, Field(ge=10, le=100_000)] = 2000
    """Number of codes that each sampler draws."""


class ReproduceConfig(ManyConfig):
    """Settings of `aecli reproduce`, which measures and judges every claim of the chapter."""

    NO_EFFECT: ClassVar[dict[str, str]] = {
        **ManyConfig.NO_EFFECT,
        "codec.code_dim": "the claims say which are trained",
    }

    experiment: Literal["reproduce"] = "reproduce"
    quick: bool = False
    """Use few images, epochs and pairs: a look in some minutes, marked as one."""

    @model_validator(mode="after")
    def _train_the_chapters_network(self) -> "ReproduceConfig":
        if not isinstance(self.codec, MlpConfig):
            raise PydanticCustomError(
                "codec",
                f"codec.name={self.codec.name}: the claims are about a network with hidden layers;"
                " reproduce judges codec.name=mlp only",
            )
        if min(self.codec.hidden, default=PIXELS_OF_THE_CHAPTER) >= PIXELS_OF_THE_CHAPTER:
            raise PydanticCustomError(
                "hidden",
                f"codec.hidden={list(self.codec.hidden)}: one of the claims is about hidden layers"
                f" narrower than a code of {PIXELS_OF_THE_CHAPTER}; reproduce needs such a layer",
            )
        return self


EXPERIMENTS: dict[str, type[ExperimentConfig]] = {
    "train": TrainConfig,
    "sweep-codedim": SweepConfig,
    "pca-compare": PcaCompareConfig,
    "interpolate": InterpolateConfig,
    "sample": SampleConfig,
    "reproduce": ReproduceConfig,
}
