"""A codec that starts from another one's numbers, as a variational one from a plain one."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from aecli.codecs.base import LOG_VARIANCES, Codec
from aecli.data.images import Source
from aecli.errors import UsageError
from aecli.measure import metrics

_LEAST_SHARE = 1e-8  # of the largest variance, that a direction of the code is scaled up from
_FIRST_DEVIATION = 0.1  # of each new posterior, where codes have a variance of 1


@dataclass(frozen=True)
class Inheritance:
    """Tensors that a codec took over, and those that it has of its own."""

    taken: tuple[str, ...]
    """Names of the tensors that have the other codec's numbers."""
    changed: tuple[str, ...]
    """Names of those that were computed from the other's, so that codes have mean 0 and covariance
    I and every image decodes as before."""
    new: tuple[str, ...]
    """Names of those that are new."""

    def in_words(self) -> str:
        """A sentence on all three."""
        parts = [
            f"{len(names)} tensors {what}" + (f" ({', '.join(names)})" if brackets else "")
            for names, what, brackets in (
                (self.taken, "as they are", False),
                (self.changed, "with codes brought to mean 0 and covariance I", True),
                (self.new, "new", True),
            )
            if names
        ]
        return "; ".join(parts)


def inherit(codec: Codec, ancestor: Codec, source: Source) -> Inheritance:
    """Give `codec` the numbers of `ancestor`, a trained codec of the same settings; a variational
    codec takes those of a plain one too.

    source: images that the ancestor was trained on. Raises UsageError for other codecs.
    """
    of, ours = ancestor.settings, codec.settings
    differ = (
        ["name"]
        if of.name != ours.name
        else [key for key, value in ours if key != "variational" and value != getattr(of, key)]
    )
    if ancestor.image_shape != codec.image_shape:
        differ.append("the images' shape")
    if of.is_variational and not ours.is_variational:
        differ.append("variational")
    if differ:
        raise UsageError(f"train.init_from: its codec is another one, by {', '.join(differ)}")
    there = ancestor.state_dict()
    if of.is_variational == ours.is_variational:
        codec.load_state_dict(there)
        return Inheritance(tuple(there), (), ())
    own = codec.state_dict()
    before = {name: tensor.data_ptr() for name, tensor in own.items()}
    changed = {tensor.data_ptr() for layer in codec.code_layers for tensor in layer.parameters()}
    names = tuple(name for name, pointer in before.items() if pointer in changed)
    taken = tuple(name for name in there if name not in names)
    for name in taken:
        own[name].copy_(there[name])
    with torch.no_grad():
        _recode(codec, ancestor, source)
        error = max(metrics.mse(ancestor, source), 1e-12)
        codec.log_sigma.fill_(0.5 * math.log(error))
    return Inheritance(taken, names, tuple(name for name in own if name not in (*taken, *names)))


def _recode(codec: Codec, ancestor: Codec, source: Source) -> None:
    """Set the layers around the code: means that are the ancestor's codes, whitened where a linear
    layer alone makes them and alone takes them; narrow Gaussians about these; the same images."""
    (encoder, decoder), (to_codes, from_codes) = ancestor.code_layers, codec.code_layers
    k = ancestor.code_dim
    mean = torch.zeros(k, dtype=torch.float64)
    there = back = torch.eye(k, dtype=torch.float64)
    if ancestor.settings.begins_with is None:
        mean, there, back = _whitening(metrics.encode(ancestor, source))
    to_codes.weight[:k] = (there.T @ encoder.weight.double()).float()
    to_codes.bias[:k] = (there.T @ (_bias(encoder) - mean)).float()
    to_codes.weight[k:] = 0
    to_codes.bias[k:] = LOG_VARIANCES * math.atanh(2 * math.log(_FIRST_DEVIATION) / LOG_VARIANCES)
    from_codes.weight.copy_(decoder.weight.double() @ back.T)
    from_codes.bias.copy_(_bias(decoder) + decoder.weight.double() @ mean)


def _whitening(codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The mean (k,) of codes (N, k), a map (k, k) of codes less the mean to covariance I, most
    variance first, and the map back, all float64."""
    exact = codes.double()
    mean = exact.mean(dim=0)
    covariance = torch.cov(exact.T, correction=0).reshape(len(mean), len(mean))
    values, vectors = torch.linalg.eigh(covariance)
    values, vectors = values.flip(0), vectors.flip(1)
    scales = values.clamp_min(max(float(values[0]) * _LEAST_SHARE, 1e-300)).sqrt()
    return mean, vectors / scales, (vectors * scales).T


def _bias(layer: nn.Linear) -> Tensor:
    return layer.bias.double()
