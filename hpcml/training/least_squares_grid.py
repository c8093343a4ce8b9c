"""Least squares under many penalties from one Gram matrix.

The Cholesky factor does not mind features of different scale: what its solution loses depends on the
condition of the matrix whose diagonal is scaled to ones (A. van der Sluis, "Condition numbers and
equilibration of matrices", Numerische Mathematik 14 (1969), 14-23). Where that is too large, the rows
themselves must be asked.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, optimize

from hpcml.training.gram import Gram
from hpcml.training.least_squares import GRAM_ERROR, Fit
from hpcml.training.nonnegative import minimum_of_gram

__all__ = ["GramSolver", "NotShared"]

Matrix = NDArray[np.float64]

#: Relative error of coefficients that are solved from a Gram matrix of float64 without asking the rows.
COEFFICIENT_ERROR = 1e-7
#: Squared singular values within this factor of those that no longer count are left to passes over the rows.
DISTINCT = 100.0
#: Products of float32 rows have the range of float32 in a fit of their own: sums over so many of them.
SUMMANDS = 128


class NotShared(ValueError):
    """A fit that the Gram matrix does not serve."""


@dataclass
class _Factor:
    cholesky: Matrix  # upper triangle
    definite: bool  # as a fit of its own would find it


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

    def ridge(self, alpha: Matrix) -> tuple[Fit, bool]:
        """Solve with a penalty, for every target its own.

        Returns
        -------
        fit : Fit
        definite : bool
            Whether a fit of its own takes the matrix to be positive definite.
        """
        W, definite = np.empty_like(self.gram.cross), True
        for penalty in np.unique(alpha):
            factor = self._factor(float(penalty))
            columns = np.flatnonzero(alpha == penalty)
            W[:, columns] = linalg.cho_solve(
                (factor.cholesky, False), self.gram.cross[:, columns], check_finite=False
            )
            definite = definite and factor.definite
        return Fit(W, self.gram.mean, self.gram.y_mean), definite

    def least_squares(self, tol: float) -> Fit:
        """Solve without penalty, with singular values; all of them must count."""
        if self._squares is None:
            squares = linalg.eigh(self.gram.gram, eigvals_only=True, driver="evd", check_finite=False)
            self._squares = np.maximum(squares[::-1], 0.0)
        squares = self._squares
        least = max(tol, float(np.finfo(self.dtype).eps)) ** 2  # of those that count
        least = DISTINCT * max(least, GRAM_ERROR[np.dtype(np.float64)])
        if not squares[-1] > least * squares[0]:
            raise NotShared("the training rows of a fold lack rank, or nearly so")
        fit, _ = self.ridge(np.zeros(self.gram.cross.shape[1]))
        return Fit(fit.W, fit.mean, fit.y_mean, np.sqrt(squares), len(squares))

    def non_negative(self) -> Fit:
        """Solve for coefficients that are not negative."""
        # ||A w - y||^2 = ||R w - z||^2 + constant with R^T R = A^T A, R^T z = A^T y
        R = np.triu(self._factor(0.0).cholesky)
        z = linalg.solve_triangular(R, self.gram.cross, trans="T", check_finite=False)
        W = np.column_stack([optimize.nnls(R, column)[0] for column in z.T])
        return Fit(W, self.gram.mean, self.gram.y_mean)

    def penalised_non_negative(self, alpha: Matrix, tol: float, max_iter: int | None) -> Fit:
        """Solve for coefficients that are not negative, with a penalty."""
        W = minimum_of_gram(self.gram, alpha, tol, max_iter)
        return Fit(W, self.gram.mean, self.gram.y_mean)

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
        if not GRAM_ERROR[np.dtype(np.float64)] < COEFFICIENT_ERROR * scaled_inverse:
            raise NotShared("the Gram matrix of a fold is too ill-conditioned")
        return _Factor(factor, bool(GRAM_ERROR[self.dtype] < 0.1 * inverse))
