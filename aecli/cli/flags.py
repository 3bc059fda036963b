"""Flags of the experiments: how each is typed, what it does, its default.

A default stands in the text, and a test compares it with the config's: to read it from there
would import every model of the config for `--help`.
"""

from typing import Annotated, Any

import typer

Flags = dict[str, tuple[str, Any]]
"""Flag -> (config key, value); a flag with the value None was not given."""


def value(*names: str, metavar: str, help: str, **settings: Any) -> Any:
    """An option with a value."""
    return typer.Option(*names, metavar=metavar, help=help, **settings)


CodeDim = Annotated[
    int | None,
    value("--code-dim", metavar="K", help="Size of the code, in numbers (default: 32)."),
]
PlaneCodeDim = Annotated[
    int | None,
    value("--code-dim", metavar="K", help="Size of the code, in numbers (default: 2)."),
]
CodecName = Annotated[
    str | None,
    value(
        "--codec",
        metavar="mlp|linear|pca|dct",
        help="Codec to train, or to solve for: a network, its linear case, PCA, or the discrete"
        " cosine transform (default: mlp).",
    ),
]
Recipe = Annotated[
    str | None,
    value(
        "--recipe",
        metavar="muon|chapter",
        help="Set of training settings: muon reaches a low error in few epochs, chapter trains as"
        " the chapter does (default: muon).",
    ),
]
Epochs = Annotated[
    int | None,
    value(
        "--epochs",
        metavar="N",
        help="Number of passes over the training images (default: 5).",
    ),
]
BatchSize = Annotated[
    int | None,
    value("--batch-size", metavar="N", help="Number of images in a step (default: 256)."),
]
BatchSizeOfMany = Annotated[
    int | None,
    value(
        "--batch-size",
        metavar="N",
        help="Number of images in a step (default: 128; with --recipe chapter 256).",
    ),
]
LearningRate = Annotated[
    float | None,
    value(
        "--lr",
        metavar="X",
        help="Highest learning rate (default: 0.03; with --recipe chapter 0.001).",
    ),
]
LimitTrain = Annotated[
    int | None,
    value("--limit-train", metavar="N", help="Number of images to train on (default: all)."),
]
Run = Annotated[
    str | None,
    value(
        "--run",
        metavar="RUN|latest",
        help="Run whose model is used: its folder, its name as `aecli ls` prints it, or"
        " latest, the newest finished run that has a model (default: none; a model is trained"
        " first).",
    ),
]


def _code_dims(default: str) -> Any:
    return typer.Argument(
        metavar="[K]...",
        help=f"Sizes of the code to train, in numbers (default: {default}).",
        show_default=False,
    )


SweepDims = Annotated[list[int] | None, _code_dims("2 8 32 784")]
CompareDims = Annotated[list[int] | None, _code_dims("2 8 16 32")]
Seeds = Annotated[
    int | None,
    value(
        "--seeds",
        metavar="N",
        help="Number of trainings of each codec, with the seeds SEED, SEED + 1, ... (default: 3).",
    ),
]
Jobs = Annotated[
    int | None,
    value(
        "--jobs",
        metavar="N",
        help="Number of trainings at the same time; changes no number (default: one per core that"
        " this process may use).",
    ),
]
Continued = Annotated[
    bool,
    typer.Option(
        "--continue",
        help="Go on in the newest unfinished run of the same config, if there is one.",
    ),
]
FailFast = Annotated[
    bool, typer.Option("--fail-fast", help="Stop the run at the first training that fails.")
]
JobTimeout = Annotated[
    float | None,
    value(
        "--job-timeout",
        metavar="SECONDS",
        min=0,
        help="Longest time that one training may take; one that takes longer has failed (default:"
        " no limit).",
    ),
]
END_DIGIT = "Digit to {0} at: a random test image of it (default: {1})."
END_INDEX = "Index of the test image to {0} at, from 0 (default: drawn)."


def network_flags(
    codec: str | None,
    recipe: str | None,
    epochs: int | None,
    batch_size: int | None,
    lr: float | None,
    limit_train: int | None,
) -> Flags:
    """The config keys of the flags that every command with a training has."""
    return {
        "--codec": ("codec.name", codec),
        "--recipe": ("train.recipe", recipe),
        "--epochs": ("train.epochs", epochs),
        "--batch-size": ("train.batch_size", batch_size),
        "--lr": ("train.optimizer.lr", lr),
        "--limit-train": ("data.limit_train", limit_train),
    }
