"""Codecs: anything that encodes images into codes and decodes codes into images."""

import itertools
import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from aecli.codecs.pooling import Pooling
from aecli.data.images import Batch, ImageShape, Source, pixel_variance
from aecli.errors import UsageError
from aecli.fields import CodecSection

MAX_LOG_VARIANCE = 10.0
"""Bound of a posterior's log-variances, which lie between minus and plus this: deviations from
0.007 to 148 of the prior's."""
LEAST_VARIANCE = 1e-6  # of pixels, where training begins


class Codec(nn.Module, ABC):
    """An encoder f and a decoder g (chapter, section 1), on image tensors of one shape.

    What a kind of codec can do, its `settings` say: whether it is solved for or trained, whether it
    is linear. Nobody needs to ask which class it is.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        settings: CodecSection,
        code_shape: tuple[int, ...] | None = None,
    ) -> None:
        """code_shape: shape of one code; None for a vector of `settings.code_dim` numbers."""
        super().__init__()
        self.image_shape = image_shape
        self.settings = settings
        self.code_shape = code_shape or (settings.code_dim,)
        if settings.is_variational:
            self.log_sigma = nn.Parameter(torch.zeros(()))

    @property
    def code_dim(self) -> int:
        """Numbers in one code."""
        return math.prod(self.code_shape)

    @property
    def pooling(self) -> Pooling:
        """The map from its codes to the vectors that are compared."""
        return Pooling(self.code_shape)

    def solve(self, source: Source) -> None:
        """Set a codec that is solved for from training images.

        Raises UsageError if they are too few.
        """
        raise NotImplementedError(f"{self.settings.name} is trained, not solved for")

    @torch.no_grad()
    def begin(self, source: Source) -> None:
        """Set what a training starts from, by its training images: of a variational codec the
        deviation of its pixels, which is that about the mean image; most others have nothing to
        set."""
        if self.settings.is_variational:
            self.log_sigma.fill_(0.5 * math.log(max(pixel_variance(source), LEAST_VARIANCE)))

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """Codes (N, *code_shape) float32 of images (N, C, H, W) float32 in [0, 1]; the means of a
        variational codec.

        Raises UsageError for images of another kind, type or shape, as `decode` does for codes.
        """

    @abstractmethod
    def decode(self, codes: Tensor) -> Tensor:
        """Images (N, C, H, W) float32 of codes (N, *code_shape); a linear codec's may leave
        [0, 1]."""

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Means and log-variances, each (N, k) float32, of the Gaussian of codes that a variational
        codec encodes each of images (N, C, H, W) to; the log-variances within MAX_LOG_VARIANCE of
        0.

        The last layer gives numbers of any size; a hyperbolic tangent bounds them, so that no
        exponential overflows and no gradient is cut off.
        """
        means, unbounded = self._encoded(images).float().chunk(2, dim=1)
        return means, MAX_LOG_VARIANCE * torch.tanh(unbounded / MAX_LOG_VARIANCE)

    def _encoded(self, images: Tensor) -> Tensor:
        """Output of the encoder's last layer: codes, and in a variational codec the numbers of
        log-variances behind them, (N, 2 k)."""
        raise NotImplementedError(f"{self.settings.name} is not variational")

    @property
    def code_layers(self) -> tuple[nn.Linear, nn.Linear]:
        """The layer that gives the codes and the one that takes them, of a network."""
        raise NotImplementedError(f"{self.settings.name} has no layers around its code")

    @property
    def middle(self) -> list[nn.Parameter]:
        """Parameters of the layers round the code, of a codec whose settings say `has_middle`."""
        raise NotImplementedError(f"{self.settings.name} has no middle")

    def logits(self, codes: Tensor) -> Tensor:
        """The pixels (N, C, H, W) of codes before the sigmoid. Raises UsageError for a codec that
        ends without one."""
        raise UsageError(f"codec {self.settings.name} ends in no sigmoid, so it has no logits")

    def forward(self, images: Tensor) -> Tensor:
        """Reconstructions, shaped like `images`."""
        reconstructions: Tensor = self.decode(self.encode(images).float())  # under autocast, bf16
        return reconstructions

    def seen(self, batch: Batch) -> Tensor:
        """The images (n, C, H, W) of a batch as this codec encodes them.

        A network sees 0 where a pixel is not valid and learns what that means; a transform, which
        cannot, fills such pixels (`aecli.data.images.filled`).
        """
        return batch.images

    def reconstruct(self, batch: Batch) -> Tensor:
        """Reconstructions (n, C, H, W) of a batch, whose pixels need not all be valid."""
        reconstructions: Tensor = self(self.seen(batch))
        return reconstructions

    def hold_constants(self) -> None:
        """Compute once, for good, what `encode` and `decode` compute anew each time of the codec's
        numbers alone; for an export, which can only follow shapes that no number decides."""

    def require_sound(self) -> None:
        """Raises ValueError for numbers, read from a file, that have the right shapes and yet
        cannot be this codec's."""

    def former_state(self) -> dict[str, Tensor]:
        """Tensors on the meta device that former versions saved in place of its state, where they
        follow from the settings: they are read, and not used. Empty if there are none."""
        return {}

    def _require_images(self, images: Tensor) -> None:
        hint = "with pixels in [0, 1] (aecli.data.images.to_unit divides uint8 by 255)"
        _require("images", images, self.image_shape, hint)

    def _require_codes(self, codes: Tensor) -> None:
        _require("codes", codes, self.code_shape, "one row for each image")

    @property
    def device(self) -> torch.device:
        """The device that has its numbers; every codec has some."""
        return next(iter(self.state_dict().values())).device

    @property
    def pixels(self) -> int:
        """Numbers in one image."""
        return math.prod(self.image_shape)

    @property
    def narrowest_layer(self) -> int:
        """The fewest numbers that an image passes through on its way."""
        return self.code_dim

    @property
    def compression_ratio(self) -> float:
        """Numbers in one image over numbers in its code."""
        return self.pixels / self.code_dim

    def count_parameters(self) -> int:
        """The number of numbers that were learned from the data."""
        return sum(parameter.numel() for parameter in self.parameters())


