"""`aecli reproduce`: run the whole chapter, judge every claim, and write the ledger."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

from aecli import chapter, codecs, data, device, figures, metrics
from aecli.chapter import Claim, Evidence, Judgement
from aecli.chapter.table import training_mse_of
from aecli.codecs import Codec
from aecli.config import (
    FitConfig,
    InterpolateConfig,
    MlpConfig,
    PcaCompareConfig,
    ReproduceConfig,
    SampleConfig,
    SweepConfig,
)
from aecli.data import Images, Split
from aecli.errors import JobsFailedError
from aecli.experiments.context import Context, Result
from aecli.experiments.interpolate import measure_paths
from aecli.experiments.jobs import Job, Trained, facts_of_jobs, failure_text, train_all
from aecli.experiments.pca_compare import measure_comparison
from aecli.experiments.sample import measure_samples
from aecli.experiments.sweep_codedim import full_pca, measure_sweep
from aecli.experiments.trained import Subject
from aecli.rundir import RunDir, new_run
from aecli.samplers import SAMPLERS

CODE_DIMS = (2, 8, 16, 32, 64, 784)
COMPARED_DIMS = (2, 8, 16, 32)
# What --quick leaves out; every figure and table of such a run says that it is one.
_QUICK_DATA = {"limit_train": 6_000}
_QUICK_FIT = {"epochs": 3}
_QUICK_PAIRS, _QUICK_SAMPLES = 100, 500


def run(config: ReproduceConfig, context: Context) -> Result:
    """Measure and judge everything; claims.md and claims.json are the ledger. Raises AecliError."""
    device.prepare(config)
    if config.quick:
        config = config.model_copy(
            update={
                "data": config.data.model_copy(update=_QUICK_DATA),
                "train": config.train.model_copy(update=_QUICK_FIT),
            }
        )
    slug = config.name or ("quick" if config.quick else "chapter")
    with new_run(context.runs_dir, config, slug, context.argv, context.resumed) as run_dir:
        images = data.load(config.data, context.places, context.terminal.say)
        run_dir.note(dataset=images.provenance(), quick=config.quick)
        context.terminal.warn(run_dir.note(**facts_of_jobs(config)))
        if config.quick:  # so that every table and figure says it
            images = replace(images, name=f"{images.name}, quick look")
        evidence = _gather(config, images, run_dir, context)
        judged = chapter.judge_all(evidence)
        run_dir.write_json("claims.json", [_entry(claim, j) for claim, j in judged])
        run_dir.save_text("claims.md", _ledger(judged, images, config))
        numbers = _numbers(judged)
        run_dir.write_metrics(numbers)
    header = ("claim", "chapter", "measured", "verdict")
    rows = [(c.name, c.printed, j.measured, j.verdict) for c, j in judged]
    title = f"{images.name}: the chapter's claims, {config.seeds} seed(s)"
    return Result(run_dir.path, numbers, title, rows, header)


def _gather(config: ReproduceConfig, images: Images, run_dir: RunDir, context: Context) -> Evidence:
    told = config.model_dump(include={"seed", "device", "threads", "seeds", "jobs"})
    shared = {**told, "data": config.data, "codec": config.codec, "train": config.train}
    say = context.terminal.say

    say("reproduce 1/5: the chapter's own training")
    own = _train_as_the_chapter(config, images, run_dir, context)
    say("reproduce 2/5: the table")
    sweep_config = SweepConfig(code_dims=CODE_DIMS, **shared)
    sweep = measure_sweep(sweep_config, images, run_dir.section("sweep"), context)
    if sweep.failures:
        raise JobsFailedError(failure_text(sweep.failures))
    say("reproduce 3/5: PCA")
    compare_config = PcaCompareConfig(code_dims=COMPARED_DIMS, **shared)
    comparison = measure_comparison(compare_config, images, run_dir.section("pca-compare"), context)

    say("reproduce 4/5: paths")
    networks = {row.spec.key: row for row in sweep.rows}
    halves = _with_held_out(images)
    subjects = {key: _subject(networks[key].trained[0], halves, config.seed) for key in ("2", "32")}
    pairs = _QUICK_PAIRS if config.quick else InterpolateConfig().pairs
    paths = {}
    for key, subject in subjects.items():
        walk = InterpolateConfig(seed=config.seed, pairs=pairs, codec=subject_config(config, key))
        section = run_dir.section("interpolate" if key == "2" else f"interpolate-{key}")
        paths[key] = measure_paths(walk, subject, section, context).numbers()
    say("reproduce 5/5: samples")
    samples = _QUICK_SAMPLES if config.quick else SampleConfig().samples
    draw = SampleConfig(seed=config.seed, samples=samples)
    _, sampled = measure_samples(draw, subjects["32"], run_dir.section("sample"), context)

    thirty_two = [t.codec for t in networks["32"].trained]
    test = images.test.images
    pca = full_pca(images)
    pca_codes = metrics.encode(pca.truncated(32), test)
    _draw_units(thirty_two[0], images, run_dir)
    codes_of_32 = [metrics.encode(c, test) for c in [*thirty_two, *(t.codec for t in own[32])]]
    code_shape, reconstruction_shape = _shapes(config)
    wide = networks["784_wide"]
    return Evidence(
        code_shape=code_shape,
        reconstruction_shape=reconstruction_shape,
        compression_ratios={k: 784 / k for k in chapter.TABLE_RATIO},
        chapter_train_mse=[[r.train_mse for r in t.records] for t in own[32]],
        chapter_test_mse={k: [metrics.mse(t.codec, test) for t in own[k]] for k in own},
        test_mse={int(key): row.test_mse for key, row in networks.items() if key.isdigit()},
        wide_test_mse=wide.test_mse,
        wide_probe_accuracy=wide.reading.probe_accuracy,
        raw_probe_accuracy=sweep.raw_probe_accuracy,
        narrowest_784=networks["784"].trained[0].codec.narrowest_layer,
        pca_test_mse={k: metrics.mse(pca.truncated(k), test) for k in (2, 32, 64)},
        code2_knn_accuracy=networks["2"].reading.knn_accuracy,
        advantages=comparison.advantages,
        linear_checks=comparison.linear_checks,
        unit_order=[_unit_order(codec, images) for codec in thirty_two],
        unit_correlation=[_unit_correlation(metrics.encode(c, test)) for c in thirty_two],
        pca_unit_correlation=_unit_correlation(pca_codes),
        smear_trained=(sampled["smear_low_trained"], sampled["smear_high_trained"]),
        smear_untrained=(sampled["smear_low_untrained"], sampled["smear_high_untrained"]),
        normal_in_hole=sampled["in_holes_standard_normal"],
        code_deviations=[_extremes(codes.std(dim=0)) for codes in codes_of_32],
        code_centres=[_extremes(codes.mean(dim=0)) for codes in codes_of_32],
        leaving_2=paths["2"]["pairs_leaving"] / pairs,
        leaving_32=paths["32"]["pairs_leaving"] / pairs,
        leaving_pca_2=paths["2"]["pca_pairs_leaving"] / pairs,
        frechet={"floor": sampled["frechet_floor"]}
        | {name: sampled[f"frechet_{name.replace('-', '_')}"] for name in SAMPLERS},
    )


def _train_as_the_chapter(
    config: ReproduceConfig, images: Images, run_dir: RunDir, context: Context
) -> dict[int, Sequence[Trained]]:
    """The chapter's rows by its own recipe; draws its losses."""
    fit = FitConfig(recipe="chapter", precision="fp32")
    seeds = range(config.seed, config.seed + config.seeds)
    jobs = {k: [Job(MlpConfig(code_dim=k), fit, seed) for seed in seeds] for k in chapter.TABLE_MSE}
    every = [job for of_dim in jobs.values() for job in of_dim]
    trainings = train_all(every, images, config, run_dir, context)
    trainings.require_all()
    trained = trainings.done
    own: dict[int, Sequence[Trained]] = {
        k: [trained[job] for job in of_dim] for k, of_dim in jobs.items()
    }
    losses = np.array([[r.train_mse for r in t.records] for t in own[32]])
    title = f"The chapter's own training ({images.name}, mlp, code 32)"
    run_dir.save_figure(
        "chapter_training",
        figures.chapter_training(losses, training_mse_of(images.name), title),
    )
    return own


