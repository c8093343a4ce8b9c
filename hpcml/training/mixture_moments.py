"""From moments of mixtures to counts, means and second moments about the means, component by component.

Components of several mixtures may lie one after the other: none looks at another one's numbers, so that a
mixture has the same bits in whatever company.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

__all__ = ["COUNT_FLOOR", "LEAST_SHARE", "cancels", "means_of", "squares_about_means"]

Floats = NDArray[np.float64]
Found = Mapping[str, Floats]

#: Added to every count: a component that lost all rows keeps a density, in the origin, of weight 2e-15.
COUNT_FLOOR = 10 * float(np.finfo(np.float64).eps)
#: Where a variance is a smaller share than this of the second moment about the old mean, moments are taken
#: once more, about the new mean. So rounding of a block of rows costs less than 1e-4 of a variance, or 1e-9.
LEAST_SHARE = {np.dtype(np.float32): 1e-2, np.dtype(np.float64): 1e-6}
#: Values that differ by no more than so many roundings of their mean are equal.
EQUAL_VALUES = 2.0


def means_of(found: Found, origins: Floats) -> tuple[Floats, Floats]:
    """Return counts and means.

    Parameters
    ----------
    found : mapping of str to ndarray
        Moments about points: counts (K), sums (K, d), squares (K, d) or (K, d, d).
    origins : ndarray of shape (K, d)
        These points.
    """
    counts = found["counts"] + COUNT_FLOOR
    return counts, (found["sums"] + found["counts"][:, np.newaxis] * origins) / counts[:, np.newaxis]


def cancels(found: Found, reg_covar: float | Floats, dtype: np.dtype) -> NDArray[np.bool_]:
    """Return for every component whether a variance is so much smaller than the second moment found.

    Parameters
    ----------
    found : mapping of str to ndarray
        As for `means_of`.
    reg_covar : float or ndarray of shape (K, 1)
        Added to the variances.
    dtype : dtype
        Of the rows.
    """
    N, s, Q = found["counts"][:, np.newaxis], found["sums"], found["squares"]
    about_old = Q if Q.ndim == 2 else np.diagonal(Q, axis1=1, axis2=2)
    left = about_old - s * (s / (N + COUNT_FLOOR)) + N * reg_covar
    return np.asarray((left < LEAST_SHARE[dtype] * about_old).any(axis=1))


def squares_about_means(
    found: Found, moved: Floats, counts: Floats, means: Floats, dtype: np.dtype
) -> tuple[Floats, NDArray[np.bool_]]:
    """Return second moments about the means, and for every component whether they are finite.

    sum r (z - m)(z - m)^T = Q - s m^T - m s^T + N m m^T, with s = sum r z and Q = sum r z z^T; 0 where a
    variance is no more than the rounding of equal values.

    Parameters
    ----------
    found : mapping of str to ndarray
        As for `means_of`.
    moved : ndarray of shape (K, d)
        m: the means less the points.
    counts, means : ndarray
        What `means_of` returns.
    dtype : dtype
        Of the rows.
    """
    N, s, Q = found["counts"][:, np.newaxis], found["sums"], found["squares"]
    with np.errstate(over="ignore", invalid="ignore"):
        floor = counts[:, np.newaxis] * (EQUAL_VALUES * float(np.finfo(dtype).eps) * means) ** 2
        if Q.ndim == 2:
            about = Q - 2 * s * moved + N * moved**2
            varies = about > floor
        else:
            Q = Q + np.triu(Q, 1).swapaxes(1, 2)
            across = s[:, :, np.newaxis] * moved[:, np.newaxis, :]
            outer = (N * moved)[:, :, np.newaxis] * moved[:, np.newaxis, :]
            about = Q - across - across.swapaxes(1, 2) + outer
            diagonal = np.diagonal(about, axis1=1, axis2=2) > floor
            varies = diagonal[:, :, np.newaxis] & diagonal[:, np.newaxis, :]
    finite = np.isfinite(about).reshape(len(about), -1).all(axis=1) & np.isfinite(floor).all(axis=1)
    return np.where(varies, about, 0.0), np.asarray(finite)
