"""Evidence on every claim, part by part: what fails leaves its claims without, and the others
stand."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import cached_property
from typing import Any

import numpy as np
import torch

from aecli import chapter, codecs, figures
from aecli.chapter import Evidence, Step
from aecli.chapter.evidence import DIMS, Lost, LostEvidenceError, Partial
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
)
from aecli.data.images import Images, with_held_out
from aecli.errors import JobsFailedError
from aecli.experiments.conversion import Scales
from aecli.experiments.interpolate import measure_paths
from aecli.experiments.pca_compare import measure_comparison
from aecli.experiments.reproduce_changes import (
    conversion_jobs,
    measure_conversions,
    measure_noise,
    measure_scarce_class,
    noise_jobs,
    ordered_jobs,
    scarce_in_words,
    train_ordered,
)
from aecli.experiments.reproduce_codes import (
    measure_deleted,
    measure_listings,
    measure_one_piece,
    measure_turns,
    measure_variance,
)
from aecli.experiments.reproduce_latent import measure_latent_diffusion
from aecli.experiments.reproduce_region import measure_region, steps_of
from aecli.experiments.reproduce_work import (
    deformed_jobs,
    measure_search,
    measure_storage,
    measure_work,
)
from aecli.experiments.sample import measure_samples
from aecli.experiments.subject import Subject, noted_classifier
from aecli.experiments.sweep_codedim import Row, measure_sweep
from aecli.experiments.wording import recipe_in_words
from aecli.measure import metrics
from aecli.measure.baselines import full_pca
from aecli.measure.classifier import Classifier
from aecli.measure.first_units import unit_order
from aecli.measure.judge import Judge
from aecli.measure.sample_metrics import pixel_range
from aecli.runs.context import Context
from aecli.runs.folder import RunDir
from aecli.training import device
from aecli.training.jobs import Job, Trained, train_all

CODE_DIMS = (2, 8, 16, 32, 64, 784)
CHAPTER_DIMS = (2, 8, 32, 64, 784)
"""Code dimensions of the chapter's table and of the exercise below it."""
COMPARED_DIMS = (2, 8, 16, 32)
CHAPTER_FIT = FitConfig(recipe="chapter")
_HANDED_ON = {"seed", "device", "threads", "seeds", "jobs", "engine", "scheduler"}
_QUICK_PAIRS, _QUICK_SAMPLES = 100, 500
# The numbers of the flow depend on this machine's threads.
_DRAWN_BY = {name: sampler for name, sampler in SAMPLERS.items() if name != "flow"}

Found = Mapping[str, Any]
"""Fields of the evidence, by name."""


