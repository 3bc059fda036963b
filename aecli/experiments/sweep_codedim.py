"""`aecli sweep-codedim`: the chapter's trade-off table, every row measured over several seeds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aecli import chapter
from aecli.chapter import CodeReading
from aecli.codecs.ordered import FirstUnits
from aecli.config import (
    AdamConfig,
    CodecConfig,
    FitConfig,
    GaussianNoise,
    MaskingNoise,
    MuonConfig,
    SparseLoss,
    SweepConfig,
    without_layers,
)
from aecli.counts import count
from aecli.data import facts
from aecli.data.images import (
    Images,
)
from aecli.errors import UsageError
from aecli.experiments.possible import require_codecs, require_images
from aecli.experiments.result import Result
from aecli.experiments.sweep_figures import draw
from aecli.experiments.sweep_reading import (
    N_PROBE,
    Measured,
    Measuring,
    mean_reading,
    measure_codec,
    raw_accuracies,
)
from aecli.experiments.wording import mse_in_words, settings_in_words, worse_than_constant
from aecli.measure import metrics, probes
from aecli.measure.baselines import TRANSFORMS, Baseline, Baselines, full_pca, transform_columns
from aecli.measure.first_units import unit_order
from aecli.measure.seeds import mean, spread
from aecli.runs.context import Context, load_images
from aecli.runs.folder import RunDir, new_run
from aecli.training import device
from aecli.training.jobs import Job, Trained, facts_of_jobs, failure_text, train_all
from aecli.training.measuring import measure_all

_VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "gaussian": {"noise": GaussianNoise(level=0.3)},
    "masking": {"noise": MaskingNoise(level=0.5)},
    "sparse": {"loss": SparseLoss(l1=0.01)},
    "ordered": {"ordered": True},
}
_WIDE = {"optimizer": AdamConfig(lr=5e-3), "warmup": 0.2, "batch_size": 256}


@dataclass(frozen=True)
class RowSpec:
    """One row of the table: a codec trained in one way."""

    codec: CodecConfig
    variant: str
    wide: bool
    """True if it stands for a codec whose layers would be narrower than its code."""

    @property
    def key(self) -> str:
        """The row in the names of metrics."""
        parts = [str(self.codec.code_dim)]
        parts += ["wide"] if self.wide else []
        parts += [] if self.is_of_the_table else [self.variant]
        return "_".join(parts)

    @property
    def is_ordered(self) -> bool:
        """True if it is of the first units of a larger code."""
        return self.variant == "ordered"

    @property
    def is_of_the_table(self) -> bool:
        """True if it is trained without noise and penalty, as the chapter's table is."""
        return self.variant == "plain" or self.is_ordered


@dataclass(frozen=True)
class Row:
    """Measurements of one row, a value per seed."""

    spec: RowSpec
    trained: Sequence[Trained]
    test_mse: Sequence[float]
    train_mse: Sequence[float]
    denoising_mse: Sequence[float]
    baselines: Mapping[str, Baseline]
    """Codecs of the same size, by the names of their metrics."""
    reading: CodeReading
    """Means over the seeds."""

    @property
    def pca_test_mse(self) -> float | None:
        return self.baselines["pca"].test_mse


