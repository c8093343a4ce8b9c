"""``hpcml search`` from table to saved model."""

import os
import re
import signal
import subprocess
import sys
import time

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestRegressor as SklearnForest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV as SklearnSearch
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hpcml.cli import main
from hpcml.cli.grid import usual_grid
from hpcml.data import TableEncoder, split_target
from hpcml.ensemble import RandomForestClassifier, RandomForestRegressor
from hpcml.model_selection import GridSearchCV

GRID = ["--grid", "max_depth=2,4", "--grid", "n_estimators=3,6"]


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    n = 120
    beds = rng.integers(1, 6, n)
    kind = rng.choice(["flat", "house", "loft"], n)
    return pd.DataFrame(
        {
            "beds": beds,
            "kind": kind,
            "score": np.where(rng.random(n) < 0.2, np.nan, rng.normal(90, 5, n)),
            "superhost": rng.choice(["t", "f"], n),
            "price": 50.0 * beds + 30.0 * (kind == "loft") + rng.normal(0, 5, n),
        }
    )


@pytest.fixture
def rooms(table, tmp_path):
    path = tmp_path / "rooms.csv"
    table.to_csv(path, index=False)
    return path


def run(capsys, *arguments, status=0):
    assert main(["search", *map(str, arguments)]) == status
    return capsys.readouterr()


