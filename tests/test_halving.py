"""Halving searches: scikit-learn's candidates, resources and scores, shared within and between rounds."""

import joblib
import numpy as np
import pytest
from scipy.stats import randint, uniform
from sharing_toys import SignsClassifier, SignsRegressor
from sklearn import model_selection as theirs
from sklearn.base import clone
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from upstream import run_upstream

from hpcml import model_selection as ours
from hpcml.ensemble import RandomForestClassifier, RandomForestRegressor
from hpcml.model_selection import HalvingGridSearchCV, HalvingRandomSearchCV, explain_plan, rounds
from hpcml.training.forest import Growth

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 4))
TARGET = X[:, 0] * 2 - X[:, 1] + RNG.normal(size=200) * 0.5
LABELS = np.where(TARGET > 0, "up", "down")
GRID = {"n_terms": [1, 2, 5, 9], "shift": [0.0, 0.3, 0.6]}
GRID_SEARCH, RANDOM = "HalvingGridSearchCV", "HalvingRandomSearchCV"
SIGNS = SignsClassifier(random_state=0)
SEARCHES = {
    "grid": (GRID_SEARCH, SIGNS, GRID, {"random_state": 0}),
    "least": (
        GRID_SEARCH,
        SVC(),
        {"C": [0.1, 1, 10, 20]},
        {"min_resources": "smallest", "factor": 2, "random_state": 0},
    ),
    "aggressive": (
        GRID_SEARCH,
        SVC(),
        {"C": [0.1, 1, 10, 20], "gamma": [0.1, 0.5]},
        {"aggressive_elimination": True, "max_resources": 40, "factor": 2, "random_state": 1},
    ),
    "terms": (
        GRID_SEARCH,
        SIGNS,
        {"shift": [0.0, 0.1, 0.2, 0.3, 0.4]},
        {"resource": "n_terms", "max_resources": 30, "min_resources": 2, "factor": 2.5},
    ),
    "random": (
        RANDOM,
        SVC(),
        {"C": uniform(0.1, 5)},
        {"random_state": 3, "n_candidates": 8},
    ),
    "all": (
        RANDOM,
        SIGNS,
        {"n_terms": randint(1, 9)},
        {"random_state": 5},
    ),
    "pipeline": (
        GRID_SEARCH,
        make_pipeline(StandardScaler(), SIGNS),
        {"signsclassifier__n_terms": [1, 2, 3, 4], "standardscaler__with_mean": [True, False]},
        {"random_state": 0, "scoring": "roc_auc", "refit": False},
    ),
}


@pytest.mark.parametrize("name", SEARCHES)
def test_results_are_scikit_learns(name):
    kind, model, space, options = SEARCHES[name]
    y = (LABELS == "up").astype(int)
    found = getattr(ours, kind)(model, space, cv=3, **options).fit(X, y)
    expected = getattr(theirs, kind)(model, space, cv=3, **options).fit(X, y)
    assert list(found.cv_results_) == list(expected.cv_results_)
    for key, values in expected.cv_results_.items():
        assert type(found.cv_results_[key]) is type(values)
        if not key.endswith("_time"):
            np.testing.assert_array_equal(found.cv_results_[key], values, err_msg=key)
    mine, other = ({k: v for k, v in vars(s).items() if k.endswith("_")} for s in (found, expected))
    for attribute in other.keys() - {"cv_results_", "best_estimator_", "refit_time_", "scorer_"}:
        if not attribute.startswith("_"):
            assert mine[attribute] == other[attribute], attribute
    if found.refit:
        np.testing.assert_array_equal(found.predict(X), expected.predict(X))
    assert found.plan_.asked["fits"] == 3 * sum(found.n_candidates_)


def test_rounds_share():
    forest = RandomForestClassifier(5, random_state=0)
    grid = {"max_depth": [1, 2, 3, 4, 5, None]}
    search = HalvingGridSearchCV(forest, grid, cv=3, random_state=0)
    told = explain_plan(search, X, LABELS)
    assert told.asked == {"fits": 18, "trees": 90} and told.done == {"fits": 3, "trees": 15}
    search.fit(X, LABELS)
    assert search.n_candidates_ == [6, 2] and search.plan_.done == {"fits": 6, "trees": 30}
    assert not search.plan_.separate


FORESTS = {
    "depths": (
        RandomForestRegressor(random_state=0),
        {"max_depth": [1, 3, 5, None], "min_samples_split": [2, 0.2], "max_features": [1, 1.0]},
        {"factor": 3},
    ),
    "leaves": (
        RandomForestClassifier(random_state=0, class_weight="balanced_subsample", max_samples=0.6),
        [{"max_leaf_nodes": [2, 5, 12]}, {"max_depth": [1, 2, 5], "ccp_alpha": [0.0, 0.01]}],
        {"factor": 2, "min_resources": 3, "max_resources": 12},
    ),
    "the same resource twice": (
        RandomForestClassifier(random_state=np.random.RandomState(4)),
        {"max_depth": [1, 2, 3, 4, 5], "bootstrap": [True, False], "criterion": ["gini", "entropy"]},
        {"factor": 2, "aggressive_elimination": True, "min_resources": 5, "max_resources": 20},
    ),
}


