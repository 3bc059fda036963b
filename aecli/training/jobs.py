"""Train many codecs, several at a time, each as it would be alone, and none twice."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from numpy.typing import NDArray

from aecli import codecs, machine
from aecli.codecs.base import Codec
from aecli.config import CodecConfig, FitConfig, ManyConfig
from aecli.config.experiments import JOB_ENGINES
from aecli.counts import count
from aecli.data.images import Images, ImageShape
from aecli.errors import DataError, JobsFailedError, UsageError
from aecli.lazily import named
from aecli.runs import provenance
from aecli.runs.context import Context
from aecli.runs.folder import RunDir
from aecli.runs.pace import Amount
from aecli.training import device
from aecli.training.checkpoints import JobCheckpoint
from aecli.training.inheritance import inherit
from aecli.training.loop import Training
from aecli.training.records import EpochRecord
from aecli.training.shared import Named, Shared, shared_by_all
from aecli.training.workers import Failure, Outcome, Place, Task, Work

State = dict[str, NDArray[Any]]

_JOBS_OF_A_GPU = 4  # 16 took longer on an H100


@dataclass(frozen=True)
class Job:
    """One training."""

    codec: CodecConfig
    fit: FitConfig
    seed: int
    ancestor: "Job | None" = None
    """Training whose codec this one starts from, as `inherit` has it (None: new weights)."""
    label: int | None = None
    """Class that it learns from alone; None for all images."""
    class_name: str = field(default="", compare=False)
    """Name of that class; empty where it is called by its number."""

    @property
    def title(self) -> str:
        kind = f"variational {self.codec.name}" if self.codec.is_variational else self.codec.name
        hidden = "-".join(map(str, getattr(self.codec, "hidden", ())))
        layers = f" ({hidden})" if hidden else ""
        alone = "" if self.label is None else f", class {self.class_name or self.label} alone"
        return f"{kind} code {self.codec.code_dim}{layers}, seed {self.seed}{alone}"


@dataclass(frozen=True)
class Trained:
    """A trained codec, on the CPU, and its history (empty if it was solved for)."""

    job: Job
    codec: Codec
    records: list[EpochRecord]


@dataclass(frozen=True)
class Trainings:
    """Outcomes of many jobs."""

    done: dict[Job, Trained]
    failed: dict[Job, str]
    """The reason of each job that failed."""

    def all(self, jobs: Sequence[Job]) -> list[Trained] | None:
        """The trainings of `jobs`, in order; None if one is missing."""
        return None if self.failed.keys() & set(jobs) else [self.done[job] for job in jobs]

    def failures(self) -> list[str]:
        """A line for each that failed."""
        return [f"{job.title}: {reason}" for job, reason in self.failed.items()]

    def require_all(self) -> None:
        """Raises JobsFailedError if one failed."""
        if self.failed:
            raise JobsFailedError(failure_text(self.failures()))


def facts_of_jobs(config: ManyConfig) -> dict[str, str | int]:
    """Facts on the hardware's part in the numbers of each job, for run.json."""
    facts = device.facts(device.of_jobs(config), config.train)
    return {**facts, "threads": config.threads or 1}


def failure_text(failures: Sequence[str]) -> str:
    """The message of an exit with failed jobs."""
    lines = "".join(f"\n  {failure}" for failure in failures)
    failed = count(len(failures), "job")
    return f"{failed} failed; the others are kept, and --continue does these:{lines}"


