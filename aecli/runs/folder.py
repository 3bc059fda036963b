"""The only module that writes into runs/: a folder per run, each file whole or not there."""

import contextlib
import csv
import errno
import io
import json
import os
import platform
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from aecli import interrupts, locks, strictjson
from aecli.config import ExperimentConfig, NetworkConfig, settings_of, to_yaml
from aecli.errors import (
    AecliError,
    DataError,
    Interrupted,
    StorageError,
    UsageError,
    left_in,
)
from aecli.png import png
from aecli.runs import checkpoint, provenance, storage
from aecli.runs.logs import Scalars
from aecli.runs.record import LOCK, RUN_FORMAT, finished_at, read_record

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from aecli.codecs.base import Codec
    from aecli.data.own.scaling import Scale

# Facts that decide the last bits of the numbers, and nothing more.
_COSTS_BITS = ("torch", "threads", "precision", "muon_precision", "device", "processes")
# Facts of the process that is in the folder; all others are the run's.
_OF_ONE_PROCESS = {
    *("status", "pid", "versions", "program_sha256", "git_commit", "git_dirty", "platform"),
    *("finished", "seconds", "error", "config", "config_before"),
}
_NO_LATEST = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL, errno.EISDIR)
"""Errors of a file system without links, and of one where `latest` is a user's folder."""
_JOB_FORMAT = 2


