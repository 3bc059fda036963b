"""The page of one run or several: what was run, is it good, and how to repeat it."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from aecli import __version__
from aecli.counts import count
from aecli.pages import hourglass, pictures, readings
from aecli.pages.contents import Contents
from aecli.pages.environment import GENERATOR, template
from aecli.pages.pictures import Picture
from aecli.pages.readings import PLAIN, Reading, Statement
from aecli.pages.tables import Table, history_table, metrics_table
from aecli.runs.run import Run
from aecli.terminal import in_one_line

_ROOM_FOR_ONE, _ROOM_FOR_MANY = 1_300_000, 6_500_000  # bytes of pictures, before base64
_MOST_PICTURES = 40
_MOST_DRAWINGS = 6
_MOST_WARNINGS = 20
_NOT_TOLD = {"name", "device", "threads", "jobs", "checkpoint_seconds", "data.dir"}
"""Settings that change no result, which an index leaves out."""

# Name of a picture -> what is to be seen in it; in the order in which they are shown.
PICTURES = {
    "tradeoff": "test error by code dimension",
    "comparison": "test error of network, linear autoencoder, PCA and transforms by code dimension",
    "downsampling": "test error by the factor of the code's grid, beside PCA and transforms",
    "tuning": "validation loss of the settings that were tried, and how much each setting matters",
    "reconstructions": "test images from the best to the worst decoded, above what decodes from"
    " their codes",
    "reconstructions_dc": "test images, and what dc decodes from ever coarser grids",
    "reconstructions_dc_without_shortcuts": "test images, and what dc without shortcuts decodes"
    " from ever coarser grids",
    "reconstructions_kl": "test images, and what kl decodes from ever coarser grids",
    "reconstructions_conv": "test images, and what conv decodes from ever coarser grids",
    "before_after": "test images, and what decodes from N(0, I), before and after the conversion",
    "interpolation": "images decoded along the straight line between two codes, and its holes",
    "sample_grids": "images decoded from each sampler's codes",
    "work": "codes at work beside PCA's and pixels",
    "decoded": "test images decoded at each code dimension",
    "training_curve": "error by epoch of the training",
    "chapter_training": "error by epoch of the chapter's own training",
    "hole_rates": "share of paths in a hole along the way between two codes",
    "latent_map": "map of the codes, with the region that images occupy",
    "decoder_grid": "images decoded from a grid of codes",
    "code_scatter": "codes of the test images, by class",
    "code_units": "variance of the code's units, and how they correlate",
    "code_ranges": "range of each unit of the code, beside that of N(0, 1)",
    "code_maps": "where codes of test images lie, before and after",
    "per_class": "images drawn for each class",
    "kl_units": "what each unit of the code says of an image, in nats",
    "beta_curve": "what the weight of N(0, I) costs",
    "grids": "test error of dc on ever coarser grids, with and without shortcuts",
    "midpoints": "an image between two others, and what means of pixels and of codes make of it",
    "ordered": "test error of an ordered code's first units",
    "unit_mix": "linear autoencoder's units in terms of PCA's components",
    "conversion": "codecs before and after they are made variational",
    "deleted_units": "test error without each unit of the code, beside PCA's components",
    "one_piece": "decoded digits, and how many are one piece of ink",
    "turned": "an image that is turned, as it is and decoded",
    "in_range": "images decoded from codes within the range of each unit",
    "noise": "what noise in the training does against copying",
    "scarce_class": "classification of a scarce class that is filled up",
    "classification": "accuracy of classifiers of codes by the number of labels",
    "clustering": "agreement of clusters with classes",
    "retrieval": "precision of retrieval",
    "anomaly": "how well odd images are told, by class",
    "robustness": "changed images that are found again by their codes",
}

STOPPED = "stopped"
"""The kind of a sentence on a run that has no result."""
_STATES = {
    "completed": (PLAIN, ""),
    "running": (PLAIN, "It was still running when this page was made; what follows is so far."),
    "failed": (STOPPED, "It failed; there is no result."),
    "interrupted": (STOPPED, "It was interrupted before its end; there is no result."),
    "dead": (STOPPED, "It was killed before its end; there is no result."),
    "empty": (STOPPED, "It was killed before it wrote anything: it has no run.json."),
    "unreadable": (STOPPED, "It is damaged: its run.json cannot be read."),
}


@dataclass(frozen=True)
class Shown:
    """One run as the template shows it."""

    id: str
    name: str
    command: str
    state: str
    reading: Reading
    statements: Sequence[Statement]
    facts: Sequence[tuple[str, str]]
    drawings: Sequence[hourglass.Drawing]
    tables: Sequence[Table]
    pictures: Sequence[tuple[Picture, str, str]]
    """Picture, words on it, and the id of its place."""
    left_out: Sequence[str]
    settings: Sequence[tuple[str, str]]
    provenance: Sequence[tuple[str, str]]
    repeat: str
    repeat_note: str
    warnings: Sequence[str]
    faults: Sequence[str]

    @property
    def verdict(self) -> str:
        """`bad` if anything that it found is, `good` if something is and nothing bad, or empty."""
        kinds = {statement.kind for statement in self.reading.statements}
        return "bad" if "bad" in kinds else "good" if "good" in kinds else ""

    def place_of(self, picture: str) -> str:
        """The id of a picture's place on the page; empty if it is not there."""
        return next((place for each, _, place in self.pictures if each.name == picture), "")


