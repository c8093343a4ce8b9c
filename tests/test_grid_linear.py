"""Grids of linear models that step together: scores and models of separate fits, whoever shares the work."""

import pickle
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joblib import parallel_config
from scipy import sparse
from separate_fits import score_columns
from sklearn.base import clone
from sklearn.datasets import make_classification, make_regression
from sklearn.exceptions import ConvergenceWarning, FitFailedWarning
from sklearn.model_selection import GridSearchCV as TheirSearch
from sklearn.model_selection import GroupKFold, KFold, ShuffleSplit

import hpcml
from hpcml.linear_model import LogisticRegression
from hpcml.model_selection import GridSearchCV
from hpcml.svm import LinearSVC, LinearSVR
from hpcml.training.close_factors import close_factors
from hpcml.training.linear_objective import Objective

#: Where separate fits and those of a grid may differ: the limit of float64 rows, and one test row a fold.
EXACT, LOOSE = 1e-6, 1e-4
CS = {"C": np.logspace(-3, 3, 4)}

ESTIMATORS = {
    "logistic": (LogisticRegression(), CS),
    "logistic without intercept": (LogisticRegression(fit_intercept=False), CS),
    "logistic balanced": (LogisticRegression(class_weight="balanced"), CS),
    "elastic net": (LogisticRegression(solver="saga"), {**CS, "l1_ratio": [0.0, 0.4, 1.0]}),
    "liblinear": (LogisticRegression(solver="liblinear", intercept_scaling=2.0), CS),
    "svc": (LinearSVC(), {**CS, "tol": [1e-4, 1e-5]}),
    "svc balanced": (LinearSVC(class_weight="balanced"), CS),
    "svc l1": (LinearSVC(penalty="l1", dual=False), CS),
    "svc hinge": (LinearSVC(loss="hinge", intercept_scaling=2.0), {**CS, "tol": [1e-4, 1e-5]}),
    "svc hinge balanced": (LinearSVC(loss="hinge", class_weight="balanced"), CS),
    "svr": (LinearSVR(loss="squared_epsilon_insensitive"), {**CS, "epsilon": [0.0, 5.0]}),
    "svr absolute": (LinearSVR(), {**CS, "epsilon": [0.0, 5.0]}),
}


def rows_for(estimator, n=160, n_classes=2, *, dtype=np.float64, seed=0):
    if isinstance(estimator, LinearSVR):
        X, y = make_regression(n, 6, noise=10.0, random_state=seed)
        return X.astype(dtype), y
    X, y = make_classification(n, 6, n_informative=5, n_redundant=0, n_classes=n_classes, random_state=seed)
    return X.astype(dtype), np.array(["red", "green", "blue"])[y]


