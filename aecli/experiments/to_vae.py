"""`aecli to-vae`: a trained autoencoder made variational, and what that gains and costs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from aecli import codecs, figures
from aecli.codecs.base import Codec
from aecli.codespace.region import OccupiedRegion, codes_of, require_narrow
from aecli.codespace.samplers import SAMPLERS
from aecli.config import ElboLoss, ToVaeConfig, with_values
from aecli.data import facts
from aecli.errors import DivergedError
from aecli.experiments.conversion import Scales
from aecli.experiments.possible import require_calibration, require_held_out
from aecli.experiments.result import Result
from aecli.experiments.subject import noted_classifier, other_images
from aecli.experiments.training_figure import draw_training
from aecli.experiments.wording import COLLAPSED, mse_in_words, recipe_in_words
from aecli.measure import metrics
from aecli.measure.variational import active_by_unit, active_units, kl_by_unit
from aecli.runs.context import Context, load_images
from aecli.runs.folder import RunDir, new_run
from aecli.runs.run import Run
from aecli.runs.subject import converted
from aecli.training import device
from aecli.training.inheritance import inherit
from aecli.training.loop import fit
from aecli.training.losses import evaluate
from aecli.training.session import train_codec

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PLAIN, VARIATIONAL = "plain", "variational"
_SHOWN = 12  # images in a row of the picture
_GRID = 120  # codes along each side of the map of two units
_NORMAL = 3.0  # the map reaches at least so far to each side: nearly all of N(0, 1)


def check(config: ToVaeConfig, images: int | None) -> None:
    """Raises UsageError for what would fail only after training; images: the number, if known."""
    require_held_out(config.data.val)
    require_narrow(config.codec.code_dim)
    held_out = facts.n_held_out(config.data)
    if held_out is not None:
        require_calibration(*held_out)


def run(config: ToVaeConfig, context: Context) -> Result:
    """Convert a run's codec, train it on, measure both, and leave a run folder. Raises every
    AecliError."""
    config = converted(config, context.runs_dir)
    check(config, config.data.limit_train)
    assert config.run is not None
    ancestor = Run(Path(config.run))
    where = device.prepare(config)
    slug = config.name or f"{config.codec.name}{config.codec.code_dim}"
    with new_run(context.runs_dir, config, slug, context.argv, context.resumed) as run_dir:
        machine = device.facts(where, config.train)
        context.terminal.warn(run_dir.note(**machine))
        context.tell_machine(run_dir.path, machine)
        images, config = load_images(config, context, run_dir, model=ancestor)
        require_calibration(len(images.val), len(images.test))
        context.terminal.warn(other_images(ancestor, images))
        codec = codecs.build(config.codec, images.shape).to(where)
        records = train_codec(codec, images, config, context, run_dir)
        codec = codec.cpu().eval()
        run_dir.save_model(codec, config, images.scale)

        classifier = noted_classifier(images, context, run_dir)
        scales = Scales.of(images, classifier, config.samples, config.codec.code_dim, config.seed)
        both = {PLAIN: ancestor.codec, VARIATIONAL: codec}
        with context.terminal.working("measuring both codecs, and samplers of their codes"):
            before = _measured(ancestor.codec, None, scales)
            after = _measured(codec, _beta(config), scales)
            samplers = list(_by_sampler(both, scales, config.seed))
        run_dir.write_csv("samplers.csv", samplers)
        numbers = _numbers(before, after, samplers, scales)
        run_dir.write_metrics(numbers)
        context.terminal.warn([COLLAPSED] if after.active_units == 0 else [])
        title = f"{images.title}, {config.codec.name}, code {codec.code_dim}"
        with context.terminal.working("drawing the figures"):
            _draw(both, before, after, scales, title, run_dir)
            line = (PLAIN, before.test_mse)
            cut = config.train.ordered
            draw_training(records, after.test_mse, line, title, run_dir, drawn=True, cut=cut)
        others = _along_betas(config, ancestor.codec, scales, where, context)
        curve = sorted([after, *others], key=lambda row: row.beta or 0)
        run_dir.write_csv("conversion.csv", [asdict(row) for row in (before, *curve)])
        if len(curve) > 1:
            run_dir.save_figure("beta_curve", _beta_curve([before, *curve], title))
    how = recipe_in_words(config.train, where)
    trained = ("trained", f"{how}, seed {config.seed}, from {ancestor.path.name}")
    head = (
        f"{title}: made variational; Frechet distances of {config.samples:,} samples in"
        f" {scales.judge.features_in_words}"
    )
    return Result(run_dir.path, numbers, head, [*_summary(before, after, numbers), trained])


@dataclass(frozen=True)
class _Row:
    """A line of conversion.csv: a codec, and how its N(0, I) decodes."""

    beta: float | None
    """Weight of the divergence; None for the plain codec."""
    val_mse: float
    test_mse: float
    kl_nats: float | None
    sigma: float | None
    active_units: int | None
    in_holes_means: float
    """Share of codes of N(0, I) outside the region that the means of images occupy."""
    in_holes_draws: float
    """Share of them outside the region of codes drawn for images, which the decoder has learned
    from; the same as `in_holes_means` for a plain codec."""
    frechet_standard_normal: float


def _measured(codec: Codec, beta: float | None, scales: Scales) -> _Row:
    images = scales.images
    codes, occupying = codes_of(codec, scales.parts)
    by_means = scales.in_holes(*codes)
    is_variational = codec.settings.is_variational
    terms = evaluate(ElboLoss(), codec, images.test) if is_variational else {}
    return _Row(
        beta,
        metrics.mse(codec, images.val),
        metrics.mse(codec, images.test),
        terms.get("kl_nats"),
        codec.log_sigma.exp().item() if is_variational else None,
        active_units(metrics.encode(codec, images.test)) if is_variational else None,
        by_means,
        scales.in_holes(*occupying) if is_variational else by_means,
        scales.frechet(codec, scales.noise),
    )


def _by_sampler(both: Mapping[str, Codec], scales: Scales, seed: int) -> Iterator[dict[str, Any]]:
    """Lines of samplers.csv: the Frechet distance of each sampler with each codec."""
    for name, codec in both.items():
        codes = metrics.encode(codec, scales.images.train)
        for sampler, draw in SAMPLERS.items():
            generator = torch.Generator().manual_seed(seed)
            found = draw(codes, len(scales.noise), generator).codes
            distance = scales.frechet(codec, found)
            yield {"codec": name, "sampler": sampler, "frechet_distance": distance}


def _along_betas(
    config: ToVaeConfig, plain: Codec, scales: Scales, where: torch.device, context: Context
) -> Iterator[_Row]:
    """The same conversion with each other weight that was asked for; none of one that diverged."""
    loss, images = config.train.loss, scales.images
    for beta in config.betas:
        if beta == _beta(config):
            continue
        context.terminal.say(f"converting once more, with beta={beta:g}")
        weighted = with_values(config, {"train.loss": loss.model_copy(update={"beta": beta})}).train
        torch.manual_seed(config.seed)
        codec = codecs.build(config.codec, images.shape).to(where)
        inherit(codec, plain.to(where), images.train)
        order = torch.Generator().manual_seed(config.seed)
        try:
            for record in fit(codec, images.train, images.val, weighted, order, warm=True):
                context.terminal.epoch(record, weighted.epochs)
        except DivergedError as error:
            context.terminal.warn([f"beta={beta:g}: {error}"])
            continue
        yield _measured(codec.cpu().eval(), beta, scales)
    plain.cpu()


def _beta(config: ToVaeConfig) -> float:
    assert isinstance(config.train.loss, ElboLoss)
    return config.train.loss.beta


def _numbers(
    before: _Row, after: _Row, samplers: list[dict[str, Any]], scales: Scales
) -> dict[str, Any]:
    """The content of metrics.json."""
    return {
        "dataset": scales.images.name,
        "code_dim": scales.noise.shape[1],
        "samples": len(scales.noise),
        "beta": after.beta,
        "plain_test_mse": before.test_mse,
        "test_mse": after.test_mse,
        "error_ratio": after.test_mse / before.test_mse,
        "val_mse": after.val_mse if len(scales.images.val) else None,
        "kl_nats": after.kl_nats,
        "sigma": after.sigma,
        "active_units": after.active_units,
        "plain_in_holes_standard_normal": before.in_holes_means,
        "in_holes_standard_normal": after.in_holes_draws,
        "in_holes_of_means_standard_normal": after.in_holes_means,
        "holes_calibrated_on": scales.calibrated_on,
        "frechet_features": scales.judge.features_name,
        **{_metric(row["codec"], row["sampler"]): row["frechet_distance"] for row in samplers},
    }


def _metric(codec: str, sampler: str) -> str:
    """The name of a Frechet distance in metrics.json."""
    return f"{'plain_' if codec == PLAIN else ''}frechet_{sampler.replace('-', '_')}"


def _summary(before: _Row, after: _Row, numbers: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A table of both codecs, side by side."""

    def both(plain: str, variational: str) -> str:
        return f"{plain:>9} plain  {variational:>9} variational"

    rows = [
        ("test mse per pixel", both(mse_in_words(before.test_mse), mse_in_words(after.test_mse))),
        ("error after by before", f"{numbers['error_ratio']:.2f}"),
        ("active units", f"{after.active_units} of {numbers['code_dim']}"),
        (
            "N(0, I) in holes",
            both(f"{100 * before.in_holes_means:.1f}%", f"{100 * after.in_holes_draws:.1f}%"),
        ),
    ]
    for sampler in SAMPLERS:
        plain, variational = (numbers[_metric(codec, sampler)] for codec in (PLAIN, VARIATIONAL))
        rows.append((f"Frechet, {sampler}", both(f"{plain:.4g}", f"{variational:.4g}")))
    return rows


