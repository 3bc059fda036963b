"""Flags of the experiments, each declared once: its config key, how it is typed, what it does.

Types, choices and defaults stand here as words, and a test holds them against the models of the
config: to read them from there would import pydantic and build every model for `--help`, which
takes two to three times as long as typer itself.
"""

import inspect
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from aecli.cli.options import alternatives, completing


@dataclass(frozen=True)
class Flag:
    """A flag, or an argument, that sets a key of the config or a field of Options."""

    name: str
    key: str
    """Config key, as codec.code_dim; or a field of Options."""
    kind: Any
    metavar: str | None
    """None for a flag without a value."""
    help: str
    of_many: bool = False
    """True if the key is a field of Options: a way to run many trainings, no setting."""
    least: float | None = None
    words: tuple[str, ...] = ()
    """Values among which it is one, where its metavar does not name them."""

    @property
    def parameter(self) -> str:
        """The name of the command's parameter."""
        return self.key.replace(".", "_")

    def as_parameter(self) -> inspect.Parameter:
        """The parameter of a function that typer makes a command of; its default is None."""
        info: Any
        if self.name.startswith("-"):
            words = self.words or alternatives(self.metavar)
            info = typer.Option(
                self.name,
                metavar=self.metavar,
                help=self.help,
                min=self.least,
                autocompletion=completing(words) if words else None,
            )
        else:
            info = typer.Argument(metavar=self.metavar, help=self.help, show_default=False)
        always = self.of_many and self.kind is bool
        return inspect.Parameter(
            self.parameter,
            inspect.Parameter.KEYWORD_ONLY,
            annotation=Annotated[self.kind if always else self.kind | None, info],
            default=False if always else None,
        )


def _code_dim(default: int) -> Flag:
    text = f"Size of the code, in numbers (default: {default})."
    return Flag("--code-dim", "codec.code_dim", int, "K", text)


def _code_dims(default: str) -> Flag:
    text = f"Sizes of the code to train, in numbers (default: {default})."
    return Flag("K", "code_dims", list[int], "K", text)


def _end(key: str, metavar: str, text: str) -> Flag:
    return Flag(f"--{key.replace('_', '-')}", key, int, metavar, text)


