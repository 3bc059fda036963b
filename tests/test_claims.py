"""Every claim of the chapter: its verdict changes when the evidence does."""

import dataclasses

import pytest

from aecli.chapter import CLAIMS, Advantage, Evidence, LinearCheck, judge_all
from aecli.chapter.claims import agrees, over_seeds

CHECK = LinearCheck(8, 0.0372, 0.03721, 0.0372, 1.0, 3.0, 0.4)

# As the chapter has it, wherever a claim could hold.
AS_PRINTED = Evidence(
    code_shape=(8, 32),
    reconstruction_shape=(8, 784),
    compression_ratios={2: 392, 8: 98, 32: 24.5, 784: 1},
    chapter_train_mse=[[0.0461, 0.0292, 0.025, 0.022, 0.0204]] * 3,
    chapter_test_mse={2: [0.052], 8: [0.028], 32: [0.020], 784: [0.0000]},
    test_mse={16: [0.0300], 32: [0.0200], 64: [0.0195], 2: [0.05], 8: [0.02], 784: [0.0]},
    wide_test_mse=[0.0],
    wide_probe_accuracy=0.91,
    raw_probe_accuracy=0.91,
    narrowest_784=64,
    pca_test_mse={2: 0.056, 32: 0.0241, 64: 0.009},
    code2_knn_accuracy=0.7,
    advantages=[Advantage(2, 0.04, 0.056, 17), Advantage(32, 0.02, 0.0241, 74)],
    linear_checks=[CHECK],
    unit_order=[0.1],
    unit_correlation=[0.2],
    pca_unit_correlation=0.01,
    smear_trained=(0.41, 0.58),
    smear_untrained=(0.44, 0.57),
    normal_in_hole=0.99,
    code_deviations=[(2.0, 40.0)],
    code_centres=[(-8.0, 8.0)],
    leaving_2=0.6,
    leaving_32=0.5,
    leaving_pca_2=0.1,
    frechet={"floor": 1.0, "standard-normal": 90.0, "mixture": 20.0},
)

# Claim -> (what is measured instead, how its verdict starts).
OTHERWISE = {
    "shapes": ({"code_shape": (8, 2)}, "does not hold"),
    "training-mse": (
        {"chapter_train_mse": [[0.067, 0.033, 0.025, 0.022, 0.0204]]},
        "holds only if",
    ),
    "falling-mse": ({"chapter_train_mse": [[0.04, 0.05, 0.03, 0.02, 0.01]]}, "does not hold"),
    "table-2": ({"chapter_test_mse": {2: [0.0451, 0.0452]}}, "does not hold"),
    "table-8": ({"chapter_test_mse": {8: [0.0236]}}, "does not hold"),
    "table-32": ({"chapter_test_mse": {32: [0.03]}}, "does not hold"),
    "identity": ({"chapter_test_mse": {784: [0.017]}}, "holds only if no layer is narrower"),
    "meaningless": ({"wide_probe_accuracy": 0.97}, "does not hold"),
    "compression": ({"compression_ratios": {2: 392, 8: 98, 32: 25, 784: 1}}, "does not hold"),
    "diminishing": (
        {"test_mse": AS_PRINTED.test_mse | {32: [0.02], 64: [0.014]}},
        "holds only if the drop",
    ),
    "clusters": ({"code2_knn_accuracy": 0.2}, "does not hold"),
    "eckart-young": (
        {"linear_checks": [dataclasses.replace(CHECK, train_mse=0.05)]},
        "does not hold",
    ),
    "pca-32": ({"pca_test_mse": {32: 0.01683}}, "does not hold"),
    "sanity-check": (
        {"pca_test_mse": {32: 0.0168}, "test_mse": {32: [0.005]}},
        "holds only if it is trained further",
    ),
    "advantage": ({"advantages": [Advantage(2, 0.06, 0.05, 17)]}, "does not hold"),
    "unordered": ({"unit_order": [-0.99]}, "does not hold"),
    "no-scale": ({"code_deviations": [(0.9, 1.1)], "code_centres": [(-0.1, 0.2)]}, "does not hold"),
    "normal-in-hole": ({"normal_in_hole": 0.3}, "does not hold"),
    "grey-smear": ({"smear_trained": (0.0, 0.9)}, "holds only if the decoder was never trained"),
    "cannot-sample": ({"frechet": AS_PRINTED.frechet | {"standard-normal": 2.0}}, "does not hold"),
    "holes-on-the-path": ({"leaving_2": 0.01, "leaving_32": 0.0}, "does not hold"),
}


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
def test_a_claim_holds_on_the_chapters_numbers_and_not_on_others(claim):
    assert claim.judge(AS_PRINTED).verdict == "holds"
    change, verdict = OTHERWISE[claim.name]
    found = claim.judge(dataclasses.replace(AS_PRINTED, **change))
    assert found.verdict.startswith(verdict)
    assert found.measured
    assert found.reason


@pytest.mark.parametrize(
    ("name", "change", "verdict"),
    [
        ("training-mse", {"chapter_train_mse": [[0.1] * 5]}, "does not hold"),
        (
            "identity",
            {"chapter_test_mse": {784: [0.017]}, "wide_test_mse": [0.02]},
            "does not hold",
        ),
        ("sanity-check", {"pca_test_mse": {32: 0.001}}, "does not hold"),
        ("diminishing", {"test_mse": {16: [0.03], 32: [0.029], 64: [0.01]}}, "does not hold"),
        ("clusters", {"code2_knn_accuracy": 0.99}, "does not hold"),
        ("no-scale", {"code_deviations": [(0.9, 1.1)]}, "holds"),
        ("no-scale", {"code_centres": [(0.0, 0.1)]}, "holds"),
        ("meaningless", {"wide_probe_accuracy": 0.8}, "holds"),
        ("unordered", {"unit_correlation": [0.01]}, "does not hold"),
        ("holes-on-the-path", {"leaving_32": 0.0}, "holds only if the code dimension is 2"),
        ("holes-on-the-path", {"leaving_2": 0.0}, "holds only if the code dimension is 32"),
        ("grey-smear", {"smear_trained": (0, 1), "smear_untrained": (0, 1)}, "does not hold"),
    ],
)
def test_the_other_ways_out(name, change, verdict):
    [claim] = [claim for claim in CLAIMS if claim.name == name]
    assert claim.judge(dataclasses.replace(AS_PRINTED, **change)).verdict == verdict


def test_every_claim_is_judged_once():
    judged = judge_all(AS_PRINTED)
    assert len(judged) == len({claim.name for claim, _ in judged}) == len(OTHERWISE)


def test_agreement_is_within_the_spread():
    assert agrees(0.020, [0.0199, 0.0201])
    assert agrees(0.020, [0.018, 0.021])
    assert not agrees(0.0241, [0.01683])
    assert over_seeds([0.02]) == "0.0200 (1 seed)"
    assert over_seeds([0.01, 0.03]) == "0.0200 ± 0.0141 (2 seeds)"