def train_all(
    jobs: Sequence[Job], images: Images, config: ManyConfig, run_dir: RunDir, context: Context
) -> Trainings:
    """Every job's trained codec.

    Each is trained with a fixed number of threads (`config.threads`, or 1), so the numbers do not
    depend on `config.jobs`; on the CPU, or on one of the GPUs. A finished job is kept in the run's
    `jobs/` folder and read from there if it is asked for again; if it cannot be read, it is trained
    anew, with a warning. Jobs that others start from are done first, and the others only if all of
    these are there: else it raises JobsFailedError. A failed one does not stop the others
    otherwise, unless `context.fail_fast`: then it raises JobsFailedError. Raises UsageError for an
    impossible job.
    """
    if not config.codec.solved and any(job.label is None for job in jobs):
        images.require_batch(config.train.batch_size)
    begun = _ancestors(jobs, images, config, run_dir, context)
    threads, where = config.threads or 1, device.of_jobs(config).type
    names = {job: _name(job, images, threads, where) for job in jobs}
    done = {job: _kept(job, name, images.shape, run_dir, context) for job, name in names.items()}
    missing = [job for job, found in done.items() if found is None]
    missing = longest_first(missing, images.shape)
    shared = shared_by_all(images, config, run_dir, context, threads, where)
    workers = at_a_time(config, len(missing), where)
    failed: dict[Job, str] = {}
    at_once = f", {max(workers, 1)} at a time" if config.scheduler is None else ""
    text = f"training {len(missing)} of {len(jobs)} codecs{at_once}"
    with context.terminal.working(text, len(missing), "trainings") as advance:
        each = [names[job] for job in missing]
        tasks = [
            (job, begun.get(job.ancestor), turn, name)
            for turn, (job, name) in enumerate(zip(missing, each, strict=True))
        ]
        outcomes = outcomes_of(_train, shared, tasks, each, config, context, where)
        for n, (index, outcome) in enumerate(outcomes, start=1):
            advance()
            job = missing[index]
            so_far = f"{n} of {len(missing)}: {job.title}"
            if isinstance(outcome, Failure):
                failed[job] = outcome.reason
                context.terminal.say(f"WARNING: failed {so_far}: {outcome.reason}")
                if context.fail_fast:
                    raise JobsFailedError(failure_text([f"{job.title}: {outcome.reason}"]))
                continue
            state, records, faults = outcome
            context.terminal.warn([f"{job.title}: {fault}" for fault in faults])
            rows = [record.row() for record in records]
            amount = None
            if job.label is None and not job.codec.solved:
                amount = amount_of(job, images.shape, len(images.train), threads, where).noted()
            run_dir.save_job(names[job], state, rows, amount)
            shared.checkpoints.remove(names[job])
            if context.log is not None:
                run_dir.log_scalars(rows, names[job])
                run_dir.close_logs()
            done[job] = _trained(job, state, records, images.shape)
            last = f"  train_mse {records[-1].train_mse:.5f}" if records else ""
            context.terminal.say(f"trained {so_far}{last}")
    return Trainings({job: found for job, found in done.items() if found is not None}, failed)


def outcomes_of(
    work: Work[Task, Outcome],
    shared: Any,
    tasks: Sequence[Task],
    names: Sequence[str],
    config: ManyConfig,
    context: Context,
    where: str,
) -> Iterator[tuple[int, Outcome | Failure]]:
    """Each task's number and outcome, as they come, by the engine that the config asks for.

    names: one for each task; where: the kind of device that the work is done on. Raises what the
    engine raises, and the error of a task that nobody can carry out.
    """
    resources = {"threads": float(config.threads or 1)}
    if where == "cuda":
        resources["gpu"] = 1 / _JOBS_OF_A_GPU
    workers = at_a_time(config, len(tasks), where)
    place = Place(workers, context.job_timeout, names, config.scheduler, resources)
    engine = named(JOB_ENGINES[config.engine])  # called as `workers.do_locally` is
    for index, outcome in engine(work, shared, tasks, place) if tasks else ():
        if isinstance(outcome, Failure) and outcome.ends is not None:
            raise outcome.ends(outcome.reason)
        yield index, outcome


def _ancestors(
    jobs: Sequence[Job], images: Images, config: ManyConfig, run_dir: RunDir, context: Context
) -> dict[Job | None, State]:
    """The numbers of each job that one of `jobs` starts from, trained where they are not kept.
    Raises JobsFailedError if one failed."""
    first = dict.fromkeys(job.ancestor for job in jobs if job.ancestor is not None)
    if not first:
        return {}
    trainings = train_all(list(first), images, config, run_dir, context)
    trainings.require_all()
    return {job: _state(trained.codec) for job, trained in trainings.done.items()}


def _kept(
    job: Job, name: str, image_shape: ImageShape, run_dir: RunDir, context: Context
) -> Trained | None:
    """The training kept under a name; None, with a warning, if it cannot be read."""
    try:
        found = run_dir.load_job(name)
        if found is None:
            return None
        state, rows = found
        return _trained(
            job, state, [EpochRecord.from_row(row, job.fit.loss.terms) for row in rows], image_shape
        )
    except (DataError, RuntimeError) as error:  # RuntimeError: from torch, at other names or shapes
        reason = str(error).splitlines()[0]
        context.terminal.warn([f"{job.title}: what was kept of it is trained anew: {reason}"])
        return None