class ChainCodec(Codec):
    """A network whose encoder and decoder are chains of layers, on flattened images."""

    encoder: nn.Module
    decoder: nn.Module

    @property
    def layers(self) -> list[nn.Module]:
        """The layers, from pixels to pixels."""
        modules = itertools.chain(self.encoder.modules(), self.decoder.modules())
        return [module for module in modules if not isinstance(module, nn.Sequential)]

    @property
    def code_layers(self) -> tuple[nn.Linear, nn.Linear]:
        down, up = (
            [module for module in part.modules() if isinstance(module, nn.Linear)]
            for part in (self.encoder, self.decoder)
        )
        return down[-1], up[0]

    def encode(self, images: Tensor) -> Tensor:
        return self._encoded(images)[:, : self.code_dim]

    def decode(self, codes: Tensor) -> Tensor:
        self._require_codes(codes)
        pixels: Tensor = self.decoder(codes)
        return pixels.unflatten(1, self.image_shape)

    def logits(self, codes: Tensor) -> Tensor:
        if not isinstance(self.layers[-1], nn.Sigmoid):
            return super().logits(codes)
        assert isinstance(self.decoder, nn.Sequential)
        self._require_codes(codes)
        pixels: Tensor = self.decoder[:-1](codes)
        return pixels.unflatten(1, self.image_shape)

    def _encoded(self, images: Tensor) -> Tensor:
        self._require_images(images)
        numbers: Tensor = self.encoder(images.flatten(start_dim=1))
        return numbers


def _require(what: str, given: Any, shape: tuple[int, ...], hint: str) -> None:
    """Raises UsageError unless `given` is a float32 tensor with any number of rows of `shape`.

    Codecs are called from Python too, where uint8 images would go through PCA without an error, and
    everything else would end in torch's own words for matrices that do not fit.
    """
    if isinstance(given, Tensor):
        if given.dtype == torch.float32 and given.shape[1:] == shape:
            return
        found = f"a {str(given.dtype).removeprefix('torch.')} tensor of shape {tuple(given.shape)}"
    elif isinstance(given, np.ndarray):
        found = f"a {given.dtype} numpy array of shape {given.shape} (torch.from_numpy converts it)"
    else:
        found = f"a {type(given).__name__}"
    expected = ", ".join(map(str, ("N", *shape)))
    raise UsageError(f"{what}: {found}, expected a float32 tensor of shape ({expected}), {hint}")


def require_at_most_pixels(code_dim: int, image_shape: ImageShape, codec: str) -> None:
    """Raises UsageError if a code of an orthogonal basis would have more numbers than the image."""
    pixels = math.prod(image_shape)
    if code_dim > pixels:
        sizes = "x".join(map(str, image_shape))
        raise UsageError(
            f"code_dim={code_dim} must be at most {pixels} ({sizes} pixels) for codec {codec!r}"
        )
