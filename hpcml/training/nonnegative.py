"""Linear least squares whose coefficients are not negative.

`by_active_set`: C. L. Lawson, R. J. Hanson, "Solving least squares problems", Prentice-Hall 1974, chapter 23,
on a square root of the normal equations. `by_lbfgs`: R. H. Byrd, P. Lu, J. Nocedal, C. Zhu, "A limited memory
algorithm for bound constrained optimization", SIAM Journal on Scientific Computing 16 (1995), 1190-1208.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, optimize
from sklearn.exceptions import ConvergenceWarning

from hpcml.communicators import Table
from hpcml.training.factors import factored
from hpcml.training.gram import Gram, centered_gram, check_not_tiny
from hpcml.training.least_squares import CenteredRows, Fit, means

__all__ = ["by_active_set", "by_lbfgs", "minimum_of_gram"]

Matrix = NDArray[np.float64]

#: Up to so many features, objectives are computed from a Gram matrix, which takes one pass over the rows.
FEATURES_OF_A_GRAM = 2048
#: Exchanges between positive coefficients and zeros: a few are enough near the minimum.
MOST_EXCHANGES = 20
#: A gradient is zero up to this fraction of its largest entry at zero coefficients.
ROUNDING_OF_A_GRADIENT = 1e-13
#: Coefficients of a size beyond 2^-20 to 2^20 are divided by it: first steps of length 1 are no use to them.
USUAL_EXPONENT = 20
#: What SciPy's L-BFGS-B says where iterations ran out.
ITERATIONS_SPENT = 1


def by_active_set(
    table: Table, n_features: int, n_targets: int, *, center: bool, weighted: bool, dtype: np.dtype
) -> Fit:
    """Solve exactly, target by target.

    Parameters
    ----------
    table : Table
        With the row arrays ``X``, not sparse, and ``y``; ``weights`` if `weighted`.
    n_features, n_targets : int
        Columns of ``X`` and ``y``.
    center : bool
        Whether the model has an intercept.
    weighted : bool
        Whether the table has the row array ``weights``.
    dtype : dtype
        Type of ``X``.

    Returns
    -------
    Fit
    """
    if table.n_rows <= n_features:
        n = table.n_rows
        about = means(table, n_features, n_targets, center=center)
        mean, y_mean = about.mean, about.y_mean
        roots = np.sqrt(table.take(np.arange(n), "weights")) if weighted else np.ones(n)
        R = np.concatenate([A for _, A in CenteredRows(table, n_features, mean, roots).blocks()])
        z = roots[:, np.newaxis] * (table.take(np.arange(n), "y") - y_mean)
    else:
        found = centered_gram(table, n_features, n_targets, center=center)
        check_not_tiny(table, np.diagonal(found.gram) / found.weight, dtype, weighted=weighted)
        mean, y_mean = found.mean, found.y_mean
        values, vectors = factored(table, mean, None, found.gram, dtype)
        # ||A w - y||^2 = ||R w - z||^2 + constant with R = S V^T, z = S^-1 V^T A^T y
        R, z = values[:, np.newaxis] * vectors, vectors @ found.cross
        kept = values > np.finfo(np.float64).eps * values[0]
        z[kept] /= values[kept, np.newaxis]
        z[~kept] = 0.0
    W = np.column_stack([optimize.nnls(R, z[:, k])[0] for k in range(n_targets)])
    return Fit(W, mean, y_mean)


def by_lbfgs(
    table: Table,
    n_features: int,
    n_targets: int,
    alpha: Matrix,
    *,
    center: bool,
    tol: float,
    max_iter: int | None,
) -> Fit:
    """Solve with a penalty on the squared coefficients.

    Parameters
    ----------
    table, n_features, n_targets, center
        As for `by_active_set`; rows may be sparse.
    alpha : ndarray of shape (t,)
        Penalties.
    tol : float
        Relative decrease of the objective, and largest projected gradient, at which iterations end.
    max_iter : int, optional
        Most iterations of a target.

    Returns
    -------
    Fit

    Warns
    -----
    ConvergenceWarning
        If a target needs more iterations.
    """
    if n_features <= FEATURES_OF_A_GRAM:
        gram = centered_gram(table, n_features, n_targets, center=center)
        return Fit(minimum_of_gram(gram, alpha, tol, max_iter), gram.mean, gram.y_mean)
    found = _by_passes(table, n_features, n_targets, alpha, center)
    return Fit(_minima(found, n_features, alpha, tol, max_iter), found.mean, found.y_mean)


def minimum_of_gram(gram: Gram, alpha: Matrix, tol: float, max_iter: int | None) -> Matrix:
    """Return the coefficients that `by_lbfgs` finds from a Gram matrix, of shape (d, t)."""
    return _minima(_by_gram(gram, alpha), len(gram.gram), alpha, tol, max_iter)


@dataclass(frozen=True)
class _Quadratic:
    """Half the sum of squared residuals: its value and gradient, and its curvature where that is known.

    `scale` is that of the coefficients, of which iterations see the quotients.
    """

    mean: Matrix
    y_mean: Matrix
    value: Callable[[Matrix, int], tuple[float, Matrix]]
    gram: Matrix | None = None
    scale: float = 1.0


def _by_gram(found: Gram, alpha: Matrix) -> _Quadratic:
    """Return the objective in terms of a Gram matrix."""

    def value(w: Matrix, k: int) -> tuple[float, Matrix]:
        Gw = found.gram @ w
        return float(0.5 * (w @ Gw + found.y_squares[k]) - w @ found.cross[:, k]), Gw - found.cross[:, k]

    scale = _scale((np.diagonal(found.gram) + alpha.max()) / found.weight)
    return _Quadratic(found.mean, found.y_mean, value, found.gram, scale)


def _by_passes(table: Table, n_features: int, n_targets: int, alpha: Matrix, center: bool) -> _Quadratic:
    """Return the objective as a pass over the rows."""
    about = means(table, n_features, n_targets, center=center)

    def value(w: Matrix, k: int) -> tuple[float, Matrix]:
        W = np.zeros((n_features, n_targets))
        W[:, k] = w
        found = table.map_reduce("residual_products", centers=about.mean, W=W, offsets=about.y_mean)
        return 0.5 * float(found["squares"][k]), found["products"][:, k]

    scale = _scale((about.squares + alpha.max()) / max(table.n_rows, 1))
    return _Quadratic(about.mean, about.y_mean, value, None, scale)


def _scale(curvature: Matrix) -> float:
    """Return the power of two nearest to 1 over the root of the largest curvature; 1 where that will do."""
    top = float(curvature.max(initial=0.0))
    exponent = round(math.log2(top) / 2) if top > 0 else 0
    return 2.0**-exponent if abs(exponent) > USUAL_EXPONENT else 1.0


def _minima(
    quadratic: _Quadratic, n_features: int, alpha: Matrix, tol: float, max_iter: int | None
) -> Matrix:
    columns = [
        _minimum(quadratic, k, n_features, float(penalty), tol, max_iter) for k, penalty in enumerate(alpha)
    ]
    return np.column_stack(columns)


def _minimum(
    quadratic: _Quadratic,
    k: int,
    n_features: int,
    alpha: float,
    tol: float,
    max_iter: int | None,
) -> Matrix:
    scale = quadratic.scale

    def penalised(w: Matrix) -> tuple[float, Matrix]:
        value, gradient = quadratic.value(w, k)
        return value + 0.5 * alpha * float(w @ w), gradient + alpha * w

    def scaled(v: Matrix) -> tuple[float, Matrix]:
        value, gradient = penalised(scale * v)
        return value, scale * gradient

    options: dict[str, Any] = {} if max_iter is None else {"maxiter": max_iter}
    found = optimize.minimize(
        scaled,
        np.zeros(n_features),
        method="L-BFGS-B",
        jac=True,
        tol=tol,
        bounds=[(0, np.inf)] * n_features,
        options=options,
    )
    best: Matrix = scale * found.x
    if quadratic.gram is not None and found.status != ITERATIONS_SPENT:
        polished = _polished(best, quadratic.gram, penalised, alpha)
        if polished is not None:  # the minimum, even where rounding ended the line search
            return polished
    if not found.success:
        warnings.warn(
            "The lbfgs solver did not converge. Try increasing max_iter or tol. Currently: "
            f"max_iter={max_iter} and tol={tol}",
            ConvergenceWarning,
            stacklevel=2,
        )
    return best


def _polished(
    w: Matrix, gram: Matrix, value: Callable[[Matrix], tuple[float, Matrix]], alpha: float
) -> Matrix | None:
    """Return the minimum, by exchanges between positive coefficients and zeros of `w`; None if they cycle.

    J. J. Judice, F. M. Pires, "A block principal pivoting algorithm for large-scale strictly monotone linear
    complementarity problems", Computers & Operations Research 21 (1994), 587-596.
    """
    free = w > 0
    slack = ROUNDING_OF_A_GRADIENT * float(np.abs(value(np.zeros_like(w))[1]).max(initial=0.0))
    for _ in range(MOST_EXCHANGES):
        better, at = np.where(free, w, 0.0), np.flatnonzero(free)
        if len(at):
            A = gram[np.ix_(at, at)]
            A.flat[:: len(A) + 1] += alpha
            try:
                better[at] -= linalg.solve(A, value(better)[1][at], assume_a="pos")
            except linalg.LinAlgError:
                return None
        negative, downhill = free & (better < 0), ~free & (value(better)[1] < -slack)
        if not negative.any() and not downhill.any():
            return better
        free = (free & ~negative) | downhill
    return None
