"""Rules that every part of a config keeps, and the types of its values."""

import ast
import inspect
import itertools
import math
import textwrap
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetJsonSchemaHandler, Strict
from pydantic_core import CoreSchema, PydanticCustomError

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

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """The JSON Schema, with each key's docstring for its description. They are read from the
        source here, where they are asked for: `use_attribute_docstrings` parses every class while
        it is imported, 0.15 s of each command."""
        found = handler(schema)
        properties = handler.resolve_ref_schema(found)["properties"]
        for kind in reversed(cls.__mro__):
            if issubclass(kind, Section):
                for key, text in _docstrings(kind).items():
                    properties[key]["description"] = text
        return found


def _docstrings(kind: type[Section]) -> dict[str, str]:
    """The docstrings below the fields of a class, by the fields' names."""
    try:
        source = inspect.getsource(kind)
    except OSError:  # an install without source, whose schema has no descriptions then
        return {}
    [parsed] = ast.parse(textwrap.dedent(source)).body
    assert isinstance(parsed, ast.ClassDef)
    return {
        field.target.id: inspect.cleandoc(text)
        for field, below in itertools.pairwise(parsed.body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
        if isinstance(text := below.value.value, str) and field.target.id in kind.model_fields
    }


CODE_DIM_OF_THE_CHAPTER = 32
ImageShape = tuple[int, int, int]
"""Channels, height and width of an image."""


class CodecSection(Section):
    """Settings of one kind of codec, and what can be known of that kind without building one."""

    made_by: ClassVar[str]
    """Module and class of the codec, `aecli.codecs.mlp:Mlp`, imported where one is built."""
    solved_for: ClassVar[bool] = False
    """True if every codec of the kind is solved for."""
    linear: ClassVar[bool] = False
    """True if code and reconstruction are linear in the image, up to a constant."""
    fixed: ClassVar[bool] = False
    """True if it is the same for all images: nothing is learned of them."""
    any_size: ClassVar[bool] = False
    """True if the same layers take images of any height and width."""

    name: str
    code_dim: Width = CODE_DIM_OF_THE_CHAPTER
    """Size of the code, in numbers."""

    @property
    def solved(self) -> bool:
        """True if it is solved for, or taken as it is, so that nothing of `train` is used."""
        return self.solved_for

    @property
    def how_solved(self) -> str:
        """Words on how it is made, if it is solved."""
        return "solved for"

    @property
    def is_variational(self) -> bool:
        """True if it encodes an image as a Gaussian of codes."""
        return False

    @property
    def begins_with(self) -> str | None:
        """The codec, by its name, that is solved for before this one is trained; None for most."""
        return None

    def size(self, shape: ImageShape) -> tuple[int, int]:
        """Numbers in the parameters, and numbers kept of one image in a step, about, for images of
        a shape: for an estimate of the memory before torch is there."""
        pixels = math.prod(shape)
        return 2 * pixels * self.code_dim, 8 * pixels + self.code_dim


class NetworkSection(CodecSection):
    """Settings of a codec that is trained."""

    convertible: ClassVar[bool] = True
    """True if a plain codec of the kind can become a variational one."""
    has_middle: ClassVar[bool] = False
    """True if the layers round its code can be trained alone."""

    variational: bool = False
    """Encode each image as a Gaussian of codes, its mean and its variances, in place of a point:
    twice as many numbers out of the encoder, and the loss `elbo`."""

    @property
    def is_variational(self) -> bool:
        return self.variational

    @property
    def ends_in_sigmoid(self) -> bool:
        """True if pixels come out of a sigmoid."""
        return True

    @property
    def encoded(self) -> int:
        """Numbers that the encoder's last layer gives."""
        return self.code_dim * (2 if self.variational else 1)


class LossSection(Section):
    """Settings of one kind of loss."""

    made_by: ClassVar[str]
    """Module and function of the loss, imported where it is used."""
    terms: ClassVar[tuple[str, ...]]
    """Names of its terms; the first is minimised."""
    by_image: ClassVar[frozenset[str]] = frozenset()
    """Those that are means over images, where the others are means over valid pixels."""

    name: str

    def at(self, position: float) -> Self:
        """The loss as it is at a point of a training, 0 at its beginning and 1 at its end."""
        return self
