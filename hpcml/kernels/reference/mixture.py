"""Mixtures of normal densities: a step of EM, moments under given responsibilities, and what rows get."""

from itertools import pairwise

import numpy as np

#: No log-density is lower, so that a row that no component explains has responsibilities all the same.
LOWEST = -1e30
#: Responsibilities below e^-100 of the largest count as 0. EM keeps every count above 10 eps = 2^-49, against
#: which n of them come to n 2^-95: nothing.
LOG_NOTHING = -100.0


def _log_joint(X, center, means, factors, log_weights):
    """Return log w_k N(x | k), (k, n)."""
    x = X - center
    log_p = np.empty((len(means), len(X)), dtype=X.dtype)
    for k, (m, P) in enumerate(zip(means, factors, strict=True)):
        y = (x - m) * P if P.ndim == 1 else (x - m) @ P
        log_p[k] = log_weights[k] - np.sum(y * y, axis=1) / 2
    return np.maximum(log_p, X.dtype.type(LOWEST))


def _normalised(log_p):
    """Return the log-density of each row, and r."""
    top = log_p.max(axis=0)
    below = log_p - top
    r = np.where(below < LOG_NOTHING, 0, np.exp(np.maximum(below, LOG_NOTHING)))
    total = r.sum(axis=0)
    return top + np.log(total), r / total


def _moments(X, r, center, shifts, diagonal):
    """Return sum of r, of r z, of r z z^T above its diagonal (or the diagonal), z = x - c - s."""
    x = X - center
    k, d = shifts.shape
    counts, sums = np.empty(k), np.empty((k, d))
    squares = np.empty((k, d) if diagonal else (k, d, d))
    for j in range(k):
        z = (x - shifts[j]).astype(np.float64)
        w = r[j].astype(np.float64)
        counts[j], sums[j] = w.sum(), w @ z
        squares[j] = w @ z**2 if diagonal else np.triu((z.T * w) @ z)
    return counts, sums, squares


def _step(X, center, means, factors, log_weights, shifts):
    log_densities, r = _normalised(_log_joint(X, center, means, factors, log_weights))
    moments = _moments(X, r, center, shifts, diagonal=factors.ndim == 2)
    return log_densities.sum(dtype=np.float64), *moments


def gaussian_step(X, center, means, factors, log_weights, shifts):
    """Return the log-likelihood and the moments under the responsibilities of a mixture."""
    return _step(X, center, means, factors, log_weights, shifts)


def gaussian_step_diagonal(X, center, means, factors, log_weights, shifts):
    """Return the same for diagonal factors."""
    return _step(X, center, means, factors, log_weights, shifts)


def gaussian_steps(X, first, center, means, factors, log_weights):
    """Return log-likelihoods and moments of several mixtures, whose components lie one after the other."""
    found = []
    for start, stop in pairwise(first):
        own = slice(start, stop)
        found.append(_step(X, center, means[own], factors[own], log_weights[own], means[own]))
    likelihoods, *moments = zip(*found, strict=True)
    return np.array(likelihoods), *(np.concatenate(part) for part in moments)


def gaussian_steps_diagonal(X, first, center, means, factors, log_weights):
    """Return the same for diagonal factors."""
    return gaussian_steps(X, first, center, means, factors, log_weights)


def _given(X, responsibilities, labels, shifts):
    if responsibilities is not None:
        return responsibilities.T
    return (labels == np.arange(len(shifts), dtype=np.int32)[:, np.newaxis]).astype(X.dtype)


def gaussian_moments(X, responsibilities, labels, center, shifts):
    """Return the moments under given responsibilities, or with r = 1 at the label."""
    return _moments(X, _given(X, responsibilities, labels, shifts), center, shifts, diagonal=False)


def gaussian_moments_diagonal(X, responsibilities, labels, center, shifts):
    """Return the same with the diagonal of the second moments."""
    return _moments(X, _given(X, responsibilities, labels, shifts), center, shifts, diagonal=True)


def gaussian_rows(X, center, means, factors, log_weights, with_responsibilities, n_threads=1):
    """Return log-densities, labels and, where asked for, responsibilities of rows."""
    log_p = _log_joint(X, center, means, factors, log_weights)
    log_densities, r = _normalised(log_p)
    responsibilities = np.ascontiguousarray(r.T if with_responsibilities else r.T[:, :0])
    return log_densities, log_p.argmax(axis=0).astype(np.int32), responsibilities


def gaussian_rows_diagonal(X, center, means, factors, log_weights, with_responsibilities, n_threads=1):
    """Return the same for diagonal factors."""
    return gaussian_rows(X, center, means, factors, log_weights, with_responsibilities, n_threads)
