"""`aecli report`: what stands on the page, how large it is, and how a browser shows it."""

import base64
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import aecli
from aecli import codecs
from aecli.codecs.grid_settings import DcConfig, KlConfig
from aecli.config import (
    EXPERIMENTS,
    ConvConfig,
    LinearConfig,
    MlpConfig,
    SweepConfig,
    TrainConfig,
    with_values,
)
from aecli.config.experiments import SWEPT
from aecli.errors import DivergedError
from aecli.pages import hourglass, pictures, readings
from aecli.pages.contents import Contents
from aecli.pages.report import PICTURES, page
from aecli.runs.folder import new_run
from aecli.runs.run import Run
from tests.conftest import ONE_PIXEL


def png(shape=(600, 900), noise=False):
    """A PNG as large as a figure; of noise it is as large in bytes as can be."""
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256 if noise else 2, (*shape, 3), np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels if noise else pixels * 255).save(content, "PNG")
    return content.getvalue()


def trained(runs, picture=ONE_PIXEL, slug="x", **numbers):
    with new_run(runs, TrainConfig(), slug, ["aecli", "train"]) as run:
        run.note(dataset={"name": "mnist", "n_train": 10, "n_val": 1, "n_test": 2})
        found = {"test_mse": 0.011, "pca_test_mse": 0.022, "mean_image_test_mse": 0.07}
        run.write_metrics({"dataset": "mnist", **found, **numbers})
        run.write_csv("history.csv", [{"epoch": i, "train_mse": 0.1 / (i + 1)} for i in range(12)])
        run._write("reconstructions.png", picture)
        run._write("training_curve.png", picture)
    return run.path


def swept(runs):
    with new_run(runs, SweepConfig(code_dims=(2, 8, 32)), "x", []) as run:
        run.note(dataset={"name": "mnist"})
        rows = [
            {"code_dim": k, "test_mse": 0.1 / k, "pca_test_mse": 0.02, "what_it_learns": "much"}
            for k in (8, 32, 2)
        ]
        run.write_csv("table.csv", rows)
        run.write_metrics({"rows": 3})
        run._write("tradeoff.png", ONE_PIXEL)
    return run.path


def judged(runs):
    with new_run(runs, EXPERIMENTS["reproduce"](), "x", []) as run:
        claims = [
            {
                "section": i,
                "says": f"claim {i}",
                "verdict": verdict,
                "reason": "so",
                "figure": "s/a.png",
            }
            for i, verdict in enumerate(("holds", "does not hold", "holds only if it is so"))
        ]
        run.write_json("claims.json", claims)
        run.write_metrics({"claims": 3, "quick": False})
        run._write("s/a.png", ONE_PIXEL)
    return run.path


def stopped(runs):
    with pytest.raises(KeyboardInterrupt), new_run(runs, TrainConfig(), "stopped", []):
        raise KeyboardInterrupt
    [path] = runs.glob("*-stopped")
    return path


def test_the_page_answers_how_good(tmp_path):
    html = page([Run(trained(tmp_path))], "now")
    assert "0.01100" in html
    assert "Beats PCA: its error is 50.0% lower." in html
    assert "439,728 parameters" in html
    assert "aecli train --config" in html
    html = page([Run(trained(tmp_path, test_mse=0.08))], "now")
    assert "Does not beat PCA" in html
    assert "worse than a constant picture" in html


def test_a_run_without_a_result_says_so(tmp_path):
    html = page([Run(stopped(tmp_path))], "now")
    assert "there is no result" in html
    assert "aecli resume" in html
    empty = tmp_path / "20260101T000000Z-train-x"
    empty.mkdir()
    assert "no run.json" in page([Run(empty)], "now")


def test_every_experiment_has_a_reading():
    assert set(readings.READERS) == set(EXPERIMENTS)


