"""Figures from arrays; nothing here knows torch, and nothing here saves."""

from aecli.figures.latent import (
    PathRow,
    Plane,
    decoder_grid,
    hole_rates,
    interpolation_row,
    latent_map,
)
from aecli.figures.samples import code_ranges, sample_grids
from aecli.figures.sheets import sheet
from aecli.figures.style import shortened
from aecli.figures.tables import TradeoffPoint, comparison, decoded_grid, tradeoff, unit_mix
from aecli.figures.training import (
    Decoded,
    chapter_training,
    code_scatter,
    code_units,
    ordered,
    reconstructions,
    training_curve,
)

__all__ = [
    "Decoded",
    "PathRow",
    "Plane",
    "TradeoffPoint",
    "chapter_training",
    "code_ranges",
    "code_scatter",
    "code_units",
    "comparison",
    "decoded_grid",
    "decoder_grid",
    "hole_rates",
    "interpolation_row",
    "latent_map",
    "ordered",
    "reconstructions",
    "sample_grids",
    "sheet",
    "shortened",
    "tradeoff",
    "training_curve",
    "unit_mix",
]
