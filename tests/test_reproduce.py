"""The ledger: every claim judged from one run, on few images."""

import json

from aecli.chapter import CLAIMS
from aecli.experiments import sweep_codedim


def test_the_ledger_has_every_claim_with_its_evidence(inside, monkeypatch):
    monkeypatch.setattr(sweep_codedim, "N_PROBE", 100)
    done = inside(
        "reproduce",
        *("--dataset", "mnist-5k", "--offline", "--seeds", "1", "--jobs", "1"),
        *("--set", "data.limit_train=300", "--set", "train.epochs=1"),
        *("--expect", "claims>0"),
    )
    assert done.code == 0, done.stderr
    ledger = json.loads((done.run / "claims.json").read_text())
    assert [entry["claim"] for entry in ledger] == [claim.name for claim in CLAIMS]
    for entry in ledger:
        assert entry["verdict"].startswith(("holds", "does not hold"))
        assert entry["measured"]
        if entry["figure"]:
            assert (done.run / entry["figure"]).stat().st_size > 5_000, entry["figure"]
    assert {e["claim"]: e["verdict"] for e in ledger}["compression"] == "holds"
    metrics = done.metrics()
    counted = ("claims_that_hold", "claims_that_hold_only_if", "claims_that_do_not_hold")
    assert sum(metrics[name] for name in counted) == metrics["claims"] == len(CLAIMS)
    markdown = (done.run / "claims.md").read_text()
    assert markdown.count("\n| ") == len(CLAIMS) + 1
    assert "quick" not in markdown
    assert "weights_sha256" in json.loads((done.run / "run.json").read_text())["classifier"]
