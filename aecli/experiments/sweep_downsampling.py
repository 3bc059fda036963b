"""`aecli sweep-downsampling`: codes of equally many numbers on ever coarser grids."""

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from aecli import figures
from aecli.codecs.base import Codec
from aecli.codecs.grid_settings import BETA_OF_LATENT_DIFFUSION
from aecli.config import (
    ElboLoss,
    FitConfig,
    SweepDownsamplingConfig,
    quick_images,
)
from aecli.config.grids import RowSpec, row_specs
from aecli.counts import count
from aecli.data import facts
from aecli.data.images import Images, Source
from aecli.errors import UsageError
from aecli.experiments.evaluate_parts import thinned
from aecli.experiments.possible import require_codecs
from aecli.experiments.result import Result
from aecli.experiments.training_figure import decoded
from aecli.experiments.wording import mse_in_words, settings_in_words
from aecli.measure import metrics
from aecli.measure.baselines import Baselines
from aecli.measure.fidelity import HIGH_FREQUENCY, Fidelity, fidelity
from aecli.measure.seeds import mean, spread
from aecli.runs.context import Context, load_images
from aecli.runs.folder import RunDir, new_run
from aecli.training import device
from aecli.training.jobs import Job, Trained, facts_of_jobs, failure_text, train_all

_SHOWN = 6  # held-out images of a sheet
_TIMED = 16  # images that encoder and decoder are timed on, three times
_BASELINES = {"pca": "PCA", "dct": "DCT", "rotated_dct": "rotated DCT", "thumbnail": "thumbnail"}


@dataclass(frozen=True)
class Row:
    """Measurements of one row, a value per seed."""

    spec: RowSpec
    codec: Codec
    """That of the first seed."""
    train_mse: Sequence[float]
    train_seconds: Sequence[float]
    fidelity: Sequence[Fidelity]
    seconds: tuple[float, float]
    """Seconds per image of encoder and decoder, on one thread."""

    @property
    def test_mse(self) -> list[float]:
        return [each.mse for each in self.fidelity]


def check(config: SweepDownsamplingConfig, images: int | None) -> None:
    """Raises UsageError for what would fail only after trainings; images: the number, if known."""
    if config.codec.from_pretrained is not None:
        raise UsageError("codec.from_pretrained: every codec of the sweep is trained from scratch")
    shape = facts.image_shape(config.data)
    require_codecs([spec.codec for spec in row_specs(config)], shape, images)


def run(config: SweepDownsamplingConfig, context: Context) -> Result:
    """Train and measure every row, and leave the table. Raises every AecliError."""
    device.prepare(config)
    check(config, config.data.limit_train)
    slug = config.name or "-".join(f"f{factor}" for factor in config.downsamplings)[:40]
    with new_run(context.runs_dir, config, slug, context.argv, context.resumed) as run_dir:
        context.tell_machine(run_dir.path, facts_of_jobs(config), " for each training")
        images, config = load_images(config, context, run_dir, quick_images(config))
        context.terminal.warn(run_dir.note(**facts_of_jobs(config)))
        rows, table, failures = _measured(config, images, run_dir, context)
        numbers = _numbers(rows, table, images, config.seeds, len(failures))
        run_dir.write_metrics(numbers)
        if failures:
            run_dir.fail(failure_text(failures))
    header = ("codec", "f", "code", "test mse", "PSNR", "SSIM", "detail", "of its own")
    title = (
        f"{images.name}: {config.codec.code_dim} numbers on ever coarser grids,"
        f" {count(config.seeds, 'seed')}"
    )
    printed = [_printed(row) for row in table]
    notes = [
        settings_in_words(config, images),
        "Detail is the energy at periods under"
        f" {1 / HIGH_FREQUENCY:.0f} pixels over that of the images; of its own, its correlation"
        " with theirs: what is there and not correlated is made up.",
    ]
    return Result(run_dir.path, numbers, title, printed, header, notes, failures)


def fit_of(kind: str, config: SweepDownsamplingConfig) -> FitConfig:
    """The training of a kind: as the config says, `kl` by its bound with the published weight."""
    if kind != "kl":
        return config.train
    return config.train.model_copy(update={"loss": ElboLoss(beta=BETA_OF_LATENT_DIFFUSION)})


def jobs(config: SweepDownsamplingConfig) -> list[Job]:
    """The trainings of a sweep, each once."""
    return list(dict.fromkeys(job for of_row in _by_row(config).values() for job in of_row))


