"""A codec that starts from another one's numbers, as a variational one from a plain one."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from aecli.codecs.base import LEAST_VARIANCE, MAX_LOG_VARIANCE, Codec
from aecli.counts import count
from aecli.data.images import Source
from aecli.errors import UsageError
from aecli.measure import metrics

_LEAST_SHARE = 1e-4  # of the largest variance, from which on a direction of the code is scaled up
_FIRST_DEVIATION = 0.1  # of each new posterior, where codes have a variance of 1


@dataclass(frozen=True)
class Inheritance:
    """Tensors that a codec took over, and those that it has of its own."""

    taken: tuple[str, ...]
    """Names of the tensors that have the other codec's numbers."""
    changed: tuple[str, ...] = ()
    """Names of those around the code, that give means by the other's numbers, and variances that
    are new; every image decodes as before."""
    new: tuple[str, ...] = ()
    """Names of those that are new."""
    whitened: bool = False
    """True if codes have mean 0 and covariance I now."""

    def in_words(self) -> str:
        """A sentence on all of them."""
        parts = [f"{count(len(self.taken), 'tensor')} as they are"]
        if self.changed:
            how = "codes of mean 0 and covariance I" if self.whitened else "the same codes"
            parts.append(f"{', '.join(self.changed)} for {how} as means, with new variances")
        parts += [f"new: {', '.join(self.new)}"] if self.new else []
        return "; ".join(parts)


def inherit(codec: Codec, ancestor: Codec, source: Source) -> Inheritance:
    """Give `codec` the numbers of `ancestor`, a trained codec of the same settings; a variational
    codec takes those of a plain one too, a grid those of a grid for images of another size.

    source: images that the ancestor was trained on. Raises UsageError for other codecs.
    """
    _require_alike(codec, ancestor)
    there = ancestor.state_dict()
    if codec.settings.is_variational == ancestor.settings.is_variational:
        codec.load_state_dict(there)
        return Inheritance(tuple(there))
    own = codec.state_dict()
    around = {tensor.data_ptr() for layer in codec.code_layers for tensor in layer.parameters()}
    changed = tuple(name for name, tensor in own.items() if tensor.data_ptr() in around)
    taken = tuple(name for name in there if name not in changed)
    for name in taken:
        own[name].copy_(there[name])
    whitened = ancestor.settings.begins_with is None
    with torch.no_grad():
        _recode(codec, ancestor, _whitening(metrics.encode(ancestor, source)) if whitened else None)
        error = max(metrics.mse(ancestor, source), LEAST_VARIANCE)
        codec.log_sigma.fill_(0.5 * math.log(error))
    new = tuple(name for name in own if name not in (*taken, *changed))
    return Inheritance(taken, changed, new, whitened)


def _require_alike(codec: Codec, ancestor: Codec) -> None:
    """Raises UsageError, naming what differs, unless one codec can take the other's numbers."""
    ours, theirs = codec.settings, ancestor.settings
    free = {"variational", "code_dim"} if ours.any_size else {"variational"}
    if ours.name != theirs.name:
        differ = [f"{theirs.name}, not {ours.name}"]
    else:
        differ = [
            f"{key}={getattr(theirs, key)}, not {value}"
            for key, value in ours
            if key not in free and value != getattr(theirs, key)
        ]
    if ours.any_size:
        there, here = (
            f"{each.image_shape[0]} channels and codes of {each.code_shape[0]}"
            for each in (ancestor, codec)
        )
    else:
        there, here = str(ancestor.image_shape), str(codec.image_shape)
    if there != here:
        differ.append(f"for images of {there}, not {here}")
    if theirs.is_variational and not ours.is_variational:
        differ.append("variational, not plain")
    if differ:
        raise UsageError(f"train.init_from: its codec is another one: {'; '.join(differ)}")


@dataclass(frozen=True)
class _Map:
    """An affine map of codes (N, k) and its inverse, all float64 on the CPU."""

    mean: Tensor
    """(k,), taken off first."""
    there: Tensor
    """(k, k)."""
    back: Tensor
    """(k, k)."""


def _recode(codec: Codec, ancestor: Codec, mapped: _Map | None) -> None:
    """Set the layers around the code: means that are the ancestor's codes, mapped; narrow Gaussians
    about these; the same images. Beside a linear path, by which codes go too, nothing is mapped."""
    k = ancestor.code_dim
    if mapped is None:
        one = torch.eye(k, dtype=torch.float64)
        mapped = _Map(one.new_zeros(k), one, one)
    (encoder, decoder), (to_codes, from_codes) = ancestor.code_layers, codec.code_layers
    weight, bias = _numbers(encoder)
    to_codes.weight[:k].copy_(mapped.there.T @ weight)
    to_codes.bias[:k].copy_(mapped.there.T @ (bias - mapped.mean))
    to_codes.weight[k:] = 0
    first = 2 * math.log(_FIRST_DEVIATION)
    to_codes.bias[k:] = MAX_LOG_VARIANCE * math.atanh(first / MAX_LOG_VARIANCE)
    weight, bias = _numbers(decoder)
    from_codes.weight.copy_(weight @ mapped.back.T)
    from_codes.bias.copy_(bias + weight @ mapped.mean)


def _whitening(codes: Tensor) -> _Map:
    """The map of codes (N, k) to mean 0 and covariance I, the direction of most variance first.

    One that has next to none stays small, as it would be rounding's noise otherwise.
    """
    exact = codes.double()
    mean = exact.mean(dim=0)
    covariance = torch.cov(exact.T, correction=0).reshape(len(mean), len(mean))
    values, vectors = torch.linalg.eigh(covariance)
    values, vectors = values.flip(0), vectors.flip(1)
    scales = values.clamp_min(max(float(values[0]) * _LEAST_SHARE, 1e-300)).sqrt()
    return _Map(mean, vectors / scales, (vectors * scales).T)


def _numbers(layer: nn.Linear) -> tuple[Tensor, Tensor]:
    """Weight and bias in float64, which is on the CPU only: Apple's GPUs have none."""
    return layer.weight.detach().cpu().double(), layer.bias.detach().cpu().double()