CODEC = Flag(
    "--codec",
    "codec.name",
    str,
    "NAME",
    "Codec to train, or to solve for: mlp, a network; conv, a convolutional one; kl and dc, those"
    " of latent diffusion, whose code is a grid; linear, the linear case; pca; dct, the discrete"
    " cosine transform; rotated-dct, the same of rotated colours; or thumbnail, a smaller picture"
    " (default: mlp).",
    words=("mlp", "conv", "kl", "dc", "linear", "pca", "dct", "rotated-dct", "thumbnail"),
)
FROM_PRETRAINED = Flag(
    "--from-pretrained",
    "codec.from_pretrained",
    str,
    "DIR",
    "Folder of a model as diffusers saves one, AutoencoderKL or AutoencoderDC, to go on training;"
    " with --set codec.frozen=true it stays as it is (default: none).",
)
VARIATIONAL = Flag(
    "--variational",
    "codec.variational",
    bool,
    None,
    "Encode each image as a Gaussian of codes, so that codes of N(0, I) decode to images.",
)
RECIPE = Flag(
    "--recipe",
    "train.recipe",
    str,
    "muon|chapter|gentle",
    "Set of training settings: muon reaches a low error in few epochs, chapter trains as the"
    " chapter does, gentle is for a network beside a linear path (default: muon).",
)
EPOCHS = Flag(
    "--epochs",
    "train.epochs",
    int,
    "N",
    "Number of passes over the training images (default: 5).",
)
EPOCHS_OF_GRIDS = Flag(
    "--epochs",
    "train.epochs",
    int,
    "N",
    "Number of passes over the training images (default: 3).",
)
EPOCHS_OF_CONVERSION = Flag(
    "--epochs",
    "train.epochs",
    int,
    "N",
    "Number of passes over the training images (default: 20).",
)
BATCH_SIZE = Flag(
    "--batch-size", "train.batch_size", int, "N", "Number of images in a step (default: 256)."
)
BATCH_SIZE_OF_CONVERSION = Flag(
    "--batch-size",
    "train.batch_size",
    int,
    "N",
    "Number of images in a step (default: 256, or what the run has).",
)
BATCH_SIZE_OF_GRIDS = Flag(
    "--batch-size", "train.batch_size", int, "N", "Number of images in a step (default: 16)."
)
BATCH_SIZE_OF_MANY = Flag(
    "--batch-size",
    "train.batch_size",
    int,
    "N",
    "Number of images in a step (default: 128; with --recipe chapter 256).",
)
LR = Flag(
    "--lr",
    "train.optimizer.lr",
    float,
    "X",
    "Highest learning rate (default: 0.025; with --recipe chapter 0.001).",
)
LR_OF_GRIDS = Flag(
    "--lr", "train.optimizer.lr", float, "X", "Highest learning rate (default: 0.03)."
)
LIMIT_TRAIN = Flag(
    "--limit-train", "data.limit_train", int, "N", "Number of images to train on (default: all)."
)
RUN = Flag(
    "--run",
    "run",
    str,
    "RUN|latest",
    "Run whose model is used: its folder, its name as `aecli ls` prints it, or latest, the newest"
    " finished run that has a model (default: none; a model is trained first).",
)
SEEDS = Flag(
    "--seeds",
    "seeds",
    int,
    "N",
    "Number of trainings of each codec, with the seeds SEED, SEED + 1, ... (default: 3).",
)
SEEDS_OF_GRIDS = Flag(
    "--seeds",
    "seeds",
    int,
    "N",
    "Number of trainings of each codec, with the seeds SEED, SEED + 1, ... (default: 1).",
)
JOBS = Flag(
    "--jobs",
    "jobs",
    int,
    "N",
    "Number of trainings at the same time; changes no number (default: one per core that this"
    " process may use, at most 4 for each GPU).",
)
ENGINE = Flag(
    "--engine",
    "engine",
    str,
    "local|dask",
    "Place where the trainings run: this machine's processes, or the workers of a Dask cluster;"
    " changes no number (default: local).",
)
SCHEDULER = Flag(
    "--scheduler",
    "scheduler",
    str,
    "ADDRESS|FILE",
    "Dask's scheduler, tcp://host:8786 or the file that it wrote (default: a cluster on this"
    " machine, for this run).",
)
CONTINUE = Flag(
    "--continue",
    "continued",
    bool,
    None,
    "Go on in the newest unfinished run of the same config, if there is one.",
    of_many=True,
)
FAIL_FAST = Flag(
    "--fail-fast",
    "fail_fast",
    bool,
    None,
    "Stop the run at the first training that fails.",
    of_many=True,
)
JOB_TIMEOUT = Flag(
    "--job-timeout",
    "job_timeout",
    float,
    "SECONDS",
    "Longest time that one training may take; one that takes longer has failed (default: no"
    " limit).",
    of_many=True,
    least=0,
)
ORDERED = Flag(
    "--ordered",
    "ordered",
    bool,
    None,
    "Train one codec for each seed, the largest, whose code's units come in order of what they"
    " carry; each row has its first units.",
)
QUICK = Flag("--quick", "quick", bool, None, "Use few images and epochs: a look, not a result.")
STEPS = Flag(
    "--steps", "steps", int, "N", "Number of codes on the line, ends included (default: 10)."
)
PAIRS = Flag(
    "--pairs",
    "pairs",
    int,
    "N",
    "Number of random pairs that the rates are measured on (default: 500).",
)
SAMPLES = Flag(
    "--samples", "samples", int, "N", "Number of codes from each sampler (default: 2000)."
)
CONVERTED = Flag(
    "RUN",
    "run",
    str,
    "RUN",
    "Run whose codec is converted: its folder, its name as `aecli ls` prints it, or latest, the"
    " newest finished run of a plain network (default: that of the config).",
)
PER_CLASS = Flag(
    "--per-class",
    "per_class",
    bool,
    None,
    "Draw images of each class too; the images must have labels.",
)
EVALUATED = Flag(
    "RUN",
    "run",
    str,
    "[RUN]",
    "Run whose codes are put to work: its folder, its name as `aecli ls` prints it, or latest, the"
    " newest finished run that has a model (default: none; codecs are trained first).",
)
PARTS = Flag(
    "--parts",
    "parts",
    str,
    "PART,...",
    "Parts to measure, with commas between (default:"
    " classification, clustering, retrieval, anomaly, robustness).",
)
ENDS = (
    _end("from_digit", "D", "Digit, or class by its index, to start at (default: any)."),
    _end("to_digit", "D", "Digit, or class by its index, to end at (default: another)."),
    _end("from_index", "I", "Index of the test image to start at, from 0 (default: drawn)."),
    _end("to_index", "I", "Index of the test image to end at, from 0 (default: drawn)."),
)
DOWNSAMPLINGS = Flag(
    "F",
    "downsamplings",
    list[int],
    "[F]...",
    "Factors from the image's side to the code's grid (default: 8 16 32 64 128).",
)
BUDGET = Flag(
    "--budget",
    "budget",
    str,
    "TIME",
    "Time for all trainings, as 90s, 10m or 1.5h (default: 10m).",
)
SAMPLER = Flag(
    "--sampler",
    "sampler",
    str,
    "tpe|random",
    "Way to propose settings: tpe learns from what was tried, random does not (default: tpe).",
)
MANY = (SEEDS, JOBS, ENGINE, SCHEDULER, CONTINUE, FAIL_FAST, JOB_TIMEOUT)
TRAINING_OF_MANY = (CODEC, VARIATIONAL, RECIPE, EPOCHS, BATCH_SIZE_OF_MANY, LR, LIMIT_TRAIN)
TRAINING_ON_THE_SPOT = (CODEC, VARIATIONAL, RECIPE, EPOCHS, LIMIT_TRAIN)

