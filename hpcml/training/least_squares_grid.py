"""Least squares under many penalties from one Gram matrix.

The Cholesky factor does not mind features of different scale: what its solution loses depends on the
condition of the matrix whose diagonal is scaled to ones (A. van der Sluis, "Condition numbers and
equilibration of matrices", Numerische Mathematik 14 (1969), 14-23). Where that is too large, residuals of the
rows correct the coefficients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, optimize

from hpcml.communicators import Table
from hpcml.training.gram import Gram
from hpcml.training.least_squares import GRAM_ERROR, MOST_CORRECTIONS, REFINED, Fit
from hpcml.training.nonnegative import minimum_of_gram

__all__ = ["GramFit", "GramSolver", "NotShared", "corrected"]

Matrix = NDArray[np.float64]

#: Relative error of coefficients, by the condition of their Gram matrix, that residuals need not correct: of
#: float32 rows, and of float64 rows.
COEFFICIENT_ERROR = {np.dtype(np.float32): 1e-5, np.dtype(np.float64): 1e-7}
#: Up to this error of coefficients of float64 rows, corrections by their residuals shrink fast.
MOST_ERROR = 1e-2
#: Squared singular values within this factor of those that no longer count are left to passes over the rows.
DISTINCT = 100.0
#: Targets are repeated for the fits that are corrected at once, to one in so many columns of the table.
COLUMNS_OF_X = 8
#: Products of float32 rows have the range of float32 in a fit of their own: sums over so many of them.
SUMMANDS = 128


class NotShared(ValueError):
    """A fit that the Gram matrix does not serve."""


@dataclass(frozen=True)
class GramFit:
    """What a Gram matrix gives.

    Attributes
    ----------
    fit : Fit
    definite : bool
        Whether a fit of its own takes the matrix, with the penalties, to be positive definite.
    alpha : ndarray of shape (t,), optional
        Penalties, where residuals of the rows are to correct the coefficients.
    """

    fit: Fit
    definite: bool = True
    alpha: Matrix | None = None


@dataclass
class _Factor:
    cholesky: Matrix  # upper triangle
    definite: bool  # as a fit of its own would find it
    error: float  # of coefficients


@dataclass
class GramSolver:
    """Solves least squares from the Gram matrix of the training rows.

    Parameters
    ----------
    gram : Gram
        About the means, or about 0.
    dtype : dtype
        Type of the rows.

    Raises
    ------
    NotShared
        By every method, if the rows themselves must be asked.
    """

    gram: Gram
    dtype: np.dtype
    _factors: dict[float, _Factor] = field(default_factory=dict)
    _squares: Matrix | None = None

    def __post_init__(self) -> None:
        limits = np.finfo(self.dtype)
        top = float(np.diagonal(self.gram.gram).max(initial=0.0)) / self.gram.weight
        if not 16 * limits.tiny <= top <= limits.max / SUMMANDS:
            raise NotShared("X is constant, or its squares are beyond the range of its type")

    def ridge(self, alpha: Matrix) -> GramFit:
        """Solve with a penalty, for every target its own."""
        factors = [self._factor(float(penalty)) for penalty in np.unique(alpha)]
        error = max(factor.error for factor in factors)
        exact = error <= COEFFICIENT_ERROR[self.dtype]
        if not exact and (self.dtype == np.float32 or error > MOST_ERROR):
            raise NotShared("the Gram matrix of a fold is too ill-conditioned")
        fit = Fit(self.solve(self.gram.cross, alpha), self.gram.mean, self.gram.y_mean)
        return GramFit(fit, all(factor.definite for factor in factors), None if exact else alpha)

    def solve(self, right: Matrix, alpha: Matrix) -> Matrix:
        """Return (A^T A + alpha)^-1 of the right-hand sides, a column a target."""
        W = np.empty_like(right)
        for penalty in np.unique(alpha):
            factor, columns = self._factor(float(penalty)), np.flatnonzero(alpha == penalty)
            W[:, columns] = linalg.cho_solve((factor.cholesky, False), right[:, columns], check_finite=False)
        return W

    def least_squares(self, tol: float) -> GramFit:
        """Solve without penalty, with singular values; all of them must count."""
        if self._squares is None:
            squares = linalg.eigh(self.gram.gram, eigvals_only=True, driver="evd", check_finite=False)
            self._squares = np.maximum(squares[::-1], 0.0)
        squares = self._squares
        least = max(tol, float(np.finfo(self.dtype).eps)) ** 2  # of those that count
        least = DISTINCT * max(least, GRAM_ERROR[np.dtype(np.float64)])
        if not squares[-1] > least * squares[0]:
            raise NotShared("the training rows of a fold lack rank, or nearly so")
        found = self.ridge(np.zeros(self.gram.cross.shape[1]))
        return replace(found, fit=replace(found.fit, values=np.sqrt(squares), rank=len(squares)))

    def non_negative(self) -> GramFit:
        """Solve for coefficients that are not negative."""
        # ||A w - y||^2 = ||R w - z||^2 + constant with R^T R = A^T A, R^T z = A^T y
        factor = self._factor(0.0)
        if factor.error > COEFFICIENT_ERROR[self.dtype]:
            raise NotShared("the Gram matrix of a fold is too ill-conditioned")
        R = np.triu(factor.cholesky)
        z = linalg.solve_triangular(R, self.gram.cross, trans="T", check_finite=False)
        W = np.column_stack([optimize.nnls(R, column)[0] for column in z.T])
        return GramFit(Fit(W, self.gram.mean, self.gram.y_mean))

    def penalised_non_negative(self, alpha: Matrix, tol: float, max_iter: int | None) -> GramFit:
        """Solve for coefficients that are not negative, with a penalty."""
        W = minimum_of_gram(self.gram, alpha, tol, max_iter)
        return GramFit(Fit(W, self.gram.mean, self.gram.y_mean))

    def _factor(self, penalty: float) -> _Factor:
        if penalty not in self._factors:
            self._factors[penalty] = self._factored(penalty)
        return self._factors[penalty]

    def _factored(self, penalty: float) -> _Factor:
        A = self.gram.gram.copy()
        A.flat[:: len(A) + 1] += penalty
        norm = float(np.abs(A).sum(axis=0).max())
        roots = np.sqrt(np.diagonal(A))
        if not roots.all():
            raise NotShared("a feature of the training rows of a fold is constant")
        scaled_norm = float(((np.abs(A) / roots).sum(axis=1) / roots).max())
        try:
            factor, _ = linalg.cho_factor(A.T, overwrite_a=True, check_finite=False)
        except linalg.LinAlgError:
            raise NotShared("the Gram matrix of a fold is not positive definite") from None
        inverse, _ = linalg.lapack.dpocon(factor, norm)
        # with D the roots of the diagonal, A = D B D and R = S D: S is the factor of B
        scaled_inverse, _ = linalg.lapack.dpocon(factor / roots, scaled_norm)
        error = GRAM_ERROR[np.dtype(np.float64)]
        if not error <= scaled_inverse:
            raise NotShared("the Gram matrix of a fold is too ill-conditioned")
        return _Factor(factor, bool(GRAM_ERROR[self.dtype] < 0.1 * inverse), error / scaled_inverse)


# -- corrections by the rows ---------------------------------------------------------------------------------


def corrected(table: Table, fold: int, solver: GramSolver, fits: Sequence[GramFit]) -> list[Fit]:
    """Correct coefficients by the residuals of a fold's training rows, those of several fits in each pass.

    Parameters
    ----------
    table : Table
        With the row arrays ``X``, ``y`` and ``held``; ``weights`` or None.
    fold : int
        Number of the fold.
    solver : GramSolver
        Of the fold, with or without intercept.
    fits : sequence of GramFit
        All with penalties.

    Returns
    -------
    list of Fit
    """
    d, t = solver.gram.cross.shape
    at_once, found = max(1, d // (COLUMNS_OF_X * t)), []
    for first in range(0, len(fits), at_once):
        some = fits[first : first + at_once]
        table.map_rows(_rows_of_fold, bit=1 << fold, times=len(some))
        try:
            found += _corrected(table, solver, some)
        finally:
            table.drop("fold_weights", "fold_y")
    return found


def _rows_of_fold(
    held: NDArray[np.int64], y: NDArray, bit: int, times: int, weights: Matrix | None = None
) -> dict[str, NDArray]:
    trains = (held & bit == 0).astype(np.float64)
    return {"fold_weights": trains if weights is None else trains * weights, "fold_y": np.tile(y, (1, times))}


def _corrected(table: Table, solver: GramSolver, fits: Sequence[GramFit]) -> list[Fit]:
    gram, t = solver.gram, solver.gram.cross.shape[1]
    W = np.concatenate([one.fit.W for one in fits], axis=1)
    alpha = np.concatenate([one.alpha for one in fits if one.alpha is not None])
    offsets = np.tile(gram.y_mean, len(fits))
    before, active = np.full(len(fits), np.inf), np.ones(len(fits), dtype=bool)
    for _ in range(MOST_CORRECTIONS):
        # A^T (y - A W) - alpha W
        sums = table.map_reduce(
            "residual_products",
            weights="fold_weights",
            y="fold_y",
            centers=gram.mean,
            W=np.ascontiguousarray(W),
            offsets=offsets,
        )
        change = solver.solve(-sums["products"] - alpha * W, alpha).reshape(len(W), len(fits), t)
        sizes = np.linalg.norm(change, axis=(0, 2))
        sizes /= np.maximum(
            np.linalg.norm(W.reshape(len(W), len(fits), t), axis=(0, 2)), np.finfo(np.float64).tiny
        )
        active &= sizes < before
        W = W + (change * active[:, np.newaxis]).reshape(len(W), -1)
        active &= sizes > REFINED[solver.dtype]
        before = sizes / 2
        if not active.any():
            break
    columns = np.split(W, len(fits), axis=1)
    return [replace(one.fit, W=w) for one, w in zip(fits, columns, strict=True)]
