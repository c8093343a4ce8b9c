"""Linear least squares by conjugate gradients, one pass over the rows an iteration, sparse rows as they are.

M. R. Hestenes, E. Stiefel, "Methods of conjugate gradients for solving linear systems", Journal of Research
of the National Bureau of Standards 49 (1952), 409-436, section 10: on the normal equations, whose matrix is
never formed. In exact arithmetic the iterates are those of LSQR (C. C. Paige, M. A. Saunders, ACM
Transactions on Mathematical Software 8 (1982), 43-71). All targets step together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hpcml.communicators import Table
from hpcml.training.gram import gram_times
from hpcml.training.least_squares import Fit, means, residual_gradient

__all__ = ["by_conjugate_gradients"]

Matrix = NDArray[np.float64]

#: Iterations that together lower the objective by no more than this fraction of it have little left to find;
#: a single one may stand still. (Together they find what the first of them was off the minimum, but for what
#: comes after: Z. Strakos, P. Tichy, "On error estimation in the conjugate gradient method", ETNA 13 (2002),
#: 56-80.)
LEAST_DECREASE = 1e-8
WATCHED_ITERATIONS = 10
#: A gradient of this size relative to the first one is rounding, in the type of the rows.
ROUNDING = {np.dtype(np.float32): 1e-6, np.dtype(np.float64): 1e-13}
#: Gradients that are updated drift from those of the rows: the iterations start anew so often at most.
MOST_STARTS = 4
#: ... where the gradient of the rows is this many times the one that was asked for.
DRIFT = 10.0


@dataclass
class _Problem:
    table: Table
    mean: Matrix
    y_mean: Matrix
    alpha: Matrix
    scale: Matrix  # what gradients are divided by

    def gradient(self, W: Matrix) -> Matrix:
        """Return A^T (y - A W) - alpha W, the negative gradient, by the rows' residuals."""
        return residual_gradient(self.table, Fit(W, self.mean, self.y_mean), self.alpha)

    def curvature(self, P: Matrix, columns: NDArray[np.intp]) -> Matrix:
        """Return (A^T A + alpha) P."""
        return gram_times(self.table, self.mean, P) + self.alpha[columns] * P


def by_conjugate_gradients(
    table: Table,
    n_features: int,
    n_targets: int,
    alpha: Matrix,
    *,
    center: bool,
    dtype: np.dtype,
    tol: float,
    max_iter: int,
) -> tuple[Fit, NDArray[np.int32]]:
    """Solve from zero coefficients; without penalty the limit is the solution of least norm.

    Parameters
    ----------
    table : Table
        With the row arrays ``X`` and ``y``, and ``weights`` or None.
    n_features, n_targets : int
        Columns of ``X`` and ``y``.
    alpha : ndarray of shape (t,)
        Penalties.
    center : bool
        Whether the model has an intercept.
    dtype : dtype
        Type of ``X``.
    tol : float
        Norm of the gradient, relative to that at zero coefficients, below which a target may stop; it goes on
        while the objective still falls.
    max_iter : int
        Most iterations.

    Returns
    -------
    fit : Fit
    n_iter : ndarray of int32 of shape (t,)
        Iterations of every target.
    """
    problem, objective = _problem(table, n_features, n_targets, alpha, center)
    W = np.zeros((n_features, n_targets))
    n_iter = np.zeros(n_targets, dtype=np.int32)
    r = problem.gradient(W)
    first = np.linalg.norm(r, axis=0)
    wanted, rounding = tol * first, ROUNDING[np.dtype(dtype)] * first
    enough = rounding
    for _ in range(MOST_STARTS):
        active = np.flatnonzero((np.linalg.norm(r, axis=0) > enough) & (n_iter < max_iter))
        if not len(active):
            break
        _iterate(problem, W, r, active, n_iter, objective, wanted, rounding, max_iter)
        if n_iter.max() >= max_iter:
            break
        r = problem.gradient(W)
        enough = np.maximum(DRIFT * wanted, rounding)
    return Fit(W, problem.mean, problem.y_mean), n_iter


def _problem(
    table: Table, n_features: int, n_targets: int, alpha: Matrix, center: bool
) -> tuple[_Problem, Matrix]:
    """Return the problem, and the objective of zero coefficients."""
    about = means(table, n_features, n_targets, center=center)
    # the diagonal of A^T A + alpha; but of several solutions, iterations that weigh all features alike find
    # the one of least norm
    scale = (
        about.squares[:, np.newaxis] + alpha
        if alpha.min() > 0 and table.n_rows > n_features
        else np.ones((n_features, n_targets))
    )
    scale[scale == 0] = 1.0  # a feature that is 0 everywhere
    return _Problem(table, about.mean, about.y_mean, alpha, scale), 0.5 * about.y_squares


def _iterate(
    problem: _Problem,
    W: Matrix,
    r: Matrix,
    active: NDArray[np.intp],
    n_iter: NDArray[np.int32],
    objective: Matrix,
    wanted: Matrix,
    rounding: Matrix,
    max_iter: int,
) -> None:
    """Step until all targets have stopped; changes `W`, `r`, `n_iter` and `objective`."""
    decreases = np.full((WATCHED_ITERATIONS, len(objective)), np.inf)
    P = r[:, active] / problem.scale[:, active]
    rho = (r[:, active] * P).sum(axis=0)
    while len(active):
        Q = problem.curvature(P, active)
        curvature = (P * Q).sum(axis=0)
        step = np.divide(rho, curvature, out=np.zeros_like(rho), where=curvature > 0)
        W[:, active] += step * P
        r[:, active] -= step * Q
        n_iter[active] += 1
        decreases[n_iter[active] % WATCHED_ITERATIONS, active] = 0.5 * step * rho
        objective[active] -= 0.5 * step * rho
        size = np.linalg.norm(r[:, active], axis=0)
        found = decreases[:, active].sum(axis=0)
        settled = (size <= wanted[active]) & (found <= LEAST_DECREASE * np.abs(objective[active]))
        stop = settled | (size <= rounding[active]) | (curvature <= 0) | (n_iter[active] >= max_iter)
        Z = r[:, active] / problem.scale[:, active]
        new_rho = (r[:, active] * Z).sum(axis=0)
        P = Z + np.divide(new_rho, rho, out=np.zeros_like(rho), where=rho > 0) * P
        go = ~stop
        active, P, rho = active[go], np.ascontiguousarray(P[:, go]), new_rho[go]
