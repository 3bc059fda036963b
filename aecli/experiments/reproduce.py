"""`aecli reproduce`: run the whole chapter, judge every claim, and write the ledger."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from aecli import chapter, codecs, figures
from aecli.chapter import Claim, Evidence, ledger
from aecli.codecs.base import Codec
from aecli.codecs.pca import Pca
from aecli.codespace.samplers import SAMPLERS
from aecli.config import (
    FitConfig,
    InterpolateConfig,
    MlpConfig,
    PcaCompareConfig,
    ReproduceConfig,
    SampleConfig,
    SweepConfig,
    quick_images,
)
from aecli.counts import count
from aecli.data.images import Images, with_held_out
from aecli.errors import JobsFailedError, UsageError
from aecli.experiments.conversion import Scales
from aecli.experiments.interpolate import measure_paths
from aecli.experiments.pca_compare import measure_comparison
from aecli.experiments.possible import require_held_out_images, require_images
from aecli.experiments.reproduce_changes import (
    conversion_fit,
    measure_conversions,
    measure_noise,
    measure_scarce_class,
    scarce_in_words,
    train_ordered,
)
from aecli.experiments.reproduce_latent import measure_latent_diffusion
from aecli.experiments.reproduce_work import measure_search, measure_storage, measure_work
from aecli.experiments.result import Result
from aecli.experiments.sample import measure_samples
from aecli.experiments.subject import Subject, noted_classifier
from aecli.experiments.sweep_codedim import measure_sweep
from aecli.experiments.wording import recipe_in_words, settings_in_words
from aecli.measure import metrics
from aecli.measure.baselines import full_pca
from aecli.measure.first_units import unit_order
from aecli.measure.judge import Judge
from aecli.measure.sample_metrics import pixel_range
from aecli.runs.context import Context, load_images
from aecli.runs.folder import RunDir, new_run
from aecli.training import device
from aecli.training.jobs import Job, Trained, facts_of_jobs, failure_text, train_all

CODE_DIMS = (2, 8, 16, 32, 64, 784)
CHAPTER_DIMS = (2, 8, 32, 64, 784)
"""Code dimensions of the chapter's table and of the exercise below it."""
COMPARED_DIMS = (2, 8, 16, 32)
CHAPTER_FIT = FitConfig(recipe="chapter")
_HANDED_ON = {"seed", "device", "threads", "seeds", "jobs", "engine", "scheduler"}
_CHAPTERS = ("the chapter's own networks", CHAPTER_FIT)
# Limits of --quick, unless others are given; every figure's title and every printed table of such a
# run says that it is a quick look.
_QUICK_LOOK = ", quick look"
_QUICK_PAIRS, _QUICK_SAMPLES = 100, 500


def check(config: ReproduceConfig, images: int | None) -> None:
    """Raises UsageError for what would fail only after trainings; images: the number, if known."""
    require_images(images, CHAPTER_FIT.batch_size, "the chapter's batches are as large")


def run(config: ReproduceConfig, context: Context) -> Result:
    """Measure and judge everything; claims.md and claims.json are the ledger. Raises AecliError."""
    device.prepare(config)
    check(config, config.data.limit_train)
    slug = config.name or ("quick" if config.quick else "chapter")
    with new_run(context.runs_dir, config, slug, context.argv, context.resumed) as run_dir:
        context.tell_machine(run_dir.path, facts_of_jobs(config), " for each training")
        images, config = load_images(config, context, run_dir, quick_images(config))
        images = replace(images, aside=_QUICK_LOOK if config.quick else "")
        run_dir.note(quick=config.quick)
        check(config, len(images.train))
        _check_images(images)
        context.terminal.warn(run_dir.note(**facts_of_jobs(config)))
        evidence = _gather(config, images, run_dir, context)
        judged = [(_as_drawn(c, run_dir), j) for c, j in chapter.judge_all(evidence)]
        run_dir.write_json("claims.json", ledger.entries(judged, images.name))
        about = _about(config, images)
        run_dir.save_text("claims.md", ledger.markdown(judged, images.name, about))
        numbers = {"dataset": images.name, **ledger.counts(judged), "quick": config.quick}
        run_dir.write_metrics(numbers)
    header = ("claim", "chapter", "measured", "verdict")
    rows = [(c.name, c.printed, j.measured, j.verdict) for c, j in judged]
    title = f"{images.title}: the chapter's claims, {count(config.seeds, 'seed')}"
    notes = [about, ledger.counts_in_words(judged)]
    return Result(run_dir.path, numbers, title, rows, header, notes)


