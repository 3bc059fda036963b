"""Pictures that commands without a run write where they are told: never over what is
none, and never among the images that they are of."""

from pathlib import Path

from aecli.errors import UsageError


def require_picture(path: Path) -> None:
    """Raises UsageError unless a picture may be written to `path`, where a former one may be."""
    if path.suffix.lower() != ".png":
        raise UsageError(f"-o {path}: pictures are written as .png; give FILE.png")
    if path.is_dir():
        raise UsageError(f"-o {path}: a folder; give FILE.png")


def require_apart(target: Path, dataset: Path, what: str = "the picture") -> None:
    """Raises UsageError for a picture that would be one of the images of a dataset the next time,
    or be written over them. what: the picture, in words."""
    place = target.resolve()
    if dataset.resolve() in (place, *place.parents):
        raise UsageError(f"{what} would lie in {dataset}, among the images; write elsewhere, by -o")