def searches(estimator, grid, X, y, fit=None, **more):
    """Return our search, and one that fits every pair on its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        together = GridSearchCV(estimator, grid, **more).fit(X, y, **(fit or {}))
        alone = TheirSearch(estimator, grid, **more).fit(X, y, **(fit or {}))
    return together, alone


def assert_close(together, alone, n_test, exact=EXACT):
    """Assert that scores are the same: within a limit, or accuracies but for a row."""
    found, expected = score_columns(together), score_columns(alone)
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        if key.startswith("split"):
            difference = np.abs(found[key] - values)
            assert (difference <= max(exact, 1.001 / n_test if together.scoring is None else 0.0)).all(), key


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("form", ["float64", "float32", "csr"])
def test_scores_and_models_are_those_of_separate_fits(name, form):
    estimator, grid = ESTIMATORS[name]
    X, y = rows_for(estimator, n_classes=2 if "liblinear" in name or "svc" in name else 3)
    X = X.astype(np.float32) if form == "float32" else X
    X = sparse.csr_matrix(np.where(np.abs(X) > 0.7, X, 0.0)) if form == "csr" else X
    scoring = (
        "r2"
        if name.startswith("svr")
        else "neg_log_loss"
        if hasattr(estimator, "predict_proba")
        else "roc_auc"
    )
    scoring = "accuracy" if name.startswith("svc") and form == "float32" else scoring
    limit = (1.001 / 40 if scoring == "accuracy" else LOOSE) if form == "float32" else EXACT
    together, alone = searches(estimator, grid, X, y, scoring=scoring, cv=4)
    assert_close(together, alone, 40, limit)
    assert not together.plan_.separate
    assert not together.plan_.fallbacks
    assert together.plan_.done["fits"] == 4 * len(together.plan_.batches)
    best, theirs = together.best_estimator_, alone.best_estimator_
    assert type(best) is type(theirs)
    np.testing.assert_allclose(best.coef_, theirs.coef_, rtol=1e-3, atol=1e-3)


#: Estimators of every loss and kind of weights.
FAMILIES = ["logistic", "logistic balanced", "svc", "svc balanced", "svr"]
FAMILIES += ["svc hinge", "svc hinge balanced", "svr absolute"]


@settings(max_examples=15)
@given(data=st.data())
def test_any_grid_with_any_folds_and_weights(data):
    draw = data.draw
    estimator, _ = ESTIMATORS[draw(st.sampled_from(FAMILIES))]
    X, y = rows_for(
        estimator, draw(st.integers(60, 200)), draw(st.sampled_from([2, 3])), seed=draw(st.integers(0, 9))
    )
    grid = {
        "C": draw(st.lists(st.floats(1e-3, 1e2), min_size=1, max_size=4, unique=True)),
        "tol": draw(st.lists(st.sampled_from([1e-4, 1e-6]), min_size=1, max_size=2, unique=True)),
    }
    n_folds = draw(st.integers(2, 4))
    splitters = [n_folds, ShuffleSplit(n_folds, test_size=0.3, random_state=1), KFold(n_folds)]
    cv = draw(st.sampled_from([*splitters, GroupKFold(n_folds)]))
    fit = {"groups": np.arange(len(y)) % 7} if isinstance(cv, GroupKFold) else {}
    if draw(st.booleans()):
        weights = np.random.default_rng(0).random(len(y)) + 0.5
        fit["sample_weight"] = weights
    scoring = "r2" if isinstance(estimator, LinearSVR) else draw(st.sampled_from([None, "balanced_accuracy"]))
    together, alone = searches(estimator, grid, X, y, fit, cv=cv, scoring=scoring)
    assert_close(
        together, alone, 1 if scoring is None else len(y), 1e-6 if scoring != "balanced_accuracy" else 0.2
    )
    if scoring is None:
        for j in range(together.n_splits_):
            key = f"split{j}_test_score"
            assert np.abs(together.cv_results_[key] - alone.cv_results_[key]).max() <= 1.001 / (0.2 * len(y))


@pytest.mark.parametrize("name", ["logistic", "svc", "svr"])
def test_a_grid_of_many_rows_starts_from_a_sample(name, monkeypatch):
    monkeypatch.setattr("hpcml.training.newton.SAMPLE_ROWS", 400)
    monkeypatch.setattr("hpcml.training.newton.SAMPLE_ROWS_A_PARAMETER", 16)
    estimator, _ = ESTIMATORS[name]
    for n_classes in (2, 3):
        X, y = rows_for(estimator, 3000, n_classes)
        together, alone = searches(estimator, {"C": [1e-3, 1.0, 1e3]}, X, y, cv=3)
        assert_close(together, alone, 1000, 2e-6)


@pytest.mark.parametrize("name", ["svc hinge", "svr absolute"])
def test_models_of_any_company_are_the_same(name, monkeypatch):
    """Hinges that step together, few at a time, or one by one."""
    estimator, _ = ESTIMATORS[name]
    X, y = rows_for(estimator, 300, 3)
    searches = [GridSearchCV(estimator, CS, cv=2, refit=False).fit(X, y)]
    for limit in ("HINGES_AT_ONCE", "STATE_BYTES", "EQUATIONS_BYTES"):
        monkeypatch.setattr(f"hpcml.training.interior_point.{limit}", 2 if limit == "HINGES_AT_ONCE" else 1)
        searches.append(GridSearchCV(estimator, CS, cv=2, refit=False).fit(X, y))
    for other in searches[1:]:
        for key, values in score_columns(searches[0]).items():
            np.testing.assert_array_equal(score_columns(other)[key], values)


@pytest.mark.parametrize("name", ["elastic net", "svc l1"])
def test_folds_of_an_l1_grid_start_from_the_optima_of_the_first(name, monkeypatch):
    problems = []
    hessian = Objective.hessian

    def counted(self, P):
        problems.append(len(P))
        return hessian(self, P)

    monkeypatch.setattr(Objective, "hessian", counted)
    estimator, _ = ESTIMATORS[name]
    estimator = clone(estimator).set_params(**({"l1_ratio": 0.9} if name == "elastic net" else {}))
    X, y = rows_for(estimator, 600)
    folds = dict(enumerate(KFold(5).split(X)))
    candidates = dict(enumerate([{"C": 0.01}, {"C": 0.1}, {"C": 1.0}]))
    fits = list(estimator.fit_grid(X, y, candidates, folds, responses=(), fit_params={}))
    together = sum(problems)
    problems.clear()
    for i, j, fitted, _ in fits:
        alone = clone(estimator).set_params(**candidates[i]).fit(X[folds[j][0]], y[folds[j][0]])
        np.testing.assert_allclose(fitted.coef_, alone.coef_, rtol=1e-3, atol=1e-4)
    assert together < 0.8 * sum(problems)


@pytest.mark.parametrize(
    "estimator, n_classes, module",
    [
        (LogisticRegression(), 3, "coupled_sample"),
        (LogisticRegression(), 2, "newton"),
        (LogisticRegression(), 2, "close_factors"),
        (LinearSVC(), 2, "newton"),
    ],
)
def test_penalties_that_matter_little_share_a_factor(estimator, n_classes, module, monkeypatch):
    monkeypatch.setattr("hpcml.training.newton.EXACT_PARAMETERS", (8, 1024))
    monkeypatch.setattr("hpcml.training.newton.EXACT_WORK", 0.0)
    monkeypatch.setattr("hpcml.training.newton.COUPLED_ROWS", 400)
    monkeypatch.setattr("hpcml.training.newton.SAMPLE_ROWS", 400)
    monkeypatch.setattr("hpcml.training.newton.SAMPLE_WORK", 0.0)
    made = []

    def counted(objective, source, losses_of):
        made.append((objective, close_factors(objective, source, losses_of)))
        return made[-1][1]

    monkeypatch.setattr(f"hpcml.training.{module}.close_factors", counted)
    X, y = rows_for(estimator, 3000, n_classes)
    grid = {"C": [1e-3, 1e-1, 1e1, 1e2, 1e3, 1e4]}
    together, alone = searches(estimator, grid, X, y, cv=3)
    assert_close(together, alone, 1000)
    objective, found = made[0]
    assert len(objective.l2) == 6
    assert len(found.factors) == len(found.owners) < 6
    assert (found.own[found.owners] == np.arange(len(found.owners))).all()
    np.testing.assert_array_equal(found.sizes, objective.scale[found.owners[found.own]] / objective.scale)
    assert found.finite


def test_a_fold_unlike_the_others_is_solved_all_the_same(monkeypatch):
    monkeypatch.setattr("hpcml.training.newton.SAMPLE_ROWS", 200)
    X, y = rows_for(LogisticRegression(), 3000)
    X[:1000] = 30.0 * X[:1000] + 5.0
    together, alone = searches(LogisticRegression(), CS, X, y, cv=KFold(3), scoring="neg_log_loss")
    assert_close(together, alone, 1000, 1e-3)  # rows of the first fold magnify what tol leaves


@pytest.mark.parametrize("name", ["logistic", "elastic net", "svc", "svr", "svr absolute"])
def test_threads_processes_and_workers_change_no_bit(name):
    estimator, grid = ESTIMATORS[name]
    X, y = rows_for(estimator, 3000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        with hpcml.config_context(n_threads=1):
            one = GridSearchCV(estimator, grid, cv=3).fit(X, y)
        with hpcml.config_context(n_threads=3):
            three = GridSearchCV(estimator, grid, cv=3, n_jobs=4).fit(X, y)
        with parallel_config("loky"):
            processes = GridSearchCV(estimator, grid, cv=3, n_jobs=2).fit(X, y)
    for other in (three, processes):
        for key, values in score_columns(one).items():
            np.testing.assert_array_equal(score_columns(other)[key], values)
        assert other.best_estimator_.coef_.tobytes() == one.best_estimator_.coef_.tobytes()


@pytest.mark.parametrize("name", ["logistic", "svc hinge", "svr absolute"])
def test_a_resumed_search_has_the_same_bits(name, tmp_path):
    estimator, grid = ESTIMATORS[name]
    X, y = rows_for(estimator, 500)
    path = tmp_path / "journal"
    whole = GridSearchCV(estimator, grid, cv=3, journal=path).fit(X, y)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-5]))
    resumed = GridSearchCV(estimator, grid, cv=3, journal=path).fit(X, y)
    assert resumed.plan_.resumed > 0
    for key, values in score_columns(whole).items():
        np.testing.assert_array_equal(score_columns(resumed)[key], values)


@pytest.mark.parametrize(
    "name",
    ["logistic", "logistic without intercept", "liblinear", "svc", "svc hinge", "svr", "svr absolute"],
)
@pytest.mark.parametrize("form", ["float64", "float32", "csr"])
def test_responses_are_what_the_fitted_models_say(name, form):
    estimator, _ = ESTIMATORS[name]
    X, y = rows_for(estimator, 120, 3 if name == "logistic" else 2)
    X = X.astype(np.float32) + np.float32(300.0) if form == "float32" else X
    X = sparse.csr_matrix(np.where(np.abs(X) > 0.7, X, 0.0)) if form == "csr" else X
    folds = dict(enumerate(KFold(3, shuffle=True, random_state=0).split(X)))
    responses = [r for r in ("predict", "predict_proba", "decision_function") if hasattr(estimator, r)]
    candidates = dict(enumerate([{"C": 0.1}, {"C": 10.0}]))
    pairs = []
    for i, j, fitted, values in estimator.fit_grid(
        X, y, candidates, folds, responses=responses, fit_params={}
    ):
        pairs.append((i, j))
        rows = X[folds[j][1]]
        for response in responses:
            own = getattr(fitted, response)(rows)
            np.testing.assert_array_equal(values[response], own)
            assert values[response].dtype == own.dtype
        assert fitted.C == candidates[i]["C"]
        assert fitted.n_features_in_ == 6
        again = pickle.loads(pickle.dumps(fitted))
        np.testing.assert_array_equal(again.predict(rows), fitted.predict(rows))
        separate = clone(fitted).fit(X[folds[j][0]], y[folds[j][0]])
        assert vars(separate).keys() == vars(fitted).keys()
        np.testing.assert_allclose(fitted.coef_, separate.coef_, rtol=2e-3, atol=2e-3)
    assert sorted(pairs) == [(i, j) for i in range(2) for j in range(3)]


def test_data_frames_tell_the_names_of_features():
    pandas = pytest.importorskip("pandas")
    X, y = rows_for(LogisticRegression())
    frame = pandas.DataFrame(X, columns=list("abcdef"))
    folds = {0: (np.arange(100), np.arange(100, 160))}
    candidates = {0: {"C": 1.0}}
    (found,) = LogisticRegression().fit_grid(frame, y, candidates, folds, responses=(), fit_params={})
    assert list(found[2].feature_names_in_) == list("abcdef")


def test_what_cannot_share_is_fitted_alone_with_the_reason():
    X, y = rows_for(LinearSVC())
    grid = {"multi_class": ["ovr", "crammer_singer"], "C": [0.1, 1.0]}
    search = GridSearchCV(LinearSVC(), grid, cv=3).fit(X, y)
    assert len(search.plan_.separate) == 2
    assert all("crammer_singer" in reason for reason in search.plan_.separate.values())
    alone = TheirSearch(LinearSVC(), grid, cv=3).fit(X, y)
    assert_close(search, alone, 50)
    warm = GridSearchCV(LogisticRegression(warm_start=True), CS, cv=3).fit(X, y)
    assert "warm_start" in warm.plan_.separate[0]


def test_a_bad_candidate_gets_the_error_of_a_separate_fit():
    X, y = rows_for(LogisticRegression())
    with pytest.warns(FitFailedWarning):
        search = GridSearchCV(LogisticRegression(), {"C": [-1.0, 1.0]}, cv=3).fit(X, y)
    assert np.isnan(search.cv_results_["mean_test_score"][0])
    assert search.cv_results_["mean_test_score"][1] > 0.5


def test_folds_that_lack_a_class_are_fitted_alone():
    X, y = rows_for(LogisticRegression(), 150, 3)
    order = np.argsort(y, kind="stable")
    X, y = X[order], y[order]
    together, alone = searches(LogisticRegression(), CS, X, y, cv=KFold(3))
    for key, values in score_columns(alone).items():
        np.testing.assert_array_equal(score_columns(together)[key], values)
    assert any("lack" in reason for reason in together.plan_.fallbacks)


def test_rows_that_train_twice_are_fitted_alone():
    X, y = rows_for(LogisticRegression())
    twice = [(np.r_[0:100, 0:20], np.arange(100, 160))]
    together, alone = searches(LogisticRegression(), CS, X, y, cv=twice)
    np.testing.assert_array_equal(
        score_columns(together)["split0_test_score"], alone.cv_results_["split0_test_score"]
    )


def test_iterations_that_do_not_suffice_are_warned_of():
    X, y = rows_for(LogisticRegression())
    with pytest.warns(ConvergenceWarning, match="max_iter=1"):
        GridSearchCV(LogisticRegression(max_iter=1), {"C": [100.0]}, cv=2, refit=False).fit(X, y)


def test_separable_and_collinear_rows_are_no_worse_than_alone():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((90, 5))
    X = np.column_stack([X, X[:, 0] + X[:, 1], np.ones(90), 1e6 * X[:, 2]])
    y = (X[:, 0] > 0).astype(int)
    grid = {"C": [1e-2, 1.0, 1e6, np.inf]}
    for estimator in (LogisticRegression(max_iter=1000), LinearSVC()):
        own = {"C": [c for c in grid["C"] if np.isfinite(c) or isinstance(estimator, LogisticRegression)]}
        together, alone = searches(estimator, own, X, y, cv=3)
        assert_close(together, alone, 30)


@pytest.mark.parametrize(
    "name, scoring",
    [
        ("logistic", "neg_log_loss"),
        ("svc", "roc_auc"),
        ("svc hinge", "roc_auc"),
        ("svr", "r2"),
        ("svr absolute", "r2"),
    ],
)
def test_verify_shows_scikit_learns_scores(name, scoring):
    estimator = clone(ESTIMATORS[name][0]).set_params(random_state=0)  # scikit-learn's coordinates are drawn
    X, y = rows_for(estimator, 300)
    search = GridSearchCV(estimator, {"C": [1e-2, 1.0]}, cv=3, scoring=scoring, n_jobs=1).fit(X, y)
    found = search.verify(2)
    assert np.abs(found.differences["score"]).max() < 1e-3


def test_float32_rows_that_lack_rank_are_solved_as_alone():
    """Weights of very different size leave few rows, of which rounding of the margins is all that is seen."""
    rng = np.random.default_rng(17)
    X = (rng.normal(size=(100, 6)) @ rng.normal(size=(6, 20))).astype(np.float32)
    y, weights = rng.integers(0, 3, 100), 10.0 ** rng.uniform(-3, 3, 100)
    args = LogisticRegression(max_iter=2000, tol=1e-8), {"C": [1e3]}
    kept = {"cv": 3, "scoring": "neg_log_loss", "refit": False}
    together, alone = (
        search(*args, **kept).fit(X, y, sample_weight=weights).cv_results_["mean_test_score"]
        for search in (GridSearchCV, TheirSearch)
    )
    np.testing.assert_allclose(together, alone, rtol=1e-6)
