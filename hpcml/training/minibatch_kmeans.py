"""Mini-batch k-means: centers are running means of the rows that random batches bring to them.

References
----------
D. Sculley: Web-scale k-means clustering. World Wide Web Conference, 2010. Centers that hardly any row belongs
to start anew at random rows, as in scikit-learn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpcml.communicators import Communicator, Table
from hpcml.communicators.serial import SerialTable
from hpcml.training.kmeans import assign, origin_of
from hpcml.training.seeding import dense_rows, draw_rows

__all__ = ["BatchModel", "Stop", "minibatch_kmeans", "sample"]

#: Rows of a cluster, as multiples of the number of clusters, between two looks at centers of little weight.
ROWS_BETWEEN_REASSIGNMENTS = 10


def sample(table: Table, rows: NDArray[np.int64], weighted: bool) -> SerialTable:
    """Return rows as a table of their own, which every rank holds and computes alone.

    Parameters
    ----------
    table : Table
    rows : ndarray of int64
        Their numbers in the whole table; a row may come more than once.
    weighted : bool
        Whether the table has the row array ``weights``, which then goes with them.
    """
    return SerialTable({"X": table.take(rows), "weights": table.take(rows, "weights") if weighted else None})


@dataclass
class BatchModel:
    """Centers between two batches.

    Parameters
    ----------
    centers : ndarray of shape (n_clusters, n_features)
    counts : ndarray of float64 of shape (n_clusters,)
        Weight of the rows that each is the mean of.
    rows_since : int
        Rows that have come since the last look at centers of little weight.
    """

    centers: NDArray[Any]
    counts: NDArray[np.float64]
    rows_since: int = 0

    def step(
        self,
        batch: Table,
        rng: np.random.RandomState,
        *,
        rows: int,
        ratio: float,
        sparse: bool,
        verbose: bool,
    ) -> float:
        """Move the centers by one batch; return its inertia before.

        Parameters
        ----------
        batch : Table
        rng : RandomState
        rows : int
            Rows that the batch counts for.
        ratio : float
            Centers with less than this share of the largest weight start anew.
        sparse : bool
            Whether the rows are sparse.
        verbose : bool
        """
        reassign = self._time_to_reassign(rows) and ratio > 0
        relative, origin = origin_of(self.centers, sparse)
        batch.fill("labels", -1, np.int32)
        found = batch.map_reduce("lloyd_step", centers=relative, origin=origin, with_inertia=1)
        sums, w = found["sums"], found["counts"]
        self.counts = self.counts + w
        # the mean of all rows so far: c + (sum of w (x - c)) / (weight so far)
        there = w > 0
        more = sums - w[:, np.newaxis] * relative
        c = relative.astype(np.float64)
        c[there] += more[there] / self.counts[there, np.newaxis]
        centers = (c if origin is None else c + origin).astype(self.centers.dtype)
        self.centers = np.where(there[:, np.newaxis], centers, self.centers)
        if reassign:
            self._reassign(batch, rng, ratio, verbose)
        return float(found["inertia"][0])

    def _time_to_reassign(self, rows: int) -> bool:
        self.rows_since += rows
        due = self.rows_since >= ROWS_BETWEEN_REASSIGNMENTS * len(self.counts)
        if due or (self.counts == 0).any():
            self.rows_since = 0
            return True
        return False

    def _reassign(self, batch: Table, rng: np.random.RandomState, ratio: float, verbose: bool) -> None:
        light = self.counts < ratio * self.counts.max()
        most = int(0.5 * batch.n_rows)  # at most half of the batch become centers
        if light.sum() > most:
            light[np.argsort(self.counts)[most:]] = False
        if not light.any():
            return
        rows = rng.choice(batch.n_rows, replace=False, size=light.sum())
        if verbose:
            print(f"[MiniBatchKMeans] Reassigning {light.sum()} cluster centers.")
        self.centers[light] = dense_rows(batch, rows)
        # not so little that they would start anew at once
        self.counts[light] = self.counts[~light].min()


class Stop:
    """Says when the centers are good enough.

    Parameters
    ----------
    n_rows, batch_size, n_steps : int
    tol : float
        Ends when the squared moves of the centers in a step sum up to no more; 0 does not look.
    max_no_improvement : int or None
        Ends after so many steps in turn without a new minimum of the smoothed inertia.
    verbose : bool
    """

    def __init__(
        self,
        n_rows: int,
        batch_size: int,
        n_steps: int,
        tol: float,
        max_no_improvement: int | None,
        verbose: bool,
    ) -> None:
        self.batch_size = batch_size
        self.n_steps = n_steps
        self.tol = tol
        self.max_no_improvement = max_no_improvement
        self.verbose = verbose
        self.alpha = min(batch_size * 2.0 / (n_rows + 1), 1.0)
        self.smoothed: float | None = None
        self._least = np.inf
        self._without_improvement = 0

    def __call__(self, step: int, inertia: float, moves: float) -> bool:
        """Look at one step, counted from 1: its inertia and the squared moves of the centers."""
        inertia /= self.batch_size
        if step == 1:  # of the start
            self._say(f"Minibatch step {step}/{self.n_steps}: mean batch inertia: {inertia}")
            return False
        before = inertia if self.smoothed is None else self.smoothed
        self.smoothed = (
            before * (1 - self.alpha) + inertia * self.alpha if self.smoothed is not None else inertia
        )
        self._say(
            f"Minibatch step {step}/{self.n_steps}: mean batch inertia: {inertia}, ewa inertia: "
            f"{self.smoothed}"
        )
        if self.tol > 0.0 and moves <= self.tol:
            self._say(f"Converged (small centers change) at step {step}/{self.n_steps}")
            return True
        if self.smoothed < self._least:
            self._least, self._without_improvement = self.smoothed, 0
        else:
            self._without_improvement += 1
        if self.max_no_improvement is not None and self._without_improvement >= self.max_no_improvement:
            self._say(f"Converged (lack of improvement in inertia) at step {step}/{self.n_steps}")
            return True
        return False

    def _say(self, text: str) -> None:
        if self.verbose:
            print(text)


def minibatch_kmeans(
    table: Table,
    communicator: Communicator,
    start: Callable[[], NDArray[Any]],
    rng: np.random.RandomState,
    *,
    n_starts: int,
    init_size: int,
    batch_size: int,
    max_iter: int,
    tol: float,
    max_no_improvement: int | None,
    ratio: float,
    weighted: bool,
    sparse: bool,
    verbose: bool,
) -> tuple[BatchModel, int, float | None]:
    """Choose the best of some starts, then move the centers by random batches until `Stop` says so.

    Parameters
    ----------
    table : Table
        With the row array ``weights`` if `weighted`.
    communicator : Communicator
    start : callable
        Returns first centers.
    rng : RandomState
    n_starts : int
        How many starts are compared, by their inertia on `init_size` random rows.
    init_size, batch_size : int
    max_iter : int
        Passes over as many rows as the table has.
    tol : float
    max_no_improvement : int or None
        As for `Stop`.
    ratio : float
        As for `BatchModel.step`.
    weighted, sparse, verbose : bool

    Returns
    -------
    model : BatchModel
    n_steps : int
        Batches that were taken.
    smoothed : float or None
        Exponentially smoothed mean inertia of a row of the batches, None if there was one batch.
    """
    verbose = verbose and communicator.rank == 0
    n = table.n_rows
    centers = _best_start(
        table,
        start,
        rng.randint(0, n, init_size),
        n_starts,
        weighted=weighted,
        sparse=sparse,
        verbose=verbose,
    )
    n_steps = max_iter * n // batch_size
    stop = Stop(n, batch_size, n_steps, tol, max_no_improvement, verbose)
    model = BatchModel(centers, np.zeros(len(centers)))
    for i in range(n_steps):
        rows = draw_rows(table, rng.random_sample(batch_size), weighted)
        before = model.centers
        # rows are drawn by their weights, and count alike in the batch
        with sample(table, rows, weighted=False) as batch:
            inertia = model.step(batch, rng, rows=batch_size, ratio=ratio, sparse=sparse, verbose=verbose)
        moves = float(np.square(model.centers.astype(np.float64) - before).sum()) if tol > 0 else 0.0
        if stop(i + 1, inertia, moves):
            break
    return model, i + 1, stop.smoothed


def _best_start(
    table: Table,
    start: Callable[[], NDArray[Any]],
    rows: NDArray[np.int64],
    n_starts: int,
    *,
    weighted: bool,
    sparse: bool,
    verbose: bool,
) -> NDArray[Any]:
    """Return the start of least inertia on some rows."""
    best, least = None, np.inf
    with sample(table, rows, weighted) as judges:
        for i in range(n_starts):
            centers = start()
            judges.fill("labels", -1, np.int32)
            inertia, _ = assign(judges, centers, "labels", sparse)
            if verbose:
                print(f"Inertia for init {i + 1}/{n_starts}: {inertia}")
            if best is None or inertia < least:
                best, least = centers, inertia
    assert best is not None
    return best
