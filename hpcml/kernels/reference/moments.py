"""First and second moments of features."""

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
