"""The codecs of latent diffusion, around diffusers' classes: AutoencoderKL and AutoencoderDC.

Rombach et al., "High-resolution image synthesis with latent diffusion models", CVPR 2022; Chen et
al., "Deep compression autoencoder for efficient high-resolution diffusion models", ICLR 2025.
"""

import importlib
import math
from abc import abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aecli.codecs import pretrained
from aecli.codecs.base import Codec
from aecli.codecs.grid_settings import DcConfig, GridConfig, KlConfig
from aecli.data.images import ImageShape, Source, mean_image
from aecli.errors import DataError, UsageError

_FIRST_DEVIATION = 0.1  # of each posterior, where training begins
_LOG_VARIANCES = -30.0, 20.0  # diffusers' bounds
_NO_MODEL = ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError


class Grid(Codec):
    """A model of diffusers as a codec whose code is a grid (c, h, w).

    The model sees pixels in [-1, 1]; sides that are no multiple of its factor are padded by
    repeating the edge, and what is decoded there is cut off. Codes are those of the model times its
    `scaling_factor`. What is decoded is cut to [0, 1] where nothing is trained.
    """

    settings: GridConfig
    model: Any
    """The model of diffusers, an nn.Module."""

    def __init__(self, image_shape: ImageShape, settings: GridConfig) -> None:
        self._layers: Any = settings.layers(image_shape)
        channels, of_code = self._layers.channels
        if channels != image_shape[0]:
            raise UsageError(
                f"codec.from_pretrained={settings.from_pretrained}: its model is for images of"
                f" {channels} channels, these have {image_shape[0]}"
            )
        height, width = settings.grid(image_shape, self._layers.factor)
        if settings.code_dim != of_code * height * width:
            raise UsageError(
                f"code_dim={settings.code_dim}: the code of codec.from_pretrained for"
                f" {image_shape[1]}x{image_shape[2]} pixels is {of_code}x{height}x{width}, which"
                f" makes {of_code * height * width}"
            )
        super().__init__(image_shape, settings, (of_code, height, width))
        self._padded = height * self._layers.factor, width * self._layers.factor
        try:
            self.model = self._model()
        except _NO_MODEL as error:
            kind = UsageError if settings.from_pretrained is None else DataError
            raise kind(
                f"codec {settings.name!r}: diffusers makes no model of these layers:"
                f" {type(error).__name__} {str(error).strip()[:200]}"
            ) from None

    @abstractmethod
    def _model(self) -> Any:
        """The model of diffusers, untrained."""

    @abstractmethod
    def _decoded(self, codes: Tensor) -> Tensor:
        """Pixels (N, C, H, W) around [-1, 1] that the model decodes codes (N, c, h, w) to."""

    @property
    @abstractmethod
    def _last(self) -> nn.Conv2d:
        """The layer that gives the pixels."""

    def solve(self, source: Source) -> None:
        self._take_pretrained(source)

    @torch.no_grad()
    def begin(self, source: Source) -> None:
        super().begin(source)
        if self.settings.from_pretrained is not None:
            self._take_pretrained(source)
        else:  # at the mean colour, which a shuffle takes from as many channels for each
            means = mean_image(source).flatten(start_dim=1).mean(dim=1)
            bias = self._last.bias
            assert bias is not None
            bias.copy_((2 * means - 1).repeat_interleave(len(bias) // len(means)))

    @torch.no_grad()
    def _take_pretrained(self, source: Source) -> None:
        """Give the model the weights of the folder that the settings name. Raises DataError, also
        where the first image does not decode to finite numbers."""
        folder = self.settings.from_pretrained
        assert folder is not None
        tensors = pretrained.weights(folder, self.model.state_dict())
        self.model.load_state_dict(tensors)
        is_training = self.training
        self.eval()
        try:
            image = source.first(1).all().images.to(self.device)
            decoded = self._decoded(self.encode(image))
        except RuntimeError as error:
            raise DataError(f"{folder}: its layers take no image: {error}") from None
        if not decoded.isfinite().all():
            raise DataError(f"{folder}: what it decodes has numbers that are not finite")
        self.train(is_training)

    def _seen_by_model(self, images: Tensor) -> Tensor:
        self._require_images(images)
        height, width = self._padded
        edges = (0, width - images.shape[3], 0, height - images.shape[2])
        padded = F.pad(images, edges, mode="replicate") if any(edges) else images
        return 2 * padded - 1

    def decode(self, codes: Tensor) -> Tensor:
        self._require_codes(codes)
        _, height, width = self.image_shape
        pixels = (self._decoded(codes)[:, :, :height, :width].float() + 1) / 2
        return pixels if self.training else pixels.clamp(0, 1)


class Kl(Grid):
    """diffusers' AutoencoderKL: at each place of the grid a Gaussian of codes, whose log-variances
    lie in [-30, 20], as they do there."""

    settings: KlConfig

    def _model(self) -> Any:
        arguments = self._layers.model_dump()
        return _diffusers().AutoencoderKL(**arguments)

    @property
    def _last(self) -> nn.Conv2d:
        return self.model.decoder.conv_out

    @torch.no_grad()
    def begin(self, source: Source) -> None:
        super().begin(source)
        if self.settings.from_pretrained is None:  # at narrow Gaussians, which keep what is encoded
            self.model.quant_conv.bias[self.code_shape[0] :] = 2 * math.log(_FIRST_DEVIATION)

    def encode(self, images: Tensor) -> Tensor:
        return self._moments(images)[0]

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        means, log_variances = self._moments(images)
        scale = 2 * math.log(self._layers.scaling_factor)
        bounded = log_variances.float().clamp(*_LOG_VARIANCES) + scale
        return means.float().flatten(start_dim=1), bounded.flatten(start_dim=1)

    def _moments(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Means and unbounded log-variances, each (N, c, h, w)."""
        found = self.model.encoder(self._seen_by_model(images))
        if self.model.quant_conv is not None:
            found = self.model.quant_conv(found)
        means, log_variances = found.chunk(2, dim=1)
        return (means - self._shift) * self._layers.scaling_factor, log_variances

    def _decoded(self, codes: Tensor) -> Tensor:
        own = codes / self._layers.scaling_factor + self._shift
        if self.model.post_quant_conv is not None:
            own = self.model.post_quant_conv(own)
        return self.model.decoder(own)

    @property
    def _shift(self) -> float:
        return self._layers.shift_factor or 0.0


class Dc(Grid):
    """diffusers' AutoencoderDC, with or without its shortcuts."""

    settings: DcConfig

    def _model(self) -> Any:
        model = _diffusers().AutoencoderDC(**self._layers.model_dump())
        if not self.settings.shortcuts:
            for module in model.modules():
                if type(module).__name__ in ("DCDownBlock2d", "DCUpBlock2d"):
                    module.shortcut = False
        return model

    @property
    def _last(self) -> nn.Conv2d:
        last = self.model.decoder.conv_out
        return last if isinstance(last, nn.Conv2d) else last.conv

    @property
    def middle(self) -> list[nn.Parameter]:
        """The two coarsest levels of both sides, and the layers that give and take the code."""
        encoder, decoder = self.model.encoder, self.model.decoder
        levels = (*encoder.down_blocks[-2:], *decoder.up_blocks[-2:])
        layers = (encoder.conv_out, decoder.conv_in, *levels)
        return [parameter for layer in layers for parameter in layer.parameters()]

    def encode(self, images: Tensor) -> Tensor:
        return self.model.encoder(self._seen_by_model(images)) * self._layers.scaling_factor

    def _decoded(self, codes: Tensor) -> Tensor:
        return self.model.decoder(codes / self._layers.scaling_factor)


def _diffusers() -> Any:
    """The module diffusers. Raises UsageError, naming the extra, where it is absent."""
    try:
        return importlib.import_module("diffusers")
    except ModuleNotFoundError as error:
        if error.name != "diffusers":
            raise
        raise UsageError(
            "the codecs kl and dc are those of diffusers: pip install 'aecli[diffusion]'"
        ) from None
