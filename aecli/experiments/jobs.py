"""Train many codecs, several at a time, each as it would be alone, and none twice."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from aecli import codecs, device
from aecli.codecs import ClosedFormCodec, Codec, NetworkCodec
from aecli.config import CodecConfig, FitConfig, ManyConfig
from aecli.data import Images, ImageShape
from aecli.fit import EpochRecord, fit
from aecli.rundir import RunDir
from aecli.terminal import Terminal

State = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Job:
    """One training."""

    codec: CodecConfig
    fit: FitConfig
    seed: int

    @property
    def title(self) -> str:
        hidden = "-".join(map(str, getattr(self.codec, "hidden", ())))
        layers = f" ({hidden})" if hidden else ""
        return f"{self.codec.name} code {self.codec.code_dim}{layers}, seed {self.seed}"


@dataclass(frozen=True)
class Trained:
    """A trained codec, on the CPU, and its history (empty if it was solved for)."""

    job: Job
    codec: Codec
    records: list[EpochRecord]


def train_all(
    jobs: Sequence[Job], images: Images, config: ManyConfig, run_dir: RunDir, terminal: Terminal
) -> list[Trained]:
    """Every job's trained codec, in the order of `jobs`.

    Each is trained on the CPU with a fixed number of threads (`config.threads`, or 1), so the
    numbers do not depend on `config.jobs`. A finished job is kept in the run's `jobs/` folder and
    read from there if it is asked for again. Raises DivergedError.
    """
    import joblib

    threads = config.threads or 1
    names = {job: _name(job, images, threads) for job in jobs}
    missing = [job for job in dict.fromkeys(jobs) if not run_dir.has_job(names[job])]
    train, val = images.train.images.numpy(), images.val.images.numpy()
    parallel = joblib.Parallel(config.jobs or device.usable_cores(), return_as="generator")
    tasks = (joblib.delayed(_train)(job, images.shape, train, val, threads) for job in missing)
    results: Iterator[tuple[State, list[EpochRecord]]] = parallel(tasks)
    for done, (job, (state, records)) in enumerate(zip(missing, results, strict=True), start=1):
        run_dir.save_job(names[job], state, [asdict(record) for record in records])
        last = f"  train_mse {records[-1].train_mse:.5f}" if records else ""
        terminal.say(f"trained {done} of {len(missing)}: {job.title}{last}")
    return [_load(job, names[job], images.shape, run_dir) for job in jobs]


def _name(job: Job, images: Images, threads: int) -> str:
    """A name that is the same only for the same training on the same images."""
    told = {
        "codec": job.codec.model_dump(mode="json"),
        "fit": job.fit.model_dump(mode="json"),
        "seed": job.seed,
        "threads": threads,
        "data": images.provenance(),
        "torch": torch.__version__,
    }
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]
    return f"{job.codec.name}{job.codec.code_dim}-s{job.seed}-{digest}"


def _train(
    job: Job,
    image_shape: ImageShape,
    train: NDArray[np.uint8],
    val: NDArray[np.uint8],
    threads: int,
) -> tuple[State, list[EpochRecord]]:
    """Runs in a worker process, or in this one where there is but one job at a time."""
    threads_before = torch.get_num_threads()
    device.seed_and_limit(job.seed, threads)
    try:
        codec = codecs.build(job.codec, image_shape)
        images = torch.tensor(train)
        records: list[EpochRecord] = []
        if isinstance(codec, NetworkCodec):
            order = torch.Generator().manual_seed(job.seed)
            records = list(fit(codec, images, torch.tensor(val), job.fit, order))
        elif isinstance(codec, ClosedFormCodec):
            codec.solve(images)
    finally:
        torch.set_num_threads(threads_before)
    return {name: tensor.numpy() for name, tensor in codec.state_dict().items()}, records


def _load(job: Job, name: str, image_shape: ImageShape, run_dir: RunDir) -> Trained:
    state, rows = run_dir.load_job(name)
    codec = codecs.build(job.codec, image_shape)
    codec.load_state_dict({key: torch.from_numpy(array) for key, array in state.items()})
    return Trained(job, codec.eval(), [EpochRecord(**row) for row in rows])
