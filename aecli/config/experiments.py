"""Settings of every experiment as frozen, typed models; unknown keys and wrong types are errors."""

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, Strict, field_validator, model_validator
from pydantic_core import PydanticCustomError

from aecli.codecs.grid_settings import BETA_OF_LATENT_DIFFUSION, DcConfig
from aecli.codecs.settings import ConvConfig, MlpConfig
from aecli.config.sections import CodecConfig, DataConfig, ElboLoss, FitConfig, MuonConfig
from aecli.fields import (
    CodecSection,
    NetworkSection,
    PositiveInt,
    Section,
    UserPath,
    Width,
    Widths,
    Workers,
)

PIXELS_OF_THE_CHAPTER = 28 * 28

JOB_ENGINES = {
    "local": "aecli.training.workers:do_locally",
    "dask": "aecli.training.on_dask:do_on_dask",
}
"""Places where many trainings run, by name: module and function, as `do_locally` is called."""

if TYPE_CHECKING:
    JobEngine = str
else:
    JobEngine = Literal[tuple(JOB_ENGINES)]


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

    MAY_GO_ON_FROM_A_RUN: ClassVar[bool] = False
    """True if `train.init_from` may name a run."""

    codec: CodecConfig = MlpConfig()
    """Codec: what encodes images to codes and decodes codes to images."""
    train: FitConfig = FitConfig()
    """Training of the codec."""

    @model_validator(mode="before")
    @classmethod
    def _train_as_suits_the_codec(cls, values: Any) -> Any:
        """A variational codec's loss is `elbo` where none is named, that of `kl` with the published
        weight, and the recipe of a network beside a linear path is `gentle` where neither recipe
        nor optimiser is."""
        codec = values.get("codec") if isinstance(values, dict) else None
        is_kl = "kl" in (codec, _value(codec, "name"))
        variational, path = is_kl or _value(codec, "variational") is True, _value(codec, "path")
        if not variational and path in (None, "none"):
            return values
        train = values.get("train", cls.model_fields["train"].default)
        if isinstance(train, FitConfig):
            train = {key: getattr(train, key) for key in train.model_fields_set}
        if not isinstance(train, dict):
            return values
        loss, optimizer = train.get("loss", {}), train.get("optimizer", {})
        if variational and isinstance(loss, dict):
            loss = {"name": "elbo"} | loss
            weight = {"beta": BETA_OF_LATENT_DIFFUSION} if is_kl and loss["name"] == "elbo" else {}
            train = train | {"loss": weight | loss}
        is_named = "recipe" in train or not isinstance(optimizer, dict) or "name" in optimizer
        if path not in (None, "none") and not is_named:
            train = train | {"recipe": "gentle"}
        return values | {"train": train}

    @model_validator(mode="after")
    def _fit_loss_and_codec(self) -> "NetworkConfig":
        codec, loss = self.codec, self.train.loss
        mistake = None
        looks_into_a_run = getattr(self, "run", None) is not None
        if self.train.init_from is not None and not (self.MAY_GO_ON_FROM_A_RUN or looks_into_a_run):
            raise PydanticCustomError(
                "init_from", "train.init_from is for aecli train, and set by aecli to-vae"
            )
        if codec.is_variational and not isinstance(loss, ElboLoss):
            mistake = (
                f"train.loss.name={loss.name}: codec.variational=true is trained by the loss elbo"
            )
        elif isinstance(loss, ElboLoss) and not codec.is_variational:
            how = ": --variational, or codec.variational=true"
            if not isinstance(codec, NetworkSection) or not codec.convertible:
                how = f", which {codec.name!r} never is"
            mistake = f"train.loss.name=elbo needs a variational codec{how}"
        elif isinstance(loss, ElboLoss) and loss.likelihood == "bernoulli":
            assert isinstance(codec, NetworkSection)
            if not codec.ends_in_sigmoid:
                path = f" with path {codec.path}" if isinstance(codec, ConvConfig) else ""
                mistake = (
                    "train.loss.likelihood=bernoulli needs pixels between 0 and 1, and codec"
                    f" {codec.name}{path} ends in no sigmoid: take gaussian"
                )
        if mistake:
            raise PydanticCustomError("variational", mistake)
        if self.train.layers == "middle":
            if not isinstance(codec, NetworkSection) or not codec.has_middle:
                raise PydanticCustomError("layers", "train.layers=middle is for codec 'dc'")
            if self.train.init_from is None and getattr(codec, "from_pretrained", None) is None:
                raise PydanticCustomError(
                    "layers",
                    "train.layers=middle leaves the other layers as they are: name those of a run"
                    " in train.init_from, or a folder's in codec.from_pretrained",
                )
        return self


