"""The search protocol of PCA; see `hpcml.protocol`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.utils.validation import validate_data

from hpcml import blas, communicators
from hpcml.communicators import Communicator
from hpcml.protocol import Batch
from hpcml.training.gram import MOST_FEATURES
from hpcml.training.gram_grid import folds_of_ranks, rows_tested
from hpcml.training.inputs import FLOATS, as_rows
from hpcml.training.least_squares_grid import NotShared
from hpcml.training.pca_grid import FoldSpectra, spectra_of_folds
from hpcml.training.search_batches import batches, merged_parameters, numbers_of, rows_of
from hpcml.validation import UnsupportedError

__all__ = ["HeldRows", "HeldScore", "SharedComponents"]

#: Solvers that a Gram matrix serves; 'auto' may choose another one for a fold.
_SHARED = ("auto", "full", "covariance_eigh")
#: What the whole table tells every fit of it.
_NAMES = ("n_features_in_", "feature_names_in_")


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


class SharedComponents:
    """Principal components from one decomposition a fold."""

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
            If a candidate has a parameter that is not allowed, or a solver that finds some components only.
        """
        for parameters in merged_parameters(self, candidates):
            type(self)(**parameters)._check_parameters()  # type: ignore[attr-defined]
            if parameters["svd_solver"] not in _SHARED:
                raise UnsupportedError(
                    "svd_solver must be 'auto', 'full' or 'covariance_eigh' for candidates that share a "
                    f"decomposition. Got {parameters['svd_solver']!r}, which finds some components only."
                )
        return batches(len(candidates), n_folds, "one decomposition a fold, from one Gram matrix of all rows")

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
        """Fit candidates on folds from shared decompositions; see `hpcml.protocol.GridSharing`.

        Parameters
        ----------
        X : array-like or sparse matrix
            The whole table.
        y : None
            Ignored.
        candidates : dict of int to dict
            Settings by index of the candidate.
        folds : dict of int to (train, test)
            Row indices by index of the fold.
        responses : sequence of str
            None: components predict nothing.
        fit_params : mapping
            Empty.

        Yields
        ------
        (i_candidate, i_fold, fitted, {}) : tuple
            `fitted` equals the separate fit.

        Raises
        ------
        ValueError
            At the end, if there are fits that need the rows themselves, with the reason.
        """
        if fit_params:
            raise TypeError(f"fit takes no further arguments. Got {', '.join(sorted(fit_params))} instead.")
        if responses:
            raise AttributeError(f"{type(self).__name__} has no {', '.join(responses)}.")
        merged = merged_parameters(self, list(candidates.values()))
        estimators = {i: type(self)(**each) for i, each in zip(candidates, merged, strict=True)}
        numbers = {j: (numbers_of(train), numbers_of(test)) for j, (train, test) in folds.items()}
        with communicators.current() as communicator, blas.one_thread():
            found, reason = self._fitted_together(communicator, X, estimators, numbers)
        names = {name: vars(self)[name] for name in _NAMES if name in vars(self)}
        for j in folds:
            for i in candidates:
                if (i, j) in found:
                    vars(found[i, j]).update(names)
                    yield i, j, found[i, j], {}
        if reason is not None:
            raise reason

    def _fitted_together(
        self,
        communicator: Communicator,
        X: Any,
        estimators: Mapping[int, Any],
        folds: Mapping[int, tuple[Any, Any]],
    ) -> tuple[dict[tuple[int, int], Any], Exception | None]:
        """Return the fitted estimators by candidate and fold, and the first error of those that lack.

        `self` is not fitted, and learns the features' names.
        """
        least = communicators.least_rows()
        table: Any = validate_data(
            self, X, dtype=FLOATS, accept_sparse=("csr", "csc"), ensure_min_samples=least
        )
        n, d = table.shape
        if d > MOST_FEATURES:
            raise NotShared(f"X must have {MOST_FEATURES} features at most to share them. Got {d}.")
        tests = [test for _, test in folds.values()]
        held, patterns, sizes = folds_of_ranks(communicator, n, [train for train, _ in folds.values()])
        found: dict[tuple[int, int], Any] = {}
        reason: Exception | None = None
        with communicator.put(X=as_rows(table), held=held, tested=rows_tested(n, tests)) as rows:
            several = spectra_of_folds(rows, patterns, sizes, d, table.dtype)
            for j, test, spectra in zip(folds, tests, several, strict=True):
                # ranks score gathered rows, all in the same way
                known = HeldRows(table, test) if communicator.size == 1 else None
                fitted, error = _fitted_fold(estimators, spectra, known, is_sparse=sparse.issparse(table))
                found |= {(i, j): one for i, one in fitted.items()}
                reason = reason or error
        return found, reason


def _fitted_fold(
    estimators: Mapping[int, Any], spectra: FoldSpectra, test: HeldRows | None, *, is_sparse: bool
) -> tuple[dict[int, Any], Exception | None]:
    """Return the fitted estimators of a fold, and the first error of those that lack.

    They know the score of the test rows, if these are given.
    """
    prepared, reason = {}, None
    shape = spectra.shape
    for i, estimator in estimators.items():
        fitted = type(estimator)(**estimator.get_params(deep=False))
        try:
            prepared[i] = fitted, _number(fitted, shape, is_sparse)
        except Exception as error:
            reason = reason or error
    most, found = _most([k for _, k in prepared.values()]), {}
    for i, (fitted, k) in prepared.items():
        try:
            spectrum = _spectrum(fitted, spectra, k, most)
            fitted._keep(spectrum, shape, k, spectra.dtype)
        except Exception as error:
            reason = reason or error
            continue
        found[i] = fitted
        if test is not None:
            noise = float(fitted.noise_variance_)
            likelihood = spectra.likelihood(spectrum, fitted.explained_variance_, noise)
            if likelihood is not None:
                fitted._held_score = HeldScore(test, likelihood)
    return found, reason


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
