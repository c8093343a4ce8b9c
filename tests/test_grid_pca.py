"""Grids of PCA: equal to separate fits, components, likelihoods and all."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from grids import assert_same_attributes, batches_of, separate
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn import model_selection

import hpcml
from hpcml.decomposition import PCA
from hpcml.model_selection import GridSearchCV
from hpcml.training import gram_grid, pca

pytestmark = pytest.mark.require("cython")

SPLITTERS = {
    "kfold": model_selection.KFold(4),
    "shuffled": model_selection.KFold(3, shuffle=True, random_state=0),
    "drawn": model_selection.ShuffleSplit(4, train_size=0.5, test_size=0.2, random_state=0),
    "series": model_selection.TimeSeriesSplit(3),
}
CANDIDATES = [
    {"n_components": 2},
    {"n_components": None},
    {"n_components": 0.8, "whiten": True},
    {"n_components": "mle"},
    {"n_components": 1, "whiten": True},
    {"n_components": 0},
]
#: Relative to the largest entry. A separate fit rounds products of float32 rows to 1e-7 of the largest
#: variance, which is much beside a thousandth of it; a grid does not.
TOLERANCE = {np.dtype(np.float32): 5e-4, np.dtype(np.float64): 1e-6}


def table(n=300, d=6, dtype=np.float64, seed=0, offset=1.0):
    rng = np.random.default_rng(seed)
    spread = 2.0 ** -np.arange(d)
    turned = np.linalg.qr(rng.normal(size=(d, d)))[0]
    return ((rng.normal(size=(n, d)) * spread) @ turned + offset * rng.normal(size=d)).astype(dtype)


def check(candidates, folds, X, *, estimator=None, tolerance=1e-6, score_tolerance=1e-6):
    """Assert that all pairs are shared and equal separate fits; return the fitted ones."""
    estimator = PCA() if estimator is None else estimator
    found, errors = batches_of(estimator, candidates, folds, X)
    assert not errors
    assert len(found) == len(candidates) * len(folds)
    for (i, j), (fitted, _) in found.items():
        train, test = folds[j]
        expected = separate(estimator, candidates[i], X, None, train)
        vars(fitted).pop("_held_score", None)
        assert_same_attributes(fitted, expected, tolerance)
        if not sparse.issparse(X):
            rows = X.iloc[test] if isinstance(X, pd.DataFrame) else X[test]
            np.testing.assert_allclose(
                fitted.score(rows), expected.score(rows), rtol=score_tolerance, atol=score_tolerance
            )
    return found


@pytest.mark.parametrize("solver", ["full", "covariance_eigh", "auto"])
@pytest.mark.parametrize("splitter", SPLITTERS)
@settings(max_examples=6, deadline=None)
@given(
    dtype=st.sampled_from([np.float32, np.float64]),
    n_parts=st.sampled_from([0, 64]),
    by_lapack=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_fits_equal_separate_ones(splitter, solver, dtype, n_parts, by_lapack, seed):
    X = table(dtype=dtype, seed=seed)
    folds = list(SPLITTERS[splitter].split(X))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gram_grid, "BYTES_OF_PARTS", n_parts << 20)
        patch.setattr(pca, "NUMBERS_FOR_LAPACK", 1 << 18 if by_lapack else 0)
        tolerance = TOLERANCE[np.dtype(dtype)]
        check(
            CANDIDATES,
            folds,
            X,
            estimator=PCA(svd_solver=solver),
            tolerance=tolerance,
            score_tolerance=tolerance,
        )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("splitter", SPLITTERS)
def test_scores_equal_those_of_separate_fits(splitter, dtype):
    X = table(n=400, dtype=dtype)
    search = GridSearchCV(PCA(), {"n_components": [1, 3, 6, None, 0.5, "mle"]}, cv=SPLITTERS[splitter]).fit(X)
    assert not search.plan_.fallbacks
    assert search.plan_.done == {"fits": search.n_splits_}
    for i, params in enumerate(search.cv_results_["params"]):
        expected = model_selection.cross_val_score(PCA(**params), X, cv=SPLITTERS[splitter])
        got = [search.cv_results_[f"split{j}_test_score"][i] for j in range(search.n_splits_)]
        np.testing.assert_allclose(got, expected, rtol=1e-6 if dtype == np.float64 else 1e-4)
    assert np.abs(search.verify(3).differences["score"]).max() < (1e-6 if dtype == np.float64 else 1e-3)


@pytest.mark.parametrize("n_parts", [0, 64])
@pytest.mark.parametrize("solver", ["full", "covariance_eigh"])
def test_large_means_and_unequal_folds_keep_their_digits(solver, n_parts, monkeypatch):
    monkeypatch.setattr(gram_grid, "BYTES_OF_PARTS", n_parts << 20)
    X = table(n=400, offset=1e6)
    X[:100, 2] += 1e4 * np.random.default_rng(0).normal(size=100)  # the variance lies in the first fold
    X[:100, 1] += 1e4
    folds = list(model_selection.KFold(4).split(X))
    check([{"n_components": 2}], folds[:1], X, estimator=PCA(svd_solver=solver), score_tolerance=1e-4)
    check([{"n_components": 2}, {"n_components": 5}], folds[1:], X, estimator=PCA(svd_solver=solver))


def test_many_features_of_which_few_components_are_wanted():
    X = np.random.default_rng(0).normal(size=(900, 520)) * np.linspace(1, 4, 520)
    folds = list(model_selection.KFold(2).split(X))
    check([{"n_components": 2}, {"n_components": 5}], folds, X, estimator=PCA(svd_solver="covariance_eigh"))


def test_fewer_rows_than_features():
    X = table(n=24, d=30)
    folds = list(model_selection.KFold(3).split(X))
    check([{"n_components": 2}, {"n_components": 0.5}], folds, X, estimator=PCA(svd_solver="full"))
    check([{"n_components": 3}], folds, X, estimator=PCA(svd_solver="covariance_eigh"))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sparse_tables(dtype):
    X = table(n=300, d=6, dtype=dtype)
    X[np.random.default_rng(1).random(X.shape) < 0.5] = 0
    folds = list(SPLITTERS["shuffled"].split(X))
    estimator = PCA(svd_solver="covariance_eigh")
    check(
        CANDIDATES[:3], folds, sparse.csr_array(X), estimator=estimator, tolerance=TOLERANCE[np.dtype(dtype)]
    )
    _, errors = batches_of(PCA(), [{"n_components": 2}], folds, sparse.csr_array(X))
    assert "arpack" in errors[0]


def test_solvers_that_find_some_components_are_fitted_on_their_own():
    X = table()
    grid = {"n_components": [2], "svd_solver": ["full", "randomized", "arpack"], "random_state": [0]}
    search = GridSearchCV(PCA(), grid, cv=3, refit=False).fit(X)
    assert sorted(search.plan_.separate) == [1, 2]
    assert "some components only" in search.plan_.separate[1]
    np.testing.assert_allclose(
        search.cv_results_["mean_test_score"], search.cv_results_["mean_test_score"][0]
    )


def test_bad_candidates_fail_as_separate_ones_do():
    X = table()
    grid = {"n_components": [2, 7, -1]}
    with pytest.raises(ValueError, match="n_components"):
        GridSearchCV(PCA(), grid, cv=3, error_score="raise").fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search = GridSearchCV(PCA(), grid, cv=3, refit=False).fit(X)
    assert np.isfinite(search.cv_results_["mean_test_score"]).tolist() == [True, False, False]


def test_frames():
    X = pd.DataFrame(table(), columns=list("abcdef"))
    folds = list(SPLITTERS["kfold"].split(X))
    found = check(CANDIDATES[:2], folds, X)
    assert found[0, 0][0].feature_names_in_.tolist() == list("abcdef")


def test_scores_are_of_the_rows_that_are_given():
    X = table()
    folds = list(SPLITTERS["kfold"].split(X))
    found, _ = batches_of(PCA(), CANDIDATES[:1], folds, X)
    fitted = found[0, 0][0]
    own = separate(PCA(), CANDIDATES[0], X, None, folds[0][0])
    test = X[folds[0][1]]
    assert fitted.score(test) == pytest.approx(own.score(test), rel=1e-9)
    for other in (test + 1, test[:-1], test.astype(np.float32), X):
        assert fitted.score(other) == pytest.approx(own.score(other), rel=1e-6)
    again = pickle.loads(pickle.dumps(fitted))
    assert len(pickle.dumps(fitted)) < X.nbytes
    assert again.score(test) == pytest.approx(own.score(test), rel=1e-9)


def test_same_bits_for_any_number_of_workers(tmp_path):
    X = table(n=3000)
    grid = {"n_components": [1, 2, 0.9], "svd_solver": ["full", "covariance_eigh"]}

    def scores(**options):
        search = GridSearchCV(PCA(), grid, cv=4, **options).fit(X)
        return np.array([search.cv_results_[f"split{j}_test_score"] for j in range(4)])

    expected = scores()
    with hpcml.config_context(n_threads=1):
        assert scores().tobytes() == expected.tobytes()
    for n_jobs in (2, 4):
        assert scores(n_jobs=n_jobs).tobytes() == expected.tobytes()
    assert scores(journal=tmp_path / "a.jsonl").tobytes() == expected.tobytes()
    assert scores(journal=tmp_path / "a.jsonl").tobytes() == expected.tobytes()


def test_processes_give_the_same_bits():
    X = table(n=3000)
    folds = list(SPLITTERS["shuffled"].split(X))
    expected, _ = batches_of(PCA(svd_solver="full"), CANDIDATES, folds, X)
    with hpcml.config_context(communicator="processes", n_workers=2):
        got, errors = batches_of(PCA(svd_solver="full"), CANDIDATES, folds, X)
    assert not errors
    for pair, (fitted, _) in expected.items():
        assert got[pair][0].components_.tobytes() == fitted.components_.tobytes()
