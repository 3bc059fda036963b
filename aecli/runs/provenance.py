"""Facts on the program and the machine of a run, for run.json and the names of kept jobs."""

import contextlib
import functools
import hashlib
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from aecli import __version__

_SOURCE = Path(__file__).parent.parent
_RECORDED_VERSIONS = ("torch", "numpy", "scikit-learn", "matplotlib", "safetensors")


@functools.cache
def program_sha256() -> str:
    """SHA-256 over every Python file of aecli, by name and content: it differs if a file does.

    It tells a changed checkout from its commit, and works where there is no git, as in a wheel.
    """
    digest = hashlib.sha256()
    for path in sorted(_SOURCE.rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(_SOURCE).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


@functools.cache
def versions() -> dict[str, str]:
    """Versions of aecli, Python and the packages that have a part in the numbers."""
    found = {"aecli": __version__, "python": platform.python_version()}
    for package in _RECORDED_VERSIONS:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


@functools.cache
def git_state() -> tuple[str | None, bool | None]:
    """The commit of aecli's own source and whether tracked files differ from it; None and None
    if it does not run from a checkout."""
    if not (_SOURCE.parent / ".git").exists():
        return None, None
    # GIT_DIR and its like, as in a git hook, would name another repository.
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    describe = ["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        git = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(_SOURCE), *describe],
            capture_output=True,
            text=True,
            timeout=10,
            env=env,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None, None
    if git.returncode != 0:
        return None, None
    commit, dirty, _ = git.stdout.strip().partition("-dirty")
    return commit, bool(dirty)


def changes_since(record: Mapping[str, Any]) -> list[str]:
    """A warning if the run with this record was begun by another aecli than this one, with both."""
    now = program_sha256()
    before = record.get("program_sha256")
    if before == now:
        return []
    version = record.get("versions", {}).get("aecli", "of an unknown version")
    here = versions()["aecli"]
    return [
        f"program_sha256: this run began with {str(before)[:12]} (aecli {version}) and goes on with"
        f" {now[:12]} (aecli {here}); the numbers may differ, and single trainings that it kept"
        " are done anew"
    ]
