"""One figure of every kind, in every odd shape, and what is read off them."""

import math

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Text

from aecli import figures

RNG = np.random.default_rng(0)
TITLE = "What is drawn (a-folder-of-photographs-whose-name-is-as-long-as-people-make-them, code 32)"
ONE_WORD = "x" * 200


def texts_of(figure: Figure) -> list[Text]:
    """The texts that are seen; a tick out of view is not."""
    found = [*figure.texts, figure._suptitle, *([figure._supxlabel] if figure._supxlabel else [])]
    for legend in legends_of(figure):
        found += [*legend.get_texts(), legend.get_title()]
    for axes in figure.findobj(mpl.axes.Axes):
        found += [*axes.texts, axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label]
        if axes.axison:
            for axis in (axes.xaxis, axes.yaxis):
                low, high = sorted(axis.get_view_interval())
                ticks = zip(axis.get_majorticklocs(), axis.get_majorticklabels(), strict=False)
                found += [label for place, label in ticks if low <= place <= high]
    return [t for t in dict.fromkeys(found) if t.get_visible() and t.get_text().strip()]


def covers(a, b):
    x = min(a.x1, b.x1) - max(a.x0, b.x0)
    y = min(a.y1, b.y1) - max(a.y0, b.y0)
    return x > 2 and y > 2


def laid_out(figure: Figure) -> Figure:
    """The same figure, with everything in its place; quicker than drawing it."""
    figure.draw_without_rendering()
    return figure


def legends_of(figure: Figure) -> list[Legend]:
    beside = [axes.get_legend() for axes in figure.axes]
    return [*figure.legends, *(legend for legend in beside if legend)]


def legend_of(figure: Figure) -> list[str]:
    [legend] = legends_of(figure)
    return [text.get_text() for text in legend.get_texts()]


def pictures(*shape):
    return RNG.random(shape)


def decoded(n, channels=1, size=(28, 28), name="decoded"):
    return figures.Decoded(name, pictures(n, channels, *size), RNG.random(n) / 50, 0.0123)


def reconstructions(n, channels=1, size=28, pca=True, masked=False):
    sides = (size, size) if isinstance(size, int) else size
    codecs = [decoded(n, channels, sides)]
    codecs += [decoded(n, channels, sides, "PCA-32")] if pca else []
    originals = pictures(n, channels, *sides)
    valid = masks(n, *sides) if masked else None
    return figures.reconstructions(originals, codecs, ["median"] * n, TITLE, masks=valid)


def training_curve(epochs, baseline=("PCA-32, test", 0.0168), title=TITLE, further=0):
    train = np.geomspace(0.0673, 0.01, epochs)
    val = np.full(epochs, np.nan) if epochs == 2 else train * 1.02
    counted = 1 + np.arange(epochs)
    terms = {f"term {i}": (train - i, val - i) for i in range(further)}
    return figures.training_curve(counted, train, val, train[-1] * 1.01, baseline, title, terms)


def code_scatter(classes, spread=1.0, n=400, names=()):
    labels = np.arange(n) % classes if classes else None
    return figures.code_scatter(RNG.normal(size=(n, 2)) * spread, labels, TITLE, names)


def named(classes):
    """Names of classes as folders have them, all alike but for their ends."""
    kinds = ("sea_or_lake", "herbaceous vegetation, dry", "_$x$", "forest")
    return [f"{kinds[label % len(kinds)]} {label}" for label in range(classes)]


