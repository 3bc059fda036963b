"""Figures: all texts are in sight and none covers another, limits hold the data, and what a legend
or a sentence names is drawn."""

import io
import math
import pickle
from itertools import combinations, pairwise

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.text import Annotation, Text

from aecli import figures
from aecli.figures import pictures
from aecli.figures.colours import class_colours, seen
from aecli.figures.pictures import channel_note, in_colour
from aecli.figures.style import text_width, wrapped
from aecli.png import png
from tests.drawings import (
    CASES,
    ONE_WORD,
    TITLE,
    chapter_training,
    code_scatter,
    code_units,
    comparison,
    covers,
    decoded_grid,
    decoder_grid,
    hole_rates,
    interpolation,
    laid_out,
    latent_map,
    legend_of,
    legends_of,
    named,
    reconstructions,
    sheet,
    texts_of,
    tradeoff,
    training_curve,
)


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


@pytest.mark.parametrize("case", ["reconstructions", "code_scatter", "code_units of 32", "sheet"])
def test_the_png_is_that_of_matplotlib(case):
    figure = CASES[case]()
    same = pickle.loads(pickle.dumps(figure))
    figure.savefig(content := io.BytesIO(), format="png")
    with mpl.rc_context({"figure.autolayout": True}):  # of the user's own
        assert png(same) == content.getvalue()
    assert content.getvalue().startswith(b"\x89PNG")


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
    said = "channels 1, 2, 3 of 4 shown as red, green, blue"
    assert title.endswith(said) == (channels == 4)


def test_reconstructions_show_what_they_are_given():
    image = np.zeros((1, 3, 4, 4))
    image[0, 0] = 1
    codec = figures.Decoded("decoded", image, np.zeros(1), 0.0)
    shown = figures.reconstructions(image, [codec], ["x"], "t").axes[0].images[0].get_array()
    np.testing.assert_array_equal(shown[:28, :28], np.broadcast_to([1.0, 0, 0], (28, 28, 3)))


@pytest.mark.parametrize(
    ("channels", "shown", "colour", "note"),
    [
        (1, (), (0, 0, 0), ""),
        (2, (), (0, 1, 1), ", channel 1 of 2 shown as red, channel 2 as green and blue"),
        (3, (), (0, 1, 2), ""),
        (3, (2, 1, 0), (2, 1, 0), ", channels 3, 2, 1 of 3 shown as red, green, blue"),
        (4, (), (0, 1, 2), ", channels 1, 2, 3 of 4 shown as red, green, blue"),
        (13, (3, 2, 1), (3, 2, 1), ", channels 4, 3, 2 of 13 shown as red, green, blue"),
    ],
)
def test_channels_are_shown_as_the_title_says(channels, shown, colour, note):
    image = np.arange(channels).reshape(1, channels, 1, 1) / 20
    assert (20 * in_colour(image, shown)).round().ravel().tolist() == list(colour)
    assert channel_note(channels, shown) == note
    figure = figures.decoded_grid(image, [("x", image, 0.1)], "mse", "Title", shown)
    assert figure._suptitle.get_text().replace("\n", " ") == f"Title{note}"


def test_pixels_that_are_not_valid_are_striped_in_every_row():
    image, valid = np.full((1, 3, 84, 84), 0.5), np.ones((1, 84, 84), dtype=bool)
    valid[0, :40] = False
    codec = figures.Decoded("decoded", image, np.zeros(1), 0.0)
    figure = figures.reconstructions(image, [codec], ["x"], "t", masks=valid)
    axes = figure.axes[0]
    picture = np.asarray(axes.images[0].get_array())
    stripes = {mpl.colors.to_rgb(colour) for colour in pictures._STRIPES}
    for middle in axes.get_yticks():
        top = round(middle - 41.5)
        left = (picture.shape[1] - 84) // 2
        masked = picture[top : top + 40, left : left + 84].reshape(-1, 3)
        assert {tuple(colour) for colour in masked} == stripes
        seen = picture[top + 40 : top + 84, left : left + 84].reshape(-1, 3)
        assert len(np.unique(seen, axis=0)) == 1
    assert any("Striped: pixels that are not valid." in text.get_text() for text in figure.texts)
    all_valid = figures.reconstructions(image, [codec], ["x"], "t", masks=valid | True)
    assert not any("Striped" in text.get_text() for text in all_valid.texts)


def test_large_pictures_are_means_of_what_is_valid():
    colours, valid = np.ones((1, 5, 4, 3)), np.ones((1, 5, 4), dtype=bool)
    colours[0, 0, 0], valid[0, 0, 0] = 0, False
    colours[0, 2:4, 2:4] = np.array([[0.2, 0.4], [0.6, 0.8]])[..., None]
    valid[0, 4] = False
    smaller, left = pictures.reduced(colours, valid, 2)
    assert smaller.shape == (1, 3, 2, 3)
    assert left[0].tolist() == [[True, True], [True, True], [False, False]]
    np.testing.assert_allclose(smaller[0, :2, :, 0], [[1, 1], [1, 0.5]])


@pytest.mark.parametrize("size", [8, 28, 96, 512, (32, 128), (128, 32)])
def test_pages_have_a_sensible_size(size):
    width, height = reconstructions(11, 3, size).get_size_inches()
    assert 6 < width < 18
    assert 3 < height < 9


