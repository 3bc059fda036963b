"""Templates of pages, and places where a page may be written."""

from pathlib import Path
from typing import Any

from aecli.errors import UsageError
from aecli.terminal import printable

GENERATOR = "aecli"
"""Mark in the head of every page, by which a former one is known."""


def template(name: str) -> Any:
    """The template of this name; it escapes what it is given."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("aecli.pages"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_visible,
    )
    return environment.get_template(name)


def require_outside_runs(place: Path) -> None:
    """Raises UsageError for a place in a run folder, or for the folder itself."""
    whole = place.resolve()  # a link may lead into one
    if any((above / "run.json").exists() for above in (whole, *whole.parents)):
        raise UsageError(f"{place} lies in a run folder, where only the run writes")


def require_page(target: Path, flag: str) -> None:
    """Raises UsageError unless a page may be written there, where a former one of ours may be."""
    require_outside_runs(target)
    if target.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{flag} {target}: a page is written as .html; give FILE.html")
    if target.is_dir():
        raise UsageError(f"{flag} {target}: a folder; give FILE.html")
    if target.is_file():
        with target.open("rb") as file:
            if f'content="{GENERATOR}"'.encode() not in file.read(2000):
                raise UsageError(f"{flag} {target}: exists and is no page of aecli; not replaced")


def _visible(value: Any) -> Any:
    """Text without control characters, which HTML has no place for; markup of ours as it is."""
    return printable(value) if type(value) is str else value
