"""The only training loop: minibatch gradient descent on a loss, one step at a time."""

import math
import time
from collections.abc import Collection, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from aecli.codecs.base import Codec
from aecli.config import AdamConfig, DeformationNoise, FitConfig, GaussianNoise, MaskingNoise
from aecli.config.sections import NoiseConfig
from aecli.data.binary import Binarised, binarised
from aecli.data.images import Batch, Source, sent
from aecli.errors import DataError, DivergedError, ProcessLost
from aecli.processes import Place
from aecli.training import closed_form, device
from aecli.training.augmentation import deformed, elastic, mirrored, moved
from aecli.training.autograd import Autograd
from aecli.training.closed_form import ClosedForm
from aecli.training.closed_form_bound import ClosedFormOfTheBound
from aecli.training.engine import Engine
from aecli.training.feed import Feed
from aecli.training.losses import evaluate
from aecli.training.optimizers import Adam, Muon, Optimizer
from aecli.training.ordered import draw_kept
from aecli.training.parameters import FlatParameters
from aecli.training.records import EpochRecord, Progress
from aecli.training.work import Replayed, Work

CHECK_EVERY = 32  # steps between looks at the loss; each look waits for the device

_SIGMA_LR = 0.01  # of the logarithm of a variational codec's sigma

State = dict[str, Tensor]
"""Tensors that a training's next step depends on, besides its images and config."""


def fit(
    codec: Codec,
    train: Source,
    val: Source,
    config: FitConfig,
    generator: torch.Generator,
    warm: bool = False,
) -> Iterator[EpochRecord]:
    """Train `codec` in place to the end, yielding a record after each epoch.

    Takes and raises what `Training` does.
    """
    training = Training(codec, train, val, config, generator, warm)
    while not training.is_done:
        training.take_step()
        if training.is_epoch_over:
            yield training.end_epoch()