@dataclass(frozen=True)
class Sweep:
    """A measured table."""

    dataset: str
    rows: Sequence[Row]
    raw_probe_accuracy: float | None
    """Accuracy of the linear probe on the pixels, in [0, 1]; None without labels, and of images too
    large for one."""
    raw_knn_accuracy: float | None
    mean_image_test_mse: float
    failures: Sequence[str] = ()
    """A line for each training that failed; a row with one is not in the table."""
    unit_orders: Sequence[float] = ()
    """Rank correlations of unit and variance, of ordered codes, for each seed."""

    def table(self) -> list[dict[str, Any]]:
        """table.csv: a dict per row."""
        return [_table_row(row, self.raw_probe_accuracy, self.dataset) for row in self.rows]

    def numbers(self, seeds: int) -> dict[str, Any]:
        """metrics.json: flat, by row."""
        flat: dict[str, Any] = {
            "dataset": self.dataset,
            "seeds": seeds,
            "rows": len(self.rows),
            "failed_jobs": len(self.failures),
            "raw_pixels_probe_accuracy": self.raw_probe_accuracy,
        }
        for row in self.rows:
            flat[f"test_mse_{row.spec.key}"] = mean(row.test_mse)
            flat[f"test_mse_sd_{row.spec.key}"] = spread(row.test_mse)
            flat[f"pca_test_mse_{row.spec.key}"] = row.pca_test_mse
            for name in TRANSFORMS:
                flat[f"{name}_test_mse_{row.spec.key}"] = row.baselines[name].test_mse
            flat[f"probe_accuracy_{row.spec.key}"] = row.reading.probe_accuracy
            flat[f"denoising_mse_{row.spec.key}"] = mean(row.denoising_mse)
        if self.unit_orders:
            flat["ordered_rank_correlation"] = mean(self.unit_orders)
        return flat


def check(config: SweepConfig, images: int | None) -> None:
    """Raises UsageError for what would fail only after trainings; images: the number, if known."""
    require_images(images, probes.NEIGHBOURS, "the probes vote among the nearest codes")
    every = [spec.codec for spec in row_specs(config)]
    require_codecs(every, facts.image_shape(config.data), images)


def run(config: SweepConfig, context: Context) -> Result:
    """Train and measure every row, and leave the table. Raises every AecliError."""
    device.prepare(config)
    check(config, config.data.limit_train)
    dims = "-".join(map(str, config.code_dims))
    slug = config.name or (f"ordered-{dims}" if config.ordered else dims)[:40]
    with new_run(context.runs_dir, config, slug, context.argv, context.resumed) as run_dir:
        context.tell_machine(run_dir.path, facts_of_jobs(config), " for each training")
        images, config = load_images(config, context, run_dir)
        context.terminal.warn(run_dir.note(**facts_of_jobs(config)))
        sweep = measure_sweep(config, images, run_dir, context)
        numbers = sweep.numbers(config.seeds)
        run_dir.write_metrics(numbers)
        if sweep.failures:
            run_dir.fail(failure_text(sweep.failures))
    header, rows = _printed(sweep.table())
    seeds = count(config.seeds, "seed")
    over = "over the first units of one code" if config.ordered else "over code dimensions"
    title = f"{images.name}: {config.codec.name} {over}, {seeds}"
    notes = [_settings(config, images), *_order_in_words(sweep)]
    return Result(run_dir.path, numbers, title, rows, header, notes, sweep.failures)


def _order_in_words(sweep: Sweep) -> list[str]:
    if not sweep.unit_orders:
        return []
    each = ", ".join(f"{order:.3f}" for order in sweep.unit_orders)
    return [f"Rank correlation of unit and variance, -1 if in order, by seed: {each}."]


def jobs(config: SweepConfig) -> list[Job]:
    """The trainings of a sweep, each once."""
    return list(dict.fromkeys(job for of_row in _by_row(config).values() for job in of_row))


def _by_row(config: SweepConfig) -> dict[RowSpec, list[Job]]:
    specs = row_specs(config)
    return {spec: _jobs(specs[-1] if spec.is_ordered else spec, config) for spec in specs}


