"""The search of `aecli tune`: settings are proposed, and the better third is trained for longer."""

import importlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from aecli.config import TuneConfig
from aecli.data.images import Images
from aecli.errors import DataError, UsageError
from aecli.experiments.tune_space import Range, Space, begun_from, settled, space
from aecli.runs import storage
from aecli.runs.context import Context
from aecli.runs.folder import RunDir
from aecli.training import device
from aecli.training.jobs import Job, Trained, amount_of, at_a_time, train_all

RUNGS = (9, 3, 1)
"""A setting's epochs over those of each of its trainings."""
_THIRD = 3
_A_ROUND = 4  # trainings for each worker, so that long and short ones fill the cores
_JOURNAL = "trials.json"
_MOST_BYTES = 2**24  # of it


@dataclass
class Trial:
    """Settings that were tried."""

    chosen: Mapping[str, Any]
    scores: dict[int, float] = field(default_factory=dict)
    """Rung -> the loss on the validation images; infinite where training failed."""
    seconds: dict[int, float] = field(default_factory=dict)
    """Rung -> seconds of the training."""


@dataclass(frozen=True)
class Found:
    """Outcome of a search; the first trial is of the settings that it began from."""

    among: Space
    trials: Sequence[Trial]
    used: float
    """Seconds of all trainings, by the clock."""

    @property
    def best(self) -> tuple[Trial, int]:
        """The trial and the rung of the lowest loss. Raises UsageError if none was trained."""
        every = [(t.scores[rung], n, rung) for n, t in enumerate(self.trials) for rung in t.scores]
        loss, number, rung = min(every, default=(math.inf, 0, 0))
        if math.isinf(loss):
            raise UsageError(
                f"no setting was trained in {self.used:.0f} s: give a larger budget, fewer"
                " epochs, or fewer images"
            )
        return self.trials[number], rung

    def trainings(self, config: TuneConfig) -> list[tuple[int, int, Job]]:
        """Number of the trial, rung and job of each training; one of as many epochs at two rungs
        stands at the first."""
        every: dict[Job, tuple[int, int, Job]] = {}
        for number, trial in enumerate(self.trials):
            for rung in sorted(trial.scores):
                job = job_of(config, trial.chosen, rung)
                every.setdefault(job, (number, rung, job))
        return list(every.values())

    @property
    def default(self) -> float:
        """The loss of the settings that it began from; infinite if they were not trained."""
        return self.trials[0].scores.get(len(RUNGS) - 1, math.inf)


def job_of(config: TuneConfig, chosen: Mapping[str, Any], rung: int) -> Job:
    """The training of a setting at a rung: for a share of its epochs, learning rate and all."""
    codec, train = settled(config, chosen)
    epochs = max(round(train.epochs / RUNGS[rung]), 1)
    return Job(codec, train.model_copy(update={"epochs": epochs}), config.seed)


def search(config: TuneConfig, images: Images, run_dir: RunDir, context: Context) -> Found:
    """The settings that were tried within the budget, each training a job that is kept.

    Successive halving without waiting (Li et al., "A system for massively parallel hyperparameter
    tuning", MLSys 2020, algorithm 2): of all that were trained at a rung, those of the best third
    are trained at the next one, for three times the epochs; else new ones are proposed.
    """
    among = space(config, images.shape, len(images.train))
    trials, before = _read(run_dir)
    if not trials:
        trials = [Trial(begun_from(config, among))]
    started = time.monotonic()

    def used() -> float:
        return before + time.monotonic() - started

    pace = _Pace(images)
    for trial in trials:
        for rung, seconds in trial.seconds.items():
            pace.add(job_of(config, trial.chosen, rung), seconds)
    most = _A_ROUND * at_a_time(config, 10**6, device.of_jobs(config).type)
    while (left := config.budget - used()) > 0:
        asked = _asked(config, among, trials, most)
        jobs = [job_of(config, trial.chosen, rung) for trial, rung in asked]
        n = pace.fitting(jobs, left, most // _A_ROUND)
        if not n:
            break
        asked, jobs = asked[:n], jobs[:n]
        trials += [trial for trial, _ in asked if trial not in trials]
        limit = min(left, context.job_timeout or math.inf)
        within = replace(context, job_timeout=limit, fail_fast=False)
        context.terminal.say(_so_far(trials, used(), config.budget))
        trainings = train_all(list(dict.fromkeys(jobs)), images, config, run_dir, within)
        for (trial, rung), job in zip(asked, jobs, strict=True):
            done = trainings.done.get(job)
            trial.scores[rung] = math.inf if done is None else _loss(done)
            if done is not None:
                trial.seconds[rung] = sum(record.seconds for record in done.records)
                pace.add(job, trial.seconds[rung])
        _write(run_dir, trials, used())
    return Found(among, trials, used())


def _asked(
    config: TuneConfig, among: Space, trials: Sequence[Trial], most: int
) -> list[tuple[Trial, int]]:
    """What is trained next: each trial with its rung; those in no rung yet are new."""
    last = len(RUNGS) - 1
    asked = [] if trials[0].scores else [(trials[0], last)]
    for rung in range(last - 1, -1, -1):
        there = [t for t in trials if math.isfinite(t.scores.get(rung, math.inf))]
        there.sort(key=lambda trial: trial.scores[rung])
        better = there[: len(there) // _THIRD]
        asked += [(trial, rung + 1) for trial in better if rung + 1 not in trial.scores]
    number = len(trials)
    while len(asked) < most:
        seed = config.seed * 1_000_003 + number
        asked.append((Trial(propose(among, trials, config.sampler, seed)), 0))
        number += 1
    return asked


def propose(among: Space, trials: Sequence[Trial], sampler: str, seed: int) -> dict[str, Any]:
    """Settings to try next, by what was found so far: `tpe` is the tree-structured Parzen estimator
    (Bergstra et al., "Algorithms for hyper-parameter optimization", NIPS 2011)."""
    optuna = _optuna()
    kinds = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}
    study = optuna.create_study(sampler=kinds[sampler](seed=seed))
    study.add_trials([_told(trial, among) for trial in trials if trial.scores])
    proposed: dict[str, Any] = study.ask(_distributions(among)).params
    return proposed


def importances(found: Found) -> dict[str, float]:
    """The share of each setting in the variance of the loss at the first rung, in [0, 1], by
    functional ANOVA (Hutter et al., "An efficient approach for assessing hyperparameter
    importance", ICML 2014); empty for fewer than four trials that can be compared."""
    optuna = _optuna()
    there = [t for t in found.trials if math.isfinite(t.scores.get(0, math.inf))]
    if len({trial.scores[0] for trial in there}) < 4:
        return {}
    study = optuna.create_study()
    first = [Trial(trial.chosen, {0: math.log(trial.scores[0])}) for trial in there]
    study.add_trials([_told(trial, found.among, True) for trial in first])
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: float(share) for name, share in shares.items()}


