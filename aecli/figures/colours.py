"""Colours of classes: no two alike for any number, and far apart for colour-blind eyes too."""

from typing import Any

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

# Paul Tol's `muted` scheme, made for colour-blind eyes, and black (personal.sron.nl/~pault).
_FIRST = (
    *("#332288", "#88CCEE", "#117733", "#DDCC77", "#CC6677"),
    *("#AA4499", "#44AA99", "#882255", "#999933", "#222222"),
)
_LIGHTNESS = (0.3, 0.8)  # range in Oklab; lighter colours are lost on white

_Matrix = NDArray[np.floating[Any]]
# Linear sRGB as eyes without the long- and the middle-wave cones see it (Machado et al. 2009).
_EYES: tuple[_Matrix, ...] = (
    np.eye(3),
    np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
)
# Oklab (Ottosson 2020): linear sRGB to cone responses, and their cube roots to L, a, b.
_CONES: _Matrix = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_LAB: _Matrix = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def class_colours(n: int) -> list[str]:
    """`n` colours as #rrggbb; after the first ten each is the one farthest from all before it."""
    chosen = list(_FIRST[:n])
    if n <= len(chosen):
        return chosen
    levels = np.linspace(0, 1, max(9, int(np.ceil((3 * n) ** (1 / 3))) + 1))
    candidates = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(-1, 3)
    lightness = seen(candidates)[0, :, 0]
    candidates = candidates[(lightness > _LIGHTNESS[0]) & (lightness < _LIGHTNESS[1])]
    looks = seen(candidates)
    apart = np.full(len(candidates), np.inf)
    for i in range(n):
        if i >= len(chosen):
            chosen.append(mpl.colors.to_hex(candidates[apart.argmax()]))
        look = seen(np.array([mpl.colors.to_rgb(chosen[i])]))
        apart = np.minimum(apart, np.linalg.norm(looks - look, axis=2).min(axis=0))
    return chosen


def seen(rgb: _Matrix) -> _Matrix:
    """Oklab coordinates (3, n, 3) of sRGB colours (n, 3) in [0, 1], for each kind of eye."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return np.stack([np.cbrt((linear @ eye.T) @ _CONES.T) @ _LAB.T for eye in _EYES])