class RunDir:
    """A run's folder. Every write raises StorageError, naming the path, if it fails.

    No write, removal or reading here follows a link inside the folder.
    """

    def __init__(
        self,
        path: Path,
        record: dict[str, Any],
        before: Mapping[str, Any] | None = None,
        root: Path | None = None,
    ) -> None:
        """root: the folder of the whole run, where `path` is a section of it."""
        self.path = path
        self._root = root or path
        self.jobs = self._root / "jobs"
        self._record = record
        self._before = before or {}
        self._started = time.monotonic()
        self._logs: dict[str, Scalars] = {}

    @property
    def root(self) -> Path:
        """The folder of the whole run, of which this may be a section."""
        return self._root

    @property
    def id(self) -> str:
        """The text that identifies this run, whatever its folder is called."""
        return str(self._record["id"])

    def write_config(self, config: ExperimentConfig) -> None:
        """config.yaml, from which the run can be repeated.

        Until that is written, run.json has the config that it says still: a kill between the two
        files is not taken for a change.
        """
        command = f"# aecli {config.experiment} --config config.yaml   repeats this run\n"
        settings = settings_of(config)
        before = self._record.get("config", self._before.get("config", settings))
        self._record.pop("config_before", None)
        self.note(config=settings, **({} if before == settings else {"config_before": before}))
        self._write("config.yaml", (command + to_yaml(config)).encode())

    def note(self, **facts: Any) -> list[str]:
        """Add facts to run.json; in a resumed run they are compared with those noted before.

        Returns warnings, recorded too, of facts that may change the last bits of the resumed run.
        Raises UsageError at another dataset, or other weights to begin with.
        """
        _require_same_data(self._before.get("dataset"), facts.get("dataset"))
        for key in ("init_from", "from_pretrained"):
            _require_same_weights(self._before.get(key), facts.get(key))
        warnings = [
            f"{key}: this run began with {self._before[key]} and goes on with {facts[key]};"
            " the numbers may differ in their last bits"
            for key in _COSTS_BITS
            if key in facts and self._before.get(key, facts[key]) != facts[key]
        ]
        if warnings:
            self._record["warnings"] = [*self._record.get("warnings", []), *warnings]
        self._record |= facts
        self._write("run.json", _json(self._record))
        return warnings

    def noted(self, key: str) -> Any:
        """A fact of run.json; None if it has none of that name."""
        return self._record.get(key)

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        self._write("metrics.json", _json(metrics))

    def write_csv(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """`name`: a header and a line per row; a value that is not there (nan) is left empty."""
        text = io.StringIO()
        if rows:
            writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows({k: "" if v != v else v for k, v in row.items()} for row in rows)
        # a name of a file may be any bytes, which Python has as lone surrogates
        self._write(name, text.getvalue().encode(errors="backslashreplace"))

    def log_scalars(self, rows: Sequence[Mapping[str, Any]], training: str = "") -> None:
        """Add rows of a history to the events of TensorBoard below tensorboard/. training: name of
        one of many."""
        if training not in self._logs:
            self._logs[training] = Scalars(self.path / "tensorboard" / training, self._root)
        self._logs[training].add(rows)

    def close_logs(self) -> None:
        """Close the files of `log_scalars`."""
        while self._logs:
            self._logs.popitem()[1].close()

    def save_figure(self, name: str, figure: "Figure") -> None:
        """`name`.png."""
        self._write(f"{name}.png", png(figure))

    def save_model(
        self, codec: "Codec", config: NetworkConfig, scale: "Scale | None" = None
    ) -> None:
        """model/: config.json and model.safetensors; no pickle. scale: as `pack` takes it."""
        from aecli.codecs.store import pack

        description, weights = pack(codec, config.codec, scale)
        self._write("model/config.json", _json(description))
        self._write("model/model.safetensors", weights)

    def save_job(
        self,
        name: str,
        state: Mapping[str, NDArray[Any]],
        records: Sequence[Mapping[str, Any]],
        amount: Mapping[str, Any] | None = None,
    ) -> None:
        """jobs/`name`/: the weights of one training of many, its history and its amount of work,
        if that is known."""
        from safetensors.numpy import save

        arrays = {key: np.ascontiguousarray(array) for key, array in state.items()}
        history = _json({"format": _JOB_FORMAT, "amount": amount, "history": records})
        files = {"model.safetensors": save(arrays), "history.json": history}
        storage.seal(self.jobs / name, files, self._root)

    def clear_jobs(self) -> None:
        """Remove what `save_job` saved."""
        for folder in sorted(self.jobs.glob("*")):
            storage.remove_sealed(folder, self._root)

    def load_job(self, name: str) -> tuple[dict[str, NDArray[Any]], list[dict[str, Any]]] | None:
        """The state and history that `save_job` saved; None if it never finished that.

        Numbers that are missing are nan. Raises DataError if what is there cannot be read.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        folder = self.jobs / name
        if not os.path.lexists(folder / storage.MANIFEST):
            return None
        files = storage.unseal(folder, self._root)
        try:
            saved = json.loads(files["history.json"])
            if isinstance(saved, list):  # format 1, which had no number
                saved = {"format": 1, "history": saved}
            if saved["format"] not in (1, _JOB_FORMAT):
                raise DataError(f"{folder}: of format {saved['format']}; this aecli reads 1 and 2")
            history = strictjson.rows(saved["history"])
            return load(files["model.safetensors"]), history
        except (*storage.MALFORMED, SafetensorError) as error:
            raise DataError(f"{folder}: not a kept job: {error}") from None

    def save_tensors(
        self, name: str, tensors: Mapping[str, "Tensor"], description: Mapping[str, Any]
    ) -> None:
        """`name`.safetensors; its header has the description, as JSON, under `description`."""
        from safetensors.torch import save

        contiguous = {key: tensor.detach().contiguous() for key, tensor in tensors.items()}
        header = {"description": strictjson.dump(description)}
        self._write(f"{name}.safetensors", save(contiguous, header))

    def save_checkpoint(
        self, state: Mapping[str, "Tensor"], history: Sequence[Mapping[str, Any]]
    ) -> None:
        """checkpoint/: a new generation of all that a training needs to go on."""
        checkpoint.save(self.path / "checkpoint", self.id, state, history)

    def load_checkpoint(self) -> tuple[checkpoint.Checkpoint | None, list[str]]:
        """The newest whole one, or None, and what is wrong with newer ones. Raises DataError."""
        return checkpoint.load(self.path / "checkpoint", self.id)

    def write_json(self, name: str, data: Any) -> None:
        """`name`: JSON; a number that is not finite is null."""
        self._write(name, _json(data))

    def save_text(self, name: str, text: str) -> None:
        """A file of the experiment's own, such as table.md."""
        self._write(name, text.encode())

    def section(self, name: str) -> "RunDir":
        """The same run, with its own figures and tables in the folder `name`; jobs are shared."""
        known: dict[str, Any] = {
            key: self._record[key] for key in ("dataset", "id") if key in self._record
        }
        return RunDir(self.path / name, known, root=self._root)

    def fail(self, reason: str) -> None:
        """Make the run end as failed, though what could be done was done."""
        self._record["error"] = reason

    def _finish(self, status: str) -> None:
        seconds = round(time.monotonic() - self._started, 3)
        self.note(
            status=status, finished=_now().isoformat(timespec="milliseconds"), seconds=seconds
        )
        if status == "completed":
            _point_latest_to(self.path)
            checkpoint.remove_all(self.path)
            with contextlib.suppress(OSError):  # others who wait for it see that it is gone
                (self.path / LOCK).unlink()

    def _write(self, name: str, content: bytes) -> None:
        storage.write_whole(self.path / name, content, self._root)


@contextlib.contextmanager
def new_run(
    runs_dir: Path,
    config: ExperimentConfig,
    slug: str,
    argv: Sequence[str],
    resumed: Path | None = None,
) -> Iterator[RunDir]:
    """A fresh run folder, its config and provenance written; its status follows how the block ends.

    resumed: go on in this folder instead. Only one process at a time is in a folder, where the
    file system has locks.
    Raises StorageError if the folder cannot be made, UsageError if another process is in it.
    """
    facts = _facts(config, argv)  # before there is a folder: it takes a while
    path, run, begun = resumed, None, False
    with contextlib.ExitStack() as until_the_end:
        try:
            with interrupts.deferred():  # a folder has its run.json from the first moment
                path = path or _make_folder(runs_dir, f"{config.experiment}-{slug}")
                until_the_end.enter_context(_alone_in(path))
                run = _gone_on_with(path, facts) if resumed else RunDir(path, facts)
                run.write_config(config)
                begun = True
            yield run
        except BaseException as error:
            if run is not None and (begun or (run.path / "run.json").exists()):
                _end_badly(run, error)
            elif path is not None and not resumed:
                shutil.rmtree(path, ignore_errors=True)  # nothing is in it
            raise
        try:
            with interrupts.deferred():
                run._finish("failed" if "error" in facts else "completed")
        except BaseException as error:
            left_in(error, run.path)
            raise


def _facts(config: ExperimentConfig, argv: Sequence[str]) -> dict[str, Any]:
    """The facts for run.json at the start."""
    commit, dirty = provenance.git_state()
    return {
        "format": RUN_FORMAT,
        "id": uuid.uuid4().hex,
        "status": "running",
        "pid": os.getpid(),
        "command": config.experiment,
        "argv": list(argv),
        "started": _now().isoformat(timespec="seconds"),
        "seed": config.seed,
        "versions": provenance.versions(),
        "program_sha256": provenance.program_sha256(),
        "git_commit": commit,
        "git_dirty": dirty,
        "platform": platform.platform(),
    }


def _gone_on_with(path: Path, facts: dict[str, Any]) -> RunDir:
    """The run in a folder that an earlier process began; `facts` become the run's.

    Raises UsageError if it was completed while this process waited.
    """
    before = read_record(path)
    if before.get("status") == "completed":
        raise UsageError(f"{path}: another process has completed this run meanwhile")
    storage.remove_parts(path)
    now = facts["started"]
    facts |= {key: before[key] for key in before.keys() - _OF_ONE_PROCESS}
    facts["resumed"] = [*before.get("resumed", []), now]
    if changes := provenance.changes_since(before):
        facts["warnings"] = [*before.get("warnings", []), *changes]
    return RunDir(path, facts, before=before)


def _end_badly(run: RunDir, error: BaseException) -> None:
    """Note how a run ended that did not complete."""
    left_in(error, run.path)
    with contextlib.suppress(StorageError):  # the first error is the one to tell
        if isinstance(error, Interrupted):
            run._finish("interrupted")
        else:
            is_told = isinstance(error, AecliError) and str(error)
            run.note(error=str(error) if is_told else f"{type(error).__name__}: {error}")
            run._finish("failed")


def tidy(path: Path) -> None:
    """Do for a completed run what a kill may have left undone. Raises StorageError.

    The link `latest` moves to it only if it finished after the run that the link names.
    """
    checkpoint.remove_all(path)  # nothing is left to resume
    latest = path.parent / "latest"
    with contextlib.suppress(DataError):
        there = read_record(latest.resolve())
        if there["status"] == "completed" and finished_at(there) >= finished_at(read_record(path)):
            return
    _point_latest_to(path)


def _point_latest_to(path: Path) -> None:
    latest = path.parent / "latest"
    if os.path.lexists(latest) and not latest.is_symlink():
        return  # the user's own file or folder
    temporary = path.parent / f".latest-{path.name}"
    try:
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(path.name)
        temporary.replace(latest)
    except OSError as error:
        if error.errno not in _NO_LATEST:  # else scripts would take an older run for the latest
            raise StorageError(
                f"{path} is completed, but {latest} cannot name it: {error.strerror};"
                f" aecli resume {path} tries again"
            ) from None


@contextlib.contextmanager
def _alone_in(path: Path) -> Iterator[None]:
    """The block runs while no other process is in this run folder; a killed one is gone.

    Raises UsageError naming the process, StorageError where the lock cannot be made.
    """
    with contextlib.ExitStack() as stack:
        try:
            # A process that only looks, such as `aecli ls`, holds the lock for a moment.
            stack.enter_context(locks.hold(path / LOCK, patience=1.0))
        except TimeoutError:
            pid = read_record(path).get("pid")
            raise UsageError(f"{path}: process {pid} is working in this run folder") from None
        except OSError as error:
            raise StorageError(f"cannot lock {path}: {error.strerror}") from None
        yield


def _require_same_weights(before: Any, now: Any) -> None:
    """Raises UsageError if the run, or the folder, that a resumed one began from has other weights
    by now."""
    if not isinstance(before, dict) or now is None:
        return
    if before.get("weights_sha256") != now["weights_sha256"]:
        where = before.get("run", before.get("folder"))
        raise UsageError(f"this run began with the weights of {where}, which have changed since")


def _require_same_data(before: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> None:
    if before is None or now is None:
        return
    keys = ("name", "sha256", "n_train", "n_val", "n_test")
    changed = [key for key in keys if before.get(key) != now.get(key)]
    if changed:
        rows = [("key", "the run", "now"), *((k, before.get(k), now.get(k)) for k in changed)]
        table = "\n".join(f"  {key:<10} {was!s:<66} {is_}" for key, was, is_ in rows)
        raise UsageError(f"the dataset is not the one this run began with\n{table}")


def _make_folder(runs_dir: Path, name: str) -> Path:
    """A new folder named by the second, numbered if that name is taken."""
    try:
        runs_dir.mkdir(parents=True, exist_ok=True)
        stem = f"{_now():%Y%m%dT%H%M%SZ}-{name}"
        for n in range(1, 10_000):
            path = runs_dir / (stem if n == 1 else f"{stem}-{n}")
            with contextlib.suppress(FileExistsError):
                path.mkdir()
                return path.absolute()
    except OSError as error:
        raise StorageError(f"cannot make a run folder in {runs_dir}: {error.strerror}") from None
    raise StorageError(f"cannot make a run folder in {runs_dir}: 9,999 are named {stem}")


def _json(data: Any) -> bytes:
    return (strictjson.dump(data) + "\n").encode()


def _now() -> datetime:
    return datetime.now(UTC)