def test_every_picture_has_words_of_its_own():
    sources = (path.read_text() for path in Path(aecli.__file__).parent.rglob("*.py"))
    saved = {name for text in sources for name in re.findall(r'save_figure\(\s*"(\w+)"', text)}
    saved |= {f"reconstructions_{kind.replace('-', '_')}" for kind in SWEPT}
    assert len(saved) > 20
    assert saved <= set(PICTURES)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("shortcuts", "True", "yes"),
        ("beats_pca", False, "no"),
        ("parameters", "12632064", "12,632,064"),
        ("mix_condition_number", 123456.78, "123,457"),
        ("seed", 20261127, "20261127"),
        ("n", "1" * 300, "1.111e+299"),
        ("ssim", 0.80944, "0.8094"),
    ],
)
def test_a_cell_is_read_at_a_glance(name, value, said):
    assert readings._cell(name, value).text == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (23.02, "23.0 s"),
        (659, "11 min"),
        (7500, "2 h 5 min"),
        (7199.9, "2 h 0 min"),
        (1e12, "1,000,000,000,000.0 s"),
    ],
)
def test_facts_are_in_plain_words(tmp_path, seconds, said):
    config = with_values(TrainConfig(), {"train.epochs": 1})
    with new_run(tmp_path, config, "x", []) as run:
        run.write_metrics({"dataset": "mnist"})
    record = json.loads((run.path / "run.json").read_text())
    record |= {"seconds": seconds, "started": "2026-11-27T08:23:02+02:00", "finished": "soon"}
    (run.path / "run.json").write_text(json.dumps(record))
    html = page([Run(run.path)], "now")
    assert "1 epoch in batches" in html
    assert "<dd>2026-11-27 06:23 UTC</dd>" in html
    assert "<dd>soon</dd>" in html
    assert said in html


def test_the_bars_of_samplers_leave_out_what_would_hide_the_others(tmp_path):
    found = {"floor": 1.2, "decoded": 5.2, "standard_normal": 2.0, "by_class_mixture": 3.4}
    with new_run(tmp_path, EXPERIMENTS["sample"](), "x", []) as run:
        run.write_metrics({f"frechet_{k}": v for k, v in (found | {"untrained": 4000.0}).items()})
    bars = readings.read(Contents(Run(run.path), [])).bars
    named = ["real images", "standard-normal", "mixture, by class", "decoded images"]
    assert [bar.label for bar in bars] == named
    assert bars[1].is_own
    html = page([Run(run.path)], "now")
    assert "The best sampler, standard-normal, is at 1.7 times" in html
    assert "Frechet distance, lower is better" in html


@pytest.mark.parametrize(
    ("verdicts", "kind", "said"),
    [
        (["holds"] * 3, "good", "3 claims. Of 3 that were judged 3 hold."),
        (["holds", "does not hold"], "bad", "judged 1 holds, 1 does not hold."),
        (["not judged (mnist-5k)"], "plain", "1 claim. No claim was judged."),
        (["holds", *["not judged (mnist-5k)"] * 2], "plain", "Of 1 that were judged 1 holds."),
    ],
)
def test_a_ledger_is_good_if_most_of_it_was_judged(tmp_path, verdicts, kind, said):
    with new_run(tmp_path, EXPERIMENTS["reproduce"](), "x", []) as run:
        run.write_json("claims.json", [{"verdict": verdict} for verdict in verdicts])
        run.write_metrics({"quick": False})
    [statement] = readings.read(Contents(Run(run.path), [])).statements
    assert statement.kind == kind
    assert said in statement.text


def test_of_a_long_training_the_last_epochs_are_shown(tmp_path):
    path = trained(tmp_path)
    (path / "history.csv").write_text(
        "epoch,train_mse\n" + "".join(f"{i},0.1\n" for i in range(300))
    )
    html = page([Run(path)], "now")
    assert "Epochs (history.csv, the last 200 rows)" in html
    assert "Not read" not in html
    epochs = [row[0].text for row in readings.history_table(Contents(Run(path), [])).rows]
    assert epochs == [str(i) for i in range(100, 300)]


def test_what_was_stopped_tells_how_far_it_got(tmp_path):
    path = stopped(tmp_path)
    (path / "history.csv").write_text("epoch,train_mse\n0,0.1\n1,0.05\n")
    assert "It got through 2 of 5 epochs." in page([Run(path)], "now")
    assert "It got through" not in page([Run(trained(tmp_path))], "now")


def test_a_row_without_hidden_layers_is_told_apart(tmp_path):
    with new_run(tmp_path, SweepConfig(code_dims=(8, 784)), "x", []) as run:
        errors = ((8, "256-64", 0.01), (784, "256-64", 0.03), (784, "", 0.015))
        run.write_csv(
            "table.csv",
            [
                {"code_dim": k, "hidden": hidden, "test_mse": mse, "pca_test_mse": 0.02}
                for k, hidden, mse in errors
            ],
        )
        run.write_metrics({"rows": 3})
    html = page([Run(run.path)], "now")
    assert "Better than PCA at 2 of 3 rows (code 8, 784 without hidden layers)." in html


