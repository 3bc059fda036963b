"""Keys as former versions of aecli wrote them, and short ones, read as what they are called now."""

from typing import Any

from aecli.config.sections import NAMED, RECIPES

# Former key of `train` -> the section that has it now, and its name there.
_MOVED = {
    "lr": ("optimizer", "lr"),
    "adam_lr": ("optimizer", "adam_lr"),
    "momentum": ("optimizer", "momentum"),
    "muon_precision": ("optimizer", "precision"),
    "noise_level": ("noise", "level"),
    "l1": ("loss", "l1"),
}
# Keys of the loss `elbo` that may stand in `train` itself.
_OF_ELBO = ("likelihood", "beta", "kl_warmup", "free_bits")
_MOVED |= {key: ("loss", key) for key in _OF_ELBO}

# Keys of Muon in every config that a run wrote before `block_rows` was one, and the rows then.
_OF_MUON = {"lr", "adam_lr", "momentum", "precision"}
_FORMER_ROWS = 256

Places = dict[tuple[str | int, ...], str]


def in_new_terms(values: dict[str, Any], places: Places) -> None:
    """Change the settings of a layer, in place, from former keys to those of now.

    `optimizer: adam` becomes `optimizer: {name: adam}`, as it still may be written; `momentum`
    becomes `optimizer.momentum`; `l1` becomes the loss `sparse`. Muon's settings as a run wrote
    them, all but `block_rows`, are of a former run, which had 256. What fits nowhere is left for
    the errors to name.
    """
    for path in NAMED:
        *above, key = path
        section = values
        for name in above:
            section = section.get(name, {}) if isinstance(section, dict) else {}
        if isinstance(section, dict) and isinstance(section.get(key), str):
            section[key] = {"name": section[key]}
    train = values.get("train")
    if not isinstance(train, dict):
        return
    loss = train.get("loss")
    if isinstance(loss, dict) and "name" not in loss and set(_OF_ELBO) & loss.keys():
        train["loss"] = {"name": "elbo"} | loss
    for key in _MOVED.keys() & train.keys():
        section_name, name = _MOVED[key]
        section = train.get(section_name, {})
        if not isinstance(section, dict):
            continue
        value, place = train.pop(key), places.pop(("train", key), None)
        if key == "l1":
            if value == 0:
                train[section_name] = {"name": "mse"} | section
                continue
            section = {"name": "sparse"} | section
        if key in _OF_ELBO:
            section = {"name": "elbo"} | section
        recipe = RECIPES.get(str(train.get("recipe")), {})
        by_recipe = recipe.get("optimizer", {}).get("name")
        if key == "muon_precision" and section.get("name", by_recipe) == "adam":
            continue  # written beside Adam where a linear autoencoder is trained by Muon
        train[section_name] = section | {name: value}
        if place is not None:
            places["train", section_name, name] = place
    optimizer = train.get("optimizer")
    if isinstance(optimizer, dict) and optimizer.keys() >= _OF_MUON:
        optimizer.setdefault("block_rows", _FORMER_ROWS)
