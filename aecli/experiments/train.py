"""`aecli train`: fit one codec, measure it against PCA and transforms, and draw what it does."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aecli import chapter, codecs, figures, processes
from aecli.codecs.base import Codec
from aecli.codecs.pca import Pca
from aecli.codespace.region import WIDEST
from aecli.config import ElboLoss, TrainConfig
from aecli.counts import count
from aecli.data.facts import image_shape
from aecli.data.images import Images, Source, weighted_mean
from aecli.experiments.possible import require_codecs
from aecli.experiments.result import Result
from aecli.experiments.training_figure import decoded, draw_training
from aecli.experiments.wording import COLLAPSED, mse_in_words, recipe_in_words, worse_than_constant
from aecli.measure import metrics, variational
from aecli.measure.baselines import (
    TRANSFORMS,
    Baseline,
    baselines_beside,
    best_of,
    effective_rank,
    transform_columns,
)
from aecli.measure.first_units import counts_of_units, first_units_mse, unit_order
from aecli.runs.context import Context, load_images
from aecli.runs.folder import RunDir, new_run
from aecli.runs.subject import with_ancestor
from aecli.training import device
from aecli.training.losses import evaluate
from aecli.training.records import EpochRecord
from aecli.training.session import train_codec

_NLL_IMAGES = 1000  # that a likelihood is estimated on, if so many decode in moderate time
_NLL_PIXELS = 10**8  # that are decoded for it
_NUMBERS_TO_A_PIXEL = 40  # of layers: what decoding costs, about
_SHOWN = 11  # test images drawn: at every tenth of the errors' order, from the best to the worst


def check(config: TrainConfig, images: int | None) -> None:
    """Raises UsageError for a codec that cannot be built; images: the number, if known."""
    require_codecs([config.codec], image_shape(config.data), images)


def run(config: TrainConfig, context: Context) -> Result:
    """Train one codec and leave its run folder. Raises every AecliError."""
    config = with_ancestor(config, context.runs_dir)
    where = device.prepare(config)
    check(config, config.data.limit_train)
    codec = codecs.build(config.codec, image_shape(config.data)).to(where)
    slug = config.name or f"{config.codec.name}{config.codec.code_dim}"
    with new_run(context.runs_dir, config, slug, context.argv, context.resumed) as run_dir:
        place = processes.place()
        facts = device.facts(where, config.train)
        facts["processes"] = 1 if place is None else place.size
        context.terminal.warn(run_dir.note(**facts))
        context.tell_machine(run_dir.path, facts)
        images, config = load_images(config, context, run_dir)

        records = train_codec(codec, images, config, context, run_dir)
        run_dir.save_model(codec, config, images.scale)
        with context.terminal.working("measuring, beside PCA and transforms"):
            outcome = _measure(codec, images, records, config)
            numbers = outcome.numbers()
        if codec.settings.is_variational:
            with context.terminal.working("measuring the likelihood"):
                numbers |= variational_numbers(outcome, config)
        run_dir.write_metrics(numbers)
        if outcome.first_units:
            rows = [asdict(each) | {"dataset": images.name} for each in outcome.first_units]
            run_dir.write_csv("ordered.csv", rows)
        worse = worse_than_constant(outcome.test_mse, outcome.mean_image_test_mse)
        context.terminal.warn([worse] if worse else [])
        context.terminal.warn([COLLAPSED] if numbers.get("active_units") == 0 else [])
        with context.terminal.working("drawing the figures"):
            _draw(outcome, f"{images.title}, {config.codec.name}, code {codec.code_dim}", run_dir)
    title = f"{images.title}: {config.codec.name} with a code of {codec.code_dim}"
    summary = _summary(outcome, config, where)
    if codec.settings.is_variational:
        summary[2:2] = _in_nats(numbers)
    return Result(run_dir.path, numbers, title, summary)


@dataclass(frozen=True)
class _FirstUnits:
    """A row of ordered.csv: the errors with so many first units."""

    units: int
    test_mse: float
    pca_test_mse: float | None
    """Test error of PCA with as many components; None where it has fewer."""


@dataclass(frozen=True)
class _Outcome:
    """A trained codec and what it does to the test images."""

    codec: Codec
    images: Images
    records: list[EpochRecord]
    errors: Tensor
    """(n_test,) mse per pixel of each test image."""
    test_mse: float
    valid_share: float
    """Share of the test images' pixels that are valid."""
    codes: Tensor
    """(n_test, code_dim)."""
    baselines: dict[str, Baseline]
    """Codecs of the same size for the same training images, by the names of their metrics."""
    mean_image_test_mse: float
    """The same constant picture for every test image: the mean of the training images."""
    first_units: Sequence[_FirstUnits]
    """An ordered code with its first units alone, by their number, ascending; empty of another."""

    @cached_property
    def correlations(self) -> Tensor | None:
        """Correlations (k, k) of the code's units; None of more units than have such matrices."""
        return metrics.correlations(self.codes) if self.codec.code_dim <= WIDEST else None

    @property
    def pca(self) -> Pca | None:
        """PCA of the same code dimension; None where there is none."""
        pca = self.baselines["pca"].codec
        return pca if isinstance(pca, Pca) else None

    @property
    def pca_test_mse(self) -> float | None:
        return self.baselines["pca"].test_mse

    def numbers(self) -> dict[str, Any]:
        """The content of metrics.json."""
        codec, images, pca_mse = self.codec, self.images, self.pca_test_mse
        correlated = self.correlations
        return {
            "dataset": images.name,
            "code_dim": codec.code_dim,
            "compression_ratio": codec.compression_ratio,
            "parameters": codec.count_parameters(),
            "train_mse": metrics.mse(codec, images.train),
            "val_mse": metrics.mse(codec, images.val) if len(images.val) else None,
            "test_mse": self.test_mse,
            **({"valid_share": self.valid_share} if images.test.masked else {}),
            "psnr_db": metrics.psnr_db(self.test_mse),
            "pca_test_mse": pca_mse,
            "beats_pca": None if self.pca is codec or pca_mse is None else self.test_mse < pca_mse,
            "pca_rank": None if self.pca is None else effective_rank(self.pca, images),
            **transform_columns(self.baselines),
            "mean_image_test_mse": self.mean_image_test_mse,
            "mean_abs_correlation": (
                None if correlated is None else metrics.mean_abs_correlation(correlated)
            ),
            **({"ordered_rank_correlation": unit_order(self.codes)} if self.first_units else {}),
            "epochs": len(self.records),
            "train_seconds": round(sum(record.seconds for record in self.records), 3),
        }