def _with_held_out(images: Images) -> Images:
    """The same images with the first half of the test set as validation split.

    All training images train here, as in the chapter; holes are calibrated on this half, and paths
    and samples measured on the other.
    """
    half = len(images.test) // 2
    first, second = (
        Split(images.test.images[part], images.test.labels[part])
        for part in (slice(half), slice(half, None))
    )
    return replace(images, val=first, test=second)


def subject_config(config: ReproduceConfig, code_dim: str) -> Any:
    """The codec of a row, for the experiments that look into one."""
    return config.codec.model_copy(update={"code_dim": int(code_dim)})


def _subject(trained: Trained, images: Images, seed: int) -> Subject:
    torch.manual_seed(seed)
    untrained = codecs.build(trained.job.codec, images.shape)
    codec = trained.job.codec
    return Subject(
        trained.codec, images, f"{images.name}, {codec.name}, code {codec.code_dim}", untrained
    )


def _shapes(config: ReproduceConfig) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Of the chapter's first listing: 8 images through its network."""
    network = codecs.build(MlpConfig(code_dim=32), (1, 28, 28))
    generator = torch.Generator().manual_seed(config.seed)
    with torch.no_grad():
        codes = network.encode(torch.rand((8, 1, 28, 28), generator=generator))
        return tuple(codes.shape), tuple(network.decode(codes).flatten(start_dim=1).shape)


