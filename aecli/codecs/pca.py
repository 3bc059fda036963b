"""Principal component analysis as a codec: the best linear one at its code dimension."""

import torch
from torch import Tensor

from aecli.codecs.base import Codec, require_at_most_pixels
from aecli.codecs.principal import most_components, principal_components
from aecli.codecs.settings import PcaConfig
from aecli.data.images import Batch, ImageShape, Source, filled
from aecli.errors import UsageError


class Pca(Codec):
    """Projection onto the top-k eigenvectors of the covariance (section 3, Eckart-Young-Mirsky).

    mean: (pixels,). components: (code_dim, pixels), orthonormal rows, by falling variance.
    variances: (code_dim,), the covariance's largest eigenvalues, in squared pixel units.
    """

    mean: Tensor
    components: Tensor
    variances: Tensor

    def __init__(self, image_shape: ImageShape, settings: PcaConfig) -> None:
        require_at_most_pixels(settings.code_dim, image_shape, "pca")
        super().__init__(image_shape, settings)
        self.register_buffer("mean", torch.zeros(self.pixels))
        self.register_buffer("components", torch.zeros(self.code_dim, self.pixels))
        self.register_buffer("variances", torch.zeros(self.code_dim))

    def solve(self, source: Source) -> None:
        most, limit = most_components(len(source), self.pixels)
        if self.code_dim > most:
            raise UsageError(
                f"code_dim={self.code_dim} must be at most {most} ({limit}) for codec 'pca'"
            )
        mean, variances, components = principal_components(source, self.code_dim)
        self.mean.copy_(mean)
        self.components.copy_(components)
        # A sign that does not depend on LAPACK: the largest number of each is positive.
        turned = components.amax(dim=1) < -components.amin(dim=1)
        self.components[turned] *= -1
        self.variances.copy_(variances.clamp_min(0))

    def truncated(self, code_dim: int) -> "Pca":
        """PCA with the first `code_dim` of these components."""
        fewer = Pca(self.image_shape, PcaConfig(code_dim=code_dim))
        fewer.mean.copy_(self.mean)
        fewer.components.copy_(self.components[:code_dim])
        fewer.variances.copy_(self.variances[:code_dim])
        return fewer

    def seen(self, batch: Batch) -> Tensor:
        """A pixel that is not valid counts as the mean, as it does where PCA is solved for."""
        return filled(batch, self.mean.view(self.image_shape))

    def encode(self, images: Tensor) -> Tensor:
        self._require_images(images)
        return (images.flatten(start_dim=1) - self.mean) @ self.components.T

    def decode(self, codes: Tensor) -> Tensor:
        self._require_codes(codes)
        return (codes @ self.components + self.mean).unflatten(1, self.image_shape)

    def count_parameters(self) -> int:
        return self.mean.numel() + self.components.numel()
