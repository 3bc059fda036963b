"""`aecli search`: the images whose codes are nearest to an image's."""

import contextlib
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from aecli import figures, machine
from aecli.cli.encode import caption_of, job_of, make_archive, places_of, whole_for
from aecli.cli.pictures import require_apart, require_picture
from aecli.codespace import indexes
from aecli.codespace.archive import Archive, is_archive, require_finite, typed
from aecli.codespace.nearest import METRICS, copies_at, nearest
from aecli.data.images import Batch, Source
from aecli.data.own.opened import ALL
from aecli.data.sources import Places
from aecli.data.whole import Whole, load_whole, open_every, require_shape, whole_of
from aecli.errors import AecliError, UsageError
from aecli.pathnames import user_path
from aecli.png import png
from aecli.runs import storage
from aecli.runs.registry import open_trained
from aecli.runs.run import Run
from aecli.runs.subject import data_of
from aecli.terminal import Terminal
from aecli.training import device

_WINDOW = re.compile(r"^(.+)\[(\d+),\s*(\d+)(?:,\s*(\d+),\s*(\d+))?\]$", re.DOTALL)

_DRAWN = 20  # of the nearest; the table has all of them


@dataclass(frozen=True)
class Asked:
    """A search as it was asked for."""

    query: str
    among: str
    k: int
    metric: str | None
    with_copies: bool
    index: str | None
    codes: str | None
    output: str
    assignments: Sequence[str]

    def require_sound(self) -> None:
        """Raises UsageError for values that there are not, or not together, and for a picture that
        is no picture by its name, or the query itself."""
        require_picture(user_path(self.output))
        name, _ = _window_of(self.query)
        if user_path(self.output).resolve() == user_path(name).resolve():
            raise UsageError(f"-o {self.output}: the image to search by; it is not replaced")
        for flag, value, known in (
            ("--metric", self.metric, METRICS),
            ("--index", self.index, ("faiss",)),
            ("--codes", self.codes, ("binary",)),
        ):
            if value is not None and value not in known:
                raise UsageError(f"{flag} {value}: expected {' or '.join(known)}")
        if self.index and self.codes:
            raise UsageError("--index faiss and --codes binary: one or the other")
        if self.codes and self.metric:
            raise UsageError(
                f"--metric {self.metric}: binary codes are compared by Hamming distance; leave it"
                " out"
            )


@dataclass(frozen=True)
class Query:
    """An image to search by."""

    name: str
    code: NDArray[np.float32]
    """(d,), as codes are compared."""
    images: Batch | None = None
    """The image, (1, C, H, W); None for the index of a code."""
    index: int | None = None


@dataclass(frozen=True)
class Answer:
    """The nearest codes of a query."""

    indices: list[int]
    distances: list[float]
    copies: list[int]
    """Codes that are the query's own or a copy's, left out or counted."""
    metric: str
    how: str
    """Words on how it was searched."""
    recall: float | None = None


def search(
    named: str,
    asked: Asked,
    terminal: Terminal,
    runs_dir: Path,
    data_dir: str | None,
    offline: bool,
) -> None:
    """Find the nearest images, print them, and draw them. Raises every AecliError."""
    asked.require_sound()
    run = open_trained(named, runs_dir)
    device.seed_and_limit(0, machine.usable_cores())
    places = places_of(run, data_dir, offline, terminal)
    with _archive(run, asked, places, data_dir, terminal) as (archive, whole):
        query = _query(run, asked, archive, places, terminal)
        answer = _answer(asked, archive, query, terminal)
        found = archive.rows_at([*answer.indices, *_of_query(query, answer)])
        if not terminal.as_json:
            _tell(asked, archive, query, answer, found, terminal)
        whole = whole or _images_of(run, archive, places, terminal)
        with terminal.working("drawing the picture"):
            _draw(run, archive, whole, query, answer, found, user_path(asked.output))
    if terminal.as_json:
        terminal.json(_as_json(run, asked, query, answer, found))
    else:
        terminal.path(user_path(asked.output))