def page(runs: Sequence[Run], made: str) -> str:
    """The HTML of one page on these runs; made: the time, as it is shown."""
    every = [Contents(run, []) for run in runs]
    names = [_in_order(pictures.names_in(each.run.path)) for each in every]
    chosen = list(pictures.in_turn(names, _MOST_PICTURES))
    wanted = [(every[i].run.path, name) for i, name in chosen]
    room = _ROOM_FOR_ONE if len(every) == 1 else _ROOM_FOR_MANY
    of_run: list[list[Picture]] = [[] for _ in every]
    for (i, _), picture in zip(chosen, pictures.pictures_of(wanted, room), strict=True):
        of_run[i].append(picture)
    shown = [
        _shown(f"r{i + 1}", *each) for i, each in enumerate(zip(every, names, of_run, strict=True))
    ]
    differing = _differing(every)
    title = shown[0].name if len(shown) == 1 else f"{len(shown)} runs"
    text: str = template("report.html").render(
        title=title, runs=shown, differing=differing, made=made, version=__version__,
        generator=GENERATOR,
    )  # fmt: skip
    return text


def _in_order(names: Sequence[str]) -> list[str]:
    """Pictures, the most telling first; the run's own before those of its sections."""
    order = list(PICTURES)

    def rank(name: str) -> tuple[bool, int]:
        stem = _stem(name)
        return "/" in name, order.index(stem) if stem in order else len(order)

    return sorted(names, key=rank)


def _stem(name: str) -> str:
    return name.rpartition("/")[2].rpartition(".")[0]


def _shown(place: str, run: Contents, names: Sequence[str], drawn: Sequence[Picture]) -> Shown:
    record, state = run.record, run.run.state
    reading = readings.read(run)
    kind, sentence = _STATES[state]
    statements = [Statement(kind, sentence)] if sentence else []
    error = record.get("error")
    if isinstance(error, str):
        statements.append(Statement(STOPPED, readings.sentence(in_one_line(error[:2000]))))
    tables = [table for table in reading.tables if table.rows]
    if (history := history_table(run)) is not None:
        tables.append(history)
        if state != "completed" and history.rows:
            statements.append(Statement(PLAIN, _how_far(history, run)))
    if run.metrics:
        tables.append(metrics_table(run))
    elif state == "completed":
        statements.append(Statement(STOPPED, "It is damaged: its metrics.json cannot be read."))
    here = {each.name for each in drawn}
    warnings = record.get("warnings", [])
    argv = record.get("argv", [])
    repeat, note = _how_to_repeat(run, state, argv if isinstance(argv, list) else [])
    return Shown(
        id=place,
        name=run.name,
        command=run.command or "no command",
        state=state,
        reading=reading,
        statements=[*statements, *reading.statements],
        facts=_facts(run),
        drawings=_drawings(run),
        tables=tables,
        pictures=[(p, _seen(p.name), f"{place}-p{i + 1}") for i, p in enumerate(drawn)],
        left_out=[name for name in names if name not in here],
        settings=list(run.settings.items()),
        provenance=_provenance(run),
        repeat=repeat,
        repeat_note=note,
        warnings=[in_one_line(str(each)[:1000]) for each in warnings[:_MOST_WARNINGS]],
        faults=run.faults,
    )


def _how_far(history: Table, run: Contents) -> str:
    """A sentence on the epochs that a training got to, by its table, whose first column has them
    from 0 on."""
    done, of = (history.rows[-1][0].order or 0) + 1, run.settings.get("train.epochs", "?")
    return f"It got through {done:.0f} of {of} epochs."


def _seen(name: str) -> str:
    """Words on what a picture shows."""
    what = PICTURES.get(_stem(name), "a picture of the run")
    section = name.rpartition("/")[0]
    return f"{section}: {what}" if section else what[:1].upper() + what[1:]


