"""The search protocol of LinearRegression and Ridge; see `hpcml.protocol`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils.validation import validate_data

from hpcml import blas, communicators, config
from hpcml.communicators import Table
from hpcml.kernels import lookup
from hpcml.protocol import Batch
from hpcml.training.gram import MOST_FEATURES
from hpcml.training.gram_grid import FoldSums, folds_of_ranks, sums_of_folds
from hpcml.training.inputs import FLOATS, as_rows, check_weight, checked_weights
from hpcml.training.least_squares_grid import GramFit, GramSolver, NotShared, corrected
from hpcml.training.search_batches import batches, merged_parameters, numbers_of, rows_of

__all__ = ["SharedLeastSquares"]

#: Predictions of so many bytes are held at once.
HELD_BYTES = 64 << 20
#: What the whole table tells every fit of it.
_NAMES = ("n_features_in_", "feature_names_in_")


@dataclass
class _Rows:
    """The validated table, as kernels read it."""

    X: Any
    y: NDArray[Any]
    weights: NDArray[np.float64] | None
    is_sparse: bool
    names: dict[str, Any]

    @property
    def columns(self) -> NDArray[Any]:
        """The targets, of shape (n, t)."""
        return self.y if self.y.ndim == 2 else self.y[:, None]


class SharedLeastSquares:
    """Least squares from one Gram matrix a fold."""

    #: `fit_grid` also runs on every rank of an MPI job, with its rows.
    grid_over_shards = True

    def plan_grid(self, candidates: list[dict[str, Any]], n_folds: int) -> list[Batch]:
        """Put all candidates into batches of up to 63 folds; see `hpcml.protocol.GridSharing`.

        Parameters
        ----------
        candidates : list of dict
            Settings of parameters.
        n_folds : int
            Number of folds.

        Returns
        -------
        list of Batch

        Raises
        ------
        ValueError, TypeError
            If a candidate has a parameter that is not allowed, or a solver that takes no Gram matrix.
        """
        for parameters in merged_parameters(self, candidates):
            estimator = type(self)(**parameters)
            estimator._check_parameters()  # type: ignore[attr-defined]
            estimator._check_shared()  # type: ignore[attr-defined]
        return batches(len(candidates), n_folds, "one Gram matrix a fold, from one pass over the rows")

    def fit_grid(
        self,
        X: Any,
        y: Any,
        candidates: dict[int, dict[str, Any]],
        folds: dict[int, tuple[Any, Any]],
        *,
        responses: Sequence[str],
        fit_params: Mapping[str, Any],
    ) -> Iterator[tuple[int, int, Any, dict[str, Any]]]:
        """Fit candidates on folds from shared Gram matrices; see `hpcml.protocol.GridSharing`.

        Parameters
        ----------
        X, y : array-like
            The whole table and targets.
        candidates : dict of int to dict
            Settings by index of the candidate.
        folds : dict of int to (train, test)
            Row indices by index of the fold.
        responses : sequence of str
            ``"predict"``, or nothing.
        fit_params : mapping
            ``sample_weight`` of all rows, or nothing.

        Yields
        ------
        (i_candidate, i_fold, fitted, values) : tuple
            `fitted` equals the separate fit; `values` maps each response to its values on the test rows.

        Raises
        ------
        ValueError
            At the end, if there are fits that need the rows themselves, with the reason.
        """
        fit_params = dict(fit_params)
        weights = fit_params.pop("sample_weight", None)
        if fit_params:
            raise TypeError(f"fit takes sample_weight. Got {', '.join(sorted(fit_params))} instead.")
        if set(responses) - {"predict"}:
            raise AttributeError(f"{type(self).__name__} has no {', '.join(set(responses) - {'predict'})}.")
        numbers = list(candidates)
        merged = merged_parameters(self, list(candidates.values()))
        estimators = {i: type(self)(**parameters) for i, parameters in zip(numbers, merged, strict=True)}
        with self._threads():  # type: ignore[attr-defined]
            trains = {j: numbers_of(train) for j, (train, _) in folds.items()}
            rows, found, reason = self._fitted(X, y, weights, estimators, trains)
            for j, (_, test) in folds.items():
                fitted = {i: found[i, j] for i in numbers if (i, j) in found}
                for i, values in _predictions(rows, fitted, numbers_of(test), bool(responses)):
                    yield i, j, fitted[i], values
        if reason is not None:
            raise reason

    def _table(self, X: Any, y: Any, weights: Any) -> _Rows:
        """Return the validated table; `self` is not fitted, and learns the features' names."""
        reading: dict[str, Any] = {"accept_sparse": ["csr", "csc", "coo"], "dtype": FLOATS}
        if communicators.least_rows() or np.shape(y)[:1] != (0,):
            table, targets = validate_data(self, X, y, y_numeric=True, multi_output=True, **reading)
        else:  # a rank without rows
            table, targets = validate_data(self, X, ensure_min_samples=0, **reading), np.asarray(y)
        weights = checked_weights(weights, table.shape[0], dtype=table.dtype, negative=False)
        targets = np.ascontiguousarray(targets, dtype=table.dtype)
        names = {name: vars(self)[name] for name in _NAMES if name in vars(self)}
        return _Rows(as_rows(table), targets, weights, sparse.issparse(table), names)

    def _fitted(
        self, X: Any, y: Any, weights: Any, estimators: Mapping[int, Any], trains: Mapping[int, Any]
    ) -> tuple[_Rows, dict[tuple[int, int], Any], Exception | None]:
        """Return the table, fitted estimators by candidate and fold, and the first error of the others."""
        found: dict[tuple[int, int], Any] = {}
        reason: Exception | None = None
        with communicators.current() as communicator, blas.one_thread():
            rows = self._table(X, y, weights)
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
                            reason = reason or error
                    _correct(table, at, solvers, solved)
                    for i, (fitted, from_gram) in solved.items():
                        vars(fitted).update(rows.names)
                        fitted._keep(from_gram.fit, rows.y.ndim, rows.X.dtype)
                        found[i, j] = fitted
        return rows, found, reason


class _Solvers:
    """The solvers of a fold, about its mean and about 0; each is made when it is first asked for."""

    def __init__(self, sums: FoldSums, n_rows: int, rows: _Rows) -> None:
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


def _solved(estimator: Any, solvers: _Solvers, rows: _Rows) -> tuple[Any, GramFit]:
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
    rows: _Rows, fitted: Mapping[int, Any], test: NDArray[Any], wanted: bool
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
