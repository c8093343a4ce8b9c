"""Rows and the centers nearest to them."""

import numpy as np
from scipy import sparse

from hpcml.kernels.csr import CSR

#: Rows that `center_distances` takes at a time: their differences from all centers are held at once.
ROWS_OF_DIFFERENCES = 256


def nearest_center(X, centers, origin, n_threads=1):
    """Return the number of the nearest center of every row, and for how many rows the score overflows."""
    X = X.to_scipy() if isinstance(X, CSR) else X
    with np.errstate(invalid="ignore", over="ignore"):
        scores = _scores(_less(X, origin), centers)
    largest = scores.max(axis=1)
    overflown = np.count_nonzero(~np.isfinite(largest))
    return scores.argmax(axis=1).astype(np.int32), np.array([overflown], dtype=np.int64)


def assign_rows(X, weights, labels, centers, origin):
    """Label the rows; return how many labels have changed, the inertia, and how many rows each center has."""
    x = _less(X, origin)
    changed = _relabel(labels, _scores(x, centers).argmax(axis=1))
    return changed, _inertia(x, weights, labels, centers), np.bincount(labels, minlength=len(centers))


def lloyd_step(X, weights, labels, centers, origin, with_inertia):
    """Label the rows; return the sums and weights of the rows of every center, changes, and the inertia."""
    x = _less(X, origin)
    changed = _relabel(labels, _scores(x, centers).argmax(axis=1))
    inertia = _inertia(x, weights, labels, centers) if with_inertia else 0.0
    return *_sums(x, weights, labels, len(centers)), changed, inertia


def lloyd_steps(X, weights, labels, columns, first, centers, origin):
    """As `lloyd_step` for every set of centers; its labels are a column."""
    sums, counts, changed = [], [], []
    for column, start, stop in zip(columns, first[:-1], first[1:], strict=True):
        own = labels[:, column].copy()
        found = lloyd_step(X, weights, own, centers[start:stop], origin, with_inertia=0)
        labels[:, column] = own
        for parts, part in zip((sums, counts, changed), found[:3], strict=True):
            parts.append(part)
    return np.concatenate(sums), np.concatenate(counts), np.array(changed)


def bounded_step(
    X, weights, labels, upper, lower, centers, origin, moved, others_moved, apart, first, with_inertia
):
    """As `lloyd_step`, for the rows whose bounds do not tell that their label still holds."""
    x = _less(X, origin)
    labels_before = labels.copy()
    eps = np.finfo(centers.dtype).eps
    rounding = (centers.shape[1] + 8) * eps  # of a sum of d products, relative to the sum of their sizes
    norm = np.linalg.norm(centers.astype(np.float64), axis=1).max()
    if first:
        open_rows = np.ones(len(labels), dtype=bool)
    else:
        u = (upper + moved[labels]) * (1 + rounding)
        low = np.maximum(lower - others_moved[labels], apart[labels]) * (1 - rounding)
        open_rows = ~_holds(u, low, norm, rounding)
        u[open_rows] = np.sqrt(_squared(x[open_rows], labels[open_rows], centers)) * (1 + rounding)
        open_rows = ~_holds(u, low, norm, rounding)
        upper[:] = u * (1 + eps)
        lower[:] = np.maximum(lower - others_moved[labels], 0.0) * (1 - 2 * eps)
    some = x[open_rows]
    scores = _scores(some, centers)
    best = scores.argmax(axis=1)
    rows = np.arange(len(best))
    scores[rows, best] = -np.inf
    second = scores.max(axis=1).astype(np.float64)
    labels[open_rows] = best
    u = np.sqrt(_squared(some, best, centers))
    upper[open_rows] = u * (1 + rounding)
    # |x - c|^2 = |x|^2 - 2 (x c - |c|^2 / 2)
    size = _squared(some, best, np.zeros_like(centers))
    error = 2 * rounding * (size + 2 * np.sqrt(size) * norm + norm**2)
    lower[open_rows] = np.sqrt(np.maximum(size - 2 * second - error, 0.0)) * (1 - 2 * eps)
    changed = np.count_nonzero(labels != labels_before)
    inertia = _inertia(x, weights, labels, centers) if with_inertia else 0.0
    return *_sums(x, weights, labels, len(centers)), changed, inertia, open_rows.sum()


def center_distances(X, centers, n_threads=1):
    """Return the distances of every row to all centers."""
    rows = X.to_scipy().toarray() if isinstance(X, CSR) else X
    distances = np.empty((len(rows), len(centers)), dtype=centers.dtype)
    for start in range(0, len(rows), ROWS_OF_DIFFERENCES):
        some = slice(start, start + ROWS_OF_DIFFERENCES)
        distances[some] = np.sqrt(((rows[some, np.newaxis] - centers) ** 2).sum(axis=2))
    return distances


def label_distances(X, labels, centers, origin, n_threads=1):
    """Return the squared distance of every row to the center of its label."""
    X = X.to_scipy() if isinstance(X, CSR) else X
    return _squared(_less(X, origin), labels, centers)


def try_seeds(X, weights, shares, seeds):
    """Return the sum of the shares with each of some seeds."""
    distances = np.stack([_weighted(_squared_to(X, seed), weights) for seed in seeds])
    return np.minimum(distances.astype(shares.dtype), shares).sum(axis=1, dtype=np.float64)


def add_seed(X, weights, shares, seed):
    """Bring the shares up to date; return their sum."""
    distances = _weighted(_squared_to(X, seed[0]), weights).astype(shares.dtype)
    np.minimum(shares, distances, out=shares)
    return shares.sum(dtype=np.float64)


# -- the arithmetic ----------------------------------------------------------------------------------------


def _less(X, origin):
    return X if origin is None else X - origin


def _scores(x, centers):
    """Return x c - |c|^2 / 2, whose order is that of the distances, reversed."""
    half = (np.einsum("kd,kd->k", centers, centers, dtype=np.float64) / 2).astype(centers.dtype)
    return x @ centers.T - half


def _relabel(labels, found):
    changed = np.count_nonzero(labels != found)
    labels[:] = found
    return changed


def _squared(x, labels, centers):
    """Return |x - c|^2 to the center of the label, in double precision."""
    x = x.toarray() if sparse.issparse(x) else x
    difference = x.astype(np.float64) - centers[labels]
    return np.einsum("nd,nd->n", difference, difference)


def _squared_to(X, seed):
    return _squared(X, np.zeros(X.shape[0], dtype=np.int32), seed[np.newaxis])


def _weighted(values, weights):
    return values if weights is None else weights * values


def _inertia(x, weights, labels, centers):
    return _weighted(_squared(x, labels, centers), weights).sum()


def _sums(x, weights, labels, k):
    """Return the sum of the rows of every label, and their weight."""
    n = len(labels)
    w = np.ones(n) if weights is None else weights
    of_label = sparse.csr_array((w, (labels, np.arange(n))), shape=(k, n))
    sums = of_label @ x.astype(np.float64)
    return sums.toarray() if sparse.issparse(sums) else sums, of_label.sum(axis=1)


def _holds(u, low, norm, rounding):
    """Return whether no other center's score can be the largest, however the scores are rounded.

    The difference of two scores is (low^2 - u^2) / 2 or more, and the rounding of each is at most `rounding`
    times |x| |c| + |c|^2 / 2, where |x| <= |c| + u.
    """
    return low**2 - u**2 > 4 * rounding * norm * (1.5 * norm + u)