@pytest.mark.parametrize(
    "name, backend", list(zip(FORESTS, ["loky", "threading", "sequential"], strict=True))
)
def test_forests_go_on_from_the_round_before(name, backend, monkeypatch):
    forest, grid, options = FORESTS[name]
    options = {"resource": "n_estimators", "max_resources": 27, "cv": KFold(2), "refit": False, **options}
    y = LABELS if isinstance(forest, RandomForestClassifier) else TARGET
    monkeypatch.setenv("HPCML_NUM_THREADS", "1")  # fits are too small for threads
    expected = theirs.HalvingGridSearchCV(forest, grid, **options).fit(X, y)
    grown = []
    growth = Growth.trees
    monkeypatch.setattr(
        Growth,
        "trees",
        lambda self, seeds, *a, **k: (grown.append(len(seeds)), growth(self, seeds, *a, **k))[1],
    )
    searches = [HalvingGridSearchCV(forest, grid, **options).fit(X, y)]
    counted = sum(grown)
    with joblib.parallel_config(backend=backend):
        searches.append(HalvingGridSearchCV(forest, grid, n_jobs=2, **options).fit(X, y))
    monkeypatch.setattr(rounds, "KEPT_BYTES", 100)  # too few for any tree
    searches.append(HalvingGridSearchCV(forest, grid, **options).fit(X, y))
    for search in searches:
        for split in range(2):
            key = f"split{split}_test_score"
            np.testing.assert_array_equal(search.cv_results_[key], expected.cv_results_[key])
        assert search.plan_.asked["trees"] == 2 * np.sum(expected.cv_results_["n_resources"])
    assert counted == searches[0].plan_.done["trees"] == searches[1].plan_.done["trees"]
    assert counted < searches[2].plan_.done["trees"]
    assert "each round goes on from the one before" in str(searches[0].plan_)
    assert "rounds start anew: no fit could go on from a smaller one" in str(searches[2].plan_)


@pytest.mark.parametrize(
    "model, resource, reason",
    [
        (RandomForestClassifier(4, random_state=0), "n_samples", "each draws rows of its own"),
        (SignsClassifier(random_state=0), "n_terms", "SignsClassifier does not go on from a smaller n_terms"),
    ],
)
def test_where_nothing_is_carried_over_the_plan_says_so(model, resource, reason):
    name = "max_depth" if resource == "n_samples" else "shift"
    most = {"max_resources": 9} if resource == "n_terms" else {}
    search = HalvingGridSearchCV(
        model, {name: [1, 2, 3]}, resource=resource, cv=KFold(3), random_state=0, **most
    )
    assert str(search.fit(X, LABELS).plan_).endswith(f"; rounds start anew: {reason}")


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_same_bits_on_any_workers(backend):
    np.random.seed(0)  # noqa: NPY002
    one = HalvingGridSearchCV(SignsRegressor(), GRID, cv=3, random_state=0).fit(X, TARGET)
    with joblib.parallel_config(backend=backend):
        np.random.seed(0)  # noqa: NPY002
        two = clone(one).set_params(n_jobs=2).fit(X, TARGET)
    assert one.plan_.seed == two.plan_.seed is not None
    np.testing.assert_array_equal(one.cv_results_["mean_test_score"], two.cv_results_["mean_test_score"])


def test_verify_takes_the_last_round(capsys):
    search = HalvingGridSearchCV(SignsClassifier(random_state=0), GRID, cv=3, random_state=0).fit(X, LABELS)
    found = search.verify(n=5)
    assert set(found.candidates) <= set(
        np.flatnonzero(search.cv_results_["iter"] == search.n_iterations_ - 1)
    )
    assert np.all(found.differences["score"] == 0)
    assert "scaled to the last iteration)" in capsys.readouterr().out
    assert 0 < found.seconds < search.cv_results_["mean_fit_time"].sum() * 3 + 1


def test_verify_scales_within_the_last_round():
    search = HalvingGridSearchCV(SignsClassifier(random_state=0), GRID, cv=3, random_state=0).fit(X, LABELS)
    last = search.cv_results_["iter"] == search.n_iterations_ - 1
    assert 1 < np.count_nonzero(last) < len(last)
    search.cv_results_["mean_fit_time"] = np.where(last, 1.0, 1e9)  # of earlier rounds nothing is told
    search.cv_results_["mean_score_time"] = np.zeros(len(last))
    found = search.verify(n=1)
    assert found.their_seconds < 60


@pytest.mark.parametrize(
    "options, message",
    [
        ({"resource": "depth"}, "Cannot use resource=depth"),
        ({"resource": "n_terms"}, "resource can only be 'n_samples' when max_resources='auto'"),
        ({"resource": "n_terms", "max_resources": 5}, "Cannot use parameter n_terms as the resource"),
        ({"min_resources": 900}, "min_resources_=900 is greater than max_resources_=200"),
        ({"cv": KFold(3, shuffle=True)}, "must yield consistent folds"),
        ({"factor": 0}, "'factor' parameter"),
        ({"factor": 1}, "'factor' parameter .* must be a number above 1. Got 1 instead"),
        ({"scoring": ["accuracy"]}, "'scoring' parameter"),
        ({"min_resources": "most"}, "'min_resources' parameter"),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        HalvingGridSearchCV(SignsClassifier(random_state=0), GRID, **options).fit(X, LABELS)


def test_all_fits_fail():
    with pytest.raises(ValueError, match="All the .* fits failed"):
        HalvingRandomSearchCV(SVC(), {"C": [-1, -2]}, n_candidates=2, cv=2).fit(X, LABELS)


#: Test -> why ours may fail it.
EXPECTED_FAILURES = {}


@pytest.mark.upstream
def test_scikit_learns_tests_of_halving():
    names = ("HalvingGridSearchCV", "HalvingRandomSearchCV")
    module = "sklearn.model_selection.tests.test_successive_halving"
    found = run_upstream(module, {name: f"hpcml.model_selection.{name}" for name in names}, EXPECTED_FAILURES)
    assert len(found.tests("passed")) > 30
