"""Principal components of the training rows of all folds, and likelihoods of the rows that they leave out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpcml.communicators import Table
from hpcml.training.gram import are_tiny, check_constant
from hpcml.training.gram_grid import FoldSums, Sums, sums_of_folds
from hpcml.training.pca import (
    SMALL_COVARIANCE,
    Spectrum,
    first_of,
    is_for_lapack,
    spectrum_of_factors,
    spectrum_of_gram,
    spectrum_of_rows,
)

__all__ = ["FoldSpectra", "Likelihoods", "spectra_of_folds"]

Matrix = NDArray[np.float64]

#: Sums of products are rounded relative to the largest ones: variances below this fraction of the largest one
#: would magnify that in likelihoods.
LEAST_VARIANCE = 1e-9


class FoldSpectra:
    """The decompositions of a fold's training rows; each is made when it is first asked for.

    Parameters
    ----------
    table : Table
        With the row arrays ``X`` and ``held``.
    fold : int
        Number of the fold.
    sums : FoldSums
        Over its rows.
    n_rows : int
        Rows that it trains on.
    """

    def __init__(self, table: Table, fold: int, sums: FoldSums, n_rows: int, dtype: np.dtype) -> None:
        self.table, self.fold, self.sums, self.n_rows, self.dtype = table, fold, sums, n_rows, dtype
        self._made: dict[str, Spectrum] = {}

    def by_covariance(self, k: Any, most: int | None) -> Spectrum:
        """Return the spectrum by the eigenvectors of the covariance matrix.

        Parameters
        ----------
        k : object
            Components that are wanted, if that is a number.
        most : int, optional
            Components that serve all candidates; None is all.
        """
        n_features = len(self.sums.train.x_center)
        few = most is not None and n_features > SMALL_COVARIANCE and 4 * most < n_features
        if "covariance_eigh" not in self._made:
            found = self.sums.train.about_mean()
            self._check(np.diagonal(found.gram) / found.weight)
            self._made["covariance_eigh"] = spectrum_of_gram(found, most if few else None)
        made = self._made["covariance_eigh"]
        return first_of(made, int(k), n_features) if few else made

    def by_factors(self) -> Spectrum:
        """Return all components, as exactly as a singular value decomposition of the rows."""
        if "full" not in self._made:
            self._made["full"] = self._factored()
        return self._made["full"]

    def _factored(self) -> Spectrum:
        n_features = len(self.sums.train.x_center)
        if is_for_lapack(self.n_rows, n_features):
            return spectrum_of_rows(self.table.take(self._numbers()))
        found = self.sums.train.about_mean()
        self._check(np.diagonal(found.gram) / found.weight)
        self.table.map_rows(_training_weights, bit=1 << self.fold)
        try:
            return spectrum_of_factors(self.table, found, self.dtype)
        finally:
            self.table.drop("weights")

    def _numbers(self) -> NDArray[np.int64]:
        held = self.table.take(np.arange(self.table.n_rows), "held")
        return np.flatnonzero(held >> self.fold & 1 == 0)

    def _check(self, squares: Matrix) -> None:
        if are_tiny(squares, self.dtype):
            some = self.table.take(self._numbers())
            check_constant(some if isinstance(some, np.ndarray) else some.to_scipy().toarray())


def _training_weights(held: NDArray[np.int64], bit: int) -> dict[str, Matrix]:
    return {"weights": (held & bit == 0).astype(np.float64)}


def spectra_of_folds(
    table: Table, patterns: list[int], n_rows: Mapping[int, int], n_features: int, dtype: np.dtype
) -> Iterator[FoldSpectra]:
    """Yield the decompositions of one fold after another.

    Parameters
    ----------
    table : Table
        With the row arrays ``X`` and ``held``.
    patterns : list of int
        The different numbers in ``held``.
    n_rows : mapping of int to int
        Rows that every fold trains on.
    n_features : int
        Columns of ``X``.
    dtype : dtype
        Type of ``X``.
    """
    several = sums_of_folds(table, patterns, len(n_rows), n_features)
    for fold, sums in enumerate(several):
        yield FoldSpectra(table, fold, sums, n_rows[fold], dtype)


class Likelihoods:
    """Mean log-likelihoods of rows under models that differ in their number of components.

    Parameters
    ----------
    rows : Sums
        Over the rows.
    spectrum : Spectrum
        All components of the training rows.
    """

    def __init__(self, rows: Sums, spectrum: Spectrum) -> None:
        about = rows.about(spectrum.mean, rows.y_center)
        V = spectrum.components
        # q_i = mean of (v_i^T (x - m))^2
        self.squares: Matrix = np.maximum(np.einsum("kd,kd->k", V @ about.gram, V), 0.0) / about.weight
        self.n_features = V.shape[1]

    def of(self, variances: NDArray[Any], noise: float) -> float | None:
        """Return that of the model of the first components, or None where it needs the rows.

        M. E. Tipping, C. M. Bishop, "Probabilistic principal component analysis", Journal of the Royal
        Statistical Society B 61 (1999), 611-622, equation 4.

        Parameters
        ----------
        variances : ndarray of shape (k,)
            Along the components.
        noise : float
            Variance along all others.
        """
        d, k = self.n_features, len(variances)
        if len(self.squares) < d:
            return None
        # eigenvalues of the covariance: what a component explains, or the noise where that is more
        values = np.full(d, noise)
        values[:k] = np.maximum(variances, noise)
        if not values.min() > LEAST_VARIANCE * values.max():
            return None
        # -1/2 (d log 2 pi + log |C| + tr C^-1 S)
        return -0.5 * float(
            d * math.log(2.0 * math.pi) + np.log(values).sum() + (self.squares / values).sum()
        )
