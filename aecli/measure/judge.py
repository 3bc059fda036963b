"""A judge of images, in whose features sets of them are compared."""

from dataclasses import dataclass

import torch
from torch import Tensor

from aecli.codecs.pca import Pca
from aecli.codecs.principal import most_components
from aecli.config import PcaConfig
from aecli.data.images import Batch, Images
from aecli.measure.classifier import Classifier

_COMPONENTS = 64  # of PCA, at most, whose codes stand for the classifier's as many features


@dataclass(frozen=True)
class Judge:
    """A judge of images: the classifier, or PCA where labels tell nothing apart."""

    classifier: Classifier | None
    pca: Pca | None
    """None where there is a classifier."""

    @classmethod
    def of(cls, images: Images, classifier: Classifier | None) -> "Judge":
        if classifier is not None:
            return cls(classifier, None)
        most, _ = most_components(len(images.train), images.train.pixels)
        pca = Pca(images.shape, PcaConfig(code_dim=min(_COMPONENTS, most)))
        pca.solve(images.train)
        return cls(None, pca)

    @property
    def features_in_words(self) -> str:
        """Features that Frechet distances are taken in: `the classifier's features`."""
        if self.pca is None:
            return "the classifier's features"
        return f"the codes of PCA-{self.pca.code_dim}"

    @property
    def features_name(self) -> str:
        """The same as tables and records have it: `classifier` or `pca-64`."""
        return "classifier" if self.pca is None else f"pca-{self.pca.code_dim}"

    @torch.no_grad()
    def features(self, batch: Batch) -> Tensor:
        """(n, d) of images that are few enough to be looked at at once. Pixels that are not valid
        count as PCA's mean, or as the 0 that they are for the classifier."""
        if self.classifier is not None:
            return self.classifier.features(batch.images)
        assert self.pca is not None
        return self.pca.encode(self.pca.seen(batch))
