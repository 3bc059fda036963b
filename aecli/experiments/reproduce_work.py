"""Evidence on what codes are good for, for `aecli reproduce`: images read, grouped and retrieved by
them, odd ones told, fast search and cheap storage."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from aecli import figures
from aecli.chapter import Search, Storage, Work
from aecli.codecs.base import Codec
from aecli.codecs.pca import Pca
from aecli.codespace.nearest import nearest
from aecli.codespace.quantiser import Quantiser
from aecli.config import (
    AnomalySection,
    DeformationNoise,
    EvaluateConfig,
    FitConfig,
    ReproduceConfig,
    with_values,
)
from aecli.data.images import Images, Source
from aecli.experiments.evaluate_anomaly import anomaly, classes_alone, mean_over_classes
from aecli.experiments.evaluate_parts import (
    CODES,
    PCA,
    PIXELS,
    Seen,
    most_side_by_side,
    retrieve,
    thinned,
)
from aecli.measure import clustering, metrics, probes
from aecli.measure.clustering import agreement
from aecli.measure.eight_bits import Pixels, in_bytes, mse, read, written
from aecli.measure.seeds import spread
from aecli.runs.context import Context
from aecli.runs.folder import RunDir
from aecli.training.jobs import Job, Trained, train_all
from aecli.training.measuring import measure_all

_MEASURES = {
    "probe_accuracy": "read by a linear classifier",
    "kmeans_accuracy": "classes found by k-means",
    "retrieval_map": "retrieval by class, mAP",
    "anomaly_auroc": "odd among one class, AUROC",
}
_SCORES = ("anomaly_auroc_error", "anomaly_auroc_density")
_LOOKED_AT = 10_000  # training and test images, at most: pixels of all would take minutes
_EPOCHS_ALONE = 5  # of codecs of one class each
_BENT = 1.0  # pixels by which their images are bent, as configs/anomaly does
_QUERIES, _REPEATS = 100, 3
_BITS, _STORED = 6, 1000  # bits of a number; test images that are stored, the first ones
_LEAST = 1e-12  # error that stands for none
_QUALITIES = (1, 3, 5, 8, 12, 17, 25, 35, 50, 65, 75, 85, 95)


def measure_work(
    plain: Sequence[Trained],
    pca: Pca,
    images: Images,
    config: ReproduceConfig,
    run_dir: RunDir,
    context: Context,
) -> dict[str, Work]:
    """Measures of codes at work, by name, beside PCA's and pixels; a picture.

    plain: a training for each seed; the same nets are trained with a deformed input, and decode
    what was not. Odd images are told by codecs of one class each, trained for a few epochs on
    images as they are and on bent ones, by the better of two scores (`evaluate_anomaly.anomaly`),
    whoever's; left out where no class has enough images.
    """
    jobs = deformed_jobs(plain)
    trainings = train_all(jobs, images, config, run_dir, context)
    trainings.require_all()
    ways: dict[str, Sequence[Codec | None]] = {
        "plain": [each.codec for each in plain],
        "deformed": [trainings.done[job].codec for job in jobs],
        "pca": [pca],
        "pixels": [None],
    }
    found = _read_and_grouped(ways, images, config, run_dir, context)
    for way, values in _odd_ones(plain[0], images, config, run_dir, context).items():
        found[way]["anomaly_auroc"] = values
    work = {
        name: Work(
            plain=found["plain"][name],
            deformed=found["deformed"][name],
            pca=found["pca"][name][0],
            pixels=found["pixels"][name][0],
        )
        for name in _MEASURES
        if name in found["plain"]
    }
    _draw(work, pca.code_dim, images, run_dir)
    return work


def deformed_jobs(plain: Sequence[Trained]) -> list[Job]:
    """The same trainings with images deformed at the input."""
    noise = DeformationNoise()
    return [replace(each.job, fit=with_values(each.job.fit, {"noise": noise})) for each in plain]


def _read_and_grouped(
    ways: Mapping[str, Sequence[Codec | None]],
    images: Images,
    config: ReproduceConfig,
    run_dir: RunDir,
    context: Context,
) -> dict[str, dict[str, list[float]]]:
    """Measures of each way to look at images, by name, a value for each of its codecs."""
    asked = [(way, (codec, config.seed)) for way, those in ways.items() for codec in those]
    text = "putting codes to work"
    tasks = [task for _, task in asked]
    measured = measure_all(_measured, tasks, images, config, run_dir, context, text)
    found: dict[str, dict[str, list[float]]] = {way: {} for way in ways}
    for (way, _), values in zip(asked, measured, strict=True):
        for name, value in values.items():
            found[way].setdefault(name, []).append(value)
    return found


def _measured(images: Images, task: tuple[Codec | None, int]) -> dict[str, float]:
    """Three of the measures of `aecli evaluate`, of a codec (None: of pixels), with a seed."""
    codec, seed = task
    most = min(_LOOKED_AT, most_side_by_side(images.test.pixels))
    train, test = thinned(images.train, most), thinned(images.test, most)
    seen = Seen.through(codec, train, test, images.train.classes)
    labels, test_labels = seen.all_labels
    clusters = clustering.kmeans(seen.training, seen.test, seen.classes, seed)
    return {
        "probe_accuracy": probes.linear_probe_accuracy(
            seen.training, labels, seen.test, test_labels
        ),
        "kmeans_accuracy": agreement(clusters, test_labels.numpy())["accuracy"],
        "retrieval_map": retrieve(seen, [seed])["retrieval_map"][0],
    }


def _odd_ones(
    trained: Trained,
    images: Images,
    config: ReproduceConfig,
    run_dir: RunDir,
    context: Context,
) -> dict[str, list[float]]:
    """The mean AUROC over classes by each way to look at images; empty where no class has enough
    images."""
    test = thinned(images.test, min(_LOOKED_AT, most_side_by_side(images.test.pixels)))
    fit = trained.job.fit
    bent = {"elastic": _BENT, "elastic_fraction": 1.0}
    fits = {"plain": fit, "deformed": with_values(fit, bent)}
    found: dict[str, list[float]] = {}
    for way, own in fits.items():
        alone = _alone(trained, own, config)
        if not classes_alone(alone, images.train, test):
            return {}
        others = [PCA, PIXELS] if way == "plain" else []
        by_class = anomaly(alone, images, test, [CODES, *others], run_dir, context)
        for name, prefix in {way: CODES, "pca": PCA, "pixels": PIXELS}.items():
            if prefix in by_class:
                means = mean_over_classes(by_class[prefix])
                each = [means[key] for key in _SCORES if key in means]
                found[name] = max(each, key=statistics.fmean)
    return found


def _alone(trained: Trained, fit: FitConfig, config: ReproduceConfig) -> EvaluateConfig:
    """Settings of the codecs that learn one class alone."""
    return EvaluateConfig(
        seed=config.seed,
        device=config.device,
        threads=config.threads,
        jobs=config.jobs,
        engine=config.engine,
        scheduler=config.scheduler,
        seeds=config.seeds,
        data=config.data,
        codec=trained.job.codec,
        train=fit,
        parts=("anomaly",),
        anomaly=AnomalySection(epochs=_EPOCHS_ALONE),
    )


def _draw(work: Mapping[str, Work], code_dim: int, images: Images, run_dir: RunDir) -> None:
    ways: dict[str, tuple[int, Callable[[Work], Sequence[float]]]] = {
        f"codes of {code_dim}": (0, lambda one: one.plain),
        "the same, images deformed in training": (3, lambda one: one.deformed),
        f"PCA-{code_dim}": (1, lambda one: [one.pca]),
        "pixels": (2, lambda one: [one.pixels]),
    }
    series = []
    for label, (place, values) in ways.items():
        each = [values(one) for one in work.values()]
        means, sds = [statistics.fmean(one) for one in each], [spread(one) for one in each]
        series.append(figures.Shares(label, means, sds, place))
    title = f"Codes at work ({images.title})"
    names = [words for name, words in _MEASURES.items() if name in work]
    run_dir.save_figure("work", figures.share_bars(names, series, title))


def measure_search(codec: Codec, images: Images) -> Search:
    """Seconds of one exact search among training images by codes and by pixels, in turns: medians
    over searches for the first test images."""
    most = most_side_by_side(images.train.pixels)
    train, test = images.train.first(most), images.test.first(_QUERIES)
    archives = {
        "codes": (metrics.encode(codec, train), metrics.encode(codec, test)),
        "pixels": (_as_pixels(train), _as_pixels(test)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in archives}
    for _ in range(_REPEATS):
        for name, (among, queries) in archives.items():
            started = time.perf_counter()
            nearest(among.numpy(), queries.numpy(), 10)
            seconds[name].append((time.perf_counter() - started) / len(queries))
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    return Search(len(train), medians["codes"], medians["pixels"])


def _as_pixels(source: Source) -> Tensor:
    return torch.cat([batch.images for batch in source.batches()]).flatten(start_dim=1)


@torch.no_grad()
def measure_storage(trained: Sequence[Trained], images: Images) -> list[Storage]:
    """Codes of each seed in bits, for the first test images, beside JPEG at no more error."""
    test = images.test.first(_STORED)
    if test.masked or test.shape[0] not in (1, 3):
        return []
    wanted = in_bytes(test.all().images)
    jpeg = _jpeg(wanted)
    found = []
    for each in trained:
        codec = each.codec
        own = metrics.encode(codec, images.train.first(_LOOKED_AT)).numpy()
        quantiser = Quantiser.fitted(_BITS, own, len(test))
        codes = metrics.encode(codec, test).numpy()
        steps = quantiser.steps(codes)
        error, rounded = (
            mse(in_bytes(metrics.decode(codec, torch.from_numpy(some))), wanted)
            for some in (codes, quantiser.codes(steps))
        )
        finest = jpeg[-1][0]
        as_good = min((size for size, loss in jpeg if loss <= rounded), default=finest)
        bits = float(quantiser.lengths(steps).mean())
        ratio = rounded / max(error, _LEAST)
        found.append(Storage(_BITS, bits, ratio, as_good))
    return found


def _jpeg(images: Pixels) -> list[tuple[float, float]]:
    """Bits of one image without the bytes that the smallest file has, and the error, of images
    (N, C, H, W) as JPEG, at each quality."""
    sizes, errors = [], []
    for quality in _QUALITIES:
        files = [written(image, "JPEG", {"quality": quality}) for image in images]
        sizes.append([len(file) for file in files])
        errors.append(mse(np.stack([read(file, images.shape[1]) for file in files]), images))
    least = min(map(min, sizes))
    means = [8 * (statistics.fmean(each) - least) for each in sizes]
    return list(zip(means, errors, strict=True))