@contextlib.contextmanager
def _archive(
    run: Run, asked: Asked, places: Places, data_dir: str | None, terminal: Terminal
) -> Iterator[tuple[Archive, Whole | None]]:
    """The codes to search in, and their images where these were encoded now, for this search."""
    path, target = user_path(asked.among), user_path(asked.output)
    if is_archive(path, run):
        archive = Archive.opened(path, run)
        if archive.images_at is not None:
            require_apart(target, archive.images_at)
        if not archive.about:
            terminal.warn([f"{path}: nothing beside it says which model these codes are of"])
        yield archive, None
        return
    if asked.index or asked.codes:
        flag = "--index" if asked.index else "--codes"
        raise UsageError(
            f"{flag}: an index is kept beside the codes; encode them first: aecli encode"
            f" {run.path.name} {asked.among} -o codes.npy"
        )
    config = data_of(run, asked.among, asked.assignments, data_dir)
    if config.is_own:
        require_apart(target, Path(config.dataset))
    whole = whole_for(run, config, places, terminal)
    terminal.say(f"encoding {len(whole):,} images; `aecli encode` keeps their codes for next time")
    with tempfile.TemporaryDirectory(prefix="aecli-") as folder:
        codes = Path(folder, "codes.npy")
        job = job_of(run, config, whole, "all", scores=False)
        make_archive(run, job, codes, places, terminal)
        yield Archive.opened(codes, run), whole


def _query(run: Run, asked: Asked, archive: Archive, places: Places, terminal: Terminal) -> Query:
    """The image to search by: an index of the archive, or a file. Raises DataError, UsageError."""
    text = asked.query
    if text.isdecimal():
        index = int(text)
        if index >= len(archive):
            raise UsageError(f"QUERY {text}: an index must be less than {len(archive)} (codes)")
        codes = np.array(archive.compared[index : index + 1], np.float32)
        require_finite(codes, archive.path, index)
        return Query(f"code {index}", codes[0], index=index)
    recorded = None  # a file is read as the run's files were, if the archive is of none
    if archive.images_at is not None:
        data = archive.about["data"]
        recorded = {key: value for key, value in data.items() if key != "dataset"}
    batch = _image(run, text, asked.assignments, recorded, places)
    with torch.no_grad():
        codes = archive.pooling(run.codec.encode(run.codec.seen(batch))).numpy()
    require_finite(codes, text)
    return Query(text, codes[0], batch)


def _image(
    run: Run,
    text: str,
    assignments: Sequence[str],
    recorded: Mapping[str, Any] | None,
    places: Places,
) -> Batch:
    """The one image, or the window of one, that QUERY names, as the model's images are read."""
    name, window = _window_of(text)
    shape = run.codec.image_shape
    if not user_path(name).is_file():
        hint = "an index, a file with an image, or a window of one, 'file[column,row]'"
        raise UsageError(f"QUERY {text}: no such file; expected {hint}")
    path = name if "/" in name else f"./{name}"
    config = data_of(run, path, assignments, None, recorded)
    config = config.model_copy(update={"min_valid": 0.0, "skip_bad": False})
    if window is not None:
        config = config.model_copy(update={"tile": min(shape[1:]), "size": None, "stride": None})
    opened = open_every(config, run.scale, places)
    require_shape(opened.shape, shape, name, config.tile is not None)
    if window is None:
        whole = whole_of(opened, config, np.array(opened.items.splits, dtype="<U5"))
        if len(whole) > 1:
            what = "tiles" if config.tile is not None else "images"
            raise UsageError(
                f"QUERY {text}: holds {len(whole):,} {what}; name one of them by its upper left"
                f" pixel, '{name}[column,row]'"
            )
        return whole.source.read(torch.arange(1))
    column, row, *size = window
    _, height, width = opened.items.shapes[0].tolist()
    inside = column + shape[2] <= width and row + shape[1] <= height
    if len(opened.items) > 1 or not inside or (size and tuple(size) != (shape[2], shape[1])):
        raise UsageError(
            f"QUERY {text}: a window is of {shape[2]}x{shape[1]} pixels, as the model's images are,"
            f" inside of the {width}x{height} of {name}"
        )
    at = np.array([[0, row, column]], np.int32)
    windows = {ALL: at}
    labels = None if opened.labels is None else {ALL: opened.labels[ALL][:1]}
    placed = replace(opened, windows=windows, labels=labels)
    whole = whole_of(placed, config, np.array(opened.items.splits, dtype="<U5"))
    return whole.source.read(torch.arange(1))


