"""Ways to draw codes that no image was encoded to, each from the training codes alone."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits
from torch import Generator, Tensor

from aecli.codespace.flow import steps_for, trained_flow
from aecli.codespace.region import Whitening
from aecli.measure.distances import nearest_distances

MIXTURE_SIZES = (1, 2, 3, 5, 10, 20, 40)
MIXTURE_CODES = 10_000  # codes a mixture is fitted on, at most
MIXTURE_CODES_PER_UNIT = 5  # fewer per component and unit, and its covariance is mostly chance
MIXTURE_FLOOR = 1e-4  # added to each component's variances, of codes whitened to variance 1
JITTER = 0.5  # the length of the jitter, in typical distances between neighbouring codes
_PROBES = 1000  # codes whose nearest neighbours say what a typical distance is


@dataclass(frozen=True)
class Drawn:
    """Codes from a sampler, and what it found out on the way."""

    codes: Tensor
    """(n, k) float32."""
    found: Mapping[str, float] = field(default_factory=dict)
    """Numbers for the user, such as `mixture_components`."""
    kept: Mapping[str, Tensor] = field(default_factory=dict)
    """Tensors trained for them, which the run's folder keeps; empty where nothing was."""


Sampler = Callable[[Tensor, int, Generator], Drawn]
"""(training codes (N, k), n, generator) -> n codes; the same seed gives the same codes."""

ClassSampler = Callable[[Tensor, Tensor, Tensor, Generator], Drawn]
"""(training codes (N, k), their classes (N,), classes to draw (n,), generator) -> n codes, one of
each class that is asked for; the same seed gives the same codes."""


def standard_normal(training: Tensor, n: int, generator: Generator) -> Drawn:
    """Codes from N(0, I), the chapter's guess at a typical code; `training` is not looked at."""
    return Drawn(torch.randn((n, training.shape[1]), generator=generator))


def gaussian(training: Tensor, n: int, generator: Generator) -> Drawn:
    """Codes from a Gaussian with each unit's own mean and variance, the units independent."""
    noise = torch.randn((n, training.shape[1]), generator=generator)
    return Drawn(training.mean(dim=0) + noise * training.std(dim=0, correction=0))


def full_gaussian(training: Tensor, n: int, generator: Generator) -> Drawn:
    """Codes from a Gaussian with the codes' mean and full covariance."""
    whitening = Whitening.of(training)
    noise = torch.randn((n, whitening.matrix.shape[1]), generator=generator)
    return Drawn(whitening.undo(noise))


def mixture(training: Tensor, n: int, generator: Generator) -> Drawn:
    """Codes from a mixture of full-covariance Gaussians, as many as BIC chooses."""
    seeds = torch.randint(2**31, (2,), generator=generator).tolist()
    chosen = training[torch.randperm(len(training), generator=generator)[:MIXTURE_CODES]]
    whitening = Whitening.of(chosen)
    if not whitening.matrix.shape[1]:  # all codes are the same one
        return Drawn(training[:1].repeat(n, 1), {"mixture_components": 1})
    model = fit_mixture(whitening(chosen), seeds[0])
    model.random_state = seeds[1]  # else the draw would repeat the stream that began the fit
    points = torch.from_numpy(model.sample(n)[0]).float()
    shuffled = points[torch.randperm(n, generator=generator)]  # they come sorted by component
    return Drawn(whitening.undo(shuffled), {"mixture_components": model.n_components})


def jittered(training: Tensor, n: int, generator: Generator) -> Drawn:
    """Real codes, each moved in a random direction of the whitened space.

    The root mean square length of a move is JITTER times the typical distance between neighbours.
    """
    whitening = Whitening.of(training)
    length = JITTER * neighbour_distance(whitening(training), generator)
    rank = whitening.matrix.shape[1]
    # Scale by length, not by deviation per unit: noise of deviation s has length s sqrt(k), and
    # at k = 32 half a neighbour's distance in every unit would be almost three of them.
    moves = torch.randn((n, rank), generator=generator) * (length / rank**0.5)
    sources = training[torch.randint(len(training), (n,), generator=generator)]
    return Drawn(sources + whitening.undo(moves) - whitening.mean, {"jitter_length": float(length)})


