"""Evidence on what a code learns and what its axes are, for `aecli reproduce`: ink in one piece,
variance kept and lost, the linear case by hand, turned images, and units that are deleted."""

import time
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from aecli import codecs, figures
from aecli.chapter import Deleted, Listings, OnePiece, Turn
from aecli.chapter.evidence import Partial
from aecli.chapter.flat import ARRIVED
from aecli.chapter.listings import Linear, by_closed_form, by_gradient, lines_of
from aecli.codecs.base import Codec
from aecli.codecs.pca import Pca
from aecli.codecs.settings import DctConfig
from aecli.config import ReproduceConfig
from aecli.data.images import Images, Source, mean_image, squared_errors, weighted_mean
from aecli.experiments.evaluate_parts import thinned
from aecli.experiments.reproduce_changes import Rows, draw_rows
from aecli.measure import metrics
from aecli.measure.ink import connected
from aecli.measure.paths import chord_over_length, effective_dimension
from aecli.measure.robustness import turned
from aecli.runs.context import Context
from aecli.runs.folder import RunDir
from aecli.training.jobs import Trained

_DRAWINGS = 2000  # test digits whose pieces are counted, at most
_TURNED = 100  # test images that are turned, at most
_DEGREES = 5  # of a step of a turn
_MOST_EPOCHS = 20  # of gradient descent on the linear autoencoder, before it is given up
_SHOWN = 12  # images in a row of a picture


def measure_one_piece(
    networks: Partial[int, Sequence[Trained]], pca: Pca, images: Images, run_dir: RunDir
) -> OnePiece | None:
    """Shares of digits in one piece, and a picture of some that are decoded in more; None of images
    that are no digits."""
    if not images.digits:
        return None
    test = images.test.first(_DRAWINGS)
    decoded = networks.mapped(
        lambda trained: [_share_of_one_piece(_decoded(each.codec, test)) for each in trained]
    )
    of_pca = {k: _share_of_one_piece(_decoded(pca.truncated(k), test)) for k in networks}
    found = OnePiece(_share_of_one_piece(test.all().images), decoded, of_pca)
    _draw_pieces(found, networks, pca, images, run_dir)
    return found


def _decoded(codec: Codec, source: Source) -> Tensor:
    with torch.no_grad():
        return torch.cat([codec.reconstruct(batch) for batch in source.batches()]).clamp(0, 1)


def _share_of_one_piece(drawings: Tensor) -> float:
    return connected(drawings).double().mean().item()


def _draw_pieces(
    found: OnePiece,
    networks: Mapping[int, Sequence[Trained]],
    pca: Pca,
    images: Images,
    run_dir: RunDir,
) -> None:
    some = images.test.first(_SHOWN)
    rows: list[tuple[str, Tensor, str]] = [
        ("test images", some.all().images, f"{100 * found.real:.1f}%")
    ]
    for k in networks:
        rows += [
            (
                f"code {k}",
                _decoded(networks[k][0].codec, some),
                f"{100 * found.decoded[k][0]:.1f}%",
            ),
            (f"PCA-{k}", _decoded(pca.truncated(k), some), f"{100 * found.pca[k]:.1f}%"),
        ]
    note = (
        "The first test images, decoded. One piece: the share of test images whose ink, pixels at"
        " least half as bright as the brightest, is connected."
    )
    title = f"Is a decoded digit one piece of ink? ({images.title})"
    draw_rows("one_piece", rows, title, note, images, run_dir, "one piece")


def measure_variance(pca: Pca, linear: Codec, images: Images) -> dict[str, float]:
    """Share of the whole variance by which the variance kept and the squared error together miss
    it, on test images: of PCA, of the discrete cosine transform, and of a trained linear
    autoencoder, all with as many numbers."""
    k = linear.code_dim
    dct = codecs.build(DctConfig(code_dim=k), images.shape)
    ways: dict[str, Codec] = {"PCA": pca.truncated(k), "DCT": dct, "linear autoencoder": linear}
    return {name: _gap(codec, images) for name, codec in ways.items()}


@torch.no_grad()
def _gap(codec: Codec, images: Images) -> float:
    """The share for one codec. Variance is about the mean training image as it is decoded, the
    fixed part of an affine map."""
    mean = mean_image(images.train).float()
    middle = codec(mean.unsqueeze(0)).double()
    kept, lost, whole = 0.0, 0.0, 0.0
    for batch in images.test.batches():
        wanted, decoded = batch.images.double(), codec.reconstruct(batch).double()
        kept += (decoded - middle).square().sum().item()
        lost += (wanted - decoded).square().sum().item()
        whole += (wanted - middle).square().sum().item()
    return abs(kept + lost - whole) / whole