def _draw(
    both: Mapping[str, Codec],
    before: _Row,
    after: _Row,
    scales: Scales,
    title: str,
    run_dir: RunDir,
) -> None:
    batch, noise = scales.images.test.first(_SHOWN).all(), scales.noise[:_SHOWN]
    rows: list[tuple[str, Tensor, str]] = [("test images", batch.images, "")]
    for name, row in ((PLAIN, before), (VARIATIONAL, after)):
        with torch.no_grad():
            decoded = both[name].reconstruct(batch)
        rows.append((f"{name}, decoded", decoded, f"mse {row.test_mse:.5f}"))
    for name, row in ((PLAIN, before), (VARIATIONAL, after)):
        found = metrics.decode(both[name], noise)
        distance = f"Frechet {row.frechet_standard_normal:.1f}"
        rows.append((f"{name}, N(0, I)", found, distance))
    run_dir.save_figure(
        "before_after",
        figures.sample_grids(
            [pictures.clamp(0, 1).numpy() for _, pictures, _ in rows],
            [name for name, _, _ in rows],
            {"": [score for _, _, score in rows]},
            "The first test images and the first codes drawn from N(0, I), the same for both"
            f" codecs; Frechet distance in {scales.judge.features_in_words}, 0 is best.",
            f"Before and after ({title})",
            scales.images.shown,
            [batch.valid] * 3 + [None] * 2,
        ),
    )
    codec, test = both[VARIATIONAL], scales.images.test
    run_dir.save_figure(
        "kl_units",
        figures.kl_units(
            kl_by_unit(codec, test).numpy(),
            active_by_unit(metrics.encode(codec, test)).numpy(),
            f"What each unit says of a test image ({title})",
        ),
    )
    if noise.shape[1] == 2:
        maps = [_code_map(name, codec, scales) for name, codec in both.items()]
        run_dir.save_figure(
            "code_maps", figures.code_maps(maps, f"Where codes of test images lie ({title})")
        )