def test_a_scatter_without_labels_has_one_colour_and_no_legend():
    figure = code_scatter(0)
    assert not legends_of(figure)
    assert not figure.axes[0].texts
    assert len(np.unique(figure.axes[0].collections[0].get_facecolors(), axis=0)) == 1


def test_a_scatter_of_very_many_codes_draws_some_and_says_so():
    figure = code_scatter(3, n=20_500)
    assert len(figure.axes[0].collections[0].get_offsets()) == 20_000
    assert figure._suptitle.get_text().endswith("20,000 of 20,500 drawn")


@pytest.mark.parametrize("classes", [2, 10, 37])
def test_a_legend_has_every_name_even_where_names_begin_alike(classes):
    figure = code_scatter(classes, names=named(classes))
    shown = legend_of(figure)
    assert len(set(shown)) == classes
    assert max(map(len, shown)) <= 20
    assert shown[0] == "sea_or_lake 0"
    assert shown[1] == "herbaceous…on, dry 1"
    assert len(figure.axes[0].texts) == (classes if classes <= 12 else 0)


def test_bars_of_codes_at_work_are_as_long_as_their_numbers():
    series = [
        figures.Shares("mlp-32", [0.5, math.nan], [0.02, math.nan], 0),
        figures.Shares("pixels", [0.25, 1.0], [math.nan] * 2, 2),
    ]
    figure = figures.share_bars(["accuracy", "NMI"], series, "t")
    axes = figure.axes[0]
    assert [bar.get_width() for bar in axes.patches] == [50, 0, 25, 100]
    assert [text.get_text() for text in axes.texts] == ["50.0 ± 2.0", "25.0", "100.0"]
    assert legend_of(figure) == ["mlp-32", "pixels"]
    colours = {mpl.colors.to_hex(bar.get_facecolor()) for bar in axes.patches}
    assert len(colours) == 2


def test_of_very_many_normal_classes_the_hardest_are_drawn():
    scores = np.linspace(0.5, 1, 60)
    series = [figures.Shares("mlp-32", scores, [math.nan] * 60)]
    figure = figures.class_scores([f"class {i}" for i in range(60)], {"by both": series}, "t")
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == [f"class {i}" for i in range(40)]
    assert figure._suptitle.get_text().endswith("the hardest 40 of 60 drawn")


def test_a_sheet_marks_each_image_with_its_split():
    figure = sheet(9, 3, 40, 40)
    said = [text.get_text() for text in figure.axes[0].texts]
    assert [text.split("\n")[0] for text in said] == ["train", "val", "test"] * 3
    assert said[0].split("\n")[1:] == ["IMG_2024_…000.jpeg", "sea_or_lake 0"]
    frames = [mpl.colors.to_hex(frame.get_edgecolor()) for frame in figure.axes[0].patches]
    assert len(set(frames)) == 3
    assert frames == [mpl.colors.to_hex(text.get_color()) for text in figure.axes[0].texts]
    plain = sheet(9, 3, 40, 40, splits=False)
    assert not plain.axes[0].patches
    assert plain.axes[0].texts[0].get_text().startswith("IMG_2024_")


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


def test_of_many_units_the_variances_fall():
    figure = code_units(300, correlated=False)
    laid_out(figure)
    [axes] = figure.axes
    assert not axes.patches
    assert axes.get_yscale() == "log"
    shares = axes.lines[0].get_ydata()
    assert list(shares) == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(100)


def test_pca_is_in_view_at_every_code_dimension_of_the_tradeoff():
    points = [figures.TradeoffPoint(k, 0.05, math.nan, False) for k in (2, 8, 32)]
    pca = np.array([1, 2, 8, 32]), np.array([0.04, 0.02, 1e-3, 1e-14])
    bottom, top = figures.tradeoff(points, pca, {}, "t").axes[0].get_ylim()
    assert 1e-4 < bottom < 1e-3  # nothing at full rank would flatten all else
    assert top > 0.05


def test_a_page_of_few_pictures_is_narrow_and_no_frame_is_clipped():
    image = np.zeros((1, 1, 28, 28))
    few = figures.sheet(image, ["a"], "few-look: images as training sees them", splits=["train"])
    assert few.get_figwidth() < 4
    assert not any(patch.get_clip_on() for patch in few.axes[0].patches)
    long = figures.sheet(image, ["a"], "x" * 40)
    assert 4 < long.get_figwidth() <= 6.5
    assert len(long._suptitle.get_text().split("\n")) == 1


def test_white_pictures_have_an_edge_and_dark_ones_none():
    for shade, edges in ((0.0, 0), (1.0, 1)):
        figure = figures.sheet(np.full((3, 1, 8, 8), shade), ["a", "b", "c"], "t")
        assert len(figure.axes[0].collections) == edges
    assert len(figure.axes[0].collections[0].get_paths()) == 3


def test_pca_may_have_fewer_components_than_the_code_has_units():
    figure = figures.code_units(np.ones(5), np.array([3.0, 1.0]), np.eye(5), "t")
    assert figure.axes[0].lines[0].get_xydata().tolist() == [[0, 75], [1, 25]]


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
    names += ["DCT of rotated channels", "thumbnail"]
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
