"""Figures from arrays; nothing here knows torch, and nothing here saves."""

from aecli.figures.compression import downsampling
from aecli.figures.conversion import CodeMap, ConversionPoint, beta_curve, code_maps
from aecli.figures.curves import Curve, curves
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
    reconstructions,
    training_curve,
)
from aecli.figures.tuning import tuning
from aecli.figures.units import code_units, deleted_units, kl_units, ordered
from aecli.figures.work import LabelCurve, Shares, class_scores, label_curves, share_bars

__all__ = [
    "CodeMap",
    "ConversionPoint",
    "Curve",
    "Decoded",
    "LabelCurve",
    "PathRow",
    "Plane",
    "Shares",
    "TradeoffPoint",
    "beta_curve",
    "chapter_training",
    "class_scores",
    "code_maps",
    "code_ranges",
    "code_scatter",
    "code_units",
    "comparison",
    "curves",
    "decoded_grid",
    "decoder_grid",
    "deleted_units",
    "downsampling",
    "hole_rates",
    "interpolation_row",
    "kl_units",
    "label_curves",
    "latent_map",
    "ordered",
    "reconstructions",
    "sample_grids",
    "share_bars",
    "sheet",
    "shortened",
    "tradeoff",
    "training_curve",
    "tuning",
    "unit_mix",
]
