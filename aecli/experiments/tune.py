"""`aecli tune`: look for better settings on the validation images, within a budget of time."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from aecli import figures
from aecli.config import TrainConfig, TuneConfig, to_yaml
from aecli.counts import count
from aecli.data import facts
from aecli.data.images import Images
from aecli.errors import UsageError
from aecli.experiments.possible import require_codecs
from aecli.experiments.result import Result
from aecli.experiments.tune_search import RUNGS, Found, Trial, importances, job_of, search
from aecli.experiments.tune_space import begun_from, settled, space
from aecli.experiments.wording import mse_in_words
from aecli.runs.context import Context, load_images
from aecli.runs.folder import RunDir, new_run
from aecli.training import device
from aecli.training.jobs import Job, facts_of_jobs

_CONFIG = "tuned.yaml"
_IN_WORDS = {
    "lr": "learning rate",
    "batch_size": "batch size",
    "elastic": "bending",
    "shift": "moving",
    "mirror": "mirroring",
}
_LABELS = tuple(f"1/{share} of its epochs" if share > 1 else "all its epochs" for share in RUNGS)


def check(config: TuneConfig, images: int | None) -> None:
    """Raises UsageError for what would fail only in a training; images: the number, if known."""
    shape = facts.image_shape(config.data)
    require_codecs([config.codec], shape, images)
    if images is not None and images < config.train.batch_size:
        raise UsageError(f"batch_size={config.train.batch_size} must be at most {images}")
    if not space(config, shape, images or config.train.batch_size):
        raise UsageError(
            f"tuned={','.join(config.tuned)}: codec {config.codec.name} leaves no choice of these"
        )


def run(config: TuneConfig, context: Context) -> Result:
    """Search, and leave the settings that were found. Raises every AecliError."""
    device.prepare(config)
    check(config, config.data.limit_train)
    slug = config.name or f"{config.codec.name}{config.codec.code_dim}"
    with new_run(context.runs_dir, config, slug, context.argv, context.resumed) as run_dir:
        context.tell_machine(run_dir.path, facts_of_jobs(config), " for each training")
        images, config = load_images(config, context, run_dir)
        context.terminal.warn(run_dir.note(**facts_of_jobs(config)))
        check(config, len(images.train))
        if not len(images.val):
            raise UsageError(
                f"data.val={config.data.val}: none of these images is held out to choose by"
            )
        found = search(config, images, run_dir, context)
        numbers = _numbers(found, config, images)
        run_dir.write_csv("trials.csv", _rows(found, config))
        matters = importances(found)
        table = _table(found, config, matters)
        run_dir.write_csv("what_matters.csv", table)
        run_dir.save_text(_CONFIG, _head(numbers, config, images) + to_yaml(_tuned(found, config)))
        run_dir.write_metrics(numbers)
        with context.terminal.working("drawing the figure"):
            _draw(found, matters, images, config, run_dir)
    title = f"{images.name}: {config.codec.name}, settings chosen by {_part(images)}"
    loss = config.train.loss.terms[0]
    printed = [
        (f"validation {loss}", _loss(found.default), _loss(numbers["val_loss"]), ""),
        *(
            (
                str(row["setting"]),
                _short(row["begun_from"]),
                _short(row["found"]),
                "" if row["share"] is None else f"{100 * row['share']:.0f}%",
            )
            for row in table
        ),
    ]
    header = ("setting", "begun from", "found", "matters")
    notes = [
        f"{_search_in_words(numbers, config)}. How much a setting matters is its share in the"
        f" variance of the loss after {_LABELS[0]}, by functional ANOVA.",
        f"Train with what was found: aecli train --config {run_dir.path / _CONFIG}",
    ]
    return Result(run_dir.path, numbers, title, printed, header, notes)


def _best_job(found: Found, config: TuneConfig) -> Job:
    trial, rung = found.best
    return job_of(config, trial.chosen, rung)


def _tuned(found: Found, config: TuneConfig) -> TrainConfig:
    """The training that was found to be best, as `aecli train` takes it."""
    job = _best_job(found, config)
    return TrainConfig(seed=job.seed, data=config.data, codec=job.codec, train=job.fit)


def _numbers(found: Found, config: TuneConfig, images: Images) -> dict[str, Any]:
    """The content of metrics.json."""
    trial, rung = found.best
    trainings = found.trainings(config)
    failed = [math.isinf(found.trials[number].scores[rung]) for number, rung, _ in trainings]
    return {
        "dataset": images.name,
        "val_loss": trial.scores[rung],
        "begun_val_loss": found.default,
        "val_loss_ratio": trial.scores[rung] / found.default,
        "settings_tried": sum(bool(each.scores) for each in found.trials),
        "trainings": len(trainings),
        "failed_trainings": sum(failed),
        "seconds_used": round(found.used, 3),
        "epochs": job_of(config, trial.chosen, rung).fit.epochs,
        "begun_epochs": config.train.epochs,
        "train_seconds": trial.seconds[rung],
        "begun_train_seconds": found.trials[0].seconds.get(len(RUNGS) - 1),
    }


def _rows(found: Found, config: TuneConfig) -> list[dict[str, Any]]:
    """trials.csv: a row for each training."""
    rows = []
    for number, rung, job in found.trainings(config):
        trial = found.trials[number]
        loss = trial.scores[rung]
        row = {
            "trial": number,
            "epochs": job.fit.epochs,
            "share_of_epochs": round(1 / RUNGS[rung], 4),
            "val_loss": loss if math.isfinite(loss) else None,
            "seconds": trial.seconds.get(rung),
        }
        rows.append(row | _settings(trial.chosen, config))
    return rows


def _settings(chosen: Mapping[str, Any], config: TuneConfig) -> dict[str, Any]:
    """What was chosen as a config has it: layers in place of a factor of their widths."""
    codec, _ = settled(config, chosen)
    named = {name: value for name, value in chosen.items() if name not in ("width", "depth")}
    if "width" in chosen or "depth" in chosen:
        named["layers"] = "-".join(map(str, getattr(codec, "hidden", ()))) or (
            f"{getattr(codec, 'width', '')} wide, {getattr(codec, 'depth', '')} deep"
        )
    return named


def _table(found: Found, config: TuneConfig, matters: Mapping[str, float]) -> list[dict[str, Any]]:
    """what_matters.csv: the settings, the one that matters most first."""
    trial, rung = found.best
    best, begun = dict(trial.chosen), begun_from(config, found.among)
    if "epochs" in best:
        best["epochs"] = job_of(config, trial.chosen, rung).fit.epochs
    order = sorted(begun, key=lambda name: -matters.get(name, 0.0))
    return [
        {
            "setting": name,
            "begun_from": begun[name],
            "found": best[name],
            "share": matters.get(name),
        }
        for name in order
    ]


def _search_in_words(numbers: Mapping[str, Any], config: TuneConfig) -> str:
    tried = count(numbers["settings_tried"], "setting")
    trained = count(numbers["trainings"], "training")
    return f"{tried} tried in {trained} and {numbers['seconds_used']:.0f} s, by {config.sampler}"


def _head(numbers: Mapping[str, Any], config: TuneConfig, images: Images) -> str:
    """Comments over the YAML: what it scored, and how it was chosen."""
    loss = config.train.loss.terms[0]
    where = device.of_jobs(config).type
    return (
        f"# aecli train --config {_CONFIG}\n"
        f"# Scored a {loss} of {_loss(numbers['val_loss'])} on {_part(images)} of {images.name},"
        f" seed {config.seed},\n"
        f"# where the settings that were begun from scored {_loss(numbers['begun_val_loss'])}.\n"
        f"# {_search_in_words(numbers, config)}, on {where};"
        " the test images were not looked at.\n"
    )


def _draw(
    found: Found, matters: Mapping[str, float], images: Images, config: TuneConfig, run_dir: RunDir
) -> None:
    run_dir.save_figure(
        "tuning",
        figures.tuning(
            [_points(found.trials, rung) for rung in range(len(RUNGS))],
            _LABELS,
            found.default,
            {_IN_WORDS.get(name, name): share for name, share in matters.items()},
            config.train.loss.terms[0],
            f"Settings of {config.codec.name} tried on {images.title}",
        ),
    )


def _points(trials: Sequence[Trial], rung: int) -> list[tuple[int, float]]:
    """Numbers of the trials that were trained at a rung, and their losses."""
    return [
        (number, loss)
        for number, trial in enumerate(trials)
        if math.isfinite(loss := trial.scores.get(rung, math.inf))
    ]


def _part(images: Images) -> str:
    return count(len(images.val), "validation image")


def _loss(loss: float) -> str:
    return mse_in_words(loss) if math.isfinite(loss) else "unknown"


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value).lower()
