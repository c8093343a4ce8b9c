"""The search protocol of PCA; see `hpcml.protocol`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from hpcml import blas, communicators
from hpcml.communicators import Communicator
from hpcml.protocol import Batch
from hpcml.training.gram import MOST_FEATURES
from hpcml.training.gram_grid import folds_of_ranks, rows_tested
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
from hpcml.training.inputs import as_rows
from hpcml.training.least_squares_grid import NotShared
from hpcml.training.pca_grid import FoldSpectra, least_share, spectra_of_folds
from hpcml.validation import UnsupportedError

__all__ = ["HeldRows", "HeldScore", "SharedComponents"]

#: Variances below this fraction of the largest one are rounding, and others in every way to compute.
ROUNDING = 1e-13
#: Solvers that a Gram matrix serves; 'auto' may choose another one for a fold.
_SHARED = ("auto", "full", "covariance_eigh")


class HeldRows:
    """The test rows of a fold: the rows of these numbers in a table."""

    def __init__(self, X: Any = None, numbers: Any = ()) -> None:
        self.X, self.numbers = X, np.asarray(numbers)

    def are(self, rows: Any) -> bool:
        """Say whether these are the same numbers, in the same type."""
        if type(self.X) is not np.ndarray or type(rows) is not np.ndarray or rows.dtype != self.X.dtype:
            return False
        if rows.shape != (len(self.numbers), self.X.shape[1]):
            return False
        return all(np.array_equal(rows[at], block) for at, block in rows_of(self.X, self.numbers))

    def __reduce__(self) -> Any:
        return type(self), ()  # a table does not travel with a fitted estimator


@dataclass(frozen=True)
class HeldScore:
    """The mean log-likelihood of the test rows of a fold, as far as `score` is concerned."""

    rows: HeldRows
    value: float


class SharedComponents(GridMixin):
    """Principal components from one decomposition a fold."""

    #: `fit_grid` also runs on every rank of an MPI job, with its rows.
    grid_over_shards = True
    _grid_weights = False

    def _plan_grid(self, candidates: list[dict[str, Any]], n_folds: int) -> list[Batch]:
        for estimator in candidate_estimators(self, candidates):
            estimator._check_parameters()
            if estimator.svd_solver not in _SHARED:
                raise UnsupportedError(
                    "svd_solver must be 'auto', 'full' or 'covariance_eigh' for candidates that share a "
                    f"decomposition. Got {estimator.svd_solver!r}, which finds some components only."
                )
        costs = dict.fromkeys(range(len(candidates)), 1.0)
        shared = "one decomposition a fold, from one Gram matrix of all rows"
        return cut(costs, n_folds, shared, folds_at_once=MOST_FOLDS)

    def _fit_grid(self, batch: GridFit) -> Fits:
        with communicators.current() as communicator, blas.one_thread():
            found = self._fitted_together(communicator, batch.X, batch.estimators(self), batch.folds)
        for j in batch.folds:
            for i in batch.candidates:
                yield i, j, found[i, j], {}

    def _fitted_together(
        self,
        communicator: Communicator,
        X: Any,
        estimators: Mapping[int, Any],
        folds: Mapping[int, tuple[Any, Any]],
    ) -> dict[tuple[int, int], Any]:
        """Return the fitted estimators, or `Failed`, by candidate and fold."""
        table = self._validated(X)  # type: ignore[attr-defined]
        n, d = table.shape
        if d > MOST_FEATURES:
            raise NotShared(f"X must have {MOST_FEATURES} features at most to share them. Got {d}.")
        tests = [test for _, test in folds.values()]
        held, patterns, sizes = folds_of_ranks(communicator, n, [train for train, _ in folds.values()])
        found: dict[tuple[int, int], Any] = {}
        with communicator.put(X=as_rows(table), held=held, tested=rows_tested(n, tests)) as rows:
            several = spectra_of_folds(rows, patterns, sizes, d, table.dtype)
            for j, test, spectra in zip(folds, tests, several, strict=True):
                # ranks score gathered rows, all in the same way
                known = HeldRows(table, test) if communicator.size == 1 else None
                fitted = _fitted_fold(estimators, spectra, known, is_sparse=sparse.issparse(table))
                found |= {(i, j): one for i, one in fitted.items()}
        return found


def _fitted_fold(
    estimators: Mapping[int, Any], spectra: FoldSpectra, test: HeldRows | None, *, is_sparse: bool
) -> dict[int, Any]:
    """Return the fitted estimators of a fold, or `Failed`.

    They know the score of the test rows, if these are given.
    """
    prepared, found = {}, dict[int, Any]()
    shape = spectra.shape
    for i, estimator in estimators.items():
        fitted = type(estimator)(**estimator.get_params(deep=False))
        try:
            prepared[i] = fitted, _number(fitted, shape, is_sparse)
        except Exception as error:
            found[i] = Failed(error)
    most = _most([k for _, k in prepared.values()])
    for i, (fitted, k) in prepared.items():
        try:
            spectrum = _spectrum(fitted, spectra, k, most)
            fitted._keep(spectrum, shape, k, spectra.dtype)
            noise, values = float(fitted.noise_variance_), fitted._covariance_eigenvalues()
            if not least_share(values, noise, shape[1]) > ROUNDING:
                raise NotShared("a fold has directions in which nothing but rounding varies")
        except Exception as error:
            found[i] = Failed(error)
            continue
        found[i] = fitted
        if test is not None:
            likelihood = spectra.likelihood(spectrum, values, noise)
            if likelihood is not None:
                fitted._held_score = HeldScore(test, likelihood)
    return found


def _number(fitted: Any, shape: tuple[int, int], is_sparse: bool) -> Any:
    """Choose the solver of a fold; return the number of components that are wanted."""
    if is_sparse and fitted.svd_solver not in ("auto", "covariance_eigh"):
        raise NotShared(f"svd_solver={fitted.svd_solver!r} takes no sparse table")
    fitted._fit_svd_solver = fitted._solver(shape, is_sparse)
    if fitted._fit_svd_solver not in _SHARED:
        raise NotShared(
            f"'auto' chooses svd_solver={fitted._fit_svd_solver!r}, which finds some components only"
        )
    return fitted._checked_number(shape)


def _most(numbers: Sequence[Any]) -> int | None:
    """Return how many components serve all candidates; None is all of them."""
    if any(isinstance(k, str) or 0 < k < 1 for k in numbers):
        return None
    return max((int(k) for k in numbers), default=None)


def _spectrum(fitted: Any, spectra: FoldSpectra, k: Any, most: int | None) -> Any:
    if fitted._fit_svd_solver == "full":
        return spectra.by_factors()
    return spectra.by_covariance(k, most)
