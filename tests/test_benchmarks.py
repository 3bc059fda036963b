"""The benchmark's arithmetic and tables, from raw values that are known; nothing is timed here."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

# The benchmarks are not installed. Appended, so that aecli stays the installed one.
sys.path.append(str(Path(__file__).parents[1]))

from benchmarks import clock, floor, report
from benchmarks.clock import Enough, QualityClock, mse_per_pixel
from benchmarks.contenders import CHAPTER_LOOP, Contender, contenders
from benchmarks.processes import without_paths
from benchmarks.summary import Measurement, epoch_row, quality_row, sooner, throughput_ratio
from benchmarks.task import Task


def epochs(repeat, seconds, floor_seconds, contender="aecli chapter 256 fp32"):
    values = {"epoch_seconds": seconds, "peak_mib": 500.0}
    return Measurement(repeat, "epochs", contender, 256, values, floor_seconds)


def quality(repeat, reached, contender="aecli muon 512", spent=30.0):
    values = {"reached": reached, "spent_seconds": spent, "best_mse": 0.01, "peak_mib": 500.0}
    return Measurement(repeat, "quality", contender, 256, values, floor_seconds=0.5)


def test_a_ratio_is_to_the_floor_of_its_own_repeat():
    # The second repeat ran on a machine twice as slow: its seconds move, its ratio does not.
    row = epoch_row([epochs(0, [9, 1.2, 1.0], 1.0), epochs(1, [2.4, 2.4, 2.4], 2.0)])
    assert row.seconds == pytest.approx((1.2 + 2.4) / 2)
    assert row.ratio == row.lowest_ratio == row.highest_ratio == pytest.approx(1.2)


def test_where_the_floor_took_turns_an_epochs_ratio_is_to_those_around_it():
    # A machine that slows down all the time: only neighbours compare.
    values = {"epoch_seconds": [1.5, 4.5, 9.0], "floor_seconds": [0.5, 1.5, 4.5, 4.5]}
    one = Measurement(0, "epochs", "aecli", 256, values | {"peak_mib": 500.0}, floor_seconds=9.0)
    assert epoch_row([one]).ratio == pytest.approx(1.5)


def test_the_clock_times_the_floor_in_turns(monkeypatch):
    now = 100.0
    monkeypatch.setattr(clock, "time", SimpleNamespace(perf_counter=lambda: now))

    def floor_epoch():
        nonlocal now
        now += 7.0

    timed = clock.EpochClock(epochs=2, budget=60, floor=floor_epoch)
    timed.start(lambda images: images)
    now += 2.0
    timed.epoch()
    now += 3.0
    with pytest.raises(Enough):
        timed.epoch()
    assert timed.values() == {"epoch_seconds": [2.0, 3.0], "floor_seconds": [7.0, 7.0, 7.0]}


def test_a_target_missed_in_most_repeats_is_not_reached():
    found = [quality(0, [2.0, None]), quality(1, [3.0, 9.0]), quality(2, [4.0, None])]
    first, second = (quality_row(found, i, target=0.01) for i in (0, 1))
    assert (first.seconds, first.floor_epochs, first.reached) == (3.0, 6.0, 3)
    assert (second.seconds, second.reached) == (float("inf"), 1)


def test_how_much_sooner_is_judged_repeat_by_repeat():
    ours = [quality(0, [1.0, None]), quality(1, [2.0, None])]
    theirs = [quality(1, [40.0, None], spent=40.0), quality(0, [None, None], spent=60.0)]
    found = sooner(ours, theirs, 0)
    assert (found.times, found.at_least) == ((60 + 20) / 2, True)
    assert sooner(ours, theirs, 1) is None
    assert sooner(ours, [], 0) is None


def test_two_jobs_that_take_no_longer_than_one_are_twice_the_throughput():
    def swept(together):
        values = {"alone_seconds": 10.0, "together_seconds": together}
        return throughput_ratio(Measurement(0, "sweep", "sweep", values=values))

    assert swept([10.0, 8.0]) == 2.0
    assert swept([20.0, 20.0]) == 1.0


def test_the_floors_products_are_those_of_a_training_step():
    # Three products per weight, but no gradient of the first layer's input.
    weights = [n * m for n, m in zip(floor.WIDTHS, floor.WIDTHS[1:], strict=False)]
    found = floor.products(8, torch.float32)
    assert sum(product.flops for product in found) == 2 * 8 * (3 * sum(weights) - weights[0])
    for product in found:
        product.run()
        assert torch.allclose(product.out, product.left @ product.right, atol=1e-5)


def test_the_floors_shapes_are_autograds():
    found = floor.products(8, torch.float32)
    shapes = [tuple(product.out.shape) for product in found]
    outputs, gradients = shapes[: len(floor.WIDTHS) - 1], shapes[len(floor.WIDTHS) - 1 :]
    assert outputs == [(8, width) for width in floor.WIDTHS[1:]]
    assert gradients[-1] == (256, 784)
    assert (8, 784) not in gradients


def test_the_clock_stands_still_while_it_looks_and_stops_at_the_last_target(monkeypatch):
    now = 100.0
    monkeypatch.setattr(clock, "time", SimpleNamespace(perf_counter=lambda: now))
    errors = iter([0.3, 0.2, 0.1])

    def reconstruct(images):
        nonlocal now
        now += 1000.0
        return images + next(errors)

    looks = QualityClock([0.05, 0.02], np.full((10, 784), 0.5, np.float32), budget=60)
    looks.start(reconstruct)
    now += 2.0
    looks.step()
    now += 3.0
    looks.step()
    now += 5.0
    with pytest.raises(Enough):
        looks.epoch()
    values = looks.values()
    assert [mse for _, mse in values["curve"]] == pytest.approx([0.09, 0.04, 0.01], rel=1e-5)
    assert values["reached"] == [5.0, 10.0]
    assert values["spent_seconds"] == 10.0


def test_the_mse_is_over_all_images():
    images = np.random.default_rng(0).random((2100, 784), dtype=np.float32)
    zeros = mse_per_pixel(np.zeros_like, images)
    assert zeros == pytest.approx(np.square(images.astype(np.float64)).mean(), rel=1e-9)


def test_contenders_have_names_of_their_own():
    names = [(contender.name, contender.measure) for contender in contenders()]
    assert len(names) == len(set(names))


def test_who_cannot_run_is_skipped_with_the_reason():
    from benchmarks.__main__ import why_not

    absent = Contender("absent", "epochs", "keras", 256, needs="no_such_module")
    assert why_not(absent) == "no_such_module is not installed"
    newer = Contender("newer", "epochs", "aecli", 256, {"recipe": "muon", "no_such_key": 1})
    assert why_not(newer) == "aecli has no setting no_such_key"
    assert why_not(Contender("fine", "epochs", "aecli", 256, {"recipe": "muon"})) is None


def results(measurements):
    machine = {
        "cpu": "A Processor",
        "cores": 2,
        "flags": ["avx2"],
        "memory_gib": 8.0,
        "system": "Linux x86_64",
        "python": "3.11.7",
        "threads": 2,
        "versions": {"torch": "2.10", "keras": None},
    }
    settings = {
        "repeats": 2,
        "epochs": 3,
        "budget_seconds": 60,
        "train_images": 60_000,
        "targets": [0.0168, 0.006],
    }
    raw = [m.as_dict() for m in measurements]
    return {"machine": machine, "settings": settings, "measurements": raw}


def test_the_tables_show_values_reasons_and_bounds(tmp_path):
    measurements = [
        Measurement(0, "floor", "floor fp32 256", 256, epochs(0, [0.5], None).values),
        epochs(0, [0.65], 0.5),
        Measurement(0, "epochs", "Keras on torch", problem="skipped: keras is not installed"),
        quality(0, [2.0, 4.0]),
        quality(0, [44.0, None], CHAPTER_LOOP, spent=60.0),
    ]
    report.write(results(measurements), tmp_path)
    lines = (tmp_path / "results.md").read_text().splitlines()

    def cells(start):
        [line] = [line for line in lines if line.startswith(f"| {start}")]
        return [cell.strip() for cell in line.strip("|").split("|")]

    assert cells("floor fp32 256")[2:4] == ["0.500", "1.00"]
    assert cells("aecli chapter 256 fp32")[2:4] == ["0.650", "1.30"]
    assert cells("Keras on torch")[1] == "skipped: keras is not installed"
    assert cells("aecli muon 512")[1:6] == ["2.00", "4.00", "4.0", "8.0", "22.0"]
    assert cells(CHAPTER_LOOP)[1:3] == ["44.00", "not reached in 60 s"]
    assert cells("chapter recipe, batch 256")[1:] == ["1.30", "**no**"]
    assert cells("chapter recipe, batch 1024")[1:] == ["not measured", "-"]
    assert cells("test mse 0.0060")[1:] == ["8.00", "yes"]
    assert cells("PCA-32's test mse >= 15 times")[1:] == ["22.00", "yes"]
    columns = {line.count("|") for line in lines if line.startswith("| Keras")}
    assert columns == {line.count("|") for line in lines if line.startswith("| contender | batch")}
    assert len((tmp_path / "ratios.csv").read_text().splitlines()) == 1 + 2 + 2 * 2
    assert json.loads((tmp_path / "results.json").read_text())["machine"]["cores"] == 2


def beside(repeat, slower):
    """A repeat on a machine so many times slower than the first."""
    situations = [*report._COMPARED, *filter(None, report._COMPARED.values())]
    seconds = dict.fromkeys(situations, 4.0 * slower)
    seconds |= {"two at once": 9.0 * slower, "beside one busy process": 12.0 * slower}
    return Measurement(repeat, "neighbours", "neighbours", values={"seconds": seconds})


def test_what_neighbours_cost_is_over_the_same_alone_in_each_repeat():
    head, rows = report._beside_neighbours(report.Runs([beside(0, 1), beside(1, 2)], [], 9))
    table = {row[0]: row[1:] for row in rows}
    assert list(table) == list(report._COMPARED)
    assert {len(row) for row in rows} == {len(head)}
    assert table["two at once"] == ("13.50", "2.25", "2.25 to 2.25")
    assert table["as libgomp waits, alone"] == ("6.00", "", "")
    held = {
        text: holds for text, _, holds in report._bounds(report.Runs([beside(0, 1)], [1], 9))[1]
    }
    assert held["two trainings at once: <= 2.5 times one alone"] == "yes"
    assert held["a training beside one busy process: <= 2 times alone"] == "**no**"


def test_what_neighbours_cost_may_be_unmeasured():
    failed = Measurement(0, "neighbours", "neighbours", problem="failed: no memory")
    head, [row] = report._beside_neighbours(report.Runs([failed], [], 9))
    assert len(row) == len(head)
    assert "failed: no memory" in row


def test_a_task_survives_its_way_to_the_worker():
    task = Task("aecli", "data", 2, "quality", {"recipe": "muon"}, targets=(0.0168, 0.006))
    assert Task.from_json(task.to_json()) == task


def test_messages_name_no_folder_of_the_machine():
    message = "FileNotFoundError: No such file: '/home/someone/data/x.npy' and 3/4"
    assert without_paths(message) == "FileNotFoundError: No such file: 'x.npy' and 3/4"