def _by_row(config: SweepDownsamplingConfig) -> dict[RowSpec, list[Job]]:
    seeds = range(config.seed, config.seed + config.seeds)
    return {
        spec: [Job(spec.codec, fit_of(spec.kind, config), seed) for seed in seeds]
        for spec in row_specs(config)
    }


def _measured(
    config: SweepDownsamplingConfig, images: Images, run_dir: RunDir, context: Context
) -> tuple[list[Row], list[dict[str, Any]], list[str]]:
    """The rows, the table of them and of the baselines, and a line for each training that failed;
    tables and figures are left in `run_dir`."""
    specs, by_row = row_specs(config), _by_row(config)
    trainings = train_all(jobs(config), images, config, run_dir, context)
    rows = []
    with context.terminal.working("measuring the rows", len(specs), "rows") as advance:
        for spec in specs:
            trained = trainings.all(by_row[spec])
            if trained is not None:
                rows.append(_row(spec, trained, images))
            advance()
    if not rows:
        trainings.require_all()
    with context.terminal.working("PCA and transforms beside them"):
        baselines = _baselines(config, images)
    table = _table(rows, baselines, images)
    run_dir.write_csv("table.csv", table)
    run_dir.save_text("table.md", _markdown(table, settings_in_words(config, images)))
    run_dir.write_csv("speed.csv", [_speed(row) for row in rows])
    with context.terminal.working("drawing the figures"):
        _draw(config, rows, baselines, images, run_dir)
    return rows, table, trainings.failures()


def _row(spec: RowSpec, trained: Sequence[Trained], images: Images) -> Row:
    codecs = [each.codec for each in trained]
    return Row(
        spec,
        codecs[0],
        [metrics.mse(codec, _some_of_train(images)) for codec in codecs],
        [sum(record.seconds for record in each.records) for each in trained],
        [fidelity(codec, images.test) for codec in codecs],
        _seconds_per_image(codecs[0], images),
    )


def _some_of_train(images: Images) -> Source:
    """Training images, at most as many as there are for the test: enough to tell both errors."""
    return thinned(images.train, len(images.test))


@torch.no_grad()
def _seconds_per_image(codec: Codec, images: Images) -> tuple[float, float]:
    """Seconds per image of encoder and decoder on one thread, medians of three."""
    few = images.test.first(_TIMED)
    batch = few.all()
    seen = codec.seen(batch)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found: list[tuple[float, float]] = []
    try:
        codes = codec.encode(seen)
        for _ in range(3):
            started = time.perf_counter()
            codes = codec.encode(seen)
            encoded = time.perf_counter()
            codec.decode(codes)
            found.append((encoded - started, time.perf_counter() - encoded))
    finally:
        torch.set_num_threads(threads)
    down, up = (statistics.median(each) / len(batch) for each in zip(*found, strict=True))
    return down, up


def _baselines(config: SweepDownsamplingConfig, images: Images) -> list[dict[str, Any]]:
    """Rows of the table for PCA and transforms, of each number of numbers."""
    sizes = sorted({config.codec.code_dim, *config.fewer}, reverse=True)
    beside = Baselines(images, sizes[0])
    rows = []
    for size in sizes:
        for name, baseline in beside.beside(size).items():
            if baseline.codec is None or baseline.test_mse is None:
                continue
            found = fidelity(baseline.codec, images.test)
            rows.append(
                {
                    "codec": name.replace("_", "-"),
                    "downsampling": None,
                    "code_shape": str(baseline.codec.code_dim),
                    "numbers": size,
                    "shortcuts": None,
                    "test_mse": baseline.test_mse,
                    "test_mse_sd": None,
                    "psnr_db": metrics.psnr_db(baseline.test_mse),
                    "ssim": found.ssim,
                    "high_frequency_ratio": found.high_frequency_ratio,
                    "coherence": found.coherence,
                    "train_mse": metrics.mse(baseline.codec, _some_of_train(images)),
                    "parameters": baseline.codec.count_parameters(),
                    "beats_pca": None,
                    "dataset": images.name,
                }
            )
    return rows


def _table(
    rows: Sequence[Row], baselines: Sequence[dict[str, Any]], images: Images
) -> list[dict[str, Any]]:
    """table.csv: a dict per row, the baselines last."""
    pca = {row["numbers"]: row["test_mse"] for row in baselines if row["codec"] == "pca"}
    found = []
    for row in rows:
        codec, numbers = row.codec, row.codec.code_dim
        error = mean(row.test_mse)
        found.append(
            {
                "codec": row.spec.kind.removesuffix("-without-shortcuts"),
                "downsampling": row.spec.downsampling,
                "code_shape": "x".join(map(str, codec.code_shape)),
                "numbers": numbers,
                "shortcuts": getattr(row.spec.codec, "shortcuts", None),
                "test_mse": error,
                "test_mse_sd": spread(row.test_mse),
                "psnr_db": metrics.psnr_db(error),
                "ssim": mean([each.ssim for each in row.fidelity]),
                "high_frequency_ratio": mean([each.high_frequency_ratio for each in row.fidelity]),
                "coherence": mean([each.coherence for each in row.fidelity]),
                "train_mse": mean(row.train_mse),
                "parameters": codec.count_parameters(),
                "beats_pca": error < pca[numbers] if numbers in pca else None,
                "dataset": images.name,
            }
        )
    return [*found, *baselines]


