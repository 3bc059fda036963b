"""Paths as users write them, from a flag, an environment variable or a YAML."""

from pathlib import Path

from aecli.errors import UsageError


def user_path(text: str | Path) -> Path:
    """The path that `text` means, with `~` and `~user` expanded. Raises UsageError if it is empty.

    A shell expands `~` at the start of a word only: not in `--runs-dir=~/x`, nor in a YAML.
    """
    if str(text) == "":
        raise UsageError("'' is not a path: a file's or folder's name is expected")
    path = Path(text)
    try:
        return path.expanduser()
    except RuntimeError:  # there is no such user; a shell leaves it as it is, too
        return path


def looks_like_a_path(text: str) -> bool:
    """True if `text` is written as a path: with a slash, a leading dot or ~, or the ending of a
    file with images."""
    if "/" in text or "\\" in text or text.startswith((".", "~")):
        return True
    return text.lower().endswith(_ENDINGS)


_ENDINGS = (*(".npy", ".npz", ".tif", ".tiff", ".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp"),)
