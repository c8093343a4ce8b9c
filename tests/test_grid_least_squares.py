"""Grids of LinearRegression and Ridge: equal to separate fits, whatever the folds, weights and tables."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from grids import assert_same_attributes, batches_of, rows, separate
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn import linear_model, model_selection
from sklearn.exceptions import ConvergenceWarning

import hpcml
from hpcml.linear_model import LinearRegression, Ridge
from hpcml.model_selection import GridSearchCV
from hpcml.training import gram_grid

pytestmark = pytest.mark.require("cython")

SPLITTERS = {
    "kfold": model_selection.KFold(4),
    "shuffled": model_selection.KFold(3, shuffle=True, random_state=0),
    "drawn": model_selection.ShuffleSplit(4, test_size=0.3, random_state=0),
    "small": model_selection.ShuffleSplit(3, train_size=0.3, random_state=0),
    "repeated": model_selection.RepeatedKFold(n_splits=3, n_repeats=2, random_state=0),
    "series": model_selection.TimeSeriesSplit(3),
}
RIDGES = [
    {"alpha": 1e-3},
    {"alpha": 1.0},
    {"alpha": 1e4, "fit_intercept": False},
    {"alpha": 1.0, "solver": "svd"},
    {"alpha": 2.0, "positive": True},
]
REGRESSIONS = [
    {"fit_intercept": intercept, "positive": positive}
    for intercept in (True, False)
    for positive in (True, False)
]
#: Of coefficients, relative to the largest one; and of scores.
TOLERANCE = {np.dtype(np.float32): 2e-5, np.dtype(np.float64): 1e-6}


def table(n=240, d=5, t=0, dtype=np.float64, seed=0, offset=1.0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) * 2.0 ** rng.integers(-2, 3, d) + offset * rng.normal(size=d)
    W = rng.normal(size=(d, t)) if t else rng.normal(size=d)
    y = X @ W + 0.5 * rng.normal(size=(n, t) if t else n) + 3
    return X.astype(dtype), y.astype(dtype)


def check(estimator, candidates, folds, X, y, *, tolerance=1e-6, all_shared=True, **fit_params):
    """Assert that every pair that is shared equals the separate fit; return how many there are."""
    found, errors = batches_of(estimator, candidates, folds, X, y, responses=("predict",), **fit_params)
    if all_shared:
        assert not errors
        assert len(found) == len(candidates) * len(folds)
    for (i, j), (fitted, values) in found.items():
        train, test = folds[j]
        expected = separate(estimator, candidates[i], X, y, train, **fit_params)
        # coefficients, intercepts: what is small has been rounded as what is large
        least = 1.0 if fitted.coef_.dtype == np.float32 else 0.0
        assert_same_attributes(fitted, expected, tolerance, least)
        predicted = expected.predict(rows(X, test))
        assert values["predict"].dtype == predicted.dtype
        scale = np.abs(predicted).max(initial=least)
        np.testing.assert_allclose(values["predict"], predicted, rtol=0, atol=tolerance * scale)
    return len(found)


@pytest.mark.parametrize("splitter", SPLITTERS)
@pytest.mark.parametrize(("estimator", "candidates"), [(Ridge(), RIDGES), (LinearRegression(), REGRESSIONS)])
@settings(max_examples=6, deadline=None)
@given(
    t=st.sampled_from([0, 1, 3]),
    dtype=st.sampled_from([np.float32, np.float64]),
    weighted=st.booleans(),
    n_parts=st.sampled_from([0, 64]),
    seed=st.integers(0, 1000),
)
def test_fits_equal_separate_ones(splitter, estimator, candidates, t, dtype, weighted, n_parts, seed):
    X, y = table(t=t, dtype=dtype, seed=seed)
    folds = list(SPLITTERS[splitter].split(X))
    weights = {}
    if weighted:
        weights["sample_weight"] = np.random.default_rng(seed).integers(0, 3, len(X)).astype(dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gram_grid, "BYTES_OF_PARTS", n_parts << 20)
        check(estimator, candidates, folds, X, y, tolerance=TOLERANCE[np.dtype(dtype)], **weights)


@pytest.mark.parametrize("offset", [0.0, 1e6])
@pytest.mark.parametrize("n_parts", [0, 64])
def test_large_means_and_unequal_folds_keep_their_digits(offset, n_parts, monkeypatch):
    monkeypatch.setattr(gram_grid, "BYTES_OF_PARTS", n_parts << 20)
    X, y = table(n=400, offset=offset)
    # nearly all of the variance lies in the rows of the first fold
    X[:100, 1] = X[200:, 1].mean() + 1e4 * np.random.default_rng(1).normal(size=100)
    X[:100, 2] += 1e4  # and its mean is far off
    folds = list(model_selection.KFold(4).split(X))
    check(Ridge(), RIDGES[:2], folds, X, y)
    check(LinearRegression(), [{}], folds, X, y)
    check(Ridge(), RIDGES, folds, X, y, all_shared=False)


def test_penalties_of_targets():
    X, y = table(t=3)
    folds = list(SPLITTERS["kfold"].split(X))
    candidates = [{"alpha": [0.1, 1.0, 10.0]}, {"alpha": np.array([5.0, 5.0, 0.0])}, {"alpha": 3}]
    found, errors = batches_of(Ridge(), candidates, folds, X, y)
    assert not errors
    for (i, j), (fitted, _) in found.items():
        expected = separate(Ridge(), candidates[i], X, y, folds[j][0])
        np.testing.assert_allclose(fitted.coef_, expected.coef_, rtol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
def test_sparse_tables(dtype, weighted):
    X, y = table(n=300, d=8, dtype=dtype)
    X[np.random.default_rng(1).random(X.shape) < 0.6] = 0
    weights = {"sample_weight": np.arange(300.0)} if weighted else {}
    folds = list(SPLITTERS["shuffled"].split(X))
    tolerance = TOLERANCE[np.dtype(dtype)]
    check(
        Ridge(),
        [{"alpha": a} for a in (0.1, 10.0)],
        folds,
        sparse.csr_array(X),
        y,
        tolerance=tolerance,
        **weights,
    )
    check(
        LinearRegression(), REGRESSIONS[1::2], folds, sparse.csr_array(X), y, tolerance=tolerance, **weights
    )


def test_rows_without_rank_are_left_to_fits_of_their_own():
    X, y = table(n=120, d=4)
    X = np.column_stack([X, X[:, 0]])
    search = GridSearchCV(LinearRegression(), REGRESSIONS_GRID, cv=3).fit(X, y)
    assert len(search.plan_.fallbacks) == 12
    assert "Gram matrix" in search.plan_.fallbacks[0] or "rank" in search.plan_.fallbacks[0]
    for name, params in enumerate(search.cv_results_["params"]):
        expected = model_selection.cross_val_score(LinearRegression(**params), X, y, cv=3)
        got = [search.cv_results_[f"split{j}_test_score"][name] for j in range(3)]
        np.testing.assert_allclose(got, expected, rtol=1e-12)


REGRESSIONS_GRID = {"fit_intercept": [True, False], "positive": [True, False]}


def test_a_penalty_makes_up_for_rank():
    X, y = table(n=120, d=4)
    X = np.column_stack([X, X[:, 0], np.zeros(120)])
    folds = list(SPLITTERS["kfold"].split(X))
    check(Ridge(), [{"alpha": a} for a in (1e-2, 1.0, 1e5)], folds, X, y)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("t", [0, 2])
def test_ill_conditioned_fits_are_corrected_by_the_rows(t, weighted):
    X, y = table(n=600, d=6, t=t)
    X[:, 5] = X[:, 0] + 3e-5 * X[:, 5]  # condition 1e9
    X[:, 4] *= 1e-5  # another scale is no matter
    weights = {"sample_weight": np.arange(600.0)} if weighted else {}
    folds = list(SPLITTERS["shuffled"].split(X))
    check(LinearRegression(tol=1e-9), [{}, {"fit_intercept": False}], folds, X, y, **weights)
    check(Ridge(), [{"alpha": a} for a in (1e-9, 1e-7, 1e-6, 1e-4, 1.0)], folds, X, y, **weights)


def test_indicators_of_all_categories():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 5, (500, 2))
    X = np.concatenate([np.eye(5)[codes[:, 0]], np.eye(5)[codes[:, 1]], rng.normal(size=(500, 2))], axis=1)
    y = X @ rng.normal(size=12) + rng.normal(size=500)
    folds = list(SPLITTERS["kfold"].split(X))
    for kind in (np.asarray, sparse.csr_array):
        check(Ridge(), [{"alpha": a} for a in (1e-7, 1e-6, 1e-3, 1.0)], folds, kind(X), y)


def test_fewer_rows_than_features():
    X, y = table(n=30, d=40)
    search = GridSearchCV(Ridge(), {"alpha": [1.0, 2.0]}, cv=3).fit(X, y)
    assert "no more rows than" in search.plan_.fallbacks[0]
    expected = model_selection.cross_val_score(Ridge(alpha=1.0), X, y, cv=3)
    np.testing.assert_array_equal([search.cv_results_[f"split{j}_test_score"][0] for j in range(3)], expected)


def test_refused_parameters_are_fitted_on_their_own():
    X, y = table()
    search = GridSearchCV(Ridge(), {"solver": ["auto", "lsqr", "sag"]}, cv=3, refit=False).fit(X, y)
    assert sorted(search.plan_.separate) == [1, 2]
    assert "iterates" in search.plan_.separate[1]
    scores = search.cv_results_["mean_test_score"]
    np.testing.assert_allclose(scores, scores[0], rtol=1e-6)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"alpha": -1.0}, "alpha"),
        ({"alpha": [1.0, 2.0]}, "penalties"),
        ({"solver": "lbfgs"}, "positive=True"),
    ],
)
def test_bad_candidates_fail_as_separate_ones_do(parameters, message):
    X, y = table()
    grid = [{"alpha": [1.0]}, {name: [value] for name, value in parameters.items()}]
    with pytest.raises(ValueError, match=message):
        GridSearchCV(Ridge(), grid, cv=3, error_score="raise").fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search = GridSearchCV(Ridge(), grid, cv=3, error_score=-7.0).fit(X, y)
    assert search.cv_results_["mean_test_score"][1] == -7.0
    assert search.cv_results_["mean_test_score"][0] > 0


def test_warnings_are_those_of_separate_fits():
    X, y = table(n=200, d=12)
    with pytest.warns(ConvergenceWarning, match="lbfgs"):
        GridSearchCV(Ridge(positive=True, max_iter=1), {"alpha": [1.0]}, cv=3, refit=False).fit(X, y)


def test_no_weight_in_a_fold():
    X, y = table()
    weights = np.ones(len(X))
    weights[:160] = 0
    folds = [(np.arange(160), np.arange(160, 240)), (np.arange(160, 240), np.arange(160))]
    found, errors = batches_of(Ridge(), RIDGES, folds, X, y, sample_weight=weights)
    assert "no weight" in errors[0]
    assert {j for _, j in found} == {1}


@pytest.mark.parametrize("communicator", ["serial", "processes"])
@pytest.mark.parametrize("positive", [False, True])
def test_weights_that_leave_one_row(communicator, positive):
    X, y = table(n=60, d=3)
    one, equal = np.arange(60) == 3, np.repeat(X[:1], 60, axis=0)
    equal[7] = 9.0
    model = LinearRegression(positive=positive)
    with hpcml.config_context(communicator=communicator, n_workers=2):
        for rows, weights in ((X, 0.3 * one), (equal, 1.0 * (np.arange(60) != 7))):
            model.fit(rows, y, sample_weight=weights)
            assert not model.coef_.any()
            assert model.intercept_ == pytest.approx(np.average(y, weights=weights))
            grid = {"positive": [positive], "fit_intercept": [True, False]}
            search = GridSearchCV(LinearRegression(), grid, cv=[(np.arange(40), np.arange(60))])
            search.set_params(scoring="neg_mean_squared_error", refit=False)
            scores = search.fit(rows, y, sample_weight=weights).cv_results_["mean_test_score"]
            expected = linear_model.LinearRegression().fit(rows[:40], y[:40], sample_weight=weights[:40])
            errors = (expected.predict(rows) - y) ** 2
            assert scores[0] == pytest.approx(-np.average(errors, weights=weights), abs=1e-12)


def test_frames_names_and_pickles():
    X, y = table(n=150, d=3)
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    folds = list(SPLITTERS["kfold"].split(X))
    check(Ridge(), RIDGES[:2], folds, frame, y)
    found, _ = batches_of(Ridge(), RIDGES[:1], folds, frame, y)
    fitted = found[0, 1][0]
    assert fitted.feature_names_in_.tolist() == ["a", "b", "c"]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict(frame), fitted.predict(frame))
    np.testing.assert_allclose(fitted.to_sklearn().predict(frame), fitted.predict(frame))


@pytest.mark.parametrize(
    ("estimator", "varied"), [(Ridge(), {"alpha": np.logspace(-3, 3, 7)}), (LinearRegression(), {})]
)
def test_scores_are_those_of_scikit_learn(estimator, varied):
    X, y = table(n=500, d=6)
    grid = {**varied, "fit_intercept": [True, False]}
    scoring = ["r2", "neg_mean_absolute_error"]
    search = GridSearchCV(estimator, grid, cv=5, scoring=scoring, refit="r2", return_train_score=True).fit(
        X, y
    )
    assert search.plan_.done == {"fits": 5}
    assert not search.plan_.fallbacks
    verified = search.verify(3)
    assert all(verified.winner_agrees.values())
    for difference in verified.differences.values():
        assert np.abs(difference).max() < 1e-9


def test_same_bits_for_any_number_of_workers(tmp_path):
    X, y = table(n=3000, d=6)
    grid = {"alpha": [0.1, 1.0, 10.0], "fit_intercept": [True, False]}

    def scores(**options):
        search = GridSearchCV(Ridge(), grid, cv=4, **options).fit(X, y)
        return np.array(
            [search.cv_results_[f"split{j}_test_score"] for j in range(4)]
        ), search.best_estimator_.coef_

    expected = scores()
    with hpcml.config_context(n_threads=1):
        one = scores()
    for got in (
        one,
        scores(n_jobs=2),
        scores(n_jobs=4),
        scores(journal=tmp_path / "a.jsonl"),
        scores(journal=tmp_path / "a.jsonl"),
    ):
        for mine, theirs in zip(got, expected, strict=True):
            assert mine.tobytes() == theirs.tobytes()


def test_processes_give_the_same_bits():
    X, y = table(n=3000, d=6)
    folds = list(SPLITTERS["shuffled"].split(X))
    expected, _ = batches_of(Ridge(), RIDGES, folds, X, y)
    with hpcml.config_context(communicator="processes", n_workers=2):
        got, errors = batches_of(Ridge(), RIDGES, folds, X, y)
    assert not errors
    for pair, (fitted, _) in expected.items():
        assert got[pair][0].coef_.tobytes() == fitted.coef_.tobytes()