def _told(trial: Trial, among: Space, complete: bool = False) -> Any:
    """A trial as Optuna has it: pruned at the last rung that it reached, or complete."""
    optuna = _optuna()
    states = optuna.trial.TrialState
    value = trial.scores[max(trial.scores)]
    return optuna.trial.create_trial(
        state=states.COMPLETE if complete else states.PRUNED,
        params=dict(trial.chosen),
        distributions=_distributions(among),
        value=value if complete else None,
        intermediate_values=trial.scores,
    )


def _distributions(among: Space) -> dict[str, Any]:
    distributions = _optuna().distributions
    return {
        name: distributions.FloatDistribution(values.low, values.high, log=True)
        if isinstance(values, Range)
        else distributions.CategoricalDistribution(values)
        for name, values in among.items()
    }


def _optuna() -> Any:
    """The module. Raises UsageError, naming the extra, where it is absent."""
    try:
        optuna = importlib.import_module("optuna")
    except ModuleNotFoundError as error:
        if error.name != "optuna":
            raise
        raise UsageError("tune needs Optuna: pip install 'aecli[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


class _Pace:
    """Seconds that a training will take, by those that others took."""

    def __init__(self, images: Images) -> None:
        self._images = images
        self._rows: list[list[float]] = []
        self._seconds: list[float] = []

    def add(self, job: Job, seconds: float) -> None:
        """A training that was done."""
        self._rows.append(self._row(job))
        self._seconds.append(seconds)

    def fitting(self, jobs: Sequence[Job], left: float, workers: int) -> int:
        """The number of these, the first ones, that so many seconds are enough for; all before
        anything is known."""
        if len(self._rows) < 2:
            return len(jobs)
        from scipy.optimize import nnls

        weights, _ = nnls(np.array(self._rows), np.array(self._seconds))
        each = [float(np.dot(weights, self._row(job))) for job in jobs]
        for n in range(len(jobs), 0, -1):
            if max(sum(each[:n]) / workers, *each[:n], 0.0) <= left:
                return n
        return 0

    def _row(self, job: Job) -> list[float]:
        """What the seconds grow with: numbers that images pass through, those that steps change."""
        shape, images = self._images.shape, len(self._images.train)
        steps = job.fit.epochs * math.ceil(images / job.fit.batch_size)
        work = amount_of(job, shape, images, 1, "cpu").work
        return [work, float(job.codec.size(shape)[0] * steps), float(steps)]


def _loss(trained: Trained) -> float:
    """The loss on the validation images at the end; infinite if it is no number."""
    loss = trained.records[-1].val[trained.job.fit.loss.terms[0]]
    return loss if math.isfinite(loss) else math.inf


def _so_far(trials: Sequence[Trial], used: float, budget: float) -> str:
    every = [score for trial in trials for score in trial.scores.values()]
    best = f", lowest loss {min(every):.5g}" if every else ""
    return f"tune: {used:.0f} of {budget:.0f} s, {sum(bool(t.scores) for t in trials)} tried{best}"


def _write(run_dir: RunDir, trials: Sequence[Trial], used: float) -> None:
    rows = [
        {
            "chosen": dict(trial.chosen),
            "scores": {str(rung): score for rung, score in trial.scores.items()},
            "seconds": {str(rung): seconds for rung, seconds in trial.seconds.items()},
        }
        for trial in trials
    ]
    run_dir.write_json(_JOURNAL, {"used": used, "trials": rows})


def _read(run_dir: RunDir) -> tuple[list[Trial], float]:
    """The trials that an earlier process left, and the seconds that it used; none if it left none.
    Raises DataError if they cannot be read."""
    path = run_dir.path / _JOURNAL
    if not path.exists():
        return [], 0.0
    try:
        kept = json.loads(storage.read_regular(path, _MOST_BYTES, run_dir.path))
        trials = [
            Trial(dict(row["chosen"]), _by_rung(row["scores"]), _by_rung(row["seconds"]))
            for row in kept["trials"]
        ]
        return trials, float(kept["used"])
    except (OSError, AttributeError, *storage.MALFORMED) as error:
        raise DataError(f"{path}: not a journal of aecli tune: {error!r}") from None


def _by_rung(values: Mapping[str, Any]) -> dict[int, float]:
    """A number that is not finite is null in JSON."""
    return {int(rung): math.inf if v is None else float(v) for rung, v in values.items()}
