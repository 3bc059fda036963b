"""One training in its run folder: its history, its checkpoints, and its end on a signal."""

import time
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import torch

from aecli import interrupts, processes
from aecli.codecs import store
from aecli.codecs.base import Codec
from aecli.config import NetworkConfig
from aecli.counts import count
from aecli.data.images import Images
from aecli.errors import DataError, DivergedError, Interrupted, ProcessLost
from aecli.runs.context import Context
from aecli.runs.folder import RunDir
from aecli.runs.run import Run
from aecli.training.inheritance import inherit
from aecli.training.loop import Training
from aecli.training.records import EpochRecord


def train_codec(
    codec: Codec, images: Images, config: NetworkConfig, context: Context, run_dir: RunDir
) -> list[EpochRecord]:
    """A record per epoch of fitting `codec`, in history.csv too; none if it is solved for.

    On divergence the last good weights are saved before DivergedError is passed on.
    """
    if codec.settings.solved:
        doing = "solving for" if config.codec.solved_for else "reading the weights of"
        with context.terminal.working(f"{doing} {config.codec.name}"):
            codec.solve(images.train)
        _note_pretrained(codec, run_dir)
        run_dir.write_csv("history.csv", [])
        return []
    images.require_batch(config.train.batch_size)
    place = processes.place()
    if place is not None:
        from aecli.training import follower, together  # torch.distributed takes a moment

        together.join(place)
        follower.lead(config, images)
    order = torch.Generator().manual_seed(config.seed)
    is_warm = config.train.init_from is not None
    if is_warm:
        _inherit(codec, images, config, context, run_dir)
    begun_with = None if is_warm else codec.settings.begins_with
    with context.terminal.working(f"solving for {begun_with}") if begun_with else nullcontext():
        training = Training(codec, images.train, images.val, config.train, order, is_warm, place)
    _note_pretrained(codec, run_dir)
    records = _go_on_from_checkpoint(training, config, context, run_dir)
    if place is not None:
        follower.set_out(codec, training)
    rows = [record.row() for record in records]
    saved = time.monotonic()
    with (
        interrupts.deferred() as signalled,
        context.terminal.watching(config.train.epochs) as watch,
    ):
        try:
            while not training.is_done:
                training.take_step()
                if (progress := training.progress) is not None:
                    watch(progress)
                if training.is_epoch_over:
                    records.append(training.end_epoch())
                    rows.append(records[-1].row())
                    run_dir.write_csv("history.csv", rows)
                    if context.log is not None:
                        run_dir.log_scalars(rows[-1:])
                    context.terminal.epoch(records[-1], config.train.epochs)
                signal = signalled()
                if signal is not None or time.monotonic() - saved >= config.checkpoint_seconds:
                    run_dir.save_checkpoint(training.state(), rows)
                    saved = time.monotonic()
                if signal is not None:
                    raise Interrupted(signal)
        except ProcessLost:
            run_dir.save_checkpoint(training.state(), rows)
            raise
        except DivergedError as error:
            run_dir.save_model(codec, config, images.scale)
            raise DivergedError(
                f"{error}\nthe last good model is in {run_dir.path}/model"
            ) from None
        finally:
            run_dir.close_logs()
    codec.eval()
    return records


def _inherit(
    codec: Codec, images: Images, config: NetworkConfig, context: Context, run_dir: RunDir
) -> None:
    """Give `codec` the weights of the run that the config names; say and note what was taken."""
    assert config.train.init_from is not None
    run = Run(Path(config.train.init_from))
    with context.terminal.working(f"taking over the weights of {run.path.name}"):
        ancestor = run.codec.to(codec.device)
        inheritance = inherit(codec, ancestor, images.train)
    context.terminal.say(f"weights of {run.path.name}: {inheritance.in_words()}")
    noted = {"run": str(run.path), "weights_sha256": _weights_sha256(ancestor)}
    run_dir.note(init_from=noted | asdict(inheritance))


def _note_pretrained(codec: Codec, run_dir: RunDir) -> None:
    """Note which weights of a folder a codec has begun with, if it has; a resumed run refuses
    others."""
    folder = getattr(codec.settings, "from_pretrained", None)
    if folder is not None:
        noted = {"folder": folder, "weights_sha256": _weights_sha256(codec)}
        run_dir.note(from_pretrained=noted)


def _weights_sha256(codec: Codec) -> str:
    described, _ = store.pack(codec, codec.settings)
    return str(described["weights_sha256"])


def _go_on_from_checkpoint(
    training: Training, config: NetworkConfig, context: Context, run_dir: RunDir
) -> list[EpochRecord]:
    """The records up to the point that an earlier process reached in this run, to which `training`
    is set; none in a new run. Says so, and what could not be read.

    Raises DataError for a checkpoint that another version of aecli wrote.
    """
    found, faults = run_dir.load_checkpoint()
    context.terminal.warn(faults)
    if found is None:
        return []
    terms = config.train.loss.terms
    try:
        records = [EpochRecord.from_row(row, terms) for row in found.history]
        training.restore(found.state)
    except DataError as error:
        raise DataError(f"{run_dir.path}/checkpoint: {error}") from None
    done = count(len(records), "epoch")
    context.terminal.say(f"going on after step {training.step}, {done} done")
    return records
