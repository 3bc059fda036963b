"""`aecli tune`: what it proposes, trains and leaves, and what it never looks at."""

import csv
import json
import math
import sys
import time
from dataclasses import replace

import pytest

from aecli.codecs.grid_settings import KlConfig
from aecli.config import (
    ConvConfig,
    ElboLoss,
    FitConfig,
    LinearConfig,
    MlpConfig,
    MseLoss,
    TrainConfig,
    TuneConfig,
    resolve,
    set_layer,
    to_yaml,
    yaml_layer,
)
from aecli.config.tuning_space import Range, begun_from, largest, rungs, settled, space
from aecli.data.images import InMemory
from aecli.data.sources import default_places
from aecli.errors import DataError, JobsFailedError, UsageError
from aecli.experiments import tune, tune_search
from aecli.experiments.tune_search import (
    Found,
    Trial,
    _asked,
    _read,
    importances,
    job_of,
    propose,
    search,
)
from aecli.runs.context import Context
from aecli.runs.folder import new_run
from aecli.terminal import Terminal
from aecli.training.jobs import Trainings
from tests.conftest import FEW_IMAGES

MLP = TuneConfig(codec=MlpConfig(code_dim=4, hidden=(16, 8)), jobs=1)
SHAPE = (1, 28, 28)
TUNE = ("tune", *FEW_IMAGES, "--batch-size", "100", "--jobs", "1", "--offline")


def test_the_first_value_of_each_setting_is_the_one_begun_from():
    among = space(MLP, SHAPE, 1000)
    codec, train = settled(MLP, begun_from(MLP, among))
    assert (codec, train) == (MLP.codec, MLP.train)
    assert among["lr"] == Range(0.025 / 8, 0.2)
    assert among["batch_size"] == (256, 64, 128, 512)
    assert among["depth"] == (2, 1, 3)
    assert space(MLP, SHAPE, 300)["batch_size"] == (256, 64, 128)


@pytest.mark.parametrize(
    ("chosen", "hidden"),
    [
        ({"width": 2.0}, (32, 16)),
        ({"depth": 1}, (16,)),
        ({"depth": 3, "width": 0.5}, (8, 4, 4)),
    ],
)
def test_width_and_depth_are_of_the_hidden_layers(chosen, hidden):
    assert settled(MLP, chosen)[0].hidden == hidden


def test_convolutional_codecs_have_width_and_depth_and_linear_ones_none():
    conv = TuneConfig(codec=ConvConfig(code_dim=4, width=8, depth=2))
    codec, _ = settled(conv, {"width": 0.5, "depth": 3})
    assert (codec.width, codec.depth) == (4, 3)
    linear = TuneConfig(codec=LinearConfig(code_dim=4))
    assert space(linear, SHAPE, 1000).keys().isdisjoint({"width", "depth"})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["codec.name=dct"], "codec.name=dct is solved for"),
        (["data.val=0"], "data.val=0: there are no validation images"),
        (["budget=ten minutes"], "not a time, as 90s, 10m or 1.5h"),
        (["budget=0.5s"], "budget=0.5"),
        (["tuned=[speed]"], "tuned"),
    ],
)
def test_what_cannot_be_tuned_is_refused(settings, message):
    with pytest.raises(UsageError) as error:
        resolve(TuneConfig, [set_layer(settings)])
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("given", "seconds"), [("90s", 90), ("10m", 600), ("1.5h", 5400), ("45", 45)]
)
def test_a_budget_is_a_time(given, seconds):
    assert resolve(TuneConfig, [set_layer([f"budget={given}"])]).budget == seconds


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_proposals_are_among_the_values_and_the_same_for_the_same_seed(sampler):
    among = space(MLP, SHAPE, 1000)
    tried = [
        Trial(propose(among, [], "random", seed), {0: 0.1 / (seed + 1)}, {0: 1.0})
        for seed in range(12)
    ]
    tried[3].scores[0] = math.inf
    proposed = propose(among, tried, sampler, 5)
    assert proposed == propose(among, tried, sampler, 5)
    assert proposed != propose(among, tried, sampler, 6)
    assert proposed.keys() == among.keys()
    for name, value in proposed.items():
        values = among[name]
        is_among = (
            values.low <= value <= values.high if isinstance(values, Range) else value in values
        )
        assert is_among, name


def test_tpe_learns_where_the_loss_is_low():
    """With a loss that falls with the learning rate, it proposes high ones."""
    among = {"lr": Range(0.001, 1.0)}

    def proposed(sampler):
        tried = []
        for seed in range(40):
            rate = propose(among, tried, sampler, seed)["lr"]
            tried.append(Trial({"lr": rate}, {0: -math.log(rate)}, {0: 1.0}))
        return [trial.chosen["lr"] for trial in tried[20:]]

    assert sum(rate > 0.3 for rate in proposed("tpe")) > 10
    assert sum(rate > 0.3 for rate in proposed("random")) < 10