def measure_sweep(config: SweepConfig, images: Images, run_dir: RunDir, context: Context) -> Sweep:
    """The measured table of `config`; its tables and figures are left in `run_dir`."""
    check(config, len(images.train))
    if images.labelled and images.train.classes < 2:
        raise UsageError(
            f"data.limit_train={len(images.train)}: all training images have one label, from which"
            " the probes of a table learn nothing; take more"
        )
    specs = row_specs(config)
    by_row = _by_row(config)
    trainings = train_all(jobs(config), images, config, run_dir, context)
    with context.terminal.working("PCA of all components"):
        pca = full_pca(images)
    with context.terminal.working("transforms beside the rows"):
        baselines = Baselines(images, max(spec.codec.code_dim for spec in specs), pca)
    whole = {
        spec: _first_units(trained, spec)
        for spec, of_row in by_row.items()
        if (trained := trainings.all(of_row)) is not None
    }
    tasks = [Measuring(each.codec, N_PROBE) for trained in whole.values() for each in trained]
    text = "measuring the codecs"
    found = iter(measure_all(measure_codec, tasks, images, config, run_dir, context, text))
    rows = [
        _row(spec, trained, [next(found) for _ in trained], baselines)
        for spec, trained in whole.items()
    ]
    text = "probing the pixels"
    [raw] = measure_all(raw_accuracies, [N_PROBE], images, config, run_dir, context, text)
    if not rows:
        trainings.require_all()
    constant = images.mean_image_mse()
    largest = trainings.all(by_row[specs[-1]]) if config.ordered else None
    orders = [unit_order(metrics.encode(each.codec, images.test)) for each in largest or ()]
    sweep = Sweep(images.name, rows, *raw, constant, trainings.failures(), orders)
    context.terminal.warn(
        [
            f"code {row.spec.key}: {worse}"
            for row in rows
            if (worse := worse_than_constant(mean(row.test_mse), constant)) is not None
        ]
    )
    run_dir.write_csv("table.csv", sweep.table())
    run_dir.save_text("table.md", _markdown(sweep, images, config))
    with context.terminal.working("drawing the figures"):
        draw(sweep, images, pca, run_dir)
    return sweep


def row_specs(config: SweepConfig) -> list[RowSpec]:
    """The rows of a sweep: each code dimension in each variant, and, for a code as large as the
    image behind narrower layers, one more without hidden layers, where an identity is possible.

    If it is ordered, a row for each code dimension, the largest last, whose codec all are of.
    """
    pixels = math.prod(facts.image_shape(config.data))
    codecs = []
    for code_dim in config.code_dims:
        codec = config.codec.model_copy(update={"code_dim": code_dim})
        codecs.append((codec, False))
        if not config.ordered and (wide := without_layers(codec, pixels)) is not None:
            codecs.append((wide, True))
    variants = ("ordered",) if config.ordered else config.variants
    return [RowSpec(codec, v, wide) for codec, wide in codecs for v in variants]


def _jobs(spec: RowSpec, config: SweepConfig) -> list[Job]:
    """The trainings of a row's codec, one for each seed."""
    seeds = range(config.seed, config.seed + config.seeds)
    return [Job(spec.codec, _fit(spec, config), seed) for seed in seeds]


def _fit(spec: RowSpec, config: SweepConfig) -> FitConfig:
    """The training of a row: as the config says, with its variant's noise or penalty.

    A widened row is two square matrices as large as the image, on which a step of Muon costs tens
    of times what it does on the chapter's; Adam, warmed up and decayed, serves it instead.
    """
    adam = _WIDE if spec.wide and isinstance(config.train.optimizer, MuonConfig) else {}
    return config.train.model_copy(update={**adam, **_VARIANTS[spec.variant]})


def _settings(config: SweepConfig, images: Images) -> str:
    """A sentence on how the rows were trained."""
    if config.ordered:
        largest = row_specs(config)[-1]
        how = settings_in_words(config.model_copy(update={"train": _fit(largest, config)}), images)
        return (
            f"{how} Every row has the first units of the same"
            f" {count(config.seeds, 'code')} of {largest.codec.code_dim}, with 0 for the others."
        )
    names = {
        spec: "those without hidden layers" if spec.wide else spec.variant
        for spec in row_specs(config)
        if spec.wide != (spec.variant != "plain")
    }
    others = [(name, _fit(spec, config)) for spec, name in names.items()]
    apart = [(name, fit) for name, fit in dict.fromkeys(others) if fit != config.train]
    return settings_in_words(config, images, apart)


def _first_units(trained: Sequence[Trained], spec: RowSpec) -> Sequence[Trained]:
    """The codecs of a row: the first units of an ordered code, or all."""
    if not spec.is_ordered:
        return trained
    return [replace(t, codec=FirstUnits(t.codec, spec.codec.code_dim)) for t in trained]


