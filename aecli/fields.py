"""Rules that every part of a config keeps, and the types of its values."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict
from pydantic_core import PydanticCustomError

from aecli.pathnames import user_path

PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
# A matrix of the two widest layers still has a size that torch can count.
Width = Annotated[int, Field(ge=1, le=10**9)]
Widths = Annotated[  # a YAML list becomes a tuple
    tuple[Width, ...], Strict(False), Field(max_length=64)
]
Workers = Annotated[int, Field(ge=1, le=1024)]


def _with_home(path: str) -> str:
    if not path:
        raise PydanticCustomError("path", "must be a path")
    return str(user_path(path))


UserPath = Annotated[str, AfterValidator(_with_home)]


class Section(BaseModel):
    """The rules every part of a config keeps."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True
    )
