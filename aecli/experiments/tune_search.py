"""The search of `aecli tune`: settings are proposed, and the better third is trained for longer."""

import importlib
import itertools
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from aecli.config import TuneConfig
from aecli.config.tuning_space import Range, Space, begun_from, rungs, settled, space
from aecli.data.images import Images
from aecli.errors import DataError, JobsFailedError, UsageError
from aecli.runs import storage
from aecli.runs.context import Context
from aecli.runs.folder import RunDir
from aecli.training import device
from aecli.training.jobs import (
    Job,
    Trained,
    amount_of,
    at_a_time,
    failure_text,
    train_all,
)

_THIRD = 3
_A_ROUND = 4  # trainings for each worker, so that long and short ones fill the cores
_DRAWS = 20  # proposals for a place before it stays empty: few settings have few values
_JOURNAL = "trials.json"
_MOST_BYTES = 2**24  # of it


@dataclass
class Trial:
    """Settings that were tried."""

    chosen: Mapping[str, Any]
    scores: dict[int, float] = field(default_factory=dict)
    """Epochs -> the loss on the validation images; infinite where training failed."""
    seconds: dict[int, float] = field(default_factory=dict)
    """Epochs -> seconds of the training."""


@dataclass(frozen=True)
class Found:
    """Outcome of a search; the first trial is of the settings that it began from."""

    config: TuneConfig
    among: Space
    trials: Sequence[Trial]
    used: float
    """Seconds of all trainings, by the clock."""

    @property
    def best(self) -> tuple[Trial, int]:
        """The trial and the epochs of the lowest loss. Raises UsageError if none was trained."""
        every = [(t.scores[e], e, n) for n, t in enumerate(self.trials) for e in t.scores]
        loss, epochs, number = min(every, default=(math.inf, 0, 0))
        if math.isinf(loss):
            raise UsageError(
                f"no setting was trained in {self.used:.0f} s: give a larger budget, fewer"
                " epochs, or fewer images"
            )
        return self.trials[number], epochs

    @property
    def best_job(self) -> Job:
        """The training of the lowest loss."""
        trial, epochs = self.best
        return job_of(self.config, trial.chosen, epochs)

    @property
    def default(self) -> float:
        """The loss of the settings that it began from; nan if they were not trained."""
        loss = self.trials[0].scores.get(self.config.train.epochs, math.nan)
        return loss if math.isfinite(loss) else math.nan


def job_of(config: TuneConfig, chosen: Mapping[str, Any], epochs: int) -> Job:
    """The training of settings for so many epochs, the learning rate's course and all."""
    codec, train = settled(config, chosen)
    return Job(codec, train.model_copy(update={"epochs": epochs}), config.seed)


def search(config: TuneConfig, images: Images, run_dir: RunDir, context: Context) -> Found:
    """The settings that were tried within the budget.

    Successive halving without waiting (Li et al., "A system for massively parallel hyperparameter
    tuning", MLSys 2020, algorithm 2): of all that were trained for so many epochs, the best third
    are trained for the next number; else new ones are proposed. Raises JobsFailedError if all
    trainings of two rounds failed.
    """
    among = space(config, images.shape, len(images.train))
    trials, before = _read(run_dir)
    trials = trials or [Trial(begun_from(config, among))]
    started = time.monotonic()

    def used() -> float:
        return before + time.monotonic() - started

    workers = at_a_time(config, 10**6, device.of_jobs(config).type)
    pace = _Pace(images)
    for trial in trials:
        for epochs, seconds in trial.seconds.items():
            pace.add(job_of(config, trial.chosen, epochs), seconds)
    rounds = 0
    while (left := config.budget - used()) > 0:
        asked = {
            job_of(config, trial.chosen, epochs): (trial, epochs)
            for trial, epochs in _asked(config, among, trials, _A_ROUND * workers)
        }
        jobs = pace.fitting(list(asked), left, workers)
        if not jobs:
            break
        within = replace(
            context, job_timeout=min(left, context.job_timeout or math.inf), fail_fast=False
        )
        context.terminal.say(_so_far(trials, used(), config.budget))
        trainings = train_all(jobs, images, config, run_dir, within)
        is_over = used() >= config.budget
        for job in jobs:
            trial, epochs = asked[job]
            done = trainings.done.get(job)
            if done is None and is_over:  # late, which says nothing of the settings
                continue
            trial.scores[epochs] = math.inf if done is None else _loss(done)
            if done is not None:
                trial.seconds[epochs] = sum(record.seconds for record in done.records)
                pace.add(job, trial.seconds[epochs])
            if not any(trial is each for each in trials):
                trials.append(trial)
        _write(run_dir, trials, used())
        run_dir.clear_jobs()  # the journal has all of them that counts
        rounds += 1
        every = [score for trial in trials for score in trial.scores.values()]
        if rounds > 1 and trainings.failed and not any(map(math.isfinite, every)):
            raise JobsFailedError(failure_text(trainings.failures()))
    return Found(config, among, trials, used())


