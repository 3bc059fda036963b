"""Runs side by side, where the truth is known: groups, what differs, and which is called better."""

import math
import random

import pytest

from aecli.config import EXPERIMENTS
from aecli.runs.comparison import (
    HEADLINES,
    Entry,
    Estimate,
    Group,
    against,
    difference,
    differing,
    direction,
    grouped,
    judge,
    sections,
    statement,
)


def entry(name, mse, seed=0, command="train", images="mnist", **facts):
    settings = {"codec.code_dim": facts.pop("code_dim", 32)}
    metrics = mse if isinstance(mse, dict) else {"test_mse": mse}
    return Entry(name, command, seed, settings, images, metrics, **facts)


def group(name, values, **facts):
    return Group(tuple(entry(f"{name}{i}", v, i, **facts) for i, v in enumerate(values)))


WORSE = group("worse", [0.0200, 0.0201, 0.0199])
BETTER = group("better", [0.0160, 0.0161, 0.0159])
EQUAL = group("equal", [0.0161, 0.0160, 0.01595])


def test_a_clear_difference_is_called_better_and_its_size_is_told():
    verdict = judge("test_mse", [WORSE, BETTER])
    assert (verdict.leading, verdict.is_best, verdict.undecided) == (1, True, ())
    said = statement(verdict, ["A", "B"])
    # By hand: sd 0.0001 each, t(2 degrees, 97.5%) = 4.3027, error sqrt(2/3) * 0.0001.
    margin = 4.3027 * math.sqrt(2 / 3) * 0.0001
    assert verdict.nearest[1].low == pytest.approx(-0.004 - margin, rel=1e-3)
    assert verdict.nearest[1].high == pytest.approx(-0.004 + margin, rel=1e-3)
    assert said == (
        "test_mse: B is better than the other, by 0.004, 95% interval 0.00365 to 0.00435"
    )


def test_equals_are_not_told_apart():
    verdict = judge("test_mse", [EQUAL, BETTER])
    assert (verdict.is_best, verdict.reason) == (False, "")
    assert len(verdict.undecided) == 1
    assert "seeds do not tell it from" in statement(verdict, ["A", "B"])


def test_the_best_is_better_than_every_other():
    verdict = judge("test_mse", [EQUAL, WORSE, BETTER])
    assert (verdict.leading, verdict.is_best, verdict.undecided) == (2, False, (0,))
    assert judge("test_mse", [WORSE, BETTER, group("c", [0.03, 0.031])]).is_best


@pytest.mark.parametrize("others", [[0.02], [0.02, 0.0201, 0.0199]])
def test_of_one_seed_nothing_can_be_said(others):
    verdict = judge("test_mse", [group("one", [0.001]), group("other", others)])
    assert not verdict.is_best
    assert "one seed only" in verdict.reason
    assert "nothing can be said" in statement(verdict, ["A", "B"])


def test_no_spread_is_no_certainty():
    """Two seeds may agree by chance in a metric of few values, or a seed may have no effect."""
    metric = {"probe_accuracy": 0.91}, {"probe_accuracy": 0.92}
    verdict = judge("probe_accuracy", [group("a", metric[:1] * 2), group("b", metric[1:] * 2)])
    assert not verdict.is_best
    assert verdict.reason == "no spread over seeds"


def test_a_codec_that_is_solved_for_needs_no_seeds():
    pca, dct = (group(name, [mse], is_solved=True) for name, mse in (("pca", 0.01), ("dct", 0.02)))
    assert judge("test_mse", [pca, dct]).is_best
    assert judge("test_mse", [BETTER, dct]).leading == 0
    assert judge("test_mse", [BETTER, dct]).is_best
    same = group("same", [0.01 * (1 + 1e-8)], is_solved=True)
    assert not judge("test_mse", [pca, same]).is_best, "rounding is no difference"


def test_more_is_better_where_that_is_so():
    low, high = ([{"psnr_db": x + y} for y in (0, 0.1, -0.1)] for x in (17, 20))
    verdict = judge("psnr_db", [group("low", low), group("high", high)])
    assert (verdict.leading, verdict.is_best) == (1, True)


def test_a_mean_over_seeds_of_its_own_has_its_own_spread():
    metrics = {"test_mse_8": 0.03, "test_mse_sd_8": 0.001, "seeds": 5}
    one = Group((entry("sweep", metrics, command="sweep-codedim"),))
    assert one.estimate("test_mse_8") == Estimate(0.03, 0.001, 5)
    two = entry("again", metrics, seed=1, command="sweep-codedim")
    assert len(grouped([*one.entries, two])) == 2, "their seeds overlap"


@pytest.mark.parametrize("broken", [None, "0.1", math.nan, math.inf, True, 10**400, [], {}])
def test_what_is_no_number_is_not_compared(broken):
    there = group("a", [{"test_mse": broken}, {"test_mse": 0.02}])
    assert there.estimate("test_mse") is None
    assert judge("test_mse", [there, BETTER]).leading is None


def test_beside_a_baseline():
    assert against(WORSE, BETTER, "test_mse")[0] == "better"
    assert against(BETTER, WORSE, "test_mse")[0] == "worse"
    assert against(BETTER, EQUAL, "test_mse")[0] == "undecided"
    assert against(BETTER, group("one", [0.5]), "test_mse") == (
        "nothing",
        "some have one seed only",
    )
    assert against(BETTER, EQUAL, "code_dim")[0] == "nothing"
    one, many = (against(WORSE, BETTER, "test_mse", n)[1] for n in (1, 20))
    assert many.high - many.low > one.high - one.low, "the more are compared, the wider"