def _value(section: Any, key: str) -> Any:
    """A section's value, validated or not; None if it has none."""
    return section.get(key) if isinstance(section, dict) else getattr(section, key, None)


class TrainConfig(NetworkConfig):
    """Settings of `aecli train`, which trains one codec and measures it against PCA."""

    MAY_GO_ON_FROM_A_RUN: ClassVar[bool] = True

    experiment: Literal["train"] = "train"
    nll_samples: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    """Number of codes drawn of each image to estimate a variational codec's likelihood by."""
    nll_images: PositiveInt | None = None
    """Number of test images that it is estimated on, the first ones, or all if there are fewer
    (null: 1,000, or fewer where images are large)."""


def _not_twice(code_dims: tuple[int, ...]) -> tuple[int, ...]:
    repeated = sorted(code_dim for code_dim, times in Counter(code_dims).items() if times > 1)
    if repeated or not code_dims:
        more = f"{', '.join(map(str, repeated))} stand{'s' if len(repeated) == 1 else ''} twice"
        raise PydanticCustomError("repeated", more if repeated else "is empty")
    return tuple(sorted(code_dims))


CodeDims = Annotated[Widths, AfterValidator(_not_twice)]


class ManyConfig(NetworkConfig):
    """Settings of an experiment that trains many codecs, several at a time.

    `threads` is the number for each training, 1 if it is null, so that the numbers do not depend on
    `jobs`. No image is held out for validation by default (`data.val: 0`), as in the chapter:
    nothing is chosen by a validation error here.
    """

    NO_EFFECT: ClassVar[dict[str, str]] = {
        "codec.code_dim": "code_dims says which are trained",
    }
    """Keys of all experiments that change nothing here, with the reason."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device that trains: `cpu`, each training on `threads` of its threads, or `cuda`, spread over
    the GPUs that are there; `auto` is cuda where there is one. Measurements are made on the CPU."""
    data: DataConfig = DataConfig(val=0)
    """Images."""
    train: FitConfig = FitConfig(batch_size=128)
    """Training of each codec. Half the batch size of `aecli train` takes twice the time and
    reaches a lower error at small codes."""

    seeds: Annotated[int, Field(ge=1, le=1000)] = 3
    """Number of trainings of each codec, with the seeds `seed`, `seed` + 1, ..."""
    engine: JobEngine = "local"
    """Place where the trainings run: `local` is this machine's processes, `dask` the workers of a
    Dask cluster, which read the dataset themselves."""
    scheduler: Annotated[str, Field(min_length=1)] | None = None
    """Dask's scheduler: its address, as `tcp://host:8786`, or the file that it wrote (null: a
    cluster of `jobs` processes on this machine, started for this run)."""
    jobs: Workers | None = None
    """Number of trainings at the same time (null: one per core that this process may use, at most 4
    for each GPU where they run on these)."""

    @field_validator("device", mode="before")
    @classmethod
    def _train_side_by_side(cls, device: Any) -> Any:
        if device == "mps":
            raise PydanticCustomError("device", "many trainings run on the CPU or on CUDA's GPUs")
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
    ordered: bool = False
    """Train one codec for each seed, at the largest of `code_dims` and with `train.ordered`, and
    measure each row with the first units of its code. There is no row without hidden layers then:
    that would be another codec."""

    @model_validator(mode="after")
    def _order_plain_codes(self) -> "SweepConfig":
        if self.ordered and self.variants != ("plain",):
            raise PydanticCustomError(
                "together",
                f"ordered=true and variants={list(self.variants)}: an ordered code is trained in"
                " one way; set train.noise or train.loss for another than the plain one",
            )
        return self

    @model_validator(mode="after")
    def _leave_the_bound_whole(self) -> "SweepConfig":
        if self.codec.is_variational and "sparse" in self.variants:
            raise PydanticCustomError(
                "variants", "variants=sparse: codec.variational=true is trained by the loss elbo"
            )
        return self


class PcaCompareConfig(ManyConfig):
    """Settings of `aecli pca-compare`: network, linear autoencoder, PCA and DCT compared."""

    experiment: Literal["pca-compare"] = "pca-compare"
    code_dims: CodeDims = (2, 8, 16, 32)
    """Code dimensions, a point of the curves each."""


