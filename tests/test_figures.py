"""Figures: all texts are in sight and none covers another, limits hold the data, and what a legend
or a sentence names is drawn."""

import io
from itertools import combinations, pairwise

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Annotation, Text

from aecli import figures
from aecli.figures.colours import class_colours, seen
from aecli.figures.style import text_width, wrapped

RNG = np.random.default_rng(0)
TITLE = "What is drawn (a-folder-of-photographs-whose-name-is-as-long-as-people-make-them, code 32)"
ONE_WORD = "x" * 200


def png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


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


def decoded(n, channels=1, side=28, name="decoded"):
    return figures.Decoded(name, pictures(n, channels, side, side), RNG.random(n) / 50, 0.0123)


def reconstructions(n, channels=1, side=28, pca=True):
    codecs = [decoded(n, channels, side)]
    codecs += [decoded(n, channels, side, "PCA-32")] if pca else []
    originals = pictures(n, channels, side, side)
    return figures.reconstructions(originals, codecs, ["median"] * n, TITLE)


def training_curve(epochs, baseline=("PCA-32, test", 0.0168), title=TITLE, further=0):
    train = np.geomspace(0.0673, 0.01, epochs)
    val = np.full(epochs, np.nan) if epochs == 2 else train * 1.02
    counted = 1 + np.arange(epochs)
    terms = {f"term {i}": (train - i, val - i) for i in range(further)}
    return figures.training_curve(counted, train, val, train[-1] * 1.01, baseline, title, terms)


def code_scatter(classes, spread=1.0, n=400):
    labels = np.arange(n) % classes
    return figures.code_scatter(RNG.normal(size=(n, 2)) * spread, labels, TITLE)


def code_units(k, with_pca=True):
    codes = RNG.normal(size=(5 * k + 2, k))
    correlation = np.atleast_2d(np.corrcoef(codes.T))
    variances = codes.var(axis=0)
    return figures.code_units(variances, variances if with_pca else None, correlation, TITLE)


def tradeoff(dims, sd=0.001, wide=True, printed=True, mse=None):
    mse = mse or [0.04 / (1 + i) for i in range(len(dims))]
    points = [figures.TradeoffPoint(k, m, sd, False) for k, m in zip(dims, mse, strict=True)]
    points += [figures.TradeoffPoint(dims[-1], 0.0012, sd, True)] if wide else []
    line = np.unique(np.geomspace(1, dims[-1], 20).round().astype(int))
    pca = (line, 0.06 * np.exp(-line / 30))
    chapter = {2: 0.052, 8: 0.028, 32: 0.02, 784: 0.0} if printed else {}
    return figures.tradeoff(points, pca, chapter, TITLE)


def comparison(dims, sd=True):
    falling = [0.05 / (1 + i) for i in range(len(dims))]
    lines = [
        ("network (mlp)", [m / 2 for m in falling], [0.001] * len(dims) if sd else None),
        ("PCA", falling, None),
        ("linear autoencoder", falling, None),
        ("DCT, lowest frequencies", [1.5 * m for m in falling], None),
    ]
    return figures.comparison(dims, lines, TITLE)


def chapter_training(seeds, epochs=5, printed=True):
    losses = np.geomspace(0.0691, 0.0208, epochs) * RNG.uniform(0.98, 1.02, (seeds, epochs))
    chapter = {0: 0.0461, 1: 0.0292, 4: 0.0204} if printed else {}
    return figures.chapter_training(losses, chapter, TITLE)


def interpolation(steps, holes=True, channels=1, rows=2):
    in_hole = (np.arange(steps) % 2 == 1) & holes
    row = figures.PathRow(
        "this codec", pictures(steps, channels, 28, 28), in_hole, ["a\nb"] * steps
    )
    originals = pictures(2, channels, 28, 28)
    t = np.linspace(0, 1, steps)
    note = "Under each image what it means, in as many words as it takes to say it. " * 3
    beside = figures.PathRow("nearest", row.decoded, in_hole & False, ["c"] * steps, on_path=False)
    codecs = [row, beside, *[row] * (rows - 1)]
    return figures.interpolation_row(originals, ("a 3", "an 8"), t, codecs, note, TITLE)


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


