"""First and second moments of features, rows on the scale that they give, sums over each shard."""

import numpy as np
from scipy import sparse


def moments(X, weights, centers):
    """Return weight of values, sum of w (x - c), sum of w (x - c)^2 of every feature; NaN counts nowhere."""
    if sparse.issparse(X):
        X = X.toarray()
    w = np.ones(len(X)) if weights is None else weights
    there = ~np.isnan(X)
    deviation = np.where(there, X - centers, 0.0)
    return w @ there, w @ deviation, w @ deviation**2


def shard_sums(values, bounds, n_threads=1):
    """Return the sum over each shard, none of which is empty."""
    return np.add.reduceat(values.astype(np.float64), bounds[:-1])


def rescale(X, centers, scales, way, n_threads=1):
    """Return (x - c) / s of every row, or x s + c."""
    c, s = centers.astype(X.dtype), scales.astype(X.dtype)
    return (X - c) / s if way == "there" else X * s + c
