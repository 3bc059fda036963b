"""`aecli report` in a browser: no request, all in sight, and on paper too."""

import base64
import json
import re
import shutil

import pytest

from aecli.config import SweepConfig
from aecli.pages.report import page
from aecli.runs.folder import new_run
from aecli.runs.run import Run
from tests.reported_runs import judged, png, stopped, swept, trained


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
