"""Losses of linear models: z = X w + b, sum over rows of w_i l(y_i, z_i), and what Newton's method needs."""

import numpy as np
from scipy.special import expit, logsumexp, softmax

from hpcml.kernels.csr import CSR


def _shifted(X, origin):
    """Return the rows less the origin, in their precision; sparse rows stay as they are."""
    return X if origin is None or not isinstance(X, np.ndarray) else X - origin.astype(X.dtype)


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


def _every_problem(Z, y, positive, loss, epsilon, problems):
    """Return the same for several problems, whose first columns come first, then the second ones ..."""
    if loss != "multinomial":
        return _of_rows(Z, y, positive, loss, epsilon)
    found = tuple(np.empty(Z.shape) for _ in range(3))
    for p in range(problems):
        for whole, part in zip(found, _of_rows(Z[:, p::problems], y, None, loss, 0.0), strict=True):
            whole[:, p::problems] = part
    return found


def _weights(n, y, weights, held, folds, factors, problems, n_columns):
    """Return the weight of every row in every column."""
    w = np.ones((n, problems)) if weights is None else np.tile(weights[:, None], (1, problems))
    if held is not None and folds is not None:
        w *= 1 - (held[:, None] >> folds & 1)
    if factors is not None:
        w *= factors[:, y.astype(np.intp)].T
    return np.tile(w, (1, n_columns // problems))


def _transposed_times(X, R):
    """Return [X 1]^T R."""
    return np.concatenate([np.asarray(X.T @ R), R.sum(axis=0, keepdims=True)])


def _squares(X, D):
    """Return [X 1]^T diag(D_k) [X 1] for every column of D."""
    X = X.toarray() if not isinstance(X, np.ndarray) else X
    X = np.column_stack([X, np.ones(len(X))])
    return np.array([(X * D[:, k : k + 1]).T @ X for k in range(D.shape[1])])


def _evaluated(X, y, weights, held, origin, W, positive, folds, factors, problems, loss, epsilon):
    """Return the rows, and weighted losses, slopes and curvatures."""
    X = _shifted(X, origin)
    w = _weights(len(y), y, weights, held, folds, factors, problems, len(W))
    found = _every_problem(_margins(X, W), y, positive, loss, epsilon, problems)
    return X, *(w * value for value in found)


def linear_gradient(X, y, weights, held, origin, W, positive, folds, factors, problems, loss, epsilon):
    """Return the sum of the losses of each column, and its gradient."""
    X, losses, slopes, _ = _evaluated(
        X, y, weights, held, origin, W, positive, folds, factors, problems, loss, epsilon
    )
    return losses.sum(axis=0), _transposed_times(X, slopes)


def linear_gradient_of_folds(X, y, weights, held, origin, W, positive, each, problems, loss, epsilon):
    """Return the same for the rows that each of several folds does not leave out."""
    found = [
        linear_gradient(
            X, y, weights, held, origin, W, positive, np.full(problems, fold), None, problems, loss, epsilon
        )
        for fold in each
    ]
    return tuple(np.array(part) for part in zip(*found, strict=True))


def linear_hessian(X, y, weights, held, origin, W, positive, folds, factors, problems, loss, epsilon):
    """Return loss, gradient, and the Hessian of each column: X^T diag(l'') X."""
    X, losses, slopes, curvatures = _evaluated(
        X, y, weights, held, origin, W, positive, folds, factors, problems, loss, epsilon
    )
    return losses.sum(axis=0), _transposed_times(X, slopes), _squares(X, curvatures)


def multinomial_hessian(X, y, weights, held, origin, W, folds, factors):
    """Return loss, gradient, and the Hessian: at classes k and l X^T diag(p_k ([k=l] - p_l)) X."""
    X, losses, slopes, _ = _evaluated(
        X, y, weights, held, origin, W, None, folds, factors, 1, "multinomial", 0.0
    )
    K, P = len(W), softmax(_margins(X, W), axis=1)
    pairs = np.array([P * ((k == np.arange(K)) - P[:, k : k + 1]) for k in range(K)])  # (k, row, l)
    pairs *= _weights(len(y), y, weights, held, folds, factors, 1, 1)
    return losses.sum(axis=0), _transposed_times(X, slopes), np.array([_squares(X, D) for D in pairs])


def linear_diagonal(X, y, weights, held, origin, W, positive, folds, factors, problems, loss, epsilon):
    """Return the diagonal of the Hessian: sum of l'' x_j^2."""
    X, _, _, D = _evaluated(X, y, weights, held, origin, W, positive, folds, factors, problems, loss, epsilon)
    return _transposed_times(X**2, D)


def linear_margins(X, origin, W, n_threads=1):
    """Return (X - origin) W^T and the intercepts."""
    return _margins(X.to_scipy() if isinstance(X, CSR) else _shifted(X, origin), W)