def _row(
    spec: RowSpec, trained: Sequence[Trained], found: Sequence[Measured], baselines: Baselines
) -> Row:
    """One row; found: what was measured of each of its codecs."""
    return Row(
        spec,
        trained,
        [each.test_mse for each in found],
        [each.train_mse for each in found],
        [each.denoising_mse for each in found],
        baselines.beside(trained[0].codec.code_dim),
        mean_reading([each.reading for each in found]),
    )


def _table_row(row: Row, raw_probe_accuracy: float | None, dataset: str) -> dict[str, Any]:
    codec = row.trained[0].codec
    reading = row.reading
    return {
        "code_dim": codec.code_dim,
        "compression_ratio": codec.compression_ratio,
        "narrowest_layer": codec.narrowest_layer,
        "test_mse": mean(row.test_mse),
        "test_mse_sd": spread(row.test_mse),
        "train_mse": mean(row.train_mse),
        "pca_test_mse": row.pca_test_mse,
        "probe_accuracy": reading.probe_accuracy,
        "chapter_mse": chapter.table_mse_of(dataset).get(codec.code_dim),
        "what_it_learns": chapter.describe_code(reading, raw_probe_accuracy),
        "hidden": "-".join(map(str, getattr(row.spec.codec, "hidden", ()))) or "none",
        "variant": row.spec.variant,
        "knn_accuracy": reading.knn_accuracy,
        "slant_r2": reading.slant_r2,
        "thickness_r2": reading.thickness_r2,
        "sharpness": reading.sharpness,
        "denoising_mse": mean(row.denoising_mse),
        **transform_columns(row.baselines),
        "dataset": dataset,
    }


def _printed(table: list[dict[str, Any]]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The table as a person reads it: the chapter's value, if it has any, beside the measured."""
    several = len({row["variant"] for row in table}) > 1
    printed = any(row["chapter_mse"] is not None for row in table)
    probed = any(row["probe_accuracy"] is not None for row in table)
    header: tuple[str, ...] = (
        "first units" if any(row["variant"] == "ordered" for row in table) else "code",
        "ratio",
        "narrowest",
        "test mse",
        *(["chapter"] if printed else []),
        "PCA",
        *(["probe"] if probed else []),
        *(["from noisy"] if several else []),
        "what it learns",
    )
    rows: list[tuple[str, ...]] = []
    for row in table:
        sd = "" if math.isnan(row["test_mse_sd"]) else f" ± {row['test_mse_sd']:.5f}"
        variant = f" {row['variant']}" if several else ""
        rows.append(
            (
                f"{row['code_dim']}{variant}",
                f"{row['compression_ratio']:g}:1",
                str(row["narrowest_layer"]),
                f"{mse_in_words(row['test_mse'])}{sd}",
                *([_three_digits(row["chapter_mse"])] if printed else []),
                "" if row["pca_test_mse"] is None else mse_in_words(row["pca_test_mse"]),
                *([_percent(row["probe_accuracy"])] if probed else []),
                *([f"{row['denoising_mse']:.5f}"] if several else []),
                row["what_it_learns"],
            )
        )
    return header, rows


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}%"


def _three_digits(mse: float | None) -> str:
    return "" if mse is None else f"{mse:.3f}"


def _markdown(sweep: Sweep, images: Images, config: SweepConfig) -> str:
    header, rows = _printed(sweep.table())
    lines = ["| " + " | ".join(cells) + " |" for cells in (header, ("---",) * len(header), *rows)]
    about = (
        f"{images.title}, {len(images.train):,} training and {len(images.test):,} test images,"
        f" mean ± sd over {count(config.seeds, 'seed')}; mse per pixel in [0, 1]."
        f" {_settings(config, images)}"
    )
    missing = [f"- missing: {failure}" for failure in sweep.failures]
    return "\n".join([*lines, "", *missing, about, ""])
