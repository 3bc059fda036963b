"""What of each dataset is on this machine: for `aecli data`, `aecli data fetch` and `verify`."""

import dataclasses
import difflib

from aecli.data import DATASETS, Dataset
from aecli.data.sources import Places, Say, local_folders
from aecli.errors import DataError, UsageError

_ABSENT = "not here"


def overview(places: Places) -> list[tuple[str, str, str]]:
    """A row per dataset: its name, where it is, what it is."""
    return [(name, _where(dataset, places), dataset.summary) for name, dataset in DATASETS.items()]


def fetch(name: str, places: Places, say: Say) -> str:
    """Where a dataset is to be had, after reading and checking all of it, downloaded if need be.

    Raises UsageError if there is no such dataset, DataError if no source has it whole.
    """
    *_, source, _ = _dataset(name).read(places, say)
    return source


def verify(name: str | None, places: Places) -> list[tuple[str, str]]:
    """A row per dataset that is here, after checking every file of it; downloads nothing.

    Raises DataError with a line per damaged dataset, UsageError if there is no such dataset.
    """
    offline = dataclasses.replace(places, offline=True)
    here = [n for n, dataset in DATASETS.items() if _where(dataset, places) != _ABSENT]
    whole: list[tuple[str, str]] = []
    damaged: list[str] = []
    for wanted in [name] if name else here:
        try:
            whole.append((wanted, f"whole: {fetch(wanted, offline, lambda _: None)}"))
        except DataError as error:
            damaged.append(f"{wanted}: {error}")
    if damaged:
        raise DataError("\n".join(damaged))
    return whole


def _dataset(name: str) -> Dataset:
    if name in DATASETS:
        return DATASETS[name]
    near = difflib.get_close_matches(name, DATASETS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(DATASETS)}"
    raise UsageError(f"no dataset is called {name!r}; {hint}")


def _where(dataset: Dataset, places: Places) -> str:
    """The first folder in which every file lies, checked or not."""
    if dataset.remote is None:
        return "installed with aecli"
    for label, folder in local_folders(dataset.remote, places):
        names = [file.name for file in dataset.remote.files]
        if all((folder / n).exists() or (folder / f"{n}.gz").exists() for n in names):
            return f"{label} {folder}"
    return _ABSENT
