"""Readings of a run's numbers: which one counts, is it good, and the tables behind it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aecli.chapter import judge_grey_smear, judge_sanity_check
from aecli.chapter.verdict import BY_CONSTRUCTION, FAILS, HOLDS, ONLY_IF
from aecli.chapter.wording import COLLAPSED, mse_in_words, worse_than_constant
from aecli.counts import count
from aecli.pages.contents import Contents, finite
from aecli.pages.tables import Cell, Table, cell, mse_text, percent, short, table_of, words

GOOD, BAD, PLAIN = "good", "bad", "plain"


@dataclass(frozen=True)
class Statement:
    """A verdict in a sentence: good, bad, or plain."""

    kind: str
    text: str


@dataclass(frozen=True)
class Bar:
    """A line of the picture that shows a number among others of its kind."""

    label: str
    text: str
    percent: float
    """Length, of the longest."""
    is_own: bool


@dataclass(frozen=True)
class Reading:
    """Findings of a run, in the order in which they are told."""

    measure: str
    """Name of the number that counts; empty if there is none."""
    value: str = ""
    beside: str = ""
    """The number that it is held against, in words."""
    statements: Sequence[Statement] = ()
    bars: Sequence[Bar] = ()
    tables: Sequence[Table] = ()
    bars_measure: str = ""
    """Name of the number that the bars show, of which less is better."""


def read(contents: Contents) -> Reading:
    """The reading of a run, as its command is read; of one without numbers nothing."""
    reader = READERS.get(contents.command)
    there = contents.metrics or contents.command == "reproduce"
    return reader(contents) if reader and there else Reading("")


def _train(run: Contents) -> Reading:
    mse, pca = run.number("test_mse"), run.number("pca_test_mse")
    constant = run.number("mean_image_test_mse")
    statements = []
    codec = None if run.config is None else run.config.codec
    if mse is not None and pca is not None and codec is not None and not codec.linear:
        verdict = judge_sanity_check(mse, pca)
        statements.append(Statement(GOOD if verdict.holds else BAD, sentence(verdict.reason)))
    elif codec is not None and codec.linear:
        text = "A linear codec: on training images none is below PCA."
        statements.append(Statement(PLAIN, text))
    if mse is not None and constant is not None and (worse := worse_than_constant(mse, constant)):
        statements.append(Statement(BAD, sentence(worse)))
    if run.metrics.get("active_units") == 0:
        statements.append(Statement(BAD, sentence(COLLAPSED)))
    labels = {
        "test_mse": "this codec",
        "pca_test_mse": "PCA",
        "rotated_dct_test_mse": "rotated DCT",
        "dct_test_mse": "DCT",
        "thumbnail_test_mse": "thumbnail",
        "mean_image_test_mse": "mean image",
    }
    errors = {key: run.number(key) for key in labels}
    return Reading(
        "test mse per pixel",
        mse_text(mse),
        f"PCA with as many numbers: {mse_text(pca)}",
        statements,
        _bars((labels[key], value, key == "test_mse") for key, value in errors.items()),
        [table_of(run, "ordered.csv", "First units alone")] if run.text("ordered.csv") else [],
        "test mse per pixel",
    )


def _sweep(run: Contents) -> Reading:
    rows = run.rows("table.csv")
    layered = any(row.get("hidden") for row in rows)
    errors = [
        (
            _code(row) + (" without hidden layers" if layered and not row.get("hidden") else ""),
            finite(row.get("test_mse")),
            finite(row.get("pca_test_mse")),
        )
        for row in rows
    ]
    judged = [(k, mse, pca) for k, mse, pca in errors if mse is not None and pca is not None]
    return _against_pca(run, judged, "table.csv", "The trade-off")


def _grids(run: Contents) -> Reading:
    rows = run.rows("table.csv")
    table = table_of(run, "table.csv", "Grids of equally many numbers")
    pca = {row.get("numbers"): finite(row.get("test_mse")) for row in rows if _is_pca(row)}
    errors = []
    for row in rows:
        mse, beside = finite(row.get("test_mse")), pca.get(row.get("numbers"))
        if row.get("downsampling") and mse is not None and beside is not None:
            errors.append((f"{_grid(row)}, {row.get('numbers', '')[:20]}", mse, beside))
    if not errors:
        return Reading("", tables=[table])
    better = sum(mse < beside for _, mse, beside in errors)
    kind = GOOD if better == len(errors) else PLAIN if better else BAD
    text = f"Better than PCA of as many numbers: {better} of {count(len(errors), 'grid')}."
    name, mse, beside = min(errors, key=lambda each: each[1])
    measure = f"lowest test mse per pixel, {name} numbers"
    most = max((row.get("numbers", "") for row in rows), key=lambda text: finite(text) or 0)
    return Reading(
        measure,
        mse_text(mse),
        f"PCA there: {mse_text(beside)}",
        [Statement(kind, text)],
        _bars(_best_of_each([row for row in rows if row.get("numbers") == most])),
        [table],
        f"test mse per pixel of {most[:20]} numbers, each codec at its best factor",
    )


def _best_of_each(rows: Sequence[Mapping[str, str]]) -> list[tuple[str, float | None, bool]]:
    """Label, error and whether it was trained, of each codec's best row."""
    best: dict[tuple[Any, ...], tuple[float, str, bool]] = {}
    for row in rows:
        mse, is_grid = finite(row.get("test_mse")), bool(row.get("downsampling"))
        name = _grid(row) if is_grid else row.get("codec", "")[:20]
        kind = (row.get("codec"), row.get("shortcuts"))
        if mse is not None and (kind not in best or mse < best[kind][0]):
            best[kind] = mse, name, is_grid
    return [(name, mse, is_grid) for mse, name, is_grid in best.values()]