def _facts(run: Contents) -> list[tuple[str, str]]:
    """Facts of what was run, and on what."""
    record, settings = run.record, run.settings
    data = record.get("dataset", {})
    numbers = [
        f"{n:,} {what}"
        for key, what in (
            ("n_train", "to train on"),
            ("n_val", "to validate"),
            ("n_test", "to test"),
        )
        if isinstance(n := data.get(key), int)
    ]
    images = f"{_text(data.get('name')) or '-'} ({', '.join(numbers)})" if numbers else ""
    dims = settings.get("code_dims") or settings.get("codec.code_dim", "")
    codec = settings.get("codec.name", "")
    seeds, seed = settings.get("seeds", "1"), settings.get("seed", "")
    seconds = record.get("seconds")
    took = _duration(seconds) if isinstance(seconds, int | float) else ""
    facts = {
        "images": images,
        "codec": f"{codec}, code of {dims}" if codec and dims else codec,
        "training": _training(settings),
        "seed": seed if seeds == "1" else f"{seeds} seeds from {seed}",
        "looked into": _text(record.get("subject")),
        "begun": _time(_text(record.get("started"))),
        "took": took,
        "computed on": ", ".join(
            part for key in ("device", "precision") if (part := _text(record.get(key)))
        ),
    }
    return [(key, value) for key, value in facts.items() if value]


def _training(settings: dict[str, str]) -> str:
    recipe, epochs = settings.get("train.recipe"), settings.get("train.epochs")
    if recipe is None or epochs is None:
        return ""
    passes = count(int(epochs), "epoch") if epochs.isdecimal() else f"{epochs} epochs"
    return f"recipe {recipe}, {passes} in batches of {settings.get('train.batch_size', '-')}"


def _time(text: str) -> str:
    """A time of run.json, to the minute, in UTC as the page's own; as it is if it is none."""
    try:
        return f"{datetime.fromisoformat(text).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    except (ValueError, OverflowError):
        return text


def _duration(seconds: float) -> str:
    """`23.0 s`, `11 min`, `2 h 5 min`."""
    if not 100 <= seconds < 10**9:
        return f"{seconds:,.1f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours:,} h {minutes} min" if hours else f"{minutes} min"


def _text(value: Any) -> str:
    return value[:500] if isinstance(value, str) else ""


def _drawings(run: Contents) -> list[hourglass.Drawing]:
    """The network, for each code dimension of a sweep."""
    config, shape = run.config, run.image_shape
    if config is None or shape is None:
        return []
    dims = list(getattr(config, "code_dims", ()))[:_MOST_DRAWINGS] or [config.codec.code_dim]
    codecs = [config.codec.model_copy(update={"code_dim": k}) for k in dims]
    glasses = [hourglass.hourglass(codec, shape) for codec in codecs]
    measured = run.metrics.get("parameters")
    if len(glasses) == 1 and glasses[0].total is None and isinstance(measured, int):
        glasses = [replace(glasses[0], total=measured)]
    return [hourglass.drawn(glass) for glass in glasses]


def _provenance(run: Contents) -> list[tuple[str, str]]:
    record = run.record
    versions = ", ".join(f"{k} {v}" for k, v in list(record.get("versions", {}).items())[:30])
    commit, dirty = _text(record.get("git_commit")), record.get("git_dirty")
    data = record.get("dataset", {})
    facts = {
        "folder": str(run.run.path.absolute()),
        "run id": _text(record.get("id")),
        "finished": _time(_text(record.get("finished"))),
        "gone on with": ", ".join(map(_text, record.get("resumed", [])[:20])),
        "versions": versions,
        "program, SHA-256": _text(record.get("program_sha256")),
        "git commit": f"{commit}{', with changes' if dirty is True else ''}" if commit else "",
        "platform": _text(record.get("platform")),
        "images from": _text(data.get("source")),
        "images, SHA-256": _text(data.get("sha256")),
    }
    return [(key, value) for key, value in facts.items() if value]


def _how_to_repeat(run: Contents, state: str, argv: Sequence[Any]) -> tuple[str, str]:
    """The command that repeats the run or goes on with it, and a word on it."""
    where = shlex.quote(str(run.run.path.absolute()))
    if not run.command or run.config is None:
        return "", ""
    if state in ("failed", "interrupted", "dead"):
        return f"aecli resume {where}", "It ends as if it had not stopped."
    typed = shlex.join(["aecli", *(str(each)[:500] for each in argv[1:100])]) if argv else ""
    config = (
        f"{where}/config.yaml"
        if where[0] != "'"
        else shlex.quote(f"{run.run.path.absolute()}/config.yaml")
    )
    return f"aecli {run.command} --config {config}", f"It was begun by: {typed}" if typed else ""


def _differing(every: Sequence[Contents]) -> list[tuple[str, list[str]]]:
    """The settings that are not the same in all runs that have any, with the value in each."""
    keys = dict.fromkeys(key for each in every for key in each.settings if key not in _NOT_TOLD)
    rows = [(key, [each.settings.get(key, "-") for each in every]) for key in keys]
    return [(key, values) for key, values in rows if len(set(values)) > 1][:12]
