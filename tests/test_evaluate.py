"""`aecli evaluate`: what it leaves, what it says where labels or images lack, what it refuses."""

import csv
import json

import pytest

from aecli.cli import metric_names
from aecli.config import PARTS, EvaluateConfig, resolve, set_layer
from aecli.experiments import evaluate_anomaly
from aecli.experiments.evaluate_parts import MEASURED_BY, MEASURES
from aecli.measure import clustering, probes
from tests.own import spots

TWO = ("--seeds", "2", "--jobs", "1", "--offline")
QUICK = ("--set", "anomaly.epochs=1")
NARROW = ("--code-dim", "3", "--epochs", "1", "--set", "codec.hidden=[16]")


@pytest.fixture(autouse=True)
def few_steps(monkeypatch, jobs_here):
    monkeypatch.setattr(probes, "PROBE_STEPS", 20)
    monkeypatch.setattr(probes, "DRAWS", 1)
    monkeypatch.setattr(clustering, "RESTARTS", 1)


def rows_of(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def left_out(done):
    return json.loads((done.run / "run.json").read_text())["parts_left_out"]


def test_every_measure_is_in_the_contract():
    names = [name for measures in MEASURES.values() for name in measures]
    assert set(names) == set(metric_names.OF_CODES_AT_WORK)
    assert tuple(MEASURES) == PARTS
    assert {*MEASURED_BY, "anomaly"} == set(PARTS)


def test_a_run_is_put_to_work_and_leaves_what_the_contract_says(inside, tmp_path):
    data = spots(tmp_path / "spots.npz")
    trained = inside("train", "--dataset", data, *NARROW)
    assert trained.code == 0, trained.stderr
    done = inside("evaluate", "latest", *TWO, *QUICK, "--expect", "pca_probe_accuracy>=0")
    assert done.code == 0, done.stderr
    found = done.metrics()
    assert set(found) == set(metric_names.METRICS["evaluate"])
    assert (found["dataset"], found["code_dim"], found["seeds"]) == ("spots", 3, 2)
    for name in metric_names.OF_CODES_AT_WORK:
        if name == "probe_accuracy_100" or name.startswith("other"):
            # no class has so many, and there are no other images
            assert found[name] is None
            continue
        assert 0 <= found[name] <= 1 or name.endswith("ari"), name
        assert found[f"pca_{name}"] is not None, name
    assert found["probe_accuracy_sd"] is None  # nothing is drawn
    assert found["kmeans_accuracy_sd"] is not None
    assert found["pixels_anomaly_auroc_error"] is None  # pixels are not reconstructed
    rows = {(row["measure"], row["codes"]): row for row in rows_of(done.run / "evaluate.csv")}
    assert float(rows["knn_accuracy", "pixels"]["mean"]) == found["pixels_knn_accuracy"]
    assert len(rows["found_noised", "mlp-3"]["values"].split()) == 2
    by_class = rows_of(done.run / "anomaly.csv")
    assert [row["normal_class"] for row in by_class[:3]] == ["0", "1", "2"]
    assert {path.stem for path in done.run.glob("*.png")} == set(PARTS)
    assert left_out(done) == {}
    assert "mlp-3" in done.stdout
    assert "linear probe, all labels" in done.stdout
    record = json.loads((done.run / "run.json").read_text())
    assert record["subject"] == str(trained.run)
    assert set(record["probe_steps"]) == {"mlp-3", "PCA-3", "pixels"}
    assert max(record["probe_steps"].values()) <= probes.PROBE_STEPS
    # Of the classes two trainings each; of the run's codec none.
    assert len(list((done.run / "jobs").iterdir())) == 6
    told = ("--config", str(done.run / "config.yaml"), "--parts", "clustering,robustness")
    again = inside("evaluate", *told)
    assert again.code == 0, again.stderr
    there = {name: value for name, value in again.metrics().items() if value is not None}
    assert len(there) > 20
    assert there.items() <= found.items()


def test_codecs_are_trained_over_seeds_where_there_is_no_run(inside, tmp_path):
    data = spots(tmp_path / "spots.npz")
    done = inside("evaluate", "--dataset", data, *NARROW, *TWO, "--parts", "clustering, retrieval")
    assert done.code == 0, done.stderr
    found = done.metrics()
    assert found["retrieval_map_sd"] is not None  # two codecs
    assert found["pca_retrieval_map"] is not None
    assert found["probe_accuracy"] is None
    assert len(list((done.run / "jobs").iterdir())) == 2
    assert {path.stem for path in done.run.glob("*.png")} == {"clustering", "retrieval"}
    data = spots(tmp_path / "two.npz", counts=(60, 60), test_counts=(12, 12))
    told = ("--dataset", data, *NARROW[:2], *NARROW[4:], *TWO, *QUICK)
    alone = inside("evaluate", *told, "--parts", "anomaly")
    assert alone.code == 0, alone.stderr
    assert len(list((alone.run / "jobs").iterdir())) == 4  # none of all classes
    # theirs, not those of codecs of all
    assert "1 epoch in batches of 128" in alone.stderr
    assert "batch 128, 1 epoch" in alone.stdout
    assert alone.metrics()["anomaly_auroc_sd"] is not None


def test_a_codec_that_is_solved_for_is_its_own_baseline(inside, tmp_path):
    data = spots(tmp_path / "spots.npz")
    assert inside("train", "--dataset", data, "--codec", "pca", "--code-dim", "2").code == 0
    done = inside("evaluate", "latest", *TWO, "--parts", "clustering,anomaly,robustness")
    assert done.code == 0, done.stderr
    found = done.metrics()
    for name in (*MEASURES["clustering"], "anomaly_auroc", *MEASURES["robustness"]):
        assert found[name] == pytest.approx(found[f"pca_{name}"]), name


def test_without_labels_only_robustness_is_measured_and_it_says_so(inside, tmp_path):
    data = spots(tmp_path / "plain.npz", labelled=False)
    inside("train", "--dataset", data, "--codec", "pca", "--code-dim", "2")
    done = inside("evaluate", "latest", *TWO)
    assert done.code == 0, done.stderr
    assert left_out(done) == dict.fromkeys(PARTS[:4], "these images have no labels")
    assert "retrieval is left out: these images have no labels." in done.stdout
    assert done.metrics()["probe_accuracy"] is None
    assert done.metrics()["found_shifted"] is not None
    refused = inside("evaluate", "latest", *TWO, "--parts", "retrieval,anomaly")
    assert refused.code == 2
    assert "parts=retrieval,anomaly: none can be measured" in refused.stderr


def test_one_class_among_the_training_images(inside, tmp_path):
    data = spots(tmp_path / "one.npz", counts=(60,), test_counts=(10, 10))
    inside("train", "--dataset", data, "--codec", "pca", "--code-dim", "1")
    done = inside("evaluate", "latest", *TWO)
    assert done.code == 0, done.stderr
    assert set(left_out(done)) == set(PARTS[:4])
    assert "have one label" in done.stdout


def test_a_class_with_one_image_and_fewer_labels_than_asked_for(inside, tmp_path):
    data = spots(tmp_path / "rare.npz", counts=(150, 60, 1), test_counts=(10, 10, 1))
    inside("train", "--dataset", data, "--codec", "pca", "--code-dim", "1", "--set", "data.val=0")
    done = inside("evaluate", "latest", *TWO, "--parts", "classification,anomaly")
    assert done.code == 0, done.stderr
    found = done.metrics()
    assert found["probe_accuracy_100"] is not None
    assert "Fewer than 100 training images have classes 1, 2" in done.stdout
    assert "Too few images to be the normal ones have class 2." in done.stdout
    classes = {row["normal_class"] for row in rows_of(done.run / "anomaly.csv")}
    assert classes == {"0", "1"}


def test_small_classes_leave_anomaly_out(inside, tmp_path):
    few = spots(tmp_path / "few.npz", counts=(20, 20), test_counts=(5, 5))
    inside("train", "--dataset", few, "--codec", "pca", "--code-dim", "2")
    done = inside("evaluate", "latest", *TWO, "--parts", "anomaly,robustness")
    assert done.code == 0, done.stderr
    assert set(left_out(done)) == {"anomaly"}
    assert f"no class has {evaluate_anomaly.FEWEST} training images" in done.stdout


def test_other_images_than_the_run_learned_from(inside, tmp_path):
    first = spots(tmp_path / "spots.npz")
    other = spots(tmp_path / "others.npz", counts=(20,) * 4, test_counts=(6,) * 4)
    larger = spots(tmp_path / "larger.npz", side=9)
    told = ("--dataset", first, *NARROW, "--set", "data.scale=percentiles")
    trained = inside("train", *told).run
    looked = ("--offline", "--parts", "retrieval")
    done = inside("evaluate", trained.name, "--dataset", other, *looked)
    assert done.code == 0, done.stderr
    assert done.metrics()["dataset"] == "others"
    assert "scale: percentiles" in (done.run / "config.yaml").read_text()  # read as the run's own
    assert "which learned from spots" in done.stdout
    assert "PCA was solved on these images, the codec was not." in done.stdout
    assert f"evaluate: the model of {trained.name}, seed 0" in done.stderr
    plain = spots(tmp_path / "plain.npz", (30,), (10,), labelled=False)
    among = inside("evaluate", trained.name, "--dataset", plain, *TWO, "--parts", "anomaly")
    assert among.code == 0, among.stderr
    assert set(left_out(among)) == {"anomaly"}  # by classes
    for prefix in ("", "pca_", "pixels_"):
        assert 0 <= among.metrics()[f"{prefix}other_auroc"] <= 1
    refused = inside("evaluate", trained.name, "--dataset", larger, *TWO)
    assert (refused.code, refused.stdout) == (2, "")
    assert f"decodes 1x8x8 images, {larger} has 1x9x9" in refused.stderr
    refused = inside("evaluate", trained.name, "--code-dim", "9", *TWO)
    assert refused.code == 2
    assert f"codec.code_dim=9: evaluate {trained.name} was trained with 3" in refused.stderr
    missing = inside("evaluate", "gone", *TWO)
    assert (missing.code, "evaluate gone: no such run folder" in missing.stderr) == (3, True)


def test_a_killed_evaluation_goes_on_with_the_jobs_that_are_there(inside, tmp_path, monkeypatch):
    data = spots(tmp_path / "spots.npz", counts=(60, 60), test_counts=(12, 12))
    codec = ("--codec", "pca", "--code-dim", "2")
    told = ("evaluate", "--dataset", data, *codec, *TWO, "--parts", "anomaly")
    whole = inside(*told)
    with monkeypatch.context() as broken:
        broken.setattr(evaluate_anomaly, "aurocs", lambda *_: 1 / 0)
        failed = inside(*told, "--runs-dir", "failed")
    assert failed.code == 1
    done = inside(*told, "--runs-dir", "failed", "--continue")
    assert done.code == 0, done.stderr
    assert "training 0 of 2 codecs" in done.stderr
    assert done.metrics() == whole.metrics()


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        ("parts=retrieval,clustering", ("clustering", "retrieval")),
        ("parts=[anomaly]", ("anomaly",)),
        ("parts=robustness", ("robustness",)),
    ],
)
def test_parts_are_chosen(given, parts):
    assert resolve(EvaluateConfig, [set_layer([given])]).parts == parts


def test_parts_that_are_none_are_refused(inside):
    for given, message in (("clusters", "parts"), ("", "parts")):
        done = inside("evaluate", "--parts", given, "--dry-run")
        assert (done.code, done.stdout) == (2, "")
        assert message in done.stderr


def test_settings_that_nothing_uses_are_refused(inside):
    for given, reason in (
        (("--parts", "retrieval", "--set", "anomaly.epochs=3"), "anomaly is not among the parts"),
        (("--parts", "anomaly", "--epochs", "3"), "the part anomaly has its own"),
        (("--codec", "pca", "--set", "anomaly.epochs=3"), "solved for"),
    ):
        done = inside("evaluate", *given, "--dry-run", "--offline")
        assert done.code == 2
        assert reason in done.stderr
