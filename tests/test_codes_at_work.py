"""Protocols of `aecli evaluate` on codes whose answers are known."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from aecli import codecs
from aecli.codecs.pca import Pca
from aecli.config import DataConfig, EvaluateConfig, FitConfig, MlpConfig, PcaConfig
from aecli.data.images import Batch, Images, InMemory, mean_image
from aecli.experiments import evaluate_parts
from aecli.experiments.evaluate_anomaly import Normal, _with_classes_held_out, aurocs
from aecli.experiments.evaluate_contestants import Contestant, contestants
from aecli.experiments.evaluate_parts import MEASURED_BY, MEASURES, Seen, thinned
from aecli.measure import clustering, metrics, probes, robustness
from aecli.measure.anomaly import auroc, ranks
from aecli.measure.clustering import agreement, matched_accuracy
from aecli.measure.retrieval import retrieval
from aecli.measure.views import View
from aecli.terminal import Terminal
from aecli.training.jobs import Job
from tests.conftest import digits, source


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def clusters(n=200, classes=5, units=5, noise=0.1, seed=0):
    """Separated clusters, one for each class; codes (n, units) and labels (n,)."""
    labels = torch.arange(n) % classes
    codes = 5 * torch.eye(units)[labels] + noise * torch.randn(n, units, generator=generator(seed))
    return codes, labels


def seen(codes, labels, test_codes, test_labels, view=None):
    """Codes as if they had been encoded."""
    test = InMemory(torch.zeros((len(test_codes), 1, 2, 2)), test_labels)
    view = view or View(None, torch.zeros(1), torch.ones(1))
    return Seen(view, codes, labels, test, test_codes)


PARTS_OF_LABELS = ["classification", "clustering", "retrieval"]


@pytest.mark.parametrize("part", PARTS_OF_LABELS)
def test_separated_codes_score_one(part):
    codes = seen(*clusters(), *clusters(seed=1))
    values = MEASURED_BY[part](codes, [0, 1])
    assert values.keys() <= MEASURES[part].keys()
    for name, found in values.items():
        assert found == pytest.approx([1] * len(found)), name


@pytest.mark.parametrize("part", PARTS_OF_LABELS)
def test_codes_that_know_nothing_score_as_chance(part):
    labels = torch.arange(400) % 4
    noise = torch.randn(800, 3, generator=generator())
    values = MEASURED_BY[part](seen(noise[:400], labels, noise[400:], labels), [0])
    for name, found in values.items():
        chance = 0 if name.endswith(("nmi", "ari")) else 0.25
        assert found[0] == pytest.approx(chance, abs=0.12), name  # the best matching is above it


@pytest.mark.parametrize("part", PARTS_OF_LABELS)
@pytest.mark.parametrize("units", [1, 3])
def test_dead_units_and_a_code_of_one_number_are_no_obstacle(part, units):
    labels = torch.arange(60) % 2
    codes = torch.zeros(60, units)
    codes[:, 0] = labels + 0.01 * torch.arange(60)
    for name, found in MEASURED_BY[part](seen(codes, labels, codes, labels), [0]).items():
        assert all(map(math.isfinite, found)), name
    nothing = torch.zeros(60, units)
    for name, found in MEASURED_BY[part](seen(nothing, labels, nothing, labels), [0]).items():
        assert found[0] <= 0.55, name


def test_what_is_drawn_has_a_value_for_each_seed_and_all_else_has_one():
    values = MEASURED_BY["classification"](seen(*clusters(), *clusters(seed=1)), [0, 1, 2])
    assert {name: len(found) for name, found in values.items()} == {
        "probe_accuracy": 1,
        "probe_accuracy_10": 3,
        "knn_accuracy": 1,
    }  # no class has more than 100 labels


def test_few_labels_are_drawn_of_each_class_and_a_rare_class_gives_all():
    labels = torch.tensor([0] * 50 + [1] * 3 + [7])
    few = probes.few_of_each(labels, 10, generator())
    assert torch.bincount(labels[few]).tolist() == [10, 3, 0, 0, 0, 0, 0, 1]
    assert len(few.unique()) == len(few)
    again, other = (probes.few_of_each(labels, 10, generator(s)) for s in (0, 1))
    assert torch.equal(few, again)
    assert not torch.equal(few, other)


def test_the_same_seed_draws_the_same():
    noisy = seen(*clusters(noise=3.0), *clusters(noise=3.0, seed=1))
    for part in ("classification", "clustering"):
        first, again = (MEASURED_BY[part](noisy, [3]) for _ in range(2))
        assert first == again


def test_clusters_are_matched_whatever_they_are_called():
    labels = np.arange(60) % 6
    permuted = np.array([3, 5, 0, 1, 4, 2])[labels]
    found = agreement(permuted, labels)
    assert found == pytest.approx({"accuracy": 1, "nmi": 1, "ari": 1})
    one = np.zeros_like(labels)
    assert agreement(one, labels) == pytest.approx({"accuracy": 1 / 6, "nmi": 0, "ari": 0})


def test_clusters_may_be_fewer_or_more_than_classes():
    labels = np.array([0, 0, 1, 1, 2, 2])
    assert matched_accuracy(np.array([0, 0, 0, 0, 1, 1]), labels) == pytest.approx(4 / 6)
    assert matched_accuracy(np.array([0, 1, 2, 3, 4, 5]), labels) == pytest.approx(3 / 6)
    # The best matching is not that of each cluster's own majority: both are of class 0.
    assert matched_accuracy(np.array([0, 0, 0, 1, 1, 1]), np.array([0, 0, 0, 0, 0, 1])) == (
        pytest.approx(4 / 6)
    )


def test_no_label_chooses_a_cluster():
    codes, labels = clusters(noise=2.0)
    test_codes, test_labels = clusters(noise=2.0, seed=1)
    kinds = (clustering.kmeans, clustering.mixture)
    for kind in kinds:
        first, again = (kind(codes, test_codes, 5, 0) for _ in range(2))
        assert (first == again).all()
        assert set(first) <= set(range(5))
    shuffled = seen(codes, labels.flip(0), test_codes, test_labels)
    plain = seen(codes, labels, test_codes, test_labels)
    assert MEASURED_BY["clustering"](shuffled, [0]) == MEASURED_BY["clustering"](plain, [0])


def test_clusters_are_as_many_as_all_training_images_have_classes(monkeypatch):
    asked = []

    def counted(points, test_points, clusters, seed):
        asked.append(clusters)
        return np.zeros(len(test_points), int)

    monkeypatch.setattr(clustering, "kmeans", counted)
    monkeypatch.setattr(clustering, "mixture", counted)
    few = seen(*clusters(), *clusters(seed=1))
    MEASURED_BY["clustering"](replace(few, classes=7), [0])
    MEASURED_BY["clustering"](few, [0])
    assert asked == [7, 7, 5, 5]


def test_only_those_that_see_all_classes_are_classified():
    every, few = labelled([0] * 9 + [1]), labelled([0] * 9)
    codes, pixels = (Contestant(name, [], train) for name, train in (("", every), ("pixels_", few)))
    assert [each.sees_as([codes, pixels]) for each in (codes, pixels)] == [True, False]


def test_pca_beside_a_run_on_other_images_is_solved_on_these():
    images = Images("a", "drawn", "0", *(source(60, seed, (1, 6, 6)) for seed in range(3)))
    own = Pca(images.shape, PcaConfig(code_dim=3))
    own.solve(source(50, 7, images.shape))

    def beside(dataset):
        config = EvaluateConfig(codec=PcaConfig(code_dim=3), data=DataConfig(dataset="mnist"))
        run = SimpleNamespace(codec=own, config=SimpleNamespace(data=DataConfig(dataset=dataset)))
        context = SimpleNamespace(terminal=Terminal(quiet=True))
        codes, pca, _ = contestants(config, images, run, None, context)
        assert codes.codecs[0][0] is own
        return pca.codecs[0][0]

    assert beside("mnist") is own
    expected = mean_image(images.train).float()
    torch.testing.assert_close(beside("fashion-mnist").mean.view(images.shape), expected)


def test_the_title_of_a_job_has_the_name_of_its_class():
    job = Job(PcaConfig(code_dim=3), FitConfig(), 0, label=3)
    assert job.title.endswith("seed 0, class 3 alone")
    named = replace(job, class_name="cat")
    assert named.title.endswith("class cat alone")
    assert named == job  # by whatever name, it is one training


def test_a_mixture_is_left_out_of_very_wide_codes(monkeypatch):
    monkeypatch.setattr(clustering, "WIDEST_MIXTURE", 4)
    values = MEASURED_BY["clustering"](seen(*clusters(), *clusters(seed=1)), [0])
    assert set(values) == {"kmeans_accuracy", "kmeans_nmi", "kmeans_ari"}


def test_average_precision_by_hand():
    points = torch.tensor([[0.0], [1.0], [3.0], [10.0]])
    found = retrieval(points, torch.tensor([0, 1, 0, 1]))
    # The only other image of the label is second, third, second and second nearest.
    assert found.mean_average_precision == pytest.approx((1 / 2 + 1 / 3 + 1 / 2 + 1 / 2) / 4)
    assert found.precision_at_10 == pytest.approx(1 / 3)  # of the three others


def test_equal_distances_go_by_index_and_the_query_is_left_out():
    same = torch.zeros(3, 2)
    found = retrieval(same, torch.tensor([0, 0, 1]))
    assert found.mean_average_precision == 1  # of the third there is no other
    assert retrieval(same, torch.tensor([0, 1, 0])).mean_average_precision == pytest.approx(3 / 4)
    assert retrieval(same, torch.tensor([0, 1, 2])) is None


def test_retrieval_does_not_depend_on_how_many_queries_are_taken_at_once(monkeypatch):
    points = torch.randn(50, 3, generator=generator())
    labels = torch.arange(50) % 3
    whole = retrieval(points, labels)
    monkeypatch.setattr("aecli.measure.retrieval._NUMBERS", 150)
    assert retrieval(points, labels).mean_average_precision == pytest.approx(
        whole.mean_average_precision
    )


def test_ranks_among_held_out_images():
    held_out = torch.tensor([3.0, 1.0, 2.0, 2.0])
    scores = torch.tensor([0.0, 1.0, 2.0, 2.5, 9.0])
    assert ranks(scores, held_out).tolist() == [0, 1 / 8, 1 / 2, 3 / 4, 1]
    assert ranks(scores[3:4], held_out).tolist() == [3 / 4]  # whatever else is tested


def test_the_area_under_the_curve():
    from sklearn.metrics import roc_auc_score

    normal, odd = torch.tensor([0.0, 1.0, 1.0, 2.0]), torch.tensor([1.0, 3.0, 0.5])
    truth = [0] * 4 + [1] * 3
    assert auroc(normal, odd) == pytest.approx(roc_auc_score(truth, torch.cat([normal, odd])))
    assert auroc(normal, normal + 5) == 1
    assert auroc(normal, normal) == 0.5


def one_class(n=60):
    """Faint images of one kind, all alike but for noise, and bright ones of another."""
    plain = 0.1 + 0.02 * torch.rand((3 * n, 1, 6, 6), generator=generator(1))
    odd = torch.rand((n, 1, 6, 6), generator=generator(2))
    return Normal(*map(InMemory, (*plain.split(n), odd)))


def test_odd_images_are_told_by_every_score():
    one = one_class()
    pca = Pca((1, 6, 6), PcaConfig(code_dim=4))
    pca.solve(one.fit)
    found = aurocs(pca, one)
    assert set(found) == {name for name in MEASURES["anomaly"] if name.startswith("anomaly")}
    assert found == pytest.approx(dict.fromkeys(found, 1), abs=0.05)
    pixels = aurocs(None, one)
    assert set(pixels) == {"anomaly_auroc", "anomaly_auroc_density"}
    assert pixels == pytest.approx(dict.fromkeys(pixels, 1), abs=0.05)


def test_one_score_is_taken_as_it_is_not_as_a_rank():
    flat = torch.ones((8, 1, 4, 4))
    fit, test, odd = ((a + torch.arange(8) / 100).view(-1, 1, 1, 1) * flat for a in (0.0, 0.2, 0.3))
    # Ranks among these few, which are all nearer, would be 1 for every image.
    found = aurocs(None, Normal(*map(InMemory, (fit, fit[:2], test, odd))))
    assert found == {"anomaly_auroc": 1, "anomaly_auroc_density": 1}


def labelled(labels, seed=0):
    return InMemory(digits(len(labels), seed), torch.tensor(labels))


def test_images_for_validation_are_held_out_where_a_class_has_enough():
    train, val = labelled([0] * 20 + [1] * 20), labelled([0] * 5 + [1] * 4, seed=1)
    images = Images("a", "drawn", "0", train, val, val)
    split = _with_classes_held_out(images)
    assert split.train.labels.bincount().tolist() == [20, 18]
    assert split.val.labels.bincount().tolist() == [5, 2]
    held_out = split.val.of_class(1).all().images
    assert torch.equal(held_out, train.read(torch.tensor([38, 39])).images)
    assert torch.equal(split.val.of_class(0).all().images, val.read(torch.arange(5)).images)
    enough = replace(images, val=labelled([0] * 5 + [1] * 5))
    assert _with_classes_held_out(enough) is enough
    none = replace(images, val=train.part(torch.arange(0)))
    assert _with_classes_held_out(none).val.labels.tolist() == [0, 0, 1, 1]


def test_odd_images_of_the_same_kind_are_not_told():
    one = one_class()
    alike = Normal(one.fit, one.held_out, one.test, one.test)
    pca = Pca((1, 6, 6), PcaConfig(code_dim=4))
    pca.solve(one.fit)
    for name, found in aurocs(pca, alike).items():
        assert found == pytest.approx(0.5), name


# How images are looked at, and changed.


def test_codes_of_a_network_are_standardised_and_those_in_pixel_units_are_not():
    images = source(60)
    torch.manual_seed(0)
    network = codecs.build(MlpConfig(code_dim=3, hidden=(8,)), images.shape)
    view, training = View.fitted(network, images)
    torch.testing.assert_close(training.mean(dim=0), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(training.std(dim=0, correction=0), torch.ones(3))
    torch.testing.assert_close(view.all(images), training)
    pca = Pca(images.shape, PcaConfig(code_dim=60))
    pca.solve(images)
    _, codes = View.fitted(pca, images)
    _, pixels = View.fitted(None, images)
    torch.testing.assert_close(
        torch.cdist(codes, codes), torch.cdist(pixels, pixels), atol=0.02, rtol=0
    )  # all components: a rotation


def test_variational_codes_keep_the_units_of_the_normal_distribution():
    settings = MlpConfig(code_dim=3, hidden=(8,), variational=True)
    images = source(60)
    torch.manual_seed(0)
    network = codecs.build(settings, images.shape)
    view, seen_so = View.fitted(network, images)
    torch.testing.assert_close(seen_so, metrics.encode(network, images))
    assert view.scale.tolist() == [1, 1, 1]


def test_pixels_that_are_not_valid_count_as_their_images_mean():
    images, mask = torch.full((1, 1, 2, 2), 0.5), torch.ones((1, 1, 2, 2), dtype=torch.bool)
    images[0, 0, 0] = torch.tensor([0.0, 1.0])
    mask[0, 0, 0, 0] = False
    _, pixels = View.fitted(None, InMemory(images, mask=mask))
    assert pixels[0].tolist() == pytest.approx([2 / 3, 1, 0.5, 0.5])


@pytest.mark.parametrize("name", robustness.CHANGES)
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 12, 20)])
def test_a_change_is_small_and_keeps_pixels_and_masks_in_their_range(name, shape):
    images = digits(4, shape=shape) / 255
    mask = torch.ones((4, 1, *shape[1:]), dtype=torch.bool)
    mask[:, :, :4] = False
    batch = Batch(images * mask, mask)
    changed = robustness.CHANGES[name](batch, generator())
    assert changed.images.shape == batch.images.shape
    assert 0 <= changed.images.min() < changed.images.max() <= 1
    assert (changed.images * ~changed.mask == 0).all()
    assert not torch.equal(changed.images, batch.images)
    assert changed.mask.sum() >= 0.7 * mask.sum()
    assert robustness.CHANGES[name](Batch(images), generator()).mask is None


def test_what_each_change_does():
    images = torch.zeros((1, 1, 21, 41))
    images[..., 10, 30] = 0.5
    batch = Batch(images)
    assert robustness.shifted(batch, generator()).images[0, 0, 10, 32] == 0.5
    assert robustness.brightened(batch, generator()).images.max().item() == pytest.approx(0.55)
    turned = robustness.rotated(batch, generator()).images[0, 0]
    row, column = divmod(int(turned.argmax()), 41)
    angle = math.degrees(math.atan2(abs(row - 10), column - 20))
    assert angle == pytest.approx(10, abs=4)
    assert math.hypot(row - 10, column - 20) == pytest.approx(10, abs=0.7)
    noise = robustness.noised(Batch(torch.full((1, 1, 100, 100), 0.5)), generator()).images
    assert noise.std().item() == pytest.approx(robustness.NOISE, abs=0.003)


def test_images_are_found_by_a_copy_and_equal_ones_count():
    images = source(30)
    view, _ = View.fitted(None, images)
    points = view.all(images)

    def unchanged(batch, generator):
        return batch

    def mirrored(batch, generator):
        return Batch(batch.images.flip(0))

    assert robustness.found_first(view, images, points, unchanged, 0) == 1
    assert robustness.found_first(view, images, points, mirrored, 0) == 0
    twice = InMemory(digits(1).expand(5, 1, 28, 28))
    assert robustness.found_first(view, twice, view.all(twice), robustness.brightened, 0) == 1
    found = evaluate_parts.robustness(
        Seen(view, points, None, images, points), [0, 1]
    )  # digits that are unlike
    assert {name: len(values) for name, values in found.items()} == {
        "found_shifted": 1,
        "found_brightened": 1,
        "found_noised": 2,
        "found_rotated": 1,
    }
    assert found["found_brightened"] == [1]


def test_a_few_images_are_taken_evenly():
    few = thinned(source(10), 4)
    assert torch.equal(few.all().images, source(10).all().images[[0, 2, 5, 7]])
    assert len(thinned(source(10), 10)) == 10