def sample_grids(rows, channels=1):
    samples = [pictures(12 - i, channels, 28, 28) for i in range(rows)]
    names = ["test images, decoded", *[f"sampler {i}" for i in range(1, rows)]]
    scores = {"Frechet\ndistance": ["1281.3"] * rows, "classifier's\nconfidence": ["0.50"] * rows}
    return figures.sample_grids(samples, names, scores, "What the scores mean. " * 9, TITLE)


def code_ranges(k):
    return figures.code_ranges(np.sort(RNG.normal(size=(5, k)), axis=0), TITLE)


def decoded_grid(n, rows, channels=1):
    images = pictures(n, channels, 28, 28)
    named = [(f"{784 * i} gaussian", images, 0.01234) for i in range(1, rows + 1)]
    return figures.decoded_grid(images, named, "mean test mse\nof 3 seeds", TITLE)


CASES = {
    "reconstructions": lambda: reconstructions(11),
    "reconstructions of one image": lambda: reconstructions(1),
    "reconstructions in colour, large": lambda: reconstructions(5, 3, 96),
    "reconstructions of four channels": lambda: reconstructions(3, 4, pca=False),
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
    "code_units of 1": lambda: code_units(1),
    "code_units of 2": lambda: code_units(2),
    "code_units of 32": lambda: code_units(32),
    "code_units of 200": lambda: code_units(200, with_pca=False),
    "tradeoff": lambda: tradeoff((2, 8, 16, 32, 64, 784)),
    "tradeoff that rises": lambda: tradeoff((2, 8, 784), mse=[0.04, 0.02, 0.05]),
    "tradeoff of one seed": lambda: tradeoff((2, 8, 32), float("nan"), False, False),
    "tradeoff of one dimension": lambda: tradeoff((1,), wide=False),
    "tradeoff of close dimensions": lambda: tradeoff((28, 29, 30, 31, 32, 33, 34)),
    "tradeoff of copies": lambda: tradeoff((2, 784), 0.0, mse=[0.04, 0.0]),
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
}


@pytest.mark.parametrize("case", CASES)
def test_nothing_is_cut_and_no_text_covers_another(case):
    figure = laid_out(CASES[case]())
    page = figure.bbox
    boxes = [(text.get_text(), Text.get_window_extent(text)) for text in texts_of(figure)]
    for text, box in boxes:
        assert min(box.x0, box.y0, page.x1 - box.x1, page.y1 - box.y1) >= -1, f"{text!r} is cut"
    for (one, a), (other, b) in combinations(boxes, 2):
        assert not covers(a, b), f"{one!r} and {other!r} lie on each other"
    for axes in figure.axes:
        labels_are_within(axes)
        data_is_within(axes)


def labels_are_within(axes):
    frame = axes.get_window_extent()
    for label in axes.texts:
        if isinstance(label, Annotation):
            box = Text.get_window_extent(label)
            out = frame.x0 - box.x0, frame.y0 - box.y0, box.x1 - frame.x1, box.y1 - frame.y1
            assert max(out) <= 1, f"{label.get_text()!r} runs out of the axes"


def data_is_within(axes):
    """But for PCA's error, which falls to nothing at full rank."""
    (x0, x1), (y0, y1) = sorted(axes.get_xlim()), sorted(axes.get_ylim())
    for line in axes.lines:
        if line.get_label() != "PCA" and line.get_transform() == axes.transData:
            x, y = np.asarray(line.get_xydata()).T
            kept = np.isfinite(y)
            assert ((x >= x0 - 1e-9) & (x <= x1 + 1e-9))[kept].all(), line.get_label()
            assert ((y >= y0 - 1e-9) & (y <= y1 + 1e-9))[kept].all(), line.get_label()