def _window_of(text: str) -> tuple[str, tuple[int, ...] | None]:
    """A file's name and the window of it: column, row and, if they are given, width and height."""
    found = None if user_path(text).is_file() else _WINDOW.match(text)
    if found is None:
        return text, None
    name, *numbers = found.groups()
    return name, tuple(int(each) for each in numbers if each is not None)


def _answer(asked: Asked, archive: Archive, query: Query, terminal: Terminal) -> Answer:
    """The nearest codes. Raises UsageError if there are fewer than were asked for."""
    if asked.k > len(archive):
        raise UsageError(f"-k {asked.k}: must be at most {len(archive)} (codes in {archive.path})")
    queries = query.code[None]
    kind = asked.index or asked.codes
    recall = None
    if kind is None:
        metric, how = asked.metric or "euclidean", "exact search"
        with terminal.working("searching", len(archive), "codes") as advance:
            args = (archive.compared, queries, asked.k, metric, asked.with_copies)
            found = nearest(*args, archive.path, advance)
    else:
        index = indexes.opened(kind, archive, asked.metric, asked.k, terminal.working)
        recall, count = index.measured
        found = index.search(queries, asked.k, asked.with_copies)
        metric, how = index.metric, f"{index.files[0].name}"
        how += f", {index.settings}" if index.settings else ""
        how += f": recall@{asked.k} {recall:.3f} of exact search, over {count} codes of the archive"
    how += f"; codes are {archive.pooling.in_words}" if archive.pooling.in_words else ""
    [indices], [distances], [copies] = found.indices, found.distances, found.copies
    if len(indices) < asked.k:
        raise UsageError(
            f"-k {asked.k}: must be at most {len(indices)}: of {len(archive):,} codes"
            f" {len(copies):,} are the query's own or its copies' (--with-copies counts them)"
        )
    own = copies.tolist()
    if asked.with_copies:
        own = indices[copies_at(archive.compared, indices, query.code)].tolist()
    return Answer(indices.tolist(), distances.tolist(), own, metric, how, recall)


def _of_query(query: Query, answer: Answer) -> list[int]:
    """The index of the query in the archive, or of a copy of it; none if it is not there."""
    return [query.index] if query.index is not None else answer.copies[:1]


def _images_of(run: Run, archive: Archive, places: Places, terminal: Terminal) -> Whole | None:
    """The images that an archive's codes are of; None, which it tells, if they are no more as they
    were: a search needs only the codes, and the picture shows these decoded."""
    recorded = dict(archive.about.get("data") or {})
    dataset = recorded.pop("dataset", None)
    if dataset is None:
        return None
    try:
        config = data_of(run, str(dataset), (), None, recorded)
        whole = load_whole(config, places, lambda _: None, run.scale, run.config.data)
        part = archive.about.get("part", "all")
        whole = whole if part == "all" else whole.only(str(part))
    except AecliError as error:
        terminal.say(f"the images of {archive.path} cannot be read, their codes are drawn: {error}")
        return None
    if whole.sha256 != archive.about.get("data_sha256"):
        terminal.say(f"the images in {dataset} have changed; the codes of {archive.path} are drawn")
        return None
    return whole


def _draw(
    run: Run,
    archive: Archive,
    whole: Whole | None,
    query: Query,
    answer: Answer,
    rows: Mapping[int, Mapping[str, str]],
    target: Path,
) -> None:
    """Write the picture of the query and the nearest images, the first ones; decoded codes where
    the images are not there. Raises StorageError."""
    shown_ones = answer.indices[:_DRAWN]
    first = [] if query.images is not None else [int(query.index or 0)]
    nearest_ones = _pictures(run, archive, whole, [*first, *shown_ones])
    parts = [query.images, nearest_ones] if query.images is not None else [nearest_ones]
    images = np.concatenate([part.images.numpy() for part in parts])
    valid = None
    if any(part.mask is not None for part in parts):
        every = [
            np.ones((len(p), *p.images.shape[2:]), bool) if p.valid is None else p.valid
            for p in parts
        ]
        valid = np.concatenate(every)
    captions = [
        "query\n"
        + (
            caption_of(rows.get(query.index or 0, {}) or {"index": query.index})
            if query.images is None
            else Path(query.name).name
        )
    ]
    for i, distance in zip(shown_ones, answer.distances, strict=False):
        row = {"index": i, **rows.get(i, {})}
        label = f"\n{row['label']}" if row.get("label") else ""
        captions.append(f"{caption_of(row)}{label}\n{distance:.4g}")
    name = archive.path.name if whole is None else whole.name
    title = f"The {len(shown_ones)} nearest of {len(archive):,} in {name}"
    note = f"Under each image its {answer.metric} distance to the query's code; {answer.how}."
    if len(answer.indices) > _DRAWN:
        note += f" These are the first {_DRAWN} of the {len(answer.indices):,} that were found."
    if whole is None:
        note += " The images are not there any more: these are decoded codes."
    shown = () if whole is None else whole.shown
    figure = figures.sheet(images, captions, title, note, valid, (), shown)
    storage.write_whole(target, png(figure))


