"""Small training tables for the tests of trees and forests."""

import numpy as np


def few_values(n=300, d=6, values=12, seed=0, missing=0.0):
    """Return a table of few distinct values a feature, so that bins hold one value each, and two targets."""
    rng = np.random.default_rng(seed)
    X = rng.integers(0, values, size=(n, d)).astype(np.float64)
    signal = X[:, 0] * 1.3 - X[:, 1] * X[:, 2] / values + np.sin(X[:, 3])
    y = signal + rng.normal(size=n)  # continuous: no two splits tie
    labels = np.digitize(signal + rng.normal(size=n), np.quantile(signal, [0.3, 0.7]))
    if missing:
        X[rng.random(X.shape) < missing] = np.nan
    return X, y, labels


def same_trees(a, b):
    """Return whether two fitted models have the same trees, to the bit."""
    a, b = a._trees, b._trees
    same = np.array_equal(a.offsets, b.offsets) and np.array_equal(a.values, b.values)
    return bool(same and all(np.array_equal(a.nodes[f], b.nodes[f]) for f in a.nodes.dtype.names))