FLAGS: dict[str, tuple[Flag, ...]] = {
    "train": (
        *(_code_dim(32), CODEC, VARIATIONAL, FROM_PRETRAINED),
        *(RECIPE, EPOCHS, BATCH_SIZE, LR, LIMIT_TRAIN),
    ),
    "sweep-codedim": (_code_dims("2 8 32 784"), ORDERED, *MANY, *TRAINING_OF_MANY),
    "pca-compare": (_code_dims("2 8 16 32"), *MANY, *TRAINING_OF_MANY),
    "sweep-downsampling": (
        DOWNSAMPLINGS,
        QUICK,
        _code_dim(256),
        *(SEEDS_OF_GRIDS, *MANY[1:]),
        *(EPOCHS_OF_GRIDS, BATCH_SIZE_OF_GRIDS, LR_OF_GRIDS, LIMIT_TRAIN),
    ),
    "tune": (
        *(BUDGET, SAMPLER, _code_dim(32), CODEC, VARIATIONAL, RECIPE),
        *(EPOCHS, BATCH_SIZE, LR, LIMIT_TRAIN, JOBS, ENGINE, SCHEDULER, CONTINUE, JOB_TIMEOUT),
    ),
    "reproduce": (QUICK, *MANY),
    "interpolate": (RUN, *ENDS, STEPS, PAIRS, _code_dim(2), *TRAINING_ON_THE_SPOT),
    "sample": (RUN, SAMPLES, PER_CLASS, _code_dim(32), *TRAINING_ON_THE_SPOT),
    "to-vae": (CONVERTED, SAMPLES, EPOCHS_OF_CONVERSION, BATCH_SIZE_OF_CONVERSION),
    "evaluate": (EVALUATED, PARTS, _code_dim(32), *MANY, *TRAINING_OF_MANY),
}
"""The flags of each experiment, besides those that all have."""
