"""--expect: its form, its comparisons, and values that could not be measured."""

import math

import pytest

from aecli.cli.expect import check, parse, require_there
from aecli.cli.metric_names import METRICS
from aecli.config import LinearConfig, PcaCompareConfig, SweepConfig
from aecli.errors import ExpectationError, UsageError


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("test_mse<=0.5", True),
        ("test_mse<0.5", False),
        (" test_mse >= 5e-1 ", True),
        ("test_mse>0.5", False),
        ("test_mse==0.5", True),
        ("test_mse!=0.5", False),
        ("beats_pca==true", True),
        ("beats_pca==false", False),
        ("val_mse<inf", False),  # not measured
        ("pca_test_mse<=1", False),  # nan
    ],
)
def test_comparisons(text, holds):
    measured = {"test_mse": 0.5, "beats_pca": True, "val_mse": None, "pca_test_mse": math.nan}
    expectation = parse(text, "train")
    if holds:
        check([expectation], measured)
    else:
        with pytest.raises(ExpectationError, match=r"expected .* measured"):
            check([expectation], measured)


def test_every_missed_one_is_told():
    expectations = [parse(f"test_mse<{bound}", "train") for bound in (1, 2, 9)]
    with pytest.raises(ExpectationError) as error:
        check(expectations, {"test_mse": 5})
    assert len(str(error.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("test_mse", "not of the form"),
        ("test_mse=1", "not of the form"),
        ("test_mse<=abc", "'abc' is not a number"),
        ("test_mse<=nan", "'nan' is not a number"),
        ("dataset<=mnist", "dataset is a word"),
        ("tset_mse<=1", "did you mean 'test_mse'?"),
    ],
)
def test_a_malformed_one_is_refused(text, message):
    with pytest.raises(UsageError, match=message.replace("?", r"\?")):
        parse(text, "train")


@pytest.mark.parametrize("experiment", METRICS)
def test_every_run_says_which_dataset_it_measured(experiment):
    assert METRICS[experiment][0] == "dataset"
    expectation = parse("dataset==mnist", experiment)
    check([expectation], {"dataset": "mnist"})
    for measured in ("mnist-5k", None):
        with pytest.raises(ExpectationError, match="expected dataset==mnist, measured"):
            check([expectation], {"dataset": measured})


@pytest.mark.parametrize(
    ("config", "metric", "is_there"),
    [
        (SweepConfig(), "test_mse_784", True),
        (SweepConfig(), "test_mse_784_wide", True),
        (SweepConfig(), "test_mse_16", False),
        (SweepConfig(), "test_mse_32_wide", False),
        (SweepConfig(), "test_mse_784_wide_sparse", False),
        (SweepConfig(variants=("sparse",)), "test_mse_784_wide_sparse", True),
        (SweepConfig(variants=("sparse",)), "test_mse_784_wide", False),
        (SweepConfig(codec=LinearConfig()), "test_mse_784_wide", False),
        (PcaCompareConfig(), "ae_test_mse_32", True),
        (PcaCompareConfig(code_dims=(784,)), "ae_test_mse_784_wide", False),
        (PcaCompareConfig(), "ae_test_mse_32_sparse", False),
    ],
)
def test_a_row_that_the_table_will_not_have_is_refused(config, metric, is_there):
    expectations = [parse(f"{metric}<1", config.experiment)]
    if is_there:
        require_there(expectations, config)
    else:
        with pytest.raises(UsageError, match="the table has no such row; its rows are "):
            require_there(expectations, config)


def test_a_dataset_that_is_none_is_refused():
    expectations = [parse("dataset==mnsit", "train")]
    with pytest.raises(UsageError, match=r"no dataset is called 'mnsit'; did you mean 'mnist'\?"):
        require_there(expectations, SweepConfig())
