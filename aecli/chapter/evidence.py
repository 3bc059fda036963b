"""The measurements that the chapter's claims are judged by."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any, Generic, TypeVar

from aecli.chapter.codes import CodeReading
from aecli.chapter.linear import Advantage, LinearCheck

K = TypeVar("K")
V = TypeVar("V")
U = TypeVar("U")

FULL = 50_000
"""Number of training images below which a training says little of what the chapter's would give."""
DIMS = 2, 8, 32
"""Code dimensions of the table that are smaller than the image."""
SELDOM = 0.2
"""Share of codes or of paths in holes up to which they are seldom there: one in five."""
ALMOST_SURELY = 0.9
"""Share of codes in holes above which a code almost surely is in one."""


class LostEvidenceError(Exception):
    """Evidence was asked for that could not be gathered; the message says why."""


@dataclass(frozen=True)
class Lost:
    """Stand-in for evidence that could not be gathered, and the reason."""

    reason: str


class Partial(dict[K, V], Generic[K, V]):
    """Evidence by key, some of which could not be gathered: asking for it raises LostEvidenceError.

    reason: why it could not.
    """

    def __init__(
        self, there: Mapping[K, V] | None = None, reason: str = "every one that it needs"
    ) -> None:
        super().__init__(there or {})
        self.reason = reason

    def __missing__(self, key: K) -> V:
        raise LostEvidenceError(self.reason)

    def mapped(self, change: Callable[[V], U]) -> "Partial[K, U]":
        """The same with every value changed; what is missing stays so."""
        return Partial({key: change(value) for key, value in self.items()}, self.reason)


@dataclass(frozen=True)
class Conversion:
    """A plain codec of one seed and the variational one that it became, both of code 32."""

    plain_test_mse: float
    test_mse: float
    """Error of what the means decode to."""
    plain_in_holes: float
    """The share of N(0, I) codes in a hole of the region that the codes of images occupy."""
    in_holes: float
    """The same of the variational codec, where the codes are drawn, one for each image."""
    plain_frechet: float
    """Frechet distance to the training images of what the plain codec decodes N(0, I) to."""
    frechet: float
    """The same of the variational codec."""
    fitted_frechet: float
    """The same of the plain codec, from a mixture of Gaussians fitted to its codes."""


@dataclass(frozen=True)
class ScarceClass:
    """Shares of a class's test images that are recognised as such by classifiers of one seed, in
    [0, 1]. Few training images of the class are there; a classifier sees as many as of any other
    class, and all but the few are what its field says."""

    repeated: float
    """The few again."""
    distorted: float
    """The few, each time bent in another way."""
    drawn: float
    """Images decoded from codes drawn of the class."""


@dataclass(frozen=True)
class NoiseTraining:
    """Errors of an overcomplete codec of one seed that was trained with noise on its input, and of
    the same one trained without (`plain_`)."""

    plain_restored: float
    restored: float
    """Error against clean test images of what is decoded from those with half of the pixels at 0,
    the noise of the training."""
    plain_shuffled: float
    shuffled: float
    """Error on images that are no digits: test images cut into squares, in another order."""


@dataclass(frozen=True)
class Work:
    """A measure of what codes of 32 are good for, in [0, 1], higher is better; a value for each
    seed of what is trained."""

    plain: Sequence[float]
    """By codes as aecli trains them."""
    deformed: Sequence[float]
    """By codes of the same net whose training deformed images, and had no label either."""
    pca: float
    pixels: float


@dataclass(frozen=True)
class Search:
    """Seconds of looking for the images nearest to one."""

    images: int
    """Number of images that are looked at."""
    codes_seconds: float
    """By codes of 32."""
    pixels_seconds: float


@dataclass(frozen=True)
class Storage:
    """Codes of 32 of one seed stored in bits, for test images."""

    bits_of_a_number: int
    bits: float
    """Bits of one image, without any header."""
    error_ratio: float
    """The error of what they decode to, over that of codes as they are."""
    jpeg_bits: float
    """Bits of one image as JPEG at the coarsest quality with no more error, without the header that
    all files share; at the finest if none is so good."""


@dataclass(frozen=True)
class AtFactor:
    """Codecs `dc` at one downsampling factor; a value for each seed."""

    test_mse: Sequence[float]
    bare_test_mse: Sequence[float]
    """The same without shortcuts past the layers that change the size."""
    train_mse: Sequence[Sequence[float]]
    """With shortcuts, per epoch: the running mean."""
    seconds: Sequence[float]
    """Seconds of an epoch with shortcuts."""


@dataclass(frozen=True)
class Drawn:
    """Codes drawn from N(0, I), in units of the deviation of all codes, for a codec `kl` trained
    with one weight of the divergence; a value for each seed."""

    in_holes: Sequence[float]
    """The share of them in a hole of the region that the codes of images occupy."""
    frechet: Sequence[float]
    """Frechet distance to the training images of what they decode to."""