Factor = Literal[2, 4, 8, 16, 32, 64, 128]
SWEPT = ("dc", "dc-without-shortcuts", "kl", "conv")
"""Kinds of codecs that `sweep-downsampling` trains, in the order in which it tells of them."""

if TYPE_CHECKING:
    Kind = str
else:
    Kind = Literal[SWEPT]


def _once_each(code_dims: tuple[int, ...]) -> tuple[int, ...]:
    return _not_twice(code_dims) if code_dims else ()


def _of_swept(kinds: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(kind for kind in SWEPT if kind in kinds)


class SweepDownsamplingConfig(ManyConfig):
    """Settings of `aecli sweep-downsampling`: codes of as many numbers on ever coarser grids."""

    NO_EFFECT: ClassVar[dict[str, str]] = {
        "codec.downsampling": "downsamplings says which are trained",
        "codec.shortcuts": "codecs says if there are codecs without",
    }

    experiment: Literal["sweep-downsampling"] = "sweep-downsampling"
    codec: DcConfig = DcConfig(code_dim=256, width=8)
    """Codec: width, depth and numbers of the code of every one that is trained."""
    train: FitConfig = FitConfig(recipe="muon-256", epochs=3, batch_size=16, mirror=True)
    """Training of each codec."""
    seeds: Annotated[int, Field(ge=1, le=1000)] = 1
    """Number of trainings of each codec, with the seeds `seed`, `seed` + 1, ..."""
    downsamplings: Annotated[
        tuple[Factor, ...], Strict(False), Field(min_length=1), AfterValidator(_not_twice)
    ] = (8, 16, 32, 64, 128)
    """Factors by which height and width of the code are smaller than the image's."""
    codecs: Annotated[
        tuple[Kind, ...], Strict(False), Field(min_length=1), AfterValidator(_of_swept)
    ] = SWEPT
    """Kinds of codecs, trained at each factor: `dc`, the same without its shortcuts, `kl`, and
    `conv`."""
    fewer_at: Factor = 32
    """Factor at which codes of fewer numbers are trained too."""
    fewer: Annotated[Widths, AfterValidator(_once_each)] = (16, 64)
    """Those numbers, of `dc` alone (empty: none)."""
    quick: bool = False
    """Train one epoch, on the first 300 images, and no codes of fewer numbers: a look, not a
    result."""


class TrainedConfig(NetworkConfig):
    """Settings of an experiment that looks into one trained codec."""

    run: UserPath | None = None
    """Run whose model is used: its folder, its name in the folder of the runs, or `latest`
    (null: train `codec` first)."""


Index = Annotated[int, Field(ge=0)]


class InterpolateConfig(TrainedConfig):
    """Settings of `aecli interpolate`: straight lines between the codes of test images."""

    experiment: Literal["interpolate"] = "interpolate"
    codec: CodecConfig = MlpConfig(code_dim=2)
    """Codec: what encodes images to codes and decodes codes to images."""
    from_digit: Index | None = None
    """Digit, or class of other images by its index, to start at: one of its test images is drawn
    (null: any)."""
    to_digit: Index | None = None
    """Digit, or class of other images by its index, to end at: one of its test images is drawn
    (null: another than the start's)."""
    from_index: Index | None = None
    """Index of the test image to start at, from 0 (null: drawn until one decodes as its
    class, 50 times at most)."""
    to_index: Index | None = None
    """Index of the test image to end at, from 0 (null: drawn until one decodes as its
    class, 50 times at most)."""
    steps: Annotated[int, Field(ge=2, le=100)] = 10
    """Number of codes on the line, its two ends included."""
    pairs: Annotated[int, Field(ge=1, le=100_000)] = 500
    """Number of random pairs of different digits, or classes, that the rates are measured on; of
    different images where they have no labels."""

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
    per_class: bool = False
    """Draw images of each class too, where the images have labels: what is drawn of a class is told
    from the codes of its images."""


class ToVaeConfig(NetworkConfig):
    """Settings of `aecli to-vae`: a trained autoencoder made variational and trained on."""

    MAY_GO_ON_FROM_A_RUN: ClassVar[bool] = True

    experiment: Literal["to-vae"] = "to-vae"
    run: UserPath | None = None
    """Run whose codec is converted: its folder, its name in the folder of the runs, or `latest`."""
    codec: CodecConfig = MlpConfig(variational=True)
    """Codec: that of the run, variational."""
    train: FitConfig = FitConfig(
        epochs=20, optimizer=MuonConfig(lr=0.02, momentum=0.9), loss=ElboLoss(beta=12.0)
    )
    """Training of the converted codec."""
    samples: Annotated[int, Field(ge=10, le=100_000)] = 2000
    """Number of codes that each sampler draws."""
    betas: Annotated[
        tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...], Strict(False)
    ] = ()
    """Further weights of the divergence, a conversion each, for the curve of what they cost."""


