"""Codecs that a network is held against, at the same code size."""

from collections.abc import Mapping
from dataclasses import dataclass

from aecli.codecs.base import Codec
from aecli.codecs.dct import Dct
from aecli.codecs.pca import Pca
from aecli.codecs.principal import most_components, total_variance
from aecli.codecs.rotated_dct import RotatedDct
from aecli.codecs.thumbnail import Thumbnail
from aecli.config import DctConfig, PcaConfig, RotatedDctConfig, ThumbnailConfig
from aecli.data.images import Images
from aecli.measure import metrics

_NO_VARIANCE = 1e-6
"""Share of the largest variance up to which a component has none: it is float32's rounding, of some
1e-7 in a pixel and in a product, that would be counted."""

TRANSFORMS = ("dct", "rotated_dct", "thumbnail")
"""Baselines that look at no picture in particular, as metrics and columns name them."""


@dataclass(frozen=True)
class Baseline:
    """A codec that a network is held against, or why there is none."""

    label: str
    """Its name as tables and figures have it, with the numbers that it takes: `PCA-32`."""
    codec: Codec | None
    test_mse: float | None
    """Mse per valid pixel of the test images."""
    why_not: str = ""
    """Reason in words if there is none."""


class Baselines:
    """Codecs beside those of one dataset, at any code size; all that they learn of the training
    images is computed once."""

    def __init__(self, images: Images, most: int, pca: Pca | None = None) -> None:
        """most: the largest code size. pca: PCA of these training images, if it is there, with at
        least so many components or all that they have."""
        self._images = images
        pixels = images.train.pixels
        self._pca = pca or _pca_of_at_most(min(most, pixels), images)
        self._rotated = RotatedDct(images.shape, RotatedDctConfig(code_dim=min(most, pixels)))
        self._rotated.solve(images.train)

    def beside(self, code_dim: int) -> dict[str, Baseline]:
        """The baselines of so many numbers by the names of their metrics: `pca` and TRANSFORMS."""
        images, shape = self._images, self._images.shape
        pixels, channels = images.train.pixels, shape[0]
        if code_dim > pixels:
            too_many = f"the image has {pixels:,} numbers"
            return {"pca": self._no_pca(code_dim)} | {
                name: Baseline(label, None, None, too_many)
                for name, label in zip(TRANSFORMS, ("DCT", "rotated DCT", "thumbnail"), strict=True)
            }
        found = {
            "pca": self._pca_beside(code_dim),
            "dct": self._measured("DCT", Dct(shape, DctConfig(code_dim=code_dim))),
            "rotated_dct": self._measured("rotated DCT", self._rotated.truncated(code_dim)),
        }
        if code_dim < channels:
            too_few = f"a pixel has {channels} numbers"
            return found | {"thumbnail": Baseline("thumbnail", None, None, too_few)}
        thumbnail = Thumbnail(shape, ThumbnailConfig(code_dim=code_dim))
        return found | {"thumbnail": self._measured("thumbnail", thumbnail)}

    def _pca_beside(self, code_dim: int) -> Baseline:
        """PCA of so many components, or of all that the training images have if they are fewer: any
        further one would be a direction that they never take."""
        if code_dim <= self._pca.code_dim:
            same = code_dim == self._pca.code_dim
            return self._measured("PCA", self._pca if same else self._pca.truncated(code_dim))
        if self._pca.code_dim == len(self._images.train):
            return self._measured("PCA", self._pca)
        return self._no_pca(code_dim)

    def _no_pca(self, code_dim: int) -> Baseline:
        most, limit = most_components(len(self._images.train), self._images.train.pixels)
        why = f"it has at most {most:,} components ({limit})"
        return Baseline(f"PCA-{code_dim}", None, None, why)

    def _measured(self, name: str, codec: Codec) -> Baseline:
        test_mse = metrics.mse(codec, self._images.test)
        return Baseline(f"{name}-{codec.code_dim}", codec, test_mse)


def baselines_beside(codec: Codec, images: Images) -> dict[str, Baseline]:
    """The baselines at the code size of a codec, by the names of their metrics; its own is `pca` if
    it is PCA."""
    own = codec if isinstance(codec, Pca) else None
    return Baselines(images, codec.code_dim, own).beside(codec.code_dim)


def best_of(baselines: Mapping[str, Baseline]) -> Baseline | None:
    """The baseline of the lowest test error; None if there is none."""
    there = [(b.test_mse, n) for n, b in enumerate(baselines.values()) if b.test_mse is not None]
    return list(baselines.values())[min(there)[1]] if there else None


def transform_columns(baselines: Mapping[str, Baseline]) -> dict[str, float | int | None]:
    """Columns of a table: the test mse of each of TRANSFORMS, and the numbers of the thumbnail."""
    thumbnail = baselines["thumbnail"].codec
    return {f"{name}_test_mse": baselines[name].test_mse for name in TRANSFORMS} | {
        "thumbnail_numbers": None if thumbnail is None else thumbnail.code_dim
    }


def effective_rank(pca: Pca, images: Images) -> int:
    """The number of components that have variance; n training images have at most n - 1."""
    has_variance = pca.variances > _NO_VARIANCE * pca.variances.max()
    return min(int(has_variance.sum()), len(images.train) - 1)


def pca_beside(codec: Codec, images: Images) -> Pca | None:
    """PCA of the same code dimension on the same training images; `codec` itself if it is that.

    None where there is none; `aecli.codecs.principal.most_components` says why.
    """
    return codec if isinstance(codec, Pca) else pca_of(codec.code_dim, images)


def pca_of(code_dim: int, images: Images) -> Pca | None:
    """PCA of so many components on the training images; None where there is none, as above."""
    most, _ = most_components(len(images.train), images.train.pixels)
    return _pca_of_at_most(code_dim, images) if code_dim <= most else None


def full_pca(images: Images) -> Pca:
    """PCA with as many components as the training images have, and memory allows."""
    return _pca_of_at_most(images.train.pixels, images)


def variance_beyond(pca: Pca, images: Images) -> float:
    """The training images' variance, summed over pixels, that `full_pca` has no component for; 0
    unless memory allows no more."""
    if pca.code_dim >= min(len(images.train), images.train.pixels):
        return 0.0
    return max(total_variance(images.train) - pca.variances.double().sum().item(), 0.0)


def _pca_of_at_most(code_dim: int, images: Images) -> Pca:
    most, _ = most_components(len(images.train), images.train.pixels)
    pca = Pca(images.shape, PcaConfig(code_dim=min(code_dim, most)))
    pca.solve(images.train)
    return pca