class Gathering:
    """The evidence of one run, as it is measured: trainings that several parts need are made once.

    failures: a line for each training that failed.
    """

    def __init__(
        self, config: ReproduceConfig, images: Images, run_dir: RunDir, context: Context
    ) -> None:
        self._config, self._images = config, images
        self._run_dir, self._context = run_dir, context
        self._networks = Partial[str, Row]()
        self._own = Partial[int, list[Trained]]()
        self._linear = Partial[int, Codec]()
        self.failures: list[str] = []

    def evidence(self) -> Evidence:
        """All of it; what could not be measured is `Lost`. Raises JobsFailedError for a training
        that failed under --fail-fast."""
        stages: dict[str, Sequence[Callable[[], Found]]] = {
            "the chapter's own training": [self._as_the_chapter, self._overcomplete],
            "the table": [self._table, self._code_2, self._wide],
            "PCA": [self._compared, self._pca_errors],
            "paths": [self._paths, self._in_range],
            "samples": [self._samples],
            "changes of the training": [
                self._changed,
                self._conversions,
                self._noise,
                self._ordered,
                self._scarce_class,
            ],
            "codes at work": [self._work, self._search],
            "autoencoders of latent diffusion": [self._latent_diffusion],
            "codes and their axes": [
                self._axes,
                self._scale,
                self._pieces,
                self._variance,
                self._listings,
            ],
        }
        found: dict[str, Any] = dict(self._facts())
        for number, (title, parts) in enumerate(stages.items(), start=1):
            self._context.terminal.say(f"reproduce {number}/{len(stages)}: {title}")
            for part in parts:
                found |= self._tried(part)
        if self.failures:
            lost = Lost("; ".join(self.failures))
            found = {field.name: lost for field in fields(Evidence)} | found
        return Evidence(**found)

    def _tried(self, part: Callable[[], Found]) -> Found:
        """The part's fields; none if a training that it needs failed."""
        try:
            return part()
        except JobsFailedError as error:
            if self._context.fail_fast:
                raise
            lines = [line.strip() for line in str(error).splitlines()]
            self._noted(lines[1:] or lines)  # the first one says how many
        except LostEvidenceError:
            pass  # a training that failed before, and was told then
        return {}

    @property
    def _run(self) -> tuple[ReproduceConfig, RunDir, Context]:
        return self._config, self._run_dir, self._context

    @property
    def _shared(self) -> dict[str, Any]:
        """Settings that the experiments within have from this one."""
        config = self._config
        common = config.model_dump(include=_HANDED_ON)
        return {**common, "data": config.data, "codec": config.codec, "train": config.train}

    @property
    def _plain(self) -> Sequence[Trained]:
        return self._networks["32"].trained

    def _few(self, trained: Sequence[Trained]) -> Sequence[Trained]:
        """The trainings that are changed: of all seeds, of the first one in a quick look."""
        return trained[:1] if self._config.quick else trained

    @property
    def _by_width(self) -> Partial[int, Sequence[Trained]]:
        there = {k: self._networks[str(k)].trained for k in DIMS if str(k) in self._networks}
        return Partial(there, self._networks.reason)

    @cached_property
    def _halves(self) -> Images:
        return with_held_out(self._images)

    @cached_property
    def _classifier(self) -> Classifier | None:
        return noted_classifier(self._halves, self._context, self._run_dir)

    @cached_property
    def _pca(self) -> Pca:
        return full_pca(self._images)

    @property
    def _samples_drawn(self) -> int:
        return _QUICK_SAMPLES if self._config.quick else SampleConfig().samples

    @cached_property
    def _scales(self) -> Scales:
        seed = self._config.seed
        return Scales.of(self._images, self._classifier, self._samples_drawn, 32, seed)

    def _facts(self) -> Found:
        config, images = self._config, self._images
        return {
            "dataset": images.name,
            "train_images": len(images.train),
            "classes": images.train.classes,
            "quick": config.quick,
            "digits": images.digits,
            "chapter_recipe": recipe_in_words(CHAPTER_FIT, device.of_jobs(config)),
            "recipe": _recipe(config),
            "scarce_class": scarce_in_words(images),
        }

    def _as_the_chapter(self) -> Found:
        """The chapter's rows by its own recipe; draws its losses."""
        config, images, run_dir = self._config, self._images, self._run_dir
        seeds = range(config.seed, config.seed + config.seeds)
        jobs = {
            k: [Job(MlpConfig(code_dim=k), CHAPTER_FIT, seed) for seed in seeds]
            for k in CHAPTER_DIMS
        }
        every = [job for of_dim in jobs.values() for job in of_dim]
        trainings = train_all(every, images, config, run_dir, self._context)
        for k, of_dim in jobs.items():
            trained = trainings.all(of_dim)
            if trained is not None:
                self._own[k] = trained
        own, test = self._own, images.test
        if trainings.failed:
            self._own.reason = "; ".join(trainings.failures())
        found = {
            "compression_ratios": own.mapped(lambda each: each[0].codec.compression_ratio),
            "chapter_train_mse": own.mapped(
                lambda each: [[record.train_mse for record in t.records] for t in each]
            ),
            "chapter_test_mse": own.mapped(lambda each: [metrics.mse(t.codec, test) for t in each]),
        }
        self._noted(trainings.failures())
        if 32 not in own:
            return found
        code_shape, reconstruction_shape = _shapes(own[32][0].codec, images)
        losses = np.array([[r.train_mse for r in t.records] for t in own[32]])
        title = f"The chapter's own training ({images.title}, mlp, code 32)"
        run_dir.save_figure(
            "chapter_training",
            figures.chapter_training(losses, chapter.training_mse_of(images.name), title),
        )
        return found | {
            "code_shape": code_shape,
            "reconstruction_shape": reconstruction_shape,
            "chapter_smear": _smear(own[32][0].codec, self._samples_drawn, config.seed),
        }

    def _noted(self, failures: Sequence[str]) -> None:
        """Keep these lines on trainings that failed."""
        self.failures += [line for line in failures if line not in self.failures]

    def _overcomplete(self) -> Found:
        return {"narrowest_784": self._own[784][0].codec.narrowest_layer}

    def _table(self) -> Found:
        config = SweepConfig(code_dims=CODE_DIMS, **self._shared)
        section = self._run_dir.section("sweep")
        sweep = measure_sweep(config, self._images, section, self._context)
        if sweep.failures:
            self._networks.reason = "; ".join(sweep.failures)
        self._networks |= {row.spec.key: row for row in sweep.rows}
        self._noted(sweep.failures)
        numbered = {int(key): row for key, row in self._networks.items() if key.isdigit()}
        by_width = Partial(numbered, self._networks.reason)
        return {
            "test_mse": by_width.mapped(lambda row: row.test_mse),
            "readings": by_width.mapped(lambda row: row.reading),
            "raw_probe_accuracy": _measured(sweep.raw_probe_accuracy),
            "raw_knn_accuracy": _measured(sweep.raw_knn_accuracy),
            "mean_image_test_mse": sweep.mean_image_test_mse,
        }

    def _code_2(self) -> Found:
        return {"code2_knn_accuracy": _measured(self._networks["2"].reading.knn_accuracy)}

    def _wide(self) -> Found:
        wide = self._networks["784_wide"]
        return {
            "wide_test_mse": wide.test_mse,
            "wide_probe_accuracy": _measured(wide.reading.probe_accuracy),
            "wide_knn_accuracy": _measured(wide.reading.knn_accuracy),
        }

    def _compared(self) -> Found:
        config = PcaCompareConfig(code_dims=COMPARED_DIMS, **self._shared)
        section = self._run_dir.section("pca-compare")
        comparison = measure_comparison(config, self._images, section, self._context)
        self._linear |= comparison.linear
        return {"advantages": comparison.advantages, "linear_checks": comparison.linear_checks}

    def _pca_errors(self) -> Found:
        pca, test = self._pca, self._images.test
        return {"pca_test_mse": {k: metrics.mse(pca.truncated(k), test) for k in (2, 32, 64)}}

    def _paths(self) -> Found:
        config = self._config
        pairs = _QUICK_PAIRS if config.quick else InterpolateConfig().pairs
        found: dict[str, Any] = {}
        steps = Partial[int, Sequence[Step]](reason=self._networks.reason)
        for key in ("2", "32"):
            if key not in self._networks:
                continue
            codec = config.codec.model_copy(update={"code_dim": int(key)})
            walk = InterpolateConfig(seed=config.seed, pairs=pairs, codec=codec)
            section = self._run_dir.section("interpolate" if key == "2" else f"interpolate-{key}")
            outcome = measure_paths(
                walk, self._subject(key), self._classifier, section, self._context
            )
            walked, steps[int(key)] = outcome.numbers(), steps_of(outcome.many)
            found[f"leaving_{key}"] = walked["pairs_leaving"] / pairs
            if key == "2":
                found["leaving_pca_2"] = walked["pca_pairs_leaving"] / pairs
        return found | {"steps": steps}

    def _subject(self, key: str) -> Subject:
        """The first seed's codec of a row, with half of the test images held out for holes."""
        trained, images = self._networks[key].trained[0], self._halves
        torch.manual_seed(self._config.seed)
        untrained = codecs.build(trained.job.codec, images.shape)
        codec = trained.job.codec
        title = f"{images.title}, {codec.name}, code {codec.code_dim}"
        return Subject(trained.codec, images, title, untrained)

    def _in_range(self) -> Found:
        seed = self._config.seed
        return measure_region(self._by_width, self._halves, seed, self._run_dir, self._context)

    def _samples(self) -> Found:
        draw = SampleConfig(seed=self._config.seed, samples=self._samples_drawn)
        section = self._run_dir.section("sample")
        judge = Judge.of(self._halves, self._classifier)
        _, sampled = measure_samples(
            draw, self._subject("32"), judge, section, self._context, _DRAWN_BY
        )
        return {
            "smear_trained": (sampled["smear_low_trained"], sampled["smear_high_trained"]),
            "smear_untrained": (sampled["smear_low_untrained"], sampled["smear_high_untrained"]),
            "normal_in_hole": sampled["in_holes_standard_normal"],
            "frechet": {"floor": sampled["frechet_floor"]}
            | {name: sampled[f"frechet_{name.replace('-', '_')}"] for name in _DRAWN_BY},
        }

    def _changed(self) -> Found:
        """Train all that the next parts ask for, so that no core waits for the last of each kind:
        each part finds its own, and tries again what failed."""
        plain = self._few(self._plain)
        changed = [*conversion_jobs(plain, self._config), *ordered_jobs(plain)]
        if "784_wide" in self._networks:
            wide = self._few(self._networks["784_wide"].trained)
            changed += noise_jobs(wide, self._config)
        changed += [] if self._config.quick else deformed_jobs(self._plain)
        train_all(changed, self._images, *self._run)
        return {}

    def _conversions(self) -> Found:
        plain = self._few(self._plain)
        return {"conversions": measure_conversions(plain, self._scales, *self._run)}

    def _noise(self) -> Found:
        wide = self._few(self._networks["784_wide"].trained)
        return {"noise_trainings": measure_noise(wide, self._images, *self._run)}

    def _ordered(self) -> Found:
        test = self._images.test
        plain = self._few(self._plain)
        ordered = [t.codec for t in train_ordered(plain, self._images, *self._run)]
        _draw_units(ordered[0], self._pca, self._images, self._run_dir.section("order"))
        return {
            "ordered_unit_order": [unit_order(metrics.encode(codec, test)) for codec in ordered],
            "ordered_test_mse": [metrics.mse(codec, test) for codec in ordered],
        }

    def _scarce_class(self) -> Found:
        return {"scarce": measure_scarce_class(self._images, *self._run)}

    def _work(self) -> Found:
        if self._config.quick:  # which could judge none of it
            return {"work": {}}
        pca = self._pca.truncated(32)
        return {"work": measure_work(self._plain, pca, self._images, *self._run)}

    def _search(self) -> Found:
        return {
            "search": measure_search(self._plain[0].codec, self._images),
            "storage": measure_storage(self._plain, self._images),
        }

    def _latent_diffusion(self) -> Found:
        return {"latent_diffusion": measure_latent_diffusion(self._scales, *self._run)}

    def _axes(self) -> Found:
        plain, pca, images = self._plain, self._pca, self._images
        codes = [metrics.encode(trained.codec, images.test) for trained in plain]
        correlations = [metrics.correlations(each) for each in codes]
        pca_codes = metrics.encode(pca.truncated(32), images.test)
        turn_of_pixels, turn_of_pca, turns_of_codes = measure_turns(
            plain, pca, images, self._run_dir
        )
        deleted, pca_deleted = measure_deleted(plain, pca, images, self._run_dir)
        _draw_units(plain[0].codec, pca, images, self._run_dir)
        return {
            "unit_order": [unit_order(each) for each in codes],
            "unit_correlation": [metrics.mean_abs_correlation(matrix) for matrix in correlations],
            "pca_unit_correlation": metrics.mean_abs_correlation(metrics.correlations(pca_codes)),
            "largest_correlation": [_largest(matrix) for matrix in correlations],
            "turn_of_pixels": turn_of_pixels,
            "turn_of_pca": turn_of_pca,
            "turns_of_codes": turns_of_codes,
            "deleted": deleted,
            "pca_deleted": pca_deleted,
        }

    def _scale(self) -> Found:
        of_both = [t.codec for t in [*self._plain, *self._own[32]]]
        codes = [metrics.encode(codec, self._images.test) for codec in of_both]
        return {
            "code_deviations": [_extremes(each.std(dim=0)) for each in codes],
            "code_centres": [_extremes(each.mean(dim=0)) for each in codes],
        }

    def _pieces(self) -> Found:
        found = measure_one_piece(self._by_width, self._pca, self._images, self._run_dir)
        return {"one_piece": found}

    def _variance(self) -> Found:
        return {"variance_gaps": measure_variance(self._pca, self._linear[32], self._images)}

    def _listings(self) -> Found:
        return {"listings": measure_listings(self._images, self._config, self._context)}


def _recipe(config: ReproduceConfig) -> str:
    """aecli's training in words, with the hidden layers where they are not the chapter's."""
    recipe = recipe_in_words(config.train, device.of_jobs(config))
    assert isinstance(config.codec, MlpConfig)
    hidden = config.codec.hidden
    return recipe if hidden == MlpConfig().hidden else f"hidden {list(hidden)}, {recipe}"


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


def _largest(correlation: torch.Tensor) -> float:
    """The largest absolute correlation of two units."""
    apart = correlation - torch.diag(correlation.diagonal())
    return apart.abs().nan_to_num(0).max().item()


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