def _asked(
    config: TuneConfig, among: Space, trials: Sequence[Trial], most: int
) -> list[tuple[Trial, int]]:
    """Trials that are trained next, each with its epochs; those without a score are new."""
    every = rungs(config)
    asked = [
        (trials[0], epochs)
        for epochs in (config.train.epochs, every[0])
        if epochs not in trials[0].scores
    ]
    for below, epochs in reversed(list(itertools.pairwise(every))):
        there = [t for t in trials if math.isfinite(t.scores.get(below, math.inf))]
        there.sort(key=lambda trial: trial.scores[below])
        better = there[: len(there) // _THIRD]
        asked += [
            (trial, epochs)
            for trial in better
            if epochs not in trial.scores and (trial, epochs) not in asked
        ]
    known = [trial.chosen for trial in trials]
    earned = [Trial(trial.chosen, _earned(trial, every)) for trial in trials]
    for number in range(len(trials), len(trials) + _DRAWS * most):
        if len(asked) >= most:
            break
        chosen = propose(among, earned, config.sampler, _seed(config.seed, number))
        if chosen not in known:
            known.append(chosen)
            asked.append((Trial(chosen), every[0]))
    return asked


def _earned(trial: Trial, every: Sequence[int]) -> dict[int, float]:
    """The losses up to the first training that failed or was left out, as the longest one of the
    settings begun from leaves out others."""
    scores = [trial.scores.get(epochs, math.nan) for epochs in every]
    n = next((i for i, score in enumerate(scores) if not math.isfinite(score)), len(scores))
    failed = not n and math.isinf(scores[0])
    return dict(zip(every[: max(n, failed)], scores, strict=False))


def _seed(seed: int, number: int) -> int:
    """A seed for each proposal of a search, below 2^32."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def propose(among: Space, trials: Sequence[Trial], sampler: str, seed: int) -> dict[str, Any]:
    """Settings to try next, by what was found so far: `tpe` is the tree-structured Parzen estimator
    (Bergstra et al., "Algorithms for hyper-parameter optimization", NIPS 2011)."""
    optuna = require_optuna()
    kinds = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}
    study = optuna.create_study(sampler=kinds[sampler](seed=seed))
    study.add_trials([_told(trial, among) for trial in trials if trial.scores])
    proposed: dict[str, Any] = study.ask(_distributions(among)).params
    return proposed


def importances(found: Found) -> dict[str, float]:
    """The share of each setting in what all of them change of the loss after the fewest epochs, in
    [0, 1], by functional ANOVA (Hutter et al., "An efficient approach for assessing hyperparameter
    importance", ICML 2014); empty for fewer than four trials that can be compared.

    It is the loss's logarithm where no loss is below 0, as the evidence lower bound's may be.
    """
    optuna = require_optuna()
    first = rungs(found.config)[0]
    there = [t for t in found.trials if math.isfinite(t.scores.get(first, math.inf))]
    losses = [trial.scores[first] for trial in there]
    if len(set(losses)) < 4:
        return {}
    values = [math.log(loss) for loss in losses] if min(losses) > 0 else losses
    study = optuna.create_study()
    study.add_trials(
        [
            optuna.trial.create_trial(
                params=dict(trial.chosen), distributions=_distributions(found.among), value=value
            )
            for trial, value in zip(there, values, strict=True)
        ]
    )
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: float(share) for name, share in shares.items()}


def require_optuna() -> Any:
    """The module. Raises UsageError, naming the extra, where it is absent."""
    try:
        optuna = importlib.import_module("optuna")
    except ModuleNotFoundError as error:
        if error.name != "optuna":
            raise
        raise UsageError("tune needs Optuna: pip install 'aecli[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _told(trial: Trial, among: Space) -> Any:
    """A trial as Optuna has one that was pruned, after its longest training."""
    optuna = require_optuna()
    return optuna.trial.create_trial(
        state=optuna.trial.TrialState.PRUNED,
        params=dict(trial.chosen),
        distributions=_distributions(among),
        intermediate_values=trial.scores,
    )


def _distributions(among: Space) -> dict[str, Any]:
    distributions = require_optuna().distributions
    return {
        name: distributions.FloatDistribution(values.low, values.high, log=True)
        if isinstance(values, Range)
        else distributions.CategoricalDistribution(values)
        for name, values in among.items()
    }


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

    def fitting(self, jobs: Sequence[Job], left: float, workers: int) -> list[Job]:
        """Those that so many seconds are enough for, the first ones first; one for each worker
        before anything is known."""
        if len(self._rows) < 2:
            return list(jobs[:workers])
        from scipy.optimize import nnls

        weights, _ = nnls(np.array(self._rows), np.array(self._seconds))
        taken: list[Job] = []
        total = 0.0
        for job in jobs:
            seconds = float(np.dot(weights, self._row(job)))
            if seconds <= left and (total + seconds) / workers <= left:
                taken.append(job)
                total += seconds
        return taken

    def _row(self, job: Job) -> list[float]:
        """Amounts that the seconds grow with: numbers that images pass through, those that steps
        change, steps."""
        shape, images = self._images.shape, len(self._images.train)
        steps = job.fit.epochs * math.ceil(images / job.fit.batch_size)
        work = amount_of(job, shape, images, 1, "cpu").work
        return [work, float(job.codec.size(shape)[0] * steps), float(steps)]


def _loss(trained: Trained) -> float:
    """The loss on the validation images at the end; infinite if it is no number."""
    loss = trained.records[-1].val[trained.job.fit.loss.terms[0]]
    return loss if math.isfinite(loss) else math.inf


def _so_far(trials: Sequence[Trial], used: float, budget: float) -> str:
    every = [s for trial in trials for s in trial.scores.values() if math.isfinite(s)]
    best = f", lowest loss {min(every):.5g}" if every else ""
    return f"tune: {used:.0f} of {budget:.0f} s, {sum(bool(t.scores) for t in trials)} tried{best}"


def _write(run_dir: RunDir, trials: Sequence[Trial], used: float) -> None:
    rows = [
        {
            "chosen": dict(trial.chosen),
            "scores": {str(epochs): score for epochs, score in trial.scores.items()},
            "seconds": {str(epochs): seconds for epochs, seconds in trial.seconds.items()},
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
            Trial(dict(row["chosen"]), _by_epochs(row["scores"]), _by_epochs(row["seconds"]))
            for row in kept["trials"]
        ]
        return trials, float(kept["used"])
    except (OSError, *storage.MALFORMED) as error:
        raise DataError(f"{path}: not a journal of aecli tune: {error!r}") from None


def _by_epochs(values: Mapping[str, Any]) -> dict[int, float]:
    """Numbers by epochs; one that is not finite is null in JSON."""
    return {int(epochs): math.inf if v is None else float(v) for epochs, v in values.items()}
