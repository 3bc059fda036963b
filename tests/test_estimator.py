"""`aecli.Autoencoder`: scikit-learn's own checks, and its way into a run and back."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

import aecli
from aecli.errors import UsageError


@parametrize_with_checks(
    [
        aecli.Autoencoder(code_dim=2, epochs=1),
        aecli.Autoencoder(code_dim=1, codec="pca"),
    ]
)
def test_checks_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.fixture
def rows():
    generator = np.random.default_rng(0)
    return generator.normal(size=(80, 3)) @ generator.normal(size=(3, 12)) * 40 + 7


def test_it_is_better_than_nothing_and_in_the_units_of_x(rows):
    model = aecli.Autoencoder(code_dim=3, codec="pca").fit(rows)
    np.testing.assert_allclose(model.inverse_transform(model.transform(rows)), rows, atol=1e-2)
    assert -1e-9 < model.score(rows) <= 0
    assert model.transform(rows).dtype == np.float32
    assert list(model.get_feature_names_out()) == [f"autoencoder{i}" for i in range(3)]


@pytest.mark.parametrize("shape", [(8, 10), (8, 10, 3)])
@pytest.mark.parametrize("dtype", ["uint8", "float64", "int32"])
def test_images_come_back_as_images(shape, dtype, tmp_path):
    generator = np.random.default_rng(0)
    images = (255 * generator.random((30, *shape))).astype(dtype)
    model = aecli.Autoencoder(code_dim=4, codec="rotated-dct").fit(images)
    codes = model.transform(images)
    assert model.inverse_transform(codes).shape == images.shape
    run = aecli.open(model.save(tmp_path / "runs"))
    np.testing.assert_allclose(run.encode(images), codes, atol=1e-5)
    assert run.state == "completed"
    assert run.config.codec.name == "rotated-dct"


def test_it_saves_as_a_run_and_opens_again(rows, tmp_path):
    settings = {"codec.hidden": [8], "train.noise": "masking"}
    model = aecli.Autoencoder(code_dim=2, epochs=2, batch_size=20, settings=settings).fit(rows)
    path = model.save(tmp_path / "runs")
    run = aecli.open(path)
    np.testing.assert_allclose(run.encode(rows), model.transform(rows), atol=1e-6)
    assert run.config.train.epochs == len(run.history) == run.metrics["epochs"] == 2
    assert run.config.codec.hidden == (8,)
    assert run.record["dataset"]["n_train"] == 80


def test_it_trains_as_the_program_does(inside):
    # The same images in the same order from the same seed: the same numbers.
    done = inside(
        *("train", "--dataset", "mnist-5k", "--limit-train", "300", "--set", "data.val=0"),
        *("--epochs", "2", "--batch-size", "100", "--code-dim", "4", "--device", "cpu"),
    )
    run = aecli.open(done.run)
    from aecli.data import datasets
    from aecli.data.sources import default_places

    images = datasets.load(run.config.data, default_places(None, True), lambda _: None)
    x = images.train.all().images.numpy()[:, 0]
    model = aecli.Autoencoder(code_dim=4, epochs=2, batch_size=100).fit(x)
    found = [row["train_mse"] for row in model.history_]
    np.testing.assert_allclose(found, [row["train_mse"] for row in run.history], rtol=1e-5)


def test_pipeline_and_grid_search(rows):
    y = rows[:, 0] > rows[:, 0].mean()
    pipeline = make_pipeline(aecli.Autoencoder(codec="pca"), LogisticRegression())
    grid = {"autoencoder__code_dim": [1, 3]}
    search = GridSearchCV(pipeline, grid, cv=3).fit(rows, y)
    assert search.best_score_ > 0.7
    alone = GridSearchCV(aecli.Autoencoder(codec="pca"), {"code_dim": [1, 3]}, cv=3).fit(rows)
    assert alone.best_params_ == {"code_dim": 3}


def test_bad_input(rows):
    with pytest.raises(NotFittedError):
        aecli.Autoencoder().transform(rows)
    with pytest.raises(UsageError, match=r"code_dim.*-1"):
        aecli.Autoencoder(code_dim=-1).fit(rows)
    with pytest.raises(UsageError, match="nix"):
        aecli.Autoencoder(codec="nix").fit(rows)
    with pytest.raises(UsageError, match=r"train\.nix"):
        aecli.Autoencoder(settings={"train.nix": 1}).fit(rows)
    for key in ("data.val", "checkpoint_seconds", "threads", "train.init_from", 1):
        with pytest.raises(UsageError, match=f"settings: {key} has no effect here"):
            aecli.Autoencoder(settings={key: 1}).fit(rows)
    for wrong in ({"code_dim": 2.5}, {"code_dim": "8"}, {"epochs": 1.5}, {"batch_size": True}):
        with pytest.raises(UsageError, match="must be a whole number"):
            aecli.Autoencoder(**wrong).fit(rows)
    model = aecli.Autoencoder(code_dim=2, codec="pca").fit(rows)
    with pytest.raises(ValueError, match="3 numbers a code"):
        model.inverse_transform(np.zeros((1, 3)))
    with pytest.raises(ValueError, match="NaN"):
        model.transform(np.full((1, 12), np.nan))
    with pytest.raises(ValueError, match="images of shape"):
        clone(model).fit(rows.reshape(80, 3, 4)).transform(rows.reshape(80, 4, 3))


def test_importing_aecli_is_light():
    code = (
        "import sys, aecli; aecli.open; aecli.__version__;"
        "print([m for m in ('torch', 'numpy', 'sklearn', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n"
