"""Mean and variance of features over the rows of a table.

Two passes with a correction for the rounding of the first: T. F. Chan, G. H. Golub, R. J. LeVeque,
"Algorithms for computing the sample variance: analysis and recommendations", The American Statistician 37
(1983), 242-247. The second pass is left out where the first was about a centre that is as good as the mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpcml.communicators import Table
from hpcml.training.inputs import check_finite

__all__ = ["Moments", "feature_moments", "is_constant", "mean_and_variance", "merged"]

#: A centre is good if it is off the mean by no more than this many standard deviations: of the 16 digits of a
#: variance that is computed about it, at most log10(1 + 4^2) are lost.
GOOD_CENTER = 4.0
#: Rows whose mean the moments are taken about: near enough to the mean that differences do not cancel.
ROWS_OF_FIRST_MEAN = 16


@dataclass(frozen=True)
class Moments:
    """Weight of the values, their mean and variance, of every feature; NaN where there are no values."""

    counts: NDArray[np.float64]
    mean: NDArray[np.float64]
    variance: NDArray[np.float64]


def feature_moments(table: Table, n_features: int) -> Moments:
    """Compute the moments of the row array ``X``, weighted by ``weights`` where the table has them.

    Parameters
    ----------
    table : Table
        With the row array ``X``, and ``weights`` or None.
    n_features : int
        Columns of ``X``.

    Returns
    -------
    Moments
        NaN in ``X`` counts nowhere.
    """
    first = table.take(np.zeros(1, dtype=np.int64))
    first = first[0] if isinstance(first, np.ndarray) else np.zeros(n_features)
    centers = np.where(np.isfinite(first), first, 0.0).astype(np.float64)
    moments, off = _about(table, centers)
    known = np.isfinite(moments.mean) & np.isfinite(moments.variance)
    if (off[known] ** 2 <= GOOD_CENTER**2 * moments.variance[known]).all():
        return moments
    return _about(table, np.where(known, moments.mean, 0.0))[0]


def _about(table: Table, centers: NDArray[np.float64]) -> tuple[Moments, NDArray[np.float64]]:
    """Return the moments computed about some centres, and the mean relative to these."""
    found = table.map_reduce("moments", centers=centers)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        off = found["sums"] / found["counts"]
        variance = found["squares"] / found["counts"] - off**2
    return Moments(found["counts"], centers + off, np.maximum(variance, 0.0)), off


def merged(a: Moments, b: Moments) -> Moments:
    """Return the moments of two sets of rows together.

    Examples
    --------
    >>> import numpy as np
    >>> from hpcml.training.moments import Moments, merged
    >>> a, b = (Moments(np.array([1.0]), np.array([x]), np.array([0.0])) for x in (1.0, 3.0))
    >>> merged(a, b)
    Moments(counts=array([2.]), mean=array([2.]), variance=array([1.]))
    """
    counts = a.counts + b.counts
    with np.errstate(divide="ignore", invalid="ignore"):
        share_a, share_b = a.counts / counts, b.counts / counts
        apart = b.mean - a.mean
        mean = a.mean + share_b * apart
        variance = share_a * a.variance + share_b * b.variance + share_a * share_b * apart**2
    for one, other in ((a, b), (b, a)):  # a feature without values in one set is as in the other
        empty = one.counts == 0
        mean[empty], variance[empty] = other.mean[empty], other.variance[empty]
    return Moments(counts, mean, variance)


def is_constant(moments: Moments) -> NDArray[np.bool_]:
    """Return which features have a variance that rounding alone explains: n eps v + (n m eps)^2."""
    n, eps = moments.counts, float(np.finfo(np.float64).eps)
    return moments.variance <= n * eps * moments.variance + (n * moments.mean * eps) ** 2


def mean_and_variance(
    table: Table, rows: Any = None, owner: Any = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and variance of every feature, weights aside.

    Parameters
    ----------
    table : Table
    rows : ndarray or CSR, optional
        This process's rows of ``X``, where nobody has looked for NaN and inf among them: the pass over the
        rows sees these as well.
    owner : object, optional
        The estimator that they were given to.

    Returns
    -------
    mean, variance : ndarray of float64 of shape (n_features,)

    Raises
    ------
    ValueError
        scikit-learn's error, if there are NaN or inf among `rows`. Under ``mpi`` the other ranks learn of it
        when they next meet this one.
    """
    n = table.n_rows
    some = table.take(np.unique(np.linspace(0, n - 1, ROWS_OF_FIRST_MEAN).astype(np.int64)))
    near = np.zeros(some.shape[1])
    with np.errstate(invalid="ignore", over="ignore"):
        if isinstance(some, np.ndarray):
            near = some.mean(axis=0, dtype=np.float64)
        found = table.map_reduce("moments", weights=None, centers=near)
        shift = found["sums"] / n
        mean, variance = near + shift, np.maximum(found["squares"] / n - shift**2, 0.0)
    if rows is not None and not (np.isfinite(variance).all() and (found["counts"] == n).all()):
        check_finite(rows, owner)  # where it finds nothing, squares overflow
    return mean, variance