def _grid(row: Mapping[str, str]) -> str:
    """Words on a grid: `dc f32, no shortcuts`."""
    without = ", no shortcuts" if row.get("shortcuts") == "False" else ""
    return f"{row.get('codec', '')[:20]} f{row['downsampling'][:5]}{without}"


def _is_pca(row: Mapping[str, Any]) -> bool:
    return row.get("codec") == "pca"


def _compare(run: Contents) -> Reading:
    rows = run.rows("curve.csv")
    errors = [
        (_code(row), finite(row.get("ae_test_mse")), finite(row.get("pca_test_mse")))
        for row in rows
    ]
    judged = [(k, mse, pca) for k, mse, pca in errors if mse is not None and pca is not None]
    reading = _against_pca(run, judged, "curve.csv", "Network and PCA")
    paragraphs = [p for each in run.text("explanation.md").split("\n\n") if (p := each.strip())]
    holds = run.metrics.get("eckart_young_holds")
    kinds = [PLAIN, GOOD if holds is True else BAD if holds is False else PLAIN, PLAIN]
    more = [Statement(kind, text[:1000]) for kind, text in zip(kinds, paragraphs, strict=False)]
    tables = [*reading.tables, table_of(run, "eckart_young.csv", "The Eckart-Young theorem")]
    return Reading(
        reading.measure, reading.value, reading.beside, [*reading.statements, *more], (), tables
    )


def _against_pca(
    run: Contents, judged: Sequence[tuple[str, float, float]], file: str, title: str
) -> Reading:
    """A table of code dimensions, its lowest error in front."""
    table = table_of(run, file, title)
    if not judged:
        return Reading("", tables=[table])
    better = [k for k, mse, pca in judged if mse < pca]
    kind = GOOD if len(better) == len(judged) else BAD if not better else PLAIN
    which = f" (code {', '.join(better)})" if better and len(better) < len(judged) else ""
    text = f"Better than PCA at {len(better)} of {count(len(judged), 'row')}{which}."
    k, mse, pca = min(judged, key=lambda each: each[1])
    measure = f"lowest test mse per pixel, at a code of {k}"
    return Reading(
        measure, mse_text(mse), f"PCA there: {mse_text(pca)}", [Statement(kind, text)], (), [table]
    )


def _interpolate(run: Contents) -> Reading:
    leaving, pairs = run.number("pairs_leaving"), run.number("pairs")
    middle = run.number("in_hole_rate_middle")
    beside = f"PCA's: {percent(run.number('pca_in_hole_rate_middle'))}"
    statements = []
    if leaving is not None and pairs:
        of_pca = run.number("pca_pairs_leaving")
        also = "" if of_pca is None else f"; of PCA's {of_pca:,.0f}"
        text = f"{leaving:,.0f} of {pairs:,.0f} straight lines between codes leave the region that"
        kind = GOOD if leaving == 0 else PLAIN
        statements.append(Statement(kind, f"{text} images occupy{also}."))
    ends, there = run.number("confidence_ends"), run.number("confidence_middle")
    if ends is not None and there is not None:
        text = f"A classifier's confidence in what is decoded: {percent(ends)} at the ends,"
        statements.append(Statement(PLAIN, f"{text} {percent(there)} half-way."))
    tables = [
        table_of(run, "path.csv", "The path that is drawn", True),
        table_of(run, "rates.csv", "Means over all paths", True),
    ]
    shares = {
        "this codec's, half-way": "in_hole_rate_middle",
        "this codec's, at the ends": "in_hole_rate_ends",
        "PCA's, half-way": "pca_in_hole_rate_middle",
        "PCA's, at the ends": "pca_in_hole_rate_ends",
        "before the conversion, half-way": "before_in_hole_rate_middle",
        "before the conversion, at the ends": "before_in_hole_rate_ends",
    }
    bars = _bars(
        ((label, run.number(key), label.startswith("this")) for label, key in shares.items()),
        percent,
    )
    measure = "paths in a hole half-way, lower is better"
    what = "share of paths in a hole"
    return Reading(measure, percent(middle), beside, statements, bars, tables, what)