class Training:
    """A training under way: `take_step` until `is_epoch_over`, then `end_epoch`, until `is_done`.

    train, val: images; train not empty. generator: a CPU generator; draws the order of the images,
    anew each epoch, the noise, and where codes are cut. A DivergedError, at a loss that is not
    finite, leaves the codec with the weights of the last epoch that ended well (or its first ones).
    """

    def __init__(
        self,
        codec: Codec,
        train: Source,
        val: Source,
        config: FitConfig,
        generator: torch.Generator,
        warm: bool = False,
        place: Place | None = None,
    ) -> None:
        """warm: True for a codec that has been trained already, whose numbers are kept. place: this
        process's among those that train it together; None if it does so alone."""
        self._codec, self._config, self._generator = codec, config, generator
        self._val = device.held(val, codec.device)
        self._is_binary = isinstance(train, Binarised)
        seen = train.grey if isinstance(train, Binarised) else train  # drawn anew in each step
        self.steps_per_epoch = math.ceil(len(train) / config.batch_size)
        self.steps = self.steps_per_epoch * config.epochs
        self.step = 0
        """Steps done, in all epochs."""
        self.seconds = 0.0
        """Seconds spent on this epoch's steps."""
        if not warm:
            codec.begin(train)
        if config.layers == "middle":
            codec.requires_grad_(False)
            for parameter in codec.middle:
                parameter.requires_grad_(True)
        self._parameters = FlatParameters(codec)
        batch_size = min(config.batch_size, len(train))
        self._engine = engine_for(codec, self._parameters, config, batch_size, train.masked)
        self._optimizers = _build_optimizers(self._parameters, config, codec.device)
        self._feed = Feed(seen, codec.device, batch_size)
        self._work = Work(self._engine, self._optimizers)
        if place is not None:
            from aecli.training.together import Together  # torch.distributed takes a moment

            gradient = self._parameters.gradient
            self._work = Together(self._engine, self._optimizers, gradient, place)
        elif codec.device.type == "cuda":
            self._work = Replayed(self._engine, self._optimizers, batch_size, codec.device)
        self._terms = torch.zeros(
            (self.steps_per_epoch, len(self._engine.terms)), device=codec.device
        )
        counted = codec.device if codec.device.type == "cuda" and train.masked else None
        self._weights = torch.zeros(self.steps_per_epoch, dtype=torch.float64, device=counted)
        self._good = {name: tensor.clone() for name, tensor in self._learned().items()}
        self._before_order = generator.get_state()
        self._batches: Iterator[Batch] | None = None
        self._means: dict[str, float] = {}
        self._lr = 0.0
        codec.train()

    @property
    def is_done(self) -> bool:
        """True if every step is taken and the last epoch ended."""
        return self.step == self.steps and self._batches is None

    @property
    def is_epoch_over(self) -> bool:
        """True if the epoch's last step is taken and `end_epoch` is due."""
        return self._batches is not None and self.step % self.steps_per_epoch == 0

    def take_step(self) -> None:
        """Take one step: a batch in, its gradient, and the weights moved by it.

        Raises DivergedError, though not before the loss is looked at, every 32 steps; ProcessLost,
        before the step is taken, where several train together and one is gone.
        """
        before = self._generator.get_state()
        try:
            self._take_step()
        except ProcessLost:
            self._generator.set_state(before)
            raise

    def _take_step(self) -> None:
        started, config = time.perf_counter(), self._config
        i = self.step % self.steps_per_epoch
        if self._batches is None:
            self._batches = self._feed.batches(self._draw_order(), i)
        batch = next(self._batches)
        if config.elastic:
            batch = elastic(batch, config.elastic, config.elastic_fraction, self._generator)
        if config.shift:
            batch = moved(batch, config.shift, self._generator)
        if config.mirror:
            batch = mirrored(batch, self._generator)
        if self._is_binary:
            batch = binarised(batch, self._generator)
        inputs = corrupt(self._codec.seen(batch), config.noise, self._generator)
        if self._codec.settings.is_variational:
            drawn = torch.randn((len(batch), self._codec.code_dim), generator=self._generator)
            batch = replace(batch, noise=sent(drawn, self._codec.device))

        loss, kept = config.loss.at(self.step / self.steps), self._draw_kept(len(batch))
        factor = learning_rate_factor(self.step, self.steps, config)
        self._terms[i] = self._work(inputs, batch, loss, kept, factor)

        self._weights[i] = len(batch) if batch.mask is None else batch.mask.sum()
        self._lr = config.optimizer.lr * factor
        self.step += 1
        if (i + 1) % CHECK_EVERY == 0 or i + 1 == self.steps_per_epoch:
            self._look(i + 1)  # waits for a GPU
        self.seconds += time.perf_counter() - started

    def end_epoch(self) -> EpochRecord:
        """The record of the epoch whose last step is taken. Raises DivergedError."""
        epoch = self.step // self.steps_per_epoch - 1
        where = f"after epoch {epoch + 1} of {self._config.epochs} (lr={self._lr:.3g})"
        if not all(bool(tensor.isfinite().all()) for tensor in self._learned().values()):
            self._take_back()  # after the last step, which no loss has seen
            raise DivergedError(f"training diverged: weights that are not finite {where}")
        self._codec.eval()
        val = evaluate(self._config.loss.at(self.step / self.steps), self._codec, self._val)
        self._codec.train()
        first = self._engine.terms[0]
        if len(self._val) and not math.isfinite(val[first]):
            self._take_back()
            raise DivergedError(f"training diverged: validation {first} {val[first]} {where}")
        for name, tensor in self._learned().items():
            self._good[name].copy_(tensor)
        record = EpochRecord(epoch, self._means, val, self._lr, self.seconds)
        self.seconds, self._batches = 0.0, None
        if self.is_done:
            self._codec.eval()
        return record

    @property
    def progress(self) -> Progress | None:
        """Progress at the last look at the loss; None if the last step was not looked at."""
        i = (self.step - 1) % self.steps_per_epoch + 1
        if not (i % CHECK_EVERY == 0 or i == self.steps_per_epoch):
            return None
        epoch, size = (self.step - 1) // self.steps_per_epoch, len(self._feed)
        images = epoch * size + min(i * self._config.batch_size, size)
        return Progress(self.step, self.steps, epoch, images, self._means)

    def state(self) -> State:
        """The state: the tensors themselves, not copies."""
        return {
            **self._tensors(),
            "step": torch.tensor(self.step),
            "seconds": torch.tensor(self.seconds, dtype=torch.float64),
            "generator": self._generator.get_state(),
            "generator_before_order": self._before_order,
            **_global_generators(self._codec.device),
        }

    def restore(self, state: State) -> None:
        """Go on from a state of a training with the same images and config, to the same bits.

        Raises DataError if it is not one of such a training.
        """
        here, state = self.state(), dict(state)
        for name in _global_generators(self._codec.device):  # form 1 had none
            state.setdefault(name, here[name])
        if "weights" not in state and "losses" in state:  # form 1 had no masks, and one term
            state["weights"] = self._full_weights()
            state["losses"] = state["losses"].view(-1, 1).expand(-1, self._terms.shape[1])
        if state.keys() != here.keys():
            raise DataError(
                f"not the state of such a training: it lacks {_listed(here.keys() - state.keys())}"
                f" and has {_listed(state.keys() - here.keys())} that has no place here"
            )
        try:
            for name, tensor in self._tensors().items():
                tensor.copy_(state[name].view(tensor.shape))
            self.step, self.seconds = int(state["step"]), float(state["seconds"])
            self._generator.set_state(state["generator"])
            self._before_order = state["generator_before_order"]
            torch.set_rng_state(state["torch_generator"])
            if "cuda_generator" in state:
                torch.cuda.set_rng_state(state["cuda_generator"], self._codec.device)
            self._batches = None
            self._codec.train(not self.is_done)
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise DataError(f"not the state of such a training: {error}") from None

    def _draw_order(self) -> Tensor:
        """This epoch's order of the images; a resumed training draws the same again."""
        if self.step % self.steps_per_epoch == 0:
            self._before_order = self._generator.get_state()
            order = torch.randperm(len(self._feed), generator=self._generator)
        else:
            again = torch.Generator()
            again.set_state(self._before_order)
            order = torch.randperm(len(self._feed), generator=again)
        return order

    def _draw_kept(self, n: int) -> Tensor | None:
        """The number of first units that each of n codes keeps in a step; None if all."""
        if not self._config.ordered:
            return None
        kept = draw_kept(n, self._codec.code_dim, self._generator)
        return sent(kept, self._codec.device)

    def _look(self, steps: int) -> None:
        """Take the running means over the epoch's first `steps` steps. Raises DivergedError."""
        terms, weights = self._terms[:steps].cpu().double(), self._weights[:steps].cpu()
        self._means = {
            name: (terms[:, i] @ weights / weights.sum().clamp_min(1e-12)).item()
            for i, name in enumerate(self._engine.terms)
        }
        if all(map(math.isfinite, self._means.values())):
            return
        self._take_back()
        bad = int((~terms.isfinite()).any(dim=1).nonzero()[0])
        wrong = (~terms[bad].isfinite()).flatten().nonzero().flatten().tolist()
        term = wrong[min(wrong[0] == 0, len(wrong) - 1)]  # the first term has others in it
        step = (self.step - 1) // self.steps_per_epoch * self.steps_per_epoch + bad
        epoch = step // self.steps_per_epoch
        lr = self._config.optimizer.lr * learning_rate_factor(step, self.steps, self._config)
        what = "loss" if len(self._engine.terms) == 1 else self._engine.terms[term]
        raise DivergedError(
            f"training diverged: {what} {terms[bad, term].item()} at step {step + 1} of"
            f" {self.steps} (epoch {epoch + 1} of {self._config.epochs}, lr={lr:.3g}); a lower --lr"
            " may help"
        )

    def _take_back(self) -> None:
        """Give the codec the weights of the last epoch that ended well."""
        for name, tensor in self._learned().items():
            tensor.copy_(self._good[name])

    def _learned(self) -> State:
        """The numbers that training changes in the codec: its parameters, and buffers."""
        buffers = {f"buffer_{name}": tensor for name, tensor in self._codec.named_buffers()}
        return {"parameters": self._parameters.vector, **buffers}

    def _tensors(self) -> State:
        """Every tensor of the state that is changed in place."""
        good = {
            "last_good" if name == "parameters" else f"last_good_{name}": tensor
            for name, tensor in self._good.items()
        }
        optimizers = {
            f"{name}_{key}": tensor
            for name, (optimizer, _) in self._optimizers.items()
            for key, tensor in optimizer.state().items()
        }
        terms = {"losses": self._terms, "weights": self._weights}
        return {**self._learned(), **good, **terms, **optimizers}

    def _full_weights(self) -> Tensor:
        """The weights of an epoch's steps where no pixel is masked."""
        sizes = torch.full_like(self._weights, float(self._config.batch_size))
        sizes[-1] = len(self._feed) - self._config.batch_size * (self.steps_per_epoch - 1)
        return sizes


