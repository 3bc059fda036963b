"""Find the YAMLs that ship with aecli, and the one a `--config` names."""

import difflib
import itertools
import os
from dataclasses import dataclass
from pathlib import Path

from aecli.errors import UsageError
from aecli.pathnames import user_path

_PACKAGE = Path(__file__).parent.parent


@dataclass(frozen=True)
class ShippedConfig:
    name: str
    path: Path
    command: str
    """Command that the config is for."""
    summary: str
    """First sentence of the comment on top."""


def shipped_configs() -> list[ShippedConfig]:
    """The configs inside the installed package, by name; in a checkout, those at its top level."""
    inside = _PACKAGE / "configs"
    folder = inside if inside.is_dir() else _PACKAGE.parent / "configs"
    return [ShippedConfig(path.stem, path, *_head(path)) for path in sorted(folder.glob("*.yaml"))]


def find_config(name_or_path: str) -> Path:
    """The file that `--config NAME_OR_PATH` means: an existing path, or a shipped name.

    Raises UsageError naming what was looked for.
    """
    path = user_path(name_or_path)
    if path.is_file():
        return path
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        other = "is a folder" if path.is_dir() else "is no regular file"
        reason = other if path.exists() else "no such file"
        raise UsageError(f"--config {name_or_path}: {reason}")
    return shipped_config(name_or_path).path


def shipped_config(name: str) -> ShippedConfig:
    """The shipped config of that name. Raises UsageError with the nearest names."""
    known = {config.name: config for config in shipped_configs()}
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "`aecli configs` lists them"
    raise UsageError(f"no config is called {name!r}: {hint}")


def copy_config(name: str, to: str) -> Path:
    """The path of a copy of the shipped config of that name, in a new file or a folder.

    Raises UsageError if there is no such config or folder, or the copy would replace a file.
    """
    config = shipped_config(name)
    target = user_path(to)
    if target.is_dir():
        target /= config.path.name
    elif to.endswith(("/", os.sep)):
        raise UsageError(f"cannot write {to}{config.path.name}: there is no such folder")
    try:
        with target.open("xb") as copy:
            copy.write(config.path.read_bytes())
    except FileExistsError:
        raise UsageError(f"{target} exists; it is not replaced") from None
    except OSError as error:
        raise UsageError(f"cannot write {target}: {error.strerror}") from None
    return target


def _head(path: Path) -> tuple[str, str]:
    """The command and the first sentence of the comment on top: `# aecli COMMAND --config NAME`."""
    first, *others = itertools.takewhile(
        lambda line: line.startswith("#"), path.read_text("utf-8").splitlines()
    )
    comment = " ".join(line[1:].strip() for line in others)
    sentence, full_stop, _ = comment.partition(". ")
    return first.split()[2], sentence + full_stop.strip()
