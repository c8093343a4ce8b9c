"""Grids that share Gram matrices on ranks that share the rows: the results of one process."""

import numpy as np
import pytest
from sklearn.model_selection import KFold, ShuffleSplit

import hpcml
from hpcml import communicators
from hpcml.decomposition import PCA
from hpcml.linear_model import LinearRegression, Ridge
from mpi_runs import run_ranks

pytestmark = [pytest.mark.require("cython"), pytest.mark.require("mpi")]

N = 3001
GRIDS = {
    "ridge": (Ridge(), [{"alpha": 1e-7}, {"alpha": 0.1}, {"alpha": 10.0, "fit_intercept": False}]),
    "regression": (LinearRegression(tol=1e-9), [{}, {"fit_intercept": False}]),
    "components": (PCA(), [{"n_components": 1}, {"n_components": 0.9, "svd_solver": "full"}]),
}
SPLITTERS = {"kfold": KFold(3), "drawn": ShuffleSplit(2, train_size=0.5, random_state=0)}


def table():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N, 5)) + 3
    X[:, 4] = X[:, 0] + 3e-5 * X[:, 4]
    return X, X @ np.arange(5.0) + rng.normal(size=N), rng.uniform(0.5, 2.0, N)


def models(first, stop):
    """Return what the models of all grids are made of, from the rows of a rank."""
    X, y, w = (each[first:stop] for each in table())
    found = {}
    for name, (estimator, candidates) in GRIDS.items():
        weights = {} if name == "components" else {"sample_weight": w}
        for splitter, cv in SPLITTERS.items():
            folds = {
                j: tuple(rows[(rows >= first) & (rows < stop)] - first for rows in map(np.sort, split))
                for j, split in enumerate(cv.split(np.zeros((N, 1))))
            }
            fits = type(estimator)(**estimator.get_params()).fit_grid(
                X, y, dict(enumerate(candidates)), folds, responses=(), fit_params=weights
            )
            for i, j, fitted, _ in fits:
                learnt = fitted.components_ if name == "components" else fitted.coef_
                found[name, splitter, i, j] = learnt.tobytes()
    return found


def of_a_rank():
    communicator = communicators.current()
    first, stop = (N * (communicator.rank + i) ** 2 // communicator.size**2 for i in (0, 1))
    return models(first, stop)


def test_ranks_find_the_bits_of_one_process():
    with hpcml.config_context(communicator="serial"):
        expected = models(0, N)
    assert len(expected) == (3 + 2 + 2) * (3 + 2)
    for found in run_ranks(3, of_a_rank).results:
        assert found == expected