def _pictures(run: Run, archive: Archive, whole: Whole | None, indices: Sequence[int]) -> Batch:
    """The images of some codes; decoded where they are not there."""
    if whole is not None:
        source: Source = whole.source
        return source.read(torch.tensor(indices))
    codes = np.array(archive.codes[np.array(indices)], np.float32)
    decoded = torch.from_numpy(run.decode(codes)).clamp(0, 1)
    return Batch(decoded)


def _tell(
    asked: Asked,
    archive: Archive,
    query: Query,
    answer: Answer,
    rows: Mapping[int, Mapping[str, str]],
    terminal: Terminal,
) -> None:
    """Print the table, and what there is to say of it."""
    header = ("rank", f"distance ({answer.metric})", "index", "file", "label", "place")
    table = []
    for n, (i, distance) in enumerate(zip(answer.indices, answer.distances, strict=True), start=1):
        row = rows.get(i, {})
        label = row.get("label", "")
        table.append((str(n), f"{distance:.6g}", str(i), row.get("file", ""), label, place_of(row)))
    title = f"{asked.k} nearest of {len(archive):,} to {query.name}, {answer.metric} distance"
    terminal.table(title, table, header)
    terminal.sentence(f"searched by {answer.how}")
    if answer.copies:
        done = "counted" if asked.with_copies else "left out (--with-copies counts them)"
        terminal.sentence(
            f"the query itself and images of equal content: {len(answer.copies):,}, {done}"
        )
    own, alike = _own_class(query, answer, rows)
    if own:
        of = len(answer.indices)
        terminal.sentence(
            f"of the query's own class, {own}: {alike} of {of} ({100 * alike / of:.0f}%)"
        )


def _as_json(
    run: Run,
    asked: Asked,
    query: Query,
    answer: Answer,
    rows: Mapping[int, Mapping[str, str]],
) -> dict[str, Any]:
    """The same as one object."""
    results = [
        {"rank": n, "index": i, "distance": d, **_typed(rows.get(i, {}))}
        for n, (i, d) in enumerate(zip(answer.indices, answer.distances, strict=True), start=1)
    ]
    own, alike = _own_class(query, answer, rows)
    counted = "copies_counted" if asked.with_copies else "copies_left_out"
    return {
        "run": str(run.path),
        "codes": asked.among,
        "query": asked.query,
        "metric": answer.metric,
        "k": asked.k,
        "nearest": results,
        counted: answer.copies,
        "label": own or None,
        "own_class_share": alike / len(answer.indices) if own else None,
        "recall": answer.recall,
        "picture": asked.output,
    }


def _own_class(
    query: Query, answer: Answer, rows: Mapping[int, Mapping[str, str]]
) -> tuple[str, int]:
    """The query's class, empty if it is not known, and how many of the nearest are of it."""
    own = next((rows[i].get("label", "") for i in _of_query(query, answer) if i in rows), "")
    return own, [rows.get(i, {}).get("label", "") for i in answer.indices].count(own)


def _typed(row: Mapping[str, str]) -> dict[str, Any]:
    """A row of codes.csv without its index and what is empty, numbers as numbers."""
    return {key: typed(key, value) for key, value in row.items() if key != "index" and value}


def place_of(row: Mapping[str, str]) -> str:
    """Words on the window of a row, if it is one, and where on the ground it lies."""
    if not row.get("column"):
        return ""
    words = f"column {row['column']}, row {row['row']}"
    if row.get("x"):
        words += f"; {float(row['x']):.10g}, {float(row['y']):.10g} {row.get('crs', '')}".rstrip()
    return words
