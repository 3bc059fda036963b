"""One training in its run folder: its history, its checkpoints, and its end on a signal."""

import time
from collections.abc import Callable
from dataclasses import asdict

import torch

from aecli import interrupts
from aecli.codecs.base import Codec
from aecli.config import NetworkConfig
from aecli.counts import count
from aecli.data.images import Images
from aecli.errors import DataError, DivergedError, Interrupted
from aecli.runs.context import Context
from aecli.runs.folder import RunDir
from aecli.training.loop import EpochRecord, State, fit


def train_codec(
    codec: Codec, images: Images, config: NetworkConfig, context: Context, run_dir: RunDir
) -> list[EpochRecord]:
    """A record per epoch of fitting `codec`, in history.csv too; none if it is solved for.

    On divergence the last good weights are saved before DivergedError is passed on.
    """
    if codec.settings.solved:
        with context.terminal.working(f"solving for {config.codec.name}"):
            codec.solve(images.train.images)
        run_dir.write_csv("history.csv", [])
        return []
    images.require_batch(config.train.batch_size)
    train, val = (split.images.to(codec.device) for split in (images.train, images.val))
    order = torch.Generator().manual_seed(config.seed)
    state, records = _last_checkpoint(context, run_dir)
    with (
        interrupts.deferred() as signalled,
        context.terminal.watching(config.train.epochs) as watch,
    ):
        keep = _keeper(run_dir, records, config.checkpoint_seconds, signalled)
        try:
            for record in fit(codec, train, val, config.train, order, watch, keep, state):
                records.append(record)
                run_dir.write_csv("history.csv", [asdict(r) for r in records])
                context.terminal.epoch(record, config.train.epochs)
        except DataError as error:
            raise DataError(f"{run_dir.path}/checkpoint: {error}") from None
        except DivergedError as error:
            run_dir.save_model(codec, config)
            raise DivergedError(
                f"{error}\nthe last good model is in {run_dir.path}/model"
            ) from None
    return records


def _last_checkpoint(context: Context, run_dir: RunDir) -> tuple[State | None, list[EpochRecord]]:
    """The point that an earlier process reached in this run; says so, and what could not be read.

    Raises DataError for a checkpoint that another version of aecli wrote.
    """
    found, faults = run_dir.load_checkpoint()
    context.terminal.warn(faults)
    if found is None:
        return None, []
    try:
        records = [EpochRecord.from_row(row) for row in found.history]
    except DataError as error:
        raise DataError(f"{run_dir.path}/checkpoint: {error}") from None
    step = int(found.state.get("step", torch.tensor(0)))
    context.terminal.say(f"going on after step {step}, {count(len(records), 'epoch')} done")
    return found.state, records


def _keeper(
    run_dir: RunDir,
    records: list[EpochRecord],
    seconds: float,
    signalled: Callable[[], int | None],
) -> Callable[[Callable[[], State]], None]:
    """The function that `fit` calls after every step: it saves the state when that is due, or on a
    signal, and then raises Interrupted."""
    saved = time.monotonic()

    def keep(take: Callable[[], State]) -> None:
        nonlocal saved
        number = signalled()
        if number is None and time.monotonic() - saved < seconds:
            return
        run_dir.save_checkpoint(take(), [asdict(record) for record in records])
        saved = time.monotonic()
        if number is not None:
            raise Interrupted(number)

    return keep
