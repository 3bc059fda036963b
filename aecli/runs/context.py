"""Inputs of an experiment besides its config: how, and where, to run it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from aecli.config import ExperimentConfig, with_values
from aecli.counts import count
from aecli.data import datasets
from aecli.data.images import Images
from aecli.data.sources import Places
from aecli.runs.folder import RunDir
from aecli.runs.run import Run
from aecli.terminal import Terminal

Config = TypeVar("Config", bound=ExperimentConfig)


@dataclass(frozen=True)
class Context:
    runs_dir: Path
    places: Places
    argv: Sequence[str]
    terminal: Terminal
    resumed: Path | None = None
    """Run folder to go on in."""
    fail_fast: bool = False
    """True if the first failed job of many ends the run."""
    job_timeout: float | None = None
    """Seconds that a job of many may take."""
    log: str | None = None
    """Log that each epoch is added to besides, as --log names it."""

    def tell_machine(self, run: Path, facts: Mapping[str, Any], each: str = "") -> None:
        """Say where the run leaves its files and what it computes on.

        facts: as `device.facts` gives them. each: words such as " for each training".
        """
        threads = count(facts["threads"], "thread") + each
        self.terminal.say(f"run: {run}")
        self.terminal.say(f"on: {facts['device']}, {threads}, {facts['precision']}")

    def tell_data(self, images: Images) -> None:
        """Say which images there are and where they came from."""
        train = count(len(images.train), "image")
        self.terminal.say(
            f"data: {images.name} ({images.source}): {train} to train on,"
            f" {len(images.val):,} for validation, {len(images.test):,} for the test"
        )


def load_images(
    config: Config,
    context: Context,
    run_dir: RunDir,
    most: int | None = None,
    model: Run | None = None,
) -> tuple[Images, Config]:
    """The images of a run, and `config` with the dataset that was found; both noted in the run.

    model: the run whose model they are for, so that they are brought to [0, 1] as its own were.
    most: number of training images taken, the first ones, where `config` does not limit them.
    """
    say = context.terminal.say
    scale = None if model is None else model.scale
    images = datasets.load(config.data, context.places, say, scale, model is not None)
    name = images.name if images.opened is None else config.data.dataset
    found: dict[str, Any] = {"data.dataset": name}
    if images.opened is not None:
        run_dir.write_csv("data.csv", images.opened.rows())
    if most is not None and config.data.limit_train is None:
        images = replace(images, train=images.train.first(most))
        found["data.limit_train"] = len(images.train)
    run_dir.note(dataset=images.provenance())
    context.tell_data(images)
    config = with_values(config, found)
    run_dir.write_config(config)
    return images, config
