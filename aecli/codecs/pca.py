"""Principal component analysis as a codec: the best linear one at its code dimension."""

import torch
from torch import Tensor

from aecli.codecs.base import ClosedFormCodec, require_at_most_pixels
from aecli.config import PcaConfig
from aecli.data.images import ImageShape, to_unit
from aecli.errors import UsageError


class Pca(ClosedFormCodec):
    """Projection onto the top-k eigenvectors of the covariance (section 3, Eckart-Young-Mirsky).

    mean: (pixels,). components: (code_dim, pixels), orthonormal rows, by falling variance.
    variances: (code_dim,), the covariance's largest eigenvalues, in squared pixel units.
    """

    mean: Tensor
    components: Tensor
    variances: Tensor

    def __init__(self, image_shape: ImageShape, config: PcaConfig) -> None:
        require_at_most_pixels(config.code_dim, image_shape, "pca")
        super().__init__(image_shape, config.code_dim)
        self.register_buffer("mean", torch.zeros(self.pixels))
        self.register_buffer("components", torch.zeros(self.code_dim, self.pixels))
        self.register_buffer("variances", torch.zeros(self.code_dim))

    def solve(self, images: Tensor) -> None:
        from sklearn.decomposition import PCA

        if self.code_dim > len(images):
            raise UsageError(
                f"code_dim={self.code_dim} must be at most {len(images)} (training images)"
                " for codec 'pca'"
            )
        pixels = to_unit(images.cpu()).flatten(start_dim=1).numpy()
        pca = PCA(n_components=self.code_dim, svd_solver="covariance_eigh").fit(pixels)
        self.mean.copy_(torch.from_numpy(pca.mean_))
        self.components.copy_(torch.from_numpy(pca.components_))
        self.variances.copy_(torch.from_numpy(pca.explained_variance_))

    def truncated(self, code_dim: int) -> "Pca":
        """PCA with the first `code_dim` of these components."""
        fewer = Pca(self.image_shape, PcaConfig(code_dim=code_dim))
        fewer.mean.copy_(self.mean)
        fewer.components.copy_(self.components[:code_dim])
        fewer.variances.copy_(self.variances[:code_dim])
        return fewer

    def encode(self, images: Tensor) -> Tensor:
        return (images.flatten(start_dim=1) - self.mean) @ self.components.T

    def decode(self, codes: Tensor) -> Tensor:
        return (codes @ self.components + self.mean).unflatten(1, self.image_shape)

    def count_parameters(self) -> int:
        return self.mean.numel() + self.components.numel()