PARTS = ("classification", "clustering", "retrieval", "anomaly", "robustness")
"""Parts of `aecli evaluate`, in the order in which it tells of them."""

if TYPE_CHECKING:
    Part = str
else:
    Part = Literal[PARTS]


def _in_order(parts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(part for part in PARTS if part in parts)


class AnomalySection(Section):
    """Settings of the codecs that learn one class alone, for the part `anomaly`."""

    code_dim: Width | None = None
    """Size of their code, in numbers (null: that of `codec`)."""
    epochs: PositiveInt = 30
    """Number of passes over the images of the class, which are few of all."""
    batch_size: PositiveInt = 128
    """Number of images in a step; fewer where a class has less than 16 times as many."""


class EvaluateConfig(ManyConfig, TrainedConfig):
    """Settings of `aecli evaluate`: codes at work, beside PCA's and pixels."""

    NO_EFFECT: ClassVar[dict[str, str]] = {}

    experiment: Literal["evaluate"] = "evaluate"
    parts: Annotated[
        tuple[Part, ...], Strict(False), Field(min_length=1), AfterValidator(_in_order)
    ] = PARTS
    """Parts to measure."""
    anomaly: AnomalySection = AnomalySection()
    """Codecs that learn one class alone."""
    seeds: Annotated[int, Field(ge=1, le=1000)] = 3
    """Number of seeds `seed`, `seed` + 1, ...: a training of the codec with each, if there is no
    run, and of each class's; and a draw of labels, starts and noise with each."""

    @field_validator("parts", mode="before")
    @classmethod
    def _split_at_commas(cls, parts: Any) -> Any:
        return [part.strip() for part in parts.split(",")] if isinstance(parts, str) else parts

    @property
    def seeds_of_trainings(self) -> range:
        """Seeds that a codec is trained with: one for what is solved for."""
        return range(self.seed, self.seed + (1 if self.codec.solved else self.seeds))

    @property
    def trains_codecs_of_all(self) -> bool:
        """True if codecs of all classes are trained: there is no run, and not `anomaly` alone."""
        return self.run is None and self.parts != ("anomaly",)


class ReproduceConfig(ManyConfig):
    """Settings of `aecli reproduce`, which measures and judges every claim of the chapter."""

    NO_EFFECT: ClassVar[dict[str, str]] = {"codec.code_dim": "the claims say which are trained"}

    experiment: Literal["reproduce"] = "reproduce"
    train: FitConfig = FitConfig()
    """Training of each codec that is aecli's and not the chapter's: as `aecli train` trains."""
    quick: bool = False
    """Use few images, epochs and pairs: a look in some minutes, marked as one."""

    @model_validator(mode="after")
    def _train_the_chapters_network(self) -> "ReproduceConfig":
        if self.data.is_own:
            raise PydanticCustomError(
                "dataset",
                f"data.dataset={self.data.dataset}: the claims are about handwritten digits;"
                " reproduce takes a known dataset",
            )
        if not isinstance(self.codec, MlpConfig):
            raise PydanticCustomError(
                "codec",
                f"codec.name={self.codec.name}: the claims are about a network with hidden layers;"
                " reproduce judges codec.name=mlp only",
            )
        if self.train.ordered:
            raise PydanticCustomError(
                "ordered",
                "train.ordered=true: the claims are about codes whose units have no order",
            )
        if self.data.binarise != "none":
            raise PydanticCustomError(
                "binarise",
                f"data.binarise={self.data.binarise}: the claims are about grey digits",
            )
        if self.codec.variational:
            raise PydanticCustomError(
                "variational", "codec.variational=true: the claims are about a plain autoencoder"
            )
        if min(self.codec.hidden, default=PIXELS_OF_THE_CHAPTER) >= PIXELS_OF_THE_CHAPTER:
            raise PydanticCustomError(
                "hidden",
                f"codec.hidden={list(self.codec.hidden)}: one of the claims is about hidden layers"
                f" narrower than a code of {PIXELS_OF_THE_CHAPTER}; reproduce needs such a layer",
            )
        return self
