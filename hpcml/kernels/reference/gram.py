"""Products of features with each other, with targets and with coefficients."""

import numpy as np
from scipy import sparse


def gram(X, weights, centers, y, y_centers):
    """Return sum of w, w (x - c), w (x - c)(x - c)^T, w (y - c_y), w (y - c_y)^2, w (x - c)(y - c_y)^T."""
    A, w = _centered(X, centers), _weights(X, weights)
    B = np.zeros((X.shape[0], 0)) if y is None else y - y_centers
    wA = A * w[:, np.newaxis]
    return w.sum(), wA.sum(axis=0), np.triu(wA.T @ A), w @ B, w @ B**2, wA.T @ B


def masked_gram(X, weights, held, mask, value, centers, y, y_centers):
    """Return the sums of `gram` over the rows whose bits under the mask are the value."""
    chosen = np.flatnonzero((held & mask) == value)
    w = None if weights is None else weights[chosen]
    return gram(X[chosen], w, centers, None if y is None else y[chosen], y_centers)


def gram_panel(X, weights, centers, first, width):
    """Return columns from `first` on of the sum of w (x - c)(x - c)^T, zeros below its diagonal."""
    A = _centered(X, centers)
    wA = A * _weights(X, weights)[:, np.newaxis]
    return np.triu(wA.T @ A)[:, first : first + width]


def projected_gram(X, weights, centers, W):
    """Return sum of w z z^T with z = W^T (x - c)."""
    Z = _centered(X, centers) @ W
    return np.triu((Z * _weights(X, weights)[:, np.newaxis]).T @ Z)


def residual_products(X, weights, centers, y, W, offsets):
    """Return sum of w (x - c) r^T, w r, w r^2 with r = W^T (x - c) + b - y."""
    A, w = _centered(X, centers), _weights(X, weights)
    r = A @ W + offsets
    if y is not None:
        r -= y
    wr = w[:, np.newaxis] * r
    return A.T @ wr, wr.sum(axis=0), (wr * r).sum(axis=0)


def project(X, centers, W, offsets, n_threads=1):
    """Return W^T (x - c) + b of every row."""
    if isinstance(X, np.ndarray):
        return ((X - centers) @ W + offsets).astype(X.dtype)
    return (X.to_scipy() @ W + (offsets - centers @ W)).astype(X.dtype)


def _centered(X, centers):
    return (X.toarray() if sparse.issparse(X) else X) - centers


def _weights(X, weights):
    return np.ones(X.shape[0]) if weights is None else weights
