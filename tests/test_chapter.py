"""Judgements: every verdict changes when the evidence does."""

import dataclasses

import pytest

from aecli.chapter import (
    Advantage,
    CodeReading,
    LinearCheck,
    compare_linear,
    describe_code,
    explain_trend,
    judge_advantage,
    judge_eckart_young,
    judge_sanity_check,
    table_mse_of,
    training_mse_of,
)


def test_the_sanity_check_goes_both_ways():
    assert judge_sanity_check(0.5, 1.0).reason == "beats PCA: its error is 50.0% lower"
    assert judge_sanity_check(1.5, 1.0).reason == "does not beat PCA: its error is 50.0% higher"
    same = judge_sanity_check(1.0, 1.0)
    assert (same.holds, same.reason) == (False, "does not beat PCA: its error is the same")
    no_error = judge_sanity_check(0.001, 1e-14).reason
    assert no_error == "does not beat PCA: its error is 0.00100, where PCA has none"


def test_a_linear_codec_is_not_blamed_for_losing_to_pca():
    assert compare_linear(1.5, 1.0).startswith("its error is 50.0% higher; on training images no")


def test_many_times_an_error_is_said_as_a_factor():
    assert judge_sanity_check(167.0, 1.0).reason.endswith("its error is 167 times PCA's")
    assert judge_sanity_check(10.9, 1.0).reason.endswith("990.0% higher")
    bad, good = Advantage(8, 191.0, 1.0, 50.0), Advantage(2, 0.5, 1.0, 50.0)
    assert bad.relative_in_words(1) == "error 191 times PCA's"
    assert good.relative_in_words(1) == "+50.0%"
    said = explain_trend([good, bad])
    assert "largest at 2 (+50%) and smallest at 8 (error 191 times PCA's)" in said
    assert "mse per pixel, error 191 times PCA's." in explain_trend([bad])
    assert "mse per pixel, +50% of PCA's own error." in explain_trend([good])
    far = judge_eckart_young([dataclasses.replace(GOOD, train_mse=3.72)])
    assert "is at most 100 times the discarded tail" in far.reason


def test_the_chapters_numbers_stand_beside_mnists_alone():
    for of in (table_mse_of, training_mse_of):
        assert of("mnist")
        assert of("mnist-5k") == of("fashion-mnist") == {}


GOOD = LinearCheck(8, 0.0372, 0.03721, 0.0372, 1.0, 3.0, 0.4)


@pytest.mark.parametrize(
    ("change", "holds", "says"),
    [
        ({}, True, "Eckart-Young holds"),
        ({"train_mse": 0.05}, False, "not reached"),
        ({"train_mse": 0.03}, False, "below the bound"),
        ({"angle_degrees": 40.0}, False, "not reached"),
        ({"mix_condition": 1e9}, False, "not reached"),
    ],
)
def test_eckart_young_can_fail(change, holds, says):
    verdict = judge_eckart_young([GOOD, dataclasses.replace(GOOD, **change)])
    assert verdict.holds == holds
    assert says in verdict.reason


def test_where_pca_leaves_no_error_there_is_nothing_to_be_above_of():
    exact = dataclasses.replace(GOOD, code_dim=784, tail_mse=0.0, train_mse=0.001, angle_degrees=80)
    assert exact.excess_percent is None
    assert exact.row()["excess_percent"] is None
    with_others = judge_eckart_young([GOOD, exact])
    assert with_others.holds
    assert with_others.reason.endswith(
        "At 784 PCA leaves no error, and there is no tail to compare with."
    )
    alone = judge_eckart_young([exact])
    assert alone.holds is None
    assert "not judged" in alone.reason


def test_eckart_young_is_not_judged_of_masked_images():
    masked = dataclasses.replace(GOOD, tail_mse=None, train_mse=0.001)
    assert masked.excess_percent is None
    assert masked.row()["discarded_tail_mse"] is None
    verdict = judge_eckart_young([masked])
    assert verdict.holds is None
    assert verdict.reason.startswith("Eckart-Young is not judged: it is of whole images")


def test_the_advantage_is_found_where_it_is():
    advantages = [
        Advantage(2, 0.5, 0.6, 20),
        Advantage(8, 0.1, 0.4, 50),
        Advantage(32, 0.09, 0.1, 80),
        Advantage(64, 0.001, 0.03, 95),
    ]
    trend = judge_advantage(advantages)
    assert (trend.largest_at, trend.smallest_at) == (8, 32)
    assert (trend.largest_relative_at, trend.smallest_relative_at) == (64, 32)
    assert "largest at code dimension 8" in explain_trend(advantages)
    losing = [*advantages, Advantage(100, 0.2, 0.1, 99)]
    assert judge_advantage(losing).smallest_at == 100
    said = explain_trend(losing)
    assert "At 100 the network, as it was trained here, does not beat PCA." in said
    assert "grows" not in said


def test_a_trend_is_told_only_where_there_is_one():
    rising = [Advantage(2, 0.5, 0.6, 20), Advantage(8, 0.1, 0.4, 50)]
    assert "grows with the code, from 17% to 75%" in explain_trend(rising)
    falling = [Advantage(2, 0.1, 0.6, 20), Advantage(8, 0.3, 0.4, 50)]
    assert "falls with the code, from 83% to 25%" in explain_trend(falling)
    up_and_down = [*rising, Advantage(16, 0.29, 0.3, 80)]
    assert "with the code" not in explain_trend(up_and_down)
    alone = explain_trend(rising[:1])
    assert "at code dimension 2 is +0.10000 mse per pixel, +17% of PCA's own error" in alone
    assert "largest" not in alone


def test_an_advantage_over_no_error_has_no_percent():
    exact = Advantage(784, 0.002, 1e-14, 100)
    trend = judge_advantage([Advantage(2, 0.5, 0.6, 20), exact])
    assert exact.percent is None
    assert (trend.largest_relative_at, trend.smallest_relative_at) == (2, 2)
    assert judge_advantage([exact]).largest_relative_at is None
    assert "At 784 the network" in explain_trend([exact])


SHARP = CodeReading(0.97, 0.97, 0.9, 0.9, 0.95, copies=False)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({}, "the label, slant, thickness (97% read right); decoded sharp"),
        (
            {
                "probe_accuracy": 0.4,
                "knn_accuracy": 0.6,
                "slant_r2": 0.3,
                "thickness_r2": 0.1,
                "sharpness": 0.5,
            },
            "coarse identity, a hint of slant (60% read right); decoded blurred",
        ),
        (
            {"copies": True},
            "a near copy; the label is read from it 6.0 points better than from the pixels",
        ),
        (
            {"copies": True, "probe_accuracy": 0.9},
            "a near copy; the label is read from it 1.0 points worse than from the pixels",
        ),
        (
            {"copies": True, "probe_accuracy": 0.9101},
            "a near copy; the label is read from it as well as from the pixels",
        ),
    ],
)
def test_what_a_code_holds_follows_from_the_numbers(change, sentence):
    assert describe_code(dataclasses.replace(SHARP, **change), raw_probe_accuracy=0.91) == sentence
