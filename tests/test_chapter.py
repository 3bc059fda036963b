"""Judgements: every verdict changes when the evidence does."""

import dataclasses

import pytest

from aecli.chapter import (
    Advantage,
    CodeReading,
    LinearCheck,
    describe_code,
    explain_trend,
    judge_advantage,
    judge_eckart_young,
    judge_sanity_check,
)


def test_the_sanity_check_goes_both_ways():
    assert judge_sanity_check(0.5, 1.0).reason == "beats PCA: its error is 50.0% lower"
    assert judge_sanity_check(1.5, 1.0).reason == "does not beat PCA: its error is 50.0% higher"
    assert not judge_sanity_check(1.0, 1.0).holds


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
    assert "At 100 the network does not beat PCA" in explain_trend(losing)


SHARP = CodeReading(0.97, 0.97, 0.9, 0.9, 0.95, copies=False)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({}, "the digit, slant, thickness (97% read right); decoded sharp"),
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
            "a near copy; the digit is read from it 6.0 points better than from the pixels",
        ),
        (
            {"copies": True, "probe_accuracy": 0.9},
            "a near copy; the digit is read from it 1.0 points worse than from the pixels",
        ),
    ],
)
def test_what_a_code_holds_follows_from_the_numbers(change, sentence):
    assert describe_code(dataclasses.replace(SHARP, **change), raw_probe_accuracy=0.91) == sentence
