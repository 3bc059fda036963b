"""`aecli sample`: its samplers and metrics where the truth is known, and the command itself."""

import csv
import json
import math

import numpy as np
import pytest
import torch

from aecli import chapter, codecs, figures
from aecli.cli import metric_names
from aecli.codecs import store
from aecli.codespace import flow
from aecli.codespace.region import OccupiedRegion, Whitening
from aecli.codespace.samplers import JITTER, SAMPLERS, fit_mixture, neighbour_distance
from aecli.config import DataConfig, DctConfig, MlpConfig
from aecli.data import datasets, sources
from aecli.data.images import Batch, Images, InMemory, to_unit
from aecli.experiments import sample
from aecli.measure import classifier, sample_metrics
from aecli.measure.sample_metrics import Moments, frechet_distance
from aecli.png import png
from aecli.terminal import Terminal
from tests.conftest import FEW_IMAGES, SMALL, digits
from tests.test_classifier import assert_named


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def correlated_codes(n=4000):
    mix = torch.tensor([[2.0, 0.0, 0.0], [1.0, 0.5, 0.0], [-3.0, 0.2, 10.0]])
    return torch.randn((n, 3), generator=generator(1)) @ mix.T + torch.tensor([5.0, -1.0, 0.0])


def three_clusters(n=900):
    centres = torch.tensor([[0.0, 0.0], [30.0, 0.0], [0.0, 30.0]])
    return centres.repeat(n // 3, 1) + torch.randn((n, 2), generator=generator(2))


# The samplers.


@pytest.fixture(autouse=True)
def one_step(monkeypatch):
    """The flow is trained for one step; what it learns in more is looked at in test_flow.py."""
    monkeypatch.setattr(flow, "PRODUCTS", 1)


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_same_seed_draws_the_same_codes(name):
    training = correlated_codes(500)
    first, again, other = (SAMPLERS[name](training, 40, generator(s)).codes for s in (3, 3, 4))
    assert first.shape == (40, 3)
    assert first.dtype == torch.float32
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_unit_that_never_varies_breaks_no_sampler(name):
    training = correlated_codes(500)
    training[:, 1] = 7
    codes = SAMPLERS[name](training, 20, generator()).codes
    assert codes.isfinite().all()
    if name != "standard-normal":
        torch.testing.assert_close(codes[:, 1], torch.full((20,), 7.0), atol=1e-4, rtol=0)


def test_standard_normal_looks_at_no_code():
    codes = SAMPLERS["standard-normal"](correlated_codes(), 20_000, generator()).codes
    assert codes.mean(dim=0).abs().max() < 0.03
    torch.testing.assert_close(torch.cov(codes.T), torch.eye(3), atol=0.05, rtol=0)


def test_the_gaussians_have_the_codes_moments():
    training = correlated_codes()
    covariance = torch.cov(training.T)
    for name, expected in (("gaussian", covariance.diag().diag()), ("full-gaussian", covariance)):
        codes = SAMPLERS[name](training, 50_000, generator()).codes
        scale = training.std(dim=0)
        assert ((codes.mean(dim=0) - training.mean(dim=0)) / scale).abs().max() < 0.02
        difference = (torch.cov(codes.T) - expected) / scale.outer(scale)
        assert difference.abs().max() < 0.03, name


def test_bic_finds_three_clusters_and_the_mixture_draws_from_them_alike():
    training = three_clusters()
    drawn = SAMPLERS["mixture"](training, 3000, generator())
    assert drawn.found["mixture_components"] == 3
    distances = torch.cdist(drawn.codes, torch.tensor([[0.0, 0.0], [30.0, 0.0], [0.0, 30.0]]))
    nearest, cluster = distances.min(dim=1)
    assert nearest.max() < 6
    assert torch.bincount(cluster).sub(1000).abs().max() < 130
    assert torch.bincount(cluster[:12], minlength=3).min() > 0  # not sorted by component


def test_bic_sees_that_a_gaussian_is_one_and_few_codes_afford_no_more():
    assert fit_mixture(torch.randn((2000, 4), generator=generator()), 0).n_components == 1
    assert fit_mixture(three_clusters(18), 0).n_components == 1


def test_jittered_codes_stay_within_the_jitter_of_real_ones():
    training = correlated_codes()
    whitening = Whitening.of(training)
    drawn = SAMPLERS["jittered"](training, 2000, generator())
    references = whitening(training)
    typical = neighbour_distance(references, generator())
    assert drawn.found["jitter_length"] == pytest.approx(JITTER * typical.item(), rel=0.15)
    nearest = torch.cdist(whitening(drawn.codes), references).amin(dim=1)
    assert nearest.max() < 3 * drawn.found["jitter_length"]  # of 3 units: beyond is 1 in 10^5
    assert nearest.min() > 0


# The metrics.


def test_the_frechet_distance_of_known_gaussians():
    eye, zero = torch.eye(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    unit = Moments(zero, eye)
    assert frechet_distance(unit, unit) == pytest.approx(0, abs=1e-12)
    assert frechet_distance(unit, Moments(zero + 2, eye)) == pytest.approx(12)
    assert frechet_distance(unit, Moments(zero, 9 * eye)) == pytest.approx(12)  # 3 (3 - 1)^2
    assert frechet_distance(unit, Moments(zero, 0 * eye)) == pytest.approx(3)


def test_the_frechet_distance_agrees_with_the_published_formula_and_is_symmetric():
    from scipy.linalg import sqrtm

    a, b = (Moments.of(torch.randn((50, 4), generator=generator(s)) * (s + 1)) for s in (1, 2))
    product = sqrtm(a.covariance.numpy() @ b.covariance.numpy()).real
    expected = (a.mean - b.mean).square().sum() + torch.trace(a.covariance + b.covariance)
    assert frechet_distance(a, b) == pytest.approx(expected.item() - 2 * np.trace(product))
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a))


