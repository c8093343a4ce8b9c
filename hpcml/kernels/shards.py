"""Shards of rows, and the fixed binary tree in which their statistics are added up.

n rows make S = clamp(n // 1024, 1, 256) shards, whatever computes them. A node of the tree at height h covers
the shards from i 2^h to (i + 1) 2^h - 1, as far as they exist; its sum is that of its two halves. So a sum
has the same bits on any number of threads, processes or ranks.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpcml import blas
from hpcml.kernels.csr import CSR

__all__ = ["TreeSum", "bounds_of", "cut", "n_shards", "of_shard", "over_shards", "pick", "pieces_of"]

ROWS_OF_A_SHARD = 1024
MOST_SHARDS = 256


def n_shards(n_rows: int) -> int:
    """Return the number of shards of a table.

    Examples
    --------
    >>> from hpcml.kernels.shards import n_shards
    >>> n_shards(100), n_shards(50_000), n_shards(10_000_000)
    (1, 48, 256)
    """
    return min(max(n_rows // ROWS_OF_A_SHARD, 1), MOST_SHARDS)


def bounds_of(n_rows: int) -> NDArray[np.int64]:
    """Return the first row of every shard, then the number of rows.

    Examples
    --------
    >>> from hpcml.kernels.shards import bounds_of
    >>> bounds_of(2500).tolist()
    [0, 1250, 2500]
    """
    S = n_shards(n_rows)
    return np.arange(S + 1, dtype=np.int64) * n_rows // S


def pieces_of(first: int, stop: int, n_shards: int) -> NDArray[np.int64]:
    """Return the largest nodes of the tree that cover the shards from `first` to `stop`, in order.

    Parameters
    ----------
    first, stop : int
    n_shards : int
        Shards of the whole table.

    Returns
    -------
    ndarray of int64 of shape (pieces, 2)
        The first shard of each, and that after the last.

    Examples
    --------
    >>> from hpcml.kernels.shards import pieces_of
    >>> pieces_of(1, 6, 6).tolist(), pieces_of(0, 6, 6).tolist()
    ([[1, 2], [2, 4], [4, 6]], [[0, 6]])
    """
    pieces = []
    while first < stop:
        width = 1
        while width < n_shards and first % (2 * width) == 0 and min(first + 2 * width, n_shards) <= stop:
            width *= 2
        pieces.append((first, min(first + width, n_shards)))
        first = pieces[-1][1]
    return np.array(pieces, dtype=np.int64).reshape(-1, 2)


def cut(array: Any, start: int, stop: int) -> Any:
    """Return rows of an array or of sparse rows, as a view."""
    return array.rows(start, stop) if isinstance(array, CSR) else array[start:stop]


def pick(array: Any, numbers: NDArray[np.int64]) -> Any:
    """Return rows of an array or of sparse rows by their numbers, as a copy."""
    return CSR.of(array.to_scipy()[numbers]) if isinstance(array, CSR) else array[numbers]


class TreeSum:
    """Adds up statistics of shards in the fixed tree; any order of arrival gives the same bits.

    Parameters
    ----------
    n_shards : int
        Shards of the whole table.

    Examples
    --------
    >>> import numpy as np
    >>> from hpcml.kernels.shards import TreeSum
    >>> tree = TreeSum(3)
    >>> for shard in (2, 0, 1):
    ...     tree.add(shard, shard + 1, np.array([10.0**shard]))
    >>> tree.pieces()
    (array([[0, 3]]), array([[111.]]))
    """

    def __init__(self, n_shards: int) -> None:
        self.n_shards = n_shards
        self._nodes: dict[tuple[int, int], NDArray[np.float64]] = {}  # (first shard, height) -> sum
        self._lock = threading.Lock()

    def add(self, first: int, stop: int, statistic: NDArray[np.float64]) -> None:
        """Add the statistic of the node that covers the shards from `first` to `stop`; it may be changed."""
        height = max(stop - first - 1, 0).bit_length()
        while True:
            width = 1 << height
            if width >= self.n_shards:
                break
            left = first & ~(2 * width - 1)
            other = left + width if first == left else left
            if other >= self.n_shards:  # the right half does not exist
                height += 1
                continue
            with self._lock:
                found = self._nodes.pop((other, height), None)
                if found is None:
                    self._nodes[first, height] = statistic
                    return
            statistic = statistic + found if first == left else found + statistic
            first, height = left, height + 1
        with self._lock:
            self._nodes[first, height] = statistic

    def pieces(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the ranges of shards that are added up, in order, and their sums."""
        keys = sorted(self._nodes)
        ranges = [(first, min(first + (1 << height), self.n_shards)) for first, height in keys]
        return np.array(ranges, dtype=np.int64).reshape(-1, 2), np.array([self._nodes[key] for key in keys])


def over_shards(
    function: Callable[..., Any], per_row: Collection[str]
) -> Callable[..., tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Make a kernel of the kind "reduce" of a function of one shard.

    Parameters
    ----------
    function : callable
        Takes the arguments of one shard by name; returns the parts of its statistic, a tuple or one array.
    per_row : collection of str
        Arguments that are cut to the rows of the shard; the others reach every shard whole. Sparse rows reach
        it as a SciPy array.
    """

    def kernel(
        bounds: NDArray[np.int64], first_shard: int, n_shards: int, n_threads: int = 1, **arguments: Any
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        tree = TreeSum(n_shards)

        def one(i: int) -> None:
            found = function(**of_shard(arguments, per_row, bounds[i], bounds[i + 1]))
            parts = found if isinstance(found, tuple) else (found,)
            statistic = np.concatenate([np.asarray(part, dtype=np.float64).ravel() for part in parts])
            tree.add(first_shard + i, first_shard + i + 1, statistic)

        shards = range(len(bounds) - 1)
        with blas.one_thread():
            if n_threads == 1 or len(shards) == 1:
                for i in shards:
                    one(i)
            else:
                with ThreadPoolExecutor(n_threads) as pool:
                    list(pool.map(one, shards))
        return tree.pieces()

    kernel.__name__, kernel.__module__ = function.__name__, function.__module__
    return kernel


def of_shard(arguments: Mapping[str, Any], per_row: Collection[str], start: int, stop: int) -> dict[str, Any]:
    """Return arguments with those of every row cut to the rows of one shard, sparse ones for SciPy."""
    shard = {}
    for name, value in arguments.items():
        if name in per_row and value is not None:
            value = cut(value, start, stop)
            value = value.to_scipy() if isinstance(value, CSR) else value
        shard[name] = value
    return shard