def _unit_order(codec: Codec, images: Images) -> float:
    """The rank correlation of a unit's index and its variance; -1 if ordered as PCA's are."""
    codes = metrics.encode(codec, images.test.images)
    order = spearmanr(np.arange(codec.code_dim), codes.var(dim=0).numpy())
    return float(order.statistic)


def _unit_correlation(codes: torch.Tensor) -> float:
    return metrics.mean_abs_correlation(metrics.correlations(codes))


def _extremes(values: torch.Tensor) -> tuple[float, float]:
    return values.min().item(), values.max().item()


def _draw_units(codec: Codec, images: Images, run_dir: RunDir) -> None:
    codes = metrics.encode(codec, images.test.images)
    pca = full_pca(images).truncated(codec.code_dim)
    run_dir.save_figure(
        "code_units",
        figures.code_units(
            codes.double().var(dim=0, correction=0).numpy(),
            pca.variances.double().numpy(),
            metrics.correlations(codes).numpy(),
            f"The code's units over the test images ({images.name}, mlp, code {codec.code_dim})",
        ),
    )


def _entry(claim: Claim, judgement: Judgement) -> dict[str, Any]:
    """A claim in claims.json."""
    return {
        "claim": claim.name,
        "section": claim.section,
        "says": claim.says,
        "chapter": claim.printed,
        **asdict(judgement),
        "figure": claim.figure or None,
    }


def _numbers(judged: Sequence[tuple[Claim, Judgement]]) -> dict[str, Any]:
    verdicts = [judgement.verdict for _, judgement in judged]
    return {
        "claims": len(judged),
        "claims_that_hold": verdicts.count(chapter.HOLDS),
        "claims_that_hold_only_if": sum(v.startswith(chapter.ONLY_IF) for v in verdicts),
        "claims_that_do_not_hold": verdicts.count(chapter.FAILS),
    }


def _ledger(
    judged: Sequence[tuple[Claim, Judgement]], images: Images, config: ReproduceConfig
) -> str:
    quick = "\n**Few images and epochs: a look, not a result.**\n" if config.quick else ""
    lines = [
        "# The chapter's claims, measured",
        quick,
        f"{images.name}: {len(images.train):,} training, {len(images.val):,} validation and"
        f" {len(images.test):,} test images; {config.seeds} seed(s); mse per pixel in [0, 1].",
        "",
        "| section | claim | chapter | measured | verdict | why | figure |",
        "|---|---|---|---|---|---|---|",
    ]
    for claim, judgement in judged:
        figure = f"[{claim.figure}]({claim.figure})" if claim.figure else ""
        cells = (
            str(claim.section),
            claim.says,
            claim.printed,
            judgement.measured,
            f"**{judgement.verdict}**",
            judgement.reason,
            figure,
        )
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"
