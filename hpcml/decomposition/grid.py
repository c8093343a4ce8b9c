"""The search protocol of PCA; see `hpcml.protocol`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.utils.validation import validate_data

from hpcml import blas, communicators
from hpcml.protocol import Batch
from hpcml.training.gram import MOST_FEATURES
from hpcml.training.gram_grid import held_out, rows_tested
from hpcml.training.inputs import FLOATS, as_rows
from hpcml.training.least_squares_grid import NotShared
from hpcml.training.pca_grid import FoldSpectra, spectra_of_folds
from hpcml.training.search_batches import batches, merged_parameters, numbers_of, rows_of
from hpcml.validation import UnsupportedError, check_whole_table

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
        check_whole_table(f"a grid of {type(self).__name__}")
        merged = merged_parameters(self, list(candidates.values()))
        estimators = {i: type(self)(**each) for i, each in zip(candidates, merged, strict=True)}
        table: Any = validate_data(self, X, dtype=FLOATS, accept_sparse=("csr", "csc"))
        names = {name: vars(self)[name] for name in _NAMES if name in vars(self)}
        numbers = {j: (numbers_of(train), numbers_of(test)) for j, (train, test) in folds.items()}
        found, reason = _fitted(table, estimators, numbers)
        for j in folds:
            for i in candidates:
                if (i, j) in found:
                    vars(found[i, j]).update(names)
                    yield i, j, found[i, j], {}
        if reason is not None:
            raise reason


def _fitted(
    table: Any, estimators: Mapping[int, Any], folds: Mapping[int, tuple[Any, Any]]
) -> tuple[dict[tuple[int, int], Any], Exception | None]:
    """Return the fitted estimators by candidate and fold, and the first error of those that lack."""
    n, d = table.shape
    if d > MOST_FEATURES:
        raise NotShared(f"X must have {MOST_FEATURES} features at most to share Gram matrices. Got {d}.")
    held = held_out(n, [train for train, _ in folds.values()])
    tests = [test for _, test in folds.values()]
    found: dict[tuple[int, int], Any] = {}
    reason: Exception | None = None
    sizes = {at: len(train) for at, (train, _) in enumerate(folds.values())}
    with communicators.current() as communicator, blas.one_thread():
        with communicator.put(X=as_rows(table), held=held, tested=rows_tested(n, tests)) as rows:
            several = spectra_of_folds(rows, np.unique(held).tolist(), sizes, d, table.dtype)
            for (j, (train, _)), spectra in zip(folds.items(), several, strict=True):
                shape, test = (len(train), d), HeldRows(table, tests[spectra.fold])
                prepared = {}
                for i, estimator in estimators.items():
                    fitted = type(estimator)(**estimator.get_params(deep=False))
                    try:
                        prepared[i] = fitted, _number(fitted, shape, sparse.issparse(table))
                    except Exception as error:
                        reason = reason or error
                most = _most([k for _, k in prepared.values()])
                for i, (fitted, k) in prepared.items():
                    try:
                        spectrum = _spectrum(fitted, spectra, k, most)
                        fitted._keep(spectrum, shape, k, table.dtype)
                    except Exception as error:
                        reason = reason or error
                        continue
                    found[i, j] = fitted
                    likelihood = spectra.likelihood(
                        spectrum, fitted.explained_variance_, float(fitted.noise_variance_)
                    )
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