def test_bars_have_each_codec_at_its_best(tmp_path):
    with new_run(tmp_path, EXPERIMENTS["sweep-downsampling"](), "x", []) as run:
        names = ("codec", "downsampling", "numbers", "shortcuts", "test_mse")
        rows = [
            ("dc", 8, 256, True, 0.03),
            ("dc", 16, 256, True, 0.01),
            ("dc", 16, 256, False, 0.02),
            ("dc", 16, 64, True, 0.001),
            ("pca", "", 256, "", 0.005),
        ]
        run.write_csv("table.csv", [dict(zip(names, row, strict=True)) for row in rows])
        run.write_metrics({"rows": 5})
    bars = readings.read(Contents(Run(run.path), [])).bars
    assert [bar.label for bar in bars] == ["pca", "dc f16", "dc f16, no shortcuts"]
    assert [bar.percent for bar in bars] == [25, 50, 100]


def test_lines_of_a_message_follow_one_another(tmp_path):
    with pytest.raises(DivergedError), new_run(tmp_path, TrainConfig(), "x", []):
        raise DivergedError("loss nan\na lower --lr may help")
    assert "Loss nan; a lower --lr may help." in page([Run(next(tmp_path.glob("*-x")))], "now")
    with new_run(tmp_path, EXPERIMENTS["pca-compare"](), "y", []) as run:
        run.write_metrics({"eckart_young_holds": True})
        run.save_text("explanation.md", "One.\n\nIt holds.\n\nTrained with muon.\n")
    html = page([Run(run.path)], "now")
    assert "Trained with muon.</p>" in html


def test_several_runs_have_an_index_with_what_differs(tmp_path):
    runs = [Run(trained(tmp_path)), Run(swept(tmp_path)), Run(stopped(tmp_path))]
    html = page(runs, "now")
    assert "3 runs" in html
    assert "code_dims" in html.partition("<article")[0]
    assert html.count("<article") == 3


@pytest.mark.parametrize(
    "settings",
    [
        MlpConfig(),
        MlpConfig(variational=True, hidden=(9,)),
        LinearConfig(code_dim=5),
        ConvConfig(width=8),
        ConvConfig(width=8, variational=True, downsampling=(2, 3)),
    ],
)
def test_the_hourglass_counts_what_the_codec_has(settings):
    shape = (2, 12, 20)
    glass = hourglass.hourglass(settings, shape)
    codec = codecs.build(settings, shape)
    sigma = 1 if settings.variational else 0
    assert sum(glass.between) == glass.total
    assert glass.total + sigma == codec.count_parameters()
    widths = [layer.numbers for layer in glass.layers]
    assert widths == widths[::-1]
    assert [layer.is_code for layer in glass.layers].count(True) == 1


@pytest.mark.parametrize("settings", [KlConfig(code_dim=64), DcConfig(code_dim=64)])
def test_the_hourglass_has_the_levels_of_a_grid(settings):
    pytest.importorskip("diffusers")
    codec = codecs.build(settings, (1, 28, 28))
    glass = hourglass.hourglass(settings, (1, 28, 28))
    labels = [layer.label.removesuffix(" + variances") for layer in glass.layers]
    assert labels == labels[::-1]
    channels, height, width = codec.code_shape
    assert f"code of {channels} x {height}x{width}" in labels
    seen = []
    for module in codec.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda _, __, out: seen.append(tuple(out.shape[1:])))
    codec.encode(torch.zeros(1, 1, 28, 28))
    stages = labels[1 : len(labels) // 2]
    sizes = [f"{c} x {h}x{w}" for c, h, w in seen]
    assert [each for each in dict.fromkeys(sizes) if each in stages] == stages


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 512, 512)])
@pytest.mark.parametrize("settings", [MlpConfig(code_dim=1024, variational=True), ConvConfig()])
def test_words_beside_the_hourglass_are_not_cut(settings, shape):
    drawing = hourglass.drawn(hourglass.hourglass(settings, shape))
    room = drawing.width - (drawing.centre * 2 + 6)
    assert max(len(bar.label) for bar in drawing.bars) * 7 <= room
    assert max(len(bar.parameters) for bar in drawing.bars) * 6.5 <= room