def _sample(run: Contents) -> Reading:
    names = {
        key.removeprefix("frechet_"): value
        for key in run.metrics
        if key.startswith("frechet_") and (value := run.number(key)) is not None
    }
    floor = names.get("floor")
    known = ("floor", "decoded", "untrained")
    drawn = {k: v for k, v in names.items() if k not in known and not k.startswith("by_class")}
    statements = []
    for which in ("trained", "untrained"):
        low, high = (run.number(f"smear_{end}_{which}") for end in ("low", "high"))
        if low is not None and high is not None:
            verdict = judge_grey_smear(low, high)
            head = (
                f"The chapter's grey smear, {which} codec, {'holds' if verdict.holds else 'fails'}"
            )
            statements.append(Statement(PLAIN, sentence(f"{head}: {verdict.reason}")))
    table = table_of(run, "samplers.csv", "Samplers")
    if not drawn:
        return Reading("", statements=statements, tables=[table])
    best = min(drawn, key=lambda name: drawn[name])
    if floor:
        times = f"{drawn[best] / floor:,.1f} times the distance of real images"
        text = f"The best sampler, {_sampler(best)}, is at {times}."
        statements.insert(0, Statement(PLAIN, text))
    shown = {k: v for k, v in names.items() if k != "untrained"}  # far off
    bars = _bars((_sampler(name), value, name == best) for name, value in shown.items())
    measure = f"lowest Frechet distance, {_sampler(best)}"
    beside = f"real test images: {short(floor)}"
    return Reading(
        measure, short(drawn[best]), beside, statements, bars, [table], "Frechet distance"
    )


def _sampler(name: str) -> str:
    """The name of a sampler, out of a metric's, as tables have it."""
    known = {"floor": "real images", "decoded": "decoded images"}
    bare = name.removeprefix("by_class_").replace("_", "-")
    return known.get(name, bare if bare == name.replace("_", "-") else f"{bare}, by class")


def _to_vae(run: Contents) -> Reading:
    after, before = run.number("test_mse"), run.number("plain_test_mse")
    statements = []
    if run.metrics.get("active_units") == 0:
        statements.append(Statement(BAD, sentence(COLLAPSED)))
    was, now = (run.number(f"{p}in_holes_standard_normal") for p in ("plain_", ""))
    if was is not None and now is not None:
        text = f"Codes of N(0, I) in holes: {percent(was)} before, {percent(now)} after."
        statements.append(Statement(GOOD if now < was else BAD, text))
    was, now = (run.number(f"{p}frechet_standard_normal") for p in ("plain_", ""))
    if was is not None and now is not None:
        text = f"Frechet distance of N(0, I), decoded: {short(was)} before, {short(now)} after."
        statements.append(Statement(GOOD if now < was else BAD, text))
    tables = [
        table_of(run, "conversion.csv", "Before and after"),
        table_of(run, "samplers.csv", "Samplers"),
    ]
    measure = "test mse per pixel, variational"
    return Reading(measure, mse_text(after), f"before: {mse_text(before)}", statements, (), tables)


def _tune(run: Contents) -> Reading:
    found, begun = run.number("val_loss"), run.number("begun_val_loss")
    statements = []
    if found is not None and begun is not None:
        text = f"Lower by {mse_text(begun - found)} than with the settings begun from."
        kind = GOOD if found < begun else PLAIN
        statements.append(Statement(kind, text if found < begun else "No better was found."))
    tables = [
        table_of(run, "what_matters.csv", "What was found, and what matters"),
        table_of(run, "trials.csv", "All trainings", is_folded=True),
    ]
    beside = f"begun from: {mse_text(begun)}"
    return Reading("validation loss", mse_text(found), beside, statements, (), tables)


