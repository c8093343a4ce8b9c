"""Losses of linear models: z = X w + b, sum over rows of w_i l(y_i, z_i), and what Newton's method needs."""

import numpy as np
from scipy.special import expit, logsumexp, softmax

from hpcml.kernels.csr import CSR


def _margins(X, W):
    """Return z, in the precision of X."""
    Z = X @ W[:, :-1].T.astype(X.dtype)
    return np.asarray(Z) + W[:, -1].astype(X.dtype)


def _of_rows(Z, y, positive, loss, epsilon):
    """Return the loss of every row in every column, its first and its second derivative by z."""
    if loss == "multinomial":  # l = log sum_k exp(z_k) - z_y, dl/dz_k = p_k - [y = k]
        is_class = y[:, None] == np.arange(Z.shape[1])
        P = softmax(Z, axis=1)
        losses = np.where(is_class, logsumexp(Z, axis=1, keepdims=True) - Z, 0.0)
        return losses, P - is_class, P * (1 - P)
    if loss == "squared_epsilon_insensitive":  # l = max(0, |z - y| - epsilon)^2
        residual = Z - y[:, None]
        beyond = np.maximum(np.abs(residual) - epsilon, 0.0)
        return beyond**2, 2.0 * beyond * np.sign(residual), 2.0 * (beyond > 0)
    t = np.where(y[:, None] == positive, 1.0, -1.0)
    if loss == "logistic":  # l = log(1 + exp(-t z))
        return np.logaddexp(0.0, -t * Z), -t * expit(-t * Z), expit(Z) * expit(-Z)
    short = np.maximum(1.0 - t * Z, 0.0)  # squared hinge: l = max(0, 1 - t z)^2
    return short**2, -2.0 * t * short, 2.0 * (short > 0)


def _weighted(weights, *values):
    return values if weights is None else tuple(weights[:, None] * value for value in values)


def _transposed_times(X, R):
    """Return R^T [X 1]: one row for every column of R."""
    return np.column_stack([np.asarray(X.T @ R).T, R.sum(axis=0)])


def _squares(X, D):
    """Return [X 1]^T diag(D_k) [X 1] for every column of D."""
    X = X.toarray() if not isinstance(X, np.ndarray) else X
    X = np.column_stack([X, np.ones(len(X))])
    return np.array([(X * D[:, k : k + 1]).T @ X for k in range(D.shape[1])])


def linear_gradient(X, y, weights, W, positive, loss, epsilon):
    """Return the sum of the losses of each column, and its gradient."""
    losses, slopes, _ = _weighted(weights, *_of_rows(_margins(X, W), y, positive, loss, epsilon))
    return losses.sum(axis=0), _transposed_times(X, slopes)


def linear_hessian(X, y, weights, W, positive, loss, epsilon):
    """Return loss, gradient, and the Hessian of each column: X^T diag(l'') X."""
    losses, slopes, curvatures = _weighted(weights, *_of_rows(_margins(X, W), y, positive, loss, epsilon))
    return losses.sum(axis=0), _transposed_times(X, slopes), _squares(X, curvatures)


def multinomial_hessian(X, y, weights, W):
    """Return loss, gradient, and the Hessian: at classes k and l X^T diag(p_k ([k=l] - p_l)) X."""
    Z, K = _margins(X, W), len(W)
    losses, slopes, _ = _weighted(weights, *_of_rows(Z, y, None, "multinomial", 0.0))
    P = softmax(Z, axis=1)
    pairs = np.array([P * ((k == np.arange(K)) - P[:, k : k + 1]) for k in range(K)])  # (k, row, l)
    if weights is not None:
        pairs *= weights[:, None]
    return losses.sum(axis=0), _transposed_times(X, slopes), np.array([_squares(X, D) for D in pairs])


def linear_diagonal(X, y, weights, W, positive, loss, epsilon):
    """Return the diagonal of the Hessian: sum of l'' x_j^2."""
    (D,) = _weighted(weights, _of_rows(_margins(X, W), y, positive, loss, epsilon)[2])
    return _transposed_times(X**2, D)


def linear_margins(X, W, n_threads=1):
    """Return X W^T and the intercepts."""
    return _margins(X.to_scipy() if isinstance(X, CSR) else X, W)
