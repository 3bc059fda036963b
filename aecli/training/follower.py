"""The part of a training that torchrun's other processes take: the first one leads."""

import json
import signal

import torch
from safetensors.torch import load, save

from aecli import codecs, interrupts, strictjson
from aecli.codecs.base import Codec
from aecli.config import Layer, NetworkConfig, TrainConfig, resolve, settings_of
from aecli.data import datasets
from aecli.data.facts import image_shape
from aecli.data.images import Images
from aecli.data.sources import default_places
from aecli.errors import DataError, DivergedError
from aecli.processes import Place
from aecli.training import device
from aecli.training.loop import Training
from aecli.training.together import from_the_first, join


def lead(config: NetworkConfig, images: Images) -> None:
    """Tell the others the config as it runs, and which images it learns from."""
    told = {"config": settings_of(config), "sha256": images.sha256}
    from_the_first(strictjson.dump(told).encode())


def set_out(codec: Codec, training: Training) -> None:
    """Give every process the leader's numbers, of layers that are not trained too, and its state of
    the training, which may be in its midst."""
    for tensors, take in (
        (codec.state_dict(), codec.load_state_dict),
        (training.state(), training.restore),
    ):
        apart = {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}
        take(load(from_the_first(save(apart))))


def follow(place: Place, offline: bool) -> None:
    """Take this process's part in the training that the first one leads, to its end.

    Raises DataError if this process reads other images, ProcessLost if the leader ends before
    the training does. offline: True to load none from elsewhere.
    """
    _heed(signal.SIG_DFL)  # nothing is lost by an end at once, while it waits for the others
    join(place)
    told = json.loads(from_the_first())
    _heed(signal.SIG_IGN)  # the leader ends the training, in order
    config = resolve(TrainConfig, [Layer(told["config"], {})], recorded=True)
    where = device.prepare(config)
    places = default_places(config.data.dir, offline)
    images = datasets.load(config.data, places, _unsaid)
    if images.sha256 != told["sha256"]:
        raise DataError(
            f"process {place.rank} of {place.size} reads other images: their sha256 is"
            f" {images.sha256}, and the first process's {told['sha256']}"
        )
    codec = codecs.build(config.codec, image_shape(config.data)).to(where)
    order = torch.Generator().manual_seed(config.seed)
    is_warm = config.train.init_from is not None
    nothing = images.val.first(0)
    training = Training(codec, images.train, nothing, config.train, order, is_warm, place)
    set_out(codec, training)
    try:
        while not training.is_done:
            training.take_step()
            if training.is_epoch_over:
                training.end_epoch()
    except DivergedError:  # in every process alike
        from_the_first()  # wait for the leader, which keeps the last good model, to end first


def _heed(how: signal.Handlers) -> None:
    """Take the signals that end a process in one way; one that is ignored already stays so."""
    for number in interrupts.SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, how)


def _unsaid(text: str) -> None:
    """Say nothing: the first process has said it."""
