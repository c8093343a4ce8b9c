"""K-means from several starts: the run of least inertia is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpcml.communicators import Communicator, Table
from hpcml.training.hamerly import BoundedSteps
from hpcml.training.lloyd import LloydSteps, Run, iterate

__all__ = ["Best", "assign", "best_of", "least_inertia", "origin_of"]


@dataclass
class Best:
    """The run that is kept.

    Parameters
    ----------
    centers : ndarray of shape (n_clusters, n_features)
    labels : str
        Name of the row array of labels, which are those of the centers.
    inertia : float
    n_iter : int
    n_distinct : int
        Clusters that have rows.
    """

    centers: NDArray[Any]
    labels: str
    inertia: float
    n_iter: int
    n_distinct: int


def origin_of(centers: NDArray[Any], sparse: bool) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Return centers less their mean, and the mean, so that products of rows and centers keep their digits.

    Parameters
    ----------
    centers : ndarray of shape (n_clusters, n_features)
    sparse : bool
        Whether the rows are sparse: nothing is subtracted from these.
    """
    if sparse:
        return centers, None
    origin = centers.mean(axis=0, dtype=np.float64).astype(centers.dtype)
    return centers - origin, origin


def assign(
    table: Table, centers: NDArray[Any], labels: str, sparse: bool
) -> tuple[float, NDArray[np.float64]]:
    """Label every row with its nearest center, as prediction does.

    Parameters
    ----------
    table : Table
    centers : ndarray of shape (n_clusters, n_features)
    labels : str
        Name of the row array of labels, which must exist.
    sparse : bool
        Whether the rows are sparse.

    Returns
    -------
    inertia : float
    members : ndarray of shape (n_clusters,)
        How many rows each center has.
    """
    relative, origin = origin_of(centers, sparse)
    found = table.map_reduce("assign_rows", labels=labels, centers=relative, origin=origin)
    return float(found["inertia"][0]), found["members"]


def best_of(
    table: Table,
    communicator: Communicator,
    start: Callable[[], NDArray[Any]],
    origin: NDArray[Any] | None,
    *,
    n_runs: int,
    weighted: bool,
    max_iter: int,
    tol: float,
    bounded: bool,
    verbose: bool,
) -> Best:
    """Run k-means `n_runs` times; the run of `least_inertia` is kept.

    Parameters
    ----------
    table : Table
        With the row array ``weights`` if `weighted`.
    communicator : Communicator
    start : callable
        Returns the first centers of a run.
    origin : ndarray of shape (n_features,) or None
        What is subtracted from rows and centers while the runs last.
    n_runs : int
    weighted : bool
    max_iter : int
    tol : float
        As for `hpcml.training.lloyd.iterate`.
    bounded : bool
        Whether bounds spare comparisons, with the same results.
    verbose : bool

    Returns
    -------
    Best
    """

    def run(labels: str) -> Run:
        centers = start()
        if verbose and communicator.rank == 0:
            print("Initialization complete")
        relative = centers if origin is None else centers - origin
        steps = (BoundedSteps if bounded else LloydSteps)(origin, labels)
        return iterate(
            table,
            communicator,
            steps,
            relative,
            origin,
            labels,
            weighted=weighted,
            max_iter=max_iter,
            tol=tol,
            verbose=verbose,
        )

    return least_inertia(table, [run] * n_runs, origin)


def least_inertia(table: Table, runs: Iterable[Callable[[str], Run]], origin: NDArray[Any] | None) -> Best:
    """Label the rows by the centers of several runs; return the run that is kept.

    A later run replaces a former one if its inertia is less and its clusters are other ones.

    Parameters
    ----------
    table : Table
    runs : iterable of callable
        Each returns a run, whose centers are relative to `origin`, and leaves a row array of labels of the
        name that it is given.
    origin : ndarray of shape (n_features,) or None
        None for sparse rows.
    """
    best: Best | None = None
    for run in runs:
        labels = "other_labels" if best is not None and best.labels == "labels" else "labels"
        found = run(labels)
        centers = found.centers if origin is None else found.centers + origin
        inertia, members = assign(table, centers, labels, origin is None)
        if best is None or (
            inertia < best.inertia and not _same_clusters(table, labels, best.labels, len(centers))
        ):
            best = Best(centers, labels, inertia, found.n_iter, int(np.count_nonzero(members)))
    assert best is not None
    return best


def _same_clusters(table: Table, labels: str, others: str, n_clusters: int) -> bool:
    """Return whether rows of one label all have one label among the others."""
    found = table.map_reduce(_add_labels, labels=labels, other_labels=others, n_clusters=n_clusters)
    # m numbers are equal where m (sum of squares) = (sum)^2: whole numbers, without rounding
    totals = zip(found["rows"], found["sums"], found["squares"], strict=True)
    return all(int(rows) * int(squares) == int(sums) ** 2 for rows, sums, squares in totals)


def _add_labels(
    labels: NDArray[np.int32], other_labels: NDArray[np.int32], n_clusters: int
) -> dict[str, NDArray[Any]]:
    others = other_labels.astype(np.float64)
    return {
        "rows": np.bincount(labels, minlength=n_clusters),
        "sums": np.bincount(labels, others, n_clusters),
        "squares": np.bincount(labels, others**2, n_clusters),
    }
