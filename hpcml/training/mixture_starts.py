"""Where EM starts: responsibilities of every row, or the rows that the components are put on.

Random numbers are drawn in the order in which scikit-learn draws them, so that equal seeds give equal starts
up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hpcml.communicators import Communicator
from hpcml.training.kmeans import best_of
from hpcml.training.mixture import EM, Mixture
from hpcml.training.mixture_moments import COUNT_FLOOR
from hpcml.training.seeding import dense_rows, plus_plus

__all__ = [
    "KMEANS_STEPS",
    "STARTS",
    "Given",
    "from_given",
    "from_moments",
    "kmeans_tolerance",
    "on_rows",
    "start",
]

Floats = NDArray[np.float64]
Moments = tuple[Floats, Floats, Floats]

#: k-means as its estimator does it by default: most steps, and the tolerance as a share of the mean variance.
KMEANS_STEPS = 300
KMEANS_TOLERANCE = 1e-4
#: Random numbers of other ranks' rows are drawn, and thrown away, so many at a time.
DRAWS_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Given:
    """Parameters of the start that the user gave; None for those to be estimated.

    Parameters
    ----------
    weights : ndarray of shape (k,), optional
    means : ndarray of shape (k, d), optional
    precisions : ndarray, optional
        In the shape of the covariances.
    """

    weights: Floats | None = None
    means: Floats | None = None
    precisions: Floats | None = None


def start(em: EM, comm: Communicator, how: str, k: int, given: Given, rng: np.random.RandomState) -> Mixture:
    """Return a mixture to start from.

    Parameters
    ----------
    em : EM
    comm : Communicator
    how : str
        A key of `STARTS`.
    k : int
        Number of components.
    given : Given
        If it is complete, nothing is drawn.
    rng : RandomState
        In the same state on every rank.
    """
    complete = from_given(em, given)
    return from_moments(em, STARTS[how](em, comm, k, rng), given) if complete is None else complete


def from_given(em: EM, given: Given) -> Mixture | None:
    """Return the mixture that the user gave, None if it is not complete."""
    if given.weights is None or given.means is None or given.precisions is None:
        return None
    return _with_precisions(em, given.weights, given.means, given.precisions)


def from_moments(em: EM, moments: Moments, given: Given) -> Mixture:
    """Return the mixture with given parameters where there are some, else those of the moments.

    Parameters
    ----------
    em : EM
    moments : tuple of ndarray
        Counts, means and covariances.
    given : Given
    """
    counts, means, covariances = moments
    weights = counts / em.table.n_rows if given.weights is None else given.weights
    means = means if given.means is None else given.means
    if given.precisions is None:
        return em.mixture(weights, means, covariances)
    return _with_precisions(em, weights, means, given.precisions)


def _with_precisions(em: EM, weights: Floats, means: Floats, precisions: Floats) -> Mixture:
    factors = em.kind.factors_of_precisions(precisions)
    return Mixture(weights, means, em.kind.covariances(factors), factors)


def _of_kmeans(em: EM, comm: Communicator, k: int, rng: np.random.RandomState) -> Moments:
    """Responsibility 1 for the cluster of k-means that a row belongs to."""
    best = best_of(
        em.table,
        comm,
        lambda: dense_rows(em.table, plus_plus(em.table, k, rng, weighted=False)),
        em.center,
        n_runs=1,
        weighted=False,
        max_iter=KMEANS_STEPS,
        tol=kmeans_tolerance(em),
        bounded=False,
        verbose=False,
    )
    found = em.moments(k=k)
    em.table.drop(best.labels)
    return found


def kmeans_tolerance(em: EM) -> float:
    """Return the tolerance of the k-means that EM starts from, as `hpcml.training.lloyd.iterate` takes it."""
    return KMEANS_TOLERANCE * em.variance


def _of_random(em: EM, comm: Communicator, k: int, rng: np.random.RandomState) -> Moments:
    """Responsibilities drawn at random."""
    table = em.table
    _throw_away(rng, table.first_row * k)
    r = rng.uniform(size=(table.n_local, k)).astype(em.center.dtype)
    _throw_away(rng, (table.n_rows - table.first_row - table.n_local) * k)
    r /= r.sum(axis=1)[:, np.newaxis]
    table.set(responsibilities=r)
    del r
    found = em.moments(k=k)
    table.drop("responsibilities")
    return found


def _throw_away(rng: np.random.RandomState, count: int) -> None:
    while count > 0:
        rng.uniform(size=min(count, DRAWS_AT_ONCE))
        count -= DRAWS_AT_ONCE


def _of_random_rows(em: EM, comm: Communicator, k: int, rng: np.random.RandomState) -> Moments:
    """Components on different rows drawn at random."""
    return on_rows(em, rng.choice(em.table.n_rows, size=k, replace=False))


def _of_plus_plus(em: EM, comm: Communicator, k: int, rng: np.random.RandomState) -> Moments:
    """Components on rows that k-means++ draws."""
    return on_rows(em, plus_plus(em.table, k, rng, weighted=False))


def on_rows(em: EM, rows: NDArray[np.int64]) -> Moments:
    """Return moments where every component has responsibility 1 for one row, and other rows have none."""
    found = dense_rows(em.table, rows).astype(np.float64)
    k, d = found.shape
    counts = np.full(k, 1.0 + COUNT_FLOOR)
    means = found / counts[:, np.newaxis]
    if em.covariance_type == "tied":  # the covariance of all rows, for the count of those k
        covariances = (_products(em) - (counts[:, np.newaxis] * means).T @ means) / counts.sum()
    else:
        covariances = np.zeros(em.kind.shape(k, d))
    return counts, means, em.kind.plus(covariances, em.reg_covar)


def _products(em: EM) -> Floats:
    """Return X^T X."""
    table, c = em.table, em.center.astype(np.float64)
    table.fill("labels", 0, np.int32)
    shifts = np.zeros((1, len(c)), dtype=em.center.dtype)
    found = table.map_reduce("gaussian_moments", responsibilities=None, center=em.center, shifts=shifts)
    table.drop("labels")
    s, Q = found["sums"][0], found["squares"][0]
    Q = Q + np.triu(Q, 1).T
    return Q + np.outer(c, s) + np.outer(s, c) + table.n_rows * np.outer(c, c)


#: Kinds of starts, by the names of ``init_params``: counts, means and covariances.
STARTS: dict[str, Callable[[EM, Communicator, int, np.random.RandomState], Moments]] = {
    "kmeans": _of_kmeans,
    "k-means++": _of_plus_plus,
    "random": _of_random,
    "random_from_data": _of_random_rows,
}