def test_pages_have_a_largest_size(tmp_path):
    large = png((900, 1400), noise=True)
    one = trained(tmp_path, large)
    assert 500_000 < len(page([Run(one)], "now")) < 2_000_000
    many = [shutil.copytree(one, tmp_path / f"{one.name}-{i}") for i in range(40)]
    html = page([Run(each) for each in many], "now")
    assert len(html) < 10_000_000
    assert all(f'id="r{i + 1}"' in html for i in range(40))


def test_no_byte_of_a_picture_goes_into_the_page(tmp_path):
    content = png() + b"<script>"
    (tmp_path / "x.png").write_bytes(content)
    [shown] = pictures.pictures_of([(tmp_path, "x.png")], 10**6)
    assert b"<script>" not in shown.content
    pixels = [
        np.array(Image.open(io.BytesIO(each)).convert("RGB"), int)
        for each in (shown.content, content)
    ]
    assert abs(pixels[0] - pixels[1]).max() <= 16


def test_what_is_typed(inside):
    assert inside("report", "latest").code == 3
    runs = inside("train", "--dataset", "mnist-5k", "--limit-train", "300", "--codec", "dct", "-q")
    done = inside("report", "latest", "--json", "-q")
    found = json.loads(done.stdout)
    assert found["runs"] == [str(runs.run.relative_to(runs.run.parent.parent))]
    assert found["bytes"] > 5_000
    assert inside("report", "*-train-*", "-q").stdout == "report.html\n"
    assert "no run" in inside("report", "*-sample-*").stderr
    assert inside("report", "latest", "-o", "report.txt").code == 2
    within = inside("report", "latest", "-o", str(runs.run / "report.html"))
    assert within.code == 2
    assert "lies in a run folder" in within.stderr
    Path("aside").symlink_to(runs.run / "model")
    linked = inside("report", "latest", "-o", "aside/report.html")
    assert linked.code == 2
    assert "lies in a run folder" in linked.stderr


def test_a_page_is_of_runs(inside, tmp_path):
    (tmp_path / "photos").mkdir()
    done = inside("report", str(tmp_path / "photos"))
    assert (done.code, done.stdout) == (3, "")
    assert f"no run of aecli is among {tmp_path / 'photos'}" in done.stderr
    killed = tmp_path / "runs" / "20260101T000000Z-train-x"
    killed.mkdir(parents=True)
    done = inside("report", str(tmp_path / "photos"), str(killed))
    assert done.code == 0
    assert "left out:" in done.stderr
    assert not list(tmp_path.glob("*/report.html"))


# In a browser.


