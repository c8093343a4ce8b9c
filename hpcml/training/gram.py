"""Products of features, added up in one pass about a value near the mean, then moved to the mean.

For rows x and a centre c, with d = sum w (x - c) / sum w:

    sum w (x - m)(x - m)^T = sum w (x - c)(x - c)^T - (sum w) d d^T,    m = c + d

loses no digits as long as d is small beside the standard deviation; where it is not, a second pass is
about m.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hpcml.communicators import Table
from hpcml.training.moments import feature_moments

__all__ = [
    "Gram",
    "are_tiny",
    "centered_gram",
    "check_constant",
    "check_finite",
    "check_not_tiny",
    "gram_times",
    "is_good_center",
    "mean_of",
    "moved_to_mean",
    "symmetric",
]

Vector = NDArray[np.float64]

#: Rows whose mean is the centre of the first pass.
ROWS_OF_A_CENTER = 1024
#: The mean may be off the centre by so many standard deviations: at most two of 16 digits are lost.
GOOD_CENTER = 10.0
#: Statistics of several shards wait to be added up: the products of more features are computed some columns
#: at a time, so that these take a few megabytes each.
MOST_FEATURES = 1024
COLUMNS_OF_A_PANEL = 64
#: Columns that are mirrored at a time.
COLUMNS_OF_A_BLOCK = 256
#: Squares of the widest feature are this many times the smallest normal number of their type at least.
LEAST_SQUARES = 16.0


@dataclass(frozen=True)
class Gram:
    """Sums of products about the means.

    Attributes
    ----------
    weight : float
        Sum of the weights, or number of rows.
    mean : ndarray of shape (d,)
        Mean of the rows; zeros where products are not centred.
    gram : ndarray of shape (d, d)
        Sum of w (x - m)(x - m)^T, symmetric.
    y_mean : ndarray of shape (t,)
        Mean of the targets, or zeros.
    y_squares : ndarray of shape (t,)
        Sum of w (y - m_y)^2.
    cross : ndarray of shape (d, t)
        Sum of w (x - m)(y - m_y)^T.
    """

    weight: float
    mean: Vector
    gram: Vector
    y_mean: Vector
    y_squares: Vector
    cross: Vector


def symmetric(upper: Vector) -> Vector:
    """Return the symmetric matrix whose entries on and above the diagonal are those given, in their place."""
    for start in range(0, len(upper), COLUMNS_OF_A_BLOCK):
        stop = start + COLUMNS_OF_A_BLOCK
        block = upper[start:stop, start:stop]
        block[:] = np.triu(block) + np.triu(block, 1).T
        upper[stop:, start:stop] = upper[start:stop, stop:].T
    return upper


def check_finite(*sums: Vector) -> None:
    """Raise if sums of products, or what follows from them, are beyond the range of their type."""
    if not all(np.isfinite(some).all() for some in sums):
        raise ValueError(
            "X or y holds numbers so large that sums of their products overflow. Scale them; by a power of "
            "two, no digit is lost."
        )


def check_not_tiny(table: Table, squares: Vector, dtype: np.dtype, *, weighted: bool = False) -> None:
    """Raise if squares of deviations underflow.

    Parameters
    ----------
    table : Table
        With the row array ``X``.
    squares : ndarray of shape (d,)
        Mean squares of the features about their means.
    dtype : dtype
        Type of ``X``.
    weighted : bool
        Whether the table has the row array ``weights``; rows of weight 0 do not count.
    """
    if not are_tiny(squares, dtype):
        return
    numbers = np.arange(min(table.n_rows, ROWS_OF_A_CENTER))
    some = table.take(numbers)
    rows = some if isinstance(some, np.ndarray) else some.to_scipy().toarray()
    check_constant(rows[table.take(numbers, "weights") > 0] if weighted else rows)


def are_tiny(squares: Vector, dtype: np.dtype) -> bool:
    """Say whether squares may have underflowed, in the type of what was squared."""
    return bool(squares.max(initial=0.0) < LEAST_SQUARES * float(np.finfo(dtype).tiny))


def check_constant(rows: NDArray) -> None:
    """Raise if rows differ, of which the squares have underflowed."""
    if (rows != rows[:1]).any():
        raise ValueError(
            "X varies so little that the squares of its deviations underflow. Scale it; by a power of two, "
            "no digit is lost."
        )


def centered_gram(table: Table, n_features: int, n_targets: int = 0, *, center: bool = True) -> Gram:
    """Add up the products of the row array ``X`` with itself and with ``y``.

    Parameters
    ----------
    table : Table
        With the row array ``X``; ``y`` of shape (n, t), if there are targets; ``weights`` or None.
    n_features, n_targets : int
        Columns of ``X`` and of ``y``.
    center : bool
        Whether products are about the means, or about 0.

    Returns
    -------
    Gram

    Raises
    ------
    ValueError
        If sums overflow.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        found = _sums(table, n_features, n_targets, center)
    check_finite(found.mean, np.diagonal(found.gram), found.y_squares, found.cross)
    return found


