"""`aecli tune`: look for better settings on the validation images, within a budget of time."""

import math
from collections.abc import Mapping
from typing import Any

from aecli import figures
from aecli.config import TrainConfig, TuneConfig, to_yaml, with_values
from aecli.config.tuning_space import begun_from, rungs, settled, space
from aecli.counts import count
from aecli.data import facts
from aecli.data.images import Images
from aecli.errors import UsageError
from aecli.experiments.possible import require_codecs
from aecli.experiments.result import Result
from aecli.experiments.tune_search import Found, importances, require_optuna, search
from aecli.experiments.wording import mse_in_words
from aecli.runs.context import Context, load_images
from aecli.runs.folder import RunDir, new_run
from aecli.training import device
from aecli.training.jobs import facts_of_jobs

_CONFIG = "tuned.yaml"
_IN_WORDS = {
    "lr": "learning rate",
    "batch_size": "batch size",
    "elastic": "bending",
    "shift": "moving",
    "mirror": "mirroring",
}


def check(config: TuneConfig, images: int | None) -> None:
    """Raises UsageError for what would fail only in a training; images: the number, if known."""
    require_optuna()
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
        numbers = _numbers(found, images)
        run_dir.write_csv("trials.csv", _rows(found))
        matters = importances(found)
        table = _table(found, matters)
        run_dir.write_csv("what_matters.csv", table)
        run_dir.save_text(_CONFIG, _head(numbers, config, images) + to_yaml(_tuned(found)))
        run_dir.write_metrics(numbers)
        with context.terminal.working("drawing the figure"):
            _draw(found, matters, images, run_dir)
    loss = config.train.loss.terms[0]
    printed = [
        (f"validation {loss}", _loss(numbers["begun_val_loss"]), _loss(numbers["val_loss"]), ""),
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
    title = f"{images.name}: {config.codec.name}, settings chosen by {_part(images)}"
    header = ("setting", "begun from", "found", "matters")
    share = (
        " How much a setting matters is its share in what all of them change after"
        f" {count(rungs(config)[0], 'epoch')}, by functional ANOVA."
    )
    notes = [
        f"{_search_in_words(numbers, config)}.{share if matters else ''}",
        f"Train with what was found: aecli train --config {run_dir.path / _CONFIG}",
    ]
    return Result(run_dir.path, numbers, title, printed, header, notes)


def _tuned(found: Found) -> TrainConfig:
    """The training that was found to be best, as `aecli train` takes it."""
    job = found.best_job
    # Not by validation, which fills in what a codec has where nothing is given.
    values = {"seed": job.seed, "data": found.config.data, "codec": job.codec, "train": job.fit}
    return with_values(TrainConfig(), values)


def _numbers(found: Found, images: Images) -> dict[str, Any]:
    """The content of metrics.json."""
    trial, epochs = found.best
    scores = [score for each in found.trials for score in each.scores.values()]
    begun = found.config.train.epochs
    return {
        "dataset": images.name,
        "val_loss": trial.scores[epochs],
        "begun_val_loss": found.default,
        "val_loss_fall": found.default - trial.scores[epochs],
        "settings_tried": sum(bool(each.scores) for each in found.trials),
        "trainings": len(scores),
        "failed_trainings": sum(map(math.isinf, scores)),
        "seconds_used": round(found.used, 3),
        "epochs": epochs,
        "begun_epochs": begun,
        "train_seconds": trial.seconds[epochs],
        "begun_train_seconds": found.trials[0].seconds.get(begun, math.nan),
    }


def _rows(found: Found) -> list[dict[str, Any]]:
    """Rows of trials.csv, one for each training."""
    return [
        {
            "trial": number,
            "epochs": epochs,
            "val_loss": loss if math.isfinite(loss) else None,
            "seconds": trial.seconds.get(epochs),
            **_settings(trial.chosen, found.config),
        }
        for number, trial in enumerate(found.trials)
        for epochs, loss in sorted(trial.scores.items())
    ]


def _settings(chosen: Mapping[str, Any], config: TuneConfig) -> dict[str, Any]:
    """The chosen values as a config has them: layers in place of a factor of their widths."""
    codec, _ = settled(config, chosen)
    named = {name: value for name, value in chosen.items() if name not in ("width", "depth")}
    if "width" in chosen or "depth" in chosen:
        named["layers"] = "-".join(map(str, getattr(codec, "hidden", ()))) or (
            f"{getattr(codec, 'width', '')} wide, {getattr(codec, 'depth', '')} deep"
        )
    return named


def _table(found: Found, matters: Mapping[str, float]) -> list[dict[str, Any]]:
    """Rows of what_matters.csv: the settings, the one that matters most first."""
    trial, epochs = found.best
    begun = begun_from(found.config, found.among)
    rows = [
        {"setting": name, "begun_from": value, "found": trial.chosen[name], "share": share}
        for name, value in begun.items()
        for share in (matters.get(name),)
    ]
    rows.sort(key=lambda row: -(row["share"] or 0.0))
    own = {"setting": "epochs", "begun_from": found.config.train.epochs, "found": epochs}
    return [*rows, own | {"share": None}]


def _search_in_words(numbers: Mapping[str, Any], config: TuneConfig) -> str:
    tried = count(numbers["settings_tried"], "setting")
    trained = count(numbers["trainings"], "training")
    return f"{tried} tried in {trained} and {numbers['seconds_used']:.0f} s, by {config.sampler}"


def _head(numbers: Mapping[str, Any], config: TuneConfig, images: Images) -> str:
    """Comments over the YAML: what it scored, and how it was chosen."""
    loss = config.train.loss.terms[0]
    where = device.of_jobs(config).type
    return (
        f"# aecli train --config {_CONFIG} (the last digit: --threads {config.threads or 1})\n"
        f"# Validation {loss}, on {_part(images)} of {images.name}, seed {config.seed}:"
        f" {_loss(numbers['val_loss'])};\n"
        f"# that of the settings begun from: {_loss(numbers['begun_val_loss'])}.\n"
        f"# {_search_in_words(numbers, config)}, on {where};"
        " the test images were not looked at.\n"
    )


def _draw(found: Found, matters: Mapping[str, float], images: Images, run_dir: RunDir) -> None:
    points = {
        count(epochs, "epoch"): [
            (number, trial.scores[epochs])
            for number, trial in enumerate(found.trials)
            if math.isfinite(trial.scores.get(epochs, math.inf))
        ]
        for epochs in rungs(found.config)
    }
    words = {_IN_WORDS.get(name, name): share for name, share in matters.items()}
    config = found.config
    loss, title = config.train.loss.terms[0], f"Settings of {config.codec.name}, {images.title}"
    run_dir.save_figure("tuning", figures.tuning(points, found.default, words, loss, title))


def _part(images: Images) -> str:
    return count(len(images.val), "validation image")


def _loss(loss: float) -> str:
    return mse_in_words(loss) if math.isfinite(loss) else "unknown"


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value).lower()
