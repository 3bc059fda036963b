"""Sentences that several experiments print: how codecs were trained, and whether that failed."""

from collections.abc import Sequence

import torch

from aecli.config import FitConfig, ManyConfig
from aecli.counts import count
from aecli.data import Images
from aecli.training import device

_SAID_APART = {"recipe", "epochs", "batch_size", "precision", "muon_precision"}
_OF_MUON = {"momentum", "adam_lr"}  # the optimiser adam uses neither


def recipe_in_words(fit: FitConfig, where: torch.device | None) -> str:
    """Words such as `recipe muon (momentum=0.95), batch 128, 5 epochs, bf16`.

    In brackets stands what differs from the recipe; the precision is the one decided on the device
    `where`, and left out for None.
    """
    recipe = FitConfig(recipe=fit.recipe)
    left_out = _SAID_APART | (_OF_MUON if fit.optimizer == "adam" else set())
    changed = [
        f"{key}={value}"
        for key, value in fit
        if key not in left_out and value != getattr(recipe, key)
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
    cpu = torch.device("cpu")
    if config.codec.solved:
        how = [f"Codec {config.codec.name}, solved for"]
    else:
        how = [f"Trained with {recipe_in_words(config.train, cpu)}"]
    how += [f"{who} with {recipe_in_words(fit, cpu)}" for who, fit in others]
    return f"{'; '.join(how)}; on {len(images.train):,} images of {images.title}, {_seeds(config)}."


def worse_than_constant(test_mse: float, mean_image_test_mse: float) -> str | None:
    """A warning if a codec is worse than the same picture for every image; None if it is not."""
    if test_mse <= mean_image_test_mse:
        return None
    return (
        f"test mse {test_mse:.5f} is above {mean_image_test_mse:.5f}, the error of giving the mean"
        " training image for every image: this codec is worse than a constant picture"
    )


def _seeds(config: ManyConfig) -> str:
    if config.seeds == 1:
        return f"seed {config.seed}"
    return f"{config.seeds} seeds ({config.seed} to {config.seed + config.seeds - 1})"