def flow(training: Tensor, n: int, generator: Generator) -> Drawn:
    """Codes that a trained flow carries N(0, I) to (`codespace.flow`)."""
    if bool((training == training[:1]).all()):
        return Drawn(training[:1].repeat(n, 1), {"flow_parts": 1, "flow_steps": 0})
    trained = trained_flow(training, generator)
    found = {
        "flow_parts": len(trained.parts.counts),
        "flow_steps": steps_for(len(training), trained.network.products),
    }
    return Drawn(trained.draw(n, generator), found, trained.tensors())


def flow_of_classes(
    training: Tensor, labels: Tensor, wanted: Tensor, generator: Generator
) -> Drawn:
    """Codes by one flow for all classes, which is told the class of each code."""
    trained = trained_flow(training, generator, labels)
    return Drawn(trained.draw(len(wanted), generator, wanted), kept=trained.tensors())


def of_each_class(sampler: Sampler) -> ClassSampler:
    """The sampler that draws each class by `sampler` from the codes of this class alone."""

    def draw(training: Tensor, labels: Tensor, wanted: Tensor, generator: Generator) -> Drawn:
        codes = training.new_empty((len(wanted), training.shape[1]))
        for label in wanted.unique().tolist():
            of_class = wanted == label
            alone = training[labels == label]
            codes[of_class] = sampler(alone, int(of_class.sum()), generator).codes
        return Drawn(codes)

    return draw


SAMPLERS: dict[str, Sampler] = {
    "standard-normal": standard_normal,
    "gaussian": gaussian,
    "full-gaussian": full_gaussian,
    "mixture": mixture,
    "jittered": jittered,
    "flow": flow,
}

CLASS_SAMPLERS: dict[str, ClassSampler | None] = {
    "standard-normal": None,
    "flow": flow_of_classes,
}
"""Those of SAMPLERS that draw a class in another way than from its codes alone; None: not at all,
for N(0, I) is the same for all classes."""


def class_samplers() -> dict[str, ClassSampler]:
    """The samplers that draw codes of a class, by name."""
    every = {name: of_each_class(sampler) for name, sampler in SAMPLERS.items()} | CLASS_SAMPLERS
    return {name: sampler for name, sampler in every.items() if sampler is not None}


def fit_mixture(points: Tensor, seed: int) -> GaussianMixture:
    """The Gaussian mixture of lowest BIC (Schwarz 1978) among MIXTURE_SIZES.

    points: (N, r), whitened, so that the floor under the variances means the same in every
    direction. Sizes with fewer than MIXTURE_CODES_PER_UNIT codes per component and unit are not
    tried; 1 always is.
    """
    array = points.double().numpy()
    affordable = len(array) / (MIXTURE_CODES_PER_UNIT * array.shape[1])
    best, best_bic = None, np.inf
    # One BLAS thread: the products are small, and threads that wait for each other on a busy
    # machine take far longer. A fit stopped early is still a mixture; BIC judges it so.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for size in MIXTURE_SIZES:
            if size > max(affordable, 1):
                break
            model = GaussianMixture(size, reg_covar=MIXTURE_FLOOR, random_state=seed).fit(array)
            bic = model.bic(array)
            if best is None or bic < best_bic:
                best, best_bic = model, bic
    return best


def neighbour_distance(points: Tensor, generator: Generator) -> Tensor:
    """The median distance of a point to the nearest other one, of points (N, r); N at least 2."""
    order = torch.randperm(len(points), generator=generator)
    probes = min(_PROBES, len(points) // 2)
    return nearest_distances(points[order[:probes]], points[order[probes:]]).median()