def _numbers(
    rows: Sequence[Row],
    table: Sequence[dict[str, Any]],
    images: Images,
    seeds: int,
    failed: int,
) -> dict[str, Any]:
    """metrics.json: flat, by row. table: the baselines behind the rows."""
    flat: dict[str, Any] = {
        "dataset": images.name,
        "seeds": seeds,
        "rows": len(rows),
        "failed_jobs": failed,
    }
    for row, line in zip(rows, table, strict=False):
        for name in ("test_mse", "test_mse_sd", "ssim", "high_frequency_ratio", "coherence"):
            flat[f"{name}_{row.spec.key}"] = line[name]
    for line in table[len(rows) :]:
        flat[f"{line['codec'].replace('-', '_')}_test_mse_{line['numbers']}"] = line["test_mse"]
    return flat


def _speed(row: Row) -> dict[str, Any]:
    """A row of speed.csv, apart from the table: seconds are others in every run."""
    return {
        "codec": row.spec.kind,
        "downsampling": row.spec.downsampling,
        "numbers": row.codec.code_dim,
        "encoder_seconds": row.seconds[0],
        "decoder_seconds": row.seconds[1],
        "train_seconds": mean(row.train_seconds),
    }


def _printed(row: dict[str, Any]) -> tuple[str, ...]:
    sd = row["test_mse_sd"]
    several = "" if sd is None or math.isnan(sd) else f" ± {sd:.5f}"
    name = row["codec"] + ("" if row["shortcuts"] in (None, True) else ", no shortcuts")
    return (
        name,
        "" if row["downsampling"] is None else str(row["downsampling"]),
        row["code_shape"],
        f"{mse_in_words(row['test_mse'])}{several}",
        f"{row['psnr_db']:.2f} dB",
        *(f"{row[key]:.3f}" for key in ("ssim", "high_frequency_ratio", "coherence")),
    )


def _markdown(table: Sequence[dict[str, Any]], settings: str) -> str:
    head = ("codec", "f", "code", "test mse", "PSNR", "SSIM", "detail", "of its own", "beats PCA")
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in table:
        beats = {None: "", True: "yes", False: "no"}[row["beats_pca"]]
        lines.append("| " + " | ".join((*_printed(row), beats)) + " |")
    return "\n".join(lines) + f"\n\n{settings}\n"


def _draw(
    config: SweepDownsamplingConfig,
    rows: Sequence[Row],
    baselines: Sequence[dict[str, Any]],
    images: Images,
    run_dir: RunDir,
) -> None:
    numbers = config.codec.code_dim
    swept = [row for row in rows if row.codec.code_dim == numbers]
    lines = [
        (
            kind.replace("-", " "),
            [row.spec.downsampling for row in swept if row.spec.kind == kind],
            [mean(row.test_mse) for row in swept if row.spec.kind == kind],
            [spread(row.test_mse) for row in swept if row.spec.kind == kind],
        )
        for kind in config.codecs
    ]
    levels = [
        (_BASELINES[row["codec"].replace("-", "_")], row["test_mse"])
        for row in baselines
        if row["numbers"] == numbers
    ]
    title = f"{numbers} numbers on ever coarser grids ({images.title})"
    run_dir.save_figure("downsampling", figures.downsampling(lines, levels, title))
    batch = images.test.read(torch.linspace(0, len(images.test) - 1, _SHOWN).round().long())
    for kind in config.codecs:
        rows_of_kind = [
            decoded(f"f{row.spec.downsampling}", row.codec, batch, row.test_mse[0])
            for row in swept
            if row.spec.kind == kind
        ]
        if rows_of_kind:
            run_dir.save_figure(
                f"reconstructions_{kind.replace('-', '_')}",
                figures.reconstructions(
                    batch.images.numpy(),
                    rows_of_kind,
                    [""] * len(batch),
                    f"The same images from ever coarser grids: {kind} ({images.title})",
                    images.shown,
                    batch.valid,
                ),
            )
