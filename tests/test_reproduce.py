"""The ledger: every claim judged from one run, on few images; what --quick means."""

import json
import re
from dataclasses import fields, replace
from functools import partial

import pytest

from aecli.chapter import CLAIMS
from aecli.config import (
    FitConfig,
    InterpolateConfig,
    MuonConfig,
    ReproduceConfig,
    SampleConfig,
    SparseLoss,
    effects,
    yaml_layer,
)
from aecli.errors import JobsFailedError, StorageError
from aecli.experiments import reproduce_latent, reproduce_parts, sweep_codedim
from aecli.experiments.wording import recipe_in_words, settings_in_words
from aecli.training.jobs import failure_text
from tests.test_claims import AS_PRINTED, BY_CONSTRUCTION

FIVE_K = ("--dataset", "mnist-5k", "--offline")


def test_the_ledger_has_every_claim_with_its_evidence(inside, monkeypatch):
    monkeypatch.setattr(sweep_codedim, "N_PROBE", 100)
    monkeypatch.setattr(reproduce_parts, "InterpolateConfig", partial(InterpolateConfig, pairs=20))
    monkeypatch.setattr(reproduce_parts, "SampleConfig", partial(SampleConfig, samples=100))
    for name, value in {"_IMAGES": 128, "_EPOCHS": 1, "WEIGHTS": (1e-6, 1.0)}.items():
        monkeypatch.setattr(reproduce_latent, name, value)
    done = inside(
        "reproduce",
        *(*FIVE_K, "--seeds", "1", "--jobs", "1"),
        *("--set", "data.limit_train=300", "--set", "train.epochs=1"),
        *("--expect", "claims>0", "--expect", "dataset==mnist-5k"),
    )
    assert done.code == 0, done.stderr
    ledger = json.loads((done.run / "claims.json").read_text())
    assert [entry["claim"] for entry in ledger] == [claim.name for claim in CLAIMS]
    for entry in ledger:
        assert entry["dataset"] == "mnist-5k"
        assert entry["verdict"].startswith(("holds", "does not hold", "not judged (mnist-5k)"))
        assert entry["measured"]
        if entry["figure"]:
            assert (done.run / entry["figure"]).is_file(), entry["figure"]
    verdicts = {entry["claim"]: entry["verdict"] for entry in ledger}
    assert {verdicts[name] for name in BY_CONSTRUCTION} == {"holds by construction"}
    assert verdicts["sanity-check"] == "not judged (mnist-5k)"
    unseen = [entry["claim"] for entry in ledger if not entry["figure"]]
    of_numbers = {"fast-retrieval", "cheap-storage", "cheap-decoding", "cheaper-diffusion"}
    of_numbers |= {"published-weight", "harder-to-train", "adds-up", "closed-form", "three-lines"}
    # 300 images are too few to cut a class
    assert set(unseen) == {*BY_CONSTRUCTION, "scarce-class", *of_numbers}
    metrics = done.metrics()
    assert next(iter(metrics)) == "dataset"
    counted = [name for name in metrics if name.startswith("claims_")]
    assert sum(metrics[name] for name in counted) == metrics["claims"] == len(CLAIMS)
    assert metrics["claims_by_construction"] == len(BY_CONSTRUCTION)
    markdown = (done.run / "claims.md").read_text()
    assert markdown.count("\n| ") == len(CLAIMS) + 2
    assert markdown.count("\n### ") == len(CLAIMS)
    for section in ("1. The bottleneck", "4. A code space full of holes"):
        assert f"\n## {section}\n" in markdown
    for number in (1, 2, 3):
        page = (done.run / f"exercise-{number}.md").read_text()
        assert page.startswith(f"# Exercise {number}: ")
        for figure in re.findall(r"\]\((.+\.png)\)", page):
            assert (done.run / figure).is_file(), figure
    assert "quick" not in markdown
    assert "weights_sha256" in json.loads((done.run / "run.json").read_text())["classifier"]
    assert "The numbers under `chapter` are MNIST's." in markdown
    for text in (markdown, done.stdout):
        assert "the chapter's own networks with recipe chapter, batch 256, 5 epochs, fp32" in text
    assert "chapter" not in (done.run / "sweep" / "table.md").read_text()


@pytest.fixture
def judged_only(monkeypatch):
    """The evidence as if it had been measured; nothing is trained."""

    def gather(gathering):
        config, images = gathering._config, gathering._images
        facts = {"dataset": images.name, "train_images": len(images.train), "quick": config.quick}
        return replace(AS_PRINTED, **facts)

    monkeypatch.setattr(reproduce_parts.Gathering, "evidence", gather)


def ran(path):
    settings = yaml_layer(path / "config.yaml").values
    return settings["data"]["limit_train"], settings["train"]["epochs"]


@pytest.mark.parametrize(
    ("asked", "means"),
    [
        ((), (4_000, 3)),  # all that mnist-5k has
        (("--set", "data.limit_train=300"), (300, 3)),
        (("--set", "train.epochs=2"), (4_000, 2)),
        (("--set", "train.epochs=5"), (4_000, 5)),  # the default, but asked for
    ],
)
def test_a_quick_look_fits_the_dataset_and_what_was_asked_for(inside, judged_only, asked, means):
    done = inside("reproduce", "--quick", *FIVE_K, *asked)
    assert done.code == 0, done.stderr
    assert ran(done.run) == means
    assert done.metrics()["quick"] is True
    assert done.metrics()["dataset"] == "mnist-5k"
    record = json.loads((done.run / "run.json").read_text())
    assert record["dataset"]["n_train"] == means[0]
    again = inside("reproduce", "--config", str(done.run / "config.yaml"), "--offline")
    assert ran(again.run) == means
    assert again.metrics() == done.metrics()


