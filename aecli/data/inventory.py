"""Files of each dataset on this machine: for `aecli data`, `aecli data fetch` and `verify`."""

import dataclasses
import difflib
from pathlib import Path
from typing import TYPE_CHECKING

from aecli.data.downloads import Say
from aecli.data.known import DATASETS, Dataset
from aecli.data.sources import Places, locate
from aecli.errors import DataError, StorageError, UsageError

if TYPE_CHECKING:
    from aecli.data.images import Raw

_ABSENT = "not here"


def overview(places: Places) -> list[tuple[str, str, str]]:
    """A row per dataset: its name, where it is, what it is."""
    return [(name, _where(dataset, places), dataset.summary) for name, dataset in DATASETS.items()]


def fetch(name: str, places: Places, say: Say) -> Path:
    """The folder with a dataset's files, all read and checked, downloaded to the cache if need be.

    Raises UsageError if there is no such dataset, DataError if no source has it whole or the folder
    named lacks it, StorageError if it was downloaded and cannot be kept.
    """
    raw = _read(name, places, say)
    if raw.folder is None:
        raise StorageError(f"{name} came whole from {raw.source}, and nothing of it could be kept")
    say(f"data: {name} is whole ({raw.source})")
    return raw.folder


def verify(name: str | None, places: Places, say: Say) -> list[tuple[str, str]]:
    """A row per dataset that is here, after checking every file of it; downloads nothing.

    Where a folder is named, only the files in it are looked at.
    Raises DataError with a line per damaged dataset, UsageError if there is no such dataset.
    """
    offline = dataclasses.replace(places, offline=True)
    here = [n for n, dataset in DATASETS.items() if _where(dataset, places) != _ABSENT]
    if not here and name is None:
        raise DataError(f"data folder {places.data_dir}: it has no dataset that aecli knows")
    whole: list[tuple[str, str]] = []
    damaged: list[str] = []
    for wanted in [name] if name else here:
        try:
            whole.append((wanted, f"whole: {_read(wanted, offline, say).source}"))
        except DataError as error:
            damaged.append(f"{wanted}: {error}")
    if damaged:
        raise DataError("\n".join(damaged))
    return whole


def _read(name: str, places: Places, say: Say) -> "Raw":
    dataset = _dataset(name)
    if places.named and dataset.remote is None:
        raise UsageError(f"{name} comes with aecli and is in no folder; leave --data-dir out")
    return dataset.read(places, say)


def _dataset(name: str) -> Dataset:
    if name in DATASETS:
        return DATASETS[name]
    near = difflib.get_close_matches(name, DATASETS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(DATASETS)}"
    raise UsageError(f"no dataset is called {name!r}; {hint}")


def _where(dataset: Dataset, places: Places) -> str:
    """The first folder in which every file lies, checked only where its name is not enough."""
    if dataset.remote is None:
        return _ABSENT if places.named else "installed with aecli"
    found = locate(dataset.remote, places)
    return _ABSENT if found is None else f"{found[0]} {found[1]}"