def _beta_curve(rows: Sequence[_Row], title: str) -> "Figure":
    points = [
        figures.ConversionPoint(
            row.beta, row.test_mse, row.frechet_standard_normal, row.active_units == 0
        )
        for row in rows
    ]
    return figures.beta_curve(points, f"What the weight of N(0, I) costs and gains ({title})")


def _code_map(name: str, codec: Codec, scales: Scales) -> figures.CodeMap:
    """The codes of test images in two dimensions, and where none lie: by draws if there are any."""
    images = scales.images
    codes = metrics.encode(codec, images.test)
    region = OccupiedRegion.calibrated(*codes_of(codec, scales.parts)[1])
    low, high = torch.quantile(codes, torch.tensor([0.002, 0.998]), dim=0)
    low, high = low.clamp_max(-_NORMAL), high.clamp_min(_NORMAL)
    x, y = (torch.linspace(float(a), float(b), _GRID) for a, b in zip(low, high, strict=True))
    grid = torch.cartesian_prod(y, x).flip(1)
    labels = images.test.labels
    return figures.CodeMap(
        name,
        codes.numpy(),
        None if labels is None else labels.numpy(),
        x.numpy(),
        y.numpy(),
        region.in_hole(grid).unflatten(0, (_GRID, _GRID)).numpy(),
    )