def _evaluate(run: Contents) -> Reading:
    measures = [key[4:] for key in run.metrics if key.startswith("pca_")]
    pairs = [(run.number(name), run.number(f"pca_{name}")) for name in measures]
    both = [(own, pca) for own, pca in pairs if own is not None and pca is not None]
    better = sum(own > pca for own, pca in both)
    kind = GOOD if better == len(both) else BAD if not better else PLAIN
    text = f"Better than PCA's codes in {better} of {count(len(both), 'measure')}."
    by_measure: dict[tuple[str, str], dict[str, str]] = {}
    columns: list[str] = []
    for row in run.rows("evaluate.csv"):
        codes = row.get("codes", "")
        columns += [codes] if codes not in columns else []
        place = by_measure.setdefault((row.get("part", ""), row.get("measure", "")), {})
        place[codes] = row.get("mean", "")
    rows = [
        [Cell(part), Cell(words(name)), *(cell("", each.get(c, "")) for c in columns)]
        for (part, name), each in by_measure.items()
    ]
    tables = [Table("Codes at work", ["part", "measure", *columns], rows)]
    if run.text("anomaly.csv"):
        tables.append(table_of(run, "anomaly.csv", "Odd images, by normal class", True))
    first = next((name for name in measures if run.number(name) is not None), "")
    beside = f"PCA's codes: {percent(run.number(f'pca_{first}'))}"
    statements = [Statement(kind, text)] if both else []
    return Reading(words(first), percent(run.number(first)), beside, statements, (), tables)


def _reproduce(run: Contents) -> Reading:
    entries = run.entries("claims.json")
    verdicts = [str(entry.get("verdict", "")) for entry in entries]
    held, failed = verdicts.count(HOLDS), verdicts.count(FAILS)
    only_if = sum(verdict.startswith(ONLY_IF) for verdict in verdicts)
    given = verdicts.count(BY_CONSTRUCTION)
    left = len(verdicts) - held - failed - only_if - given
    header = ("§", "claim", "verdict", "chapter", "measured", "why")
    rows = [_claim(entry) for entry in entries]
    if not entries:
        return Reading("")
    is_quick = run.metrics.get("quick") is True
    judged = held + only_if + failed
    few = is_quick or judged <= left  # to speak for all
    kind = BAD if failed and not is_quick else PLAIN if few else GOOD
    counts = (
        (held, "holds", "hold"),
        (only_if, "holds only if ...", "hold only if ..."),
        (failed, "does not hold", "do not hold"),
    )
    told = ", ".join(f"{n} {one if n == 1 else more}" for n, one, more in counts if n)
    of = f"Of {judged} that were judged {told}." if judged else "No claim was judged."
    text = (
        f"{count(len(entries), 'claim')}. {of} {given} hold by construction; {left} are not judged."
    )
    statements = [Statement(kind, text)]
    if is_quick:
        statements.append(Statement(PLAIN, "A quick look: few images and epochs, no result."))
    value = f"{held} of {judged}"
    tables = [Table("The ledger", header, rows)]
    return Reading("claims that hold, of those judged", value, "", statements, (), tables)


def _claim(entry: Mapping[str, Any]) -> list[Cell]:
    """A row of the ledger."""

    def text(key: str) -> str:
        value = entry.get(key)
        return "" if value is None else str(value)[:1000]

    verdict = text("verdict")
    kind = GOOD if verdict == HOLDS else BAD if verdict == FAILS else ""
    section = finite(entry.get("section"))
    return [
        Cell(text("section"), section),
        Cell(text("says")),
        Cell(verdict, kind=kind),
        *(Cell(text(key)) for key in ("chapter", "measured")),
        Cell(text("reason"), link=text("figure")),
    ]


READERS: dict[str, Callable[[Contents], Reading]] = {
    "train": _train,
    "sweep-codedim": _sweep,
    "pca-compare": _compare,
    "sweep-downsampling": _grids,
    "tune": _tune,
    "interpolate": _interpolate,
    "sample": _sample,
    "to-vae": _to_vae,
    "evaluate": _evaluate,
    "reproduce": _reproduce,
}
"""Command -> the reading of its runs."""


def _bars(
    values: Iterable[tuple[str, float | None, bool]],
    text: Callable[[float], str] | None = None,
) -> list[Bar]:
    there = [(label, value, own) for label, value, own in values if value is not None]
    largest = max((value for _, value, _ in there), default=0)
    if largest <= 0:
        return []
    written = text or (mse_in_words if largest < 1 else short)
    return [
        Bar(label, written(v), max(100 * v / largest, 0), own)
        for label, v, own in sorted(there, key=lambda each: each[1])
    ]


def _code(row: Mapping[str, str]) -> str:
    variant = row.get("variant", "plain")
    return row.get("code_dim", "?")[:20] + ("" if variant == "plain" else f" {variant[:20]}")


def sentence(text: str) -> str:
    """`text` with a capital letter and a full stop."""
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
