"""Clusters that no row belongs to start anew at the rows that lie farthest from their centers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpcml.communicators import Communicator, Table
from hpcml.training.seeding import dense_rows

__all__ = ["farthest_rows", "relocate"]


def relocate(
    table: Table,
    communicator: Communicator,
    sums: NDArray[np.float64],
    counts: NDArray[np.float64],
    centers: NDArray[Any],
    origin: NDArray[Any] | None,
    labels: str,
    weighted: bool,
) -> None:
    """Give every empty cluster one row, taken from the sums and weights of the cluster that has it.

    Parameters
    ----------
    table : Table
    communicator : Communicator
    sums, counts : ndarray of shape (n_clusters, n_features) and (n_clusters,)
        Overwritten.
    centers, origin : ndarray
        As the kernels take them; the labels are those of these centers.
    labels : str
        Name of the row array of labels.
    weighted : bool
        Whether the table has the row array ``weights``.
    """
    empty = np.flatnonzero(counts == 0)
    table.map_rows("label_distances", labels=labels, centers=centers, origin=origin)
    far, distances = farthest_rows(table, communicator, "distances", len(empty))
    table.drop("distances")
    if distances.max(initial=0.0) == 0:  # fewer different rows than clusters
        return
    rows = dense_rows(table, far)
    x = (rows if origin is None else rows - origin).astype(np.float64)
    old = table.take(far, labels)
    w = table.take(far, "weights") if weighted else np.ones(len(far))
    for i, new in enumerate(empty[: len(far)]):
        sums[old[i]] -= w[i] * x[i]
        counts[old[i]] -= w[i]
        sums[new] = w[i] * x[i]
        counts[new] = w[i]


def farthest_rows(
    table: Table, communicator: Communicator, name: str, m: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the rows where a row array of numbers is largest, largest first, ties by row; and the numbers.

    Parameters
    ----------
    table : Table
    communicator : Communicator
    name : str
    m : int
        How many; fewer come back if the table has fewer.
    """
    values = table.rows(name)
    m_local = min(m, len(values))
    some = np.empty(0, dtype=np.int64)
    if m_local:
        least = np.partition(values, len(values) - m_local)[len(values) - m_local]
        above = np.flatnonzero(values > least)
        some = np.concatenate([above, np.flatnonzero(values == least)[: m_local - len(above)]])
    found = communicator.gather((some + table.first_row, np.asarray(values[some])))
    rows = np.concatenate([rows for rows, _ in found])
    numbers = np.concatenate([numbers for _, numbers in found])
    order = np.lexsort((rows, -numbers))[:m]
    return rows[order], numbers[order]
