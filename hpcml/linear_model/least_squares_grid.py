"""The search protocol of LinearRegression and Ridge; see `hpcml.protocol`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from hpcml import blas, communicators, config
from hpcml.communicators import Table
from hpcml.kernels import lookup, on_host
from hpcml.protocol import Batch
from hpcml.training.gram import MOST_FEATURES
from hpcml.training.gram_grid import FoldSums, folds_of_ranks, sums_of_folds
from hpcml.training.grids import (
    MOST_FOLDS,
    Failed,
    Fits,
    GridFit,
    GridMixin,
    candidate_estimators,
    cut,
    rows_of,
)
from hpcml.training.inputs import FLOATS, as_rows, check_weight, checked_weights, validate_data
from hpcml.training.least_squares_grid import GramFit, GramSolver, NotShared, corrected

__all__ = ["SPARSE_FORMATS", "Rows", "SharedLeastSquares"]

#: Sparse formats that tables may have.
SPARSE_FORMATS = ["csr", "csc", "coo"]
#: Predictions of so many bytes are held at once.
HELD_BYTES = 64 << 20


@dataclass
class Rows:
    """The validated table, as kernels read it, on a rank without rows too.

    Attributes
    ----------
    X : ndarray or CSR of shape (n, d)
    y : ndarray of shape (n,) or (n, t)
    weights : ndarray of shape (n,) or None
    is_sparse : bool
    """

    X: Any
    y: NDArray[Any]
    weights: NDArray[np.float64] | None
    is_sparse: bool

    @classmethod
    def of(cls, model: Any, X: Any, y: Any, sample_weight: Any, accept_sparse: Any) -> Rows:
        """Validate table, targets and weights for `model`, which learns the names of the features."""
        reading: dict[str, Any] = {"accept_sparse": accept_sparse, "dtype": FLOATS}
        if communicators.least_rows() or np.shape(y)[:1] != (0,):
            table, targets = validate_data(model, X, y, y_numeric=True, multi_output=True, **reading)
        else:  # scikit-learn has no option for targets of no rows
            table = validate_data(model, X, ensure_min_samples=0, **reading)
            targets = np.asarray(on_host(y))
        targets = np.ascontiguousarray(targets, dtype=table.dtype)
        weights = checked_weights(sample_weight, table.shape[0], dtype=table.dtype, negative=False)
        return cls(as_rows(table), targets, weights, sparse.issparse(table))

    @property
    def columns(self) -> NDArray[Any]:
        """The targets, of shape (n, t)."""
        return self.y if self.y.ndim == 2 else self.y[:, None]


class SharedLeastSquares(GridMixin):
    """Least squares from one Gram matrix a fold."""

    #: `fit_grid` also runs on every rank of an MPI job, with its rows.
    grid_over_shards = True

    def _plan_grid(self, candidates: list[dict[str, Any]], n_folds: int) -> list[Batch]:
        for estimator in candidate_estimators(self, candidates):
            estimator._check_parameters()
            estimator._check_shared()
        costs = dict.fromkeys(range(len(candidates)), 1.0)
        shared = "one Gram matrix a fold, from one pass over the rows"
        return cut(costs, n_folds, shared, folds_at_once=MOST_FOLDS)

    def _fit_grid(self, batch: GridFit) -> Fits:
        with self._threads():  # type: ignore[attr-defined]
            rows, found = self._fitted(batch)
            for j, (_, test) in batch.folds.items():
                fitted = {i: found[i, j] for i in batch.candidates if not isinstance(found[i, j], Failed)}
                yield from ((i, j, found[i, j], {}) for i in batch.candidates if i not in fitted)
                for i, values in _predictions(rows, fitted, test, bool(batch.responses)):
                    yield i, j, fitted[i], values

    def _fitted(self, batch: GridFit) -> tuple[Rows, dict[tuple[int, int], Any]]:
        """Return the table, and fitted estimators, or `Failed`, by candidate and fold."""
        found: dict[tuple[int, int], Any] = {}
        estimators, trains = batch.estimators(self), {j: train for j, (train, _) in batch.folds.items()}
        with communicators.current() as communicator, blas.one_thread():
            rows = Rows.of(self, batch.X, batch.y, batch.weights, SPARSE_FORMATS)
            n, d = rows.X.shape
            if d > MOST_FEATURES:
                raise NotShared(f"X must have {MOST_FEATURES} features at most to share them. Got {d}.")
            check_weight(communicator, rows.weights)
            held, patterns, sizes = folds_of_ranks(communicator, n, list(trains.values()))
            t = rows.columns.shape[1]
            with communicator.put(X=rows.X, y=rows.columns, weights=rows.weights, held=held) as table:
                several = sums_of_folds(table, patterns, len(trains), d, t)
                for at, (j, sums) in enumerate(zip(trains, several, strict=True)):
                    solvers = _Solvers(sums, sizes[at], rows)
                    solved: dict[int, tuple[Any, GramFit]] = {}
                    for i, estimator in estimators.items():
                        try:
                            solved[i] = _solved(estimator, solvers, rows)
                        except Exception as error:
                            found[i, j] = Failed(error)
                    _correct(table, at, solvers, solved)
                    for i, (fitted, from_gram) in solved.items():
                        fitted._keep(from_gram.fit, rows.y.ndim, rows.X.dtype)
                        found[i, j] = fitted
        return rows, found


class _Solvers:
    """The solvers of a fold, about its mean and about 0; each is made when it is first asked for."""

    def __init__(self, sums: FoldSums, n_rows: int, rows: Rows) -> None:
        self.sums, self.n_rows, self.rows = sums.train, n_rows, rows
        self.made: dict[bool, GramSolver] = {}

    def about(self, *, center: bool) -> GramSolver:
        """Return the solver for models with or without an intercept."""
        if center not in self.made:
            if self.n_rows <= self.rows.X.shape[1]:
                raise NotShared("a fold trains on no more rows than there are features")
            if not self.sums.weight > 0:
                raise NotShared("the training rows of a fold have no weight")
            gram = self.sums.about_mean() if center else self.sums.about_zero()
            self.made[center] = GramSolver(gram, self.rows.X.dtype)
        return self.made[center]


def _solved(estimator: Any, solvers: _Solvers, rows: Rows) -> tuple[Any, GramFit]:
    """Return a new estimator, and its coefficients by the Gram matrix of a fold."""
    fitted = type(estimator)(**estimator.get_params(deep=False))
    solver = solvers.about(center=bool(fitted.fit_intercept))
    return fitted, fitted._from_gram(solver, rows.columns.shape[1], rows.is_sparse)


def _correct(table: Table, fold: int, solvers: _Solvers, solved: dict[int, tuple[Any, GramFit]]) -> None:
    """Let the rows correct the coefficients of a fold that need it."""
    for center, solver in solvers.made.items():
        numbers = [
            i
            for i, (fitted, found) in solved.items()
            if found.alpha is not None and bool(fitted.fit_intercept) == center
        ]
        fits = corrected(table, fold, solver, [solved[i][1] for i in numbers])
        for i, fit in zip(numbers, fits, strict=True):
            solved[i] = solved[i][0], GramFit(fit)


def _predictions(
    rows: Rows, fitted: Mapping[int, Any], test: NDArray[Any], wanted: bool
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the candidates of a fold, with their predictions of the test rows if these are wanted."""
    if not wanted:
        yield from ((i, {}) for i in fitted)
        return
    t, project = rows.columns.shape[1], lookup("project")
    at_once = max(1, HELD_BYTES // max(1, len(test) * t * rows.X.dtype.itemsize))
    numbers = list(fitted)
    for first in range(0, len(numbers), at_once):
        some = [fitted[i] for i in numbers[first : first + at_once]]
        W = np.concatenate([np.atleast_2d(one.coef_) for one in some]).T
        W = np.ascontiguousarray(W, dtype=np.float64)
        offsets = [np.broadcast_to(np.asarray(one.intercept_, dtype=np.float64), (t,)) for one in some]
        values = np.empty((len(test), len(some) * t), dtype=rows.X.dtype)
        for at, block in rows_of(rows.X, test):
            values[at] = project(block, np.zeros(len(W)), W, np.concatenate(offsets), config.n_threads())
        per_fit = np.ascontiguousarray(values.reshape(len(test), len(some), t).transpose(1, 0, 2))
        for at_fit, one in enumerate(some):
            predicted = per_fit[at_fit, :, 0] if one.coef_.ndim == 1 else per_fit[at_fit]
            yield numbers[first + at_fit], {"predict": predicted}
