"""A convolutional autoencoder for images of any size, with a linear path beside it if asked for."""

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aecli import codecs
from aecli.codecs.base import LEAST_VARIANCE, Codec
from aecli.codecs.settings import CODECS, ConvConfig
from aecli.data.images import (
    Batch,
    ImageShape,
    Source,
    mean_image,
    squared_errors,
    weighted_mean,
)

_LEAST_SCALE = 1e-3  # of the largest one of a path's codes
_LEAST_MEAN = 0.01  # of a channel, where the sigmoid is not flat yet


class Conv(Codec):
    """Stages that each shrink the grid and go through residual blocks, a bare linear code, and the
    mirror image up.

    A stage moves the pixels of each small square into channels, which costs nothing and keeps all
    of them (Shi et al., "Real-time single image and video super-resolution using an efficient
    sub-pixel convolutional neural network", CVPR 2016), then mixes them by a 3x3 convolution. The
    blocks are plain convolutions and ReLUs, each begun at the identity (Zhang, Dauphin & Ma, "Fixup
    initialization", ICLR 2019); nothing is normalised over a batch, so that no image depends on the
    others. Padding repeats the edge; what is decoded there is cut off.

    With a path the code is the path's, each number brought to a spread of about 1, plus what the
    network adds to it; the picture is the path's of that code, plus the network's, cut to [0, 1]
    where nothing is trained. Without one, a sigmoid is the last, and training begins around each
    channel's mean: else the first steps of Adam all go one way, to where the sigmoid is flat and
    nothing is learned any more.
    """

    path: Codec | None
    path_mean: Tensor
    path_scale: Tensor

    def __init__(self, image_shape: ImageShape, settings: ConvConfig) -> None:
        super().__init__(image_shape, settings)
        width, factors = settings.width, settings.factors(image_shape)
        self._grids = settings.grids(image_shape)
        self._padded = (self._grids[0][0] * factors[0], self._grids[0][1] * factors[0])
        self._width = width
        down: list[nn.Module] = []
        up: list[nn.Module] = []
        channels = image_shape[0]
        for factor in factors:
            edge = channels * factor**2
            down += [_Squares(factor), _convolution(edge, width), *_blocks(settings)]
            up = [
                *_blocks(settings),
                nn.ReLU(),
                _convolution(width, edge),
                _Unsquared(factor),
                *up,
            ]
            channels = width
        height, across = self._grids[-1]
        features = width * height * across
        self.down = nn.Sequential(*down, nn.ReLU())
        self.code = nn.Linear(features, settings.encoded)
        self.features = nn.Linear(self.code_dim, features)
        self.up = nn.Sequential(*up)
        self.path = None
        if settings.path != "none":
            linear = CODECS[settings.path](name=settings.path, code_dim=self.code_dim)
            self.path = codecs.build(linear, image_shape)
            self.register_buffer("path_mean", torch.zeros(self.code_dim))
            self.register_buffer("path_scale", torch.ones(self.code_dim))
            _begin_at_zero(self.code)
            _begin_at_zero(self._last)

    @property
    def code_layers(self) -> tuple[nn.Linear, nn.Linear]:
        return self.code, self.features

    @property
    def _last(self) -> nn.Conv2d:
        """The last convolution, which makes the pixels."""
        return cast(nn.Conv2d, self.up[-2])

    @torch.no_grad()
    def begin(self, source: Source) -> None:
        super().begin(source)
        if self.path is None:
            means = mean_image(source).flatten(start_dim=1).mean(dim=1)
            biases = means.clamp(_LEAST_MEAN, 1 - _LEAST_MEAN).logit()
            assert self._last.bias is not None
            self._last.bias.copy_(biases.repeat_interleave(len(self._last.bias) // len(biases)))
            return
        self.path.solve(source)
        batches = (batch.to(self.device) for batch in source.batches())
        codes = torch.cat([self.path.encode(self.path.seen(b)).cpu() for b in batches]).double()
        spread = codes.std(dim=0, correction=0)
        least = (spread.max() * _LEAST_SCALE).clamp_min(1e-6)
        self.path_mean.copy_(codes.mean(dim=0))
        self.path_scale.copy_(spread.clamp_min(least))
        if self.settings.is_variational:  # it begins at the path's pictures, not at the mean one
            errors = [squared_errors(self.path.reconstruct(b), b) for b in source.batches()]
            found = weighted_mean(*(torch.cat(parts) for parts in zip(*errors, strict=True)))
            self.log_sigma.fill_(0.5 * math.log(max(found, LEAST_VARIANCE)))

    def seen(self, batch: Batch) -> Tensor:
        return batch.images if self.path is None else self.path.seen(batch)

    def encode(self, images: Tensor) -> Tensor:
        return self._encoded(images)[:, : self.code_dim]

    def _encoded(self, images: Tensor) -> Tensor:
        self._require_images(images)
        height, width = self._padded
        edges = (0, width - images.shape[3], 0, height - images.shape[2])
        padded = F.pad(images, edges, mode="replicate") if any(edges) else images
        features = self.down(padded)
        numbers: Tensor = self.code(features.permute(0, 2, 3, 1).flatten(start_dim=1))
        if self.path is None:
            return numbers
        with torch.autocast(images.device.type, enabled=False):
            codes = (self.path.encode(images) - self.path_mean) / self.path_scale
            return numbers + F.pad(codes, (0, numbers.shape[1] - self.code_dim))

    def decode(self, codes: Tensor) -> Tensor:
        pixels = self._decoded(codes)
        if self.path is None:
            return pixels.sigmoid()
        with torch.autocast(codes.device.type, enabled=False):
            sums = pixels + self.path.decode(codes * self.path_scale + self.path_mean)
        return sums if self.training else sums.clamp(0, 1)

    def logits(self, codes: Tensor) -> Tensor:
        return self._decoded(codes) if self.path is None else super().logits(codes)

    def _decoded(self, codes: Tensor) -> Tensor:
        """Output (N, C, H, W) of the network alone for codes."""
        self._require_codes(codes)
        height, width = self._grids[-1]
        features = self.features(codes).view(-1, height, width, self._width).permute(0, 3, 1, 2)
        _, height, width = self.image_shape
        pixels: Tensor = self.up(features)[:, :, :height, :width]
        return pixels

    def count_parameters(self) -> int:
        return super().count_parameters() + (self.path.count_parameters() if self.path else 0)

    def hold_constants(self) -> None:
        if self.path is not None:
            self.path.hold_constants()

    def require_sound(self) -> None:
        if self.path is None:
            return
        self.path.require_sound()
        if not (self.path_scale > 0).all():
            raise ValueError("the scale of its linear path is not positive")


class _Squares(nn.Module):
    """The pixels of each square of f by f as channels: (N, C f^2, H/f, W/f) of (N, C, H, W).

    Channels are last in memory: convolutions on a CPU are quicker so.
    """

    def __init__(self, factor: int) -> None:
        super().__init__()
        self._factor = factor

    def forward(self, images: Tensor) -> Tensor:
        n, channels, height, width = images.shape
        f = self._factor
        squares = images.view(n, channels, height // f, f, width // f, f).permute(0, 2, 4, 1, 3, 5)
        rows = squares.reshape(n, height // f, width // f, channels * f * f).permute(0, 3, 1, 2)
        return rows.contiguous(memory_format=torch.channels_last)  # as they are, unless f is 1


class _Unsquared(nn.Module):
    """The images (N, C, H, W) whose squares of f by f are the channels (N, C f^2, H/f, W/f)."""

    def __init__(self, factor: int) -> None:
        super().__init__()
        self._factor = factor

    def forward(self, squares: Tensor) -> Tensor:
        n, channels, height, width = squares.shape
        f = self._factor
        channels //= f * f
        pixels = squares.unflatten(1, (channels, f, f)).permute(0, 1, 4, 2, 5, 3)
        return pixels.reshape(n, channels, height * f, width * f)


class _Block(nn.Module):
    """x + b(relu(a(relu(x)))), with b begun at 0."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.a, self.b = _convolution(width, width), _convolution(width, width)
        _begin_at_zero(self.b)

    def forward(self, images: Tensor) -> Tensor:
        changes: Tensor = self.b(self.a(images.relu()).relu())
        return images + changes


def _blocks(settings: ConvConfig) -> list[nn.Module]:
    return [_Block(settings.width) for _ in range(settings.depth)]


def _begin_at_zero(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


def _convolution(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel_size=3, padding=1)
