"""The searches over hpcml's own forests and trees: the bits of separate fits, with the work done once."""

import threading
from collections import Counter

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from separate_fits import assert_equal_to_separate_fits
from sklearn import model_selection
from sklearn.base import clone
from sklearn.datasets import make_classification, make_regression
from sklearn.exceptions import FitFailedWarning

from hpcml import config, counterparts
from hpcml.ensemble import RandomForestClassifier, RandomForestRegressor
from hpcml.model_selection import GridSearchCV, RandomizedSearchCV
from hpcml.training import forest
from hpcml.tree import DecisionTreeClassifier, DecisionTreeRegressor

X, Y = make_regression(120, 5, n_informative=3, noise=5.0, random_state=0)
XC, YC = make_classification(120, 6, n_informative=4, n_classes=3, n_clusters_per_class=1, random_state=0)
WEIGHT = np.random.default_rng(0).uniform(0.2, 2.0, size=120)
GROUPS = np.arange(120) % 7

REGRESSION = st.sampled_from([None, "r2", "neg_mean_absolute_error", ["r2", "neg_root_mean_squared_error"]])
CLASSIFICATION = st.sampled_from(
    [None, "accuracy", "neg_log_loss", "roc_auc_ovr", ["f1_macro", "neg_log_loss"]]
)
VALUES = {
    "max_depth": st.sampled_from([None, 1, 2, 4]),
    "n_estimators": st.sampled_from([1, 3, 6]),
    "min_samples_split": st.sampled_from([2, 7, 0.2]),
    "min_samples_leaf": st.sampled_from([1, 4]),
    "max_features": st.sampled_from([1.0, "sqrt", 2]),
    "max_leaf_nodes": st.sampled_from([None, 4, 9]),
    "min_impurity_decrease": st.sampled_from([0.0, 0.01]),
    "ccp_alpha": st.sampled_from([0.0, 0.02]),
    "bootstrap": st.booleans(),
    "max_bins": st.sampled_from([255, 8]),
}


@st.composite
def grids(draw):
    names = draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=3, unique=True))
    return {name: draw(st.lists(VALUES[name], min_size=1, max_size=2, unique=True)) for name in names}


@settings(max_examples=25)
@given(
    grid=grids(),
    n_jobs=st.sampled_from([1, 2, 4]),
    backend=st.sampled_from(["threading", "loky"]),
    classify=st.booleans(),
    scorings=st.tuples(REGRESSION, CLASSIFICATION),
    weighted=st.booleans(),
    grouped=st.booleans(),
    train=st.booleans(),
    seed=st.sampled_from([None, 0, 12]),
)
def test_scores_equal_separate_fits_to_the_bit(
    grid, n_jobs, backend, classify, scorings, weighted, grouped, train, seed
):
    kind = RandomForestClassifier if classify else RandomForestRegressor
    data, scoring = ((XC, YC), scorings[1]) if classify else ((X, Y), scorings[0])
    fit = {"sample_weight": WEIGHT} if weighted else {}
    fit |= {"groups": GROUPS} if grouped else {}
    with joblib.parallel_config(backend=backend), config.config_context(n_threads=2):
        search = GridSearchCV(
            kind(n_estimators=4, random_state=seed),
            grid,
            scoring=scoring,
            cv=model_selection.GroupKFold(2) if grouped else 2,
            n_jobs=n_jobs,
            refit=scoring[0] if isinstance(scoring, list) else True,
            return_train_score=train,
        ).fit(*data, **fit)
    assert not search.plan_.separate and not search.plan_.fallbacks
    assert_equal_to_separate_fits(search, *data, fit)


@pytest.mark.parametrize("estimator", [DecisionTreeClassifier, DecisionTreeRegressor])
def test_trees_share_too(estimator):
    data = (XC, YC) if estimator is DecisionTreeClassifier else (X, Y)
    search = GridSearchCV(estimator(), {"max_depth": [1, 3, None]}, cv=3).fit(*data)
    assert search.plan_.done["fits"] == 3 and search.plan_.asked["fits"] == 9
    assert_equal_to_separate_fits(search, *data)


@pytest.mark.parametrize(
    "table", [pd.DataFrame(X, columns=list("abcde")), sp.csr_array(X), X.astype("f4")], ids=type
)
def test_tables(table):
    search = GridSearchCV(RandomForestRegressor(n_estimators=5, random_state=0), {"max_depth": [2, 4]}, cv=3)
    search.fit(table, Y)
    assert_equal_to_separate_fits(search, table, Y)
    assert not search.plan_.fallbacks