@pytest.mark.parametrize("case", ["reconstructions", "code_scatter", "decoder_grid"])
def test_it_becomes_a_png(case):
    assert png(CASES[case]()).startswith(b"\x89PNG")


def test_numbers_do_not_lie_on_the_curve():
    figure = tradeoff((2, 8, 16, 32, 64, 784), mse=[0.037, 0.0153, 0.0085, 0.0046, 0.0037, 0.004])
    laid_out(figure)
    axes = figure.axes[0]
    assert sorted(t.get_text() for t in axes.texts) == sorted(
        ["0.0370", "0.0153", "0.0085", "0.0046", "0.0037", "0.0040", "0.0012"]
    )
    for line in [line for line in axes.lines if line.get_linestyle() != "None"]:
        t = np.linspace(0, 1, 200)[:, None]
        corners = axes.transData.transform(line.get_xydata())
        dense = np.concatenate([a + t * (b - a) for a, b in pairwise(corners)])
        for label in axes.texts:
            box = Text.get_window_extent(label)
            x, y = dense.T
            under = (x > box.x0) & (x < box.x1) & (y > box.y0) & (y < box.y1)
            assert not under.any(), (label.get_text(), line.get_label())


@pytest.mark.parametrize("n", [1, 10, 11, 20, 45, 150])
def test_no_two_classes_look_alike(n):
    colours = class_colours(n)
    assert len(set(colours)) == n
    assert colours[:10] == class_colours(10)[:n]
    looks = seen(np.array([mpl.colors.to_rgb(colour) for colour in colours]))
    apart = np.linalg.norm(looks[:, :, None] - looks[:, None], axis=-1)
    least = min(apart[:, i, j].min() for i in range(n) for j in range(i)) if n > 1 else 1
    # 0.02 in Oklab is a difference that is just seen.
    assert least > (0.05 if n <= 10 else 0.02 if n <= 45 else 0.01)


@pytest.mark.parametrize("classes", [1, 12])
def test_the_scatter_names_every_class_in_its_colour(classes):
    figure = code_scatter(classes)
    laid_out(figure)
    names = [str(label) for label in range(classes)]
    assert [text.get_text().strip() for text in figure.axes[0].texts] == names
    assert legend_of(figure) == names
    handles = figure.axes[0].get_legend().legend_handles
    assert [mpl.colors.to_hex(handle.get_color()) for handle in handles] == [
        colour.lower() for colour in class_colours(classes)
    ]


def test_many_classes_are_named_in_the_legend_alone():
    figure = code_scatter(100)
    assert len(legend_of(figure)) == 100
    assert not figure.axes[0].texts


@pytest.mark.parametrize(("channels", "pca"), [(1, True), (3, False), (4, True)])
def test_reconstructions_say_each_row_and_its_error(channels, pca):
    figure = reconstructions(4, channels, pca=pca)
    axes = figure.axes[0]
    rows = [label.get_text() for label in axes.get_yticklabels()]
    assert rows == [
        "original",
        "decoded",
        *(["PCA-32", "|error|,\ndecoded"] if pca else ["|error|"]),
    ]
    said = [text.get_text() for text in axes.texts]
    assert said.count("0.01230") == 1 + pca
    assert said.count("median") == 4
    title = figure._suptitle.get_text().replace("\n", " ")
    assert title.endswith("channel 0 of 4 shown") == (channels == 4)


def test_reconstructions_show_what_they_are_given():
    image = np.zeros((1, 3, 4, 4))
    image[0, 0] = 1
    codec = figures.Decoded("decoded", image, np.zeros(1), 0.0)
    shown = figures.reconstructions(image, [codec], ["x"], "t").axes[0].images[0].get_array()
    np.testing.assert_array_equal(shown[:4, :4], np.broadcast_to([1.0, 0, 0], (4, 4, 3)))