@pytest.fixture(scope="module")
def browser():
    webdriver = pytest.importorskip("selenium.webdriver")
    service = pytest.importorskip("selenium.webdriver.chrome.service")
    driver, chromium = shutil.which("chromedriver"), shutil.which("chromium")
    if not driver or not chromium:
        pytest.skip("chromium and chromium-driver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    found = webdriver.Chrome(options=options, service=service.Service(driver))
    yield found
    found.quit()


def wide(runs, more=16):
    """A sweep whose table has 2 columns and so many more."""
    with new_run(runs, SweepConfig(code_dims=(2, 8)), "x", []) as run:
        columns = ["code_dim", "what_it_learns", *(f"rotated_transform_{i}" for i in range(more))]
        row = dict.fromkeys(columns, 0.1234567) | {"what_it_learns": "slant and thickness, much"}
        run.write_csv("table.csv", [row | {"code_dim": k} for k in (2, 8)])
        run.write_metrics({"rows": 2})
    return run.path


def opened(browser, path, width):
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get_log("performance")
    browser.get(path.as_uri())
    events = [json.loads(each["message"])["message"] for each in browser.get_log("performance")]
    sent = [
        e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"
    ]
    return [url for url in sent if not url.startswith("data:")]


@pytest.mark.parametrize("made", [trained, swept, judged, stopped])
def test_a_browser_opens_it(browser, tmp_path, made):
    target = tmp_path / "page.html"
    target.write_text(page([Run(made(tmp_path / "runs"))], "now"))
    for width in (360, 1400):
        assert opened(browser, target, width) == [target.as_uri()]
        assert browser.get_log("browser") == []
        assert browser.execute_script(
            "return [...document.images].every(image => image.naturalWidth > 0 && image.alt)"
        )
        root = "document.documentElement"
        assert browser.execute_script(f"return {root}.scrollWidth <= {root}.clientWidth")


def test_a_table_is_sorted_by_a_click(browser, tmp_path):
    target = tmp_path / "page.html"
    target.write_text(page([Run(swept(tmp_path / "runs"))], "now"))
    opened(browser, target, 1400)
    rows = "document.querySelector('table.sortable tbody').rows"
    column = f"return [...{rows}].map(row => row.cells[0].textContent)"
    assert browser.execute_script(column) == ["8", "32", "2"]
    head = browser.find_element("css selector", "table.sortable th button")
    head.click()
    assert browser.execute_script(column) == ["2", "8", "32"]
    head.click()
    assert browser.execute_script(column) == ["32", "8", "2"]


def test_a_picture_is_seen_large_without_a_script(browser, tmp_path):
    target = tmp_path / "page.html"
    target.write_text(page([Run(trained(tmp_path / "runs", png()))], "now"))
    opened(browser, target, 360)
    width = "return document.images[0].getBoundingClientRect().width"
    assert browser.execute_script(width) < 360
    browser.get(target.as_uri() + "#r1-p1")
    assert browser.execute_script(width) >= 900


def test_a_wide_table_has_its_caption_in_sight(browser, tmp_path):
    target = tmp_path / "page.html"
    target.write_text(page([Run(wide(tmp_path / "runs"))], "now"))
    opened(browser, target, 360)
    caption = browser.execute_script(
        "document.querySelector('.scroll').scrollLeft = 500;"
        "const box = document.querySelector('caption').getBoundingClientRect();"
        "return [box.left, box.right]"
    )
    assert caption[0] >= 0
    assert caption[1] <= 360


def test_a_narrow_index_shows_the_results(browser, tmp_path):
    target = tmp_path / "page.html"
    runs = tmp_path / "runs"
    target.write_text(page([Run(trained(runs)), Run(swept(runs))], "now"))
    opened(browser, target, 360)
    cells = browser.find_elements("css selector", "table.sortable tbody tr:first-child td")
    assert cells[1].text == "0.01100"
    assert cells[1].rect["x"] + cells[1].rect["width"] <= 360


def test_long_words_in_a_table_have_room(browser, tmp_path):
    target = tmp_path / "page.html"
    target.write_text(page([Run(wide(tmp_path / "runs"))], "now"))
    opened(browser, target, 360)
    assert browser.find_element("css selector", "td.words").rect["height"] < 60


@pytest.fixture
def on_paper(browser):
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    yield browser
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


@pytest.mark.parametrize(("more", "width"), [(9, 716), (16, 1047)])
def test_paper_has_all_columns_and_no_closed_lists(on_paper, tmp_path, more, width):
    """On sheets of A4, upright or, for many columns, lengthways, between the margins."""
    target = tmp_path / "page.html"
    target.write_text(page([Run(wide(tmp_path / "runs", more))], "now"))
    opened(on_paper, target, width)
    root = "document.documentElement"
    assert on_paper.execute_script(f"return {root}.scrollWidth <= {root}.clientWidth")
    assert on_paper.execute_script(
        "const table = document.querySelector('.scroll table').getBoundingClientRect();"
        "return table.right <= innerWidth && table.width > 0"
    )
    assert on_paper.execute_script(
        "return [...document.querySelectorAll('details')].every(each => !each.offsetHeight)"
    )
    printed = on_paper.execute_cdp_cmd("Page.printToPDF", {"paperWidth": 8.27, "paperHeight": 11.7})
    boxes = re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", base64.b64decode(printed["data"]))
    assert any(float(w) > float(h) for w, h in boxes) == (more > 9)


def test_paper_has_the_bars(on_paper, tmp_path):
    target = tmp_path / "page.html"
    target.write_text(page([Run(trained(tmp_path / "runs"))], "now"))
    opened(on_paper, target, 720)
    bar = "getComputedStyle(document.querySelector('.track span'))"
    assert on_paper.execute_script(f"return {bar}.printColorAdjust") == "exact"
