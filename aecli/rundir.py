"""The only module that writes into runs/: a folder per run, each file whole or not there."""

import contextlib
import csv
import errno
import io
import json
import math
import os
import platform
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from aecli import __version__, checkpoint, storage
from aecli.config import (
    EXPERIMENTS,
    ExperimentConfig,
    Layer,
    NetworkConfig,
    other_numbers,
    resolve,
    settings_of,
    to_yaml,
    yaml_layer,
)
from aecli.errors import DataError, Interrupted, StorageError, UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from aecli.codecs import Codec

# Facts that decide the last bits of the numbers, and nothing more.
_COSTS_BITS = ("torch", "threads", "precision", "muon_precision", "device")
# Facts of the process that is in the folder; all others are the run's.
_OF_ONE_PROCESS = {
    *("status", "pid", "versions", "git_commit", "platform"),
    *("finished", "seconds", "error", "config"),
}
_NO_LATEST = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL, errno.EISDIR)
"""What a file system without links says, and one where `latest` is a folder of the user's."""
_RECORDED_VERSIONS = ("torch", "numpy", "scikit-learn", "matplotlib", "safetensors")


class RunDir:
    """A run's folder. Every write raises StorageError, naming the path, if it fails."""

    def __init__(
        self,
        path: Path,
        record: dict[str, Any],
        jobs: Path | None = None,
        before: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = path
        self.jobs = jobs or path / "jobs"
        self._record = record
        self._before = before or {}
        self._started = time.monotonic()

    @property
    def id(self) -> str:
        """What tells this run from every other, whatever its folder is called."""
        return str(self._record["id"])

    def write_config(self, config: ExperimentConfig) -> None:
        """config.yaml, from which the run can be repeated."""
        command = f"# aecli {config.experiment} --config config.yaml   repeats this run\n"
        self.note(config=settings_of(config))
        self._write("config.yaml", (command + to_yaml(config)).encode())

    def note(self, **facts: Any) -> list[str]:
        """Add facts to run.json; of a resumed run they are held against those noted before.

        Returns warnings, recorded too, of what may cost the resumed run its identity to the bit.
        Raises UsageError at another dataset.
        """
        _require_same_data(self._before.get("dataset"), facts.get("dataset"))
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

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        self._write("metrics.json", _json(metrics))

    def write_csv(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """`name`: a header and a line per row; a value that is not there (nan) is left empty."""
        text = io.StringIO()
        if rows:
            writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows({k: "" if v != v else v for k, v in row.items()} for row in rows)
        self._write(name, text.getvalue().encode())

    def save_figure(self, name: str, figure: "Figure") -> None:
        """`name`.png."""
        content = io.BytesIO()
        figure.savefig(content, format="png")
        self._write(f"{name}.png", content.getvalue())

    def save_model(self, codec: "Codec", config: NetworkConfig) -> None:
        """model/: config.json and model.safetensors; no pickle."""
        from aecli.codecs import pack

        description, weights = pack(codec, config.codec)
        self._write("model/config.json", _json(description))
        self._write("model/model.safetensors", weights)

    def save_job(
        self, name: str, state: Mapping[str, NDArray[Any]], records: Sequence[Mapping[str, Any]]
    ) -> None:
        """jobs/`name`/: the weights of one training of many, and its history."""
        from safetensors.numpy import save

        arrays = {key: np.ascontiguousarray(array) for key, array in state.items()}
        files = {"model.safetensors": save(arrays), "history.json": _json(records)}
        storage.seal(self.jobs / name, files)

    def load_job(self, name: str) -> tuple[dict[str, NDArray[Any]], list[dict[str, Any]]] | None:
        """What `save_job` saved, or None if that is not there whole; missing numbers are nan."""
        from safetensors.numpy import load

        try:
            files = storage.unseal(self.jobs / name)
        except DataError:
            return None
        rows = json.loads(files["history.json"])
        history = [{k: math.nan if v is None else v for k, v in row.items()} for row in rows]
        return load(files["model.safetensors"]), history

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
        return RunDir(self.path / name, {}, self.jobs)

    def fail(self, reason: str) -> None:
        """Make the run end as failed, though what could be done was done."""
        self._record["error"] = reason

    def _finish(self, status: str) -> None:
        seconds = round(time.monotonic() - self._started, 3)
        self.note(status=status, finished=_now().isoformat(timespec="seconds"), seconds=seconds)
        if status == "completed":
            _point_latest_to(self.path)
            tidy(self.path)

    def _write(self, name: str, content: bytes) -> None:
        storage.write_whole(self.path / name, content)


@contextlib.contextmanager
def new_run(
    runs_dir: Path,
    config: ExperimentConfig,
    slug: str,
    argv: Sequence[str],
    resumed: Path | None = None,
) -> Iterator[RunDir]:
    """A fresh run folder, its config and provenance written; its status follows how the block ends.

    resumed: go on in this folder instead. Only one process at a time is in a folder.
    Raises StorageError if the folder cannot be made, UsageError if another process is in it.
    """
    path = resumed or _make_folder(runs_dir, f"{config.experiment}-{slug}")
    with _alone_in(path):
        before = read_record(path) if resumed else {}
        for leftover in path.rglob(".*.part"):  # of a process that was killed
            leftover.unlink(missing_ok=True)
        now = _now().isoformat(timespec="seconds")
        record: dict[str, Any] = {
            "id": uuid.uuid4().hex,
            "status": "running",
            "pid": os.getpid(),
            "command": config.experiment,
            "argv": list(argv),
            "started": now,
            "seed": config.seed,
            "versions": _versions(),
            "git_commit": _git_commit(),
            "platform": platform.platform(),
            "config": settings_of(config),
        }
        if resumed:
            record |= {key: before[key] for key in before.keys() - _OF_ONE_PROCESS}
            record["resumed"] = [*before.get("resumed", []), now]
        run = RunDir(path, record, before=before)
        run.write_config(config)
        try:
            yield run
        except Interrupted as interrupt:
            interrupt.run = path
            run._finish("interrupted")
            raise
        except BaseException as error:
            with contextlib.suppress(StorageError):  # the first error is the one to tell
                run.note(error=f"{type(error).__name__}: {error}")
                run._finish("failed")
            raise
        run._finish("failed" if "error" in record else "completed")


def tidy(path: Path) -> None:
    """Do for a completed run what a kill may have left undone. Raises StorageError."""
    shutil.rmtree(path / "checkpoint", ignore_errors=True)  # nothing is left to resume
    latest = path.parent / "latest"
    if not latest.exists() or latest.resolve().name < path.name:  # names begin with the time
        _point_latest_to(path)


def _point_latest_to(path: Path) -> None:
    latest = path.parent / "latest"
    temporary = path.parent / f".latest-{path.name}"
    try:
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(path.name)
        temporary.replace(latest)
    except OSError as error:
        if error.errno not in _NO_LATEST:  # or scripts would take an older run for the latest
            raise StorageError(
                f"{path} is completed, but {latest} cannot name it: {error.strerror};"
                f" aecli resume {path} tries again"
            ) from None


def read_record(path: Path) -> dict[str, Any]:
    """run.json of a run folder. Raises DataError."""
    try:
        record = json.loads((path / "run.json").read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: no run to go on with: {error}") from None
    if not isinstance(record, dict) or not isinstance(record.get("config"), dict):
        raise DataError(f"{path / 'run.json'}: not a record of a run")
    return record


def recorded_config(path: Path) -> ExperimentConfig:
    """The config that a run began with. Raises DataError if it cannot be read, UsageError, with
    both values of every key, if config.yaml has been changed since."""
    record = read_record(path)
    model = EXPERIMENTS.get(str(record.get("command")))
    if model is None:
        raise DataError(f"{path / 'run.json'}: no experiment is called {record.get('command')!r}")
    try:
        config = resolve(model, [Layer(record["config"], {})], recorded=True)
    except UsageError as error:
        raise DataError(f"{path / 'run.json'}: {error}") from None
    if (path / "config.yaml").exists():
        now = resolve(model, [yaml_layer(path / "config.yaml")], recorded=True)
        changes = [
            (key, was, is_)
            for key, was, is_ in _differences(settings_of(config), settings_of(now))
            # Both move as a run goes on: `auto` to what was found, the folder to where it is now.
            if key != "data.dir" and not (key == "data.dataset" and "auto" in (was, is_))
        ]
        if changes:
            rows = [("key", "the run", "config.yaml now"), *changes]
            table = "\n".join(f"  {key:<24} {was:<24} {is_}" for key, was, is_ in rows)
            raise UsageError(f"{path}: its config was changed; start a new run with it\n{table}")
    return config


def state_of(path: Path) -> str:
    """running, completed, failed, interrupted, or dead: killed before it could say so."""
    try:
        status = str(read_record(path)["status"])
    except (DataError, KeyError):
        return "unreadable"
    if status != "running":
        return status
    try:
        with _alone_in(path, patience=0):
            return "dead"
    except (UsageError, StorageError):
        return "running"


def list_runs(runs_dir: Path) -> list[dict[str, Any]]:
    """run, state, started, seconds and error of every run folder, oldest first."""
    rows = []
    for path in sorted(runs_dir.glob("*T*Z-*/")):
        if path.is_symlink():
            continue
        try:
            record = read_record(path)
        except DataError:
            record = {}
        row = {key: record.get(key, "") for key in ("started", "seconds", "error")}
        rows.append({"run": path.name, "state": state_of(path), **row})
    return rows


def unfinished_run(runs_dir: Path, config: ExperimentConfig) -> Path | None:
    """The newest run folder with the numbers of this config that did not complete, or None."""
    for path in sorted(runs_dir.glob(f"*Z-{config.experiment}-*"), reverse=True):
        with contextlib.suppress(DataError, UsageError, KeyError):
            record = read_record(path)
            there = resolve(type(config), [Layer(record["config"], {})], recorded=True)
            if not other_numbers(config, there) and record["status"] != "completed":
                return path.absolute()
    return None


@contextlib.contextmanager
def _alone_in(path: Path, patience: float = 1.0) -> Iterator[None]:
    """The block runs while no other process is in this run folder; a killed one is in none.

    patience: seconds to wait, since who merely looks (`aecli ls`) holds the lock for a moment.
    Raises UsageError naming the process.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path / ".lock")
    try:
        lock.acquire(timeout=patience)
    except Timeout:
        pid = read_record(path).get("pid")
        raise UsageError(f"{path}: process {pid} is working in this run folder") from None
    except OSError as error:
        raise StorageError(f"cannot lock {path}: {error.strerror}") from None
    try:
        yield
    finally:
        lock.release()


def _require_same_data(before: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> None:
    if before is None or now is None:
        return
    keys = ("name", "sha256", "n_train", "n_val", "n_test")
    changed = [key for key in keys if before.get(key) != now.get(key)]
    if changed:
        rows = [("key", "the run", "now"), *((k, before.get(k), now.get(k)) for k in changed)]
        table = "\n".join(f"  {key:<10} {was!s:<66} {is_}" for key, was, is_ in rows)
        raise UsageError(f"the dataset is not the one this run began with\n{table}")


def _differences(was: Any, now: Any, key: str = "") -> list[tuple[str, str, str]]:
    """(key, was, now) of every leaf that differs."""
    if isinstance(was, dict) and isinstance(now, dict):
        keys = [*was, *(each for each in now if each not in was)]
        return [
            change
            for each in keys
            for change in _differences(was.get(each), now.get(each), f"{key}.{each}".lstrip("."))
        ]
    return [] if was == now else [(key, str(was), str(now))]


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
    return (json.dumps(_finite(data), indent=2) + "\n").encode()


def _finite(data: Any) -> Any:
    """`data` with nan and infinity, which JSON does not have, as null."""
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, Mapping):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return data


def _now() -> datetime:
    return datetime.now(UTC)


def _versions() -> dict[str, str]:
    versions = {"aecli": __version__, "python": platform.python_version()}
    for package in _RECORDED_VERSIONS:
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    return versions


def _git_commit() -> str | None:
    """The commit of aecli's own source, if it runs from a checkout."""
    source = Path(__file__).parent
    if not (source.parent / ".git").exists():
        return None
    try:
        git = subprocess.run(
            ["git", "-C", str(source), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return git.stdout.strip() if git.returncode == 0 else None
