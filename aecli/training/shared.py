"""The part that many jobs have in common: the images, or their name for another machine."""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aecli.config import DataConfig, ManyConfig, with_values
from aecli.data import datasets, sources
from aecli.data.images import Images
from aecli.data.own import opened
from aecli.data.own.scaling import Scale
from aecli.errors import DataError
from aecli.runs.context import Context
from aecli.runs.folder import RunDir
from aecli.training.checkpoints import Checkpoints


@dataclass(frozen=True)
class Shared:
    """Everything that all jobs of a run have in common."""

    images: Images
    threads: int
    device: str
    """Kind of device that trains."""
    checkpoints: Checkpoints


@dataclass(frozen=True)
class Named:
    """The same for a process of another machine: it opens the dataset there, by its identity."""

    data: DataConfig
    scale: Scale | None
    identity: Mapping[str, Any]
    """Facts of the images, as the run has them; others are refused."""
    offline: bool
    threads: int
    device: str
    checkpoints: Checkpoints

    @property
    def images(self) -> Images:
        """The images, opened once in a process. Raises DataError for those of another identity."""
        asked = pickle.dumps(self)
        if asked not in _opened:
            _opened.clear()
            opened.forget()  # the files may have changed since another run
            places = sources.default_places(self.data.dir, self.offline)
            images = datasets.load(self.data, places, lambda _: None, self.scale)
            found = identity_of(images)
            if found != self.identity:
                keys = {**self.identity, **found}
                key = next(k for k in keys if found.get(k) != self.identity.get(k))
                raise DataError(
                    f"{self.data.dataset} is another dataset here: {key} {found.get(key)}, where"
                    f" the run has {self.identity.get(key)}"
                )
            _opened[asked] = images
        return _opened[asked]


_opened: dict[bytes, Images] = {}
"""The dataset that this process has opened last, by who asked for it."""


def shared_by_all(
    images: Images,
    config: ManyConfig,
    run_dir: RunDir,
    context: Context,
    threads: int,
    where: str,
) -> Shared | Named:
    """All that jobs have in common: the images, or their name where the engine's processes may be
    those of other machines and the images are those of the run, not some of them."""
    checkpoints = Checkpoints(run_dir.root.absolute(), run_dir.id, config.checkpoint_seconds)
    if config.engine == "local" or run_dir.noted("dataset") != images.provenance():
        return Shared(images, threads, where, checkpoints)
    data, paths = config.data, {}
    if data.is_own:
        paths["dataset"] = str(Path(data.dataset).resolve())
    if data.dir is not None:
        paths["dir"] = str(Path(data.dir).resolve())
    data = with_values(data, paths)
    offline = context.places.offline
    identity = identity_of(images)
    return Named(data, images.scale, identity, offline, threads, where, checkpoints)


def identity_of(images: Images) -> dict[str, Any]:
    """Facts that tell images from others, wherever they lie."""
    facts = images.provenance()
    return {key: fact for key, fact in facts.items() if key not in ("name", "source")}
