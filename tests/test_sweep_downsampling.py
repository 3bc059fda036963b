"""The sweep over grids: its table, what it is held to, and what it refuses."""

import csv
import json
import shutil

import pytest

from aecli.config import ElboLoss, SweepDownsamplingConfig
from aecli.config.grids import row_specs
from aecli.experiments.sweep_downsampling import fit_of
from aecli.runs.run import Run
from tests.conftest import FEW_IMAGES

TINY = (
    *("sweep-downsampling", "2", "4", "--code-dim", "196", *FEW_IMAGES, "--epochs", "1"),
    *("--set", "codec.width=2", "--set", "codec.widest=4", "--set", "fewer_at=4"),
    *("--set", "fewer=[49]", "--limit-train", "64", "--jobs", "1"),
)


FEWER = ("--code-dim", "49", "--set", "fewer=[]")


def table(folder):
    with (folder / "table.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_sweep_leaves_its_table(inside):
    done = inside(*TINY, "--set", "codecs=[conv,kl,dc-without-shortcuts,dc]")
    assert done.code == 0, done.stderr
    rows = table(done.run)
    kinds = [(row["codec"], row["downsampling"], row["shortcuts"]) for row in rows]
    assert kinds[:9] == [
        *(("dc", f, "True") for f in ("2", "4")),
        *(("dc", f, "False") for f in ("2", "4")),
        *(("kl", f, "") for f in ("2", "4")),
        *(("conv", f, "") for f in ("2", "4")),
        ("dc", "4", "True"),
    ]
    assert [row["codec"] for row in rows[9:13]] == ["pca", "dct", "rotated-dct", "thumbnail"]
    assert {row["numbers"] for row in rows[:8]} == {"196"}
    assert [row["code_shape"] for row in rows[:2]] == ["1x14x14", "4x7x7"]
    assert rows[8]["code_shape"] == "1x7x7"
    metrics = done.metrics()
    assert float(rows[1]["test_mse"]) == metrics["test_mse_dc_f4_196"]
    assert float(rows[9]["test_mse"]) == metrics["pca_test_mse_196"]
    for row in rows[:9]:
        of_pca = [r for r in rows if r["codec"] == "pca" and r["numbers"] == row["numbers"]]
        assert row["beats_pca"] == str(float(row["test_mse"]) < float(of_pca[0]["test_mse"]))
    with (done.run / "speed.csv").open() as file:
        assert all(float(row["decoder_seconds"]) > 0 for row in csv.DictReader(file))
    drawn = {path.name for path in done.run.glob("*.png")}
    assert {"downsampling.png", "reconstructions_dc.png", "reconstructions_kl.png"} <= drawn
    assert "| dc | 4 | 4x7x7 |" in (done.run / "table.md").read_text()
    assert Run(done.run).record["status"] == "completed"


def test_a_sweep_goes_on_to_the_same_table(inside):
    some = (*TINY, "--set", "codecs=[dc]", "--seeds", "2")
    first = inside(*some)
    rows = table(first.run)
    assert float(rows[0]["test_mse_sd"]) > 0
    (first.run / "table.csv").unlink()
    for kept in sorted((first.run / "jobs").glob("*"))[:2]:
        shutil.rmtree(kept)
    record = first.run / "run.json"
    record.write_text(record.read_text().replace('"completed"', '"interrupted"'))
    again = inside(*some, "--continue")
    assert again.run == first.run
    assert table(again.run) == rows


def test_kl_is_trained_by_its_bound_and_the_others_by_the_error():
    config = SweepDownsamplingConfig()
    assert fit_of("kl", config).loss == ElboLoss(beta=1e-6)
    assert {fit_of(kind, config).loss.name for kind in config.codecs if kind != "kl"} == {"mse"}


def test_all_rows_have_as_many_numbers():
    specs = row_specs(SweepDownsamplingConfig(fewer=()))
    assert len(specs) == 20
    assert {spec.codec.code_dim for spec in specs} == {256}
    factors = {spec.downsampling for spec in specs if spec.kind == "conv"}
    assert factors == {8, 16, 32, 64, 128}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["2", "--code-dim", "100"], "code_dim=100 must be a multiple of 196"),
        (["3"], "F: downsamplings.0=3 must be one of 2, 4, 8, 16, 32, 64 or 128"),
        (["4", "4"], "4 stands twice"),
        (["4", "--set", "codecs=[mlp]"], "codecs"),
        (["4", "--code-dim", "49", "--expect", "test_mse_dc_f8_49<1"], "the table has no such row"),
        (["4", "--expect", "fid<1"], "no metric is called 'fid'"),
        (
            ["4", "--code-dim", "49", "--set", "fewer=[]", "--set", "codec.from_pretrained=x"],
            "trained from scratch",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_there_is_a_run_folder(
    inside, tmp_path, arguments, message
):
    done = inside("sweep-downsampling", *arguments, *FEW_IMAGES)
    assert (done.code, done.stdout) == (2, ""), done.stderr
    assert message in done.stderr
    assert not list((tmp_path / "runs").glob("*Z-*"))


def test_a_quick_look_is_of_few_images_and_one_epoch(inside):
    asked = ("sweep-downsampling", "2", "4", "--code-dim", "196", "--set", "fewer_at=4")
    asked += ("--dataset", "mnist-5k", "--offline", "--dry-run", "--json")

    def looked(*more):
        told = json.loads(inside(*asked, *more).stdout)
        config = told["config"]
        return told["training_images"], config["train"]["epochs"], config["fewer"]

    assert looked("--quick") == (300, 1, [])
    assert looked("--quick", "--epochs", "2", "--set", "fewer=[49]") == (300, 2, [49])
    assert looked("--quick", "--set", "data.limit_train=64")[0] == 64
    assert looked("--set", "fewer=[49]") == (4000, 3, [49])