@pytest.mark.parametrize(("epochs", "baseline"), [(1, None), (2, ("PCA-8", 0.02)), (40, None)])
def test_training_curve(epochs, baseline):
    figure = training_curve(epochs, baseline)
    axes = figure.axes[0]
    laid_out(figure)
    legend = legend_of(figure)
    assert ("validation (after the epoch)" in legend) == (epochs != 2)
    assert ("PCA-8: 0.02000" in legend) == (baseline is not None)
    assert sum(name.startswith("test, at the end: 0.0") for name in legend) == 1
    assert list(axes.lines[0].get_xdata()) == list(range(1, epochs + 1))
    [diamond] = [line for line in axes.lines if line.get_marker() == "D"]
    assert diamond.get_markerfacecolor() == "none"
    assert not axes.texts


@pytest.mark.parametrize(
    "case", ["training_curve of one epoch", "tradeoff of copies", "comparison"]
)
def test_an_axis_of_errors_has_ticks_in_view(case):
    axes = CASES[case]().axes[0]
    low, high = axes.get_ylim()
    ticks = [tick for tick in axes.yaxis.get_majorticklocs() if low <= tick <= high]
    assert 2 <= len(ticks) <= 14


@pytest.mark.parametrize(("k", "with_pca"), [(1, True), (2, False), (32, True)])
def test_code_units(k, with_pca):
    figure = code_units(k, with_pca)
    laid_out(figure)
    bars, *others = figure.axes
    assert sum(bar.get_height() for bar in bars.patches) == pytest.approx(100)
    assert len(legend_of(figure)) == 1 + with_pca
    assert len(others) == (2 if k > 1 else 0)  # the matrix and its colour bar
    for axes in figure.axes[:2]:
        low, high = axes.get_xlim()
        ticks = [tick for tick in axes.xaxis.get_majorticklocs() if low <= tick <= high]
        assert set(ticks) <= set(range(k))


def test_colours_of_correlations_end_at_the_largest_of_two_units():
    correlation = np.array([[1, 0.231], [0.231, 1]])
    matrix = figures.code_units(np.ones(2), None, correlation, "t").axes[1]
    assert matrix.images[0].get_clim() == (-0.24, 0.24)
    assert matrix.images[0].get_array().mask.tolist() == [[True, False], [False, True]]
    nothing = figures.code_units(np.ones(2), None, np.eye(2), "t").axes[1]
    assert nothing.images[0].get_clim() == (-0.1, 0.1)


def test_colours_of_the_mix_end_at_its_largest():
    figure = figures.unit_mix(np.array([[0.3, -0.561], [0.1, 0.2]]), "t")
    assert figure.axes[0].images[0].get_clim() == (0, 0.57)
    assert figure.axes[1].get_ylabel().endswith("the colours end at 0.57")


@pytest.mark.parametrize(
    ("wide", "printed", "sd"),
    [(True, True, 0.001), (False, True, 0.001), (True, False, float("nan"))],
)
def test_the_legend_of_the_tradeoff_names_what_is_drawn(wide, printed, sd):
    figure = tradeoff((2, 784), sd, wide, printed)
    laid_out(figure)
    assert legend_of(figure) == [
        "PCA",
        "network",
        *(["network without hidden layers"] if wide else []),
        *(["the chapter prints"] if printed else []),
    ]
    has_bars(figure.axes[0], sd == 0.001)


def test_pcas_line_is_seen_beside_a_network_that_loses_to_it():
    axes = tradeoff((2, 8, 784), wide=False, printed=False, mse=[0.2, 0.2, 0.2]).axes[0]
    assert axes.get_ylim()[0] < 0.06 * np.exp(-8 / 30)