def test_what_the_classifier_says_is_summed_up():
    sure = torch.eye(10).repeat(20, 1)
    assert sample_metrics.confidence(sure) == 1
    assert sample_metrics.entropy_bits(sure) == 0
    assert sample_metrics.classes_covered(sure) == 10
    assert sample_metrics.class_entropy_bits(sure) == pytest.approx(math.log2(10))
    torn = torch.full((30, 10), 0.1)
    assert sample_metrics.confidence(torn) == pytest.approx(0.1)
    assert sample_metrics.entropy_bits(torn) == pytest.approx(math.log2(10))
    assert sample_metrics.classes_covered(torn) == 0
    rare = torch.eye(10)[[0] * 991 + [1] * 9]  # 0.9% is not 1%
    assert sample_metrics.classes_covered(rare) == 1


def test_pixels_and_the_nearest_image():
    images = torch.zeros((3, 1, 2, 2))
    images[:, 0, 0, 0] = torch.tensor([0.2, 0.4, 1.2])
    assert sample_metrics.pixel_range(images) == pytest.approx((0, 0.4))
    low, high = sample_metrics.pixel_extremes(images)
    assert (low.tolist(), high.tolist()) == ([0, 0, 0], pytest.approx([0.2, 0.4, 1.2]))
    valid = images[:, :1] > 0
    low, high = sample_metrics.pixel_extremes(images, valid)
    assert low.tolist() == high.tolist() == pytest.approx([0.2, 0.4, 1.2])
    assert sample_metrics.rms(torch.full((3,), 0.6), 4) == pytest.approx(0.3)


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """Real digits, and the classifier that has learned them."""
    places = sources.default_places(offline=True)
    images = datasets.load(DataConfig(dataset="mnist-5k"), places, print)
    cache = tmp_path_factory.mktemp("classifiers")
    judge = classifier.trained_classifier(images, cache, Terminal(quiet=True))
    return images, judge, Moments.of(judge.features(images.train.images)), cache


def frechet(judge, images, training):
    return frechet_distance(Moments.of(judge.features(images)), training)


def test_real_digits_score_near_the_floor_and_noise_far_from_it(judged):
    images, judge, training, _ = judged
    test = images.test.images
    real = frechet(judge, test, training)
    probabilities = judge.probabilities(test)
    assert sample_metrics.classes_covered(probabilities) == 10
    assert sample_metrics.class_entropy_bits(probabilities) > 3.3
    assert sample_metrics.confidence(probabilities) > 0.93
    assert frechet(judge, images.train.images, training) == pytest.approx(0, abs=1e-3)
    noise = torch.rand((len(test), *images.shape), generator=generator())
    assert frechet(judge, noise, training) > 30 * real
    blurred = torch.nn.functional.avg_pool2d(to_unit(test), 5, stride=1, padding=2)
    assert real < frechet(judge, blurred, training) < frechet(judge, noise, training)


def test_one_digit_only_covers_one_class(judged):
    images, judge, training, _ = judged
    probabilities = judge.probabilities(images.test.images)
    best = int(probabilities.amax(dim=1).argmax())
    copies = images.test.images[best].expand(200, *images.shape)
    seen = judge.probabilities(copies)
    assert sample_metrics.classes_covered(seen) == 1
    assert sample_metrics.class_entropy_bits(seen) == 0
    assert sample_metrics.confidence(seen) > 0.99
    assert frechet(judge, copies, training) > 30 * frechet(judge, images.test.images, training)


