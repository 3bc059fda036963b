"""The codecs that `aecli sweep-downsampling` trains, as its config names them."""

import math
from dataclasses import dataclass
from typing import Any

from aecli.codecs.grid_settings import DcConfig, KlConfig
from aecli.codecs.settings import ConvConfig
from aecli.config.experiments import SweepDownsamplingConfig
from aecli.config.sections import CodecConfig


@dataclass(frozen=True)
class RowSpec:
    """One row of the table: a codec at one factor, with one number of numbers."""

    kind: str
    """One of `config.experiments.SWEPT`."""
    downsampling: int
    codec: CodecConfig

    @property
    def key(self) -> str:
        """The row in the names of metrics."""
        return f"{self.kind.replace('-', '_')}_f{self.downsampling}_{self.codec.code_dim}"


def row_specs(config: SweepDownsamplingConfig) -> list[RowSpec]:
    """The rows of a sweep: each kind at each factor, and `dc` with fewer numbers at one factor."""
    numbers = config.codec.code_dim
    specs = [
        RowSpec(kind, factor, _codec(kind, factor, numbers, config.codec))
        for kind in config.codecs
        for factor in config.downsamplings
    ]
    return specs + [
        RowSpec("dc", config.fewer_at, _codec("dc", config.fewer_at, n, config.codec))
        for n in config.fewer
    ]


def _codec(kind: str, factor: int, code_dim: int, like: DcConfig) -> CodecConfig:
    """A codec of a kind, at a factor, of the width and depth of `like`."""
    if kind == "conv":
        first = min(factor, 4)
        factors = (first, *[2] * int(math.log2(factor // first)))
        return ConvConfig(
            code_dim=code_dim, width=like.widest, depth=like.depth, downsampling=factors
        )
    of_grid: dict[str, Any] = {
        "code_dim": code_dim,
        "downsampling": factor,
        "width": like.width,
        "widest": like.widest,
        "depth": like.depth,
    }
    if kind == "kl":
        return KlConfig(**of_grid)
    return DcConfig(**of_grid, shortcuts=kind == "dc")