def test_what_the_chapter_prints_of_larger_codes_is_left_out():
    figure = tradeoff((2, 8), wide=False)
    [crosses] = [line for line in figure.axes[0].lines if line.get_marker() == "x"]
    assert list(crosses.get_xdata()) == [2, 8]


@pytest.mark.parametrize("sd", [True, False])
def test_comparison_names_its_lines(sd):
    figure = comparison((2, 8), sd)
    laid_out(figure)
    names = ["network (mlp)", "PCA", "linear autoencoder", "DCT, lowest frequencies"]
    assert legend_of(figure) == names
    has_bars(figure.axes[0], sd)


def has_bars(axes, expected):
    """Error bars are both drawn and named, or neither."""
    assert any(container.has_yerr for container in axes.containers) == expected
    assert ("deviation over seeds" in axes.get_ylabel()) == expected


@pytest.mark.parametrize(("seeds", "said"), [(1, "1 seed"), (3, "3 seeds")])
def test_the_chapters_training(seeds, said):
    figure = chapter_training(seeds)
    laid_out(figure)
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["0.0461", "0.0292", "0.0204"]
    assert legend_of(figure) == [f"measured, {said}", "the chapter prints"]
    assert axes.get_yscale() == "log"
    [crosses] = [line for line in axes.lines if line.get_marker() == "x"]
    assert list(crosses.get_xdata()) == [1, 2, 5]


def test_of_other_images_the_chapter_prints_nothing():
    figure = chapter_training(3, printed=False)
    assert legend_of(figure) == ["measured, 3 seeds"]
    assert "chapter" not in figure.axes[0].get_xlabel()


@pytest.mark.parametrize("holes", [True, False])
def test_the_interpolations_note_says_what_is_framed(holes):
    figure = interpolation(5, holes)
    [note] = [text.get_text() for text in figure.texts if text is not figure._suptitle]
    assert note.startswith("Framed: its code is in a hole." if holes else "No code of these paths")


@pytest.mark.parametrize(
    ("draw", "hole", "edge"),
    [(latent_map, True, False), (latent_map, False, True), (decoder_grid, False, False)],
)
def test_the_legend_of_the_plane_names_what_is_there(draw, hole, edge):
    expected = ["the path"]
    expected = ["edge of the occupied region", *expected] if edge else expected
    expected += ["the path, in a hole"] if hole else []
    assert legend_of(draw(hole=hole, edge=edge)) == expected


def test_codes_beyond_the_plane_are_counted():
    figure = latent_map()
    label = figure.axes[1].get_ylabel()
    assert "of 500 lie beyond the edges" in label


def test_the_decoder_grid_stretches_no_image():
    for height in (28, 56):
        figure = decoder_grid(1, height)
        laid_out(figure)
        box = figure.axes[0].get_window_extent()
        assert box.height / box.width == pytest.approx(height / 28, rel=0.02)


def test_hole_rates_have_a_side_each_and_fill_the_axes():
    figure = hole_rates()
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["codec 0", "codec 1"]
    top = figure.axes[0].get_ylim()[1]
    assert 2 < top < 5  # percent, for rates of at most 2%
    assert "codes of real test images: 1.1%, 1.3%" in legend_of(figure)
    assert [axes.lines[-1].get_ydata()[0] for axes in figure.axes] == pytest.approx([1.1, 1.3])


def test_the_decoded_rows_have_their_error():
    axes = decoded_grid(4, 2).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "original",
        "784 gaussian",
        "1568 gaussian",
    ]
    assert [text.get_text() for text in axes.texts] == [
        "mean test mse\nof 3 seeds",
        *["0.01234"] * 2,
    ]


@pytest.mark.parametrize("text", [TITLE, ONE_WORD, "a b", "", "dollars $x$ are no mathematics $"])
def test_lines_are_cut_to_the_width_and_no_word_is_lost(text):
    lines = wrapped(text, 3, 12).split("\n")
    assert all(text_width(line, 12) <= 3 for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