def test_the_classifier_is_kept_by_the_datasets_hash_and_read_back(judged):
    images, judge, _, cache = judged
    [kept] = cache.iterdir()
    assert images.sha256[:12] in kept.name
    before = kept.stat().st_mtime_ns
    again = classifier.trained_classifier(images, cache, Terminal(quiet=True))
    assert again.test_accuracy == judge.test_accuracy > 0.95
    assert kept.stat().st_mtime_ns == before
    some = images.test.images[:50]
    assert torch.equal(again.features(some), judge.features(some))


# The claim.


@pytest.mark.parametrize(
    ("low", "high", "holds", "said"),
    [
        (0.41, 0.58, True, "mid-grey"),  # the chapter's own
        (0.04, 0.55, False, "nearer to black than"),
        (0.45, 0.90, False, "nearer to white than"),
        (0.0, 1.0, False, "nearer to black and some to white than"),
    ],
)
def test_the_grey_smear_can_go_both_ways(low, high, holds, said):
    verdict = chapter.judge_grey_smear(low, high)
    assert verdict.holds == holds
    assert said in verdict.reason
    assert f"{low:.2f} to {high:.2f}" in verdict.reason


def test_an_untrained_decoder_gives_the_chapters_grey(judged):
    torch.manual_seed(0)
    codec = codecs.build(MlpConfig(), (1, 28, 28))
    with torch.no_grad():
        decoded = codec.decode(torch.randn((500, 32), generator=generator()))
    assert chapter.judge_grey_smear(*sample_metrics.pixel_range(decoded)).holds


# The figures.


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("rows", [1, 8])
def test_sample_grids_show_every_sampler_and_its_scores(channels, rows):
    rng = np.random.default_rng(0)
    samples = [rng.random((12 - i, channels, 28, 28)) for i in range(rows)]
    names = [f"sampler {i}" for i in range(rows)]
    scores = {"Frechet": ["7.2"] * rows, "confidence": ["0.50"] * rows}
    figure = figures.sample_grids(samples, names, scores, "what they mean", "t")
    assert png(figure).startswith(b"\x89PNG")
    axes = figure.axes[0]
    texts = [text.get_text() for text in axes.texts]
    assert texts == ["Frechet", "confidence", *["7.2", "0.50"] * rows]
    assert [label.get_text() for label in axes.get_yticklabels()] == names


@pytest.mark.parametrize("k", [1, 32, 784])
def test_code_ranges_at_odd_sizes(k):
    quantiles = np.sort(np.random.default_rng(0).normal(size=(5, k)), axis=0)
    figure = figures.code_ranges(quantiles, "t")
    assert png(figure).startswith(b"\x89PNG")
    assert figure.axes[0].get_xlabel() == "code unit"


# The command.


def test_a_run_leaves_what_the_contract_says(inside):
    done = inside("sample", *SMALL, "--code-dim", "2", "--samples", "50")
    assert done.code == 0, done.stderr
    assert done.run.name.endswith("-sample-mlp2")
    files = {path.name for path in done.run.iterdir()}
    assert {"samplers.csv", "sample_grids.png", "code_ranges.png", "metrics.json"} <= files
    assert "flow.safetensors" in files
    assert "\nflow: trained and drawn in " in done.stderr
    metrics = done.metrics()
    assert tuple(metrics) == metric_names.METRICS["sample"]
    rows = {
        row["sampler"]: row
        for row in csv.DictReader((done.run / "samplers.csv").read_text().splitlines())
    }
    assert set(SAMPLERS) | {"real test images", "untrained decoder"} <= set(rows)
    assert {row["samples"] for row in rows.values()} == {"50"}
    assert {row["dataset"] for row in rows.values()} == {"mnist-5k"}
    assert metrics["holes_calibrated_on"] == "val"
    assert float(rows["real test images"]["in_holes"]) == metrics["in_holes_real"]
    assert "333 validation images" in done.stdout
    assert "recipe muon, batch 256, 2 epochs" in done.stdout
    assert rows["untrained decoder"]["nearest_code_distance"] == ""
    for column in ("nearest_image_rms", "channel_distance", "spectrum_db"):
        assert float(rows["real test images"][column]) == metrics[f"{column}_real"]
        assert float(rows["flow"][column]) == metrics[f"{column}_flow"]
    floor = float(rows["real test images"]["frechet_distance"])
    assert floor == metrics["frechet_floor"] < metrics["frechet_untrained"]
    assert "chapter's grey smear, untrained  holds: " in done.stdout
    assert "classifier's test accuracy" in done.stdout
    assert_named(done.run)


