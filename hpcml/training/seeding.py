"""Starts of k-means: rows drawn at random, and k-means++.

Rows are drawn from a generator in the order in which scikit-learn draws them, so that equal seeds give equal
starts up to the rounding of running sums.

References
----------
D. Arthur, S. Vassilvitskii: k-means++: the advantages of careful seeding. SODA 2007. The greedy variant of
its experiments tries several rows for every seed and keeps the best.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Generator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpcml.communicators import Table
from hpcml.kernels.csr import CSR

__all__ = ["dense_rows", "draw_rows", "plus_plus", "random_rows", "seeds", "usual_trials"]


def dense_rows(table: Table, rows: NDArray[np.int64]) -> NDArray[Any]:
    """Return rows of X by their numbers in the whole table, as an ndarray."""
    found = table.take(rows)
    return found.to_scipy().toarray() if isinstance(found, CSR) else np.ascontiguousarray(found)


def draw_rows(table: Table, uniform: NDArray[np.float64], weighted: bool) -> NDArray[np.int64]:
    """Turn numbers between 0 and 1 into rows, each as likely as its weight says.

    Parameters
    ----------
    table : Table
        With the row array ``weights`` if `weighted`.
    uniform : ndarray of shape (m,)
    weighted : bool

    Returns
    -------
    ndarray of int64 of shape (m,)
    """
    if not weighted:
        return np.minimum((uniform * table.n_rows).astype(np.int64), table.n_rows - 1)
    return table.where_sum_reaches("weights", uniform * _weight(table)[0])


def random_rows(
    table: Table, n_clusters: int, rng: np.random.RandomState, weighted: bool
) -> NDArray[np.int64]:
    """Draw different rows, each as likely as its weight among those that are left.

    Parameters
    ----------
    table : Table
        With the row array ``weights`` if `weighted`.
    n_clusters : int
    rng : RandomState
    weighted : bool

    Returns
    -------
    ndarray of int64 of shape (n_clusters,)

    Raises
    ------
    ValueError
        If fewer rows have a positive weight.
    """
    total, positive = _weight(table) if weighted else (float(table.n_rows), table.n_rows)
    if positive < n_clusters:
        raise ValueError(
            f"sample_weight must be positive for at least n_clusters={n_clusters} rows to start from. "
            f"Got {positive} instead."
        )
    rows = np.empty(0, dtype=np.int64)
    weights = np.empty(0)
    while len(rows) < n_clusters:
        uniform = rng.random_sample(n_clusters - len(rows))
        targets = uniform * (total - weights.sum())
        new = _where_the_rest_reaches(table, targets, rows, weights, weighted)
        _, first = np.unique(new, return_index=True)
        rows = np.concatenate([rows, new[np.sort(first)]])
        weights = _weights_of(table, rows, weighted)
    return rows


def _where_the_rest_reaches(
    table: Table,
    targets: NDArray[np.float64],
    gone: NDArray[np.int64],
    gone_weights: NDArray[np.float64],
    weighted: bool,
) -> NDArray[np.int64]:
    """Return the first rows at which the running sum of weights without those of `gone` exceeds targets."""
    order = np.argsort(gone)
    gone, passed = gone[order], np.concatenate([[0.0], np.cumsum(gone_weights[order])])
    before = np.zeros(len(targets), dtype=np.int64)  # rows of `gone` up to the one found
    while True:
        reached = targets + passed[before]
        if weighted:
            found = table.where_sum_reaches("weights", reached)
        else:
            found = np.minimum(reached.astype(np.int64), table.n_rows - 1)
        now = np.searchsorted(gone, found, side="right")
        if (now == before).all():
            return found
        before = now


def plus_plus(
    table: Table,
    n_clusters: int,
    rng: np.random.RandomState,
    weighted: bool,
    n_trials: int | None = None,
) -> NDArray[np.int64]:
    """Draw rows that lie far from each other: each with probability as its squared distance to the last ones.

    Parameters
    ----------
    table : Table
        With the row array ``weights`` if `weighted`. A row array ``shares`` is made and dropped.
    n_clusters : int
    rng : RandomState
    weighted : bool
    n_trials : int, optional
        Rows that are drawn for every seed, of which the one that leaves the least squared distances is kept;
        by default ``2 + int(log(n_clusters))``.

    Returns
    -------
    ndarray of int64 of shape (n_clusters,)
    """
    n_trials = usual_trials(n_clusters) if n_trials is None else n_trials
    with contextlib.closing(seeds(table, rng, weighted, n_trials)) as drawn:
        return np.array([next(drawn) for _ in range(n_clusters)], dtype=np.int64)


def usual_trials(n_clusters: int) -> int:
    """Return how many rows k-means++ tries for every seed."""
    return 2 + int(math.log(n_clusters))


def seeds(
    table: Table, rng: np.random.RandomState, weighted: bool, n_trials: int
) -> Generator[int, None, None]:
    """Yield the rows of k-means++ without end: those of few clusters begin those of many.

    Parameters
    ----------
    table : Table
        As for `plus_plus`.
    rng : RandomState
        When a row is yielded, it is in the state in which `plus_plus` leaves it after this row.
    weighted : bool
    n_trials : int
    """
    row = int(draw_rows(table, np.array([rng.random_sample()]), weighted)[0])
    seed = dense_rows(table, np.array([row]))
    table.fill("shares", math.inf, seed.dtype)
    try:
        while True:
            yield row
            potential = table.map_reduce("add_seed", seed=seed)["potential"][0]
            targets = rng.uniform(size=n_trials) * potential
            if potential > 0:
                tried = table.where_sum_reaches("shares", targets)
            else:  # every row equals a seed
                tried = np.zeros(n_trials, dtype=np.int64)
            found = dense_rows(table, tried)
            best = int(np.argmin(table.map_reduce("try_seeds", seeds=found)["potentials"]))
            row, seed = int(tried[best]), found[best : best + 1]
    finally:
        table.drop("shares")


def _weight(table: Table) -> tuple[float, int]:
    """Return the weight of all rows, and how many have one."""
    found = table.map_reduce(_add_weights)
    return float(found["total"]), int(found["positive"])


def _add_weights(weights: NDArray[np.float64]) -> dict[str, Any]:
    return {"total": weights.sum(), "positive": np.count_nonzero(weights)}


def _weights_of(table: Table, rows: NDArray[np.int64], weighted: bool) -> NDArray[np.float64]:
    return np.asarray(table.take(rows, "weights"), dtype=np.float64) if weighted else np.ones(len(rows))