def masks(n, height, width):
    """(n, height, width), some pixels of all images but the first not valid."""
    there = np.ones((n, height, width), dtype=bool)
    for i in range(1, n):
        there[i, : height // 2, : 1 + width * i // n] = False
    return there


def code_units(k, with_pca=True, correlated=True):
    codes = RNG.normal(size=(5 * k + 2, k))
    correlation = np.atleast_2d(np.corrcoef(codes.T)) if correlated else None
    variances = codes.var(axis=0)
    return figures.code_units(variances, variances if with_pca else None, correlation, TITLE)


def kl_units(k, active=1.0):
    shown = np.arange(k) < round(active * k)
    return figures.kl_units(np.where(shown, RNG.uniform(1, 4, k), 0.01), shown, TITLE)


def beta_curve(betas, collapsed=False):
    points = [figures.ConversionPoint(None, 0.0048, 525.0, False)]
    for i, beta in enumerate(betas):
        ended = collapsed and beta == betas[-1]
        points.append(
            figures.ConversionPoint(
                beta, 0.0042 * (1 + beta) ** 0.5, 300.0 - 20 * i + 700 * ended, ended
            )
        )
    return figures.beta_curve(points, TITLE)


def code_maps(classes, n=400):
    maps = []
    for name, spread in (("plain", 9.0), ("variational", 1.0)):
        labels = None if classes is None else np.arange(n) % classes
        side = np.linspace(-3 * spread, 3 * spread, 40)
        holes = np.hypot(*np.meshgrid(side, side)) > 2 * spread
        codes = RNG.normal(size=(n, 2)) * spread
        maps.append(figures.CodeMap(name, codes, labels, side, side, holes))
    return figures.code_maps(maps, TITLE)


def curves(kinds, seeds=3, epochs=10, title=TITLE, name="20260101T000000Z-train-mlp32 +2"):
    falling = np.geomspace(0.1, 0.01, epochs)
    named = [
        figures.Curve(f"{i}: {name}", [falling * (1 + i / 9 + j / 99) for j in range(seeds)])
        for i in range(kinds)
    ]
    return figures.curves(named, "val_mse", title)


def ordered(k, components=None):
    units = [*range(1, min(k, 32) + 1), *([k // 2, k] if k > 32 else [])]
    mse = np.geomspace(0.05, 0.005, len(units))
    pca = 0.06 * np.exp(-np.array(units) / 30)
    pca[np.array(units) > (k if components is None else components)] = np.nan
    return figures.ordered(units, mse, pca, TITLE)


def tradeoff(dims, sd=0.001, wide=True, printed=True, mse=None):
    mse = mse or [0.04 / (1 + i) for i in range(len(dims))]
    points = [figures.TradeoffPoint(k, m, sd, False) for k, m in zip(dims, mse, strict=True)]
    points += [figures.TradeoffPoint(dims[-1], 0.0012, sd, True)] if wide else []
    line = np.unique(np.geomspace(1, dims[-1], 20).round().astype(int))
    pca = (line, 0.06 * np.exp(-line / 30))
    chapter = {2: 0.052, 8: 0.028, 32: 0.02, 784: 0.0} if printed else {}
    return figures.tradeoff(points, pca, chapter, TITLE)


def downsampling(factors, sd=1e-4):
    kinds = ("dc", "dc without shortcuts", "kl", "conv")
    lines = [
        (kind, list(factors), [0.001 * (i + 1) * f**0.2 for f in factors], [sd] * len(factors))
        for i, kind in enumerate(kinds)
    ]
    levels = [("PCA", 4e-4), ("DCT", 3e-4), ("rotated DCT", 2.5e-4), ("thumbnail", 5e-4)]
    return figures.downsampling(lines, levels, TITLE)


def comparison(dims, sd=True):
    falling = [0.05 / (1 + i) for i in range(len(dims))]
    lines = [
        ("network (mlp)", [m / 2 for m in falling], [0.001] * len(dims) if sd else None),
        ("PCA", falling, None),
        ("linear autoencoder", falling, None),
        ("DCT, lowest frequencies", [1.5 * m for m in falling], None),
        ("DCT of rotated channels", [1.3 * m for m in falling], None),
        ("thumbnail", [math.nan, *(1.8 * m for m in falling[1:])], None),
    ]
    return figures.comparison(dims, lines, TITLE)


def chapter_training(seeds, epochs=5, printed=True):
    losses = np.geomspace(0.0691, 0.0208, epochs) * RNG.uniform(0.98, 1.02, (seeds, epochs))
    chapter = {0: 0.0461, 1: 0.0292, 4: 0.0204} if printed else {}
    return figures.chapter_training(losses, chapter, TITLE)


def interpolation(steps, holes=True, channels=1, rows=2, read_as="a\nb", masked=False):
    in_hole = (np.arange(steps) % 2 == 1) & holes
    row = figures.PathRow(
        "this codec", pictures(steps, channels, 28, 28), in_hole, [read_as] * steps
    )
    originals = pictures(2, channels, 28, 28)
    t = np.linspace(0, 1, steps)
    note = "Under each image what it means, in as many words as it takes to say it. " * 3
    beside = figures.PathRow("nearest", row.decoded, in_hole & False, ["c"] * steps, on_path=False)
    codecs = [row, beside, *[row] * (rows - 1)]
    valid = masks(2, 28, 28) if masked else None
    ends = ("a 3", "an 8")
    return figures.interpolation_row(originals, ends, t, codecs, note, TITLE, masks=valid)


def plane(hole=True, edge=True, path=((0.1, 0.0), (1.9, 0.5))):
    x, y = np.linspace(0, 2, 30), np.linspace(-1, 1, 20)
    distances = np.hypot(*np.meshgrid(x - 1, y))
    steps = np.linspace(*path, 5)
    in_hole = np.array([hole, False, False, False, hole])
    return figures.Plane(x, y, distances, 0.7 if edge else 9.0, steps, in_hole, ("3", "8"))


def latent_map(**kind):
    codes = np.column_stack([RNG.uniform(-0.5, 2, 500), RNG.uniform(-1, 1, 500)])
    return figures.latent_map(codes, plane(**kind), TITLE)


def decoder_grid(channels=1, height=28, **kind):
    return figures.decoder_grid(pictures(4, 4, channels, height, 28), plane(**kind), TITLE)


def hole_rates(codecs=2, rate=0.01):
    rates = {f"codec {i}": np.array([0, rate, 2 * rate, 0]) for i in range(codecs)}
    real = {name: 0.011 + 0.002 * i for i, name in enumerate(rates)}
    return figures.hole_rates(np.linspace(0, 1, 4), rates, real, 500, TITLE)


def sample_grids(rows, channels=1, shown=()):
    samples = [pictures(12 - i, channels, 28, 28) for i in range(rows)]
    names = ["test images, decoded", *[f"sampler {i}" for i in range(1, rows)]]
    scores = {"Frechet\ndistance": ["1281.3"] * rows, "classifier's\nconfidence": ["0.50"] * rows}
    return figures.sample_grids(samples, names, scores, "What the scores mean. " * 9, TITLE, shown)


def code_ranges(k):
    return figures.code_ranges(np.sort(RNG.normal(size=(5, k)), axis=0), TITLE)


def decoded_grid(n, rows, channels=1, size=(28, 28), name="gaussian"):
    images = pictures(n, channels, *size)
    codecs = [(f"{784 * i} {name}", images, 0.01234) for i in range(1, rows + 1)]
    return figures.decoded_grid(images, codecs, "mean test mse\nof 3 seeds", TITLE)


def sheet(n, channels, height, width, splits=True):
    images, there = pictures(n, channels, height, width), masks(n, height, width)
    captions = [f"IMG_2024_{i:05}.jpeg\n{name}" for i, name in enumerate(named(n))]
    marks = [("train", "val", "test")[i % 3] for i in range(n)] if splits else ()
    return figures.sheet(images, captions, TITLE, "As training would see them.", there, marks)


def label_curves(counts=(10, 100, 6000), curves=3, sd=0.01):
    drawn = [
        figures.LabelCurve(
            ("mlp-32", "PCA-32", "pixels")[i],
            counts,
            [0.9 - 0.2 / (1 + n) - 0.05 * i for n in range(len(counts))],
            [sd] * len(counts),
            0.97 - 0.01 * i,
            i,
        )
        for i in range(curves)
    ]
    return figures.label_curves(drawn, TITLE)


def shares(n, missing=False, sd=0.01):
    """Three contestants, the last without some of its shares; one is the largest there is."""
    values = RNG.uniform(0.2, 0.95, (3, n))
    values[0, 0] = 1
    if missing:
        values[2, : n // 2 + 1] = math.nan
    names = ("mlp-32", "PCA-32", "pixels")
    return [figures.Shares(names[i], values[i], [sd] * n, i) for i in range(3)]


def share_bars(n, **kind):
    names = [f"Gaussian mixture, accuracy {i}, in words" for i in range(n)]
    return figures.share_bars(names, shares(n, **kind), TITLE)


def class_scores(names, sd=0.01, series=3):
    every = shares(len(names), sd=sd)[:series]
    return figures.class_scores(names, {"by both": every, "by error": every[:1]}, TITLE)


CASES = {
    "reconstructions": lambda: reconstructions(11),
    "reconstructions of one image": lambda: reconstructions(1),
    "reconstructions in colour, large": lambda: reconstructions(5, 3, 96),
    "reconstructions of four channels": lambda: reconstructions(3, 4, pca=False),
    "reconstructions of two channels, masked": lambda: reconstructions(11, 2, masked=True),
    "reconstructions of tiny images, masked": lambda: reconstructions(11, 1, 8, masked=True),
    "reconstructions of wide images": lambda: reconstructions(11, 3, (32, 128)),
    "reconstructions of high images": lambda: reconstructions(11, 3, (128, 32)),
    "reconstructions of very large images": lambda: reconstructions(3, 6, 512, masked=True),
    "training_curve": lambda: training_curve(5),
    "training_curve of one epoch": lambda: training_curve(1, None),
    "training_curve without validation": lambda: training_curve(2),
    "training_curve of a loss of three terms": lambda: training_curve(5, further=2),
    "training_curve of many epochs": lambda: training_curve(120),
    "training_curve titled in one word": lambda: training_curve(3, title=ONE_WORD),
    "code_scatter": lambda: code_scatter(10),
    "code_scatter in a heap": lambda: code_scatter(10, 1e-6),
    "code_scatter of one class": lambda: code_scatter(1),
    "code_scatter of 30 classes": lambda: code_scatter(30),
    "code_scatter of 100 classes": lambda: code_scatter(100),
    "code_scatter of few": lambda: code_scatter(3, n=3),
    "code_scatter without labels": lambda: code_scatter(0),
    "code_scatter of 2 names": lambda: code_scatter(2, names=["cat", "dog"]),
    "code_scatter of 10 names": lambda: code_scatter(10, names=named(10)),
    "code_scatter of 37 names": lambda: code_scatter(37, names=named(37)),
    "kl_units of 1": lambda: kl_units(1),
    "kl_units of 32, some of them active": lambda: kl_units(32, 0.6),
    "kl_units of 50, collapsed": lambda: kl_units(50, 0.0),
    "beta_curve of 2": lambda: beta_curve((4.0, 8.0)),
    "beta_curve to the end": lambda: beta_curve((1.0, 4.0, 8.0, 16.0, 40.0, 100.0), True),
    "code_maps": lambda: code_maps(10),
    "code_maps of many classes": lambda: code_maps(40),
    "code_maps without classes": lambda: code_maps(None),
    "code_units of 1": lambda: code_units(1),
    "code_units of 2": lambda: code_units(2),
    "code_units of 32": lambda: code_units(32),
    "code_units of 200": lambda: code_units(200, with_pca=False),
    "code_units of many": lambda: code_units(5000, correlated=False),
    "curves of one": lambda: curves(1, 1, 1),
    "curves of 4": lambda: curves(4),
    "curves of 40": lambda: curves(40, 5, 100),
    "curves of odd names": lambda: curves(2, name="_$x^$ " + "x" * 90, title="a $_{$ b"),
    "ordered of 2": lambda: ordered(2),
    "ordered of 32": lambda: ordered(32),
    "ordered of 784": lambda: ordered(784),
    "ordered beside PCA of 20": lambda: ordered(100, 20),
    "ordered without PCA": lambda: ordered(100, 0),
    "tradeoff": lambda: tradeoff((2, 8, 16, 32, 64, 784)),
    "tradeoff that rises": lambda: tradeoff((2, 8, 784), mse=[0.04, 0.02, 0.05]),
    "tradeoff of one seed": lambda: tradeoff((2, 8, 32), float("nan"), False, False),
    "tradeoff of one dimension": lambda: tradeoff((1,), wide=False),
    "tradeoff of close dimensions": lambda: tradeoff((28, 29, 30, 31, 32, 33, 34)),
    "tradeoff of copies": lambda: tradeoff((2, 784), 0.0, mse=[0.04, 0.0]),
    "downsampling": lambda: downsampling((8, 16, 32, 64, 128)),
    "downsampling of one factor and seed": lambda: downsampling((32,), float("nan")),
    "comparison": lambda: comparison((2, 8, 16, 32)),
    "comparison of one dimension and seed": lambda: comparison((32,), False),
    "comparison of many": lambda: comparison(tuple(range(1, 41))),
    "unit_mix of 1": lambda: figures.unit_mix(np.ones((1, 1)), TITLE),
    "unit_mix": lambda: figures.unit_mix(RNG.normal(size=(32, 32)) / 6, TITLE),
    "chapter_training": lambda: chapter_training(3),
    "chapter_training of one seed": lambda: chapter_training(1),
    "chapter_training of another dataset": lambda: chapter_training(1, 1, False),
    "interpolation": lambda: interpolation(10),
    "interpolation in two steps": lambda: interpolation(2, False),
    "interpolation in many": lambda: interpolation(23, channels=4),
    "interpolation with names, masked": lambda: interpolation(
        10, channels=3, read_as="read as\nherbac…on, dry", masked=True
    ),
    "interpolation without a classifier": lambda: interpolation(10, channels=2, read_as=""),
    "latent_map": latent_map,
    "latent_map of a short path": lambda: latent_map(path=((1, 0), (1.001, 0))),
    "latent_map to the corners": lambda: latent_map(path=((0, -1), (2, 1)), edge=False),
    "decoder_grid": decoder_grid,
    "decoder_grid of high images": lambda: decoder_grid(4, 56, hole=False),
    "hole_rates": hole_rates,
    "hole_rates of one codec": lambda: hole_rates(1, 0.0),
    "sample_grids": lambda: sample_grids(8),
    "sample_grids of one": lambda: sample_grids(1, 3),
    "code_ranges of 1": lambda: code_ranges(1),
    "code_ranges of 32": lambda: code_ranges(32),
    "code_ranges of 784": lambda: code_ranges(784),
    "decoded_grid": lambda: decoded_grid(10, 6),
    "decoded_grid of one": lambda: decoded_grid(1, 1, 3),
    "decoded_grid of wide images": lambda: decoded_grid(12, 3, 3, (16, 128), "a\nb\nc"),
    "sample_grids of six channels": lambda: sample_grids(3, 6, (3, 2, 1)),
    "label_curves": label_curves,
    "label_curves to little more": lambda: label_curves((10, 100, 120)),
    "label_curves of one": lambda: label_curves((7,), 1, math.nan),
    "label_curves of very many": lambda: label_curves((10, 100, 250_000)),
    "share_bars": lambda: share_bars(6),
    "share_bars of one, partly": lambda: share_bars(1, missing=True, sd=math.nan),
    "share_bars of four": lambda: share_bars(4, missing=True),
    "class_scores": lambda: class_scores([str(i) for i in range(10)]),
    "class_scores of one, one seed": lambda: class_scores(["a"], math.nan, 2),
    "class_scores of 100 names": lambda: class_scores(named(100)),
    "sheet": lambda: sheet(36, 3, 64, 64),
    "sheet of one": lambda: sheet(1, 1, 28, 28),
    "sheet of wide images": lambda: sheet(5, 6, 32, 128, splits=False),
    "sheet of high images": lambda: sheet(20, 13, 96, 24),
}