def variational_numbers(outcome: _Outcome, config: TrainConfig) -> dict[str, Any]:
    """Metrics of a variational codec besides: nats of the test images."""
    codec, test, loss = outcome.codec, outcome.images.test, config.train.loss
    assert isinstance(loss, ElboLoss)
    terms = evaluate(loss, codec, test)
    _, numbers = config.codec.size(codec.image_shape)  # a grid's layers are far more than pixels
    cost = max(test.pixels, numbers // _NUMBERS_TO_A_PIXEL)
    affordable = max(_NLL_PIXELS // (cost * config.nll_samples), 1)
    few = test.first(config.nll_images or min(_NLL_IMAGES, affordable))
    gaussian = loss.likelihood == "gaussian"
    return {
        "elbo_nats": -(terms["pixels_nats"] + terms["kl_nats"]),
        "kl_nats": terms["kl_nats"],
        "nll_nats": variational.nll_nats(codec, few, loss.likelihood, config.nll_samples),
        "nll_samples": config.nll_samples,
        "nll_images": len(few),
        "active_units": variational.active_units(outcome.codes),
        "sigma": codec.log_sigma.exp().item() if gaussian else None,
    }


def _in_nats(numbers: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Rows of the summary on a variational codec."""
    estimate = (
        f"{numbers['nll_nats']:.2f} nats ({count(numbers['nll_samples'], 'sample')} of each of"
        f" {count(numbers['nll_images'], 'image')})"
    )
    return [
        ("bound on its log-likelihood", f"{numbers['elbo_nats']:.2f} nats an image"),
        ("minus log-likelihood, estimated", estimate),
        ("KL to N(0, I)", f"{numbers['kl_nats']:.2f} nats an image"),
        ("active units", f"{numbers['active_units']} of {numbers['code_dim']}"),
    ]


def _measure(
    codec: Codec, images: Images, records: list[EpochRecord], config: TrainConfig
) -> _Outcome:
    test = images.test
    errors, weights = metrics.reconstruction_errors(codec, test)
    baselines = baselines_beside(codec, images)
    is_ordered = config.train.ordered and not codec.settings.solved
    return _Outcome(
        codec,
        images,
        records,
        errors=errors,
        test_mse=weighted_mean(errors, weights),
        valid_share=weights.mean().item(),
        codes=metrics.encode(codec, test),
        baselines=baselines,
        mean_image_test_mse=images.mean_image_mse(),
        first_units=_by_first_units(codec, baselines["pca"].codec, test) if is_ordered else (),
    )


def _by_first_units(codec: Codec, pca: Codec | None, test: Source) -> list[_FirstUnits]:
    """The errors of an ordered code with its first units alone."""
    counts = counts_of_units(codec.code_dim)
    of_pca = [k for k in counts if pca is not None and k <= pca.code_dim]
    pca_mse = [] if pca is None else first_units_mse(pca, test, of_pca)
    both = itertools.zip_longest(counts, first_units_mse(codec, test, counts), pca_mse)
    return [_FirstUnits(*row) for row in both]


def _draw(outcome: _Outcome, title: str, run_dir: RunDir) -> None:
    codec, images, errors, codes = outcome.codec, outcome.images, outcome.errors, outcome.codes
    ranks = torch.linspace(0, len(errors) - 1, min(_SHOWN, len(errors))).round().long()
    chosen = errors.argsort(stable=True)[ranks]
    batch = images.test.read(chosen)
    pictures = [decoded("decoded", codec, batch, outcome.test_mse)]
    pictures += [
        decoded(label, yardstick, batch, mse)
        for label, (yardstick, mse) in _yardsticks(outcome).items()
    ]
    run_dir.save_figure(
        "reconstructions",
        figures.reconstructions(
            batch.images.numpy(),
            pictures,
            _rank_labels(len(chosen)),
            f"{_ranks_in_words(len(chosen))} ({title})",
            images.shown,
            batch.valid,
        ),
    )
    pca = outcome.baselines["pca"]
    line = None if pca.test_mse is None else (f"{pca.label}, test", pca.test_mse)
    draw_training(
        outcome.records,
        outcome.test_mse,
        line,
        title,
        run_dir,
        drawn=codec.settings.is_variational,
        cut=bool(outcome.first_units),
    )
    if outcome.first_units:
        units, mse, pca_mse = zip(*map(astuple, outcome.first_units), strict=True)
        run_dir.save_figure(
            "ordered",
            figures.ordered(
                units,
                np.array(mse),
                np.array(pca_mse, dtype=float),
                f"Test error of an ordered code's first units ({title})",
            ),
        )
    run_dir.save_figure(
        "code_units",
        figures.code_units(
            codes.double().var(dim=0, correction=0).numpy(),
            None if outcome.pca is None else outcome.pca.variances.double().numpy(),
            None if outcome.correlations is None else outcome.correlations.numpy(),
            f"The code's units over the test images ({title})",
        ),
    )
    if codec.settings.is_variational:
        active = variational.active_by_unit(codes)
        run_dir.save_figure(
            "kl_units",
            figures.kl_units(
                variational.kl_by_unit(codec, images.test).numpy(),
                active.numpy(),
                f"What each unit says of a test image ({title})",
            ),
        )
    if codec.code_dim == 2:
        labels = images.test.labels
        run_dir.save_figure(
            "code_scatter",
            figures.code_scatter(
                codes.numpy(),
                None if labels is None else labels.numpy(),
                f"Codes of the test images ({title})",
                images.class_names,
            ),
        )


def _yardsticks(outcome: _Outcome) -> dict[str, tuple[Codec, float]]:
    """PCA and its test mse, and those of the best baseline where that is another, by their labels;
    none of the codec's own kind."""
    chosen = [outcome.baselines["pca"], best_of(outcome.baselines)]
    return {
        b.label: (b.codec, b.test_mse)
        for b in chosen
        if b is not None and b.codec is not None and b.test_mse is not None
        if b.codec.settings.name != outcome.codec.settings.name
    }


def _ranks_in_words(n: int) -> str:
    """Beginning of the title over `n` images at even ranks."""
    if n == 1:
        return "The only test image, decoded"
    return "Test images from the best to the worst decoded"


def _rank_labels(n: int) -> list[str]:
    """Names for `n` images at even ranks: best, 10%, ..., median, ..., worst; one has none."""
    if n == 1:
        return [""]
    labels = [f"{100 * i / (n - 1):.0f}%" if 0 < i < n - 1 else "" for i in range(n)]
    labels[0], labels[-1] = "best", "worst"
    return ["median" if label == "50%" else label for label in labels]


def _summary(outcome: _Outcome, config: TrainConfig, where: torch.device) -> list[tuple[str, str]]:
    codec, test_mse, pca = outcome.codec, outcome.test_mse, outcome.baselines["pca"]
    rows = [
        ("test mse per pixel", mse_in_words(test_mse)),
        ("PSNR", f"{metrics.psnr_db(test_mse):.2f} dB"),
    ]
    if pca.test_mse is None or outcome.pca is None:
        rows.append((pca.label, f"none: {pca.why_not}"))
    elif outcome.pca is codec:
        rows.append(("chapter's sanity check", "does not apply: this is PCA itself"))
    else:
        few = _fewer_in_words(outcome.pca, outcome.images, codec.code_dim)
        rows.append((f"{pca.label} test mse", mse_in_words(pca.test_mse) + few))
        if codec.settings.linear:
            rows.append(("beside PCA", chapter.compare_linear(test_mse, pca.test_mse)))
        else:
            verdict = chapter.judge_sanity_check(test_mse, pca.test_mse)
            held = "holds" if verdict.holds else "fails"
            rows.append(("chapter's sanity check", f"{held}: {verdict.reason}"))
    rows.append(("fixed transforms", _transforms_in_words(outcome)))
    if outcome.first_units:
        rows.append(("first units alone", _first_units_in_words(outcome.first_units)))
    on = f"{len(outcome.images.train):,} images"
    if codec.settings.fixed:
        return [*rows, ("trained", f"not at all: {codec.settings.name} is the same for all images")]
    if codec.settings.solved and not codec.settings.solved_for:
        return [*rows, ("trained", f"not at all: {codec.settings.how_solved}")]
    if codec.settings.solved:
        return [*rows, ("solved", f"in closed form, on {on}")]
    how = recipe_in_words(config.train, where)
    return [*rows, ("trained", f"{how}, seed {config.seed}, on {on}")]


def _fewer_in_words(pca: Pca, images: Images, code_dim: int) -> str:
    """Addition to PCA's error where it has fewer components than the code has units, or where some
    of them have no variance."""
    rank = effective_rank(pca, images)
    reasons = [f"all its components: {count(len(images.train), 'training image')}"]
    reasons = reasons if pca.code_dim < code_dim else []
    reasons += [f"of rank {rank}"] if rank < code_dim else []
    return f" ({', '.join(reasons)})" if reasons else ""


def _first_units_in_words(measured: Sequence[_FirstUnits]) -> str:
    """Test errors such as `1: 0.04710, 2: 0.03801, 4: 0.02533`, at the powers of 2."""
    shown = [each for each in measured[:-1] if each.units.bit_count() == 1]
    return ", ".join(f"{each.units}: {mse_in_words(each.test_mse)}" for each in shown)


def _transforms_in_words(outcome: _Outcome) -> str:
    """Test errors such as `DCT 0.04513, rotated DCT 0.03970, thumbnail-25 0.04881`, with the
    numbers of one that takes fewer; of what there is none, why."""
    there = [outcome.baselines[name] for name in TRANSFORMS]
    if all(b.test_mse is None for b in there):
        return f"none: {there[0].why_not}"
    return ", ".join(
        f"no {b.label}: {b.why_not}"
        if b.test_mse is None
        else f"{b.label.removesuffix(f'-{outcome.codec.code_dim}')} {mse_in_words(b.test_mse)}"
        for b in there
    )
