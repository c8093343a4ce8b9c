"""Grids that share passes or Gram matrices on ranks that share the rows: the results of one process."""

import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import KFold, ShuffleSplit

import hpcml
from hpcml import communicators
from hpcml.decomposition import PCA
from hpcml.linear_model import LinearRegression, LogisticRegression, Ridge
from hpcml.svm import LinearSVC, LinearSVR
from mpi_runs import run_ranks

pytestmark = [pytest.mark.require("cython"), pytest.mark.require("mpi")]

N = 3001
CS = [{"C": 0.01}, {"C": 10.0}]
#: Estimator, candidates, and whether there is a target, how many classes it has, and weights.
GRIDS = {
    "ridge": (Ridge(), [{"alpha": 1e-7}, {"alpha": 0.1}, {"alpha": 10.0, "fit_intercept": False}], None),
    "regression": (LinearRegression(tol=1e-9), [{}, {"fit_intercept": False}], None),
    "components": (PCA(), [{"n_components": 1}, {"n_components": 0.9, "svd_solver": "full"}], None),
    "logistic": (LogisticRegression(), CS, 2),
    "logistic of three balanced classes": (LogisticRegression(class_weight="balanced"), CS, 3),
    "logistic l1": (LogisticRegression(solver="saga", l1_ratio=0.5), CS, 2),
    "liblinear": (LogisticRegression(solver="liblinear"), CS, 2),
    "svc": (LinearSVC(), CS, 2),
    "svc of three balanced classes": (LinearSVC(class_weight="balanced"), CS, 3),
    "svc hinge of three balanced classes": (
        LinearSVC(loss="hinge", class_weight="balanced", tol=10.0),
        CS,
        3,
    ),
    "svr": (LinearSVR(loss="squared_epsilon_insensitive"), CS, None),
    "svr absolute": (LinearSVR(epsilon=0.5, tol=10.0), CS, None),
}
SPLITTERS = {"kfold": KFold(3), "drawn": ShuffleSplit(2, train_size=0.5, random_state=0)}


def table():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N, 5)) + 3
    X[:, 4] = X[:, 0] + 3e-5 * X[:, 4]
    return X, X @ np.arange(5.0) + rng.normal(size=N), rng.uniform(0.5, 2.0, N)


def target_of(n_classes, y):
    """Return the target, cut into classes of which few rows have the last."""
    if n_classes is None:
        return y
    return np.array(["blue", "green", "red"])[np.searchsorted(np.quantile(y, [0.4, 0.9])[: n_classes - 1], y)]


def models(first, stop, names=tuple(GRIDS), form=np.asarray):
    """Return what the models of grids are made of, from the rows of a rank."""
    whole, y, w = table()
    X, w = form(whole[first:stop]), w[first:stop]
    found = {}
    for name in names:
        estimator, candidates, n_classes = GRIDS[name]
        weights = {} if name == "components" else {"sample_weight": w}
        for splitter, cv in SPLITTERS.items():
            folds = {
                j: tuple(rows[(rows >= first) & (rows < stop)] - first for rows in map(np.sort, split))
                for j, split in enumerate(cv.split(np.zeros((N, 1))))
            }
            fits = type(estimator)(**estimator.get_params()).fit_grid(
                X,
                target_of(n_classes, y)[first:stop],
                dict(enumerate(candidates)),
                folds,
                responses=(),
                fit_params=weights,
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                for i, j, fitted, _ in fits:
                    learnt = fitted.components_ if name == "components" else fitted.coef_
                    found[name, splitter, i, j] = learnt.tobytes()
    return found


def both(first, stop):
    """Return the models of all grids on dense rows, and of some on sparse ones."""
    return models(first, stop), models(first, stop, ("logistic", "svr", "svr absolute"), sparse.csr_matrix)


def of_a_rank():
    communicator = communicators.current()
    first, stop = (N * (communicator.rank + i) ** 2 // communicator.size**2 for i in (0, 1))
    return both(first, stop)


def test_ranks_find_the_bits_of_one_process():
    with hpcml.config_context(communicator="serial"):
        expected = both(0, N)
    assert [len(found) for found in expected] == [(3 + 11 * 2) * (3 + 2), 3 * 2 * (3 + 2)]
    for found in run_ranks(3, of_a_rank).results:
        assert found == expected


def of_a_rank_beside_one_without_rows():
    first, stop = ((0, N), (N, N))[communicators.current().rank]
    return models(first, stop, ("logistic", "liblinear", "svr absolute"))


def test_a_rank_may_have_no_rows():
    with hpcml.config_context(communicator="serial"):
        expected = models(0, N, ("logistic", "liblinear", "svr absolute"))
    assert run_ranks(2, of_a_rank_beside_one_without_rows).results == [expected, expected]