def test_the_best_third_is_trained_for_longer_and_nobody_twice():
    config = MLP.model_copy(update={"train": FitConfig(epochs=9)})
    assert rungs(config) == (1, 3, 9, 27)
    among = space(config, SHAPE, 1000)
    trials = [Trial(begun_from(config, among))]
    first = _asked(config, among, trials, 5)
    assert first[:2] == [(trials[0], 9), (trials[0], 1)]
    assert [epochs for _, epochs in first[2:]] == [1, 1, 1]
    trials += [trial for trial, _ in first[2:]]
    for number, trial in enumerate(trials):
        trial.scores[1] = 1.0 / (number + 1)
    trials[0].scores[9] = 0.1
    second = _asked(config, among, trials, 4)
    assert second[0] == (trials[3], 3)  # of four the last is the best
    assert [epochs for _, epochs in second[1:]] == [1, 1, 1]
    trials[3].scores[3] = 0.2
    assert trials[3] not in [trial for trial, _ in _asked(config, among, trials, 4)]


def test_few_values_are_tried_once_each():
    config = MLP.model_copy(update={"tuned": ("mirror", "depth"), "train": FitConfig(epochs=1)})
    among = space(config, SHAPE, 1000)
    trials = [Trial(begun_from(config, among))]
    asked = _asked(config, among, trials, 100)
    chosen = [tuple(trial.chosen.values()) for trial, _ in asked[1:]]
    assert len(set(chosen)) == 6
    assert rungs(config) == (1,)


def test_rungs_are_whole_trainings_and_epochs_are_tuned_by_one_more():
    assert rungs(TuneConfig(train=FitConfig(epochs=18))) == (2, 6, 18, 54)
    assert rungs(TuneConfig(train=FitConfig(epochs=18), tuned=("lr",))) == (2, 6, 18)
    assert rungs(TuneConfig(train=FitConfig(epochs=2))) == (1, 2, 6)
    assert job_of(TuneConfig(), {}, 3).fit.epochs == 3


@pytest.mark.parametrize("side", [28, 256, 1000])
def test_every_value_is_one_that_a_config_takes(side):
    for codec in (MLP.codec, ConvConfig(code_dim=4, width=4096), KlConfig(code_dim=256)):
        loss = ElboLoss() if codec.is_variational else MseLoss()
        config = TuneConfig(codec=codec, train=FitConfig(loss=loss))
        among = space(config, (1, side, side), 1000)
        for name, values in among.items():
            for value in (values.low, values.high) if isinstance(values, Range) else values:
                each = settled(config, {name: value})
                for section in each:
                    assert type(section).model_validate(section.model_dump()) == section


def test_the_largest_is_as_wide_deep_and_many_as_any_that_is_tried():
    found = largest(MLP)
    assert found.codec.hidden == (32, 16, 16)
    assert found.train.batch_size == 512
    assert largest(MLP.model_copy(update={"tuned": ("lr",)})) == MLP.model_copy(
        update={"tuned": ("lr",)}
    )


def test_seeds_of_any_size_propose():
    among = {"lr": Range(0.1, 1.0)}
    seed = tune_search._seed(2**32 - 1, 10**6)
    assert 0 <= seed < 2**32
    assert propose(among, [], "tpe", seed)


@pytest.mark.parametrize(
    "codec",
    [
        MlpConfig(code_dim=4, hidden=(16,), variational=True),
        KlConfig(code_dim=196),
        ConvConfig(code_dim=4, width=8, path="pca"),
    ],
)
def test_what_is_found_is_what_the_yaml_says(codec, tmp_path):
    loss = ElboLoss() if codec.is_variational else MseLoss()
    config = TuneConfig(codec=codec, train=FitConfig(loss=loss))
    chosen = {"lr": 0.0123, "batch_size": 64, "elastic": 1.5, "mirror": True}
    trial = Trial({**chosen, "width": 0.5, "depth": 2}, {3: -1.0}, {3: 1.0})
    among = space(config, SHAPE, 1000)
    found = Found(config, among, [Trial(begun_from(config, among)), trial], 1.0)
    (tmp_path / "tuned.yaml").write_text(to_yaml(tune._tuned(found)))
    read = resolve(TrainConfig, [yaml_layer(tmp_path / "tuned.yaml")])
    assert (read.codec, read.train) == (found.best_job.codec, found.best_job.fit)


def test_losses_below_zero_are_compared_too():
    among = {"lr": Range(0.1, 1.0), "mirror": (False, True)}
    trials = [
        Trial({"lr": 0.1 + 0.1 * n, "mirror": n % 2 == 0}, {1: -float(n)}, {1: 1.0})
        for n in range(8)
    ]
    shares = importances(Found(TuneConfig(), among, trials, 1.0))
    assert shares["lr"] > shares["mirror"]
    assert sum(shares.values()) == pytest.approx(1)


@pytest.fixture
def context(tmp_path):
    return Context(tmp_path, default_places(), [], Terminal())


class Untouched(InMemory):
    """Images that nobody may look at."""

    def read(self, indices):
        raise AssertionError("the test images were looked at")