def measure_listings(images: Images, config: ReproduceConfig, context: Context) -> Listings:
    """Both listings run on the training images at a code of 32, one after the other."""
    k = 32
    train = torch.cat([batch.images for batch in images.train.batches()]).flatten(start_dim=1)
    started = time.perf_counter()
    mean, axes = by_closed_form(train, k)
    closed_seconds = time.perf_counter() - started
    bound = _error(train, (train - mean) @ axes.T @ axes + mean)
    with context.terminal.working("the linear case by hand"):
        started, epochs, paused = time.perf_counter(), 0, 0.0
        for model in by_gradient(train, k, config.seed):
            epochs += 1
            looked = time.perf_counter()
            with torch.no_grad():
                excess = 100 * (_error(train, model(train)[0]) / bound - 1)
            paused += time.perf_counter() - looked
            if excess <= ARRIVED or epochs == _MOST_EPOCHS:
                break
        gradient_seconds = time.perf_counter() - started - paused
    return Listings(
        code_dim=k,
        closed_lines=lines_of(by_closed_form),
        gradient_lines=lines_of(Linear, by_gradient),
        closed_seconds=closed_seconds,
        gradient_seconds=gradient_seconds,
        gradient_epochs=epochs,
        excess_percent=excess,
        angle_degrees=metrics.largest_angle_degrees(model.decoder.weight.detach(), axes.T),
    )


def _error(images: Tensor, decoded: Tensor) -> float:
    return (images - decoded).square().mean(dtype=torch.float64).item()


@torch.no_grad()
def measure_turns(
    trained: Sequence[Trained], pca: Pca, images: Images, run_dir: RunDir
) -> tuple[Turn, Turn, list[Turn]]:
    """Paths of test images through a whole turn, in pixels, in PCA's codes, and in each codec's; a
    picture of one of them."""
    some = thinned(images.test, _TURNED).all().images
    steps = [turned(some, float(degrees)).clamp(0, 1) for degrees in range(0, 361, _DEGREES)]
    ways: list[Codec] = [pca.truncated(32), *(each.codec for each in trained)]
    paths = [torch.stack([step.flatten(start_dim=1) for step in steps], dim=1)]
    paths += [torch.stack([codec.encode(step) for step in steps], dim=1) for codec in ways]
    found = [_turn(path) for path in paths]
    rows = _rows_of_turn(trained[0].codec, pca.truncated(32), steps, found)
    note = "The first of the turned test images, every 30 degrees, as it is and decoded."
    title = f"An image that is turned ({images.title})"
    draw_rows("turned", rows, title, note, images, run_dir, "chord / length")
    return found[0], found[1], found[2:]


def _turn(path: Tensor) -> Turn:
    quarter = 90 // _DEGREES + 1
    return Turn(chord_over_length(path[:, :quarter]), effective_dimension(path[:, :-1]))


def _rows_of_turn(codec: Codec, pca: Pca, steps: Sequence[Tensor], found: Sequence[Turn]) -> Rows:
    one = torch.cat([step[:1] for step in steps[: -1 : 30 // _DEGREES]])
    ways = [("pixels", one), ("PCA-32", pca(one)), ("code 32", codec(one))]
    return [
        (name, shown, f"{turn.chord:.2f}") for (name, shown), turn in zip(ways, found, strict=False)
    ]


def measure_deleted(
    trained: Sequence[Trained], pca: Pca, images: Images, run_dir: RunDir
) -> tuple[list[Deleted], Deleted]:
    """Errors of codes of 32 without each unit, of every codec and of PCA; a figure of the first."""
    found = [_deleted(each.codec, images) for each in trained]
    of_pca = _deleted(pca.truncated(32), images)
    run_dir.save_figure(
        "deleted_units",
        figures.deleted_units(
            found[0].mse,
            found[0].whole_mse,
            of_pca.mse,
            of_pca.whole_mse,
            f"Test error without one unit ({images.title}, mlp, code 32)",
        ),
    )
    return found, of_pca


@torch.no_grad()
def _deleted(codec: Codec, images: Images) -> Deleted:
    means = metrics.encode(codec, images.train).mean(dim=0)
    errors: list[list[Tensor]] = [[] for _ in range(codec.code_dim + 1)]
    weights = []
    for batch in images.test.batches():
        codes = codec.encode(codec.seen(batch))
        for unit, of_unit in enumerate(errors):
            without = codes.clone()
            if unit < codec.code_dim:
                without[:, unit] = means[unit]
            error, weight = squared_errors(codec.decode(without), batch)
            of_unit.append(error)
        weights.append(weight)
    *mse, whole = (weighted_mean(torch.cat(each), torch.cat(weights)) for each in errors)
    return Deleted(mse, whole)