def _sums(table: Table, n_features: int, n_targets: int, center: bool) -> Gram:
    if n_features > MOST_FEATURES:
        return _by_panels(table, n_features, n_targets, center)
    x_center, y_center = np.zeros(n_features), np.zeros(n_targets)
    dense = False
    if center:
        rows = np.arange(min(table.n_rows, ROWS_OF_A_CENTER))
        some = table.take(rows)
        dense = isinstance(some, np.ndarray)
        if dense:  # sparse rows are about 0: their zeros cost nothing then
            x_center = mean_of(some)
        if n_targets:
            y_center = mean_of(table.take(rows, "y"))
    found = _about(table, x_center, y_center, center)
    if not dense or is_good_center(found, x_center, y_center):
        return found
    return _about(table, found.mean, found.y_mean, center)


def is_good_center(found: Gram, x_center: Vector, y_center: Vector) -> bool:
    """Say whether sums about a centre have lost few digits in being moved to the mean."""
    off, variances = found.mean - x_center, np.diagonal(found.gram) / found.weight
    y_off, y_variances = found.y_mean - y_center, found.y_squares / found.weight
    good = (off**2 <= GOOD_CENTER**2 * variances).all()
    return bool(good and (y_off**2 <= GOOD_CENTER**2 * y_variances).all())


def _by_panels(table: Table, n_features: int, n_targets: int, center: bool) -> Gram:
    """Add up the products some columns at a time, about means that further passes have found."""
    moments = feature_moments(table, n_features)
    weight = float(moments.counts[0])
    mean, y_mean = moments.mean if center else np.zeros(n_features), np.zeros(n_targets)
    cross, y_squares = np.zeros((n_features, n_targets)), np.zeros(n_targets)
    for i in range(2 if center else 1) if n_targets else ():
        W = np.zeros((n_features, n_targets))
        found = table.map_reduce("residual_products", centers=mean, W=W, offsets=y_mean)
        cross, y_squares = -found["products"], found["squares"]
        if center and i == 0:
            y_mean = -found["sums"] / weight
    G = np.empty((n_features, n_features))
    for first in range(0, n_features, COLUMNS_OF_A_PANEL):
        width = min(COLUMNS_OF_A_PANEL, n_features - first)
        found = table.map_reduce("gram_panel", centers=mean, first=first, width=width)
        G[:, first : first + width] = found["panel"]
    return Gram(weight, mean, symmetric(G), y_mean, y_squares, cross)


def mean_of(rows: NDArray) -> Vector:
    """Return the mean of some rows; for a constant column its very value."""
    first = rows[0].astype(np.float64)
    return first + (rows - first).mean(axis=0)


def _about(table: Table, x_center: Vector, y_center: Vector, center: bool) -> Gram:
    targets = {"y_centers": y_center} if len(y_center) else {"y": None, "y_centers": None}
    s = table.map_reduce("gram", centers=x_center, **targets)
    if center:
        return moved_to_mean(s, x_center, y_center)
    weight = float(s["weight"][0])
    return Gram(weight, x_center, symmetric(s["gram"]), y_center, s["y_squares"], s["cross"])


def gram_times(table: Table, mean: Vector, W: Vector) -> Vector:
    """Return A^T A W by a pass over the rows, which are A less `mean`."""
    zeros = np.zeros(W.shape[1])
    W = np.ascontiguousarray(W)
    return table.map_reduce("residual_products", y=None, centers=mean, W=W, offsets=zeros)["products"]


def moved_to_mean(s: Mapping[str, Vector], x_center: Vector, y_center: Vector) -> Gram:
    """Return sums about the mean.

    Parameters
    ----------
    s : mapping of str to ndarray
        Sums of the kernel "gram" about a centre; its matrix is overwritten.
    x_center, y_center : ndarray of shape (d,), (t,)
        The centre.

    Returns
    -------
    Gram
    """
    weight, G = float(s["weight"][0]), symmetric(s["gram"])
    off, y_off = s["sums"] / weight, s["y_sums"] / weight
    for row, total in zip(G, s["sums"], strict=True):
        row -= total * off
    cross = s["cross"] - np.outer(s["sums"], y_off)
    y_squares = np.maximum(s["y_squares"] - s["y_sums"] * y_off, 0.0)
    return Gram(weight, x_center + off, G, y_center + y_off, y_squares, cross)