def test_a_run_is_looked_into_and_the_same_seed_repeats_it(inside):
    trained = inside("train", *SMALL, "--code-dim", "2")
    first = inside("sample", "--run", str(trained.run), "--samples", "40", "--offline")
    assert first.code == 0, first.stderr
    assert json.loads((first.run / "run.json").read_text())["subject"] == str(trained.run)
    again = inside("sample", "--config", str(first.run / "config.yaml"), "--offline")
    assert again.metrics() == first.metrics()
    for name in ("samplers.csv", "sample_grids.png"):
        assert (again.run / name).read_bytes() == (first.run / name).read_bytes()


def test_no_image_calibrates_the_holes_that_it_is_measured_with(inside, monkeypatch):
    seen = {}
    calibrated, judged = OccupiedRegion.calibrated, sample.judge_set

    def watch(training, held_out):
        seen["held_out"] = held_out
        return calibrated(training, held_out)

    def watch_judged(each, references, judge):
        seen[each.name] = each.codes
        return judged(each, references, judge)

    monkeypatch.setattr(OccupiedRegion, "calibrated", watch)
    monkeypatch.setattr(sample, "judge_set", watch_judged)
    codec = ("--codec", "pca", "--code-dim", "4")
    done = inside("sample", *FEW_IMAGES, *codec, "--set", "data.val=0")
    assert done.code == 0, done.stderr
    measured = seen["real test images"]
    assert (len(seen["held_out"]), len(measured)) == (500, 500)
    assert torch.cdist(seen["held_out"], measured).min() > 0
    metrics = done.metrics()
    assert metrics["holes_calibrated_on"] == "half-of-test"
    assert 0 <= metrics["in_holes_real"] <= 0.05
    assert "500 test images, and measured on the other half" in done.stdout


@pytest.mark.parametrize("codec", ["pca", "dct"])
def test_a_codec_without_training_has_no_untrained_row(inside, codec):
    done = inside("sample", *FEW_IMAGES, "--codec", codec, "--code-dim", "4", "--samples", "30")
    assert done.code == 0, done.stderr
    assert "untrained" not in done.stdout
    assert done.metrics()["smear_low_untrained"] is None


def test_bad_input_gets_a_clear_line_and_its_exit_code(inside, tmp_path):
    trained = inside("train", *SMALL, "--code-dim", "2").run
    (tmp_path / "empty").mkdir()
    small = tmp_path / "small"
    (small / "model").mkdir(parents=True)
    for name in ("config.yaml", "model/model.safetensors"):
        (small / name).write_bytes((trained / name).read_bytes())
    (small / "model/config.json").write_text("{}")
    for arguments, code, message in (
        (["--run", "gone"], 3, "--run gone: no such run folder"),
        (["--run", "empty"], 3, "--run empty: a run folder without a model"),
        (["--run", str(small)], 3, "not a model of aecli"),
        (["--run", str(trained), "--dataset", "mnist"], 2, "data.dataset=mnist: --run "),
        (["--samples", "9"], 2, "--samples: samples=9 must be at least 10"),
        (
            [*SMALL, "--limit-train", "20", "--set", "train.batch_size=10"],
            2,
            "limit_train=20 must be at least 50",
        ),
    ):
        done = inside("sample", *arguments)
        assert done.code == code, done.stderr
        assert message in done.stderr
        assert "Traceback" not in done.stderr


def test_a_run_of_another_image_size_is_refused(inside):
    trained = inside("train", *FEW_IMAGES, "--codec", "dct", "--code-dim", "4").run
    config = DctConfig(code_dim=4)
    description, weights = store.pack(codecs.build(config, (1, 14, 14)), config)
    (trained / "model/config.json").write_text(json.dumps(description))
    (trained / "model/model.safetensors").write_bytes(weights)
    done = inside("sample", "--run", str(trained), "--offline")
    assert (done.code, done.run.name[-11:]) == (2, "sample-dct4")
    assert "decodes 1x14x14 images, mnist-5k has 1x28x28" in done.stderr


def test_pixels_that_are_not_valid_count_as_pcas_mean():
    shape = (2, 6, 5)
    train = InMemory(digits(80, 0, shape))
    judge = sample.Judge.of(Images("x", "drawn", "0" * 64, train, train, train), None)
    assert judge.features_name == "pca-60"  # as many as pixels
    assert judge.features_in_words == "the codes of PCA-60"
    nothing = torch.zeros((1, 1, 6, 5), dtype=torch.bool)
    images = torch.zeros((1, *shape))
    assert judge.features(Batch(images, nothing)).abs().max() < 1e-5
    assert judge.features(Batch(images)).abs().max() > 0.1