@dataclass(frozen=True)
class Midpoints:
    """The image halfway between two others, which are it turned to one side and to the other."""

    degrees: float
    pixels: float
    """Error of the mean of both images."""
    codes: Sequence[float]
    """Error of what the mean of both codes decodes to; a value for each seed."""
    decoded: Sequence[float]
    """Error of the decoded image itself: what the codec costs anyhow."""


@dataclass(frozen=True)
class LatentDiffusion:
    """Measurements of latent diffusion's autoencoders, trained on a few of the images."""

    images: int
    """Number of training images."""
    numbers: int
    """Numbers of each code."""
    factors: Mapping[int, AtFactor]
    drawn: Mapping[float, Drawn]
    """By the weight of the divergence."""
    midpoints: Midpoints
    decoder_operations: int
    """Floating-point operations of decoding one code by `kl` at the finest factor."""
    block_operations: int
    """Operations of one transformer block over the image's pixels, a token each."""
    block_side: int
    """Side of the images, in pixels, that a block's seconds are for."""
    block_seconds: Mapping[int, float]
    """Factor -> seconds of one transformer block over the places of a code, a token each."""
    pixels_to_a_number: Mapping[str, float]
    """Published shape of a code, as `f32c32` -> an image's numbers over its code's."""

    @property
    def finest(self) -> AtFactor:
        return self.factors[min(self.factors)]

    @property
    def coarsest(self) -> AtFactor:
        return self.factors[max(self.factors)]


@dataclass(frozen=True)
class OnePiece:
    """Shares of images whose ink is one connected piece (`measure.ink`), in [0, 1]."""

    real: float
    decoded: Mapping[int, Sequence[float]]
    """Code dimension -> of what the codec of each seed decodes test images to."""
    pca: Mapping[int, float]
    """The same of PCA's images."""


@dataclass(frozen=True)
class Listings:
    """The linear case of one code dimension by the two listings of `chapter.listings`."""

    code_dim: int
    closed_lines: int
    gradient_lines: int
    closed_seconds: float
    gradient_seconds: float
    """Until the error was within 1% of PCA's, or until it was given up."""
    gradient_epochs: int
    excess_percent: float
    """Excess of the training error over PCA's then."""
    angle_degrees: float
    """The largest angle between both subspaces then."""


@dataclass(frozen=True)
class Turn:
    """The path of an image that is turned, mean over images."""

    chord: float
    """The distance between the ends of a quarter turn over the length of the path; 1 of a line."""
    dimension: float
    """The effective dimension of the whole turn (`measure.paths`); 1 of a line."""


@dataclass(frozen=True)
class Deleted:
    """Error on test images after one unit of a code of 32 was set to its mean; of one seed."""

    mse: Sequence[float]
    """By unit."""
    whole_mse: float
    """With all units."""

    @property
    def rank(self) -> int:
        """The place of unit 0 among the units, 1 for the one whose loss costs most."""
        return 1 + sum(error > self.mse[0] for error in self.mse)


@dataclass(frozen=True)
class InRange:
    """Codes of one seed, drawn evenly from the range that each unit has over training images: the
    middle 99% of its values."""

    in_holes: float
    """The share of them in a hole, in [0, 1]."""
    turning: float
    """Number by which the distance at which holes begin would have to be multiplied, for a share of
    `SELDOM` of them to be in holes."""


@dataclass(frozen=True)
class Step:
    """Straight paths between two images' codes at one place, means over many paths, in [0, 1]."""

    t: float
    in_hole: float
    incoherent: float
    """The share whose decoded image the classifier gives no class more than an even chance."""
    both: float


