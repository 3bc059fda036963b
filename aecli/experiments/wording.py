"""Sentences that several experiments print: how codecs were trained, and whether that failed."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from aecli.chapter.wording import COLLAPSED as COLLAPSED
from aecli.chapter.wording import mse_in_words as mse_in_words
from aecli.chapter.wording import worse_than_constant as worse_than_constant
from aecli.config import FitConfig, ManyConfig
from aecli.counts import count
from aecli.data.images import Images
from aecli.fields import Section
from aecli.training import device

_SAID_APART = {"recipe", "epochs", "batch_size", "precision", "init_from"}


def recipe_in_words(fit: FitConfig, where: torch.device | None) -> str:
    """Words such as `recipe muon (momentum=0.9), batch 128, 5 epochs, bf16`.

    In brackets stands what differs from the recipe; the precision is the one decided on the device
    `where`, and left out for None.
    """
    recipe = FitConfig(recipe=fit.recipe)
    changed = [
        text
        for key, value in fit
        if key not in _SAID_APART and value != getattr(recipe, key)
        for text in _changes(key, value, getattr(recipe, key))
    ]
    parts = [
        f"recipe {fit.recipe}" + (f" ({', '.join(changed)})" if changed else ""),
        f"batch {fit.batch_size}",
        count(fit.epochs, "epoch"),
    ]
    if where is not None:
        dtype = device.product_dtype(fit.precision, where)
        parts.append("bf16" if dtype is torch.bfloat16 else "fp32")
    return ", ".join(parts)


def settings_in_words(
    config: ManyConfig, images: Images, others: Sequence[tuple[str, FitConfig]] = ()
) -> str:
    """A sentence on how the codecs of a table were trained; `others` are rows trained otherwise."""
    where = device.of_jobs(config)
    if config.codec.solved:
        how = [f"Codec {config.codec.name}, {config.codec.how_solved}"]
    else:
        how = [f"Trained with {recipe_in_words(config.train, where)}"]
    how += [f"{who} with {recipe_in_words(fit, where)}" for who, fit in others]
    return f"{'; '.join(how)}; on {len(images.train):,} images of {images.title}, {_seeds(config)}."


def in_words(images: Images, label: int) -> str:
    """A class as a sentence names it: `digit 3`, `class 3`, or `class forest`."""
    return f"{'digit' if images.digits else 'class'} {images.class_name(label)}"


def one_of(images: Images, label: int) -> str:
    """An image of a class, as briefly as a caption has it: `a 3`, `class 3`, or `forest`."""
    name = images.class_name(label)
    if images.digits:
        return f"an {name}" if name == "8" else f"a {name}"
    return name if images.class_names else f"class {name}"


def _changes(key: str, value: Any, usual: Any) -> Iterator[str]:
    """Words on a setting that differs: of a section its name, if that does, and what differs."""
    if not isinstance(value, Section):
        yield f"{key}={value}"
        return
    named: Any = value
    if named.name != usual.name:
        yield f"{key}={named.name}"
        usual = type(value)()
    for name, each in value:
        if name not in ("name", "precision") and each != getattr(usual, name):
            yield f"{name}={each}"


def _seeds(config: ManyConfig) -> str:
    if config.seeds == 1:
        return f"seed {config.seed}"
    return f"{config.seeds} seeds ({config.seed} to {config.seed + config.seeds - 1})"