def _global_generators(device: torch.device) -> State:
    """The states of torch's own generators, from which a codec or a loss may draw."""
    states = {"torch_generator": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda_generator"] = torch.cuda.get_rng_state(device)
    return states


def engine_for(
    codec: Codec,
    parameters: FlatParameters,
    config: FitConfig,
    batch_size: int,
    masked: bool = False,
) -> Engine:
    """The engine of a training: the closed form where there is one, else autograd."""
    dtype = device.product_dtype(config.precision, codec.device)
    if masked or closed_form.why_not(codec, config.loss):
        return Autograd(codec, parameters, config.loss, dtype)
    kind = ClosedFormOfTheBound if config.loss.name == "elbo" else ClosedForm
    return kind(codec, parameters, config.loss, batch_size, dtype)


def _listed(names: Collection[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"


def _build_optimizers(
    parameters: FlatParameters, config: FitConfig, where: torch.device
) -> dict[str, tuple[Optimizer, float]]:
    """Optimisers and their peak rates, by name: Adam on everything; or, under `muon`, Muon on the
    weight matrices and Adam on the rest. A single number, sigma, has a rate of its own: it has to
    follow the error, whatever the weights' rate is."""
    vector, gradient = parameters.vector, parameters.gradient
    settings, end = config.optimizer, len(vector) - parameters.numbers
    n = 0 if isinstance(settings, AdamConfig) else sum(s.numel() for s in parameters.matrices)
    adam = Adam(vector[n:end], gradient[n:end])
    found: dict[str, tuple[Optimizer, float]] = {}
    if isinstance(settings, AdamConfig):
        found["adam"] = adam, settings.lr
    else:
        dtype = device.muon_dtype(config, where)
        muon = Muon(
            vector[:n],
            gradient[:n],
            parameters.matrices,
            settings.momentum,
            settings.block_rows,
            dtype,
        )
        found |= {"muon": (muon, settings.lr), "adam": (adam, settings.adam_lr)}
    if parameters.numbers:
        found["sigma"] = Adam(vector[end:], gradient[end:]), _SIGMA_LR
    return found


def corrupt(images: Tensor, noise: NoiseConfig, generator: torch.Generator) -> Tensor:
    """Images as a denoising autoencoder sees them; `images` themselves if there is no noise.

    images: float32 in [0, 1]. generator: a CPU generator. Gaussian noise is added, masking sets
    pixels to zero (Vincent et al., "Stacked Denoising Autoencoders", JMLR 2010, section 3.3), and a
    deformation is one of `deformed`.
    """
    if isinstance(noise, GaussianNoise):
        drawn = torch.randn(images.shape, generator=generator)
        return images + noise.level * sent(drawn, images.device)
    if isinstance(noise, MaskingNoise):
        kept = torch.rand(images.shape, generator=generator) >= noise.level
        return images * sent(kept, images.device)
    if isinstance(noise, DeformationNoise):
        return deformed(images, noise, generator)
    return images


def learning_rate_factor(step: int, steps: int, config: FitConfig) -> float:
    """The learning rate of `step` (from 0) of `steps`, as a fraction of its peak, in (0, 1]."""
    position = (step + 0.5) / steps
    if position < config.warmup:
        return position / config.warmup
    remaining = (1 - position) / (1 - config.warmup)
    match config.schedule:
        case "constant":
            return 1.0
        case "linear":
            return remaining
        case "cosine":
            return 0.5 * (1 - math.cos(math.pi * remaining))