def _as_drawn(claim: Claim, run_dir: RunDir) -> Claim:
    """The claim without its figure where that was not drawn: there was nothing to see."""
    return claim if (run_dir.path / claim.figure).is_file() else replace(claim, figure="")


def _check_images(images: Images) -> None:
    """Raises UsageError for images that leave the claims without evidence."""
    if not images.labelled:
        raise UsageError(
            f"{images.name} has no labels of two classes or more, and some claims are about labels"
        )
    half = f"images in half of the {len(images.test)} test images"
    require_held_out_images(len(images.test) // 2, half, settable=False)


def _about(config: ReproduceConfig, images: Images) -> str:
    """Sentences on the data and the training."""
    quick = "Few images and epochs: a look, not a result. " if config.quick else ""
    others = [_CHAPTERS, ("codecs made variational", conversion_fit(config))]
    return (
        f"{quick}{images.name}: {len(images.train):,} training and {len(images.test):,} test"
        f" images, mse per pixel in [0, 1]. {settings_in_words(config, images, others)}"
    )


def _gather(config: ReproduceConfig, images: Images, run_dir: RunDir, context: Context) -> Evidence:
    common = config.model_dump(include=_HANDED_ON)
    shared = {**common, "data": config.data, "codec": config.codec, "train": config.train}
    say = context.terminal.say

    say("reproduce 1/8: the chapter's own training")
    own = _train_as_the_chapter(config, images, run_dir, context)
    say("reproduce 2/8: the table")
    sweep_config = SweepConfig(code_dims=CODE_DIMS, **shared)
    sweep = measure_sweep(sweep_config, images, run_dir.section("sweep"), context)
    if sweep.failures:
        raise JobsFailedError(failure_text(sweep.failures))
    say("reproduce 3/8: PCA")
    compare_config = PcaCompareConfig(code_dims=COMPARED_DIMS, **shared)
    comparison = measure_comparison(compare_config, images, run_dir.section("pca-compare"), context)

    say("reproduce 4/8: paths")
    networks = {row.spec.key: row for row in sweep.rows}
    halves = with_held_out(images)
    subjects = {key: _subject(networks[key].trained[0], halves, config.seed) for key in ("2", "32")}
    pairs = _QUICK_PAIRS if config.quick else InterpolateConfig().pairs
    classifier = noted_classifier(halves, context, run_dir)
    paths = {}
    for key, subject in subjects.items():
        walk = InterpolateConfig(seed=config.seed, pairs=pairs, codec=subject_config(config, key))
        section = run_dir.section("interpolate" if key == "2" else f"interpolate-{key}")
        paths[key] = measure_paths(walk, subject, classifier, section, context).numbers()
    say("reproduce 5/8: samples")
    samples = _QUICK_SAMPLES if config.quick else SampleConfig().samples
    draw = SampleConfig(seed=config.seed, samples=samples)
    section = run_dir.section("sample")
    judge = Judge.of(halves, classifier)
    _, sampled = measure_samples(draw, subjects["32"], judge, section, context)

    say("reproduce 6/8: changes of the training")
    plain = networks["32"].trained
    of_run = config, run_dir, context
    scales = Scales.of(images, classifier, samples, 32, config.seed)
    conversions = measure_conversions(plain, scales, *of_run)
    scarce = measure_scarce_class(images, *of_run)
    noise_trainings = measure_noise(networks["784_wide"].trained, images, *of_run)
    ordered = [trained.codec for trained in train_ordered(plain, images, *of_run)]

    say("reproduce 7/8: codes at work")
    pca = full_pca(images)
    # A quick look could judge none of it.
    work = {} if config.quick else measure_work(plain, pca.truncated(32), images, *of_run)

    say("reproduce 8/8: autoencoders of latent diffusion")
    latent_diffusion = measure_latent_diffusion(scales, *of_run)

    say("reproduce: judging the claims")
    thirty_two = [trained.codec for trained in plain]
    test = images.test
    pca_codes = metrics.encode(pca.truncated(32), test)
    _draw_units(thirty_two[0], pca, images, run_dir)
    _draw_units(ordered[0], pca, images, run_dir.section("order"))
    codes_of_32 = [metrics.encode(c, test) for c in [*thirty_two, *(t.codec for t in own[32])]]
    code_shape, reconstruction_shape = _shapes(own[32][0].codec, images)
    wide = networks["784_wide"]
    return Evidence(
        dataset=images.name,
        train_images=len(images.train),
        classes=images.train.classes,
        quick=config.quick,
        chapter_recipe=recipe_in_words(CHAPTER_FIT, device.of_jobs(config)),
        recipe=_recipe(config),
        code_shape=code_shape,
        reconstruction_shape=reconstruction_shape,
        compression_ratios={k: own[k][0].codec.compression_ratio for k in chapter.TABLE_RATIO},
        chapter_train_mse={
            k: [[r.train_mse for r in t.records] for t in of_dim] for k, of_dim in own.items()
        },
        chapter_test_mse={k: [metrics.mse(t.codec, test) for t in own[k]] for k in own},
        test_mse={int(key): row.test_mse for key, row in networks.items() if key.isdigit()},
        wide_test_mse=wide.test_mse,
        wide_probe_accuracy=_measured(wide.reading.probe_accuracy),
        raw_probe_accuracy=_measured(sweep.raw_probe_accuracy),
        wide_knn_accuracy=_measured(wide.reading.knn_accuracy),
        raw_knn_accuracy=_measured(sweep.raw_knn_accuracy),
        narrowest_784=own[784][0].codec.narrowest_layer,
        mean_image_test_mse=sweep.mean_image_test_mse,
        pca_test_mse={k: metrics.mse(pca.truncated(k), test) for k in (2, 32, 64)},
        code2_knn_accuracy=_measured(networks["2"].reading.knn_accuracy),
        advantages=comparison.advantages,
        linear_checks=comparison.linear_checks,
        unit_order=[unit_order(metrics.encode(codec, images.test)) for codec in thirty_two],
        unit_correlation=[_unit_correlation(metrics.encode(c, test)) for c in thirty_two],
        pca_unit_correlation=_unit_correlation(pca_codes),
        chapter_smear=_smear(own[32][0].codec, samples, config.seed),
        smear_trained=(sampled["smear_low_trained"], sampled["smear_high_trained"]),
        smear_untrained=(sampled["smear_low_untrained"], sampled["smear_high_untrained"]),
        normal_in_hole=sampled["in_holes_standard_normal"],
        code_deviations=[_extremes(codes.std(dim=0)) for codes in codes_of_32],
        code_centres=[_extremes(codes.mean(dim=0)) for codes in codes_of_32],
        leaving_2=paths["2"]["pairs_leaving"] / pairs,
        leaving_32=paths["32"]["pairs_leaving"] / pairs,
        leaving_pca_2=paths["2"]["pca_pairs_leaving"] / pairs,
        frechet={"floor": sampled["frechet_floor"]}
        | {
            name: sampled[f"frechet_{name.replace('-', '_')}"]
            for name in SAMPLERS
            if name != "flow"  # its numbers depend on this machine's threads
        },
        conversions=conversions,
        scarce_class=scarce_in_words(images),
        scarce=scarce,
        noise_trainings=noise_trainings,
        ordered_unit_order=[unit_order(metrics.encode(codec, test)) for codec in ordered],
        ordered_test_mse=[metrics.mse(codec, test) for codec in ordered],
        work=work,
        search=measure_search(thirty_two[0], images),
        storage=measure_storage(plain, images),
        latent_diffusion=latent_diffusion,
    )


def _train_as_the_chapter(
    config: ReproduceConfig, images: Images, run_dir: RunDir, context: Context
) -> dict[int, Sequence[Trained]]:
    """The chapter's rows by its own recipe; draws its losses."""
    seeds = range(config.seed, config.seed + config.seeds)
    jobs = {
        k: [Job(MlpConfig(code_dim=k), CHAPTER_FIT, seed) for seed in seeds] for k in CHAPTER_DIMS
    }
    every = [job for of_dim in jobs.values() for job in of_dim]
    trainings = train_all(every, images, config, run_dir, context)
    trainings.require_all()
    trained = trainings.done
    own: dict[int, Sequence[Trained]] = {
        k: [trained[job] for job in of_dim] for k, of_dim in jobs.items()
    }
    losses = np.array([[r.train_mse for r in t.records] for t in own[32]])
    title = f"The chapter's own training ({images.title}, mlp, code 32)"
    run_dir.save_figure(
        "chapter_training",
        figures.chapter_training(losses, chapter.training_mse_of(images.name), title),
    )
    return own


def _recipe(config: ReproduceConfig) -> str:
    """aecli's training in words, with the hidden layers where they are not the chapter's."""
    recipe = recipe_in_words(config.train, device.of_jobs(config))
    assert isinstance(config.codec, MlpConfig)
    hidden = config.codec.hidden
    return recipe if hidden == MlpConfig().hidden else f"hidden {list(hidden)}, {recipe}"


def subject_config(config: ReproduceConfig, code_dim: str) -> Any:
    """The codec of a row, for the experiments that look into one."""
    return config.codec.model_copy(update={"code_dim": int(code_dim)})


def _subject(trained: Trained, images: Images, seed: int) -> Subject:
    torch.manual_seed(seed)
    untrained = codecs.build(trained.job.codec, images.shape)
    codec = trained.job.codec
    return Subject(
        trained.codec, images, f"{images.title}, {codec.name}, code {codec.code_dim}", untrained
    )


def _measured(accuracy: float | None) -> float:
    assert accuracy is not None  # the images have labels, and are as small as the chapter's
    return accuracy


def _shapes(codec: Codec, images: Images) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The shapes of 8 codes and of their 8 flattened reconstructions."""
    with torch.no_grad():
        codes = codec.encode(images.test.read(torch.arange(8)).images)
        return tuple(codes.shape), tuple(codec.decode(codes).flatten(start_dim=1).shape)


def _smear(codec: Codec, samples: int, seed: int) -> tuple[float, float]:
    """The median lowest and highest pixel of what decodes from N(0, I)."""
    codes = torch.randn((samples, codec.code_dim), generator=torch.Generator().manual_seed(seed))
    return pixel_range(metrics.decode(codec, codes))


def _unit_correlation(codes: torch.Tensor) -> float:
    return metrics.mean_abs_correlation(metrics.correlations(codes))


def _extremes(values: torch.Tensor) -> tuple[float, float]:
    return values.min().item(), values.max().item()


def _draw_units(codec: Codec, pca: Pca, images: Images, run_dir: RunDir) -> None:
    codes = metrics.encode(codec, images.test)
    run_dir.save_figure(
        "code_units",
        figures.code_units(
            codes.double().var(dim=0, correction=0).numpy(),
            pca.variances[: codec.code_dim].double().numpy(),
            metrics.correlations(codes).numpy(),
            f"The code's units over the test images ({images.title}, mlp, code {codec.code_dim})",
        ),
    )
