"""`aecli pca-compare`, the third exercise: a network beside PCA and transforms."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from aecli import chapter, figures
from aecli.chapter import Advantage, LinearCheck
from aecli.codecs.base import Codec
from aecli.codecs.linear import Linear
from aecli.codecs.pca import Pca
from aecli.config import (
    FitConfig,
    LinearConfig,
    MuonConfig,
    PcaCompareConfig,
    with_values,
)
from aecli.counts import count
from aecli.data import facts
from aecli.data.images import Images
from aecli.errors import UsageError
from aecli.experiments.result import Result
from aecli.experiments.wording import mse_in_words, settings_in_words, worse_than_constant
from aecli.measure import metrics
from aecli.measure.baselines import Baselines, full_pca, transform_columns, variance_beyond
from aecli.measure.seeds import mean, spread
from aecli.runs.context import Context, load_images
from aecli.runs.folder import RunDir, new_run
from aecli.training import device
from aecli.training.jobs import Job, facts_of_jobs, train_all

# Long enough for the linear autoencoder to arrive where PCA is; whatever the network's recipe.
LINEAR_FIT = FitConfig(
    epochs=20, optimizer=MuonConfig(lr=0.1, momentum=0.9, precision="fp32"), precision="fp32"
)


@dataclass(frozen=True)
class Comparison:
    """All that was measured."""

    dataset: str
    advantages: Sequence[Advantage]
    linear_checks: Sequence[LinearCheck]
    curve: Sequence[dict[str, Any]]
    """A row of curve.csv per code dimension."""
    linear: Mapping[int, Codec]
    """The linear autoencoder at each code dimension."""

    def numbers(self, seeds: int) -> dict[str, Any]:
        """metrics.json, flat."""
        trend = chapter.judge_advantage(self.advantages)
        excess = [c.excess_percent for c in self.linear_checks if c.excess_percent is not None]
        flat: dict[str, Any] = {
            "dataset": self.dataset,
            "seeds": seeds,
            "largest_advantage_at": trend.largest_at,
            "smallest_advantage_at": trend.smallest_at,
            "largest_relative_advantage_at": trend.largest_relative_at,
            "smallest_relative_advantage_at": trend.smallest_relative_at,
            "beats_pca_everywhere": all(a.network_mse < a.pca_mse for a in self.advantages),
            "eckart_young_holds": chapter.judge_eckart_young(self.linear_checks).holds,
            "largest_linear_excess_percent": max(excess, default=None),
            "largest_principal_angle_degrees": max(c.angle_degrees for c in self.linear_checks),
        }
        for row in self.curve:
            for name in ("ae", "pca", "dct", "linear", "rotated_dct", "thumbnail"):
                flat[f"{name}_test_mse_{row['code_dim']}"] = row[f"{name}_test_mse"]
        return flat


def check(config: PcaCompareConfig, images: int | None) -> None:
    """Raises UsageError for what would fail only after trainings; images: the number, if known."""
    if config.codec.solved:
        raise UsageError(
            f"codec.name={config.codec.name!r} must be 'mlp', 'conv' or 'linear': PCA and DCT"
            " stand in the comparison beside whatever network is trained"
        )
    shape = facts.image_shape(config.data)
    pixels = math.prod(shape)
    for most, what in (
        (pixels, f"{'x'.join(map(str, shape))} pixels"),
        (images, "training images"),
    ):
        wrong = [str(k) for k in config.code_dims if most is not None and k > most]
        if wrong:
            raise UsageError(
                f"code_dims={', '.join(wrong)} must be at most {most} ({what}):"
                " PCA has no more components"
            )


def run(config: PcaCompareConfig, context: Context) -> Result:
    """Train, solve and compare, and leave curve, checks and figures. Raises every AecliError."""
    device.prepare(config)
    check(config, config.data.limit_train)
    slug = config.name or f"{config.codec.name}-{config.train.recipe}"
    with new_run(context.runs_dir, config, slug, context.argv, context.resumed) as run_dir:
        context.tell_machine(run_dir.path, facts_of_jobs(config), " for each training")
        images, config = load_images(config, context, run_dir)
        context.terminal.warn(run_dir.note(**facts_of_jobs(config)))
        result = measure_comparison(config, images, run_dir, context)
        numbers = result.numbers(config.seeds)
        run_dir.write_metrics(numbers)
    header = ("code", config.codec.name, "linear", "PCA", "DCT", "advantage", "in percent")
    rows = [_printed(*both) for both in zip(result.curve, result.advantages, strict=True)]
    title = (
        f"{images.name}: test mse per pixel, {count(config.seeds, 'seed')},"
        f" recipe {config.train.recipe}"
    )
    notes = [
        _settings(config, images),
        chapter.explain_trend(result.advantages),
        chapter.judge_eckart_young(result.linear_checks).reason,
    ]
    return Result(run_dir.path, numbers, title, rows, header, notes)


def linear_fit(config: PcaCompareConfig) -> FitConfig:
    """Training of the linear autoencoder: LINEAR_FIT, with what Muon multiplies in as the config
    has decided it, so that the run repeats on another CPU."""
    if not isinstance(config.train.optimizer, MuonConfig):
        return LINEAR_FIT
    return with_values(LINEAR_FIT, {"optimizer.precision": config.train.optimizer.precision})


def jobs(config: PcaCompareConfig) -> list[Job]:
    """The trainings of a comparison."""
    networks = (job for of_dim in _networks(config).values() for job in of_dim)
    return [*_linears(config).values(), *networks]


def _networks(config: PcaCompareConfig) -> dict[int, list[Job]]:
    """The trainings of the codec at each code dimension, one for each seed."""
    seeds = range(config.seed, config.seed + config.seeds)
    return {
        k: [
            Job(config.codec.model_copy(update={"code_dim": k}), config.train, seed)
            for seed in seeds
        ]
        for k in config.code_dims
    }


def _linears(config: PcaCompareConfig) -> dict[int, Job]:
    """The training of a linear autoencoder at each code dimension."""
    fit = linear_fit(config)
    return {k: Job(LinearConfig(code_dim=k), fit, config.seed) for k in config.code_dims}


def measure_comparison(
    config: PcaCompareConfig, images: Images, run_dir: RunDir, context: Context
) -> Comparison:
    """The comparison that `config` asks for; its tables and figures are left in `run_dir`."""
    check(config, len(images.train))
    networks, linears = _networks(config), _linears(config)
    trainings = train_all(jobs(config), images, config, run_dir, context)
    trainings.require_all()
    trained = trainings.done
    with context.terminal.working("PCA of all components"):
        pca = full_pca(images)
        beyond = variance_beyond(pca, images)
    with context.terminal.working("transforms beside them"):
        baselines = Baselines(images, max(config.code_dims), pca)
    test = images.test
    curve, advantages, checks = [], [], []
    for k in config.code_dims:
        ae = [metrics.mse(trained[job].codec, test) for job in networks[k]]
        linear = trained[linears[k]].codec
        assert isinstance(linear, Linear)
        beside = baselines.beside(k)
        pca_mse = beside["pca"].test_mse
        assert pca_mse is not None  # or `check` had refused k
        transforms = transform_columns(beside)
        advantages.append(Advantage(k, mean(ae), pca_mse, _kept_percent(pca, k, beyond)))
        checks.append(_check_linear(linear, pca, beyond, images))
        curve.append(
            {
                "code_dim": k,
                "ae_test_mse": mean(ae),
                "ae_test_mse_sd": spread(ae),
                "pca_test_mse": pca_mse,
                "dct_test_mse": transforms.pop("dct_test_mse"),
                "advantage": advantages[-1].absolute,
                "advantage_percent": advantages[-1].percent,
                "linear_test_mse": metrics.mse(linear, test),
                "pca_variance_kept_percent": advantages[-1].pca_kept_percent,
                **transforms,
                "dataset": images.name,
            }
        )
    constant = images.mean_image_mse()
    for advantage in advantages:
        worse = worse_than_constant(advantage.network_mse, constant)
        context.terminal.warn([f"code {advantage.code_dim}: {worse}"] if worse else [])
    linear_codecs = {k: trained[job].codec for k, job in linears.items()}
    result = Comparison(images.name, advantages, checks, curve, linear_codecs)
    run_dir.write_csv("curve.csv", curve)
    rows = [check.row() | {"dataset": images.name} for check in checks]
    run_dir.write_csv("eckart_young.csv", rows)
    run_dir.save_text("explanation.md", _explanation(result, _settings(config, images)))
    widest = trained[linears[max(config.code_dims)]].codec
    assert isinstance(widest, Linear)
    _draw(result, widest, pca, images, config, run_dir)
    return result


def _settings(config: PcaCompareConfig, images: Images) -> str:
    linear = (f"the linear autoencoder, with seed {config.seed} alone,", linear_fit(config))
    return settings_in_words(config, images, [linear])


def _check_linear(linear: Linear, pca: Pca, beyond: float, images: Images) -> LinearCheck:
    """The linear autoencoder against the Eckart-Young-Mirsky theorem, on its training images."""
    k = linear.code_dim
    mix = _mix(linear, pca)
    norms = mix.norm(dim=0).clamp_min(1e-30)
    columns = linear.decoder.weight.detach()
    return LinearCheck(
        code_dim=k,
        tail_mse=None if images.train.masked else _tail(pca, k, beyond, len(images.train)),
        train_mse=metrics.mse(linear, images.train),
        pca_train_mse=metrics.mse(pca.truncated(k), images.train),
        angle_degrees=metrics.largest_angle_degrees(columns, pca.components[:k].T),
        mix_condition=torch.linalg.cond(mix).item(),
        own_axes=((mix.abs().max(dim=0).values / norms) ** 2).mean().item(),
    )


def _mix(linear: Linear, pca: Pca) -> torch.Tensor:
    """M (k, k) with W_d = U M: the linear decoder's columns in terms of PCA's components."""
    return pca.components[: linear.code_dim].double() @ linear.decoder.weight.detach().double()


def _tail(pca: Pca, k: int, beyond: float, n: int) -> float:
    """The mse that no rank-k map can avoid: the sum of the discarded eigenvalues, per pixel.

    beyond: the variance that PCA has no component for; n: the number of training images.
    """
    discarded = pca.variances[k:].double().sum().item() + beyond
    return discarded * (n - 1) / n / pca.pixels


def _kept_percent(pca: Pca, k: int, beyond: float) -> float:
    kept = pca.variances[:k].double().sum() / (pca.variances.double().sum() + beyond)
    return 100 * kept.item()


def _printed(row: dict[str, Any], advantage: Advantage) -> tuple[str, ...]:
    sd = "" if math.isnan(row["ae_test_mse_sd"]) else f" ± {row['ae_test_mse_sd']:.5f}"
    return (
        str(row["code_dim"]),
        f"{mse_in_words(row['ae_test_mse'])}{sd}",
        *(mse_in_words(row[f"{name}_test_mse"]) for name in ("linear", "pca", "dct")),
        f"{row['advantage']:+.5f}",
        advantage.relative_in_words(1),
    )


def _explanation(result: Comparison, settings: str) -> str:
    verdict = chapter.judge_eckart_young(result.linear_checks)
    return f"{chapter.explain_trend(result.advantages)}\n\n{verdict.reason}\n\n{settings}\n"


def _draw(
    result: Comparison,
    linear: Linear,
    pca: Pca,
    images: Images,
    config: PcaCompareConfig,
    run_dir: RunDir,
) -> None:
    dims = [row["code_dim"] for row in result.curve]

    def column(name: str) -> list[float]:
        """Values, nan where there is none."""
        return [math.nan if row[name] is None else row[name] for row in result.curve]

    sds = column("ae_test_mse_sd")
    run_dir.save_figure(
        "comparison",
        figures.comparison(
            dims,
            [
                (
                    f"network ({config.codec.name})",
                    column("ae_test_mse"),
                    None if math.isnan(sds[0]) else sds,
                ),
                ("PCA", column("pca_test_mse"), None),
                ("linear autoencoder", column("linear_test_mse"), None),
                ("DCT, lowest frequencies", column("dct_test_mse"), None),
                ("DCT of rotated channels", column("rotated_dct_test_mse"), None),
                ("thumbnail", column("thumbnail_test_mse"), None),
            ],
            f"Network against linear maps ({images.title}, recipe {config.train.recipe},"
            f" {count(config.seeds, 'seed')})",
        ),
    )
    mix = _mix(linear, pca)
    run_dir.save_figure(
        "unit_mix",
        figures.unit_mix(
            (mix / mix.norm(dim=0)).numpy(),
            f"The linear code's units are mixes of PCA's ({images.title}, code {linear.code_dim})",
        ),
    )