@dataclass(frozen=True)
class Evidence:
    """Everything that was measured; a sequence has a value per seed.

    A field may be `Lost` instead: reading it raises LostEvidenceError with the reason. Numbers
    called `chapter_*` come from the chapter's own recipe, the others from aecli's.
    """

    dataset: str
    train_images: int
    classes: int
    quick: bool
    digits: bool
    """True if the images are handwritten digits."""
    chapter_recipe: str
    """The chapter's training, in words."""
    recipe: str
    """aecli's training, in words."""
    code_shape: tuple[int, ...]
    reconstruction_shape: tuple[int, ...]
    compression_ratios: Mapping[int, float]
    chapter_train_mse: Mapping[int, Sequence[Sequence[float]]]
    """Code dimension -> per seed, per epoch: the running mean that the chapter's loop prints."""
    chapter_test_mse: Mapping[int, Sequence[float]]
    test_mse: Mapping[int, Sequence[float]]
    wide_test_mse: Sequence[float]
    """Test mse of a code of 784 without hidden layers."""
    wide_probe_accuracy: float
    raw_probe_accuracy: float
    wide_knn_accuracy: float
    raw_knn_accuracy: float
    narrowest_784: int
    mean_image_test_mse: float
    pca_test_mse: Mapping[int, float]
    code2_knn_accuracy: float
    advantages: Sequence[Advantage]
    linear_checks: Sequence[LinearCheck]
    unit_order: Sequence[float]
    """Code 32: the rank correlation of a unit's index and its variance; PCA's is -1."""
    unit_correlation: Sequence[float]
    """Code 32: the mean absolute correlation of two units."""
    pca_unit_correlation: float
    chapter_smear: tuple[float, float]
    """Median lowest and highest pixel of the image decoded from one N(0, I) code."""
    smear_trained: tuple[float, float]
    smear_untrained: tuple[float, float]
    normal_in_hole: float
    """The share of N(0, I) codes in a hole of the code-32 region."""
    code_deviations: Sequence[tuple[float, float]]
    """Code 32: per seed and recipe, the smallest and the largest standard deviation of a unit."""
    code_centres: Sequence[tuple[float, float]]
    """Code 32: per seed and recipe, the smallest and the largest mean of a unit."""
    leaving_2: float
    """The share of straight paths at code 2 that pass through a hole."""
    leaving_32: float
    leaving_pca_2: float
    frechet: Mapping[str, float]
    """Sampler -> Frechet distance in the classifier's features; `floor`: real test images."""
    conversions: Sequence[Conversion]
    scarce_class: str
    """The class that was cut, as a sentence names it, and to how many training images."""
    scarce: Sequence[ScarceClass]
    """None where the class has too few training images to be cut."""
    noise_trainings: Sequence[NoiseTraining]
    """None where the trainings without noise of its own have some too."""
    ordered_unit_order: Sequence[float]
    """The same as `unit_order`, of codes that were trained to be ordered."""
    ordered_test_mse: Sequence[float]
    """Code 32, the whole of it."""
    work: Mapping[str, Work]
    """Measures of codes of 32 at work, by name; one is not there for too few images."""
    search: Search
    storage: Sequence[Storage]
    """None of images that JPEG does not hold: of other channels than 1 or 3, or with masks."""
    latent_diffusion: LatentDiffusion | str
    """The reason in words where nothing was measured."""
    readings: Mapping[int, CodeReading]
    """Code dimension -> what simple readers find in the codes, mean over seeds."""
    one_piece: OnePiece | None
    """None of images that are no digits."""
    variance_gaps: Mapping[str, float]
    """Linear codec of 32 numbers -> by how much the variance it keeps and the squared error it
    leaves miss the whole variance of the test images, as a share of it."""
    listings: Listings
    turn_of_pixels: Turn
    turn_of_pca: Turn
    turns_of_codes: Sequence[Turn]
    """Paths of codes of 32, as PCA's is."""
    deleted: Sequence[Deleted]
    pca_deleted: Deleted
    largest_correlation: Sequence[float]
    """Code 32: the largest absolute correlation of two units."""
    in_range: Mapping[int, Sequence[InRange]]
    """By code dimension."""
    empty: Sequence[float]
    """Code 2: the share of the area between the codes, their convex hull, that is a hole."""
    normal_turning: float
    """The same as `InRange.turning`, of N(0, I) codes of 32, for a share of `ALMOST_SURELY`."""
    steps: Mapping[int, Sequence[Step]]
    """Code dimension -> places of the paths, from t = 0 to 1."""

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if isinstance(value, Lost):
            raise LostEvidenceError(value.reason)
        return value

    @property
    def short(self) -> str:
        """Words on why the training was too short for most claims; empty if it was not."""
        if self.quick:
            return "quick"
        if self.train_images >= FULL:
            return ""
        return "mnist-5k" if self.dataset == "mnist-5k" else f"{self.train_images:,} images"

    def printed_by_the_loop(self, code_dim: int) -> list[float]:
        """The training mse of the last epoch, per seed: what the chapter's loop prints at last."""
        return [seed[-1] for seed in self.chapter_train_mse[code_dim]]


def over_seeds(values: Sequence[float], digits: int = 4) -> str:
    """Mean and standard deviation in words: `0.0192 ± 0.0003`."""
    if len(values) == 1:
        return f"{values[0]:.{digits}f} (1 seed)"
    return f"{fmean(values):.{digits}f} ± {stdev(values):.{digits}f}"


def percent(share: float) -> str:
    """A share in words: `95.1%`."""
    return f"{100 * share:.1f}%"


def in_all(seeds: int) -> str:
    """The seeds in which something is so, in words: `in all 3 seeds`."""
    return "in the only seed" if seeds == 1 else f"in all {seeds} seeds"


def agrees(printed: float, values: Sequence[float], rounding: float = 0.00005) -> bool:
    """True if a printed number is what was measured: within 3 standard deviations, 2%, or the
    half unit of its last digit that it was rounded by."""
    sd = stdev(values) if len(values) > 1 else 0.0
    return abs(fmean(values) - printed) <= max(3 * sd, 0.02 * printed, rounding)
