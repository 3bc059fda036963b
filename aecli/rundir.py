"""The only module that writes into runs/: a folder per run, each file whole or not there."""

import contextlib
import csv
import io
import json
import math
import os
import platform
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from aecli import __version__
from aecli.config import ExperimentConfig, NetworkConfig, to_yaml
from aecli.errors import DataError, Interrupted, StorageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from aecli.codecs import Codec

_RECORDED_VERSIONS = ("torch", "numpy", "scikit-learn", "matplotlib", "safetensors")


class RunDir:
    """A run's folder. Every write raises StorageError, naming the path, if it fails."""

    def __init__(self, path: Path, record: dict[str, Any], jobs: Path | None = None) -> None:
        self.path = path
        self.jobs = jobs or path / "jobs"
        self._record = record
        self._started = time.monotonic()

    def write_config(self, config: ExperimentConfig) -> None:
        """config.yaml, from which the run can be repeated."""
        command = f"# aecli {config.experiment} --config config.yaml   repeats this run\n"
        self._write("config.yaml", (command + to_yaml(config)).encode())

    def note(self, **facts: Any) -> None:
        """Add facts to run.json."""
        self._record |= facts
        self._write("run.json", _json(self._record))

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
        with self._whole(f"{name}.png") as file:
            figure.savefig(file, format="png")

    def save_model(self, codec: "Codec", config: NetworkConfig) -> None:
        """model/: config.json and model.safetensors; no pickle."""
        from aecli.codecs import pack

        description, weights = pack(codec, config.codec)
        self._write("model/config.json", _json(description))
        self._write("model/model.safetensors", weights)

    def has_job(self, name: str) -> bool:
        """Whether the job of that name is finished; its last file is there only then."""
        return (self.jobs / name / "history.json").exists()

    def save_job(
        self, name: str, state: Mapping[str, NDArray[Any]], records: Sequence[Mapping[str, Any]]
    ) -> None:
        """jobs/`name`/: the weights of one training of many, and its history."""
        from safetensors.numpy import save

        arrays = {key: np.ascontiguousarray(array) for key, array in state.items()}
        self._write(self.jobs / name / "model.safetensors", save(arrays))
        self._write(self.jobs / name / "history.json", _json(records))

    def load_job(self, name: str) -> tuple[dict[str, NDArray[Any]], list[dict[str, Any]]]:
        """What `save_job` saved; an epoch's missing numbers are nan. Raises DataError."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        folder = self.jobs / name
        try:
            state = load_file(folder / "model.safetensors")
            rows = json.loads((folder / "history.json").read_text("utf-8"))
        except (OSError, ValueError, SafetensorError) as error:
            raise DataError(f"{folder}: not a finished job: {error}") from None
        return state, [{k: math.nan if v is None else v for k, v in row.items()} for row in rows]

    def write_json(self, name: str, data: Any) -> None:
        """`name`: JSON; a number that is not finite is null."""
        self._write(name, _json(data))

    def save_text(self, name: str, text: str) -> None:
        """A file of the experiment's own, such as table.md."""
        self._write(name, text.encode())

    def section(self, name: str) -> "RunDir":
        """The same run, with its own figures and tables in the folder `name`; jobs are shared."""
        return RunDir(self.path / name, {}, self.jobs)

    def _finish(self, status: str) -> None:
        seconds = round(time.monotonic() - self._started, 3)
        self.note(status=status, finished=_now().isoformat(timespec="seconds"), seconds=seconds)
        if status == "completed":
            self._point_latest_here()

    def _point_latest_here(self) -> None:
        latest = self.path.parent / "latest"
        temporary = self.path.parent / f".latest-{self.path.name}"
        with contextlib.suppress(OSError):  # a file system without links has no latest
            temporary.unlink(missing_ok=True)
            temporary.symlink_to(self.path.name)
            temporary.replace(latest)

    def _write(self, name: str | Path, content: bytes) -> None:
        with self._whole(name) as file:
            file.write(content)

    @contextlib.contextmanager
    def _whole(self, name: str | Path) -> Iterator[Any]:
        """A file that appears under its name only once it is completely on disk."""
        target = self.path / name
        temporary = target.with_name(f".{target.name}.part")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise StorageError(f"cannot write {target}: {error.strerror or error}") from None


@contextlib.contextmanager
def new_run(
    runs_dir: Path,
    config: ExperimentConfig,
    slug: str,
    argv: Sequence[str],
    continued: bool = False,
) -> Iterator[RunDir]:
    """A fresh run folder, its config and provenance written; its status follows how the block ends.

    continued: take the newest unfinished run of the same config instead, if there is one.
    Raises StorageError if the folder cannot be made.
    """
    path = unfinished_run(runs_dir, config) if continued else None
    record = {
        "status": "running",
        "command": config.experiment,
        "argv": list(argv),
        "started": _now().isoformat(timespec="seconds"),
        "seed": config.seed,
        "versions": _versions(),
        "git_commit": _git_commit(),
        "platform": platform.platform(),
    }
    if path is not None:
        record["continues"] = json.loads((path / "run.json").read_text("utf-8"))["started"]
    run = RunDir(path or _make_folder(runs_dir, f"{config.experiment}-{slug}"), record)
    run.note()
    run.write_config(config)
    try:
        yield run
    except Interrupted:
        run._finish("interrupted")
        raise
    except BaseException as error:
        with contextlib.suppress(StorageError):  # the first error is the one to tell
            run.note(error=f"{type(error).__name__}: {error}")
            run._finish("failed")
        raise
    run._finish("completed")


def unfinished_run(runs_dir: Path, config: ExperimentConfig) -> Path | None:
    """The newest run folder of exactly this config that did not complete, or None."""
    for path in sorted(runs_dir.glob(f"*Z-{config.experiment}-*"), reverse=True):
        with contextlib.suppress(OSError, ValueError, KeyError):
            record = json.loads((path / "run.json").read_text("utf-8"))
            same = (path / "config.yaml").read_text("utf-8").endswith("\n" + to_yaml(config))
            if same and record["status"] != "completed":
                return path.absolute()
    return None


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
