"""Lloyd's method with bounds: most rows are known to keep their center without a comparison with all.

Every row has an upper bound of the distance to its own center and one lower bound of the distance to any
other, which follow the moves of the centers. The bounds leave room for the rounding of the comparison, so
that the labels, and with them all results, have the bits of Lloyd's method.

References
----------
G. Hamerly: Making k-means even faster. SIAM International Conference on Data Mining, 2010. One lower bound a
row, where C. Elkan (Using the triangle inequality to accelerate k-means, ICML 2003) has one for every center.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpcml.communicators import Table

__all__ = ["BoundedSteps"]


class BoundedSteps:
    """Compares only the rows whose bounds do not tell that they stay.

    Parameters
    ----------
    origin : ndarray of shape (n_features,) or None
        What is subtracted from every row.
    labels : str
        Name of the row array of labels, which must exist. Row arrays ``upper`` and ``lower`` are made.
    """

    def __init__(self, origin: NDArray[Any] | None, labels: str) -> None:
        self.origin = origin
        self.labels = labels
        self._moves: NDArray[np.float64] | None = None

    def __call__(self, table: Table, centers: NDArray[Any], with_inertia: bool) -> dict[str, Any]:
        """Label the rows; return the statistic of the kernel ``bounded_step``."""
        first = self._moves is None
        if self._moves is None:
            table.fill("upper", 0.0, centers.dtype)
            table.fill("lower", 0.0, centers.dtype)
            self._moves = np.zeros(len(centers))
        return table.map_reduce(
            "bounded_step",
            labels=self.labels,
            centers=centers,
            origin=self.origin,
            moved=self._moves,
            others_moved=_largest_of_others(self._moves),
            apart=_half_distance_to_next(centers),
            first=int(first),
            with_inertia=int(with_inertia),
        )

    def moved(self, before: NDArray[Any], after: NDArray[Any]) -> None:
        """Learn where the centers go."""
        self._moves = np.linalg.norm(after.astype(np.float64) - before, axis=1)


def _largest_of_others(moves: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return, for every center, the largest move among the other ones."""
    order = np.argsort(moves)
    largest = np.full(len(moves), moves[order[-1]])
    largest[order[-1]] = moves[order[-2]]
    return largest


#: Centers whose distances to all others are computed at a time.
CENTERS_AT_ONCE = 64


def _half_distance_to_next(centers: NDArray[Any]) -> NDArray[np.float64]:
    """Return half of the distance of every center to the nearest other one, too small if anything."""
    c = centers.astype(np.float64)
    size = np.einsum("kd,kd->k", c, c)
    half = np.empty(len(c))
    # |a - b|^2 = |a|^2 - 2 a b + |b|^2, less what rounding may add
    rounding = 4 * (c.shape[1] + 4) * np.finfo(np.float64).eps * size.max()
    for start in range(0, len(c), CENTERS_AT_ONCE):
        some = slice(start, start + CENTERS_AT_ONCE)
        squared = size[some, np.newaxis] - 2 * (c[some] @ c.T) + size
        own = np.arange(start, min(start + CENTERS_AT_ONCE, len(c)))
        squared[own - start, own] = np.inf
        half[some] = np.sqrt(np.maximum(squared.min(axis=1) - rounding, 0.0)) / 2
    return half
