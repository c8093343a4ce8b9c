"""Linear least squares, with and without a penalty on the squared coefficients, from the normal equations.

The normal equations are solved in float64; where they are so ill-conditioned that this is not enough,
residuals of the rows correct the coefficients (iterative refinement: A. Bjorck, "Numerical methods for least
squares problems", SIAM 1996, section 2.9.3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from hpcml.communicators import Table
from hpcml.training.factors import factored
from hpcml.training.gram import Gram, centered_gram, check_finite, check_not_tiny
from hpcml.training.moments import feature_moments

__all__ = [
    "CenteredRows",
    "Fit",
    "Means",
    "by_normal_equations",
    "by_rows",
    "by_singular_values",
    "means",
    "residual_gradient",
]

Matrix = NDArray[np.float64]

#: Rounding of an entry of a Gram matrix, relative to its diagonal: of float32 rows, and of float64 rows.
GRAM_ERROR = {np.dtype(np.float32): 1e-7, np.dtype(np.float64): 1e-15}
#: Relative error of coefficients that needs no refinement: below the resolution of their type, or nearly so.
NO_REFINEMENT = {np.dtype(np.float32): 1e-5, np.dtype(np.float64): 1e-10}
#: Corrections end when one is smaller than this, relative to the coefficients, or does not shrink.
REFINED = {np.dtype(np.float32): 1e-6, np.dtype(np.float64): 1e-12}
MOST_CORRECTIONS = 4
#: Singular values are taken from one pass where refinement can mend what it leaves: where their squares,
#: relative to the largest one, are this many times the rounding of the Gram matrix.
MENDED = 1e3
#: Rows are compared with each other in blocks of so many numbers.
NUMBERS_OF_A_BLOCK = 3 << 20


@dataclass(frozen=True)
class Fit:
    """Coefficients about the means, and the means.

    Attributes
    ----------
    W : ndarray of shape (d, t)
        Coefficients, a column a target.
    mean, y_mean : ndarray of shape (d,), (t,)
        Means of rows and targets, or zeros.
    values : ndarray of shape (min(n, d),), optional
        Singular values of the centred rows.
    rank : int, optional
        Singular values that are not negligible.
    """

    W: Matrix
    mean: Matrix
    y_mean: Matrix
    values: Matrix | None = None
    rank: int | None = None


@dataclass(frozen=True)
class Means:
    """Means of rows and targets, or zeros, and sums of squares about them, of features and targets."""

    mean: Matrix
    y_mean: Matrix
    squares: Matrix
    y_squares: Matrix


def means(table: Table, n_features: int, n_targets: int, *, center: bool) -> Means:
    """Compute the means of the row arrays ``X`` and ``y``, or take zeros for them without `center`."""
    with np.errstate(over="ignore", invalid="ignore"):
        found = _means(table, n_features, n_targets, center)
        largest = found.squares.sum() * found.y_squares.sum()  # bounds the squares of X^T y
    check_finite(found.mean, found.y_mean, largest)
    return found


def _means(table: Table, n_features: int, n_targets: int, center: bool) -> Means:
    moments = feature_moments(table, n_features)
    zeros = np.zeros(n_targets)
    W, mean = np.zeros((n_features, n_targets)), np.zeros(n_features)
    found = table.map_reduce("residual_products", centers=mean, W=W, offsets=zeros)
    if not center:
        return Means(mean, zeros, moments.counts * (moments.variance + moments.mean**2), found["squares"])
    weight = moments.counts[0]
    y_mean = -found["sums"] / weight
    y_squares = np.maximum(found["squares"] - weight * y_mean**2, 0.0)
    return Means(moments.mean, y_mean, moments.counts * moments.variance, y_squares)


def residual_gradient(table: Table, fit: Fit, alpha: Matrix) -> Matrix:
    """Return the negative gradient of half the objective: A^T (y - A W) - alpha W, of shape (d, t)."""
    W = np.ascontiguousarray(fit.W)
    found = table.map_reduce("residual_products", centers=fit.mean, W=W, offsets=fit.y_mean)
    return -found["products"] - alpha * fit.W


def by_singular_values(
    table: Table,
    n_features: int,
    n_targets: int,
    alpha: Matrix,
    *,
    center: bool,
    weighted: bool,
    dtype: np.dtype,
    tol: float,
) -> Fit:
    """Solve by the singular values of the rows; the solution of least norm where they lack rank.

    Parameters
    ----------
    table : Table
        With the row arrays ``X`` and ``y``, and ``weights`` or None; more rows than features.
    n_features, n_targets : int
        Columns of ``X`` and ``y``.
    alpha : ndarray of shape (t,)
        Penalties.
    center : bool
        Whether the model has an intercept.
    weighted : bool
        Whether the table has the row array ``weights``.
    dtype : dtype
        Type of ``X``.
    tol : float
        Singular values up to this fraction of the largest one count as 0.

    Returns
    -------
    Fit
    """
    dtype = np.dtype(dtype)
    found = centered_gram(table, n_features, n_targets, center=center)
    check_not_tiny(table, np.diagonal(found.gram) / found.weight, dtype, weighted=weighted)
    values, vectors = factored(
        table, found.mean, None, found.gram, dtype, resolved=MENDED * GRAM_ERROR[dtype]
    )
    # without a penalty, what lies below the rounding of the rows' products must not be divided by
    tol = max(tol, float(np.finfo(np.float64 if alpha.min() > 0 else dtype).eps))
    rank = int((values > tol * values[0]).sum())
    s, V = values[:rank], vectors[:rank]
    weights = 1.0 / (s[:, np.newaxis] ** 2 + alpha)  # (rank, t)

    def solve(right: Matrix) -> Matrix:
        return V.T @ (weights * (V @ right))

    condition = (s[0] ** 2 + alpha.max()) / (s[-1] ** 2 + alpha.min()) if rank else 1.0
    fit = Fit(solve(found.cross), found.mean, found.y_mean, values, rank)
    return _refined(table, fit, alpha, solve, condition, dtype)


def by_normal_equations(
    table: Table, n_features: int, n_targets: int, alpha: Matrix, *, center: bool, dtype: np.dtype
) -> Fit | None:
    """Solve by Cholesky factors of A^T A + alpha I; None if this is not positive definite.

    Parameters
    ----------
    table, n_features, n_targets, alpha, center, dtype
        As for `by_singular_values`.
    """
    dtype = np.dtype(dtype)
    found = centered_gram(table, n_features, n_targets, center=center)
    try:
        solve, condition = _cholesky(found, alpha)
    except linalg.LinAlgError:
        return None
    if not condition * GRAM_ERROR[dtype] < 0.1:  # corrections would not shrink
        return None
    fit = Fit(solve(found.cross), found.mean, found.y_mean)
    return _refined(table, fit, alpha, solve, condition, dtype)


def _cholesky(found: Gram, alpha: Matrix) -> tuple[Callable[[Matrix], Matrix], float]:
    """Return what solves (G + alpha I) W = R, column by column, and the largest condition number."""
    penalties = np.unique(alpha)
    factors, conditions = [], []
    for penalty in penalties:
        A = found.gram.copy()
        A.flat[:: len(A) + 1] += penalty
        norm = max(float(np.abs(row).sum()) for row in A)
        # the transpose is in LAPACK's order
        factor = linalg.cho_factor(A.T, lower=False, overwrite_a=True, check_finite=False)
        inverse_condition, _ = linalg.lapack.dpocon(factor[0], norm)
        factors.append(factor)
        conditions.append(np.inf if inverse_condition == 0 else 1.0 / inverse_condition)

    def solve(right: Matrix) -> Matrix:
        W = np.empty_like(right)
        for penalty, factor in zip(penalties, factors, strict=True):
            columns = np.flatnonzero(alpha == penalty)
            W[:, columns] = linalg.cho_solve(factor, right[:, columns], check_finite=False)
        return W

    return solve, max(conditions)


def _refined(
    table: Table,
    fit: Fit,
    alpha: Matrix,
    solve: Callable[[Matrix], Matrix],
    condition: float,
    dtype: np.dtype,
) -> Fit:
    """Correct coefficients by what the residuals of the rows leave to be explained."""
    if condition * GRAM_ERROR[dtype] <= NO_REFINEMENT[dtype]:
        return fit
    before = np.inf
    for _ in range(MOST_CORRECTIONS):
        change = solve(residual_gradient(table, fit, alpha))
        size = float(np.linalg.norm(change)) / max(float(np.linalg.norm(fit.W)), np.finfo(float).tiny)
        if not size < before:
            break
        fit = Fit(fit.W + change, fit.mean, fit.y_mean, fit.values, fit.rank)
        if size <= REFINED[dtype]:
            break
        before = size / 2
    return fit


# -- fewer rows than features --------------------------------------------------------------------------------


def by_rows(
    table: Table, n_features: int, n_targets: int, alpha: Matrix, *, center: bool, weighted: bool, tol: float
) -> Fit:
    """Solve by products of rows with each other: W = A^T (A A^T + alpha I)^-1 y, of least norm.

    Parameters
    ----------
    table, n_features, n_targets, alpha, center, weighted
        As for `by_singular_values`, of no more rows than features.
    tol : float
        Singular values up to this fraction of the largest one count as 0.

    Returns
    -------
    Fit
    """
    n = table.n_rows
    y = table.take(np.arange(n), "y").astype(np.float64)
    weights = table.take(np.arange(n), "weights") if weighted else np.ones(n)
    about = means(table, n_features, n_targets, center=center)
    rows = CenteredRows(table, n_features, about.mean, np.sqrt(weights))
    target = rows.roots[:, np.newaxis] * (y - about.y_mean)
    K = rows.products()
    squares, vectors = linalg.eigh(K, driver="evd", overwrite_a=True)
    values = np.sqrt(np.maximum(squares[::-1], 0.0))
    tol = max(tol, float(np.sqrt(n * np.finfo(np.float64).eps)))  # below, squares are rounding
    rank = int((values > tol * values[0]).sum())
    first = 0 if alpha.min() > 0 else n - rank
    U, squares = vectors[:, first:], np.maximum(squares[first:], 0.0)
    inverse = 1.0 / (squares[:, np.newaxis] + alpha)
    W, dual = np.zeros((n_features, n_targets)), np.zeros((n, n_targets))
    for _ in range(2):  # the second time corrects the first
        left = target - alpha * dual - rows.times(W)
        dual += U @ (inverse * (U.T @ left))
        W = rows.across(dual)
    return Fit(W, about.mean, about.y_mean, values, rank)


class CenteredRows:
    """Rows A = diag(roots) (X - mean), a block at a time; all at once where they are few."""

    def __init__(self, table: Table, n_features: int, mean: Matrix, roots: Matrix) -> None:
        self.table, self.mean, self.roots = table, mean, roots
        self.step = max(1, NUMBERS_OF_A_BLOCK // max(n_features, 1))
        self.all = self._block(0, len(roots)) if len(roots) <= self.step else None

    def _block(self, start: int, stop: int) -> Matrix:
        found = self.table.take(np.arange(start, stop))
        dense = found if isinstance(found, np.ndarray) else found.to_scipy().toarray()
        A: Matrix = dense - self.mean  # of float64, as the mean is
        A *= self.roots[start:stop, np.newaxis]
        return A

    def blocks(self, first: int = 0) -> Iterator[tuple[slice, Matrix]]:
        """Yield blocks from the row `first` on."""
        n = len(self.roots)
        for start in range(first, n, self.step):
            stop = min(start + self.step, n)
            yield slice(start, stop), self._block(start, stop) if self.all is None else self.all

    def products(self) -> Matrix:
        """Return A A^T."""
        n = len(self.roots)
        K = np.empty((n, n))
        for rows, A in self.blocks():
            for others, B in self.blocks(rows.start):
                K[rows, others] = A @ B.T
                K[others, rows] = K[rows, others].T
        return K

    def times(self, W: Matrix) -> Matrix:
        """Return A W."""
        return np.concatenate([A @ W for _, A in self.blocks()])

    def across(self, dual: Matrix) -> Matrix:
        """Return A^T dual."""
        return sum((A.T @ dual[rows] for rows, A in self.blocks()), np.zeros((len(self.mean), dual.shape[1])))