def test_a_search_goes_on_from_its_journal_and_never_sees_a_test_image(tmp_path, images, context):
    unseen = replace(images, test=Untouched(images.test.all().images, images.test.labels))
    few = MLP.model_copy(update={"budget": 8.0, "train": FitConfig(epochs=1, batch_size=100)})
    with new_run(tmp_path, few, "x", []) as run_dir:
        first = search(few, unseen, run_dir, context)
        kept, used = _read(run_dir)
        assert used == pytest.approx(first.used, abs=0.5)
        assert kept == list(first.trials)
        assert first.best[0].scores[first.best[1]] <= first.default
        longer = few.model_copy(update={"budget": used + 3.0})
        second = search(longer, unseen, run_dir, context)
        assert [t.chosen for t in second.trials[: len(kept)]] == [t.chosen for t in kept]
        assert second.used > used
        (run_dir.path / "trials.json").write_text('{"trials": 3}')
        with pytest.raises(DataError, match="not a journal"):
            search(few, unseen, run_dir, context)


def test_the_command_leaves_a_config_that_scores_what_its_head_says(inside):
    done = inside(*TUNE, "--budget", "10s", "--epochs", "2", "--expect", "val_loss_fall>=0")
    assert done.code == 0, done.stderr
    assert "seed 0" in done.stderr
    assert "3 seeds" not in done.stderr
    numbers = done.metrics()
    text = (done.run / "tuned.yaml").read_text()
    assert "the test images were not looked at" in text
    trained = inside("train", "--config", str(done.run / "tuned.yaml"), "--threads", "1")
    assert trained.code == 0, trained.stderr
    assert trained.metrics()["val_mse"] == pytest.approx(numbers["val_loss"], rel=1e-6)
    rows = list(csv.DictReader((done.run / "trials.csv").read_text().splitlines()))
    assert len(rows) == numbers["trainings"]
    assert min(float(row["val_loss"]) for row in rows if row["val_loss"]) == pytest.approx(
        numbers["val_loss"]
    )
    assert (done.run / "tuning.png").is_file()
    table = list(csv.DictReader((done.run / "what_matters.csv").read_text().splitlines()))
    assert table[-1]["setting"] == "epochs"
    assert sum(float(row["share"] or 0) for row in table) == pytest.approx(1, abs=1e-6)
    page = inside("report", str(done.run), "-o", "page.html")
    assert page.code == 0, page.stderr


def test_an_interrupted_search_is_continued_in_its_folder(inside):
    done = inside(*TUNE, "--budget", "6s", "--epochs", "1")
    record = done.run / "run.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"status": "interrupted"}))
    again = inside(*TUNE, "--budget", "6s", "--epochs", "1", "--continue")
    assert (again.code, again.run) == (0, done.run), again.stderr
    assert again.metrics()["val_loss"] <= done.metrics()["val_loss"]


def test_the_absence_of_optuna_names_the_extra(inside, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    done = inside(*TUNE, "--budget", "5s")
    assert done.code == 2
    assert "tune needs Optuna: pip install 'aecli[tune]'" in done.stderr


def test_nothing_left_to_choose_is_told(monkeypatch):
    monkeypatch.setattr(tune.facts, "image_shape", lambda data: SHAPE)
    config = TuneConfig(codec=LinearConfig(code_dim=4), tuned=("width",))
    with pytest.raises(UsageError, match="tuned=width: codec linear leaves no choice"):
        tune.check(config, 1000)


def test_a_budget_in_which_nothing_is_trained_says_so(tmp_path, images, context, monkeypatch):
    monkeypatch.setattr(tune_search, "train_all", lambda *_: time.sleep(2) or Trainings({}, {}))
    few = MLP.model_copy(update={"budget": 1.0, "train": FitConfig(epochs=1, batch_size=100)})
    with new_run(tmp_path, few, "x", []) as run_dir:
        found = search(few, images, run_dir, context)
    assert math.isnan(found.default)
    with pytest.raises(UsageError, match="no setting was trained in 2 s"):
        _ = found.best


def test_trainings_that_all_fail_end_the_search_with_the_reason(
    tmp_path, images, context, monkeypatch
):
    def fail(jobs, *_):
        return Trainings({}, dict.fromkeys(jobs, "training diverged"))

    monkeypatch.setattr(tune_search, "train_all", fail)
    few = MLP.model_copy(update={"budget": 600.0, "train": FitConfig(epochs=1, batch_size=100)})
    with (
        new_run(tmp_path, few, "x", []) as run_dir,
        pytest.raises(JobsFailedError, match="training diverged"),
    ):
        search(few, images, run_dir, context)


def test_what_does_not_fit_is_passed_over_for_what_does(images):
    pace = tune_search._Pace(images)
    short, long = (job_of(MLP, {}, epochs) for epochs in (1, 100))
    assert pace.fitting([long, short, short], 10.0, 2) == [long, short]  # nothing is known
    for epochs in (1, 2):
        pace.add(job_of(MLP, {}, epochs), float(epochs))
    assert pace.fitting([long, short], 10.0, 1) == [short]
    assert pace.fitting([long, short], 0.5, 1) == []