@pytest.mark.parametrize(
    ("estimator", "bundled", "trees"),
    [
        ("random-forest-regressor", "diabetes", "54 trees; 18 grown"),
        ("random-forest-classifier", "breast cancer", "54 trees; 18 grown"),
        ("decision-tree-regressor", "diabetes", "6 trees; 3 grown"),
        ("decision-tree-classifier", "breast cancer", "6 trees; 3 grown"),
    ],
)
def test_a_bundled_table_runs_and_what_is_shared_is_said(capsys, estimator, bundled, trees):
    grid = GRID if "forest" in estimator else GRID[:2]
    said = run(capsys, "--estimator", estimator, *grid)
    assert f"{bundled} (bundled with scikit-learn)" in said.out
    assert f"fits asked for, {trees}" in said.out
    assert (
        "mean" in said.out and "spread" in said.out and "fit" in said.out and "best: max_depth=" in said.out
    )


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_number_or_name_is_cut_in_a_narrow_window(capsys, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    grid = ["-g", "max_depth=2,3", "-g", "max_features=sqrt,0.3", "-g", "n_estimators=3"]
    said = run(capsys, *grid, "--scoring", "neg_mean_absolute_error,r2").out
    table = said[said.index("Best 4 of 4") : said.index("\nbest:")]
    assert "…" not in table and max(map(len, table.splitlines())) <= width
    assert len(re.findall(r" -\d+\.\d{4} ", table)) == 4  # negative scores, whole
    legend = " ".join(table.split())
    assert ("times are left out here" in legend) != ("fit, score: mean time" in legend)


def test_without_a_grid_the_usual_one_is_searched(capsys):
    said = run(capsys, "--quiet", "-p", "n_estimators=3").out
    assert said.count("\n") == 1 and said.startswith("best: max_depth=")


@pytest.mark.parametrize(
    ("estimator", "parameter"),
    [("logistic-regression", "C"), ("ridge", "alpha"), ("sklearn.linear_model.Ridge", "alpha")],
)
def test_linear_models_have_a_usual_grid(capsys, estimator, parameter):
    said = run(capsys, "-e", estimator, "--top", 4).out
    assert "Best 4 of 4" in said and re.search(rf"best: {parameter}=(0.01|0.1|1|10)\b", said)


def test_gradient_boosting_has_the_grid_of_trees():
    parameters = ["alpha", "max_depth", "n_estimators"]
    assert list(usual_grid("sklearn.ensemble._gb", parameters)) == ["max_depth", "n_estimators"]


def test_scores_model_and_results_are_those_of_the_library(capsys, table, rooms, tmp_path):
    results, model = tmp_path / "results.csv", tmp_path / "model.joblib"
    said = run(capsys, rooms, "-t", "price", *GRID, "--seed", 7, "-o", results, "-m", model)
    assert "kind: 3 categories -> one 0/1 column each (flat, house, loft)" in said.out
    assert "superhost: f, t -> 0, 1" in said.out and "2 columns of numbers" in said.out
    raw, y = split_target(pd.read_csv(rooms), "price", "regressor")
    X = TableEncoder().fit_transform(raw)
    forest = RandomForestRegressor(random_state=7)
    expected = GridSearchCV(forest, {"max_depth": [2, 4], "n_estimators": [3, 6]}, cv=3).fit(X, y)
    written = pd.read_csv(results, float_precision="round_trip")
    # bits, not nearness: the CSV has all digits
    np.testing.assert_array_equal(written["mean_test_score"], expected.cv_results_["mean_test_score"])
    assert list(written["rank_test_score"]) == list(expected.cv_results_["rank_test_score"])
    loaded = joblib.load(model)
    np.testing.assert_array_equal(
        loaded.predict(table), expected.predict(X)
    )  # the raw table, its target included
    assert sorted(each.name for each in tmp_path.iterdir()) == ["model.joblib", "results.csv", "rooms.csv"]


def test_classes_of_text_two_scores_and_a_fixed_parameter(capsys, table, tmp_path):
    path, model, results = (tmp_path / name for name in ("rooms.csv", "model.joblib", "results.csv"))
    table.assign(dear=np.where(table["price"] > 150, "dear", "cheap")).drop(columns="price").to_csv(
        path, index=False
    )
    arguments = ["-t", "dear", "-e", "random-forest-classifier", *GRID, "-p", "class_weight=balanced"]
    said = run(capsys, path, *arguments, "--scoring", "roc_auc,accuracy", "-o", results, "-m", model)
    assert "target dear: 2 classes" in said.out and "mean roc_auc" in said.out and "mean accuracy" in said.out
    forest = joblib.load(model)["model"]
    assert isinstance(forest, RandomForestClassifier) and forest.class_weight == "balanced"
    assert set(joblib.load(model).predict(table)) == {"dear", "cheap"}
    assert {"mean_test_roc_auc", "mean_test_accuracy"} <= set(pd.read_csv(results).columns)


def test_parquet_tables(capsys, table, tmp_path):
    pytest.importorskip("pyarrow", reason='needs pyarrow: pip install "hpcml[parquet]"')
    table.to_parquet(tmp_path / "rooms.parquet")
    table.to_csv(tmp_path / "rooms.csv", index=False)
    quiet = ["-t", "price", "--quiet", *GRID]
    assert (
        run(capsys, tmp_path / "rooms.parquet", *quiet).out == run(capsys, tmp_path / "rooms.csv", *quiet).out
    )


def test_other_libraries_estimators_by_dotted_path(capsys):
    said = run(capsys, "-e", "sklearn.linear_model.Ridge", "-g", "alpha=0.1,1,10")
    assert "9 fits asked for" in said.out and "best: alpha=" in said.out


def test_linear_models_get_filled_and_scaled_columns(capsys, rooms, table, tmp_path):
    results, model = tmp_path / "results.csv", tmp_path / "model.joblib"
    given = ["-t", "price", "-e", "ridge", "-g", "alpha=0.1,30", "-p", "tol=1e-6", "-o", results, "-m", model]
    said = run(capsys, rooms, *given).out
    assert "score: missing values -> median of the training rows" in said
    assert "all features -> mean 0, spread 1 over the training rows" in said and "best: alpha=" in said
    raw, y = split_target(pd.read_csv(rooms), "price", "regressor")
    X = TableEncoder().fit_transform(raw)
    pipeline = make_pipeline(SimpleImputer(strategy="median"), StandardScaler(), Ridge())
    expected = SklearnSearch(pipeline, {"ridge__alpha": [0.1, 30]}, cv=3).fit(X, y)
    scores = pd.read_csv(results)["mean_test_score"]
    np.testing.assert_allclose(scores, expected.cv_results_["mean_test_score"], rtol=1e-9)
    loaded = joblib.load(model)
    assert list(loaded.named_steps) == ["encode", "fill", "scale", "model"]
    np.testing.assert_allclose(loaded.predict(table), expected.predict(X), rtol=1e-9)


@pytest.mark.parametrize("top", [1, 3])
def test_the_table_shows_the_best(capsys, rooms, top):
    said = run(capsys, rooms, "-t", "price", *GRID, "--top", top)
    assert f"Best {top} of 4 candidates" in said.out


def test_the_number_of_jobs_changes_nothing(capsys, rooms):
    said = {run(capsys, rooms, "-t", "price", "-q", *GRID, "-j", n_jobs).out for n_jobs in (1, 2)}
    assert len(said) == 1


def test_verify_shows_scikit_learns_scores_beside(capsys, rooms):
    said = run(capsys, rooms, "-t", "price", *GRID, "--verify")
    assert "scikit-learn" in said.out and "difference" in said.out and "winner" in said.out


def test_a_journal_resumes_and_refuses_another_grid(capsys, rooms, tmp_path):
    journal = tmp_path / "search.journal"
    first = run(capsys, rooms, "-t", "price", "-q", *GRID, "--journal", journal).out
    assert run(capsys, rooms, "-t", "price", "-q", *GRID, "--journal", journal).out == first
    other = ["--grid", "max_depth=3,5"]
    said = run(capsys, rooms, "-t", "price", "-q", *other, "--journal", journal, status=2)
    assert said.out == "" and said.err.count("\n") == 1 and "journal" in said.err


@pytest.mark.parametrize(
    ("grid", "says"),
    [
        ("max_depth=-3", "max_depth"),
        ("max_features=cube", "max_features"),
        ("n_estimators=0", "n_estimators"),
    ],
)
def test_a_value_that_the_estimator_refuses_is_one_line(capsys, rooms, grid, says):
    said = run(capsys, rooms, "-t", "price", "--grid", grid, status=2)
    assert said.err.count("\n") == 1 and says in said.err and "Traceback" not in said.err


def test_warnings_are_one_line_each_without_code(capsys, table, tmp_path):
    path = tmp_path / "rare.csv"
    rare = np.where(np.arange(len(table)) < 2, "rare", table["kind"])
    table.assign(kind=rare).to_csv(path, index=False)
    said = run(capsys, path, "-t", "kind", "-e", "random-forest-classifier", "-q", *GRID)
    assert said.err.startswith("hpcml search: note: The least populated class")
    assert "warn(" not in said.err and said.err.count("\n") == 1


SLOW = """
import pathlib, time
from sklearn.dummy import DummyRegressor

class Slow(DummyRegressor):
    def fit(self, X, y):
        if len(y) > 100:
            pathlib.Path(__file__).with_name("started").touch()
            time.sleep(60)
        return super().fit(X, y)
"""


@pytest.mark.parametrize("journal", [False, True])
def test_ctrl_c_ends_with_one_line_and_says_how_to_go_on(tmp_path, journal):
    (tmp_path / "slow_model.py").write_text(SLOW)
    command = [
        sys.executable,
        "-m",
        "hpcml.cli",
        "search",
        "-e",
        "slow_model.Slow",
        "-g",
        "quantile=0.1,0.2",
        "-j",
        "1",
    ]
    if journal:
        command += ["--journal", str(tmp_path / "search.journal")]
    environment = {"PYTHONPATH": ":".join([str(tmp_path), *sys.path])}
    process = subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "started").exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    err = process.communicate(timeout=60)[1]
    assert process.returncode == 130, err
    assert err.count("\n") == 1 and err.startswith("hpcml search: interrupted; "), err
    assert ("search.journal" in err) if journal else ("--journal FILE" in err)


def test_a_model_of_scikit_learn_is_saved_as_well(capsys, rooms, table, tmp_path):
    model = tmp_path / "model.pkl"
    run(
        capsys, rooms, "-t", "price", "-q", "-e", "sklearn.ensemble.RandomForestRegressor", *GRID, "-m", model
    )
    assert isinstance(joblib.load(model)["model"], SklearnForest)
    assert joblib.load(model).predict(table.drop(columns="price")).shape == (120,)
