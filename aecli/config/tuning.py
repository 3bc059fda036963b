"""Settings of `aecli tune`."""

import re
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, Strict, model_validator
from pydantic_core import PydanticCustomError

from aecli.config.experiments import ManyConfig
from aecli.config.sections import DataConfig, FitConfig

TUNED = ("lr", "batch_size", "width", "depth", "epochs", "elastic", "shift", "mirror")
"""Settings that can be looked for."""

if TYPE_CHECKING:
    Setting = str
else:
    Setting = Literal[TUNED]

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


def _seconds(given: Any) -> Any:
    """Seconds of `90s`, `10m` or `1.5h`; what is no text as it is."""
    if not isinstance(given, str):
        return given
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", given)
    if found is None:
        raise PydanticCustomError("time", "not a time, as 90s, 10m or 1.5h")
    return float(found[1]) * _UNITS[found[2]]


def _once_each(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in TUNED if name in names)


class TuneConfig(ManyConfig):
    """Settings of `aecli tune`, which looks for better settings on the validation images."""

    NO_EFFECT: ClassVar[dict[str, str]] = {
        "seeds": "each setting is trained with one seed",
    }

    experiment: Literal["tune"] = "tune"
    data: DataConfig = DataConfig()
    """Images; those for validation choose, and the test images are not looked at."""
    train: FitConfig = FitConfig()
    """Training to begin from."""
    budget: Annotated[
        float, BeforeValidator(_seconds), Field(ge=1, le=1e7, allow_inf_nan=False)
    ] = 600
    """Time for all trainings, in seconds, or as `90s`, `10m`, `1.5h`."""
    sampler: Literal["tpe", "random"] = "tpe"
    """Way to propose settings: `tpe` learns from what was tried, `random` does not."""
    tuned: Annotated[
        tuple[Setting, ...], Strict(False), Field(min_length=1), AfterValidator(_once_each)
    ] = TUNED
    """Settings that are looked for: the learning rate, the batch size, width and depth of the
    layers, the number of epochs, and how training images are bent, moved and mirrored."""

    @model_validator(mode="after")
    def _tune_what_is_trained(self) -> "TuneConfig":
        if self.codec.solved:
            raise PydanticCustomError(
                "solved",
                f"codec.name={self.codec.name} is solved for: there is no training to tune",
            )
        if self.data.val == 0:
            raise PydanticCustomError(
                "val",
                "data.val=0: there are no validation images, by which settings are chosen",
            )
        return self
