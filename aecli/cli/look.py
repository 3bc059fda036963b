"""`aecli data look`: what is at a path, and what a training would use of it, without training."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aecli.cli.pictures import require_apart, require_picture
from aecli.config import EXPERIMENTS, DataConfig, flag_layer, one_layer, resolve, set_layer
from aecli.counts import count
from aecli.data import facts
from aecli.errors import DataError, UsageError
from aecli.png import png
from aecli.runs import storage
from aecli.terminal import Terminal

if TYPE_CHECKING:
    from aecli.data.own.opened import Opened

_SHEET = {"train": 20, "val": 6, "test": 10}  # images drawn of each part of the split
_RANGES_OF = 500  # training images whose ranges are told, evenly spaced
_CLASSES = 20  # classes that are told one by one


def look(path: str, assignments: Sequence[str], sheet: Path | None, terminal: Terminal) -> None:
    """Say what is at `path` and draw a sheet of it. Raises DataError, after all of it, where a
    training would end with one; UsageError, StorageError."""
    config = _config(path, assignments)
    if sheet is not None:
        require_picture(sheet)
    require_apart(sheet or Path("look.png"), Path(config.dataset))
    error: DataError | None = None
    try:
        opened = facts.look(config, terminal.working)
    except DataError as reason:
        if config.skip_bad:
            raise
        error = reason
        try:
            opened = facts.look(config.model_copy(update={"skip_bad": True}), terminal.working)
        except (DataError, UsageError):
            raise error from None
    terminal.warn(opened.warnings)
    if terminal.as_json:
        terminal.json(_as_json(opened))
    else:
        terminal.columns(_rows(opened))
    if sheet is None:
        sheet = Path(f"{opened.name}-look.png")
    with terminal.working("drawing the sheet"):
        _draw(opened, config, sheet)
    if not terminal.as_json:
        terminal.path(sheet)
    if error is not None:
        raise error


def _config(path: str, assignments: Sequence[str]) -> DataConfig:
    """The settings of the images. Raises UsageError."""
    dataset = path if "/" in path else f"./{path}"
    layers = [set_layer(assignments), flag_layer({"DATA": ("data.dataset", dataset)})]
    config = resolve(EXPERIMENTS["train"], [one_layer(layers)])
    others = [each for each in config.model_fields_set if each != "data"]
    if others:
        raise UsageError(f"--set {others[0]}: only data.* settings say how images are looked at")
    return config.data


def _rows(opened: "Opened") -> list[tuple[str, str]]:
    channels, height, width = opened.shape
    items = opened.items
    total = sum(map(len, opened.windows.values()))
    rows = [
        ("path", str(opened.path)),
        ("images", f"{total:,} of {height}x{width}, {count(channels, 'channel')}, {items.dtype}"),
    ]
    for note in opened.notes:
        name, _, text = note.partition(": ")
        rows.append((name, text))
    if opened.left_out:
        rows.append(("left out", f"{opened.left_out:,} with too few valid pixels (data.min_valid)"))
    if items.pool.masked:
        valid = float(items.valid @ (items.shapes[:, 1] * items.shapes[:, 2]))
        share = valid / float((items.shapes[:, 1] * items.shapes[:, 2]).sum())
        rows.append(("valid pixels", f"{100 * share:.1f}%"))
    for channel, (low, mean, high, clipped) in enumerate(_ranges(opened), start=1):
        beyond = f"; {100 * clipped:.1f}% outside the scale" if clipped else ""
        rows.append((f"channel {channel}", f"{low:g} to {high:g}, mean {mean:.6g}{beyond}"))
    rows.append(("classes", _classes(opened)))
    rows.append(("kept", _kept(opened)))
    rows.append(("sha256", opened.sha256))
    return rows


def _classes(opened: "Opened") -> str:
    """The classes with the number of their images in all parts of the split."""
    if opened.labels is None:
        return "none"
    counts = _class_counts(opened)
    told = ", ".join(f"{name} {n:,}" for name, n in list(counts.items())[:_CLASSES])
    more = f" and {len(counts) - _CLASSES:,} more" if len(counts) > _CLASSES else ""
    return f"{len(counts):,}: {told}{more}"


def _class_counts(opened: "Opened") -> dict[str, int]:
    import numpy as np

    assert opened.labels is not None
    every = np.concatenate(list(opened.labels.values()))
    numbers = np.bincount(every, minlength=len(opened.classes)).tolist()
    return dict(zip(opened.classes, numbers, strict=True))


def _kept(opened: "Opened") -> str:
    from aecli.data.own.pools import Array, Files

    if isinstance(opened.pool, Files):
        return "nowhere: files are decoded each time they are read"
    if isinstance(opened.pool, Array):
        return "in the array's file, read by memory map"
    return "decoded, in the user's cache"


def _ranges(opened: "Opened") -> list[tuple[float, float, float, float]]:
    """Least value, mean, greatest value, and share outside the scale of each channel's valid
    pixels, over some of the training images."""
    import numpy as np

    train = opened.windows["train"]
    spaced = np.linspace(0, len(train) - 1, min(_RANGES_OF, len(train))).astype(int)
    channels, height, width = opened.shape
    low, high = np.full(channels, np.inf), np.full(channels, -np.inf)
    total, outside, number = np.zeros(channels), np.zeros(channels), 0
    bottom, top = (np.array(each)[:, None] for each in (opened.scale.low, opened.scale.high))
    for i in spaced.tolist():
        picture = opened.pool.read(train[i : i + 1], height, width)
        pixels = picture.pixels[0].reshape(channels, -1)
        values = pixels if picture.valid is None else pixels[:, picture.valid.ravel()]
        if values.shape[1]:
            low, high = np.minimum(low, values.min(axis=1)), np.maximum(high, values.max(axis=1))
            total += values.sum(axis=1, dtype=float)
            outside += ((values < bottom) | (values > top)).sum(axis=1)
            number += values.shape[1]
    share = max(number, 1)
    return [
        (float(a), float(b / share), float(c), float(d / share))
        for a, b, c, d in zip(low, total, high, outside, strict=True)
    ]


def _draw(opened: "Opened", config: DataConfig, sheet: Path) -> None:
    """Write the picture of some images of each part of the split. Raises StorageError."""
    import numpy as np

    from aecli import figures

    images, masks, captions, splits = [], [], [], []
    for split, most in _SHEET.items():
        windows = opened.windows[split]
        n = min(most, len(windows))
        for i in np.linspace(0, len(windows) - 1, n).astype(int).tolist() if n else []:
            picture = opened.pool.read(windows[i : i + 1], *opened.shape[1:])
            valid = np.ones((1, *opened.shape[1:]), bool)
            valid = valid if picture.valid is None else picture.valid
            images.append(np.where(valid, opened.scale.to_unit(picture.pixels)[0], 0))
            masks.append(valid[0])
            captions.append(_caption(opened, split, i))
            splits.append(split)
    shown = tuple(channel - 1 for channel in config.shown)
    title = f"{opened.name}: images as training sees them"
    figure = figures.sheet(
        np.stack(images).astype(np.float32),
        captions,
        title,
        _note(opened),
        np.stack(masks) if opened.masked else None,
        splits,
        shown,
    )
    storage.write_whole(sheet, png(figure))


def _note(opened: "Opened") -> str:
    """Words below the sheet: the scale, and what a caption of two numbers is."""
    places = opened.labels is None and len(opened.items) == 1
    return f"Scale: {opened.scale.rule}." + (" Under each image: row, column." if places else "")


def _caption(opened: "Opened", split: str, i: int) -> str:
    """Class, place in the only picture (row, column), or file of an image."""
    if opened.labels is not None:
        return opened.classes[int(opened.labels[split][i])]
    item, y, x = opened.windows[split][i].tolist()
    if len(opened.items) == 1:
        return f"{y}, {x}"
    return Path(opened.items.names[item]).name


def _as_json(opened: "Opened") -> dict[str, Any]:
    return {
        "path": str(opened.path),
        "image_shape": list(opened.shape),
        "dtype": opened.items.dtype,
        **{f"n_{split}": len(windows) for split, windows in opened.windows.items()},
        "classes": None if opened.labels is None else _class_counts(opened),
        "scale": opened.scale.described(),
        "sha256": opened.sha256,
        "left_out": [{"file": n, "reason": reason} for n, reason in opened.items.faults],
        "too_few_valid_pixels": opened.left_out,
        "passed_over": list(opened.items.passed_over),
        "warnings": list(opened.warnings),
        "notes": list(opened.notes),
    }