def test_groups_differ_by_seed_alone():
    entries = [
        *(entry(f"a{seed}", 0.02, seed) for seed in range(3)),
        *(entry(f"b{seed}", 0.02, seed, code_dim=8) for seed in range(2)),
        entry("c", 0.02, images="fashion"),
        entry("d", 0.02, command="evaluate"),
    ]
    random.Random(0).shuffle(entries)
    found = {tuple(e.name for e in each.entries) for each in grouped(entries)}
    assert found == {("a0", "a1", "a2"), ("b0", "b1"), ("c",), ("d",)}


def test_a_seed_run_twice_is_no_further_evidence():
    old, new = entry("old", 0.03, begun="2026-01-01"), entry("new", 0.02, begun="2026-01-02")
    [only] = grouped([new, old])
    assert (only.entries, only.repeats) == ((new,), (old,))
    assert only.estimate("test_mse").n == 1


def test_a_baseline_stands_apart_from_runs_of_its_settings():
    found = grouped([entry("old", 0.03, 0), entry("new", 0.02, 1)], apart={"old"})
    assert len(found) == 2


def test_only_settings_that_differ_are_told():
    a, b = (
        Group((Entry(n, "train", 0, {"x": 1, "y": y, **z}, "", {}),))
        for n, y, z in (("a", [1], {}), ("b", [2], {"z": False}))
    )
    assert differing([a, b]) == {"y": ([1], [2]), "z": (None, False)}
    assert differing([a]) == {}


def test_sections_hold_what_can_be_compared_the_best_first():
    entries = [
        entry("w", 0.03, code_dim=2),
        entry("b", 0.01, code_dim=64),
        entry("f", 0.5, images="fashion"),
    ]
    first, second = sections(entries)
    assert [g.name for g in second.groups] == ["b", "w"]
    assert [g.name for g in first.groups] == ["f"]
    assert second.differing == {"codec.code_dim": (64, 2)}
    assert second.chosen() == ["test_mse"]


def test_every_command_has_headlines():
    assert HEADLINES.keys() == EXPERIMENTS.keys()


@pytest.mark.parametrize(
    ("metric", "better"),
    [
        ("test_mse", -1),
        ("test_mse_32_wide", -1),
        ("pca_test_mse", 0),
        ("pixels_probe_accuracy", 0),
        ("probe_accuracy_10", 1),
        ("frechet_floor", 0),
        ("frechet_gaussian", -1),
        ("frechet_full_gaussian", -1),
        ("code_dim", 0),
        ("train_seconds", 0),
    ],
)
def test_it_is_known_which_way_is_better(metric, better):
    assert direction(metric) == better


def drawn(draw, sizes, sds, means):
    return [
        group(str(i), [draw.gauss(mean, sd) for _ in range(n)])
        for i, (n, sd, mean) in enumerate(zip(sizes, sds, means, strict=True))
    ]


TIMES = 1500


@pytest.mark.parametrize(
    ("sizes", "sds"),
    [
        ((2, 2), (1, 1)),
        ((3, 3), (1, 1)),
        ((5, 5), (1, 1)),
        ((10, 2), (1, 3)),  # Welch's own degrees of freedom err in 11% here
        ((2, 10), (1, 0.1)),
        ((10, 3), (1, 2)),
        ((5, 10), (0.1, 1)),
        ((3,) * 5, (1,) * 5),
        ((5,) * 10, (1,) * 10),
    ],
    ids=str,
)
def test_equals_are_called_better_in_5_percent_at_most(sizes, sds):
    """Bound with three standard errors of the count, for what is drawn with a fixed seed."""
    draw = random.Random(0)
    false = sum(
        judge("test_mse", drawn(draw, sizes, sds, [10.0] * len(sizes))).is_best
        for _ in range(TIMES)
    )
    assert false / TIMES <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / TIMES)


@pytest.mark.parametrize("others", [1, 4, 10])
def test_equals_of_a_baseline_are_told_apart_in_5_percent_of_comparisons_at_most(others):
    draw = random.Random(1)
    false = 0
    for _ in range(TIMES // 2):
        baseline, *groups = drawn(draw, [4] * (others + 1), [1] * (others + 1), [9] * (others + 1))
        said = [against(baseline, each, "test_mse", others)[0] for each in groups]
        false += any(word in ("better", "worse") for word in said)
    assert false / (TIMES // 2) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / (TIMES // 2))


def test_what_is_better_is_found():
    """Of three seeds each, eight standard deviations; of five, three."""
    draw = random.Random(2)
    for n, apart, least in ((3, 8, 0.95), (5, 4, 0.95), (3, 1, 0.0)):
        verdicts = [
            judge("test_mse", drawn(draw, (n, n), (1, 1), (9, 9 + apart))) for _ in range(200)
        ]
        right = sum(v.is_best and v.leading == 0 for v in verdicts)
        wrong = sum(v.is_best and v.leading == 1 for v in verdicts)
        assert right / 200 >= least
        assert wrong <= 2


def test_the_interval_holds_the_true_difference():
    draw = random.Random(3)
    held = 0
    for _ in range(TIMES):
        a, b = (each.estimate("test_mse") for each in drawn(draw, (3, 6), (1, 2), (5, 7)))
        found = difference(a, b)
        held += found.low <= -2 <= found.high
    assert held / TIMES >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / TIMES)
