"""Principal components of the training rows of all folds, and likelihoods of the rows that they leave out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpcml.communicators import Table
from hpcml.training.gram import are_tiny, check_constant, symmetric
from hpcml.training.gram_grid import FoldSums, rows_trained_on, sums_of_folds
from hpcml.training.pca import (
    SMALL_COVARIANCE,
    Spectrum,
    first_of,
    is_for_lapack,
    spectrum_of_factors,
    spectrum_of_gram,
    spectrum_of_rows,
)

__all__ = ["FoldSpectra", "Likelihoods", "least_share", "spectra_of_folds"]

Matrix = NDArray[np.float64]

#: Sums of products are rounded relative to the largest ones: variances below this fraction of the largest one
#: would magnify that in likelihoods.
LEAST_VARIANCE = 1e-9


class FoldSpectra:
    """The decompositions of a fold's training rows; each is made when it is first asked for.

    Parameters
    ----------
    table : Table
        With the row arrays ``X``, ``held`` and ``tested``.
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
        self._likelihoods: dict[int, Likelihoods | None] = {}

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

    @property
    def shape(self) -> tuple[int, int]:
        """Rows that the fold trains on, and features."""
        return self.n_rows, len(self.sums.train.x_center)

    def likelihood(self, spectrum: Spectrum, variances: NDArray[Any], noise: float) -> float | None:
        """Return the mean log-likelihood of the test rows under a model, or None where it needs the rows.

        Parameters
        ----------
        spectrum : Spectrum
            The decomposition that the model was cut from.
        variances : ndarray of shape (k,)
            Eigenvalues of the model's covariance along its components.
        noise : float
            Variance along all others.
        """
        key = id(spectrum.components)
        if key not in self._likelihoods:
            self._likelihoods[key] = self._likelihoods_of(spectrum)
        found = self._likelihoods[key]
        return None if found is None else found.of(variances, noise)

    def _likelihoods_of(self, spectrum: Spectrum) -> Likelihoods | None:
        n_features = len(spectrum.mean)
        if len(spectrum.components) < n_features:
            return None
        mean = spectrum.mean.astype(self.dtype).astype(np.float64)  # as models hold it
        bit = 1 << self.fold
        tested = self.table.map_reduce(
            "masked_gram", held="tested", mask=bit, value=bit, centers=mean, y=None, y_centers=None
        )
        weight = float(tested["weight"][0])
        return Likelihoods(symmetric(tested["gram"]) / weight, spectrum.components) if weight else None

    def _factored(self) -> Spectrum:
        n_features = len(self.sums.train.x_center)
        if is_for_lapack(self.n_rows, n_features):
            return spectrum_of_rows(self.table, rows_trained_on(self.table, self.fold))
        found = self.sums.train.about_mean()
        self._check(np.diagonal(found.gram) / found.weight)
        self.table.map_rows(_training_weights, bit=1 << self.fold)
        try:
            return spectrum_of_factors(self.table, found, self.dtype)
        finally:
            self.table.drop("weights")

    def _check(self, squares: Matrix) -> None:
        if are_tiny(squares, self.dtype):
            some = self.table.take(rows_trained_on(self.table, self.fold))
            check_constant(some if isinstance(some, np.ndarray) else some.to_scipy().toarray())


def _training_weights(held: NDArray[np.int64], bit: int) -> dict[str, Matrix]:
    return {"weights": (held & bit == 0).astype(np.float64)}


def spectra_of_folds(
    table: Table, patterns: Sequence[int], n_rows: Sequence[int], n_features: int, dtype: np.dtype
) -> Iterator[FoldSpectra]:
    """Yield the decompositions of one fold after another.

    Parameters
    ----------
    table : Table
        With the row arrays ``X``, ``held`` and ``tested``.
    patterns : sequence of int
        The different numbers in ``held``.
    n_rows : sequence of int
        Rows that every fold trains on.
    n_features : int
        Columns of ``X``.
    dtype : dtype
        Type of ``X``.
    """
    several = sums_of_folds(table, patterns, len(n_rows), n_features)
    for fold, sums in enumerate(several):
        yield FoldSpectra(table, fold, sums, n_rows[fold], dtype)


def least_share(variances: NDArray[np.float64], noise: float, n_features: int) -> float:
    """Return the smallest eigenvalue of a model's covariance, relative to the largest.

    Parameters
    ----------
    variances : ndarray of shape (k,)
        Along the components.
    noise : float
        Along all other directions.
    n_features : int

    Examples
    --------
    >>> import numpy as np
    >>> from hpcml.training.pca_grid import least_share
    >>> least_share(np.array([4.0, 2.0]), 1.0, 3)
    0.25
    """
    values = np.append(variances, np.full(min(1, n_features - len(variances)), noise))
    return float(values.min() / values.max()) if values.max() > 0 else 0.0


class Likelihoods:
    """Mean log-likelihoods of rows under models that differ in their number of components.

    Parameters
    ----------
    products : ndarray of shape (d, d)
        Mean of (x - m)(x - m)^T over the rows, about the mean of the training rows.
    components : ndarray of shape (d, d)
        All components of the training rows.
    """

    def __init__(self, products: Matrix, components: Matrix) -> None:
        # q_i = mean of (v_i^T (x - m))^2
        self.squares: Matrix = np.maximum(np.einsum("kd,kd->k", components @ products, components), 0.0)

    def of(self, variances: NDArray[Any], noise: float) -> float | None:
        """Return that of the model of the first components, or None where it needs the rows.

        M. E. Tipping, C. M. Bishop, "Probabilistic principal component analysis", Journal of the Royal
        Statistical Society B 61 (1999), 611-622, equation 4.

        Parameters
        ----------
        variances : ndarray of shape (k,)
            Eigenvalues of the model's covariance along its components.
        noise : float
            Variance along all others.
        """
        d, k = len(self.squares), len(variances)
        if not least_share(variances, noise, d) > LEAST_VARIANCE:
            return None
        values = np.full(d, noise)  # eigenvalues of the covariance
        values[:k] = variances
        # -1/2 (d log 2 pi + log |C| + tr C^-1 S)
        return -0.5 * float(
            d * math.log(2.0 * math.pi) + np.log(values).sum() + (self.squares / values).sum()
        )