def _name(job: Job, images: Images, threads: int, where: str) -> str:
    """A name that is the same only for the same training on the same images by the same program."""
    identity = {
        "codec": job.codec.model_dump(mode="json"),
        "fit": job.fit.model_dump(mode="json"),
        "seed": job.seed,
        "label": job.label,
        "threads": threads,
        "device": where,
        "data": images.provenance(),
        "torch": torch.__version__,
        "program": provenance.program_sha256(),
        "ancestor": None if job.ancestor is None else _name(job.ancestor, images, threads, where),
    }
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
    return f"{job.codec.name}{job.codec.code_dim}-s{job.seed}-{digest}"


def _train(
    shared: Shared | Named, task: tuple[Job, State | None, int, str]
) -> tuple[State, list[EpochRecord], list[str]]:
    """Train a job, in a worker process or in this one where there is but one job at a time; from
    its checkpoint, if an earlier process left one.

    task: the job, the numbers that it starts from, its ancestor's, if it has one, a number that
    says which GPU's turn it is, and the job's name. The last of what is returned are lines on
    checkpoints that were of no use.
    """
    job, begun, turn, name = task
    threads_before = torch.get_num_threads()
    device.seed_and_limit(job.seed, shared.threads)
    images = shared.images
    train, val = (part.of_class(job.label) for part in (images.train, images.val))
    try:
        codec = codecs.build(job.codec, images.shape).to(_device(shared.device, turn))
        records: list[EpochRecord] = []
        kept: JobCheckpoint | None = None
        if codec.settings.solved:
            codec.solve(train)
        else:
            if job.ancestor is not None:
                assert begun is not None
                ancestor = _trained(job.ancestor, begun, [], images.shape).codec
                inherit(codec, ancestor.to(codec.device), train)
            order = torch.Generator().manual_seed(job.seed)
            warm = job.ancestor is not None
            training = Training(codec, train, val, job.fit, order, warm)
            kept = shared.checkpoints.of(name)
            records = [] if kept is None else kept.restore(training, job.fit.loss)
            while not training.is_done:
                training.take_step()
                if training.is_epoch_over:
                    records.append(training.end_epoch())
                if kept is not None:
                    kept.save(training, records)
    finally:
        torch.set_num_threads(threads_before)
    return _state(codec), records, [] if kept is None else kept.faults


def longest_first(jobs: Iterable[Job], shape: ImageShape) -> list[Job]:
    """The order in which jobs are begun: no long one comes last, beside idle cores."""
    return sorted(jobs, key=lambda job: _work(job, shape), reverse=True)


def _work(job: Job, shape: ImageShape) -> int:
    """A number that grows with the seconds of a training on images of a shape."""
    return sum(job.codec.size(shape)) * job.fit.epochs


def amount_of(job: Job, shape: ImageShape, images: int, threads: int, where: str) -> Amount:
    """The amount of work in a training on so many images."""
    fit = job.fit
    words = [job.codec.name, *(["variational"] if job.codec.is_variational else [])]
    if not job.codec.solved:
        precision = device.facts(torch.device(where), fit)["precision"]
        words += [f"by {fit.optimizer.name}", f"batch {fit.batch_size}", str(precision)]
        words += [fit.noise.name] if fit.noise.name != "none" else []
        words += ["elastic"] if fit.elastic else []
    words += [f"{threads} threads", where]
    return Amount(", ".join(words), float(_work(job, shape) * images))


def at_a_time(config: ManyConfig, jobs: int, where: str) -> int:
    """The number of `jobs` that run at the same time on this machine, on this kind of device."""
    cores = machine.usable_cores()
    if where == "cuda":
        cores = min(cores, _JOBS_OF_A_GPU * torch.cuda.device_count())
    return min(config.jobs or cores, jobs)


def _device(kind: str, turn: int) -> torch.device:
    """The device of a job: of several GPUs each in its turn. Raises UsageError where there is
    none, as on a machine that another one gave the job to."""
    if kind != "cuda":
        return torch.device(kind)
    gpus = torch.cuda.device_count()
    if not gpus:
        raise UsageError("device=cuda: there is no GPU")
    return torch.device(kind, turn % gpus)


def _state(codec: Codec) -> State:
    """Its numbers as arrays, which travel to other processes as they are."""
    return {name: tensor.cpu().numpy() for name, tensor in codec.state_dict().items()}


def _trained(
    job: Job, state: State, records: list[EpochRecord], image_shape: ImageShape
) -> Trained:
    codec = codecs.build(job.codec, image_shape)
    codec.load_state_dict({key: torch.from_numpy(array) for key, array in state.items()})
    return Trained(job, codec.eval(), records)
