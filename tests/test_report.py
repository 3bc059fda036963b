"""`aecli report`: what stands on the page, and how large it is."""

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
from aecli.pages import hourglass, pictures, readings, tables
from aecli.pages.contents import Contents
from aecli.pages.report import PICTURES, page
from aecli.runs.folder import new_run
from aecli.runs.run import Run
from tests.reported_runs import png, stopped, swept, trained


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
    assert tables.cell(name, value).text == said


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
    epochs = [row[0].text for row in tables.history_table(Contents(Run(path), [])).rows]
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