def test_a_dry_quick_look_says_what_would_run(inside, judged_only):
    look = ("reproduce", "--quick", *FIVE_K)
    told = json.loads(inside(*look, "--dry-run", "--json").stdout)
    assert told["training_images"] == told["config"]["data"]["limit_train"] == 4_000
    assert told["config"]["train"]["epochs"] == 3
    assert "3 epochs in batches of 256" in inside(*look).stderr
    given = ("--set", "data.limit_train=300", "--set", "train.epochs=2")
    told = json.loads(inside(*look, *given, "--dry-run", "--json").stdout)
    assert (told["training_images"], told["config"]["train"]["epochs"]) == (300, 2)


def test_a_quick_look_is_of_the_first_images_of_a_large_dataset(inside, judged_only, monkeypatch):
    monkeypatch.setitem(effects._QUICK_IMAGES, "reproduce", 1_000)
    assert ran(inside("reproduce", "--quick", *FIVE_K).run) == (1_000, 3)
    assert ran(inside("reproduce", *FIVE_K).run) == (None, 5)


def test_a_quick_look_says_what_it_cannot_judge(inside, judged_only):
    done = inside("reproduce", "--quick", *FIVE_K)
    text = (done.run / "claims.md").read_text()
    for said in (done.stdout, text):
        assert "not judged (quick)" in said
        assert "does not hold" not in said
        assert "a look, not a result" in said
    assert "how low an error gets depends on how long" in text
    assert done.metrics()["claims_not_judged"] == 44
    assert "mnist-5k, quick look: the chapter's claims" in done.stdout


def test_a_quick_look_stands_in_titles_and_sentences_not_in_names(images):
    look = replace(images, aside=", quick look")
    assert look.title == f"{images.title}, quick look"
    assert look.provenance() == images.provenance()
    config = ReproduceConfig()
    assert f" images of {look.title}, " in settings_in_words(config, look)


def test_an_unfinished_quick_look_is_gone_on_with(inside, judged_only, monkeypatch, tmp_path):
    def fail(*arguments):
        raise StorageError("the disk went")

    with monkeypatch.context() as patch:
        patch.setattr(reproduce_parts.Gathering, "evidence", fail)
        assert inside("reproduce", "--quick", *FIVE_K).code == 6
    [first] = (tmp_path / "runs").glob("*Z-*")
    other = inside("reproduce", "--quick", *FIVE_K, "--set", "train.epochs=4", "--continue")
    assert other.run != first
    done = inside("reproduce", "--quick", *FIVE_K, "--continue")
    assert (done.code, done.run) == (0, first), done.stderr
    assert ran(first) == (4_000, 3)


@pytest.mark.parametrize(
    ("fit", "words"),
    [
        (FitConfig(), "recipe muon, batch 256, 5 epochs"),
        (FitConfig(recipe="chapter", epochs=1), "recipe chapter, batch 256, 1 epoch"),
        (
            FitConfig(optimizer="adam"),
            "recipe muon (optimizer=adam), batch 256, 5 epochs",
        ),
        (
            FitConfig(optimizer=MuonConfig(lr=0.5), loss=SparseLoss(l1=0.1)),
            "recipe muon (lr=0.5, loss=sparse, l1=0.1), batch 256, 5 epochs",
        ),
    ],
)
def test_settings_are_said_in_words(fit, words):
    assert recipe_in_words(fit, None) == words


def test_a_training_that_failed_costs_its_claims_alone(inside, monkeypatch, tmp_path):
    facts = {"dataset": "mnist-5k", "quick": True}
    found = {field.name: getattr(AS_PRINTED, field.name) for field in fields(AS_PRINTED)} | facts
    conversions = found.pop("conversions")
    parts = [name for name, part in vars(reproduce_parts.Gathering).items() if callable(part)]
    for name in set(parts) - {"__init__", "evidence", "_tried", "_noted", "_subject"}:
        monkeypatch.setattr(reproduce_parts.Gathering, name, lambda gathering: {})
    monkeypatch.setattr(reproduce_parts.Gathering, "_as_the_chapter", lambda gathering: found)

    def fail(gathering):
        raise JobsFailedError(failure_text(["mlp code 32, seed 1: out of memory"]))

    with monkeypatch.context() as patch:
        patch.setattr(reproduce_parts.Gathering, "_conversions", fail)
        stopped = inside("reproduce", "--quick", *FIVE_K, "--fail-fast")
        assert (stopped.code, "claims.json" in listed(tmp_path)) == (5, False)
        done = inside("reproduce", "--quick", *FIVE_K, "--continue")
    assert done.code == 5
    assert "mlp code 32, seed 1: out of memory" in done.stderr
    verdicts = {e["claim"]: e for e in json.loads((done.run / "claims.json").read_text())}
    assert verdicts["softer"]["verdict"] == "not judged (failed)"
    assert verdicts["softer"]["reason"].endswith("mlp code 32, seed 1: out of memory")
    assert verdicts["falling-mse"]["verdict"] == "holds"
    assert json.loads((done.run / "run.json").read_text())["status"] == "failed"
    monkeypatch.setattr(
        reproduce_parts.Gathering, "_conversions", lambda gathering: {"conversions": conversions}
    )
    again = inside("reproduce", "--quick", *FIVE_K, "--continue")
    assert (again.code, again.run) == (0, done.run), again.stderr
    assert "not judged (failed)" not in (again.run / "claims.md").read_text()


def listed(folder):
    return {path.name for path in folder.rglob("*")}