@pytest.fixture
def grown(monkeypatch):
    """Count the trees that the kernel grows."""
    counts, lock, original = Counter(), threading.Lock(), forest.lookup

    def lookup(name):
        kernel = original(name)
        if name != "grow":
            return kernel

        def counting(*args, **kwargs):
            grown = kernel(*args, **kwargs)
            with lock:
                counts["trees"] += len(grown[2]) - 1
            return grown

        return counting

    monkeypatch.setattr(forest, "lookup", lookup)
    return counts


def test_four_workers_do_no_more_work_than_one(grown):
    done = {}
    for n_jobs in (1, 4):
        grown.clear()
        with joblib.parallel_config(backend="threading"):
            search = GridSearchCV(
                RandomForestRegressor(random_state=0),
                {"max_depth": [2, 5, 10], "n_estimators": [20, 50, 100]},
                cv=3,
                n_jobs=n_jobs,
                refit=False,
            ).fit(X, Y)
        done[n_jobs] = grown["trees"]
        assert str(search.plan_) == "27 fits asked for, 1530 trees; 300 grown"
    assert done[1] == 300
    assert done[4] <= 1.15 * done[1]


def test_candidates_that_forests_refuse():
    grid = {"max_depth": [2, "deep", 3], "n_estimators": [3]}
    search = GridSearchCV(RandomForestRegressor(random_state=0), grid, cv=2)
    with (
        pytest.warns(UserWarning, match="non-finite"),
        pytest.warns(RuntimeWarning, match="2 fits failed(.|\n)*max_depth"),
    ):
        search.fit(X, Y)
    np.testing.assert_array_equal(np.isnan(search.cv_results_["mean_test_score"]), [False, True, False])
    assert list(search.plan_.separate) == [1] and len(search.plan_.batches) == 2


def test_a_random_search_resumes(tmp_path):
    path = tmp_path / "search.jsonl"
    space = {"max_depth": [1, 2, 4, None], "n_estimators": range(1, 9), "min_samples_leaf": [1, 3]}
    search = RandomizedSearchCV(RandomForestClassifier(), space, n_iter=6, cv=3, journal=path).fit(XC, YC)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:8]))
    again = clone(search).fit(XC, YC)
    assert again.plan_.resumed == 7 and again.plan_.seed == search.plan_.seed
    np.testing.assert_array_equal(again.cv_results_["mean_test_score"], search.cv_results_["mean_test_score"])
    np.testing.assert_array_equal(again.predict(XC), search.predict(XC))


def test_verify_against_scikit_learn(capsys):
    grid = {"max_depth": [1, 6], "n_estimators": [50], "max_bins": [255]}
    search = GridSearchCV(RandomForestRegressor(random_state=0), grid, cv=3).fit(X, Y)
    found = search.verify(n=2)
    said = capsys.readouterr().out
    assert found.left_out == ["max_bins"] and "scikit-learn has no max_bins" in said
    assert found.winner_agrees["score"] and found.speedup > 0
    assert np.abs(found.differences["score"]).max() < 0.1  # other seeds, other trees


@pytest.mark.parametrize("ours, theirs", sorted(counterparts.COUNTERPARTS.items()))
def test_counterparts(ours, theirs):
    module, _, name = ours.rpartition(".")
    kind = getattr(__import__(module, fromlist=[name]), name)
    found = counterparts.counterpart_class(kind)
    assert f"{found.__module__.split('._')[0]}.{found.__name__}".startswith(theirs.rpartition(".")[0])
    assert found.__name__ == theirs.rpartition(".")[2] and found.__module__.startswith("sklearn.")
    trees = module in ("hpcml.ensemble", "hpcml.tree")
    made = counterparts.counterpart(kind(max_depth=3, max_bins=16) if trees else kind())
    assert type(made) is found and (not trees or made.max_depth == 3)
    pipe = model_selection.GridSearchCV(kind(), {"max_depth": [1]})
    assert type(counterparts.counterpart(pipe).estimator) is found
    assert type(counterparts.counterpart([("a", kind())])[0][1]) is found


def test_candidates_whose_parameters_do_not_go_together_fail_as_separate_fits_do():
    grid = {"bootstrap": [True, False], "max_samples": [None, 10]}
    search = GridSearchCV(RandomForestRegressor(3, random_state=0), grid, cv=2)
    with pytest.warns(FitFailedWarning), pytest.warns(UserWarning, match="non-finite"):
        search.fit(X, Y)
    failed = [p["bootstrap"] is False and p["max_samples"] == 10 for p in search.cv_results_["params"]]
    assert np.isnan(search.cv_results_["mean_test_score"]).tolist() == failed


def test_rows_of_a_fold_that_are_no_integers_are_refused():
    rows = np.arange(120.0)
    with pytest.raises(ValueError, match="cv must give rows as integers or as a mask"):
        GridSearchCV(RandomForestRegressor(2), {"max_depth": [1]}, cv=[(rows, rows)]).fit(X, Y)
