"""`aecli encode`: a dataset into an archive of codes."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from aecli import figures, machine
from aecli.cli.pictures import require_apart
from aecli.codespace.archive import beside, mapped, require_finite
from aecli.codespace.bits import coder
from aecli.codespace.encoding import STORED, Job, Unfinished, encode_all
from aecli.codespace.oddness import SCORES, TYPICAL, Oddness, oddness, training_codes
from aecli.codespace.quantiser import Quantiser
from aecli.codespace.region import require_narrow
from aecli.config import DataConfig
from aecli.data import datasets
from aecli.data.images import Images
from aecli.data.sources import Places, default_places
from aecli.data.whole import PARTS, Whole, load_whole, require_shape
from aecli.errors import DataError, Interrupted, UsageError
from aecli.experiments.subject import other_images
from aecli.pathnames import user_path
from aecli.png import png
from aecli.runs import storage
from aecli.runs.registry import open_trained
from aecli.runs.run import Run
from aecli.runs.subject import data_of, places_of_own, reading_settings
from aecli.terminal import Terminal
from aecli.training import device

_ODDEST = 20


def encode(
    named: str,
    data: str,
    output: str,
    terminal: Terminal,
    runs_dir: Path,
    data_dir: str | None,
    offline: bool,
    part: str,
    scores: bool,
    assignments: Sequence[str],
    bits: int | None = None,
) -> None:
    """Encode `data` into the file `output`, and print its path. Raises every AecliError."""
    target = _target(output)
    if part not in (*PARTS, "all"):
        raise UsageError(f"--part {part}: expected {', '.join(PARTS)} or all")
    if bits is not None:
        coder(f"--bits {bits}")
    run = open_trained(named, runs_dir)
    config = data_of(run, data, assignments, data_dir)
    if scores and config.is_own:
        require_apart(beside(target, "-oddest.png"), Path(config.dataset))
    if scores:
        require_narrow(run.codec.code_dim, "--scores: ")  # before all images are listed
    places = places_of(run, data_dir, offline, terminal)
    whole = whole_for(run, config, places, terminal)
    whole = whole if part == "all" else whole.only(part)
    job = job_of(run, config, whole, part, scores, bits)
    made = make_archive(run, job, target, places, terminal)
    _tell(made, target, job, run, terminal)


def places_of(run: Run, data_dir: str | None, offline: bool, terminal: Terminal) -> Places:
    """Places where known datasets are looked for: the folder named, or else those of the run's own
    data. Raises DataError."""
    places = replace(default_places(data_dir, offline), working=terminal.working)
    return places if data_dir is not None else places_of_own(run, places)


def _target(output: str) -> Path:
    """The file of codes to write. Raises UsageError."""
    path = user_path(output)
    if path.suffix != ".npy":
        raise UsageError(f"-o {output}: codes are written as .npy; give FILE.npy")
    if path.is_dir():
        raise UsageError(f"-o {output}: a folder; give FILE.npy")
    return path


def whole_for(run: Run, config: DataConfig, places: Places, terminal: Terminal) -> Whole:
    """All images that `config` names, if the model of `run` encodes such. Raises DataError,
    UsageError."""
    device.seed_and_limit(0, machine.usable_cores())
    whole = load_whole(config, places, terminal.say, run.scale, run.config.data)
    require_shape(whole.source.shape, run.codec.image_shape, whole.name, config.tile is not None)
    return whole


def job_of(
    run: Run,
    config: DataConfig,
    whole: Whole,
    part: str,
    scores: bool,
    bits: int | None = None,
) -> Job:
    """The archive to be made of some images."""
    scenes = {name: scene.described() for name, scene in (whole.scenes or {}).items()}
    about = {
        "run": str(run.path.resolve()),
        "data": {"dataset": config.dataset, **reading_settings(config)},
        "part": part,
        **({"scenes": scenes} if scenes else {}),
    }
    return Job(run.codec, whole, run.model_sha256, scores, about, bits)


def make_archive(
    run: Run, job: Job, target: Path, places: Places, terminal: Terminal
) -> Mapping[str, Any]:
    """Make the archive, or go on with it, unless it is there. The content of its codes.json.
    Raises UsageError if other files are there; DataError, StorageError."""
    unfinished = Unfinished(target, job)
    found = _already(target, job)
    if found is not None:
        unfinished.tidy()
        terminal.say(f"{target}: has these codes already; nothing is left to do")
        return found
    if unfinished.noted() < len(job.whole):  # else some of its files may have their names already
        _require_free(target)
    measure = _calibrated(run, places, terminal) if job.with_scores else None
    with unfinished.alone():
        if unfinished.done:
            terminal.say(f"going on after {unfinished.done:,} of {len(job.whole):,} images")
        quantiser = None
        if job.bits is not None:
            quantiser = unfinished.quantiser(lambda: _quantiser(run, job, places, terminal))
        try:
            encode_all(unfinished, job, measure, terminal.working, quantiser)
        except Interrupted:
            if unfinished.done:
                terminal.say(
                    f"{unfinished.done:,} of {len(job.whole):,} images are encoded, in"
                    f" {unfinished.folder}; the same command goes on"
                )
            raise
        about: dict[str, Any] = {}
        picture = None
        if measure is not None:
            about["typical"] = measure.described()
            picture, about["oddest"] = _oddest(unfinished, job, about["typical"])
        if quantiser is not None:
            with terminal.working("coding the bits"):
                about["stored"] = unfinished.pack(quantiser)
        with terminal.working("writing the rows"):
            unfinished.finish(about, picture)
    return dict(json.loads(beside(target, ".json").read_bytes()))


def _already(target: Path, job: Job) -> dict[str, Any] | None:
    """The content of codes.json if `target` has these codes; None if there is no such file. Raises
    UsageError if it has others."""
    if not target.is_file():
        return None
    try:
        about = json.loads(beside(target, ".json").read_bytes())
        same = all(about.get(key) == value for key, value in job.identity.items())
        same = same and _can_be_told(about, job)
        if job.bits is not None:
            same = same and beside(target, ".bits").stat().st_size == about["stored"]["bytes"]
        rows = len(mapped(target))
    except (OSError, DataError, *storage.MALFORMED):
        same, rows = False, 0
    if not same or rows != len(job.whole):
        raise UsageError(f"{target} exists; it is not replaced")
    return dict(about)


def _can_be_told(about: Mapping[str, Any], job: Job) -> bool:
    """True if a codes.json has all that is printed of it. Raises those of storage.MALFORMED."""
    there, numbers = isinstance(about["part"], str), []
    if job.with_scores:
        oddest, words = about["oddest"], {"index", "file", "column", "row", "label"}
        numbers += [about["typical"][key] for key in TYPICAL]
        numbers += [row[key] for row in oddest for key in SCORES]
        there = there and all(row.keys() >= words for row in oddest)
    if job.bits is not None:
        numbers += [about["stored"][key] for key in STORED]
    return there and all(isinstance(each, int | float) for each in numbers)


def _require_free(target: Path) -> None:
    for ending in (".csv", ".json", ".bits", "-oddest.png"):
        if (path := beside(target, ending)).exists():
            raise UsageError(f"{path} exists; it is not replaced")


def _calibrated(run: Run, places: Places, terminal: Terminal) -> Oddness:
    """Oddness by the data that the run was trained on. Raises DataError where they are gone."""
    with terminal.working("calibrating on the run's own training data"):
        return Oddness.of(run.codec, own_images(run, places, terminal))


def _quantiser(run: Run, job: Job, places: Places, terminal: Terminal) -> Quantiser:
    """The quantiser by the codes of the images that the run was trained on. Raises DataError where
    they are gone, or where a code is not finite."""
    assert job.bits is not None
    with terminal.working("quantising by the run's own training data"):
        training = own_images(run, places, terminal).train
        codes = training_codes(run.codec, training)
        require_finite(codes, "the run's training images")
        return Quantiser.fitted(job.bits, codes, len(job.whole))


def own_images(run: Run, places: Places, terminal: Terminal) -> Images:
    """The images that the run was trained on, split. Raises DataError where they are gone."""
    own = places_of_own(run, places)
    images = datasets.load(run.config.data, own, lambda _: None, run.scale, for_model=True)
    terminal.warn(other_images(run, images))
    return images


def _oddest(
    unfinished: Unfinished, job: Job, typical: Mapping[str, float]
) -> tuple[bytes, list[dict[str, Any]]]:
    """A picture (PNG) of the oddest images, and their rows, the oddest first."""
    scores = unfinished.scores()
    assert scores is not None
    odd = oddness(scores, typical)
    chosen = np.lexsort((np.arange(len(odd)), -odd))[:_ODDEST]
    rows = []
    for i in chosen.tolist():
        (file, part, label, column, row, *_) = next(iter(job.whole.rows(i, i + 1)))
        place = {"index": i, "file": file, "part": part, "label": label}
        of = {"mse": float(scores[i, 0]), "code_distance": float(scores[i, 1])}
        rows.append({**place, "column": column, "row": row, **of, "oddness": float(odd[i])})
    return _draw(job, chosen, rows, typical), rows


def _draw(
    job: Job,
    chosen: NDArray[np.int64],
    rows: Sequence[Mapping[str, Any]],
    typical: Mapping[str, float],
) -> bytes:
    batch = job.whole.source.read(torch.from_numpy(chosen))
    captions = [
        f"{caption_of(row, job.whole)}\nmse {row['mse']:.4g}\ndistance {row['code_distance']:.3g}"
        for row in rows
    ]
    n = len(job.whole)
    title = f"{job.whole.name}: the {len(rows)} oddest of {n:,} images"
    note = (
        f"Under each image its error (typical: {typical['typical_mse']:.4g}) and its code's"
        f" distance to the training images' (typical: {typical['typical_distance']:.3g}; a hole"
        f" above {typical['hole_above']:.3g}). The order is by the product of both."
    )
    figure = figures.sheet(
        batch.images.numpy(), captions, title, note, batch.valid, (), job.whole.shown
    )
    return png(figure)


def caption_of(row: Mapping[str, Any], whole: Whole | None = None) -> str:
    """Words on which image a row of codes.csv is: its file, and where in it, if it is a tile."""
    name = Path(str(row.get("file") or row.get("index", ""))).name
    column, line = row.get("column", ""), row.get("row", "")
    tiled = column != "" and (int(column), int(line)) != (0, 0)
    return f"{name}\n{column}, {line}" if tiled else name


def _tell(about: Mapping[str, Any], target: Path, job: Job, run: Run, terminal: Terminal) -> None:
    """Print what was made."""
    oddest = about.get("oddest") or []
    if terminal.as_json:
        told = {
            "codes": str(target),
            "csv": str(beside(target, ".csv")),
            "run": str(run.path),
            "images": len(job.whole),
            "code_shape": list(job.codec.code_shape),
            "part": about["part"],
        }
        if job.with_scores:
            picture = str(beside(target, "-oddest.png"))
            told |= {**about["typical"], "oddest": oddest, "picture": picture}
        if job.bits is not None:
            told |= {"bits_file": str(beside(target, ".bits")), "bits": job.bits, **about["stored"]}
        terminal.json(told)
        return
    if oddest:
        header = ("index", "file", "place", "label", "mse", "code_distance")
        rows = [
            (
                str(row["index"]),
                str(row["file"]),
                "" if row["column"] == "" else f"{row['column']}, {row['row']}",
                str(row["label"]),
                f"{row['mse']:.4g}",
                f"{row['code_distance']:.3g}",
            )
            for row in oddest
        ]
        terminal.table(f"the oddest of {len(job.whole):,} images of {job.whole.name}", rows, header)
        terminal.say(f"picture: {beside(target, '-oddest.png')}")
    if job.bits is not None:
        _tell_of_bits(about["stored"], beside(target, ".bits"), job, terminal)
    terminal.path(target)


def _tell_of_bits(stored: Mapping[str, Any], path: Path, job: Job, terminal: Terminal) -> None:
    """Print what codes take in bits, and what that costs."""
    numbers, header = stored["numbers"], "without the header"
    rows = [
        ("bytes", f"{stored['bytes']:,}, the header's {stored['header_bytes']:,} among them"),
        *(
            (words, f"{stored[key]:.4g}; {header} {stored[f'{key}_without_header']:.4g}")
            for words, key in (
                ("bits per image", "bits_per_image"),
                ("bits per pixel", "bits_per_pixel"),
            )
        ),
        ("mse", f"{stored['mse']:.4g}; of the codes as float32 {stored['mse_of_float_codes']:.4g}"),
        ("clamped", f"{stored['clamped']:,} of {numbers:,} numbers"),
    ]
    title = f"{path.name}: {len(job.whole):,} codes of {job.codec.code_dim:,} numbers"
    terminal.table(f"{title} in {job.bits} bits each before entropy coding", rows)
