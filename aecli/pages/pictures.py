"""Pictures of a run folder as data URIs: checked to be PNGs, and drawn anew in 256 colours.

No byte of a file goes into a page as it is: what Pillow decodes is encoded again, which also takes
a third of the room.
"""

import base64
import io
import itertools
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aecli import machine
from aecli.errors import DataError
from aecli.runs import storage

if TYPE_CHECKING:
    from PIL.Image import Image

_MAX_BYTES = 16 * 2**20  # of a file
_MAX_PIXELS = 32 * 10**6
_MAX_FOLDERS, _MAX_ENTRIES, _MAX_NAMES = 12, 1000, 60  # that are looked at in one run
_OF_SECTIONS = 2  # folders below one another, the run's own counted
_NOT_PICTURES = ("jobs", "checkpoint", "model")  # beginnings of folders' names
_COLOURS = 256
_HALVINGS = 4


@dataclass(frozen=True)
class Picture:
    """A PNG of a run folder, or why it cannot be shown."""

    name: str
    """Its place in the run folder, as `sweep/tradeoff.png`."""
    content: bytes = b""
    width: int = 0
    height: int = 0
    error: str = ""

    @property
    def uri(self) -> str:
        """The picture as a data URI."""
        return "data:image/png;base64," + base64.b64encode(self.content).decode()


def names_in(root: Path) -> list[str]:
    """Places of the PNGs in a run folder and in its sections, the folder's own first; no links."""
    found: list[str] = []
    folders = [(root, "", 1)]
    for folder, prefix, depth in folders:  # grows as it goes
        for entry in _entries(folder):
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                is_section = depth < _OF_SECTIONS and not entry.name.startswith(_NOT_PICTURES)
                if is_section and len(folders) < _MAX_FOLDERS:
                    folders.append((Path(entry.path), f"{prefix}{entry.name}/", depth + 1))
            elif entry.name.lower().endswith(".png") and len(found) < _MAX_NAMES:
                found.append(prefix + entry.name)
    return found


def _entries(folder: Path) -> list["os.DirEntry[str]"]:
    """Entries of a folder, by name; of a very full one the first that the system names."""
    try:
        with os.scandir(folder) as entries:
            some = list(itertools.islice(entries, _MAX_ENTRIES))
    except OSError:
        return []
    return sorted(some, key=lambda entry: entry.name)


def pictures_of(wanted: list[tuple[Path, str]], room: int) -> list[Picture]:
    """The PNGs of (run folder, place), which together take at most `room` bytes.

    Where they would take more, the largest is halved until they do not; one that was halved four
    times is left out.
    """
    with ThreadPoolExecutor(machine.usable_cores()) as pool:  # Pillow lets go of the interpreter
        shown = list(pool.map(lambda each: _read(*each), wanted))
    halved = [0] * len(shown)
    while sum(len(each.content) for each in shown) > room:
        largest = max(range(len(shown)), key=lambda i: len(shown[i].content))
        halved[largest] += 1
        shown[largest] = _smaller(shown[largest], halved[largest])
    return shown


def _read(root: Path, name: str) -> Picture:
    from PIL import Image

    try:
        content = storage.read_regular(root / name, _MAX_BYTES, root)
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            if image.width * image.height > _MAX_PIXELS:
                return Picture(name, error=f"more than {_MAX_PIXELS:,} pixels")
            return _encoded(name, _opaque(image))
    except DataError as error:
        return Picture(name, error=str(error).rpartition(": ")[2])
    except Exception as error:  # Pillow raises many kinds for files that are no images
        return Picture(name, error=f"no PNG that can be read ({type(error).__name__})")


def _opaque(image: "Image") -> "Image":
    """The picture in red, green and blue; where it is transparent, over white."""
    from PIL import Image

    if image.mode in ("RGB", "L"):
        return image.convert("RGB")
    with_alpha = image.convert("RGBA")
    if with_alpha.getchannel("A").getextrema() == (255, 255):
        return with_alpha.convert("RGB")
    white = Image.new("RGBA", with_alpha.size, "white")
    return Image.alpha_composite(white, with_alpha).convert("RGB")


def _encoded(name: str, image: "Image") -> Picture:
    """A picture in 256 colours."""
    from PIL import Image

    how = Image.Quantize.FASTOCTREE
    few = image.quantize(_COLOURS, method=how, dither=Image.Dither.NONE)
    content = io.BytesIO()
    few.save(content, "PNG", compress_level=4)
    return Picture(name, content.getvalue(), image.width, image.height)


def _smaller(picture: Picture, halved: int) -> Picture:
    from PIL import Image

    if halved > _HALVINGS or min(picture.width, picture.height) < 2:
        return Picture(picture.name, error="left out, as the page would be too large")
    with Image.open(io.BytesIO(picture.content), formats=["PNG"]) as image:
        return _encoded(picture.name, image.convert("RGB").reduce(2))


def in_turn(of_runs: list[list[str]], most: int) -> Iterator[tuple[int, str]]:
    """(index of the run, place) of at most so many pictures: the first of each run, the second of
    each, and so on."""
    turns = max(map(len, of_runs), default=0)
    each = (
        (i, names[turn])
        for turn in range(turns)
        for i, names in enumerate(of_runs)
        if turn < len(names)
    )
    return itertools.islice(each, most)
